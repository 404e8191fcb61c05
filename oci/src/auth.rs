//! Credentials from files as containers-auth.json(5) describes them. Helpers that they name are never executed.

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
use crate::helper::Helper;
use crate::host::{Access, Directory, Untrusted, end_lock_holder_hint, io_error_kind};
use entry::{Entry, InvalidEntry, TOKEN_USER};
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

pub use file::{AuthFile, InvalidLoginTarget, Login, LoginTarget};

/// Limit on the size of a credentials file in bytes.
const MAX_LEN: u64 = 1 << 20;

/// Where credentials are looked for, in this order. Those for the repository itself win over those for what it is part
/// of.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles {
    /// A file that somebody named. It must exist, and may be anybody's.
    pub named: Option<PathBuf>,
    /// A file that may exist, for what the other one says nothing of. It must be this user's or
    /// root's, and no other user may be able to change it.
    pub default: Option<PathBuf>,
}

impl AuthFiles {
    /// The files of a user: the one that `REGISTRY_AUTH_FILE` names, and `.microagent/auth.json` in the home directory.
    #[must_use]
    pub fn for_user(home: Option<&Path>) -> Self {
        let named = std::env::var_os("REGISTRY_AUTH_FILE").filter(|path| !path.is_empty());
        Self {
            named: named.map(PathBuf::from),
            default: home.map(|home| home.join(".microagent/auth.json")),
        }
    }

    /// The file that a login is kept in; none where nobody named one and there is no home directory.
    #[must_use]
    pub fn login_file(&self) -> Option<AuthFile> {
        self.files().into_iter().next()
    }

    /// Both files, in this order.
    #[must_use]
    pub fn files(&self) -> Vec<AuthFile> {
        let named = self.named.clone().map(AuthFile::new);
        let default = self.default.clone().map(AuthFile::private);
        named.into_iter().chain(default).collect()
    }

    /// The credentials for a repository.
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

/// What the files say of a repository.
#[derive(Default)]
pub(super) struct FoundCredentials {
    /// Credentials, and the file that has them; an empty path of those that no file has.
    pub(super) credentials: Option<(AuthMethod, PathBuf)>,
    /// A helper that would have to be asked.
    pub(super) helper: Option<Helper>,
}

/// A text that must not be shown: without `Display`, and with a `Debug` that hides it, it cannot
/// slip into an error or a log.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes a text that must not be shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the request that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Proof of identity for a registry. `Debug` hides it.
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

/// The means of authentication.
#[derive(Debug, Clone)]
pub(super) enum AuthMethod {
    /// User and password, as HTTP Basic sends them: `user:password` in base64.
    Basic(Secret),
    /// A refresh token, as `docker login` gets it from registries that use OAuth 2.
    IdentityToken {
        token: Secret,
        /// The user and a password, which may be empty, as in [`AuthMethod::Basic`].
        basic_auth: Option<Secret>,
    },
    /// A token for the registry itself, which no token server has to be asked for.
    RegistryToken(Secret),
}

impl Credentials {
    /// A user and a password. As in files, the user `<token>` marks the password as an identity
    /// token.
    #[must_use]
    pub fn basic(user: &str, password: &Secret) -> Self {
        Self(AuthMethod::basic(user, password))
    }

    /// A refresh token, as `docker login` gets it from registries that use OAuth 2.
    #[must_use]
    pub fn identity_token(token: Secret) -> Self {
        Self(AuthMethod::IdentityToken {
            token,
            basic_auth: None,
        })
    }

    /// A bearer token for the registry itself, which no token server has to be asked for.
    #[must_use]
    pub fn registry_token(token: Secret) -> Self {
        Self(AuthMethod::RegistryToken(token))
    }

    pub(super) fn method(&self) -> &AuthMethod {
        &self.0
    }
}

impl AuthMethod {
    /// User and password; an identity token, if the user is the one that marks it as that in files
    /// too.
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

    /// Returns `user:password` in base64; `None` without a password.
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

    /// Returns `user:password` in base64, where an identity token stands in for the password;
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

/// Reads a file of a directory; its path is for messages.
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

/// What the JSON of a file says; its path is for messages.
pub(super) fn parse(json: &[u8], path: &Path) -> Result<FileContent, AuthError> {
    from_json(json, path)
}

/// Reads JSON, and `null` and an empty file as nothing.
fn from_json<T: Default + for<'de> Deserialize<'de>>(json: &[u8], path: &Path) -> Result<T, AuthError> {
    // Editors on Windows put a byte order mark at the beginning.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    // A file that is being made by others, or was made by `mktemp`.
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

/// Reads what Go writes as `null` where it is empty, for types that serde derives.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// From `host/namespace/repository` up to `host`.
fn lookup_keys(image: &RegistryReference) -> impl Iterator<Item = String> {
    let whole = format!("{}/{}", image.registry, image.repository);
    std::iter::successors(Some(whole), |key| {
        key.rsplit_once('/').map(|(parent, _)| parent.to_owned())
    })
}

/// Returns the registry that a key of a file means, or the registry and the beginning of its
/// repositories, as [`keys`] spells them.
///
/// Tools write `Host`, `host/`, `host/v2/` and `https://host/v2/`, `docker login` writes
/// `https://index.docker.io/v1/`. A URL always means the whole registry.
fn canonical_key(key: &str) -> String {
    let url = strip_http_scheme(key);
    let (host, path) = split_api_path(url.unwrap_or(key));
    let host = reference::canonical(host);
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

/// Splits a host from the path behind it, which is empty if it is that of the registry's API.
fn split_api_path(name: &str) -> (&str, &str) {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    match path.trim_end_matches('/') {
        "v1" | "v2" => (host, ""),
        path => (host, path),
    }
}

/// Returns what a file has for an image, from the most specific to the least
/// (containers-auth.json(5)). Of keys with the same meaning, the canonical one comes first, and the
/// others in order.
fn matching_entries<'file>(
    entries: &'file BTreeMap<String, Value>,
    image: &RegistryReference,
) -> impl Iterator<Item = (&'file str, &'file Value)> {
    let meanings: Vec<_> = entries
        .iter()
        .map(|(key, value)| (canonical_key(key), key.as_str(), value))
        .collect();
    lookup_keys(image).flat_map(move |wanted| {
        let same = meanings.iter().filter(|(meaning, ..)| *meaning == wanted);
        let mut same: Vec<_> = same.map(|(_, key, value)| (*key, *value)).collect();
        same.sort_by_key(|(key, _)| *key != wanted);
        same
    })
}

/// What is of interest in a file.
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
    /// The credentials for the repository, or for the nearest of what it is part of. An entry
    /// without any hides no other one.
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

    /// The helper that others would ask: the registry's own, or the one for all that there are entries of.
    pub(super) fn helper(&self, image: &RegistryReference, file: &Path) -> Option<Helper> {
        let own = matching_entries(&self.cred_helpers, image).map(|(_, name)| name);
        let mut names = own.chain([&self.creds_store]).filter_map(Value::as_str);
        names.find(|name| !name.is_empty()).map(|name| Helper {
            name: name.to_owned(),
            file: file.to_owned(),
        })
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
    /// The file could not be written.
    #[error("could not write the credentials file {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file or its lock belongs to another user, can be changed by others, or is not a regular
    /// file. Nothing of it was used.
    #[error("refused to use {} for credentials", .path.display())]
    Refused {
        /// The file, or its lock.
        path: PathBuf,
        /// Why, with owner and mode.
        #[source]
        source: io::Error,
    },
    /// More bytes than any credentials file has.
    #[error("the credentials file {} has more than {max} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// Another process held the file's lock all the time.
    #[error("gave up waiting for {}, which another process has held for {} s", .path.display(), .waited.as_secs())]
    Held {
        /// The lock.
        path: PathBuf,
        /// Time that this process waited.
        waited: Duration,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
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
    /// An entry that holds credentials in no form that is known.
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
        let own = Hint::from("name a file of your own").with(Setting::CredentialsFile);
        match self {
            Self::Refused { path, source } => Some(Untrusted::from_error(source)?.hint(path, own)),
            Self::Held { path, .. } => Some(end_lock_holder_hint(path, own)),
            Self::TooLarge { .. } => Some(Hint::from("name a credentials file").with(Setting::CredentialsFile)),
            Self::Cancelled(_) => Some(Hint::again()),
            Self::Read { .. } | Self::Write { .. } | Self::Json { .. } | Self::Entry { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
