//! Resolves paths in the tree. Symlinks are followed and never lead out of the root.

use ext4::{InodeId, Kind, Tree};

use super::error::LayerErrorKind;
use super::path::MAX_PATH_LEN;

/// Largest number of symlinks in the resolution of a path, as in containerd (`fs.RootPath`).
const MAX_SYMLINKS: u32 = 255;
/// Largest number of bytes in the resolution of a path: the path itself and the targets of all
/// symlinks on it. Without this limit, a layer of long symlinks would take hours.
const MAX_FOLLOWED_LEN: usize = 16 * MAX_PATH_LEN;

/// Result of resolving a path: the last directory that exists, and the names after it.
#[derive(Debug)]
pub struct ResolvedPath {
    /// Last existing directory on the path.
    pub directory: InodeId,
    /// Length in bytes of that directory's own path, without symlinks, with a slash after each
    /// name.
    pub path_len: usize,
    /// Length in bytes of the targets of all symlinks on the way.
    pub symlink_bytes: usize,
    /// Names after the directory. The first does not exist, or is not a directory.
    pub missing: Vec<Box<[u8]>>,
}

/// Resolves a path from the root. Symlinks are followed, including the last component.
///
/// An absolute target of a symlink starts at the root again, and `..` at the root stays there. A
/// name that does not exist, or is not a directory, counts as an empty directory, so that `..`
/// leads out of it again.
///
/// # Errors
///
/// [`LayerErrorKind::SymlinkLoop`] and [`LayerErrorKind::PathTooLong`].
pub fn resolve_path(tree: &Tree, path: &[u8]) -> Result<ResolvedPath, LayerErrorKind> {
    resolve_path_where(tree, path, |_, _| true)
}

/// Resolves a path like [`resolve_path`], but follows only the symlinks for which `follows` returns
/// true. `follows` gets the directory and the name of a symlink. Other symlinks count as empty
/// directories.
pub(super) fn resolve_path_where(
    tree: &Tree,
    path: &[u8],
    follows: impl Fn(InodeId, &[u8]) -> bool,
) -> Result<ResolvedPath, LayerErrorKind> {
    let mut directory = InodeId::ROOT;
    // Lengths of the names from the root to `directory`.
    let mut name_lens: Vec<usize> = Vec::new();
    let mut missing: Vec<&[u8]> = Vec::new();
    let (mut symlink_count, mut followed_len) = (0, path.len());
    let mut pending: Vec<&[u8]> = Vec::new();
    push_names(&mut pending, path);
    while let Some(name) = pending.pop() {
        match name {
            b"" | b"." => {}
            b".." => {
                if missing.pop().is_none() {
                    name_lens.pop();
                    directory = tree
                        .inode(directory)
                        .directory()
                        .map_or(InodeId::ROOT, ext4::Directory::parent);
                }
            }
            name => {
                let existing = tree.lookup(directory, name).filter(|_| missing.is_empty());
                match existing.map(|id| (id, tree.inode(id).kind())) {
                    Some((id, Kind::Directory(_))) => {
                        directory = id;
                        name_lens.push(name.len());
                    }
                    Some((_, Kind::Symlink(target))) if follows(directory, name) => {
                        symlink_count += 1;
                        if symlink_count > MAX_SYMLINKS {
                            return Err(LayerErrorKind::SymlinkLoop { max: MAX_SYMLINKS });
                        }
                        followed_len += target.len();
                        check_len(followed_len, MAX_FOLLOWED_LEN)?;
                        if target.starts_with(b"/") {
                            directory = InodeId::ROOT;
                            name_lens.clear();
                        }
                        push_names(&mut pending, target);
                    }
                    _ => missing.push(name),
                }
            }
        }
    }
    // An entry with a name of a few bytes must not create an unbounded number of directories.
    check_len(missing.iter().map(|name| name.len() + 1).sum(), MAX_PATH_LEN)?;
    Ok(ResolvedPath {
        directory,
        symlink_bytes: followed_len - path.len(),
        path_len: name_lens.iter().map(|len| len + 1).sum(),
        missing: missing.into_iter().map(Box::from).collect(),
    })
}

/// Pushes the names of a path, last first, so that the first is popped first.
fn push_names<'a>(pending: &mut Vec<&'a [u8]>, path: &'a [u8]) {
    pending.extend(path.rsplit(|&byte| byte == b'/'));
}

fn check_len(len: usize, max: usize) -> Result<(), LayerErrorKind> {
    if len > max {
        Err(LayerErrorKind::PathTooLong { len, max })
    } else {
        Ok(())
    }
}
