//! Credentials from a file as containers-auth.json(5) describes it. Helpers that it names are never executed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::reference::RegistryReference;

/// The file that the environment names for credentials, by `REGISTRY_AUTH_FILE`.
#[must_use]
pub fn file_from_environment() -> Option<PathBuf> {
    std::env::var_os("REGISTRY_AUTH_FILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// A text that must not be shown: without `Debug` and `Display`, it cannot slip into an error or a log.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    /// The text, for the request that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// What proves to a registry who asks.
#[derive(Clone)]
pub(super) enum Credentials {
    /// User and password, as HTTP Basic sends them: `user:password` in base64.
    Basic(Secret),
    /// A refresh token, as `docker login` gets it from registries that use OAuth 2.
    IdentityToken(Secret),
}

impl Credentials {
    /// The credentials that `file` has for the repository, or for the nearest of what it is part of.
    pub(super) fn find(file: &Path, image: &RegistryReference) -> Result<Option<Self>, AuthError> {
        let json = fs::read(file).map_err(|source| AuthError::Read {
            path: file.to_owned(),
            source,
        })?;
        Self::parse(&json, file, image)
    }

    /// The credentials in the JSON of a file, whose name is for messages.
    pub(super) fn parse(json: &[u8], file: &Path, image: &RegistryReference) -> Result<Option<Self>, AuthError> {
        let mut auths = serde_json::from_slice::<AuthFile>(json)
            .map_err(|error| AuthError::Json {
                path: file.to_owned(),
                line: error.line(),
                column: error.column(),
            })?
            .auths;
        let key = keys(image).find(|key| auths.contains_key(key)).or_else(|| {
            auths
                .keys()
                .find(|key| legacy_registry(key).is_some_and(|registry| registry == image.registry))
                .cloned()
        });
        match key.and_then(|key| auths.remove_entry(&key)) {
            Some((key, entry)) => entry.credentials().map_err(|InvalidPair| AuthError::Entry {
                path: file.to_owned(),
                key,
            }),
            None => Ok(None),
        }
    }
}

/// From `host/namespace/repository` up to `host`.
fn keys(image: &RegistryReference) -> impl Iterator<Item = String> {
    let whole = format!("{}/{}", image.registry, image.repository);
    std::iter::successors(Some(whole), |key| {
        key.rsplit_once('/').map(|(parent, _)| parent.to_owned())
    })
}

/// The registry that a key means in the style of `docker login`: a URL, such as `https://index.docker.io/v1/`.
fn legacy_registry(key: &str) -> Option<&str> {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"))?;
    match host.split('/').next()? {
        "index.docker.io" | "registry-1.docker.io" => Some("docker.io"),
        host => Some(host),
    }
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
}

/// No `user:password` in base64.
struct InvalidPair;

impl Entry {
    /// None for an empty entry, which `docker login` leaves where a helper has the credentials.
    fn credentials(self) -> Result<Option<Credentials>, InvalidPair> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::IdentityToken(Secret(self.identitytoken))));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let pair = STANDARD.decode(self.auth).map_err(|_| InvalidPair)?;
        let pair = String::from_utf8(pair).map_err(|_| InvalidPair)?;
        let pair = pair.trim_end_matches('\0');
        if pair.split_once(':').is_none_or(|(user, _)| user.is_empty()) {
            return Err(InvalidPair);
        }
        Ok(Some(Credentials::Basic(Secret(STANDARD.encode(pair)))))
    }
}

/// A credentials file that cannot be used. Never shows what is in it but the names of registries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The file could not be read.
    #[error("could not read the credentials file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not JSON of the right form.
    #[error(
        "the credentials file {} is not as containers-auth.json(5) says, see line {line}, column {column}",
        .path.display()
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// An entry that is neither `user:password` in base64 nor an identity token.
    #[error("the credentials file {} has an entry {key:?} that is no user:password in base64", .path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry or repository of the entry.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::image::reference::Reference;

    fn find(content: &str, reference: &str) -> Result<Option<String>, AuthError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let Reference::Registry(image) = Reference::parse(reference).unwrap() else {
            panic!("no registry")
        };
        let shown = |credentials| match credentials {
            Credentials::Basic(pair) => String::from_utf8(STANDARD.decode(pair.reveal()).unwrap()).unwrap(),
            Credentials::IdentityToken(token) => format!("token {}", token.reveal()),
        };
        Credentials::find(file.path(), &image).map(|credentials| credentials.map(shown))
    }

    fn auths(entries: &[(&str, &str)]) -> String {
        let entry = |(key, pair): &(&str, &str)| ((*key).to_owned(), json!({"auth": STANDARD.encode(pair)}));
        json!({"auths": entries.iter().map(entry).collect::<serde_json::Map<String, Value>>()}).to_string()
    }

    #[test]
    fn the_most_specific_key_wins() {
        let file = auths(&[
            ("a.example", "host:1"),
            ("a.example/team", "team:1"),
            ("a.example/team/app", "app:1"),
            ("a.example:5000", "port:1"),
            ("docker.io/library", "library:1"),
            ("https://index.docker.io/v1/", "hub:a:b"),
            ("https://b.example", "url:1"),
        ]);
        for (reference, credentials) in [
            ("a.example/other", Some("host:1")),
            ("a.example/teams/app", Some("host:1")),
            ("a.example/team/x/y", Some("team:1")),
            ("a.example/team/app:tag", Some("app:1")),
            ("a.example:5000/team/app", Some("port:1")),
            ("debian", Some("library:1")),
            ("user/name", Some("hub:a:b")),
            ("b.example/x", Some("url:1")),
            ("c.example/x", None),
        ] {
            assert_eq!(find(&file, reference).unwrap().as_deref(), credentials, "{reference}");
        }
    }

    #[test]
    fn identity_tokens_and_empty_entries_are_understood() {
        let file = json!({
            "auths": {"a.example": {"auth": STANDARD.encode("u:"), "identitytoken": "t0k"}, "b.example": {}},
            "credHelpers": {"b.example": "would-run"}, "credsStore": "would-run-too"
        });
        assert_eq!(
            find(&file.to_string(), "a.example/x").unwrap().as_deref(),
            Some("token t0k")
        );
        assert_eq!(find(&file.to_string(), "b.example/x").unwrap(), None);
        assert_eq!(find("{}", "b.example/x").unwrap(), None);
    }

    #[test]
    fn broken_files_are_errors_that_show_no_secret() {
        let wrong_type =
            json!({"auths": {"a.example": {"auth": ["c2VjcmV0OnNlY3JldA=="]}, "b": "c2VjcmV0OnNlY3JldA=="}});
        let no_colon = auths(&[("a.example", "c2VjcmV0")]);
        let no_base64 = json!({"auths": {"a.example": {"auth": "c2VjcmV0 c2VjcmV0"}}});
        let no_user = auths(&[("a.example", ":c2VjcmV0")]);
        for content in [
            wrong_type.to_string(),
            no_colon,
            no_base64.to_string(),
            no_user,
            "c2VjcmV0".to_owned(),
        ] {
            let error = find(&content, "a.example/x").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("c2VjcmV0") && !shown.contains("secret"), "{shown}");
        }
        let Reference::Registry(image) = Reference::parse("a.example/x").unwrap() else {
            panic!("no registry")
        };
        let missing = Credentials::find(Path::new("/nonexistent/auth.json"), &image);
        assert!(matches!(missing.err(), Some(AuthError::Read { .. })));
    }
}
