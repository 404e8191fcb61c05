//! Parser of challenges, the content of `WWW-Authenticate` (RFC 9110, 11.6.1).
//!
//! Registries often build this header by hand, and clients have always accepted small errors in it.
//! So this parser accepts parameters without quotes, with an opening quote only, without commas
//! between them, with spaces around `=`, and in any bytes. A strict parser would refuse the whole
//! image for a missing comma.

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// Names of the parameters of Bearer challenges. One of them ends a value whose closing quote is
/// missing.
const PARAMETERS: [&str; 5] = ["realm", "service", "scope", "error", "error_description"];

/// A registry's request for authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Only unsupported challenges: their text, which may be empty.
    Unsupported(String),
    /// Asks for user and password in HTTP Basic, sent to the registry itself.
    Basic,
    /// Asks for a token from a token server.
    Bearer(BearerChallenge),
}

/// A Bearer challenge: the token that a registry asks for, and the server that issues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BearerChallenge {
    /// URL of the token server, as the registry sent it.
    pub(super) realm: String,
    /// Name of the registry at the token server; never empty.
    pub(super) service: Option<String>,
    /// Scopes, separated by spaces; may be empty.
    pub(super) scope: String,
}

impl Challenge {
    /// Returns the preferred challenge in the headers: Bearer with a URL as its realm, then Basic,
    /// then Bearer with any realm.
    pub(super) fn find(headers: &HeaderMap) -> Self {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let challenges: Vec<_> = values.iter().flat_map(|value| parse(value)).collect();
        let is = |scheme: &'static str| move |challenge: &&RawChallenge| challenge.scheme.eq_ignore_ascii_case(scheme);
        let mut bearer: Vec<_> = challenges
            .iter()
            .filter(is("Bearer"))
            .filter_map(RawChallenge::bearer)
            .collect();
        bearer.sort_by_key(|bearer| !bearer.has_url());
        let basic = challenges.iter().find(is("Basic")).map(|_| Self::Basic);
        match bearer.into_iter().next() {
            Some(bearer) if bearer.has_url() || basic.is_none() => Self::Bearer(bearer),
            _ => basic.unwrap_or_else(|| Self::Unsupported(values.join(", "))),
        }
    }

    /// Returns whether this program can answer the challenge.
    pub(super) fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }
}

impl BearerChallenge {
    /// Returns whether the realm is an HTTP URL.
    fn has_url(&self) -> bool {
        Url::parse(self.realm.trim()).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    }
}

/// A challenge of any scheme.
#[derive(Debug)]
struct RawChallenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl RawChallenge {
    /// Returns the parameters of a Bearer challenge; `None` without a realm.
    fn bearer(&self) -> Option<BearerChallenge> {
        let parameter = |wanted: &str| {
            let mut parameters = self.parameters.iter();
            let found = parameters.find(|(name, value)| name.eq_ignore_ascii_case(wanted) && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        Some(BearerChallenge {
            realm: parameter("realm")?,
            service: parameter("service"),
            scope: parameter("scope").unwrap_or_default(),
        })
    }
}

/// Splits one header into its challenges.
fn parse(header: &str) -> Vec<RawChallenge> {
    let mut challenges: Vec<RawChallenge> = Vec::new();
    let is_separator = |character: char| character.is_whitespace() || matches!(character, ',' | ';');
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches(is_separator);
        if rest.is_empty() {
            return challenges;
        }
        let end = rest.find(|character| is_separator(character) || character == '=');
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(value) = after.trim_start().strip_prefix('=') else {
            challenges.push(RawChallenge {
                scheme: word.to_owned(),
                parameters: Vec::new(),
            });
            rest = after;
            continue;
        };
        let (value, after) = parse_value(value.trim_start());
        rest = after;
        // A parameter before the first scheme is ignored.
        if let Some(challenge) = challenges.last_mut() {
            challenge.parameters.push((word.to_owned(), value));
        }
    }
}

/// Splits the value of a parameter from what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let end = text[..end].find(char::is_whitespace).unwrap_or(end);
        return (text[..end].trim_matches(['"', '\'']).to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            ',' if begins_parameter(&quoted[at + 1..]) => return (value, &quoted[at..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            character => value.push(character),
        }
    }
    (value, "")
}

/// Returns whether a text begins with a known parameter and a quoted value, such as `service="`.
/// Within quotes, this shows that the closing quote is missing.
fn begins_parameter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        let name = name.trim();
        value.trim_start().starts_with('"') && PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Some(Challenge::find(&headers)).filter(Challenge::is_supported)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: &str) -> Challenge {
        Challenge::Bearer(BearerChallenge {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.to_owned(),
        })
    }

    #[test]
    fn usual_spellings_of_one_challenge() {
        let expected = Some(bearer("https://x/t?a=b", Some("reg"), "repository:a/b:pull,push"));
        for header in [
            r#"Bearer realm="https://x/t?a=b",service="reg",scope="repository:a/b:pull,push""#,
            r#"bearer  REALM = "https://x/t?a=b" , Service="reg", scope="repository:a/b:pull,push""#,
            r#"Bearer realm="https://x/t?a=b" service="reg" scope="repository:a/b:pull,push""#,
            r#"Bearer realm="https://x/t?a=b";service="reg";scope="repository:a/b:pull,push""#,
            r#"Bearer realm=https://x/t?a=b,service=reg,scope="repository:a/b:pull,push""#,
            r#"Bearer realm=https://x/t?a=b", service='reg', scope="repository:a/b:pull,push""#,
            r#"Bearer realm="https://x/t?a=b,service="reg",scope="repository:a/b:pull,push"#,
            r#"Bearer ,,realm="https://x/t?a=b",, service="reg",scope="repository:a/b:pull,push","#,
            r#"Bearer realm="https:\/\/x\/t?a=b",service="r\eg",scope="repository:a/b:pull,push""#,
            r#"Basic realm="Ünïcode", Bearer realm="https://x/t?a=b",service="reg",scope="repository:a/b:pull,push""#,
            r#"Negotiate YIIa==, Bearer realm="https://x/t?a=b",service="reg",scope="repository:a/b:pull,push""#,
            r#"Bearer error="x", Bearer realm="https://x/t?a=b",service="reg",scope="repository:a/b:pull,push""#,
        ] {
            assert_eq!(challenge(&[header]), expected, "{header}");
        }
    }

    #[test]
    fn empty_parameters_count_as_missing() {
        let header = r#"Bearer realm="https://x/t",service="",scope="""#;
        assert_eq!(challenge(&[header]), Some(bearer("https://x/t", None, "")));
        assert_eq!(challenge(&[r#"Bearer realm="",service="x""#]), None);
    }

    #[test]
    fn bearer_is_preferred_in_any_order() {
        let header = r#"Bearer realm="https://x/t""#;
        let expected = Some(bearer("https://x/t", None, ""));
        for values in [
            &["Basic realm=\"x\"", header][..],
            &[header, "Basic"],
            &["Negotiate", header],
        ] {
            assert_eq!(challenge(values), expected, "{values:?}");
        }
    }

    #[test]
    fn basic_needs_no_realm() {
        for header in [
            "Basic realm=\"Registry Realm\"",
            "Basic",
            "basic realm=ünquoted",
            "Basic realm=\"x",
        ] {
            assert_eq!(challenge(&[header]), Some(Challenge::Basic), "{header}");
        }
        assert_eq!(challenge(&["Bearer service=x", "Basic"]), Some(Challenge::Basic));
        assert_eq!(
            challenge(&["Bearer realm=\"Some Name\"", "Basic"]),
            Some(Challenge::Basic)
        );
    }

    #[test]
    fn unsupported_challenges() {
        for odd in [
            "",
            "Negotiate",
            "Digest realm=\"x\"",
            ",,,",
            "realm=\"https://x/t\"",
            "\"\\",
            "Bearer",
            "= =",
            "\\",
        ] {
            assert_eq!(challenge(&[odd]), None, "{odd}");
        }
    }
}
