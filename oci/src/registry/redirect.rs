//! Where an answer sends who asked (RFC 9110, 15.4).

use reqwest::header::{HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, Url};

/// How many redirects are followed.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// One leads to another without end.
    #[error("more than {max} redirects")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// From TLS to plain HTTP, or to what is neither.
    #[error("a redirect to {scheme}, which is not secure")]
    Insecure {
        /// How to speak there.
        scheme: String,
    },
    /// To another server, which must not get the identity token that the request holds.
    #[error("a redirect to another server, which must not get the identity token")]
    OtherOrigin,
    /// It does not say where to.
    #[error("a redirect without a usable Location")]
    NoLocation,
}

/// Where to ask in place of the server that has answered, if it says so.
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
    // Some send what they should have escaped.
    let location = location.and_then(|location| str::from_utf8(location).ok());
    location
        .ok_or(RedirectError::NoLocation)
        .and_then(|location| resolve(response.url(), location))
        .map(Some)
}

/// What a `Location` means in an answer from `from`.
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
    // They would become credentials that nobody gave.
    if next.set_username("").is_err() || next.set_password(None).is_err() {
        return Err(RedirectError::NoLocation);
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_anywhere_but_to_where_less_is_secure() {
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
