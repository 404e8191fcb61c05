//! The path of the init in an image.

use std::fmt;
use std::str::FromStr;

use ext4::MAX_NAME_LEN;

/// Longest path in bytes that fits into `init=` on the kernel's command line (`COMMAND_LINE_SIZE`
/// is 2,048, and other arguments need room too).
const MAX_LEN: usize = 1024;

/// The absolute path of a file, without `.`, `..` and empty names, in characters that a kernel
/// command line can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitPath(String);

/// A path that the init cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path:?} cannot be the path of an init: it must be absolute, of at most {MAX_LEN} printable ASCII characters without \
     spaces and quotes, and of names other than . and .."
)]
pub struct InitPathError {
    path: String,
}

impl InitPath {
    /// Default path: `/sbin/microagent-init`.
    pub const DEFAULT: &str = "/sbin/microagent-init";

    /// Returns the path as in the guest.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of the directory, and the name in it.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        let (directory, name) = self.0.rsplit_once('/').expect("it begins with a slash");
        (directory.as_bytes(), name.as_bytes())
    }
}

impl Default for InitPath {
    /// Returns [`InitPath::DEFAULT`].
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl FromStr for InitPath {
    type Err = InitPathError;

    fn from_str(path: &str) -> Result<Self, InitPathError> {
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_LEN;
        let is_legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'');
        match path.strip_prefix('/') {
            Some(names) if path.len() <= MAX_LEN && names.split('/').all(is_name) && path.bytes().all(is_legal) => {
                Ok(Self(path.to_owned()))
            }
            _ => Err(InitPathError { path: path.to_owned() }),
        }
    }
}

impl fmt::Display for InitPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_path_splits_into_directory_and_name() {
        let path: InitPath = InitPath::DEFAULT.parse().unwrap();
        assert_eq!(path, InitPath::default());
        assert_eq!(path.split(), (&b"/sbin"[..], &b"microagent-init"[..]));
        assert_eq!("/init".parse::<InitPath>().unwrap().split(), (&b""[..], &b"init"[..]));
    }

    #[test]
    fn init_paths_must_be_absolute_plain_and_short() {
        for path in [
            "",
            "/",
            "init",
            "sbin/init",
            "/sbin/",
            "/sbin//init",
            "/../init",
            "/./init",
            "/my init",
            "/i\"",
            "/é",
        ] {
            assert!(path.parse::<InitPath>().is_err(), "{path}");
        }
        assert!(format!("/{}", "n".repeat(256)).parse::<InitPath>().is_err());
        assert!("/n".repeat(600).parse::<InitPath>().is_err());
    }
}
