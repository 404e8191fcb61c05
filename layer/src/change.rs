//! The change that a tar entry makes to the tree: put a file, add a hard link, or hide lower
//! entries.
//!
//! # What is left out
//!
//! Nothing is dropped silently. What is left out is counted in [`LayerSummary`], and reported.
//!
//! - Attributes that Linux does not allow on the file: `user.*` of symlinks, devices and pipes,
//!   `system.*` except for ACLs on files that can have one, and all outside of Linux's namespaces,
//!   such as `com.apple.*`. e2fsck would report a block with the latter as corrupt.
//! - `trusted.overlay.*` and `user.overlay.*`. overlayfs writes them into the directories that it
//!   is mounted from, and they get into layers by mistake. An overlay on top of the image would
//!   fail with them (EPERM, or EIO for `metacopy`).
//! - ACLs in textual form (`SCHILY.acl.*`), which [`pax`](super::pax) counts: they name users of
//!   another system, and no engine applies them.
//!
//! Other attributes in `trusted.*` and `security.*` stay. An image is a disk and not a container,
//! and its guest may need them.
//!
//! The metadata of a hard link is ignored: owner, mode, times and attributes. The file has them
//! already, tools write anything there, and an entry that adds a name must not make another file
//! setuid. The metadata of a whiteout is ignored too, including values that no file can have.

use ext4::{Device, Metadata, Xattrs};

use super::error::LayerErrorKind;
use super::path::RelativePath;
use super::pax::Xattr;
use super::sparse;
use super::tar::{TarEntry, TarEntryKind};
use super::whiteouts::Whiteout;
use super::{LayerOptions, LayerSummary};

/// Prefix of the name of a whiteout (image-spec `layer.md`, "Whiteouts").
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Name of an opaque marker (image-spec `layer.md`, "Opaque Whiteout").
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Number of copies of an extended attribute in memory: one in the tree, and one in a block or
/// inode while the image is completed.
const XATTR_COPIES: usize = 2;
/// Memory in bytes that all copies of an attribute take besides its name and value, as measured.
const XATTR_OVERHEAD: usize = 256;
/// Largest value of an extended attribute in bytes (`XATTR_SIZE_MAX`).
const MAX_XATTR_LEN: usize = 64 << 10;

/// Attribute with the ACL of a file.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
/// Attribute with the ACL that new files in a directory inherit.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// First bytes of an ACL (`POSIX_ACL_XATTR_VERSION`).
const ACL_VERSION: &[u8] = &2_u32.to_le_bytes();

/// A change to the tree.
#[derive(Debug)]
pub(super) enum Change {
    /// Puts a file at the path. It replaces what is there, unless both are directories.
    Put {
        path: RelativePath,
        node: NodeKind,
        metadata: Metadata,
    },
    /// Adds a hard link at the path to the file at `target`.
    Link { path: RelativePath, target: RelativePath },
    /// Hides entries of lower layers.
    Hide(Whiteout),
}

/// Kind of file that a [`Change::Put`] puts.
#[derive(Debug)]
pub(super) enum NodeKind {
    Directory,
    /// A regular file, with its size in bytes.
    File(u64),
    /// A regular file with holes.
    SparseFile(sparse::SparseMap),
    Symlink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

impl Change {
    /// Returns the change that an entry makes. Counts attributes and ACLs that are left out in
    /// `summary`.
    ///
    /// Only the last component of the name decides whether the entry is a whiteout, whatever its
    /// type and content. `.wh..wh.aufs` is a whiteout of `.wh.aufs`, which removes nothing
    /// (containerd, umoci).
    pub(super) fn new(
        entry: TarEntry,
        options: &LayerOptions,
        summary: &mut LayerSummary,
    ) -> Result<Self, LayerErrorKind> {
        let path = RelativePath::normalize_unbounded(&entry.name)?;
        if let Some((directory, name)) = path.split()
            && let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX)
        {
            if name == OPAQUE_MARKER {
                let directory = RelativePath::normalize(directory)?;
                return Ok(Self::Hide(Whiteout::Contents(directory)));
            }
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(LayerErrorKind::InvalidWhiteout { name: name.to_vec() });
            }
            let path = RelativePath::normalize(&[directory, hidden].join(&b'/'))?;
            return Ok(Self::Hide(Whiteout::Entry(path)));
        }
        path.check_lens()?;
        let node = match entry.kind {
            // The metadata of the entry is ignored, as in umoci: the target has its own.
            TarEntryKind::HardLink(target) => {
                return Ok(Self::Link {
                    path,
                    target: RelativePath::normalize(&target)?,
                });
            }
            TarEntryKind::Directory => NodeKind::Directory,
            TarEntryKind::File(len) => NodeKind::File(len),
            TarEntryKind::SparseFile(map) => NodeKind::SparseFile(map),
            TarEntryKind::Symlink(target) => NodeKind::Symlink(target),
            TarEntryKind::CharDevice(major, minor) => NodeKind::CharDevice(check_device(major, minor)?),
            TarEntryKind::BlockDevice(major, minor) => NodeKind::BlockDevice(check_device(major, minor)?),
            TarEntryKind::Fifo => NodeKind::Fifo,
        };
        let mut xattrs = decode_xattrs(entry.xattrs)?;
        summary.ignored_acls += entry.textual_acls;
        summary.overlay_xattrs += remove_where(&mut xattrs, is_overlayfs_private);
        summary.ignored_xattrs += remove_where(&mut xattrs, |name, value| !is_allowed_by_linux(name, value, &node));
        remove_where(&mut xattrs, is_empty_acl);
        let bounded = |time| options.max_time.map_or(time, |max_time| max_time.min(time));
        let metadata = Metadata {
            // Linux creates symlinks with this mode and never changes it (symlink(7)).
            mode: if matches!(node, NodeKind::Symlink(_)) {
                0o777
            } else {
                entry.mode
            },
            uid: check_owner("uid", entry.uid)?,
            gid: check_owner("gid", entry.gid)?,
            accessed: bounded(entry.accessed),
            modified: bounded(entry.modified),
            changed: bounded(entry.changed),
            xattrs,
        };
        Ok(Self::Put { path, node, metadata })
    }

    /// Returns the bytes of metadata that the change counts for.
    pub(super) fn metadata_cost(&self) -> usize {
        match self {
            Self::Put { path, node, metadata } => {
                let target_len = match node {
                    NodeKind::Symlink(target) => target.len(),
                    _ => 0,
                };
                path.as_bytes().len() + target_len + xattrs_memory_len(&metadata.xattrs)
            }
            Self::Link { path, target } => path.as_bytes().len() + target.as_bytes().len(),
            Self::Hide(Whiteout::Entry(path) | Whiteout::Contents(path)) => path.as_bytes().len(),
        }
    }
}

/// Returns the memory that attributes take, in bytes.
fn xattrs_memory_len(xattrs: &Xattrs) -> usize {
    xattrs
        .iter()
        .map(|(name, value)| XATTR_COPIES * (name.len() + value.len()) + XATTR_OVERHEAD)
        .sum()
}

/// Collects the attributes of an entry. The last one of a name wins.
fn decode_xattrs(encoded: Vec<Xattr>) -> Result<Xattrs, LayerErrorKind> {
    let mut xattrs = Xattrs::default();
    for (name, value) in encoded {
        let value = value.ok_or(LayerErrorKind::InvalidExtension {
            reason: "an extended attribute that is not in base 64",
        })?;
        xattrs.set(&name, &value)?;
    }
    if let Some((name, value)) = xattrs.iter().find(|(_, value)| value.len() > MAX_XATTR_LEN) {
        return Err(LayerErrorKind::XattrTooLong {
            name: name.to_vec(),
            len: value.len(),
            max: MAX_XATTR_LEN,
        });
    }
    Ok(xattrs)
}

/// Checks a uid or gid. The largest 32-bit number is not one: to chown(2) it means "unchanged".
fn check_owner(field: &'static str, value: i64) -> Result<u32, LayerErrorKind> {
    check_range(field, value, u32::MAX - 1)
}

fn check_device(major: i64, minor: i64) -> Result<Device, LayerErrorKind> {
    Ok(Device {
        major: check_range("major device number", major, u32::MAX)?,
        minor: check_range("minor device number", minor, u32::MAX)?,
    })
}

fn check_range(field: &'static str, value: i64, max: u32) -> Result<u32, LayerErrorKind> {
    u32::try_from(value)
        .ok()
        .filter(|&number| number <= max)
        .ok_or(LayerErrorKind::OutOfRange {
            field,
            value,
            max: max.into(),
        })
}

/// Removes the attributes for which `condition` is true, and returns their number.
fn remove_where(xattrs: &mut Xattrs, condition: impl Fn(&[u8], &[u8]) -> bool) -> u64 {
    let chosen = xattrs.iter().filter(|(name, value)| condition(name, value));
    let names: Vec<Vec<u8>> = chosen.map(|(name, _)| name.to_vec()).collect();
    for name in &names {
        xattrs.remove(name);
    }
    names.len() as u64
}

/// Returns whether overlayfs uses the attribute for itself, in the directories that it is mounted
/// from: in `user.overlay.*` with the mount option `userxattr`, else in `trusted.overlay.*`
/// (overlayfs.rst, "User xattr"). An overlay mounted on top of the image would take it for its own.
fn is_overlayfs_private(name: &[u8], _: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Returns whether the attribute is an ACL without entries, which setxattr(2) treats as no ACL.
fn is_empty_acl(name: &[u8], value: &[u8]) -> bool {
    matches!(name, ACCESS_ACL | DEFAULT_ACL) && matches!(value, b"" | ACL_VERSION)
}

/// Returns whether Linux allows the attribute on a file of this kind (xattr(7), acl(5)). In
/// `system.*`, it stores only ACLs, and only those of version 2.
fn is_allowed_by_linux(name: &[u8], value: &[u8], node: &NodeKind) -> bool {
    let is_in = |namespace: &[u8]| name.len() > namespace.len() && name.starts_with(namespace);
    let is_supported = value
        .get(..ACL_VERSION.len())
        .is_none_or(|version| version == ACL_VERSION);
    match name {
        ACCESS_ACL => is_supported && !matches!(node, NodeKind::Symlink(_)),
        DEFAULT_ACL => is_supported && matches!(node, NodeKind::Directory),
        _ if is_in(b"user.") => matches!(node, NodeKind::Directory | NodeKind::File(_) | NodeKind::SparseFile(_)),
        _ => is_in(b"trusted.") || is_in(b"security."),
    }
}
