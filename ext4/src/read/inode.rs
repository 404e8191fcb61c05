//! [`Inode`]: all that an inode of an image says of itself.

use super::sums::{expect, is_right_inode};
use super::{ReadError, Reader, Structure};
use crate::checksum::Seed;
use crate::disk::inode::{self, BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::tree::{Device, MAX_TARGET_LEN, Timestamp};
use crate::units::{BlockNr, Ino};

/// An inode of an image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// Type of the file.
    pub file_type: FileType,
    /// Number of the device, if it is a character or block device.
    pub device: Option<Device>,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Names that it has.
    pub links: u16,
    /// Last access (`atime`).
    pub accessed: Timestamp,
    /// Last change of the content (`mtime`).
    pub modified: Timestamp,
    /// Last change of the inode (`ctime`).
    pub changed: Timestamp,
    /// Creation (`crtime`), 1970-01-01 where an inode has no room for it.
    pub created: Timestamp,
    /// Deletion (`dtime`) in seconds since 1970, 0 for an inode that has a name.
    pub deleted: u32,
    /// Flags (`EXT4_*_FL`), as the disk has them.
    pub flags: u32,
    /// Generation, which NFS tells inodes of the same number apart by.
    pub generation: u32,
    /// Version (`i_version`), which changes with the inode.
    pub version: u64,
    /// Project that the inode is counted for (`projid`).
    pub project: u32,
    /// First byte of it in the image.
    pub(super) offset: u64,
    /// `i_block`.
    pub(super) block: [u8; BLOCK_LEN],
    /// The target lies in `i_block`.
    pub(super) is_fast_symlink: bool,
    /// The room for attributes behind the fields.
    pub(super) room: Vec<u8>,
    /// First byte of that room in the image.
    pub(super) room_offset: u64,
    pub(super) xattr_block: Option<BlockNr>,
}

impl Inode {
    /// Returns whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }

    pub(super) fn has(&self, flags: InodeFlags) -> bool {
        InodeFlags::from_bits_retain(self.flags).contains(flags)
    }

    /// Returns whether it is there for the value of an attribute.
    pub(crate) fn holds_value(&self) -> bool {
        self.has(InodeFlags::EA_INODE)
    }

    /// The error that this inode is damaged.
    pub(super) fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Inode {
            ino: self.ino.get(),
            what,
        }
    }
}

impl<R: ReadAt> Reader<R> {
    /// Reads the root directory's inode.
    ///
    /// # Errors
    ///
    /// As [`Reader::inode`].
    pub fn root(&self) -> Result<Inode, ReadError> {
        self.inode(Ino::ROOT)
    }

    /// Reads an inode by its number.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchInode`], [`ReadError::Inode`] if it is not in use or damaged,
    /// [`ReadError::Checksum`], [`ReadError::NeedsRecovery`], [`ReadError::Unsupported`] and
    /// [`ReadError::Input`].
    pub fn inode(&self, ino: Ino) -> Result<Inode, ReadError> {
        self.check_features()?;
        self.read_inode(ino)
    }

    /// Reads an inode that may not be in use; then it is `None`, whatever else is in it.
    ///
    /// # Errors
    ///
    /// As [`Reader::inode`].
    pub fn inode_in_use(&self, ino: Ino) -> Result<Option<Inode>, ReadError> {
        self.check_features()?;
        let mut mode = [0; 2];
        self.read_at(self.offset_of(ino)?, &mut mode)?;
        match mode {
            [0, 0] => Ok(None),
            _ => self.read_inode(ino).map(Some),
        }
    }

    pub(crate) fn read_inode(&self, ino: Ino) -> Result<Inode, ReadError> {
        let offset = self.offset_of(ino)?;
        let mut bytes = vec![0; self.inode_size()];
        self.read_at(offset, &mut bytes)?;
        let inode = inode::Inode::from_prefix(&bytes);
        let damaged = |what| ReadError::Inode { ino: ino.get(), what };
        let fields_end = inode.fields_end(bytes.len());
        let fields_end = fields_end.ok_or_else(|| damaged("more fields than it has room for"))?;
        if let Some(seed) = self.sums.seed() {
            let seed = seed.of_inode(ino, inode.generation.get());
            let hi = inode.high_checksum().filter(|_| fields_end > inode::CLASSIC_SIZE);
            let is_right = is_right_inode(&bytes, inode.checksum_lo.get(), hi, seed);
            expect(is_right, Structure::Inode { ino: ino.get() })?;
        }
        let file_type = inode.file_type().ok_or_else(|| damaged("it is of no kind"))?;
        let is_device = matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice);
        Ok(Inode {
            ino,
            file_type,
            device: is_device.then(|| inode.device()),
            mode: inode.permissions(),
            uid: inode.uid(),
            gid: inode.gid(),
            size: inode.size(),
            links: inode.links(),
            accessed: inode.atime(),
            modified: inode.mtime(),
            changed: inode.ctime(),
            created: inode.crtime(),
            deleted: inode.dtime.get(),
            flags: inode.flags.get(),
            generation: inode.generation.get(),
            version: inode.version(),
            project: inode.projid.get(),
            offset,
            block: inode.block,
            is_fast_symlink: inode.is_fast_symlink(),
            room: bytes[fields_end..].to_vec(),
            room_offset: offset + fields_end as u64,
            xattr_block: inode.xattr_block(),
        })
    }

    /// Seed of the checksums of an inode's blocks, if they have any.
    pub(super) fn seed_of(&self, inode: &Inode) -> Option<Seed> {
        let seed = self.sums.seed()?;
        Some(seed.of_inode(inode.ino, inode.generation))
    }

    /// Reads the target of a symlink.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if it is not a symlink, or its target cannot be, and
    /// [`ReadError::Input`].
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        if inode.file_type != FileType::Symlink {
            return Err(inode.damaged("it is not a symlink"));
        }
        let len = usize::try_from(inode.size)
            .ok()
            .filter(|len| (1..=MAX_TARGET_LEN).contains(len));
        let len = len.ok_or_else(|| inode.damaged("no target has such a length"))?;
        let target = if inode.is_fast_symlink {
            inode.block[..len].to_vec()
        } else {
            self.read_whole(inode, len)?
        };
        if target.contains(&0) {
            return Err(inode.damaged("a NUL in its target"));
        }
        Ok(target)
    }
}
