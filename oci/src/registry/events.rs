//! Log events of requests. This module alone decides what they show of a request.
//!
//! They show the scheme of the `Authorization` and the start of a range, but no other header. They
//! show no user, password or query of a URL, and no text that repeats a secret.

use std::error::Error;
use std::fmt;
use std::time::Instant;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Request, Response, Url};
use tracing::debug;

use super::RegistryError;
use super::proxies::Proxy;
use super::secrets::SentSecrets;

/// A URL as events show it. Its path is shown only if this program made it: the path of a URL that
/// a server sent may by itself allow a download.
pub(super) struct RedactedUrl<'a> {
    pub(super) url: &'a Url,
    /// Common start of all URLs of the repository; `None` for a URL of another server.
    pub(super) base: Option<&'a Url>,
    /// Secrets that a host or a path may repeat.
    pub(super) sent: &'a SentSecrets,
}

impl RedactedUrl<'_> {
    /// Returns whether the URL is one that this program made: below the repository, or `/v2/`.
    fn is_of_repository(&self) -> bool {
        let Self {
            url, base: Some(base), ..
        } = self
        else {
            return false;
        };
        let below = |start: &str| {
            let rest = url.path().strip_prefix(start.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        url.origin() == base.origin() && (below(base.path()) || url.path() == "/v2/")
    }
}

impl fmt::Display for RedactedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent.with_query(self.url);
        let host = sent.redact(self.url.host_str().unwrap_or_default());
        write!(f, "{}://{host}", sent.redact(self.url.scheme()))?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        let path = Some(self.url.path())
            .filter(|_| self.is_of_repository())
            .map(|path| sent.redact(path));
        f.write_str(path.filter(|path| path.starts_with('/')).unwrap_or("/…"))
    }
}

/// Log of one request, with the time at which it was sent.
pub(super) struct RequestLog {
    begun: Instant,
}

impl RequestLog {
    /// Logs a request.
    pub(super) fn start(request: &Request, shown: &RedactedUrl<'_>, proxy: Option<&Proxy>) -> Self {
        debug!(
            method = %request.method(),
            url = %shown,
            from = range_start(request.headers()),
            authorization = authorization(request.headers()),
            proxy = proxy.map(Proxy::name),
            "requested"
        );
        Self { begun: Instant::now() }
    }

    /// Logs the response.
    pub(super) fn answered(&self, response: &Response, shown: &RedactedUrl<'_>) {
        debug!(
            url = %shown,
            status = response.status().as_u16(),
            elapsed_ms = self.begun.elapsed().as_millis(),
            bytes = response.content_length(),
            "answered"
        );
    }

    /// Logs a request without a response.
    pub(super) fn failed(&self, error: &RegistryError, shown: &RedactedUrl<'_>) {
        let elapsed_ms = self.begun.elapsed().as_millis();
        debug!(url = %shown, elapsed_ms, error = with_causes(error), "not answered");
    }
}

/// Returns an error with all its causes, as it is shown to users.
pub(super) fn with_causes(error: &RegistryError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Returns the first byte of the range that a request asks for; `None` without a range.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
}

/// Returns the scheme of the `Authorization`, without its secret.
fn authorization(headers: &HeaderMap) -> &'static str {
    match headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) {
        None => "none",
        Some(value) if value.starts_with(b"Basic ") => "basic",
        Some(value) if value.starts_with(b"Bearer ") => "bearer",
        Some(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    #[test]
    fn secret_parts_of_a_url_are_not_shown() {
        let base = Url::parse("https://r.example:5000/v2/team/app").unwrap();
        let sent = SentSecrets::default();
        sent.add(Secret::new("hunter2".to_owned()));
        for (url, expected) in [
            (
                "https://r.example:5000/v2/team/app/manifests/latest",
                "https://r.example:5000/v2/team/app/manifests/latest",
            ),
            ("https://r.example:5000/v2/", "https://r.example:5000/v2/"),
            (
                "https://user:pass@r.example:5000/v2/team/app/blobs/x?sig=f00d#part",
                "https://r.example:5000/v2/team/app/blobs/x",
            ),
            ("https://r.example:5000/v2/team/application", "https://r.example:5000/…"),
            ("https://r.example:5000/download/f00d", "https://r.example:5000/…"),
            ("http://r.example:5000/v2/team/app/x", "http://r.example:5000/…"),
            ("https://cdn.example/f00d?sig=beef", "https://cdn.example/…"),
            ("https://[::1]:1/token", "https://[::1]:1/…"),
            ("https://hunter2.example/", "https://…/…"),
            ("https://signature.example/?x=signature", "https://…/…"),
            ("https://r.example:5000/v2/team/app/hunter2", "https://r.example:5000/…"),
        ] {
            let url = Url::parse(url).unwrap();
            let shown = RedactedUrl {
                url: &url,
                base: Some(&base),
                sent: &sent,
            };
            assert_eq!(shown.to_string(), expected);
        }
    }

    #[test]
    fn authorization_scheme_and_range_start_of_headers() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
        };
        for (value, expected) in [("Basic c2VjcmV0", "basic"), ("Bearer x", "bearer"), ("secret", "other")] {
            assert_eq!(authorization(&headers("authorization", value)), expected);
        }
        assert_eq!(authorization(&HeaderMap::new()), "none");
        assert_eq!(range_start(&headers("range", "bytes=17-")), Some(17));
        assert_eq!(range_start(&HeaderMap::new()), None);
    }
}
