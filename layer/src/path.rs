//! Paths inside of the image: bytes without `.`, `..` and NUL.

use std::fmt;

use ext4::MAX_NAME_LEN;

use super::error::LayerErrorKind;
use super::text::Printable;

/// Longest path in bytes (`PATH_MAX` without its NUL).
pub(super) const MAX_PATH_LEN: usize = 4095;

/// A path relative to the root of the image: names separated by single slashes. Empty for the root.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RelativePath(Vec<u8>);

impl RelativePath {
    /// Normalizes the name of an entry or the target of a hard link.
    ///
    /// Works on the string alone, before any symlink is followed. `..` at the root stays there, as
    /// in containerd (`filepath.Clean`): `/a//b/`, `./a/./b` and `../a/c/../b` all become `a/b`.
    pub(super) fn normalize(path: &[u8]) -> Result<Self, LayerErrorKind> {
        let path = Self::normalize_unbounded(path)?;
        path.check_lens()?;
        Ok(path)
    }

    /// Normalizes like [`RelativePath::normalize`], without checking the length of names and path.
    pub(super) fn normalize_unbounded(path: &[u8]) -> Result<Self, LayerErrorKind> {
        if path.contains(&0) {
            return Err(LayerErrorKind::NulInPath { path: path.to_vec() });
        }
        let mut normalized: Vec<u8> = Vec::with_capacity(path.len());
        for name in path.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    let parent = normalized.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                    normalized.truncate(parent);
                }
                name => {
                    if !normalized.is_empty() {
                        normalized.push(b'/');
                    }
                    normalized.extend_from_slice(name);
                }
            }
        }
        Ok(Self(normalized))
    }

    /// Checks that names and path are no longer than those of a file can be.
    pub(super) fn check_lens(&self) -> Result<(), LayerErrorKind> {
        if self.0.len() > MAX_PATH_LEN {
            return Err(LayerErrorKind::PathTooLong {
                len: self.0.len(),
                max: MAX_PATH_LEN,
            });
        }
        if let Some(name) = self
            .0
            .split(|&byte| byte == b'/')
            .find(|name| name.len() > MAX_NAME_LEN)
        {
            return Err(LayerErrorKind::NameTooLong {
                name: name.to_vec(),
                max: MAX_NAME_LEN,
            });
        }
        Ok(())
    }

    /// Returns the path as bytes: empty, or names separated by single slashes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether the path is `other` or lies below it.
    pub(super) fn starts_with(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(&other.0[..]);
        other.0.is_empty() || rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }

    /// Returns the path of the parent directory, and the name in it. Returns `None` for the root.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => Some((&self.0[..slash], &self.0[slash + 1..])),
            None => Some((&[], &self.0)),
        }
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Printable(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalize(path: &str) -> String {
        String::from_utf8(RelativePath::normalize(path.as_bytes()).unwrap().0).unwrap()
    }

    #[test]
    fn names_are_normalized_as_in_containerd() {
        for (path, expected) in [
            ("", ""),
            ("/", ""),
            (".", ""),
            ("./", ""),
            ("..", ""),
            ("../..", ""),
            ("a", "a"),
            ("a/", "a"),
            ("/a", "a"),
            ("a//b", "a/b"),
            ("./a/./b/.", "a/b"),
            ("a/../b", "b"),
            ("a/..", ""),
            ("a/b/../../../c", "c"),
            ("../../etc/passwd", "etc/passwd"),
            ("...", "..."),
            ("..a/.b", "..a/.b"),
        ] {
            assert_eq!(normalize(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_splits_into_directory_and_name() {
        let split = |path: &[u8]| {
            let path = RelativePath::normalize(path).unwrap();
            path.split()
                .map(|(directory, name)| (directory.to_vec(), name.to_vec()))
        };
        assert_eq!(split(b"/"), None);
        assert_eq!(split(b"a"), Some((b"".to_vec(), b"a".to_vec())));
        assert_eq!(split(b"a/b/c/"), Some((b"a/b".to_vec(), b"c".to_vec())));
    }

    #[test]
    fn a_path_starts_with_those_above_and_itself() {
        let path = |path: &str| RelativePath::normalize(path.as_bytes()).unwrap();
        for above in ["/", "a", "a/b", "a/b/c"] {
            assert!(path("a/b/c").starts_with(&path(above)), "{above}");
        }
        for other in ["b", "a/b/c/d", "a/b/cc", "a/bb", "aa"] {
            assert!(!path("a/b/c").starts_with(&path(other)), "{other}");
        }
        assert!(!path("a/bb").starts_with(&path("a/b")));
    }

    #[test]
    fn too_long_names_and_paths_and_nul_are_refused() {
        let name = [b'n'; 255];
        assert!(RelativePath::normalize(&name).is_ok());
        assert!(matches!(
            RelativePath::normalize(&[b'n'; 256]),
            Err(LayerErrorKind::NameTooLong { max: 255, .. })
        ));
        let path = [&name[..]; 16].join(&b'/');
        assert_eq!(path.len(), 4095);
        assert!(RelativePath::normalize(&path).is_ok());
        assert!(RelativePath::normalize(&[&path[..], b"/../", &name].concat()).is_ok());
        assert!(matches!(
            RelativePath::normalize(&[&path[..], b"/n"].concat()),
            Err(LayerErrorKind::PathTooLong { len: 4097, max: 4095 })
        ));
        assert!(matches!(
            RelativePath::normalize(b"a\0b"),
            Err(LayerErrorKind::NulInPath { .. })
        ));
    }
}
