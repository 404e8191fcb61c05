//! Credential helpers: programs that hold credentials for others, and that are never executed here.

use std::fmt;
use std::path::PathBuf;

/// A credential helper that a file names: a program, which is never executed here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialHelper {
    pub(super) name: String,
    pub(super) file: PathBuf,
}

impl fmt::Display for CredentialHelper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, file } = self;
        write!(
            f,
            "{} leaves credentials to the helper docker-credential-{}, which is never executed",
            file.display(),
            name.escape_debug()
        )
    }
}
