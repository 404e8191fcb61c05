//! Credential helpers, which credentials files name and this crate never executes.

use std::fmt;
use std::path::PathBuf;

/// A credential helper that a credentials file names: a program `docker-credential-<name>`, which
/// is never executed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialHelper {
    pub(super) name: String,
    /// The credentials file that names it.
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
