//! Finds the directory of a path, following symlinks without ever leaving the root.

use ext4::{InodeId, Kind, Tree};

use super::error::LayerErrorKind;
use super::path::MAX_PATH_LEN;

/// Most symlinks on the way, as in containerd (`fs.RootPath`).
const MAX_SYMLINKS: u32 = 255;
/// Longest way in bytes: the path, and the targets of all symlinks on it. Without this limit, a layer of long symlinks would
/// take hours.
const MAX_FOLLOWED_LEN: usize = 16 * MAX_PATH_LEN;

/// How far a path leads.
#[derive(Debug)]
pub struct ResolvedPath {
    /// The last directory on the way that exists.
    pub directory: InodeId,
    /// Length of its path in bytes, without symlinks, with a slash after each name.
    pub path_len: usize,
    /// Bytes of the targets of all symlinks on the way.
    pub symlink_bytes: usize,
    /// Names below it that do not exist, or the first of which is no directory.
    pub missing: Vec<Box<[u8]>>,
}

/// Follows a path from the root, its last component too.
///
/// An absolute target of a symlink starts at the root again, and `..` at the root stays there. What does not exist, or is no
/// directory, counts as a directory that is empty, so that `..` leads out of it again.
///
/// # Errors
///
/// [`LayerErrorKind::SymlinkLoop`] and [`LayerErrorKind::PathTooLong`].
pub fn resolve_path(tree: &Tree, path: &[u8]) -> Result<ResolvedPath, LayerErrorKind> {
    resolve_path_where(tree, path, |_, _| true)
}

/// As [`resolve_path`], but follows only those symlinks for which `follows` returns true, given their
/// directory and name. The others count as empty directories.
pub(super) fn resolve_path_where(
    tree: &Tree,
    path: &[u8],
    follows: impl Fn(InodeId, &[u8]) -> bool,
) -> Result<ResolvedPath, LayerErrorKind> {
    let mut directory = InodeId::ROOT;
    // Of the names from the root to the directory.
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
    // One entry with a name of a few bytes must not make directories without end.
    check_len(missing.iter().map(|name| name.len() + 1).sum(), MAX_PATH_LEN)?;
    Ok(ResolvedPath {
        directory,
        symlink_bytes: followed_len - path.len(),
        path_len: name_lens.iter().map(|len| len + 1).sum(),
        missing: missing.into_iter().map(Box::from).collect(),
    })
}

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
