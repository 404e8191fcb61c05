//! One of the two disk images of a comparison: reads it, and records the owners of its blocks.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ext4::read::superblock_fields::{SuperblockFields, superblock_fields};
use ext4::read::{self, DirEntry, Inode, InodeBlocks, SuperblockInfo};
use ext4::{BlockNr, BlockRange, FileType, Ino, ReadError, Reader, Xattrs};

use super::error::{DiffError, DiffReason};
use super::holes::SparseFile;
use super::owners::{self, BlockOwners, GroupTable, OwnerKind};
use layer::cancel::{Cancel, Cancellable};
use oci::host;

/// Maximum number of bytes of extended attributes that are compared, over all inodes.
const MAX_XATTR_BYTES: u64 = 16 << 30;

/// Limit on content that is compared more than once, in multiples of the size of the image. This
/// happens where names are hard links in one image and separate files in the other.
const RECOMPARE_FACTOR: u64 = 4;

/// A name in a directory. Names in the same directory share its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) directory: Rc<[u8]>,
    pub(super) name: Box<[u8]>,
}

impl Name {
    pub(super) fn path(&self) -> Vec<u8> {
        [&*self.directory, b"/", &self.name].concat()
    }
}

/// One of the two disk images.
pub(super) struct DiffSide {
    path: PathBuf,
    reader: Rc<Reader<Cancellable<File>>>,
    cancel: Cancel,
    pub(super) info: SuperblockInfo,
    pub(super) file: SparseFile,
    pub(super) tables: Vec<GroupTable>,
    pub(super) owners: BlockOwners,
    /// Inodes whose blocks are recorded in `owners`.
    visited: HashSet<u32>,
    /// First name of each inode with hard links.
    first_names: HashMap<u32, Name>,
    /// Number of blocks without an owner. If it would fall below zero, a block has two owners.
    unowned_blocks: u64,
    xattr_bytes: u64,
    /// Bytes of content that may still be compared more than once.
    recompare_bytes_left: u64,
}

impl DiffSide {
    /// Opens a disk image, and reads its superblock and group descriptors.
    pub(super) fn open(path: &Path, cancel: &Cancel) -> Result<Self, DiffError> {
        let open = || -> Result<Self, DiffReason> {
            let reader = Reader::open(Cancellable::new(host::open_disk(path)?, cancel))?;
            let info = reader.info();
            let tables = owners::group_tables(&reader.groups()?);
            let mut owners = BlockOwners::new(&info, &tables);
            if let Some(block) = info.mount_protection_block {
                owners.add(single_block(block), OwnerKind::MountProtection, 0);
            }
            Ok(Self {
                path: path.to_owned(),
                file: SparseFile::new(host::open_disk(path)?)?,
                unowned_blocks: info.block_count,
                recompare_bytes_left: info.block_count.saturating_mul(RECOMPARE_FACTOR * info.block_size),
                info,
                tables,
                owners,
                reader: Rc::new(reader),
                cancel: cancel.clone(),
                visited: HashSet::new(),
                first_names: HashMap::new(),
                xattr_bytes: 0,
            })
        };
        open().map_err(|reason| DiffError::new(path, reason))
    }

    /// Returns an error once the comparison is cancelled.
    pub(super) fn check_cancelled(&self) -> Result<(), DiffError> {
        Ok(self.cancel.check()?)
    }

    /// Returns an error about this image.
    pub(super) fn error(&self, reason: impl Into<DiffReason>) -> DiffError {
        DiffError::new(&self.path, reason)
    }

    /// Calls a function of the reader. Its error becomes one about this image.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Reader<Cancellable<File>>) -> Result<T, ReadError>,
    ) -> Result<T, DiffError> {
        read(&self.reader).map_err(|error| DiffError::new(&self.path, error))
    }

    pub(super) fn superblock_fields(&self) -> SuperblockFields {
        superblock_fields(&self.reader)
    }

    pub(super) fn inode(&self, ino: Ino) -> Result<Inode, DiffError> {
        self.read(|reader| reader.inode(ino))
    }

    pub(super) fn entries(&self, directory: &Inode) -> Result<Vec<DirEntry>, DiffError> {
        self.read(|reader| reader.read_dir(directory))
    }

    /// Opens a regular file with a position of its own.
    pub(super) fn open_file(&self, inode: &Inode) -> Result<read::File<Rc<Reader<Cancellable<File>>>>, DiffError> {
        read::File::new(Rc::clone(&self.reader), inode).map_err(|error| self.error(error))
    }

    /// Reads the extended attributes of an inode.
    ///
    /// # Errors
    ///
    /// [`DiffReason::XattrsTooLarge`] if those of all inodes exceed [`MAX_XATTR_BYTES`].
    pub(super) fn xattrs(&mut self, inode: &Inode) -> Result<Xattrs, DiffError> {
        let xattrs = self.read(|reader| reader.xattrs(inode))?;
        let len: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.xattr_bytes += len as u64;
        if self.xattr_bytes > MAX_XATTR_BYTES {
            return Err(self.error(DiffReason::XattrsTooLarge { max: MAX_XATTR_BYTES }));
        }
        Ok(xattrs)
    }

    /// Returns the first name of an inode with hard links, or `None` for other inodes. The first
    /// call for an inode records `name` as its first name.
    pub(super) fn first_name(&mut self, inode: &Inode, name: &Name) -> Option<Name> {
        if inode.file_type == FileType::Directory || inode.links < 2 {
            return None;
        }
        let first = self.first_names.entry(inode.ino.get()).or_insert_with(|| name.clone());
        Some(first.clone())
    }

    /// Visits an inode at one of its names. The first visit records the owner of its blocks, and
    /// returns them. Later visits return `None`.
    pub(super) fn visit(&mut self, inode: &Inode) -> Result<Option<InodeBlocks>, DiffError> {
        let ino = inode.ino.get();
        if !self.visited.insert(ino) {
            return match inode.file_type {
                FileType::Directory => Err(self.error(DiffReason::SecondDirectory { ino })),
                _ if inode.links < 2 => Err(self.error(DiffReason::TooManyNames { ino })),
                _ => Ok(None),
            };
        }
        let kind = match inode.file_type {
            FileType::Directory => OwnerKind::Directory,
            FileType::Symlink => OwnerKind::Symlink,
            _ => OwnerKind::File,
        };
        self.record_blocks(inode, kind).map(Some)
    }

    /// Subtracts the size of a file from the limit on content that is compared more than once.
    ///
    /// # Errors
    ///
    /// [`DiffReason::TooManyLinks`] if the limit is exceeded.
    pub(super) fn charge_recompare(&mut self, inode: &Inode) -> Result<(), DiffError> {
        let size = self.info.block_count.saturating_mul(self.info.block_size);
        match self.recompare_bytes_left.checked_sub(inode.size.min(size)) {
            Some(left) => self.recompare_bytes_left = left,
            None => return Err(self.error(DiffReason::TooManyLinks)),
        }
        Ok(())
    }

    /// Visits the inodes without a name: the journal and the reserved inodes.
    pub(super) fn visit_nameless_inodes(&mut self) -> Result<(), DiffError> {
        for ino in self.info.nameless_inodes.clone() {
            if let Some(inode) = self.read(|reader| reader.inode_in_use(ino))? {
                let is_journal = self.info.journal == Some(ino);
                let kind = if is_journal {
                    OwnerKind::Journal
                } else {
                    OwnerKind::ReservedInode
                };
                self.record_blocks(&inode, kind)?;
            }
        }
        Ok(())
    }

    /// Records the owner of all blocks of an inode: content, extent nodes, extended attributes and
    /// their value inodes.
    fn record_blocks(&mut self, inode: &Inode, kind: OwnerKind) -> Result<InodeBlocks, DiffError> {
        let ino = inode.ino.get();
        let blocks = self.read(|reader| reader.blocks(inode))?;
        for extent in &blocks.extents {
            self.record_owner(extent.blocks, kind, ino)?;
        }
        let node_kind = if kind == OwnerKind::ReservedInode {
            kind
        } else {
            OwnerKind::ExtentNode
        };
        for &node in &blocks.nodes {
            self.record_owner(single_block(node), node_kind, ino)?;
        }
        if let Some(block) = blocks.xattr_block {
            // Inodes may share this block, so it does not count as owned.
            self.owners.add(single_block(block), OwnerKind::XattrBlock, ino);
        }
        for &value in &blocks.value_inodes {
            if self.visited.insert(value.get()) {
                let inode = self.inode(value)?;
                let blocks = self.read(|reader| reader.blocks(&inode))?;
                for extent in &blocks.extents {
                    self.record_owner(extent.blocks, OwnerKind::XattrValue, value.get())?;
                }
            }
        }
        Ok(blocks)
    }

    /// Records the owner of blocks that only one inode may own.
    ///
    /// # Errors
    ///
    /// [`DiffReason::SharedBlocks`] once inodes own more blocks than the image has.
    fn record_owner(&mut self, blocks: BlockRange, kind: OwnerKind, ino: u32) -> Result<(), DiffError> {
        self.unowned_blocks = match self.unowned_blocks.checked_sub(blocks.count) {
            Some(left) => left,
            None => return Err(self.error(DiffReason::SharedBlocks)),
        };
        self.owners.add(blocks, kind, ino);
        Ok(())
    }
}

/// Returns the range of a single block.
fn single_block(start: BlockNr) -> BlockRange {
    BlockRange { start, count: 1 }
}
