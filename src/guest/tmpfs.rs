//! Directories of /run and /tmp, on which the init mounts a tmpfs where that hides no file.

use std::ffi::CStr;

use ext4::{InodeId, Kind, Tree};
use guest_configuration::{MOUNT, MOUNT_IF_READ_ONLY, RUN, TMP};

/// A directory that the init mounts a tmpfs on, or makes in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TmpfsDirectory {
    /// Absolute path.
    pub(super) path: Vec<u8>,
    pub(super) mode: u16,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mount: TmpfsMount,
}

/// Role of a directory, with its number in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum TmpfsMount {
    /// Inside of a tmpfs.
    Inside = 0,
    /// Mount point of a tmpfs.
    Always = MOUNT,
    /// Mount point of a tmpfs if the root is read-only, since it hides files of the image.
    IfReadOnly = MOUNT_IF_READ_ONLY,
}

/// Returns the image's directories at and below the mount points, each after its parent.
///
/// Images have directories there that belong into memory too, such as Debian's /run/lock. Files
/// stay visible while the root is writable, as in a container.
pub(super) fn directories(tree: &Tree) -> Vec<TmpfsDirectory> {
    let mut directories = Vec::new();
    for path in [RUN, TMP].map(CStr::to_bytes) {
        let Some(mount_point) = tree
            .lookup(InodeId::ROOT, &path[1..])
            .filter(|&id| is_directory(tree, id))
        else {
            continue;
        };
        let first = directories.len();
        let mut has_files = false;
        // A list instead of recursion: a hostile tree may be deeper than the stack.
        let mut pending = vec![(mount_point, path.to_vec())];
        while let Some((id, path)) = pending.pop() {
            let inode = tree.inode(id);
            for (name, child) in inode.directory().into_iter().flat_map(ext4::Directory::entries) {
                if is_directory(tree, child) {
                    pending.push((child, [&path, &b"/"[..], name].concat()));
                } else {
                    has_files = true;
                }
            }
            directories.push(TmpfsDirectory {
                path,
                mode: inode.metadata.mode,
                user: inode.metadata.uid,
                group: inode.metadata.gid,
                mount: TmpfsMount::Inside,
            });
        }
        directories[first].mount = if has_files {
            TmpfsMount::IfReadOnly
        } else {
            TmpfsMount::Always
        };
    }
    directories
}

fn is_directory(tree: &Tree, id: InodeId) -> bool {
    matches!(tree.inode(id).kind(), Kind::Directory(_))
}

#[cfg(test)]
mod tests {
    use ext4::Metadata;

    use super::*;

    fn add(tree: &mut Tree, parent: InodeId, name: &[u8], mode: u16, kind: Kind) -> InodeId {
        let metadata = Metadata {
            mode,
            uid: 7,
            ..Metadata::default()
        };
        tree.insert(parent, name, metadata, kind).unwrap()
    }

    fn paths(tree: &Tree) -> Vec<(String, u16, TmpfsMount)> {
        let shown = |directory: TmpfsDirectory| {
            assert_eq!((directory.user, directory.group), (7, 0));
            (
                String::from_utf8(directory.path).unwrap(),
                directory.mode,
                directory.mount,
            )
        };
        directories(tree).into_iter().map(shown).collect()
    }

    #[test]
    fn directories_move_to_memory_and_files_stay() {
        let mut tree = Tree::default();
        let directory = || Kind::Directory(ext4::Directory::new());
        let run = add(&mut tree, InodeId::ROOT, b"run", 0o755, directory());
        let lock = add(&mut tree, run, b"lock", 0o1777, directory());
        add(&mut tree, lock, b"deep", 0o700, directory());
        assert_eq!(
            paths(&tree),
            [
                ("/run".to_owned(), 0o755, TmpfsMount::Always),
                ("/run/lock".to_owned(), 0o1777, TmpfsMount::Inside),
                ("/run/lock/deep".to_owned(), 0o700, TmpfsMount::Inside),
            ]
        );
        add(&mut tree, lock, b"pid", 0o644, Kind::Fifo);
        add(
            &mut tree,
            InodeId::ROOT,
            b"tmp",
            0o777,
            Kind::Symlink(b"var/tmp"[..].into()),
        );
        assert_eq!(paths(&tree)[0], ("/run".to_owned(), 0o755, TmpfsMount::IfReadOnly));
        assert_eq!(paths(&tree).len(), 3, "a symlink cannot be a mount point");
    }
}
