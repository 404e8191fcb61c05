//! Access to the parsers of registry responses, for the targets in `fuzz/`.

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::challenge::{BearerChallenge, Challenge};
use super::problem::message;

/// Parses a `WWW-Authenticate`, and returns its challenge in the spelling of the specification;
/// `None` without a supported challenge.
#[must_use]
pub fn challenge(header: &[u8]) -> Option<String> {
    let header = HeaderValue::from_bytes(header).ok()?;
    let BearerChallenge { realm, service, scope } =
        match Challenge::find(&HeaderMap::from_iter([(WWW_AUTHENTICATE, header)])) {
            Challenge::Unsupported(_) => return None,
            Challenge::Basic => return Some("Basic".to_owned()),
            Challenge::Bearer(bearer) => bearer,
        };
    let quoted = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace(',', r"\,");
    let mut text = format!("Bearer realm=\"{}\",scope=\"{}\"", quoted(&realm), quoted(&scope));
    if let Some(service) = service {
        text += &format!(",service=\"{}\"", quoted(&service));
    }
    Some(text)
}

/// Returns the message in the body of an error response.
#[must_use]
pub fn refusal(body: &[u8]) -> String {
    message(body, true)
}
