//! Messages in error responses, in every form that servers send.

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value};

/// Limit on the bytes of an error page that are read.
const MAX_PAGE_LEN: usize = 64 << 10;

/// Limit on the depth of nested JSON objects and arrays that are searched.
const MAX_DEPTH: usize = 4;

/// Keys of JSON objects and arrays that contain the message, besides `errors` of distribution-spec
/// ("Error codes").
const CONTAINER_KEYS: [&str; 4] = ["error", "detail", "details", "message"];

/// Keys of the message itself, the most helpful ones first: those of distribution-spec, OAuth 2
/// (RFC 6749, 5.2) and problem details (RFC 9457), and some that only registries use.
const MESSAGE_KEYS: [&str; 8] = [
    "message",
    "error_description",
    "details",
    "detail",
    "description",
    "reason",
    "title",
    "error",
];

/// Body of an error response.
pub(super) struct ErrorPage {
    /// Beginning of the body.
    pub(super) body: Vec<u8>,
    plain_text: bool,
}

impl ErrorPage {
    /// Reads the beginning of a body. After an error, the page has only the bytes that arrived.
    pub(super) async fn read(mut response: Response) -> Self {
        let media_type = response.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let plain_text = media_type.to_ascii_lowercase().starts_with("text/plain");
        let mut body = Vec::new();
        while body.len() < MAX_PAGE_LEN
            && let Ok(Some(bytes)) = response.chunk().await
        {
            body.extend_from_slice(&bytes);
        }
        body.truncate(MAX_PAGE_LEN);
        Self { body, plain_text }
    }

    /// Returns the message of the page: one in JSON, the title of a web page, or the first line of
    /// a text. Empty without a message.
    pub(super) fn message(&self) -> String {
        message(&self.body, self.plain_text)
    }

    /// Returns whether the page contains a text.
    pub(super) fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }
}

/// Returns the message in the body of an error response.
pub(super) fn message(body: &[u8], plain_text: bool) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(json) = serde_json::from_str::<Value>(text) {
        return find_message(&json, 0).unwrap_or_default().to_owned();
    }
    match web_page(body) {
        Some(title) if title.is_empty() => "a web page without a title".to_owned(),
        Some(title) => format!("a web page with the title \"{title}\""),
        None if plain_text => text.lines().next().unwrap_or_default().trim().to_owned(),
        None => String::new(),
    }
}

/// Returns the first message in a JSON value.
fn find_message(value: &Value, depth: usize) -> Option<&str> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()),
        _ if depth == MAX_DEPTH => None,
        Value::Array(values) => values.iter().find_map(|value| find_message(value, depth + 1)),
        Value::Object(object) => find_in_object(object, depth),
        _ => None,
    }
}

fn find_in_object(object: &Map<String, Value>, depth: usize) -> Option<&str> {
    let get = |wanted: &str| {
        let mut entries = object.iter();
        let found = entries.find(|(key, value)| key.eq_ignore_ascii_case(wanted) && !value.is_null());
        found.map(|(_, value)| value)
    };
    let text = |key: &str| {
        get(key)
            .filter(|value| value.is_string())
            .and_then(|value| find_message(value, depth))
    };
    let nested = |key: &str| {
        get(key)
            .filter(|value| !value.is_string())
            .and_then(|value| find_message(value, depth + 1))
    };
    nested("errors")
        .or_else(|| MESSAGE_KEYS.iter().find_map(|key| text(key)))
        .or_else(|| CONTAINER_KEYS.iter().find_map(|key| nested(key)))
        .or_else(|| text("code"))
}

/// Returns the title of a body that is a web page, which may be empty; `None` for anything else.
pub(super) fn web_page(body: &[u8]) -> Option<String> {
    let beginning = &body[..body.len().min(MAX_PAGE_LEN)];
    let text = String::from_utf8_lossy(beginning);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    // Changes only ASCII letters, so that positions are the same as in `text`.
    let lower = text.to_ascii_lowercase();
    if !lower.starts_with('<') || !(lower.contains("<html") || lower.starts_with("<!doctype html")) {
        return None;
    }
    let title = lower.find("<title").and_then(|at| {
        let begin = at + lower[at..].find('>')? + 1;
        let end = begin + lower[begin..].find("</title")?;
        Some(text[begin..end].split_whitespace().collect::<Vec<_>>().join(" "))
    });
    Some(title.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_every_form_of_json() {
        for json in [
            r#"{"errors": [{"code": "DENIED", "message": "no access"}]}"#,
            r#"{"errors": [{"code": "DENIED", "message": "", "detail": "no access"}]}"#,
            r#"{"errors": [{"code": "DENIED", "message": null, "detail": {"reason": "no access"}}]}"#,
            r#"{"errors": [{}, {"message": "no access"}]}"#,
            r#"{"errors": {"message": "no access"}}"#,
            r#"{"errors": ["no access"]}"#,
            r#"{"errors": null, "message": "no access"}"#,
            r#"{"error": "denied", "error_description": "no access"}"#,
            r#"{"error": {"code": 403, "message": "no access"}}"#,
            r#"{"error": "no access"}"#,
            r#"{"details": "no access"}"#,
            r#"{"Message": "no access"}"#,
            r#"{"type": "about:blank", "title": "Forbidden", "detail": "no access"}"#,
            r#"{"message": {"text": "x", "description": "no access"}}"#,
            r#"[{"message": "no access"}]"#,
            r#"" no access ""#,
            "\u{feff} {\"message\": \"no access\"}",
        ] {
            assert_eq!(message(json.as_bytes(), false), "no access", "{json}");
        }
        for silent in [
            "",
            "{}",
            "[]",
            "null",
            "7",
            r#"{"errors": []}"#,
            r#"{"message": 7}"#,
            "no JSON",
        ] {
            assert_eq!(message(silent.as_bytes(), false), "", "{silent}");
        }
        assert_eq!(message(br#"{"errors": [{"code": "DENIED"}]}"#, false), "DENIED");
        let deep = format!("{}\"x\"{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(message(deep.as_bytes(), false), "");
    }

    #[test]
    fn web_pages_by_their_title() {
        let page = b"<!DOCTYPE html>\n<HTML><head><Title lang=en>Sign in\n to  Wi-Fi</TITLE>";
        assert_eq!(web_page(page).as_deref(), Some("Sign in to Wi-Fi"));
        assert_eq!(message(page, false), "a web page with the title \"Sign in to Wi-Fi\"");
        assert_eq!(web_page(b" <html><body>x").as_deref(), Some(""));
        assert_eq!(
            web_page("<html>\u{130}<title>\u{130}x</title>".as_bytes()).as_deref(),
            Some("\u{130}x")
        );
        for other in [
            &b""[..],
            b"{}",
            b"<?xml version='1.0'?><Error/>",
            b"text with <html> in it",
        ] {
            assert_eq!(web_page(other), None);
        }
    }

    #[test]
    fn first_line_of_a_plain_text() {
        assert_eq!(message(b"\nblocked by policy\nsee below", true), "blocked by policy");
        assert_eq!(message(b"binary", false), "");
    }
}
