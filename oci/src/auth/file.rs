//! Changing a credentials file: other entries, and what this program does not know, stay as they are.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{AuthError, Entry, Secret, canonical_key, from_json, read_bytes, split_api_path, strip_http_scheme};
use crate::host::{Access, Directory, Identity, Untrusted};
use crate::reference::{self, RegistryReference, host_of, is_loopback};
use layer::cancel::Cancel;

/// How often it is tried to replace a file that others have open, and how long after each time they get to close it.
const REPLACE_ATTEMPTS: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Time for which another process may hold the lock before the user is told, and before this one
/// gives up.
const NOTICE_AFTER: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_mins(1);

/// What a login is for: a registry, or the repositories in a namespace of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginTarget {
    /// Host with or without port, in lower case; `docker.io` for Docker Hub.
    pub(crate) registry: String,
    /// The registry, or the registry and a namespace: what [`canonical_key`] makes of each key for it.
    key: String,
    plain_http: bool,
}

impl LoginTarget {
    /// Reads `<host>[:<port>][/<namespace>]`, as image references begin, or the URL of a registry.
    ///
    /// # Errors
    ///
    /// The text, if it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidLoginTarget> {
        let invalid = |why| InvalidLoginTarget::new(text, why);
        let name = strip_http_scheme(text).or_else(|| text.strip_prefix("docker://"));
        let (host, namespace) = split_api_path(name.unwrap_or(text));
        if text.contains('@') {
            return Err(invalid("omit user and password"));
        }
        if text.contains(['?', '#']) {
            return Err(invalid("omit what begins with ? or #"));
        }
        // A name that is no host would be one of Docker Hub's users.
        if !reference::is_host(host) {
            return Err(invalid(EXPECTED_FORM));
        }
        let repository = if namespace.is_empty() { "a/b" } else { namespace };
        let reference = RegistryReference::parse(&format!("{host}/{repository}@{ANY_DIGEST}"));
        let registry = reference.map_err(|_| invalid(EXPECTED_FORM))?.registry;
        let key = match namespace {
            "" => registry.clone(),
            namespace => format!("{registry}/{namespace}"),
        };
        let is_plain = text
            .split_once("://")
            .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http"));
        Ok(Self {
            plain_http: is_plain && !is_loopback(host_of(&registry)),
            registry,
            key,
        })
    }

    /// The registry, and the namespace if there is one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Returns whether it was given as `http://`, and is not on this machine: builds speak TLS to
    /// it unless they are told otherwise too.
    #[must_use]
    pub fn is_plain_http(&self) -> bool {
        self.plain_http
    }

    /// Whether an entry of a credentials file is for this, in whatever style.
    fn matches(&self, key: &str) -> bool {
        canonical_key(key) == self.key
    }
}

/// So that a port is not taken for a tag.
const ANY_DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const EXPECTED_FORM: &str =
    "write <host>[:<port>], such as ghcr.io, or docker.io for Docker Hub, and a namespace in lower case";

/// A text that names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no registry: {why}")]
pub struct InvalidLoginTarget {
    text: String,
    why: &'static str,
}

impl InvalidLoginTarget {
    /// Hides what is before an `@` and in a query, which may be a secret.
    fn new(text: &str, why: &'static str) -> Self {
        let (host, start) = text.rsplit_once('@').map_or((text, ""), |(_, host)| (host, "…@"));
        let (host, end) = host.find(['?', '#']).map_or((host, ""), |at| (&host[..=at], "…"));
        let text = format!("{start}{host}{end}");
        Self { text, why }
    }
}

/// An entry of a credentials file, without what is secret in it.
///
/// Its JSON is that of the command `microagent registry ls`:
/// `{"auth_file":"/home/me/.microagent/auth.json","registry":"r.example","user":"me"}`, the user
/// `null` where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Login {
    /// Path of the file.
    #[serde(serialize_with = "as_text")]
    pub auth_file: PathBuf,
    /// The registry, and the namespace if there is one, as the file names it.
    pub registry: String,
    /// The user; none for a token, and where the entry is of another form.
    pub user: Option<String>,
}

/// JSON has no bytes that are not UTF-8.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A file with credentials as containers-auth.json(5) describes it, which may not exist yet.
#[derive(Debug, Clone)]
pub struct AuthFile {
    path: PathBuf,
    /// Access for reading. A file that is changed must always be this user's or root's.
    access: Access,
    wait: LockWait,
}

/// Wait for another process that changes the file.
#[derive(Debug, Clone)]
struct LockWait {
    cancel: Cancel,
    notify: fn(&Path),
    notice_after: Duration,
    max_wait: Duration,
}

impl AuthFile {
    /// The file at a path, which may be anybody's if it is only read.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let wait = LockWait {
            cancel: Cancel::new(),
            notify: |_| {},
            notice_after: NOTICE_AFTER,
            max_wait: MAX_WAIT,
        };
        let access = Access::ReadAnyOwner;
        Self { path, access, wait }
    }

    /// The same of this user or root, which no other user can change.
    pub(super) fn private(path: PathBuf) -> Self {
        Self {
            access: Access::Read,
            ..Self::new(path)
        }
    }

    /// Makes a change give up when it is cancelled while it waits for another process, and
    /// call `notify` with the lock's path after a second of waiting. Without this, it only gives up
    /// after a minute.
    #[must_use]
    pub fn with_lock_wait(mut self, cancel: &Cancel, notify: fn(&Path)) -> Self {
        self.wait.cancel = cancel.clone();
        self.wait.notify = notify;
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its entries, in order of their names.
    ///
    /// # Errors
    ///
    /// [`AuthError::Read`], [`AuthError::Refused`], [`AuthError::TooLarge`] and
    /// [`AuthError::Json`].
    pub fn logins(&self) -> Result<Vec<Login>, AuthError> {
        let Some((directory, name)) = self.find()? else {
            return Ok(Vec::new());
        };
        let content = read(&directory, &name, self.access, &self.path)?;
        let auths = match content.get("auths") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(auths) => auths.as_object().ok_or_else(|| auths_not_an_object(&self.path))?,
        };
        let login = |(registry, entry): (&String, &Value)| Login {
            auth_file: self.path.clone(),
            registry: registry.clone(),
            user: Entry::read(entry).ok().and_then(Entry::user),
        };
        Ok(auths.iter().map(login).collect())
    }

    /// Keeps credentials, in place of older ones for the same.
    ///
    /// # Errors
    ///
    /// [`AuthError::Read`], [`AuthError::TooLarge`] and [`AuthError::Json`] when what the file
    /// holds cannot be kept, [`AuthError::Write`]; [`AuthError::Refused`] when the file or its lock
    /// is another user's; [`AuthError::Held`] and [`AuthError::Cancelled`] while another process
    /// changes it.
    pub fn add(&self, target: &LoginTarget, user: &str, password: &Secret) -> Result<(), AuthError> {
        let auth = STANDARD.encode(format!("{user}:{}", password.reveal()));
        self.change(|auths| {
            auths.retain(|key, _| !target.matches(key));
            auths.insert(target.key.clone(), json!({"auth": auth}));
            true
        })
        .map(drop)
    }

    /// Removes credentials; says whether there were any.
    ///
    /// # Errors
    ///
    /// As [`AuthFile::add`].
    pub fn remove(&self, target: &LoginTarget) -> Result<bool, AuthError> {
        match self.find()? {
            Some((directory, name)) if !matches!(directory.kind(&name), Ok(None)) => {}
            _ => return Ok(false),
        }
        self.change(|auths| {
            let before = auths.len();
            auths.retain(|key, _| !target.matches(key));
            auths.len() < before
        })
    }

    /// Changes the entries, alone and in one step, if `change` says that it did.
    fn change(&self, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<bool, AuthError> {
        let failed = |source| AuthError::write(&self.path, source);
        // What a link leads to is changed, and not the link.
        let (directory, name) = Directory::containing(&self.path, true).map_err(failed)?;
        let path = directory.path().join(&name);
        let _lock = self.wait.lock(&directory, &name)?;
        let mut content = read(&directory, &name, Access::Read, &path)?;
        let auths = content.entry("auths").or_insert(Value::Null);
        let did = match auths {
            Value::Object(auths) => change(auths),
            Value::Null => {
                let mut empty = Map::new();
                let did = change(&mut empty);
                *auths = empty.into();
                did
            }
            _ => return Err(auths_not_an_object(&path)),
        };
        if did {
            let mut json = serde_json::to_vec_pretty(&content).expect("JSON that was read can be written");
            json.push(b'\n');
            replace(&directory, &name, &json).map_err(failed)?;
        }
        Ok(did)
    }

    /// Opens its directory, if there is one, and returns its name there.
    fn find(&self) -> Result<Option<(Directory, OsString)>, AuthError> {
        match Directory::containing(&self.path, false) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AuthError::read(&self.path, source)),
        }
    }
}

impl LockWait {
    /// Waits for another process that is changing the file. The lock has a file of its own, which
    /// stays: the file itself is replaced.
    fn lock(&self, directory: &Directory, name: &OsStr) -> Result<File, AuthError> {
        let mut name = name.to_owned();
        name.push(".lock");
        let path = directory.path().join(&name);
        let failed = |source| AuthError::write(&path, source);
        let file = directory.open_file(&name, Access::Create).map_err(failed)?;
        let begun = Instant::now();
        let mut notified = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            let waited = begun.elapsed();
            if waited >= self.max_wait {
                return Err(AuthError::Held { path, waited });
            }
            if waited >= self.notice_after && !notified {
                notified = true;
                (self.notify)(&path);
            }
            self.cancel.wait_timeout(RETRY_PAUSE)?;
        }
    }
}

fn read(directory: &Directory, name: &OsStr, access: Access, path: &Path) -> Result<Map<String, Value>, AuthError> {
    match read_bytes(directory, name, access, path) {
        Err(AuthError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        json => from_json(&json?, path),
    }
}

/// The error of a file whose entries are not in an object.
fn auths_not_an_object(path: &Path) -> AuthError {
    AuthError::Json {
        path: path.to_owned(),
        line: 1,
        column: 1,
    }
}

/// Puts a file, which only its owner can read, in the place of another.
fn replace(directory: &Directory, name: &OsStr, content: &[u8]) -> io::Result<()> {
    let (hidden, mut file) = directory.create_hidden_file(0o600)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| rename(directory, &hidden, name));
    if replaced.is_err() {
        // The caller has the failure that led here, and no use for another one.
        let _ = directory.remove_file(&hidden);
    }
    replaced?;
    // In a directory of another user, something else may have had the hidden name by then.
    if !directory.entry_is(name, Identity::of(&file)?)? {
        return Err(Untrusted::Replaced.into());
    }
    Ok(())
}

/// Windows refuses to replace a file that somebody has open, if only to read it: they are soon
/// done.
fn rename(directory: &Directory, hidden: &OsStr, name: &OsStr) -> io::Result<()> {
    for _ in 1..REPLACE_ATTEMPTS {
        match directory.rename(hidden, directory, name) {
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {
                thread::sleep(RETRY_PAUSE)
            }
            result => return result,
        }
    }
    directory.rename(hidden, directory, name)
}

#[cfg(test)]
mod tests;
