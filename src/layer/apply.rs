//! Applies the changes of one layer to the tree.
//!
//! The rules are those of the image-spec's `layer.md`; where it is silent, those of containerd's applier, and where that
//! contradicts the specification or overlayfs, those of umoci. A layer's whiteouts have the effect of coming first, wherever in
//! the tar they are: what the layer writes stays, all else that they hide goes.

use std::io::Read;

use ext4::{Data, Directory, FormatError, InodeId, Kind, Metadata, Output};

use super::Rootfs;
use super::change::{Change, Node};
use super::error::LayerErrorKind;
use super::path::RelativePath;
use super::resolve::{Resolved, resolve};
use super::upper::Upper;

/// Mode of a directory that has no entry of its own.
const IMPLIED_MODE: u16 = 0o755;

/// One layer while it is applied.
pub(super) struct Applier<'a, O> {
    rootfs: &'a mut Rootfs<O>,
    upper: Upper,
}

impl<'a, O: Output> Applier<'a, O> {
    pub(super) fn new(rootfs: &'a mut Rootfs<O>) -> Self {
        Self {
            rootfs,
            upper: Upper::default(),
        }
    }

    /// Applies one change, and counts it; `content` is that of the file that it puts.
    pub(super) fn apply(&mut self, change: Change, content: impl Read) -> Result<(), LayerErrorKind> {
        self.rootfs.budget.charge_entry(change.metadata_len())?;
        match change {
            Change::Put { path, node, metadata } => self.put(&path, node, metadata, content),
            Change::Link { path, target } => self.link(&path, &target),
            Change::Remove { path } => self.remove_lower(&path),
            Change::Clear { directory } => self.clear_lower(&directory),
        }
    }

    /// A directory over a directory gives it new metadata; everything else replaces what was there.
    fn put(
        &mut self,
        path: &RelativePath,
        node: Node,
        metadata: Metadata,
        content: impl Read,
    ) -> Result<(), LayerErrorKind> {
        self.check(path, &node, &metadata).map_err(LayerErrorKind::Unfit)?;
        let Some((parent, name)) = path.split() else {
            return self.describe_root(&node, metadata);
        };
        let directory = self.make_directory(parent)?;
        if let Some(existing) = self.rootfs.tree.lookup(directory, name) {
            if matches!(node, Node::Directory) && self.is_directory(existing) {
                self.describe(existing, metadata);
                return Ok(());
            }
            self.remove(directory, name)?;
        }
        let kind = match node {
            Node::Directory => Kind::Directory(Directory::new()),
            Node::File(len) => Kind::File(written(self.rootfs.formatter.write_data(content, len))?),
            Node::SparseFile(map) => {
                let data = self.rootfs.formatter.write_sparse(content, map.len, &map.ranges);
                Kind::File(written(data)?)
            }
            Node::Symlink(target) => Kind::Symlink(target.into()),
            Node::CharDevice(device) => Kind::CharDevice(device),
            Node::BlockDevice(device) => Kind::BlockDevice(device),
            Node::Fifo => Kind::Fifo,
        };
        self.insert(directory, name, metadata, kind)?;
        Ok(())
    }

    /// Refuses at once what would not fit in the end, when nobody knows any more which layer it came from.
    fn check(&self, path: &RelativePath, node: &Node, metadata: &Metadata) -> Result<(), FormatError> {
        let formatter = &self.rootfs.formatter;
        let shown = || format!("/{}", String::from_utf8_lossy(path.as_bytes()));
        if !metadata.xattrs.is_empty() {
            formatter.check_xattrs(&metadata.xattrs, shown)?;
        }
        match node {
            Node::Symlink(target) => formatter.check_target(target, shown),
            _ => Ok(()),
        }
    }

    fn link(&mut self, path: &RelativePath, target: &RelativePath) -> Result<(), LayerErrorKind> {
        let target_name = || target.as_bytes().to_vec();
        let Some((parent, name)) = path.split() else {
            return Err(LayerErrorKind::RootNotADirectory);
        };
        let directory = self.make_directory(parent)?;
        let Some((target_parent, target_base)) = target.split() else {
            return Err(LayerErrorKind::LinkToDirectory { target: target_name() });
        };
        let Some((_, inode)) = self.find(target_parent, target_base)? else {
            return Err(LayerErrorKind::LinkTargetMissing { target: target_name() });
        };
        if self.is_directory(inode) {
            return Err(LayerErrorKind::LinkToDirectory { target: target_name() });
        }
        if self.rootfs.tree.lookup(directory, name).is_some() {
            self.remove(directory, name)?;
            // Without what was there, symlinks on the way to the target may lead to another file.
            let remaining = self.find(target_parent, target_base)?;
            if remaining.is_none_or(|(_, found)| found != inode) {
                return Err(LayerErrorKind::LinkReplacesTarget { target: target_name() });
            }
        }
        self.rootfs.tree.link(directory, name, inode)?;
        self.upper.linked(&self.rootfs.tree, directory, name, inode);
        Ok(())
    }

    /// A whiteout of something that does not exist is none.
    fn remove_lower(&mut self, path: &RelativePath) -> Result<(), LayerErrorKind> {
        let Some((parent, name)) = path.split() else {
            return Ok(());
        };
        match self.find(parent, name)? {
            Some((directory, id)) if !self.upper.is_own(directory, name, id) => self.hide(directory, name, id),
            _ => Ok(()),
        }
    }

    fn clear_lower(&mut self, directory: &RelativePath) -> Result<(), LayerErrorKind> {
        let Resolved { directory, missing, .. } = self.resolve(directory.as_bytes())?;
        if missing.is_empty() {
            self.clear(directory)
        } else {
            Ok(())
        }
    }

    /// Hides an entry of a lower layer: all of it or, of a directory that this layer wrote into, what this layer did not write.
    fn hide(&mut self, directory: InodeId, name: &[u8], id: InodeId) -> Result<(), LayerErrorKind> {
        if self.upper.is_written(id) {
            self.forget_metadata(id);
            self.clear(id)
        } else {
            self.remove(directory, name)
        }
    }

    /// Removes all that this layer did not write from a directory and those below.
    fn clear(&mut self, directory: InodeId) -> Result<(), LayerErrorKind> {
        // A list, not recursion: a hostile tree may be deeper than the stack.
        let mut pending = vec![directory];
        while let Some(directory) = pending.pop() {
            // What was cleared once holds nothing of lower layers any more, so that many markers cost no more than one.
            if !self.upper.cleared(directory) {
                continue;
            }
            let mut hidden: Vec<Box<[u8]>> = Vec::new();
            let mut kept = Vec::new();
            if let Some(entries) = self.rootfs.tree.inode(directory).directory() {
                for (name, id) in entries.entries() {
                    if self.upper.is_own(directory, name, id) {
                        continue;
                    }
                    if self.upper.is_written(id) {
                        kept.push(id);
                    } else {
                        hidden.push(name.into());
                    }
                }
            }
            for name in hidden {
                self.remove(directory, &name)?;
            }
            for &id in &kept {
                self.forget_metadata(id);
            }
            pending.append(&mut kept);
        }
        Ok(())
    }

    /// Makes a directory of a lower layer that is hidden, but which this layer writes into, what it would have become if it had
    /// been hidden first: one without an entry of its own, unless this layer has one.
    fn forget_metadata(&mut self, directory: InodeId) {
        if !self.upper.is_described(directory) {
            self.rootfs.tree.inode_mut(directory).metadata = implied();
        }
    }

    fn describe_root(&mut self, node: &Node, metadata: Metadata) -> Result<(), LayerErrorKind> {
        if !matches!(node, Node::Directory) {
            return Err(LayerErrorKind::RootNotADirectory);
        }
        self.describe(InodeId::ROOT, metadata);
        Ok(())
    }

    /// Replaces the metadata of a directory, extended attributes too.
    fn describe(&mut self, directory: InodeId, metadata: Metadata) {
        self.rootfs.tree.inode_mut(directory).metadata = metadata;
        self.upper.described(&self.rootfs.tree, directory);
    }

    /// Finds how far a path leads. What symlinks make of it counts as metadata: it takes time, and whoever looks at the tree later
    /// holds paths as they are without symlinks, which are no longer.
    fn resolve(&mut self, path: &[u8]) -> Result<Resolved, LayerErrorKind> {
        let resolved = resolve(&self.rootfs.tree, path)?;
        self.rootfs.budget.charge(resolved.detour)?;
        Ok(resolved)
    }

    /// Finds an entry and its directory, which is found through symlinks; the entry may be one itself.
    fn find(&mut self, parent: &[u8], name: &[u8]) -> Result<Option<(InodeId, InodeId)>, LayerErrorKind> {
        let Resolved { directory, missing, .. } = self.resolve(parent)?;
        let entry = self.rootfs.tree.lookup(directory, name);
        Ok(entry.filter(|_| missing.is_empty()).map(|id| (directory, id)))
    }

    /// Finds a directory, and makes it if it does not exist. A file in its place gives way, as it does when overlayfs merges
    /// layers (umoci does the same; containerd fails if it applies layers to a plain directory).
    fn make_directory(&mut self, path: &[u8]) -> Result<InodeId, LayerErrorKind> {
        let Resolved {
            mut directory,
            mut path_len,
            missing,
            ..
        } = self.resolve(path)?;
        for name in missing {
            if self.rootfs.tree.lookup(directory, &name).is_some() {
                self.remove(directory, &name)?;
            }
            path_len += name.len() + 1;
            self.rootfs.budget.charge_entry(path_len - 1)?;
            directory = self.insert(directory, &name, implied(), Kind::Directory(Directory::new()))?;
        }
        Ok(directory)
    }

    fn insert(
        &mut self,
        directory: InodeId,
        name: &[u8],
        metadata: Metadata,
        kind: Kind,
    ) -> Result<InodeId, LayerErrorKind> {
        let id = self.rootfs.tree.insert(directory, name, metadata, kind)?;
        self.upper.made(&self.rootfs.tree, directory, id);
        Ok(id)
    }

    fn remove(&mut self, directory: InodeId, name: &[u8]) -> Result<(), LayerErrorKind> {
        for data in self.rootfs.tree.remove(directory, name)? {
            self.rootfs.formatter.free(data);
        }
        Ok(())
    }

    fn is_directory(&self, id: InodeId) -> bool {
        self.rootfs.tree.inode(id).directory().is_some()
    }
}

/// Metadata of a directory without an entry: nothing is known of it, so all is as if it were made by root at the epoch.
fn implied() -> Metadata {
    Metadata {
        mode: IMPLIED_MODE,
        ..Metadata::default()
    }
}

/// Tells content that could not be read from an image that could not be written.
fn written(result: Result<Data, FormatError>) -> Result<Data, LayerErrorKind> {
    result.map_err(|error| match error {
        FormatError::Content(source) => LayerErrorKind::Read(source),
        FormatError::ContentTooShort { expected, actual } => LayerErrorKind::Truncated {
            what: "the content",
            missing: expected - actual,
        },
        error => LayerErrorKind::Image(error),
    })
}
