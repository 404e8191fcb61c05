//! Redirects (RFC 9110, 15.4): which of them are followed.
//!
//! They are followed here and not by `reqwest`, for three reasons. The authorization is sent only
//! within the registry's origin. TLS never leads to plain HTTP. And an error names the host that it
//! comes from, which is often not the registry.

use reqwest::header::{HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, Url};

/// Limit on the redirects that a request follows.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Reason why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// A request led to more redirects than the limit.
    #[error("more than {max} redirects")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The redirect leads from TLS to plain HTTP, or to a scheme other than HTTP.
    #[error("a redirect to {scheme}, which is not secure")]
    Insecure {
        /// The scheme of the target.
        scheme: String,
    },
    /// The redirect leads to another server, which must not get the identity token in the request.
    #[error("a redirect to another server, which must not get the identity token")]
    OtherOrigin,
    /// The redirect has no `Location`, or one that is not a URL.
    #[error("a redirect without a usable Location")]
    NoLocation,
}

/// Returns the URL that a response redirects to; `None` if it is not a redirect.
pub(super) fn location(response: &Response) -> Result<Option<Url>, RedirectError> {
    match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {}
        _ => return Ok(None),
    }
    let location = response.headers().get(LOCATION).map(HeaderValue::as_bytes);
    // Some servers send characters in UTF-8 that they should have escaped.
    let location = location.and_then(|location| str::from_utf8(location).ok());
    location
        .ok_or(RedirectError::NoLocation)
        .and_then(|location| resolve(response.url(), location))
        .map(Some)
}

/// Resolves a `Location` in a response from `from`. Removes a user and a password from it.
fn resolve(from: &Url, location: &str) -> Result<Url, RedirectError> {
    let mut next = from.join(location).map_err(|_| RedirectError::NoLocation)?;
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, scheme) => {
            return Err(RedirectError::Insecure {
                scheme: scheme.to_owned(),
            });
        }
    }
    // They would be sent as credentials that the user never gave.
    if next.set_username("").is_err() || next.set_password(None).is_err() {
        return Err(RedirectError::NoLocation);
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_to_less_secure_schemes_are_refused() {
        let resolve = |from: &str, location: &str| resolve(&Url::parse(from).unwrap(), location).map(String::from);
        for (from, location, to) in [
            (
                "https://r.example/v2/a/blobs/x",
                "https://cdn.example/y?s=1",
                "https://cdn.example/y?s=1",
            ),
            ("https://r.example/v2/a", "/v2/b", "https://r.example/v2/b"),
            ("https://r.example/v2/a", "//cdn.example/b", "https://cdn.example/b"),
            (
                "http://127.0.0.1:1/v2/a",
                "http://127.0.0.1:2/b",
                "http://127.0.0.1:2/b",
            ),
            (
                "http://r.example/v2/a",
                "https://r.example/v2/a",
                "https://r.example/v2/a",
            ),
            (
                "https://r.example/",
                "https://user:pass@cdn.example/b",
                "https://cdn.example/b",
            ),
        ] {
            assert_eq!(resolve(from, location).unwrap(), to, "{from} {location}");
        }
        for (location, scheme) in [
            ("http://r.example/v2/a", "http"),
            ("http://127.0.0.1/", "http"),
            ("file:///etc/passwd", "file"),
            ("data:,x", "data"),
        ] {
            let scheme = scheme.to_owned();
            assert_eq!(
                resolve("https://r.example:5000/", location),
                Err(RedirectError::Insecure { scheme })
            );
        }
        assert_eq!(
            resolve("https://r.example/", "https://"),
            Err(RedirectError::NoLocation)
        );
    }
}
