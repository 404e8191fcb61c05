//! One of the two disk images: its inodes, as they are met, and what belongs to them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ext4::read::superblock_fields::{SuperblockFields, superblock_fields};
use ext4::read::{self, DirEntry, Inode, InodeBlocks, SuperblockInfo};
use ext4::{BlockNr, BlockRange, FileType, Ino, ReadError, Reader, Xattrs};

use super::error::{DiffError, DiffReason};
use super::holes::Holes;
use super::owners::{self, OwnerKind, Owners, Table};
use layer::cancel::{Cancel, Cancellable};
use oci::host;

/// Most bytes of extended attributes that are compared.
const MAX_XATTR_BYTES: u64 = 16 << 30;

/// How often as much as an image has may be compared once more, because files are linked on one side and not on the other.
const AGAIN: u64 = 4;

/// A name, and the path of the directory that it is in, which other names share.
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

/// A disk image that is compared.
pub(super) struct Side {
    path: PathBuf,
    reader: Rc<Reader<Cancellable<File>>>,
    cancel: Cancel,
    pub(super) info: SuperblockInfo,
    pub(super) holes: Holes,
    pub(super) tables: Vec<Table>,
    pub(super) owners: Owners,
    /// Inodes whose blocks have their owner.
    seen: HashSet<u32>,
    /// First names of inodes with more than one.
    names: HashMap<u32, Name>,
    /// Blocks of content that have no owner yet, if there is no block with two.
    unclaimed: u64,
    xattr_bytes: u64,
    /// Bytes that may still be compared once more.
    again: u64,
}

impl Side {
    /// Opens a disk image, and reads its superblock and group descriptors.
    pub(super) fn open(path: &Path, cancel: &Cancel) -> Result<Self, DiffError> {
        let open = || -> Result<Self, DiffReason> {
            let reader = Reader::open(Cancellable::new(host::open_disk(path)?, cancel))?;
            let info = reader.info();
            let tables = owners::tables(&reader.groups()?);
            let mut owners = Owners::new(&info, &tables);
            if let Some(block) = info.mount_protection_block {
                owners.add(one(block), OwnerKind::MountProtection, 0);
            }
            Ok(Self {
                path: path.to_owned(),
                holes: Holes::new(host::open_disk(path)?)?,
                unclaimed: info.block_count,
                again: info.block_count.saturating_mul(AGAIN * info.block_size),
                info,
                tables,
                owners,
                reader: Rc::new(reader),
                cancel: cancel.clone(),
                seen: HashSet::new(),
                names: HashMap::new(),
                xattr_bytes: 0,
            })
        };
        open().map_err(|reason| DiffError::new(path, reason))
    }

    /// Fails once the comparison is cancelled.
    pub(super) fn check(&self) -> Result<(), DiffError> {
        Ok(self.cancel.check()?)
    }

    /// The error that something is wrong with this image.
    pub(super) fn failed(&self, reason: impl Into<DiffReason>) -> DiffError {
        DiffError::new(&self.path, reason)
    }

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

    /// Opens a regular file, apart from all else that is read meanwhile.
    pub(super) fn open_file(&self, inode: &Inode) -> Result<read::File<Rc<Reader<Cancellable<File>>>>, DiffError> {
        read::File::new(Rc::clone(&self.reader), inode).map_err(|error| self.failed(error))
    }

    pub(super) fn xattrs(&mut self, inode: &Inode) -> Result<Xattrs, DiffError> {
        let xattrs = self.read(|reader| reader.xattrs(inode))?;
        let len: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.xattr_bytes += len as u64;
        if self.xattr_bytes > MAX_XATTR_BYTES {
            return Err(self.failed(DiffReason::TooManyXattrs { max: MAX_XATTR_BYTES }));
        }
        Ok(xattrs)
    }

    /// The first name of an inode that has more than one; this one becomes it if there is none yet.
    pub(super) fn first_name(&mut self, inode: &Inode, name: &Name) -> Option<Name> {
        if inode.file_type == FileType::Directory || inode.links < 2 {
            return None;
        }
        let first = self.names.entry(inode.ino.get()).or_insert_with(|| name.clone());
        Some(first.clone())
    }

    /// Meets an inode at one of its names: what belongs to it, if this is the first.
    pub(super) fn meet(&mut self, inode: &Inode) -> Result<Option<InodeBlocks>, DiffError> {
        let ino = inode.ino.get();
        if !self.seen.insert(ino) {
            return match inode.file_type {
                FileType::Directory => Err(self.failed(DiffReason::SecondDirectory { ino })),
                _ if inode.links < 2 => Err(self.failed(DiffReason::TooManyNames { ino })),
                _ => Ok(None),
            };
        }
        let kind = match inode.file_type {
            FileType::Directory => OwnerKind::Directory,
            FileType::Symlink => OwnerKind::Symlink,
            _ => OwnerKind::File,
        };
        self.claim(inode, kind).map(Some)
    }

    /// Allows that content is compared which was compared before.
    pub(super) fn compare_again(&mut self, inode: &Inode) -> Result<(), DiffError> {
        let size = self.info.block_count.saturating_mul(self.info.block_size);
        match self.again.checked_sub(inode.size.min(size)) {
            Some(left) => self.again = left,
            None => return Err(self.failed(DiffReason::TooManyLinks)),
        }
        Ok(())
    }

    /// Meets the inodes that no name leads to.
    pub(super) fn meet_reserved(&mut self) -> Result<(), DiffError> {
        for ino in self.info.nameless_inodes.clone() {
            if let Some(inode) = self.read(|reader| reader.inode_in_use(ino))? {
                let is_journal = self.info.journal == Some(ino);
                let kind = if is_journal {
                    OwnerKind::Journal
                } else {
                    OwnerKind::Reserved
                };
                self.claim(&inode, kind)?;
            }
        }
        Ok(())
    }

    fn claim(&mut self, inode: &Inode, kind: OwnerKind) -> Result<InodeBlocks, DiffError> {
        let ino = inode.ino.get();
        let blocks = self.read(|reader| reader.blocks(inode))?;
        for extent in &blocks.extents {
            self.own(extent.blocks, kind, ino)?;
        }
        let node_kind = if kind == OwnerKind::Reserved {
            kind
        } else {
            OwnerKind::Node
        };
        for &node in &blocks.nodes {
            self.own(one(node), node_kind, ino)?;
        }
        if let Some(block) = blocks.xattr_block {
            // Inodes share it, so it is claimed by none.
            self.owners.add(one(block), OwnerKind::Xattrs, ino);
        }
        for &value in &blocks.value_inodes {
            if self.seen.insert(value.get()) {
                let inode = self.inode(value)?;
                let blocks = self.read(|reader| reader.blocks(&inode))?;
                for extent in &blocks.extents {
                    self.own(extent.blocks, OwnerKind::XattrValue, value.get())?;
                }
            }
        }
        Ok(blocks)
    }

    fn own(&mut self, blocks: BlockRange, kind: OwnerKind, ino: u32) -> Result<(), DiffError> {
        self.unclaimed = match self.unclaimed.checked_sub(blocks.count) {
            Some(left) => left,
            None => return Err(self.failed(DiffReason::SharedBlocks)),
        };
        self.owners.add(blocks, kind, ino);
        Ok(())
    }
}

/// The range of a single block.
fn one(start: BlockNr) -> BlockRange {
    BlockRange { start, count: 1 }
}
