//! Reads images: [`Reader`] and the types that it returns.
//!
//! A reader looks up paths, lists directories, and reads inodes, extended attributes and the
//! content of files. Whatever bytes an image has, each function returns a value or a
//! [`ReadError`]. No function follows a cycle. None holds more in memory than a block, the names
//! of a directory, an attribute or a list of extents. Every checksum is verified, and a journal
//! that was not replayed is read as if it had been.
//!
//! A reader takes any [`ReadAt`]. All its functions take `&self`, so threads can share it:
//!
//! ```
//! use std::io::{Read as _, Seek as _, SeekFrom};
//! use std::sync::Arc;
//! use ext4::read::{File, FileType, Follow, Reader};
//! # use ext4::{Directory, Formatter, InodeId, Kind, Metadata, Options, Size, Tree};
//! # let options = Options { size: Size::Fixed(4 << 20), ..Options::new([7; 16]) };
//! # let mut formatter = Formatter::new(Vec::new(), options)?;
//! # let mut tree = Tree::default();
//! # let etc = tree.insert(InodeId::ROOT, b"etc", Metadata::default(), Kind::Directory(Directory::new()))?;
//! # let data = formatter.write_data(&b"Welcome\n"[..], 8)?;
//! # tree.insert(etc, b"issue", Metadata::default(), Kind::File(data))?;
//! # let (image, _) = formatter.finish(tree)?;
//!
//! let reader = Arc::new(Reader::open(image)?);
//! for entry in reader.walk() {
//!     let (path, inode) = entry?;
//!     println!("{:>6} {:04o} {}", inode.ino.get(), inode.mode, path.escape_ascii());
//! }
//! let inode = reader.lookup(b"/etc/../etc/issue", Follow::Yes)?;
//! assert_eq!((inode.file_type, inode.size), (FileType::RegularFile, 8));
//!
//! // Many files can be open at once. This one shares the reader, so it can move to a thread.
//! let mut file = File::new(Arc::clone(&reader), &inode)?;
//! let read = std::thread::spawn(move || {
//!     let mut text = String::new();
//!     file.seek(SeekFrom::Start(3))?;
//!     file.read_to_string(&mut text).map(|_| text)
//! });
//! assert_eq!(read.join().unwrap()?, "come\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
pub(crate) mod checksums;
mod data;
mod directory;
pub(crate) mod extents;
mod file;
mod info;
mod inode;
pub(crate) mod journal;
mod lookup;
mod structure;
#[doc(hidden)]
pub mod superblock_fields;
mod walk;
mod xattrs;

use std::error::Error;
use std::{fmt, io};

use zerocopy::{FromZeros, IntoBytes};

use crate::disk::features::Features;
use crate::disk::group_desc::GroupDesc;
use crate::disk::superblock::{MAGIC, MAX_BLOCK_COUNT, OFFSET, Superblock};
use crate::options::BOOT_AREA_LEN;
use crate::units::{BlockNr, Ino};

pub use crate::file_type::FileType;
pub use crate::read_at::{ReadAt, ReadSeek};
pub use blocks::{FileExtent, GroupMetadata, InodeBlocks};
pub use data::DataRange;
pub use directory::DirEntry;
pub use file::File;
pub use info::SuperblockInfo;
pub use inode::Inode;
pub use lookup::{Follow, LookupError};
pub use structure::{Structure, StructureKind};
pub use walk::Walk;

use checksums::{ChecksumMode, verify_checksum};
use journal::JournalOverlay;

/// Largest offset of a byte in an image: 2^63 - 1.
const MAX_OFFSET: u64 = u64::MAX >> 1;

/// Reason why an image, or a part of it, cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The image cannot be read, or ends before the file system does.
    Input {
        /// Offset in bytes.
        offset: u64,
        /// Error of the source.
        source: io::Error,
    },
    /// The superblock is missing.
    NotExt4,
    /// The file system has features that this reader does not handle.
    Unsupported {
        /// Names as for `mke2fs -O`, separated by spaces.
        features: String,
    },
    /// The journal has to be replayed, and is on another device.
    NeedsRecovery,
    /// The journal has fast commits to replay. They describe changes instead of holding blocks.
    FastCommits,
    /// The journal has to be replayed, and is damaged.
    Journal {
        /// Fault in the journal.
        what: &'static str,
    },
    /// A checksum is wrong.
    Checksum {
        /// The structure that it covers.
        structure: Structure,
    },
    /// The superblock is damaged.
    Superblock {
        /// Fault in the superblock.
        what: &'static str,
    },
    /// The file system has no inode with that number.
    NoSuchInode {
        /// Number of the inode.
        ino: u32,
    },
    /// An inode, or a structure that belongs to it, is damaged.
    Inode {
        /// Number of the inode.
        ino: u32,
        /// Fault in the inode.
        what: &'static str,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { offset, .. } => write!(f, "could not read the image at byte {offset}"),
            Self::NotExt4 => f.write_str("not an ext2, ext3 or ext4 file system"),
            Self::Unsupported { features } => write!(f, "the file system has unsupported features: {features}"),
            Self::NeedsRecovery => {
                f.write_str("the file system was not unmounted cleanly, and its journal is on another device")
            }
            Self::FastCommits => f.write_str(
                "the file system was not unmounted cleanly, and its journal holds fast commits, which cannot be replayed here",
            ),
            Self::Journal { what } => write!(f, "the journal is damaged: {what}"),
            Self::Checksum { structure } => write!(f, "the checksum of {structure} is wrong"),
            Self::Superblock { what } => write!(f, "the superblock is damaged: {what}"),
            Self::NoSuchInode { ino } => write!(f, "there is no inode {ino}"),
            Self::Inode { ino, what } => write!(f, "inode {ino} is damaged: {what}"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Input { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<ReadError> for io::Error {
    /// Keeps the kind of an error of the source. The other errors become
    /// [`io::ErrorKind::InvalidData`].
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Input { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Reader of an image: a file, a device, or memory.
pub struct Reader<R> {
    input: R,
    superblock: Superblock,
    block_size: usize,
    block_count: u64,
    checksum_mode: ChecksumMode,
    /// Blocks whose current content is in the journal.
    overlay: JournalOverlay,
    needs_recovery: bool,
}

impl<R: ReadAt> Reader<R> {
    /// Opens an image: reads the superblock, and the journal if it was not replayed.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotExt4`], [`ReadError::Superblock`], [`ReadError::Checksum`],
    /// [`ReadError::Journal`], [`ReadError::FastCommits`] and [`ReadError::Input`].
    pub fn open(input: R) -> Result<Self, ReadError> {
        let mut reader = Self::new(input);
        let superblock = reader.read_superblock()?;
        verify_checksum(checksums::superblock_checksum_ok(&superblock), Structure::Superblock)?;
        reader.set_superblock(superblock)?;
        reader.overlay_journal()?;
        Ok(reader)
    }

    /// Creates a reader without a superblock.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            superblock: Superblock::new_zeroed(),
            block_size: 1024,
            block_count: 0,
            checksum_mode: ChecksumMode::None,
            overlay: JournalOverlay::new(),
            needs_recovery: false,
        }
    }

    /// Reads the primary superblock, without verifying its checksum.
    pub(crate) fn read_superblock(&self) -> Result<Superblock, ReadError> {
        let mut superblock = Superblock::new_zeroed();
        match self.read_at(OFFSET, superblock.as_mut_bytes()) {
            Err(ReadError::Input { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::NotExt4);
            }
            result => result?,
        }
        if superblock.magic.get() != MAGIC {
            return Err(ReadError::NotExt4);
        }
        Ok(superblock)
    }

    /// Uses a superblock as that of the file system. Changes nothing if the superblock is damaged.
    pub(crate) fn set_superblock(&mut self, superblock: Superblock) -> Result<(), ReadError> {
        let damaged = |what| Err(ReadError::Superblock { what });
        let Some(block_size) = superblock.block_len() else {
            return damaged("the block size exceeds 64 KiB");
        };
        if !self.overlay.is_empty() && block_size != self.block_size {
            return damaged("the superblock in the journal has another block size");
        }
        if superblock.inodes_per_group.get() == 0 || superblock.blocks_per_group.get() == 0 {
            return damaged("groups have no blocks or no inodes");
        }
        let block_count = superblock.block_count();
        // Extents can name 2^48 blocks. Byte offsets in files and devices have 63 bits.
        if block_count > MAX_BLOCK_COUNT.min(MAX_OFFSET / block_size as u64) {
            return damaged("the block count is too large");
        }
        let inode_size = superblock.inode_len();
        if !(128..=block_size).contains(&inode_size) || !inode_size.is_power_of_two() {
            return damaged("the inode size is invalid");
        }
        if !(32..=block_size).contains(&superblock.descriptor_len()) {
            return damaged("the size of group descriptors is invalid");
        }
        self.block_size = block_size;
        self.block_count = block_count;
        self.checksum_mode = ChecksumMode::of(&superblock);
        self.superblock = superblock;
        Ok(())
    }

    /// Returns the bytes before the superblock, which do not belong to the file system.
    ///
    /// # Errors
    ///
    /// [`ReadError::Input`].
    pub fn boot_area(&self) -> Result<[u8; BOOT_AREA_LEN], ReadError> {
        let mut bytes = [0; BOOT_AREA_LEN];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    pub(crate) fn block_count(&self) -> u64 {
        self.block_count
    }

    /// Returns the number of groups that the first `block_count` blocks form.
    pub(crate) fn group_count(&self, block_count: u64) -> u32 {
        self.superblock.group_count(block_count)
    }

    pub(crate) fn checksum_mode(&self) -> ChecksumMode {
        self.checksum_mode
    }

    pub(crate) fn inode_size(&self) -> usize {
        self.superblock.inode_len()
    }

    pub(crate) fn descriptor_size(&self) -> usize {
        self.superblock.descriptor_len()
    }

    /// Returns an error if the image has unknown incompatible features, or a journal on another
    /// device to replay.
    fn check_features(&self) -> Result<(), ReadError> {
        if self.needs_recovery && self.has_external_journal() {
            return Err(ReadError::NeedsRecovery);
        }
        self.check_known_features()
    }

    /// Returns an error if the superblock has incompatible features that the reader does not
    /// handle.
    pub(crate) fn check_known_features(&self) -> Result<(), ReadError> {
        let unknown = (self.superblock.features() & Features::ALL_INCOMPAT).difference(Features::READABLE);
        if unknown.is_empty() {
            return Ok(());
        }
        Err(ReadError::Unsupported {
            features: unknown.names().collect::<Vec<_>>().join(" "),
        })
    }

    /// Reads the descriptor of a group. Returns it with its bytes in the image, to verify its
    /// checksum.
    pub(crate) fn read_group_desc(&self, group: u32) -> Result<(GroupDesc, Vec<u8>), ReadError> {
        let size = self.descriptor_size();
        let first = u64::from(self.superblock.first_data_block.get()) + 1;
        let offset = self.offset_of_block(first) + u64::from(group) * size as u64;
        let mut bytes = vec![0; size];
        self.read_at(offset, &mut bytes)?;
        Ok((
            GroupDesc::from_prefix(&bytes[..size.min(size_of::<GroupDesc>())]),
            bytes,
        ))
    }

    /// Returns the offset in bytes of an inode in the image.
    fn inode_offset(&self, ino: Ino) -> Result<u64, ReadError> {
        if ino.get() == 0 || ino.get() > self.superblock.inodes_count.get() {
            return Err(ReadError::NoSuchInode { ino: ino.get() });
        }
        let (group, index) = self.superblock.inode_position(ino);
        let (descriptor, bytes) = self.read_group_desc(group)?;
        let is_right = self.checksum_mode.group_desc_checksum_ok(&bytes, &descriptor, group);
        verify_checksum(is_right, Structure::GroupDescriptor { group })?;
        let table = descriptor.inode_table();
        if table >= self.block_count {
            return Err(ReadError::Inode {
                ino: ino.get(),
                what: "its inode table is beyond the end of the file system",
            });
        }
        Ok(self.offset_of_block(table) + u64::from(index) * self.inode_size() as u64)
    }

    /// Reads a block that belongs to an inode.
    fn read_block(&self, ino: Ino, block: BlockNr) -> Result<Vec<u8>, ReadError> {
        if block.get() == 0 || block.get() >= self.block_count {
            return Err(ReadError::Inode {
                ino: ino.get(),
                what: "one of its blocks is outside of the file system",
            });
        }
        let mut bytes = vec![0; self.block_size];
        let offset = self.offset_of_block(block.get());
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn offset_of_block(&self, block: u64) -> u64 {
        block * self.block_size as u64
    }
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("block_size", &self.block_size)
            .field("block_count", &self.block_count)
            .field("features", &self.superblock.features())
            .field("needs_recovery", &self.needs_recovery)
            .finish_non_exhaustive()
    }
}

fn read_at(input: &impl ReadAt, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
    input
        .read_exact_at(bytes, offset)
        .map_err(|source| ReadError::Input { offset, source })
}
