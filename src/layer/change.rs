//! What an entry of a tar changes in the tree: it puts something, links it, or hides what lower layers have.

use std::mem;

use ext4::{Device, Metadata};

use super::error::LayerErrorKind;
use super::path::RelativePath;
use super::sparse;
use super::tar::{Entry, EntryKind};
use super::{LayerOptions, LayerSummary};

/// Prefix of the name of a whiteout (image-spec, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Name of an opaque marker (image-spec, layer.md, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Namespaces of extended attributes (xattr(7)).
const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
/// Longest value of an extended attribute in bytes (`XATTR_SIZE_MAX`).
const MAX_XATTR_LEN: usize = 64 << 10;

/// One change to the tree.
#[derive(Debug)]
pub(super) enum Change {
    /// Puts a file of any kind, replacing all but a directory by a directory.
    Put {
        path: RelativePath,
        node: Node,
        metadata: Metadata,
    },
    /// Gives the file at `target` one more name.
    Link { path: RelativePath, target: RelativePath },
    /// Removes what lower layers have at the path.
    Remove { path: RelativePath },
    /// Removes all that lower layers have in the directory.
    Clear { directory: RelativePath },
}

/// What is put.
#[derive(Debug)]
pub(super) enum Node {
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// A regular file with holes.
    SparseFile(sparse::Map),
    Symlink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

impl Change {
    /// Finds out what the entry changes; what of it no image can hold is counted in the summary.
    ///
    /// The last component of the name alone says whether it is a whiteout, whatever the type and the content of the entry, and
    /// `.wh..wh.aufs` is one of `.wh.aufs`, which removes nothing (containerd, umoci).
    pub(super) fn new(
        mut entry: Entry,
        options: &LayerOptions,
        summary: &mut LayerSummary,
    ) -> Result<Self, LayerErrorKind> {
        let path = RelativePath::clean(&entry.name)?;
        if let Some((directory, name)) = path.split()
            && let Some(hidden) = name.strip_prefix(WHITEOUT)
        {
            if name == OPAQUE {
                return Ok(Self::Clear {
                    directory: RelativePath::clean(directory)?,
                });
            }
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(LayerErrorKind::InvalidWhiteout { name: name.to_vec() });
            }
            return Ok(Self::Remove {
                path: RelativePath::clean(&[directory, hidden].join(&b'/'))?,
            });
        }
        let mut metadata = metadata(&mut entry, options)?;
        let node = match entry.kind {
            // The file at the target has its metadata already, and what a link says of it need not be true (umoci).
            EntryKind::HardLink(target) => {
                return Ok(Self::Link {
                    path,
                    target: RelativePath::clean(&target)?,
                });
            }
            EntryKind::Directory => Node::Directory,
            EntryKind::File(len) => Node::File(len),
            EntryKind::SparseFile(map) => Node::SparseFile(map),
            EntryKind::Symlink(target) => {
                // Linux makes symlinks with this mode and never changes it (symlink(7)).
                metadata.mode = 0o777;
                Node::Symlink(target)
            }
            EntryKind::CharDevice(major, minor) => Node::CharDevice(device(major, minor)?),
            EntryKind::BlockDevice(major, minor) => Node::BlockDevice(device(major, minor)?),
            EntryKind::Fifo => Node::Fifo,
        };
        summary.ignored_acls += entry.textual_acls;
        let takes_user = matches!(node, Node::Directory | Node::File(_) | Node::SparseFile(_));
        summary.ignored_xattrs += remove_foreign_xattrs(&mut metadata, takes_user);
        Ok(Self::Put { path, node, metadata })
    }
}

fn metadata(entry: &mut Entry, options: &LayerOptions) -> Result<Metadata, LayerErrorKind> {
    if let Some((name, value)) = entry.xattrs.iter().find(|(_, value)| value.len() > MAX_XATTR_LEN) {
        return Err(LayerErrorKind::XattrTooLong {
            name: name.to_vec(),
            len: value.len(),
            max: MAX_XATTR_LEN,
        });
    }
    let bounded = |time| options.newest.map_or(time, |newest| newest.min(time));
    Ok(Metadata {
        mode: entry.mode,
        uid: owner("uid", entry.uid)?,
        gid: owner("gid", entry.gid)?,
        accessed: bounded(entry.accessed),
        modified: bounded(entry.modified),
        changed: bounded(entry.changed),
        xattrs: mem::take(&mut entry.xattrs),
    })
}

/// A user or a group. The highest number of 32 bits is none: it means "leave it" (chown(2)).
fn owner(field: &'static str, value: i64) -> Result<u32, LayerErrorKind> {
    in_range(field, value, u32::MAX - 1)
}

fn device(major: i64, minor: i64) -> Result<Device, LayerErrorKind> {
    Ok(Device {
        major: in_range("major device number", major, u32::MAX)?,
        minor: in_range("minor device number", minor, u32::MAX)?,
    })
}

fn in_range(field: &'static str, value: i64, max: u32) -> Result<u32, LayerErrorKind> {
    u32::try_from(value)
        .ok()
        .filter(|&number| number <= max)
        .ok_or(LayerErrorKind::OutOfRange {
            field,
            value,
            max: max.into(),
        })
}

/// Takes attributes away that Linux lets no file have (xattr(7)), as containerd does, and counts them: those outside of its
/// namespaces, and those in `user.` of what is neither a file nor a directory.
fn remove_foreign_xattrs(metadata: &mut Metadata, takes_user: bool) -> u64 {
    let is_possible = |name: &[u8]| {
        let is_in = |namespace: &&[u8]| name.len() > namespace.len() && name.starts_with(namespace);
        NAMESPACES.iter().any(is_in) && (takes_user || !name.starts_with(b"user."))
    };
    let names = metadata.xattrs.iter().map(|(name, _)| name);
    let foreign: Vec<Vec<u8>> = names.filter(|name| !is_possible(name)).map(<[u8]>::to_vec).collect();
    for name in &foreign {
        metadata.xattrs.remove(name);
    }
    foreign.len() as u64
}
