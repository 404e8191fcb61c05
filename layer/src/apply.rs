//! Applies the changes of one layer to the tree.
//!
//! # Order
//!
//! 1. **Read.** [`Applier::add`] takes the entries in the tar's order, up to the end of the tar.
//!    File contents are written to the image at once. Whiteouts and all other entries go to two
//!    lists, and the tree stays as the lower layers left it.
//! 2. **Hold.** If the layer has whiteouts, the target of each hard link is looked up in the lower
//!    tree. Its inode is held, so that it survives a whiteout of the same layer.
//! 3. **Hide.** Whiteouts are applied to the lower tree: see [`whiteouts`](super::whiteouts).
//! 4. **Place.** The other entries are placed in the tree, in the tar's order.
//! 5. **Release.** Held inodes that got no new name are dropped, and their contents freed.
//!
//! The lowest layer has nothing to hide. Its whiteouts are dropped, and its other entries are
//! placed as they are read.
//!
//! # Invariants
//!
//! - A whiteout sees only the lower tree, never an entry of its own layer. So it cannot hide one,
//!   and the same entries with whiteouts first, last or shuffled give the same bytes.
//! - An entry is counted against the limits before it is put into a list, so the lists are bounded.
//!   The list of entries shrinks as the tree grows.
//! - Content that was written belongs to a pending entry or to an inode of the tree. Content that
//!   loses its last name is given back to the formatter at once, or at step 5 if it was held.
//!
//! # Why whiteouts wait
//!
//! The image-spec demands it twice: whiteouts "MUST only apply to resources in lower/parent layers"
//! and "regardless of the ordering" (`layer.md`, "Whiteouts"). Appliers that remove entries at once
//! lose files of layers with another order. An applier that removes at once and remembers the paths
//! that the layer wrote needs no lists, but it is wrong wherever the same layer changes a symlink
//! on the way to a whiteout.

use std::io::Read;

use ext4::{Directory, FileData, FormatError, InodeId, Kind, Metadata, Output, Tree};

use super::RootfsBuilder;
use super::change::{Change, NodeKind};
use super::error::{LayerError, LayerErrorKind, Position};
use super::path::RelativePath;
use super::path_resolution::{ResolvedPath, resolve_path};
use super::whiteouts::{self, Whiteout};
use crate::cancel::Cancel;

/// Mode of a directory that no entry describes.
const IMPLIED_DIRECTORY_MODE: u16 = 0o755;

/// An entry that waits to be placed in the tree. Its content is already in the image.
struct PendingEntry {
    position: Position,
    node: PendingNode,
}

/// File or hard link that an entry puts at its path.
enum PendingNode {
    /// A new inode: a file, directory, symlink, device or pipe.
    New { kind: Kind, metadata: Metadata },
    /// One more name of the file at `target`.
    HardLink {
        target: RelativePath,
        hidden: Option<HiddenLinkTarget>,
    },
}

/// A file of the lower layers that a hard link names and that a whiteout of the same layer hides.
///
/// The link is made, whatever the order of the two entries. containerd and umoci make it if it
/// comes before the whiteout, and fail if it comes after.
struct HiddenLinkTarget {
    id: InodeId,
    /// Total length in bytes of the targets of the symlinks on the path to it, measured after the
    /// whiteouts were applied. A different length when the link is placed means that the layer has
    /// replaced one of them.
    symlink_bytes: usize,
}

impl PendingEntry {
    fn is_directory(&self) -> bool {
        matches!(
            self.node,
            PendingNode::New {
                kind: Kind::Directory(_),
                ..
            }
        )
    }
}

/// Applies one layer: collects its entries, then changes the tree.
pub(super) struct Applier<'a, O> {
    rootfs: &'a mut RootfsBuilder<O>,
    /// Set if the lower layers left the root empty. There is nothing to hide, and no reason to
    /// wait.
    lowest: bool,
    whiteouts: Vec<(Position, Whiteout)>,
    /// Entries in the tar's order. Reversed before they are placed, so that `pop` returns the
    /// first.
    pending: Vec<PendingEntry>,
}

impl<'a, O: Output> Applier<'a, O> {
    pub(super) fn new(rootfs: &'a mut RootfsBuilder<O>) -> Self {
        let root = rootfs.tree.inode(InodeId::ROOT).directory();
        Self {
            lowest: root.is_some_and(|root| root.entries().len() == 0),
            rootfs,
            whiteouts: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Counts a change against the limits, writes the content of its file, and keeps the rest for
    /// [`Self::finish`]. In the lowest layer, the rest is placed at once.
    pub(super) fn add(&mut self, position: Position, change: Change, content: impl Read) -> Result<(), LayerErrorKind> {
        self.rootfs.budget.count_entry(change.metadata_cost())?;
        let (path, node) = match change {
            Change::Put { path, node, metadata } => {
                self.check_fits(&path, &node, &metadata)?;
                let kind = self.write_content(node, content)?;
                (path, PendingNode::New { kind, metadata })
            }
            Change::Link { path, target } => (path, PendingNode::HardLink { target, hidden: None }),
            Change::Hide(whiteout) => {
                if !self.lowest {
                    reserve(&mut self.whiteouts)?;
                    self.whiteouts.push((position, whiteout));
                }
                return Ok(());
            }
        };
        if self.lowest {
            self.place(&path, node)
        } else {
            reserve(&mut self.pending)?;
            self.pending.push(PendingEntry { position, node });
            Ok(())
        }
    }

    /// Applies the changes that were added.
    pub(super) fn finish(mut self, cancel: &Cancel) -> Result<(), LayerError> {
        if !self.whiteouts.is_empty() {
            self.apply_whiteouts(cancel)?;
        }
        self.pending.reverse();
        while let Some(entry) = self.pending.pop() {
            let PendingEntry { position, node } = entry;
            let path = entry_path(&position);
            let placed = cancel
                .check()
                .map_err(LayerErrorKind::from)
                .and_then(|()| self.place(&path, node));
            placed.map_err(|kind| LayerError { position, kind })?;
            // The tree grows by what the list loses, so the list must give its memory back.
            if self.pending.len() < self.pending.capacity() / 2 {
                self.pending.shrink_to_fit();
            }
        }
        let unreachable = self.rootfs.tree.release();
        self.free(unreachable);
        Ok(())
    }

    /// Applies the whiteouts. Holds the files that hard links of the layer name, so that whiteouts
    /// do not free them; not the target of a link that would replace it.
    fn apply_whiteouts(&mut self, cancel: &Cancel) -> Result<(), LayerError> {
        let RootfsBuilder { tree, budget, .. } = &mut *self.rootfs;
        for entry in &mut self.pending {
            if let PendingNode::HardLink { target, hidden } = &mut entry.node
                && !target.starts_with(&entry_path(&entry.position))
                && let Some((found, symlink_bytes)) = find_link_target(tree, target)
            {
                let counted = cancel
                    .check()
                    .map_err(LayerErrorKind::from)
                    .and_then(|()| budget.count_metadata(symlink_bytes));
                counted.map_err(|kind| entry.position.error(kind))?;
                if let Some(id) = found.filter(|&id| tree.hold(id).is_ok()) {
                    *hidden = Some(HiddenLinkTarget { id, symlink_bytes });
                }
            }
        }
        let pending = self.pending.iter();
        let placed = pending.map(|entry| (&entry.position, entry_path(&entry.position), entry.is_directory()));
        let unreachable = whiteouts::apply(&self.whiteouts, placed, tree, budget, cancel)?;
        for entry in &mut self.pending {
            if let PendingNode::HardLink { target, hidden } = &mut entry.node
                && let Some(HiddenLinkTarget { id, .. }) = *hidden
            {
                *hidden = match find_link_target(tree, target) {
                    Some((None, symlink_bytes)) => Some(HiddenLinkTarget { id, symlink_bytes }),
                    _ => None,
                };
            }
        }
        self.free(unreachable);
        Ok(())
    }

    /// Checks that the root stays a directory, and that the file system has room for the file's
    /// attributes or symlink target. The
    /// formatter would find this out too, but only when it finishes, when the layer and the entry
    /// are no longer known.
    fn check_fits(&self, path: &RelativePath, node: &NodeKind, metadata: &Metadata) -> Result<(), LayerErrorKind> {
        if path.split().is_none() && !matches!(node, NodeKind::Directory) {
            return Err(LayerErrorKind::RootNotADirectory);
        }
        let formatter = &self.rootfs.formatter;
        let shown = || format!("/{}", String::from_utf8_lossy(path.as_bytes()));
        if !metadata.xattrs.is_empty() {
            let checked = formatter.check_xattrs(&metadata.xattrs, shown);
            checked.map_err(LayerErrorKind::Unfit)?;
        }
        match node {
            NodeKind::Symlink(target) => formatter.check_target(target, shown).map_err(LayerErrorKind::Unfit),
            _ => Ok(()),
        }
    }

    /// Writes the content of a file into the image, and returns the kind of its inode.
    fn write_content(&mut self, node: NodeKind, content: impl Read) -> Result<Kind, LayerErrorKind> {
        let formatter = &mut self.rootfs.formatter;
        Ok(match node {
            NodeKind::Directory => Kind::Directory(Directory::new()),
            NodeKind::File(len) => Kind::File(map_write_error(formatter.write_data(content, len))?),
            NodeKind::SparseFile(map) => {
                let data = formatter.write_sparse(content, map.len, &map.ranges);
                Kind::File(map_write_error(data)?)
            }
            NodeKind::Symlink(target) => Kind::Symlink(target.into()),
            NodeKind::CharDevice(device) => Kind::CharDevice(device),
            NodeKind::BlockDevice(device) => Kind::BlockDevice(device),
            NodeKind::Fifo => Kind::Fifo,
        })
    }

    fn place(&mut self, path: &RelativePath, node: PendingNode) -> Result<(), LayerErrorKind> {
        match node {
            PendingNode::New { kind, metadata } => self.put(path, kind, metadata),
            PendingNode::HardLink { target, hidden } => self.link(path, &target, hidden.as_ref()),
        }
    }

    /// Puts a new inode at a path. An existing directory keeps its entries if the new inode is a
    /// directory, and gets its metadata. Anything else at the path is replaced.
    fn put(&mut self, path: &RelativePath, kind: Kind, metadata: Metadata) -> Result<(), LayerErrorKind> {
        let Some((parent, name)) = path.split() else {
            *self.rootfs.tree.metadata_mut(InodeId::ROOT) = metadata;
            return Ok(());
        };
        let directory = self.ensure_directory(parent)?;
        if let Some(existing) = self.rootfs.tree.lookup(directory, name) {
            if matches!(kind, Kind::Directory(_)) && self.is_directory(existing) {
                *self.rootfs.tree.metadata_mut(existing) = metadata;
                return Ok(());
            }
            self.remove(directory, name)?;
        }
        self.rootfs.tree.insert(directory, name, metadata, kind)?;
        Ok(())
    }

    /// Adds a hard link at a path. `hidden` is the target if a whiteout of the layer hides it.
    fn link(
        &mut self,
        path: &RelativePath,
        target: &RelativePath,
        hidden: Option<&HiddenLinkTarget>,
    ) -> Result<(), LayerErrorKind> {
        let target_name = || target.as_bytes().to_vec();
        let Some((parent, name)) = path.split() else {
            return Err(LayerErrorKind::RootNotADirectory);
        };
        let directory = self.ensure_directory(parent)?;
        let Some((target_parent, target_base)) = target.split() else {
            return Err(LayerErrorKind::LinkToDirectory { target: target_name() });
        };
        let ResolvedPath {
            directory: target_directory,
            missing,
            symlink_bytes,
            ..
        } = self.resolve_and_count(target_parent)?;
        let next = missing.first().map_or(target_base, |name| name);
        let next = self.rootfs.tree.lookup(target_directory, next);
        let found = next.filter(|_| missing.is_empty());
        // An entry of the layer at the target's path, or in place of a symlink on the way to it,
        // takes precedence over the hidden file. A new symlink is noticed by the length of its
        // target.
        let hidden = hidden.filter(|hidden| next.is_none() && hidden.symlink_bytes == symlink_bytes);
        let Some(inode) = found.or(hidden.map(|hidden| hidden.id)) else {
            return Err(LayerErrorKind::LinkTargetMissing { target: target_name() });
        };
        if self.is_directory(inode) {
            return Err(LayerErrorKind::LinkToDirectory { target: target_name() });
        }
        match self.rootfs.tree.lookup(directory, name) {
            // GNU tar writes a link of a file to itself where its operands overlap (`tar -c ./c
            // .`).
            Some(existing) if existing == inode => return Ok(()),
            Some(_) => {
                self.remove(directory, name)?;
                // Symlinks on the way to the target may have led through the entry that was
                // removed, and may now lead to another file.
                if self.find_entry(target_parent, target_base)? != found {
                    return Err(LayerErrorKind::LinkReplacesTarget { target: target_name() });
                }
            }
            None => {}
        }
        self.rootfs.tree.link(directory, name, inode)?;
        Ok(())
    }

    /// Resolves a path, and counts the symlink targets on it as metadata. Following them takes
    /// time. With the path itself, their length bounds the path without symlinks, which later
    /// readers of the tree keep in memory.
    fn resolve_and_count(&mut self, path: &[u8]) -> Result<ResolvedPath, LayerErrorKind> {
        let resolved = resolve_path(&self.rootfs.tree, path)?;
        self.rootfs.budget.count_metadata(resolved.symlink_bytes)?;
        Ok(resolved)
    }

    /// Finds an entry by its parent's path and its name. Symlinks in the parent's path are
    /// followed; the entry may be a symlink itself.
    fn find_entry(&mut self, parent: &[u8], name: &[u8]) -> Result<Option<InodeId>, LayerErrorKind> {
        let ResolvedPath { directory, missing, .. } = self.resolve_and_count(parent)?;
        let entry = self.rootfs.tree.lookup(directory, name);
        Ok(entry.filter(|_| missing.is_empty()))
    }

    /// Finds the directory at a path, and makes those on the way that do not exist.
    ///
    /// A directory that no entry describes is 0755, owned by root, and dates from the epoch. The
    /// same holds for a lower directory that a whiteout hides and through which an entry of the
    /// layer passes: its old owner and mode belong to what the layer removed.
    ///
    /// A file in place of a directory gives way. In overlayfs, the directory of the upper layer
    /// hides the file below, and the layer was made there. To refuse the layer would be to refuse
    /// images that run everywhere. umoci lets it give way too; containerd fails if it applies
    /// layers to a plain directory.
    fn ensure_directory(&mut self, path: &[u8]) -> Result<InodeId, LayerErrorKind> {
        let ResolvedPath {
            mut directory,
            mut path_len,
            missing,
            ..
        } = self.resolve_and_count(path)?;
        for name in missing {
            if self.rootfs.tree.lookup(directory, &name).is_some() {
                self.remove(directory, &name)?;
            }
            path_len += name.len() + 1;
            self.rootfs.budget.count_entry(path_len - 1)?;
            let kind = Kind::Directory(Directory::new());
            directory = self.rootfs.tree.insert(directory, &name, implied_metadata(), kind)?;
        }
        Ok(directory)
    }

    fn remove(&mut self, directory: InodeId, name: &[u8]) -> Result<(), LayerErrorKind> {
        let unreachable = self.rootfs.tree.remove(directory, name)?;
        self.free(unreachable);
        Ok(())
    }

    fn free(&mut self, contents: Vec<FileData>) {
        for data in contents {
            self.rootfs.formatter.free(data);
        }
    }

    fn is_directory(&self, id: InodeId) -> bool {
        self.rootfs.tree.inode(id).directory().is_some()
    }
}

/// Reserves room for one more element. Fails instead of aborting, since a layer may have millions
/// of entries.
fn reserve<T>(list: &mut Vec<T>) -> Result<(), LayerErrorKind> {
    let len = (list.len() + 1).saturating_mul(size_of::<T>());
    list.try_reserve(1).map_err(|_| LayerErrorKind::OutOfMemory { len })
}

/// Returns the path of an entry, computed from its name. It is not kept, since the paths of a
/// million entries take 70 MB.
fn entry_path(position: &Position) -> RelativePath {
    let name = position.name.as_deref().unwrap_or_default();
    RelativePath::normalize(name).expect("it was a path when the entry was read")
}

/// Looks up the target of a hard link. Returns its inode, if it exists, and the length in bytes of
/// the targets of the symlinks on the way. Returns `None` for the root, and if the path cannot be
/// resolved.
fn find_link_target(tree: &Tree, path: &RelativePath) -> Option<(Option<InodeId>, usize)> {
    let (parent, name) = path.split()?;
    let resolved = resolve_path(tree, parent).ok()?;
    let id = tree.lookup(resolved.directory, name);
    Some((id.filter(|_| resolved.missing.is_empty()), resolved.symlink_bytes))
}

/// Returns the metadata of a directory that no entry describes.
fn implied_metadata() -> Metadata {
    Metadata {
        mode: IMPLIED_DIRECTORY_MODE,
        ..Metadata::default()
    }
}

/// Distinguishes content that could not be read from an image that could not be written.
fn map_write_error(result: Result<FileData, FormatError>) -> Result<FileData, LayerErrorKind> {
    result.map_err(|error| match error {
        FormatError::Content(source) => LayerErrorKind::Read(source),
        FormatError::ContentTooShort { expected, actual } => LayerErrorKind::Truncated {
            what: "the content",
            missing: expected - actual,
        },
        error => LayerErrorKind::Image(error),
    })
}
