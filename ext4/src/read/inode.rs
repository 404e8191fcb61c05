//! [`Inode`]: the fields of an inode.

use super::checksums::{inode_checksum_ok, verify_checksum};
use super::{ReadError, Reader, Structure};
use crate::checksum::Seed;
use crate::disk::inode::{self, BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::tree::{Device, MAX_TARGET_LEN, Timestamp};
use crate::units::{BlockNr, Ino};

/// Inode of an image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inode {
    /// Number of the inode.
    pub ino: Ino,
    /// Type of the file.
    pub file_type: FileType,
    /// Device number, if the file is a character or block device.
    pub device: Option<Device>,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u16,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID of the owner.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Number of hard links.
    pub links: u16,
    /// Time of the last access (`atime`).
    pub accessed: Timestamp,
    /// Time of the last change of the content (`mtime`).
    pub modified: Timestamp,
    /// Time of the last change of the inode (`ctime`).
    pub changed: Timestamp,
    /// Time of creation (`crtime`). 1970-01-01 if the inode has no field for it.
    pub created: Timestamp,
    /// Time of deletion (`dtime`) in seconds since 1970. 0 for an inode that has a name.
    pub deleted: u32,
    /// Flags on the disk (`EXT4_*_FL`).
    pub flags: u32,
    /// Generation, by which NFS distinguishes successive inodes with the same number.
    pub generation: u32,
    /// Version (`i_version`), which changes with the inode.
    pub version: u64,
    /// Project whose quota the inode counts towards (`projid`).
    pub project: u32,
    /// Offset of the inode in the image, in bytes.
    pub(super) offset: u64,
    /// `i_block`.
    pub(super) block: [u8; BLOCK_LEN],
    /// The inode is a symlink whose target lies in `i_block`.
    pub(super) is_fast_symlink: bool,
    /// Space for attributes after the fields.
    pub(super) xattr_area: Vec<u8>,
    /// Offset of that space in the image, in bytes.
    pub(super) xattr_area_offset: u64,
    pub(super) xattr_block: Option<BlockNr>,
}

impl Inode {
    /// Returns whether the inode is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }

    pub(super) fn has(&self, flags: InodeFlags) -> bool {
        InodeFlags::from_bits_retain(self.flags).contains(flags)
    }

    /// Returns whether the inode holds the value of an attribute.
    pub(crate) fn holds_value(&self) -> bool {
        self.has(InodeFlags::EA_INODE)
    }

    /// Returns an error for damage to this inode.
    pub(super) fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Inode {
            ino: self.ino.get(),
            what,
        }
    }
}

impl<R: ReadAt> Reader<R> {
    /// Returns the inode of the root directory.
    pub fn root(&self) -> Result<Inode, ReadError> {
        self.inode(Ino::ROOT)
    }

    /// Returns an inode by its number.
    pub fn inode(&self, ino: Ino) -> Result<Inode, ReadError> {
        self.check_features()?;
        self.read_inode(ino)
    }

    /// Returns an inode by its number, or `None` if it is free (its mode is zero).
    ///
    /// # Errors
    ///
    /// As [`Reader::inode`].
    pub fn inode_in_use(&self, ino: Ino) -> Result<Option<Inode>, ReadError> {
        self.check_features()?;
        let mut mode = [0; 2];
        self.read_at(self.inode_offset(ino)?, &mut mode)?;
        match mode {
            [0, 0] => Ok(None),
            _ => self.read_inode(ino).map(Some),
        }
    }

    /// Reads an inode in use, and verifies its checksum. Does not check the features.
    pub(crate) fn read_inode(&self, ino: Ino) -> Result<Inode, ReadError> {
        let offset = self.inode_offset(ino)?;
        let mut bytes = vec![0; self.inode_size()];
        self.read_at(offset, &mut bytes)?;
        let inode = inode::Inode::from_prefix(&bytes);
        let damaged = |what| ReadError::Inode { ino: ino.get(), what };
        let fields_end = inode.fields_end(bytes.len());
        let fields_end = fields_end.ok_or_else(|| damaged("its fields exceed its size"))?;
        if let Some(seed) = self.checksum_mode.seed() {
            let seed = seed.of_inode(ino, inode.generation.get());
            let hi = inode.high_checksum().filter(|_| fields_end > inode::CLASSIC_SIZE);
            let is_right = inode_checksum_ok(&bytes, inode.checksum_lo.get(), hi, seed);
            verify_checksum(is_right, Structure::Inode { ino: ino.get() })?;
        }
        let file_type = inode.file_type().ok_or_else(|| damaged("its file type is unknown"))?;
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
            xattr_area: bytes[fields_end..].to_vec(),
            xattr_area_offset: offset + fields_end as u64,
            xattr_block: inode.xattr_block(),
        })
    }

    /// Returns the seed of the checksums of an inode's blocks, if they have any.
    pub(super) fn seed_of(&self, inode: &Inode) -> Option<Seed> {
        let seed = self.checksum_mode.seed()?;
        Some(seed.of_inode(inode.ino, inode.generation))
    }

    /// Returns the target of a symlink.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if `inode` is not a symlink or its target is invalid, and
    /// [`ReadError::Input`].
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        if inode.file_type != FileType::Symlink {
            return Err(inode.damaged("it is not a symlink"));
        }
        let len = usize::try_from(inode.size)
            .ok()
            .filter(|len| (1..=MAX_TARGET_LEN).contains(len));
        let len = len.ok_or_else(|| inode.damaged("its target has an invalid length"))?;
        let target = if inode.is_fast_symlink {
            inode.block[..len].to_vec()
        } else {
            self.read_prefix(inode, len)?
        };
        if target.contains(&0) {
            return Err(inode.damaged("its target contains a NUL"));
        }
        Ok(target)
    }
}
