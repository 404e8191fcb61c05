//! Parser of one entry of a credentials file, in every form that tools write.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};
use serde_json::Value;

use super::{AuthMethod, Secret};

/// User name with which Docker's credential helpers mark a password as an identity token.
pub(super) const TOKEN_USER: &str = "<token>";

/// Base64 as Go decodes it, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials of an entry. All fields are empty if `docker login` left the credentials to a
/// helper.
#[derive(Default)]
pub(super) struct Entry {
    /// User and password, which may be other bytes than UTF-8.
    user_password: Option<(Vec<u8>, Vec<u8>)>,
    identity_token: String,
    registry_token: String,
}

/// Error of an entry of an unknown form.
pub(super) struct InvalidEntry;

impl Entry {
    /// Parses an entry. Unknown fields are ignored.
    pub(super) fn read(value: &Value) -> Result<Self, InvalidEntry> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let fields = value.as_object().ok_or(InvalidEntry)?;
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(InvalidEntry),
        };
        let token = |name| match text(name)?.trim() {
            token if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
            _ => Err(InvalidEntry),
        };
        let (mut identity_token, registry_token) = (token("identitytoken")?, token("registrytoken")?);
        let has_token = !identity_token.is_empty() || !registry_token.is_empty();
        let auth = text("auth")?.trim();
        let pair = if auth.is_empty() {
            let (user, password) = (text("username")?, text("password")?);
            let is_whole = !user.is_empty() && !password.is_empty();
            is_whole.then(|| (user.into(), password.into()))
        } else {
            match decode(auth) {
                None if !has_token => return Err(InvalidEntry),
                pair => pair,
            }
        };
        let is_token = |(user, _): &(Vec<u8>, Vec<u8>)| user == TOKEN_USER.as_bytes();
        if let Some((_, password)) = pair.as_ref().filter(|pair| is_token(pair))
            && identity_token.is_empty()
        {
            identity_token = String::from_utf8(password.clone()).map_err(|_| InvalidEntry)?;
        }
        Ok(Self {
            user_password: pair.filter(|pair| !is_token(pair)),
            identity_token,
            registry_token,
        })
    }

    /// Returns the credentials that Docker prefers: a registry token, then an identity token, then
    /// user and password. `None` for an empty entry.
    pub(super) fn credentials(self) -> Option<AuthMethod> {
        let basic_auth = self.user_password.map(|(user, password)| {
            let pair = [user, password].join(&b':');
            Secret::new(STANDARD.encode(pair))
        });
        if !self.registry_token.is_empty() {
            return Some(AuthMethod::RegistryToken(Secret::new(self.registry_token)));
        }
        if !self.identity_token.is_empty() {
            let token = Secret::new(self.identity_token);
            return Some(AuthMethod::IdentityToken { token, basic_auth });
        }
        basic_auth.map(AuthMethod::Basic)
    }

    /// Returns the user, if the entry has one in UTF-8.
    pub(super) fn user(self) -> Option<String> {
        let (user, _) = self.user_password?;
        String::from_utf8(user).ok()
    }
}

/// Returns the user and the password of an `auth` field. Its base64 may be wrapped, lack its
/// padding, or use the alphabet for URLs. Docker pads the password with NUL.
fn decode(auth: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let standard = |byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let bytes = auth.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let pair = LENIENT.decode(bytes.map(standard).collect::<Vec<_>>()).ok()?;
    let colon = pair.iter().position(|&byte| byte == b':').filter(|&colon| colon > 0)?;
    let (user, password) = (&pair[..colon], &pair[colon + 1..]);
    let is_set = |byte: &u8| *byte != 0;
    let start = password.iter().position(is_set).unwrap_or(password.len());
    let end = password.iter().rposition(is_set).map_or(start, |last| last + 1);
    Some((user.to_owned(), password[start..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the credentials of an entry as a text, with bytes that are not UTF-8 escaped.
    fn read(entry: &Value) -> Option<String> {
        let shown = |pair: &Secret| STANDARD.decode(pair.reveal()).unwrap().escape_ascii().to_string();
        let entry = Entry::read(entry).unwrap_or_else(|InvalidEntry| panic!("{entry} is refused"));
        Some(match entry.credentials()? {
            AuthMethod::Basic(pair) => shown(&pair),
            AuthMethod::IdentityToken { token, basic_auth } => {
                let pair = basic_auth.as_ref().map(shown).unwrap_or_default();
                format!("identity {} beside {pair}", token.reveal())
            }
            AuthMethod::RegistryToken(token) => format!("registry {}", token.reveal()),
        })
    }

    #[test]
    fn base64_of_all_kinds() {
        for (auth, pair) in [
            ("dTpw", "u:p"),
            ("dTpw\n", "u:p"),
            ("dT\r\n  pw", "u:p"),
            ("dTpwOng=", "u:p:x"),
            ("dTpwOng", "u:p:x"),
            ("dTpwOn\ng=\n", "u:p:x"),
            ("dTrDv8O/w78+Pz8/", "u:\\xc3\\xbf\\xc3\\xbf\\xc3\\xbf>???"),
            ("dTrDv8O_w78-Pz8_", "u:\\xc3\\xbf\\xc3\\xbf\\xc3\\xbf>???"),
            ("dTpw5A==", "u:p\\xe4"),
            ("dTpwAAAA", "u:p"),
            ("dTo=", "u:"),
        ] {
            assert_eq!(read(&json!({"auth": auth})).as_deref(), Some(pair), "{auth}");
        }
    }

    #[test]
    fn precedence_of_fields() {
        let auth = STANDARD.encode("u:p");
        let token = STANDARD.encode("<token>:refresh");
        for (entry, expected) in [
            (json!({"username": "u", "password": "p"}), Some("u:p")),
            (json!({"username": "u", "password": "p", "auth": ""}), Some("u:p")),
            (json!({"username": "x", "password": "y", "auth": auth}), Some("u:p")),
            (json!({"username": "u"}), None),
            (
                json!({"auth": auth, "identitytoken": "t"}),
                Some("identity t beside u:p"),
            ),
            (json!({"identitytoken": "t\n"}), Some("identity t beside ")),
            (json!({"auth": token}), Some("identity refresh beside ")),
            (
                json!({"username": "<token>", "password": "refresh"}),
                Some("identity refresh beside "),
            ),
            (json!({"auth": token, "identitytoken": "t"}), Some("identity t beside ")),
            (
                json!({"auth": "Og==", "identitytoken": "t"}),
                Some("identity t beside "),
            ),
            (
                json!({"auth": auth, "identitytoken": "t", "registrytoken": "r"}),
                Some("registry r"),
            ),
            (
                json!({"auth": auth, "identitytoken": null, "registrytoken": "", "email": [1], "x": {}}),
                Some("u:p"),
            ),
            (json!({"auth": null, "username": null}), None),
            (json!({}), None),
            (Value::Null, None),
        ] {
            assert_eq!(read(&entry).as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for entry in [
            json!([]),
            json!(["dTpw"]),
            json!("dTpw"),
            json!(1),
            json!({"auth": ["dTpw"]}),
            json!({"auth": 1}),
            json!({"auth": "dTpw", "identitytoken": {}}),
            json!({"identitytoken": "a\r\nb"}),
            json!({"registrytoken": "ä"}),
            json!({"auth": "????"}),
            json!({"auth": STANDARD.encode("no colon")}),
            json!({"auth": STANDARD.encode(":no user")}),
        ] {
            assert!(Entry::read(&entry).is_err(), "{entry}");
        }
    }
}
