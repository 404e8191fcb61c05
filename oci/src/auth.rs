//! Registry credentials, from the caller or from files as containers-auth.json(5) describes them.
//!
//! Credential helpers that a file names are never executed: [`CredentialHelper`] only lets an error
//! name the helper that may hold the credentials.
//!
//! This module looks credentials up, [`entry`] parses one entry of a file, and `auth/file.rs`
//! changes a file for logins and logouts. To add a kind of credentials, extend [`AuthMethod`] and
//! [`Credentials`] here, `Entry` in `auth/entry.rs`, the answer to the challenge in
//! `registry/token.rs`, and the secrets that are hidden in `registry/secrets.rs`.

mod entry;
mod file;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::reference::{self, RegistryReference};
use crate::credential_helper::CredentialHelper;
use crate::host::{Access, Directory, Untrusted, end_lock_holder_hint, io_error_kind};
use entry::{Entry, InvalidEntry, TOKEN_USER};
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

pub use file::{AuthFile, InvalidLoginTarget, Login, LoginTarget};

/// Limit on the size of a credentials file, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// Files in which credentials are looked up: first in `named`, then in `default`.
///
/// Within a file, the most specific entry wins: the repository's, then that of each namespace that
/// contains the repository, then the registry's.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles {
    /// A file that the user named. It must exist, and any user may own it.
    pub named: Option<PathBuf>,
    /// A file that is read if `named` has no credentials for the repository. It may be missing. It
    /// must belong to this user or to root, and other users must not be able to write to it.
    pub default: Option<PathBuf>,
}

impl AuthFiles {
    /// Returns the files of a user: the one that `REGISTRY_AUTH_FILE` names, and
    /// `.microagent/auth.json` in the home directory.
    #[must_use]
    pub fn for_user(home: Option<&Path>) -> Self {
        let named = std::env::var_os("REGISTRY_AUTH_FILE").filter(|path| !path.is_empty());
        Self {
            named: named.map(PathBuf::from),
            default: home.map(|home| home.join(".microagent/auth.json")),
        }
    }

    /// Returns the file that logins are written to; `None` without a named file and a home
    /// directory.
    #[must_use]
    pub fn login_file(&self) -> Option<AuthFile> {
        self.files().into_iter().next()
    }

    /// Returns both files, in the order in which they are searched.
    #[must_use]
    pub fn files(&self) -> Vec<AuthFile> {
        let named = self.named.clone().map(AuthFile::new);
        let default = self.default.clone().map(AuthFile::private);
        named.into_iter().chain(default).collect()
    }

    /// Looks up the credentials for a repository.
    pub(super) fn find(&self, image: &RegistryReference) -> Result<FoundCredentials, AuthError> {
        let mut found = FoundCredentials::default();
        for (path, access) in [(&self.named, Access::ReadAnyOwner), (&self.default, Access::Read)] {
            let Some(path) = path else { continue };
            let file = match read(path, access) {
                Err(AuthError::Read { source, .. })
                    if access == Access::Read && source.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                file => file?,
            };
            found.helper = found.helper.or_else(|| file.helper(image, path));
            if let Some(credentials) = file.find(path, image)? {
                found.credentials = Some((credentials, path.clone()));
                break;
            }
        }
        Ok(found)
    }
}

/// Result of a lookup of credentials for a repository.
#[derive(Default)]
pub(super) struct FoundCredentials {
    /// Credentials, and the file that they are from. The path is empty for credentials of the
    /// caller.
    pub(super) credentials: Option<(AuthMethod, PathBuf)>,
    /// A credential helper that the files name for the repository; it is never executed.
    pub(super) helper: Option<CredentialHelper>,
}

/// A text that must not be shown. It has no `Display`, and its `Debug` hides it, so that it cannot
/// slip into an error or a log.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Wraps a text that must not be shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text, for the request that sends it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Credentials for a registry. `Debug` hides their secrets.
///
/// ```
/// use oci::{Credentials, RegistryOptions, Secret};
///
/// let password = Secret::new(String::from("from a vault"));
/// let mut options = RegistryOptions::default();
/// options.credentials = Some(Credentials::basic("robot", &password));
/// assert!(!format!("{options:?}").contains("vault"));
/// ```
#[derive(Debug, Clone)]
pub struct Credentials(AuthMethod);

/// A method of authentication, with its secrets.
#[derive(Debug, Clone)]
pub(super) enum AuthMethod {
    /// User and password in the form that HTTP Basic sends: `user:password` in base64.
    Basic(Secret),
    /// An OAuth 2 refresh token, which `docker login` stores for registries with OAuth 2.
    IdentityToken {
        token: Secret,
        /// User and password as in [`AuthMethod::Basic`]; the password may be empty.
        basic_auth: Option<Secret>,
    },
    /// A bearer token for the registry itself, sent without a request to a token server.
    RegistryToken(Secret),
}

impl Credentials {
    /// Makes credentials of a user and a password. As in files, the user `<token>` marks the
    /// password as an identity token.
    #[must_use]
    pub fn basic(user: &str, password: &Secret) -> Self {
        Self(AuthMethod::basic(user, password))
    }

    /// Makes credentials of an OAuth 2 refresh token, which `docker login` stores for registries
    /// with OAuth 2.
    #[must_use]
    pub fn identity_token(token: Secret) -> Self {
        Self(AuthMethod::IdentityToken {
            token,
            basic_auth: None,
        })
    }

    /// Makes credentials of a bearer token for the registry itself, sent without a request to a
    /// token server.
    #[must_use]
    pub fn registry_token(token: Secret) -> Self {
        Self(AuthMethod::RegistryToken(token))
    }

    /// Returns the method of authentication.
    pub(super) fn method(&self) -> &AuthMethod {
        &self.0
    }
}

impl AuthMethod {
    /// Makes credentials of a user and a password. The user [`TOKEN_USER`] marks the password as an
    /// identity token.
    pub(super) fn basic(user: &str, password: &Secret) -> Self {
        if user == TOKEN_USER {
            let token = password.clone();
            return Self::IdentityToken {
                token,
                basic_auth: None,
            };
        }
        Self::Basic(Secret(STANDARD.encode(format!("{user}:{}", password.reveal()))))
    }

    /// Returns the credentials for HTTP Basic, `user:password` in base64; `None` without a
    /// password.
    pub(super) fn basic_auth(&self) -> Option<Secret> {
        match self {
            Self::Basic(pair) => Some(pair.clone()),
            Self::IdentityToken {
                basic_auth: Some(pair), ..
            } => {
                let decoded = STANDARD.decode(pair.reveal()).ok()?;
                Some(pair.clone()).filter(|_| !decoded.ends_with(b":"))
            }
            _ => None,
        }
    }

    /// Returns the credentials for HTTP Basic, with an identity token in place of the password;
    /// `None` for a registry token, which has no user.
    pub(super) fn basic_auth_with_token(&self) -> Option<Secret> {
        let Self::IdentityToken { token, basic_auth } = self else {
            return self.basic_auth();
        };
        let pair = basic_auth.as_ref().and_then(|pair| STANDARD.decode(pair.reveal()).ok());
        let pair = pair.unwrap_or_default();
        let user = pair.split(|byte| *byte == b':').next().unwrap_or_default();
        let user = if user.is_empty() { TOKEN_USER.as_bytes() } else { user };
        let pair = [user, b":", token.reveal().as_bytes()].concat();
        Some(Secret(STANDARD.encode(pair)))
    }
}

fn read(path: &Path, access: Access) -> Result<FileContent, AuthError> {
    let (directory, name) = Directory::containing(path, false).map_err(|source| AuthError::read(path, source))?;
    parse(&read_bytes(&directory, &name, access, path)?, path)
}

/// Reads a file of a directory. `path` is for messages.
fn read_bytes(directory: &Directory, name: &OsStr, access: Access, path: &Path) -> Result<Vec<u8>, AuthError> {
    let failed = |source| AuthError::read(path, source);
    let file = directory.open_file(name, access).map_err(failed)?;
    let mut content = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_LEN {
        let path = path.to_owned();
        return Err(AuthError::TooLarge { path, max: MAX_LEN });
    }
    Ok(content)
}

/// Parses the JSON of a credentials file. `path` is for messages.
pub(super) fn parse(json: &[u8], path: &Path) -> Result<FileContent, AuthError> {
    from_json(json, path)
}

/// Parses JSON. `null` and an empty file become the default value.
fn from_json<T: Default + for<'de> Deserialize<'de>>(json: &[u8], path: &Path) -> Result<T, AuthError> {
    // Editors on Windows put a byte order mark at the beginning.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    // Another program is creating the file, or `mktemp` made it.
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let content: Result<Option<T>, _> = serde_json::from_slice(json);
    content.map(Option::unwrap_or_default).map_err(|error| AuthError::Json {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// Deserializes `null` as the default value, for serde's `deserialize_with`: Go writes empty values
/// as `null`.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns the keys of a file that match an image, from `host/namespace/repository` up to `host`.
fn lookup_keys(image: &RegistryReference) -> impl Iterator<Item = String> {
    let most_specific = format!("{}/{}", image.registry, image.repository);
    std::iter::successors(Some(most_specific), |key| {
        key.rsplit_once('/').map(|(parent, _)| parent.to_owned())
    })
}

/// Returns a key of a file in the spelling of [`lookup_keys`]: a registry, or a registry and a
/// namespace.
///
/// Tools write `Host`, `host/`, `host/v2/` and `https://host/v2/`, `docker login` writes
/// `https://index.docker.io/v1/`. A URL always stands for the whole registry.
fn canonical_key(key: &str) -> String {
    let url = strip_http_scheme(key);
    let (host, path) = split_api_path(url.unwrap_or(key));
    let host = reference::canonical_host(host);
    match path {
        path if path.is_empty() || url.is_some() => host,
        path => format!("{host}/{path}"),
    }
}

/// Returns what follows `http://` or `https://`.
fn strip_http_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    is_http.then_some(rest)
}

/// Splits a name into its host and the path after it. The path of the registry's API, `v1` or `v2`,
/// counts as empty.
fn split_api_path(name: &str) -> (&str, &str) {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    match path.trim_end_matches('/') {
        "v1" | "v2" => (host, ""),
        path => (host, path),
    }
}

/// Returns the entries of a file that match an image, from the most specific to the least specific
/// (containers-auth.json(5)). If several keys have the same meaning, the canonical spelling comes
/// first, and the others follow in their order.
fn matching_entries<'file>(
    entries: &'file BTreeMap<String, Value>,
    image: &RegistryReference,
) -> impl Iterator<Item = (&'file str, &'file Value)> {
    let by_canonical_key: Vec<_> = entries
        .iter()
        .map(|(key, value)| (canonical_key(key), key.as_str(), value))
        .collect();
    lookup_keys(image).flat_map(move |wanted| {
        let same = by_canonical_key.iter().filter(|(key, ..)| *key == wanted);
        let mut same: Vec<_> = same.map(|(_, key, value)| (*key, *value)).collect();
        same.sort_by_key(|(key, _)| *key != wanted);
        same
    })
}

/// Fields of a credentials file that this program reads.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileContent {
    #[serde(default, deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, Value>,
    #[serde(default)]
    creds_store: Value,
    /// Makes serde refuse an array in place of the object.
    #[serde(flatten)]
    _others: IgnoredAny,
}

impl FileContent {
    /// Returns the credentials of the most specific entry that matches the repository. An entry
    /// without credentials is skipped.
    pub(super) fn find(&self, file: &Path, image: &RegistryReference) -> Result<Option<AuthMethod>, AuthError> {
        for (key, value) in matching_entries(&self.auths, image) {
            let entry = Entry::read(value).map_err(|InvalidEntry| AuthError::Entry {
                path: file.to_owned(),
                key: key.to_owned(),
            })?;
            if let Some(credentials) = entry.credentials() {
                return Ok(Some(credentials));
            }
        }
        Ok(None)
    }

    /// Returns the credential helper that other tools would execute: the registry's own, or the
    /// helper for all registries.
    pub(super) fn helper(&self, image: &RegistryReference, file: &Path) -> Option<CredentialHelper> {
        let own = matching_entries(&self.cred_helpers, image).map(|(_, name)| name);
        let mut names = own.chain([&self.creds_store]).filter_map(Value::as_str);
        names.find(|name| !name.is_empty()).map(|name| CredentialHelper {
            name: name.to_owned(),
            file: file.to_owned(),
        })
    }
}

/// A credentials file that cannot be used. Of the file's content, the error shows only names of
/// registries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The file could not be read.
    #[error("could not read the credentials file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("could not write the credentials file {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// The file or its lock belongs to another user, can be changed by others, was replaced, or is
    /// not a regular file. Its content was not used.
    #[error("refused to use {} for credentials", .path.display())]
    Refused {
        /// The file, or its lock.
        path: PathBuf,
        /// Why it was refused: an [`Untrusted`].
        #[source]
        source: io::Error,
    },
    /// The file is larger than the limit on credentials files.
    #[error("the credentials file {} has more than {max} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// Another process held the file's lock during the whole wait.
    #[error("gave up waiting for {}, which another process has held for {} s", .path.display(), .waited.as_secs())]
    Held {
        /// The lock.
        path: PathBuf,
        /// Time that this process waited.
        waited: Duration,
    },
    /// The caller cancelled the change.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
    /// The file is not JSON of the right form.
    #[error(
        "the credentials file {} does not have the form of containers-auth.json(5), see line {line}, column {column}",
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
    /// An entry has credentials of an unknown form.
    #[error(
        "the credentials file {} has an entry {key:?} that is neither user:password in base64 nor a token",
        .path.display()
    )]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry or repository of the entry.
        key: String,
    },
}

impl AuthError {
    fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Untrusted::from_error(&source) {
            Some(_) => Self::Refused { path, source },
            None => Self::Read { path, source },
        }
    }

    fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Untrusted::from_error(&source) {
            Some(_) => Self::Refused { path, source },
            None => Self::Write { path, source },
        }
    }
}

impl Failure for AuthError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Refused { source, .. } => {
                io_error_kind(source)
            }
            Self::Json { .. } | Self::Entry { .. } | Self::TooLarge { .. } => ErrorKind::Permanent,
            Self::Held { .. } | Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let own = Hint::from("use a file of your own").with(Setting::CredentialsFile);
        match self {
            Self::Refused { path, source } => Some(Untrusted::from_error(source)?.hint(path, own)),
            Self::Held { path, .. } => Some(end_lock_holder_hint(path, own)),
            Self::TooLarge { .. } => Some(Hint::from("use a credentials file").with(Setting::CredentialsFile)),
            Self::Cancelled(_) => Some(Hint::again()),
            Self::Read { .. } | Self::Write { .. } | Self::Json { .. } | Self::Entry { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
