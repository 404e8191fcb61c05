//! Inodes as an image has them.

use std::io::{Read, Seek};

use zerocopy::{FromZeros, IntoBytes};

use super::sums::{expect, is_right_inode};
use super::{ReadError, Reader, Structure};
use crate::disk::inode::{BLOCK_LEN, Inode, InodeFlags, file_type};
use crate::file_type::FileType;
use crate::tree::{Device, MAX_TARGET_LEN, Timestamp};
use crate::units::{BlockNr, Ino};

/// Bytes of an inode that every one has.
const CLASSIC_LEN: usize = 128;

/// An inode of an image.
#[derive(Clone, Debug)]
pub struct FoundInode {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FoundKind,
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
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of the content.
    pub modified: Timestamp,
    /// Last change of the inode.
    pub changed: Timestamp,
    pub(super) flags: InodeFlags,
    pub(crate) generation: u32,
    /// First byte of it in the image.
    pub(super) at: u64,
    /// `i_block`.
    pub(super) block: [u8; BLOCK_LEN],
    /// The room for attributes behind the fields.
    pub(super) room: Vec<u8>,
    /// First byte of that room in the image.
    pub(super) room_at: u64,
    pub(super) xattr_block: Option<BlockNr>,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FoundKind {
    /// Type of the inode.
    #[must_use]
    pub fn file_type(self) -> FileType {
        match self {
            Self::Directory => FileType::Directory,
            Self::File => FileType::RegularFile,
            Self::Symlink => FileType::Symlink,
            Self::CharDevice(_) => FileType::CharacterDevice,
            Self::BlockDevice(_) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }

    /// `file`, `directory`, `symlink`, `character device`, `block device`, `fifo` or `socket`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::CharDevice(_) => "character device",
            Self::BlockDevice(_) => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

impl FoundInode {
    /// Whether it is there for the value of an attribute.
    pub(crate) fn holds_value(&self) -> bool {
        self.flags.contains(InodeFlags::EA_INODE)
    }

    /// The error that this inode is damaged.
    pub(super) fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Inode {
            ino: self.ino.get(),
            what,
        }
    }
}

impl<R: Read + Seek> Reader<R> {
    /// The root directory.
    ///
    /// # Errors
    ///
    /// As [`Reader::inode`].
    pub fn root(&mut self) -> Result<FoundInode, ReadError> {
        self.inode(Ino::ROOT)
    }

    /// An inode by its number.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchInode`], [`ReadError::Inode`] if it is none, [`ReadError::Checksum`], [`ReadError::NeedsRecovery`],
    /// [`ReadError::Unsupported`] and [`ReadError::Input`].
    pub fn inode(&mut self, ino: Ino) -> Result<FoundInode, ReadError> {
        self.check_features()?;
        self.read_inode(ino)
    }

    pub(crate) fn read_inode(&mut self, ino: Ino) -> Result<FoundInode, ReadError> {
        let offset = self.offset_of(ino)?;
        let mut bytes = vec![0; self.inode_size().max(size_of::<Inode>())];
        let size = self.inode_size();
        self.read_at(offset, &mut bytes[..size])?;
        let mut inode = Inode::new_zeroed();
        inode.as_mut_bytes().copy_from_slice(&bytes[..size_of::<Inode>()]);
        let damaged = |what| Err(ReadError::Inode { ino: ino.get(), what });
        let extra = match size {
            CLASSIC_LEN => 0,
            _ => usize::from(inode.extra_isize.get()),
        };
        if !extra.is_multiple_of(4) || CLASSIC_LEN + extra > size {
            return damaged("more fields than it has room for");
        }
        if let Some(seed) = self.sums.seed() {
            let seed = seed.of_inode(ino, inode.generation.get());
            let hi = (extra >= 4).then(|| inode.checksum_hi.get());
            let is_right = is_right_inode(&bytes[..size], inode.checksum_lo.get(), hi, seed);
            expect(is_right, Structure::Inode { ino: ino.get() })?;
        }
        let flags = InodeFlags::from_bits_retain(inode.flags.get());
        let mode = inode.mode.get();
        let kind = match mode & 0o170_000 {
            file_type::DIRECTORY => FoundKind::Directory,
            file_type::REGULAR => FoundKind::File,
            file_type::SYMLINK => FoundKind::Symlink,
            file_type::CHAR_DEVICE => FoundKind::CharDevice(device(&inode.block)),
            file_type::BLOCK_DEVICE => FoundKind::BlockDevice(device(&inode.block)),
            file_type::FIFO => FoundKind::Fifo,
            file_type::SOCKET => FoundKind::Socket,
            _ => return damaged("it is of no kind"),
        };
        let xattr_block = u64::from(inode.file_acl_lo.get()) | u64::from(inode.file_acl_high.get()) << 32;
        // The fields behind the first 128 bytes are there as far as `i_extra_isize` says.
        let time = |seconds: u32, extra_bits: u32, end: usize| {
            let extra_bits = if CLASSIC_LEN + extra >= end { extra_bits } else { 0 };
            let epoch = i64::from(extra_bits & 3) << 32;
            Timestamp::saturating(i64::from(seconds.cast_signed()) + epoch, extra_bits >> 2)
        };
        Ok(FoundInode {
            ino,
            kind,
            mode: mode & 0o7777,
            uid: u32::from(inode.uid.get()) | u32::from(inode.uid_high.get()) << 16,
            gid: u32::from(inode.gid.get()) | u32::from(inode.gid_high.get()) << 16,
            size: u64::from(inode.size_lo.get()) | u64::from(inode.size_high.get()) << 32,
            links: inode.links_count.get(),
            accessed: time(inode.atime.get(), inode.atime_extra.get(), 0x90),
            modified: time(inode.mtime.get(), inode.mtime_extra.get(), 0x8C),
            changed: time(inode.ctime.get(), inode.ctime_extra.get(), 0x88),
            flags,
            generation: inode.generation.get(),
            at: offset,
            block: inode.block,
            room: bytes[CLASSIC_LEN + extra..size].to_vec(),
            room_at: offset + (CLASSIC_LEN + extra) as u64,
            xattr_block: (xattr_block != 0).then_some(BlockNr(xattr_block)),
        })
    }

    /// The target of a symlink.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if it is none, or its target cannot be, and [`ReadError::Input`].
    pub fn target(&mut self, inode: &FoundInode) -> Result<Vec<u8>, ReadError> {
        if inode.kind != FoundKind::Symlink {
            return Err(inode.damaged("it is not a symlink"));
        }
        let len = usize::try_from(inode.size)
            .ok()
            .filter(|len| (1..=MAX_TARGET_LEN).contains(len));
        let len = len.ok_or_else(|| inode.damaged("no target has such a length"))?;
        let target = if len < BLOCK_LEN && !inode.flags.contains(InodeFlags::EXTENTS) {
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

/// The number of a device: the first word in the old encoding if it is not zero, else the second in the new one
/// (`old_decode_dev`, `new_decode_dev`).
fn device(block: &[u8; BLOCK_LEN]) -> Device {
    let (words, _) = block.as_chunks::<4>();
    let (old, new) = (u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1]));
    if old == 0 {
        Device {
            major: new >> 8 & 0xFFF,
            minor: new & 0xFF | new >> 12 & 0xF_FF00,
        }
    } else {
        Device {
            major: old >> 8 & 0xFF,
            minor: old & 0xFF,
        }
    }
}
