//! Redaction of server texts that repeat a secret.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use crate::auth::{AuthMethod, Secret};

/// Text that replaces one with a secret.
const HIDDEN: &str = "…";

/// Limit on the characters of a text that are searched for secrets. The rest of the text is never
/// shown.
const MAX_TEXT_LEN: usize = 1000;

/// Shortest value in a query that counts as a signature, in bytes.
const MIN_QUERY_VALUE_LEN: usize = 4;

/// Secrets that were sent to a registry or to a server that it refers to: passwords, tokens and
/// signatures.
///
/// A server can repeat a secret in a response, an error shows the response, and the error ends in a
/// log that others read. So a text that repeats a secret is not shown at all. Removing only the
/// secret would reveal its length, and in a known text, the secret itself.
#[derive(Clone, Default)]
pub(super) struct SentSecrets {
    shared: Arc<Mutex<Vec<Secret>>>,
    /// Values in the query of the current URL.
    query: Vec<Secret>,
}

impl SentSecrets {
    /// Returns the secrets of credentials.
    pub(super) fn for_credentials(credentials: Option<&AuthMethod>) -> Self {
        let secrets = Self::default();
        match credentials {
            Some(AuthMethod::Basic(pair)) => {
                secrets.add(pair.clone());
                secrets.shared().extend(password(pair));
            }
            Some(AuthMethod::IdentityToken { token, basic_auth }) => {
                secrets.add(Secret::new(form_encoded(token.reveal())));
                secrets.add(token.clone());
                secrets.shared().extend(basic_auth.clone());
                secrets.shared().extend(basic_auth.as_ref().and_then(password));
            }
            Some(AuthMethod::RegistryToken(token)) => secrets.add(token.clone()),
            None => {}
        }
        secrets
    }

    /// Adds a secret that any server may know from now on.
    pub(super) fn add(&self, secret: Secret) {
        self.shared().push(secret);
    }

    /// Returns these secrets and the values in the query of a URL, which in redirects are
    /// signatures.
    pub(super) fn with_query(&self, url: &Url) -> Self {
        let parameters = url.query().unwrap_or_default().split('&');
        let sent = parameters.map(|parameter| parameter.split_once('=').map_or(parameter, |(_, value)| value));
        let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
        let values = sent.map(str::to_owned).chain(decoded);
        let values = values.filter(|value| value.len() >= MIN_QUERY_VALUE_LEN);
        Self {
            shared: Arc::clone(&self.shared),
            query: values.map(Secret::new).collect(),
        }
    }

    /// Returns the beginning of a server's text, or `…` if it contains a secret or a large part of
    /// one.
    ///
    /// Also finds a secret in upper or lower case, with other characters between its letters and
    /// digits, percent-encoded, escaped as in JSON, in hexadecimal, or in base64.
    pub(super) fn redact<'text>(&self, text: &'text str) -> &'text str {
        let text = match text.char_indices().nth(MAX_TEXT_LEN) {
            Some((end, _)) => &text[..end],
            None => text,
        };
        let letters = alphanumerics(text);
        let is_in_text = |secret: &Secret| contains_secret(text, &letters, secret.reveal());
        if self.query.iter().any(is_in_text) || self.shared().iter().any(is_in_text) {
            return HIDDEN;
        }
        text
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Secret>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the password of `user:password` in base64.
fn password(pair: &Secret) -> Option<Secret> {
    let pair = STANDARD.decode(pair.reveal()).ok()?;
    // Bytes that are not UTF-8 are read as Latin-1, where each byte is a character.
    let pair =
        String::from_utf8(pair).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
    let (_, password) = pair.split_once(':')?;
    Some(Secret::new(password.to_owned()))
}

/// Returns whether a text contains a secret. `letters` are the [`alphanumerics`] of the text.
fn contains_secret(text: &str, letters: &[char], secret: &str) -> bool {
    !secret.is_empty()
        && encodings(secret).iter().any(|form| {
            let part = alphanumerics(form);
            // A form without letters and digits is searched for as it is.
            if part.is_empty() {
                text.contains(form)
            } else {
                shares_run(letters, &part)
            }
        })
}

/// Returns whether a text contains a run of a secret's form: half its length, at least 8 and at
/// most 16 characters, or all of a shorter form.
fn shares_run(text: &[char], form: &[char]) -> bool {
    let len = form.len().min((form.len() / 2).clamp(8, 16));
    let runs: HashSet<_> = form.windows(len).collect();
    text.windows(len).any(|run| runs.contains(run))
}

/// Returns the letters and digits of a text, in lower case. The variants of base64 become equal,
/// and so do many ways to escape and to split a text.
fn alphanumerics(text: &str) -> Vec<char> {
    let letters = text.chars().filter(|character| character.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Returns the usual encodings of a secret in a text.
fn encodings(secret: &str) -> Vec<String> {
    let (mut hex, mut percent, mut json) = (String::new(), String::new(), String::new());
    for byte in secret.bytes() {
        write!(hex, "{byte:02x}").expect("memory takes it");
        if byte.is_ascii_alphanumeric() {
            percent.push(char::from(byte));
        } else {
            write!(percent, "%{byte:02x}").expect("memory takes it");
        }
    }
    for unit in secret.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => json.push(char::from(byte)),
            _ => write!(json, "\\u{unit:04x}").expect("memory takes it"),
        }
    }
    let form = form_encoded(secret);
    let mut forms = vec![secret.to_owned(), hex, percent, form, json, STANDARD.encode(secret)];
    // In the base64 of a longer text, such as user:password, the secret can start at any of three
    // offsets. The characters at both ends depend on the surrounding bytes and are cut off.
    for before in 1..3 {
        let encoded = STANDARD.encode(["-".repeat(before).as_str(), secret].concat());
        let known = (before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6;
        forms.extend(encoded.get(known).filter(|known| known.len() >= 8).map(str::to_owned));
    }
    forms
}

/// Returns a text in the encoding of HTML forms and queries.
fn form_encoded(text: &str) -> String {
    let mut url = Url::parse("x:").expect("this is a URL");
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const PASSWORD: &str = "pä\"ss: w0rd+f00d/?";

    fn sent(password: &str) -> SentSecrets {
        let credentials = AuthMethod::basic("someone", &Secret::new(password.to_owned()));
        SentSecrets::for_credentials(Some(&credentials))
    }

    fn is_hidden(sent: &SentSecrets, text: &str) -> bool {
        match sent.redact(text) {
            HIDDEN => true,
            shown => {
                assert_eq!(shown, text);
                false
            }
        }
    }

    #[test]
    fn usual_encodings_of_a_password_hide_a_text() {
        let sent = sent(PASSWORD);
        let pair = format!("someone:{PASSWORD}");
        let escaped = |text: &str| serde_json::to_string(text).unwrap();
        let each_byte = |text: &str, before: &str| {
            let bytes = text.bytes();
            bytes.fold(String::new(), |text, byte| text + before + &format!("{byte:02X}"))
        };
        let percent = |text: &str| each_byte(text, "%");
        let form = |text: &str| {
            let mut url = Url::parse("x:/").unwrap();
            url.query_pairs_mut().append_pair("", text);
            url.to_string()
        };
        let hex = |text: &str| each_byte(text, "");
        let spread = |text: &str| -> String { text.chars().flat_map(|character| [character, '-']).collect() };
        for text in [PASSWORD, &pair] {
            for echo in [
                text.to_owned(),
                text.to_uppercase(),
                escaped(text),
                escaped(&escaped(text)),
                form(text),
                hex(text),
                spread(text),
                STANDARD.encode(text),
                STANDARD.encode(format!("Basic {text}")),
                STANDARD.encode(format!("x{text}")),
                URL_SAFE_NO_PAD.encode(text),
                hex(&STANDARD.encode(&pair)),
                format!("Basic {}", STANDARD.encode(&pair)),
                STANDARD.encode(STANDARD.encode(&pair)),
                percent(text),
                text[4..].to_owned(),
            ] {
                assert!(is_hidden(&sent, &format!("no such user: {echo}!")), "{echo}");
            }
        }
    }

    #[test]
    fn text_without_a_secret_is_shown() {
        let sent = sent(PASSWORD);
        for text in [
            "",
            "unauthorized",
            "someone has no access to team/app",
            "password expired",
            "…",
        ] {
            assert_eq!(sent.redact(text), text);
        }
        assert_eq!(SentSecrets::default().redact(PASSWORD), PASSWORD);
    }

    #[test]
    fn any_text_that_contains_a_short_password_is_redacted() {
        assert!(is_hidden(&sent("a"), "unauthorized"));
        assert!(!is_hidden(&sent("7"), "unauthorized"));
        assert!(is_hidden(&sent("!?"), "what!?"));
        assert!(is_hidden(&sent("!?"), "what%21%3F"));
        assert!(!is_hidden(&sent("!?"), "what?!"));
        assert!(!is_hidden(&sent(""), "what!?"));
    }

    #[test]
    fn tokens_and_signatures_hide_a_text() {
        let sent = SentSecrets::for_credentials(Some(&AuthMethod::IdentityToken {
            token: Secret::new("refresh-me".to_owned()),
            basic_auth: None,
        }));
        sent.add(Secret::new("bearer.token".to_owned()));
        let url = Url::parse("https://cdn.example/blob?v=1&sig=f00d%2Fbeef").unwrap();
        let there = sent.with_query(&url);
        for text in ["refresh-me", "bearer.token"] {
            assert!(is_hidden(&sent, text) && is_hidden(&there, text), "{text}");
        }
        for text in ["f00d/beef", "f00d%2fbeef"] {
            assert!(!is_hidden(&sent, text) && is_hidden(&there, text), "{text}");
        }
        assert!(!is_hidden(&there, "1 blob of cdn.example"));
    }

    #[test]
    fn a_text_beyond_the_searched_length_is_cut_off() {
        let long = "-".repeat(MAX_TEXT_LEN) + PASSWORD;
        assert_eq!(sent(PASSWORD).redact(&long), &long[..MAX_TEXT_LEN]);
    }
}
