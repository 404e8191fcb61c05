//! Applies the changes of one layer to the tree.
//!
//! **Whiteouts first.** A layer's whiteouts hide entries of the layers below, and only those:
//! image-spec `layer.md`, "Whiteouts". So a layer is read to its end before it changes the tree.
//! Then its whiteouts are applied, to the tree that the lower layers left (see
//! [`whiteouts`](super::whiteouts)), and after them its other entries, in the order of the tar. The
//! content of files is written as it comes.
//!
//! The rules are those of the image-spec. If it is silent, they are those of containerd's applier,
//! and where these contradict overlayfs, those of umoci.

use std::io::Read;

use ext4::{Directory, FileData, FormatError, InodeId, Kind, Metadata, Output, Tree};

use super::RootfsBuilder;
use super::change::{Change, NodeKind};
use super::error::{LayerError, LayerErrorKind, Position};
use super::path::RelativePath;
use super::path_resolution::{ResolvedPath, resolve_path};
use super::whiteouts::{self, Whiteout};
use crate::cancel::Cancel;

/// Mode of a directory that has no entry of its own.
const IMPLIED_DIRECTORY_MODE: u16 = 0o755;

/// An entry whose content is in the image, until it is placed.
struct PendingEntry {
    position: Position,
    node: PendingNode,
}

/// A file or a link that is placed at the path of an entry.
enum PendingNode {
    /// A file of any kind.
    New { kind: Kind, metadata: Metadata },
    /// One more name of the file at `target`, which may be one that the layer itself hides.
    HardLink {
        target: RelativePath,
        hidden: Option<HiddenLinkTarget>,
    },
}

/// A file of the lower layers that a hard link names, and which a whiteout of its layer hides.
struct HiddenLinkTarget {
    id: InodeId,
    /// Length of the targets of all symlinks on the way to it that are left.
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

/// One layer while it is read.
pub(super) struct Applier<'a, O> {
    rootfs: &'a mut RootfsBuilder<O>,
    /// Set if lower layers left no entry: there is nothing to hide, and nothing to wait for.
    lowest: bool,
    whiteouts: Vec<(Position, Whiteout)>,
    /// The last entry of the tar first, once they are placed.
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

    /// Counts a change, writes the content of the file that it puts, and keeps the rest until
    /// [`Self::finish`].
    pub(super) fn add(&mut self, position: Position, change: Change, content: impl Read) -> Result<(), LayerErrorKind> {
        self.rootfs.budget.count_entry(change.metadata_len())?;
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

    /// Applies what was added.
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
            // The tree grows by what the list loses, so the list must not stay as large as it was.
            if self.pending.len() < self.pending.capacity() / 2 {
                self.pending.shrink_to_fit();
            }
        }
        let unreachable = self.rootfs.tree.release();
        self.free(unreachable);
        Ok(())
    }

    /// Applies the whiteouts. The files that they hide from hard links of the layer are held, but
    /// for links that would themselves replace their target.
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

    /// Refuses at once what would not fit in the end, when nobody knows any more which layer it came from.
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

    /// Writes the content of a file into the image.
    fn write_content(&mut self, node: NodeKind, content: impl Read) -> Result<Kind, LayerErrorKind> {
        let formatter = &mut self.rootfs.formatter;
        Ok(match node {
            NodeKind::Directory => Kind::Directory(Directory::new()),
            NodeKind::File(len) => Kind::File(written(formatter.write_data(content, len))?),
            NodeKind::SparseFile(map) => {
                let data = formatter.write_sparse(content, map.len, &map.ranges);
                Kind::File(written(data)?)
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

    /// Gives a directory that exists new metadata; everything else replaces what is at the path.
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
        // An entry of the layer on the way to the target counts more.
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
                // Without what was there, symlinks on the way to the target may lead to another
                // file.
                if self.find_entry(target_parent, target_base)? != found {
                    return Err(LayerErrorKind::LinkReplacesTarget { target: target_name() });
                }
            }
            None => {}
        }
        self.rootfs.tree.link(directory, name, inode)?;
        Ok(())
    }

    /// Finds how far a path leads. What symlinks make of it counts as metadata: it takes time, and whoever looks at the tree later
    /// holds paths as they are without symlinks, which are no longer.
    fn resolve_and_count(&mut self, path: &[u8]) -> Result<ResolvedPath, LayerErrorKind> {
        let resolved = resolve_path(&self.rootfs.tree, path)?;
        self.rootfs.budget.count_metadata(resolved.symlink_bytes)?;
        Ok(resolved)
    }

    /// Finds an entry. Its directory is found through symlinks; the entry may be one itself.
    fn find_entry(&mut self, parent: &[u8], name: &[u8]) -> Result<Option<InodeId>, LayerErrorKind> {
        let ResolvedPath { directory, missing, .. } = self.resolve_and_count(parent)?;
        let entry = self.rootfs.tree.lookup(directory, name);
        Ok(entry.filter(|_| missing.is_empty()))
    }

    /// Finds a directory, and makes it if it does not exist. A file in its place gives way, as it does when overlayfs merges
    /// layers (umoci does the same; containerd fails if it applies layers to a plain directory).
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

/// Makes room in a list of entries, which may be millions.
fn reserve<T>(list: &mut Vec<T>) -> Result<(), LayerErrorKind> {
    let len = (list.len() + 1).saturating_mul(size_of::<T>());
    list.try_reserve(1).map_err(|_| LayerErrorKind::OutOfMemory { len })
}

/// Path of an entry, made again of its name: the paths of a million entries take 70 MB.
fn entry_path(position: &Position) -> RelativePath {
    let name = position.name.as_deref().unwrap_or_default();
    RelativePath::normalize(name).expect("it was a path when the entry was read")
}

/// Finds an entry by its path, and returns the length of the targets of all symlinks on the way
/// too; `None` if these lead too far.
fn find_link_target(tree: &Tree, path: &RelativePath) -> Option<(Option<InodeId>, usize)> {
    let (parent, name) = path.split()?;
    let resolved = resolve_path(tree, parent).ok()?;
    let id = tree.lookup(resolved.directory, name);
    Some((id.filter(|_| resolved.missing.is_empty()), resolved.symlink_bytes))
}

/// Metadata of a directory without an entry: nothing is known of it, so all is as if it were made by root at the epoch.
fn implied_metadata() -> Metadata {
    Metadata {
        mode: IMPLIED_DIRECTORY_MODE,
        ..Metadata::default()
    }
}

/// Tells content that could not be read from an image that could not be written.
fn written(result: Result<FileData, FormatError>) -> Result<FileData, LayerErrorKind> {
    result.map_err(|error| match error {
        FormatError::Content(source) => LayerErrorKind::Read(source),
        FormatError::ContentTooShort { expected, actual } => LayerErrorKind::Truncated {
            what: "the content",
            missing: expected - actual,
        },
        error => LayerErrorKind::Image(error),
    })
}
