//! Changes to a credentials file, for logins and logouts. Other entries and unknown fields are
//! kept.
//!
//! A change takes the lock, reads the file, changes one entry, and replaces the file with a new one
//! in one step. The lock is a file beside the credentials file, with `.lock` appended to its name;
//! it is never removed, so that every process locks the same file.

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

/// Attempts to replace a file that other processes have open, and the pause after each attempt.
const REPLACE_ATTEMPTS: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Time for which another process may hold the lock before the caller is notified, and before this
/// process gives up.
const NOTICE_AFTER: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Target of a login: a registry, or the repositories in a namespace of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginTarget {
    /// Host with an optional port, in lower case; `docker.io` for Docker Hub.
    pub(crate) registry: String,
    /// The registry, or the registry and a namespace, as [`canonical_key`] spells it.
    key: String,
    plain_http: bool,
}

impl LoginTarget {
    /// Parses `<host>[:<port>][/<namespace>]`, as image references begin, or the URL of a registry.
    ///
    /// # Errors
    ///
    /// [`InvalidLoginTarget`] for any other text.
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
        // Any other first part would name a user of Docker Hub.
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

    /// Returns the registry, and the namespace if the target has one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Returns whether the target was given as `http://` and is not on this machine. A build speaks
    /// TLS to such a registry unless the user requests plain HTTP for the build too.
    #[must_use]
    pub fn is_plain_http(&self) -> bool {
        self.plain_http
    }

    /// Returns whether a key of a credentials file stands for this target, in any spelling.
    fn matches(&self, key: &str) -> bool {
        canonical_key(key) == self.key
    }
}

/// A digest that is appended to a target, so that its port is not parsed as a tag.
const ANY_DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Advice of [`InvalidLoginTarget`] on the form of a target.
const EXPECTED_FORM: &str =
    "write <host>[:<port>], such as ghcr.io, or docker.io for Docker Hub, and a namespace in lower case";

/// Error of a text that does not name a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a registry: {why}")]
pub struct InvalidLoginTarget {
    text: String,
    why: &'static str,
}

impl InvalidLoginTarget {
    /// Makes the error. The text before an `@` and a query are left out, since they may hold a
    /// secret.
    fn new(text: &str, why: &'static str) -> Self {
        let (host, start) = text.rsplit_once('@').map_or((text, ""), |(_, host)| (host, "…@"));
        let (host, end) = host.find(['?', '#']).map_or((host, ""), |at| (&host[..=at], "…"));
        let text = format!("{start}{host}{end}");
        Self { text, why }
    }
}

/// An entry of a credentials file, without its secrets.
///
/// Its JSON is that of the command `microagent registry ls`:
/// `{"auth_file":"/home/me/.microagent/auth.json","registry":"r.example","user":"me"}`. Without a
/// user, `user` is `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Login {
    /// Path of the file.
    #[serde(serialize_with = "as_text")]
    pub auth_file: PathBuf,
    /// The key of the entry in the file: a registry, or a registry and a namespace.
    pub registry: String,
    /// The user. `None` for a token, and for an entry of an unknown form.
    pub user: Option<String>,
}

/// Serializes a path as text, since JSON cannot hold bytes that are not UTF-8.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A credentials file as containers-auth.json(5) describes it, which may not exist yet.
#[derive(Debug, Clone)]
pub struct AuthFile {
    path: PathBuf,
    /// Access for reading. To be changed, a file must always belong to this user or to root.
    access: Access,
    wait: LockWait,
}

/// Settings of the wait for another process that is changing the file.
#[derive(Debug, Clone)]
struct LockWait {
    cancel: Cancel,
    notify: fn(&Path),
    notice_after: Duration,
    max_wait: Duration,
}

impl AuthFile {
    /// Returns the file at a path. Any user may own it if it is only read.
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

    /// Returns the file at a path, which must belong to this user or to root and which other users
    /// must not be able to write to.
    pub(super) fn private(path: PathBuf) -> Self {
        Self {
            access: Access::Read,
            ..Self::new(path)
        }
    }

    /// Sets how a change waits for another process: it stops when `cancel` is cancelled, and calls
    /// `notify` with the lock's path after one second. It always gives up after one minute.
    #[must_use]
    pub fn with_lock_wait(mut self, cancel: &Cancel, notify: fn(&Path)) -> Self {
        self.wait.cancel = cancel.clone();
        self.wait.notify = notify;
        self
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the entries of the file, sorted by registry.
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

    /// Adds credentials to the file, and removes all older entries for the same target.
    ///
    /// # Errors
    ///
    /// [`AuthError::Read`], [`AuthError::TooLarge`] and [`AuthError::Json`] if the current content
    /// cannot be read, and so cannot be kept; [`AuthError::Write`]; [`AuthError::Refused`] if the
    /// file or its lock belongs to another user; [`AuthError::Held`] if another process holds the
    /// lock for a minute, and [`AuthError::Cancelled`] if the wait for it is cancelled.
    pub fn add(&self, target: &LoginTarget, user: &str, password: &Secret) -> Result<(), AuthError> {
        let auth = STANDARD.encode(format!("{user}:{}", password.reveal()));
        self.change(|auths| {
            auths.retain(|key, _| !target.matches(key));
            auths.insert(target.key.clone(), json!({"auth": auth}));
            true
        })
        .map(drop)
    }

    /// Removes all entries for a target. Returns whether the file had one.
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

    /// Passes the entries to `change` under the lock, and replaces the file if `change` returns
    /// `true`. Returns the same value.
    fn change(&self, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<bool, AuthError> {
        let failed = |source| AuthError::write(&self.path, source);
        // The target of a symlink is changed, and not the symlink.
        let (directory, name) = Directory::containing(&self.path, true).map_err(failed)?;
        let path = directory.path().join(&name);
        let _lock = self.wait.lock(&directory, &name)?;
        let mut content = read(&directory, &name, Access::Read, &path)?;
        let auths = content.entry("auths").or_insert(Value::Null);
        let changed = match auths {
            Value::Object(auths) => change(auths),
            Value::Null => {
                let mut empty = Map::new();
                let changed = change(&mut empty);
                *auths = empty.into();
                changed
            }
            _ => return Err(auths_not_an_object(&path)),
        };
        if changed {
            let mut json = serde_json::to_vec_pretty(&content).expect("JSON that was read can be written");
            json.push(b'\n');
            replace(&directory, &name, &json).map_err(failed)?;
        }
        Ok(changed)
    }

    /// Opens the directory of the file, and returns it with the file's name there; `None` if the
    /// directory is missing.
    fn find(&self) -> Result<Option<(Directory, OsString)>, AuthError> {
        match Directory::containing(&self.path, false) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AuthError::read(&self.path, source)),
        }
    }
}

impl LockWait {
    /// Takes the lock of a credentials file, and waits for a process that holds it. The lock is a
    /// file of its own, since the credentials file itself is replaced.
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

/// Returns the error of a file whose `auths` is not an object.
fn auths_not_an_object(path: &Path) -> AuthError {
    AuthError::Json {
        path: path.to_owned(),
        line: 1,
        column: 1,
    }
}

/// Replaces a file with a new one that only its owner can read.
fn replace(directory: &Directory, name: &OsStr, content: &[u8]) -> io::Result<()> {
    let (hidden, mut file) = directory.create_hidden_file(0o600)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| rename(directory, &hidden, name));
    if replaced.is_err() {
        // The caller gets the first error; this one would hide it.
        let _ = directory.remove_file(&hidden);
    }
    replaced?;
    // In a directory that others can write to, another file may have taken the hidden name before
    // the rename.
    if !directory.entry_is(name, Identity::of(&file)?)? {
        return Err(Untrusted::Replaced.into());
    }
    Ok(())
}

/// Renames the new file into place. Windows refuses this while a process has the old file open,
/// even for reading; since such a process is soon done, the rename is tried again.
fn rename(directory: &Directory, hidden: &OsStr, name: &OsStr) -> io::Result<()> {
    for _ in 1..REPLACE_ATTEMPTS {
        match directory.rename(hidden, directory, name) {
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {
                thread::sleep(RETRY_PAUSE);
            }
            result => return result,
        }
    }
    directory.rename(hidden, directory, name)
}

#[cfg(test)]
mod tests;
