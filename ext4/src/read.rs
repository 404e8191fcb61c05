//! Reading images: [`Reader`], and what it finds.
//!
//! A reader looks paths up, lists directories, and reads inodes, extended attributes and the
//! contents of files. Whatever an image holds, the answer is a value or a [`ReadError`]; nothing is
//! followed in circles, or held in memory beyond a block, a name list, an attribute or a list of
//! extents. Every checksum is verified, and a journal that was not replayed is read as if it had
//! been.
//!
//! A reader takes any [`ReadAt`], and all its functions take `&self`, so threads can share it:
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
//! for found in reader.walk() {
//!     let (path, inode) = found?;
//!     println!("{:>6} {:04o} {}", inode.ino.get(), inode.mode, path.escape_ascii());
//! }
//! let inode = reader.lookup(b"/etc/../etc/issue", Follow::Yes)?;
//! assert_eq!((inode.file_type, inode.size), (FileType::RegularFile, 8));
//!
//! // One of many files that are open at once; this one keeps the reader, to go to a thread.
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
mod data;
mod directory;
pub(crate) mod extents;
#[doc(hidden)]
pub mod fields;
mod file;
mod info;
mod inode;
pub(crate) mod journal;
mod lookup;
mod structure;
pub(crate) mod sums;
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
pub use blocks::{Extent, GroupMetadata, InodeBlocks};
pub use data::DataRange;
pub use directory::DirEntry;
pub use file::File;
pub use info::SuperblockInfo;
pub use inode::Inode;
pub use lookup::{Follow, LookupError};
pub use structure::{Structure, StructureKind};
pub use walk::Walk;

use journal::Logged;
use sums::{Sums, expect};

/// The last byte of an image that there can be: 2^63 - 1.
const MAX_OFFSET: u64 = u64::MAX >> 1;

/// Why an image, or something in it, cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The image does not give its bytes, or ends before what it says it has.
    Input {
        /// Where.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// No superblock where one belongs.
    NotExt4,
    /// Features that this reader does not know, or knows not to read.
    Unsupported {
        /// Names as `mke2fs -O` takes them, with spaces between.
        features: String,
    },
    /// What the journal holds is not in its place yet, and the journal is on another device.
    NeedsRecovery,
    /// The journal holds fast commits, which say what to change instead of holding blocks, and they
    /// were not replayed.
    FastCommits,
    /// The journal was not replayed, and cannot be.
    Journal {
        /// What is wrong.
        what: &'static str,
    },
    /// A checksum is not that of what it covers.
    Checksum {
        /// What it covers.
        structure: Structure,
    },
    /// The superblock contradicts itself.
    Superblock {
        /// What is wrong.
        what: &'static str,
    },
    /// There is no such inode.
    NoSuchInode {
        /// Its number.
        ino: u32,
    },
    /// An inode, or what belongs to it, contradicts itself or the file system.
    Inode {
        /// Its number.
        ino: u32,
        /// What is wrong.
        what: &'static str,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { offset, .. } => write!(f, "could not read the image at byte {offset}"),
            Self::NotExt4 => f.write_str("not an ext2, ext3 or ext4 file system"),
            Self::Unsupported { features } => write!(f, "the file system has features that cannot be read: {features}"),
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
    /// Has the kind of the error that the image gave, or [`io::ErrorKind::InvalidData`].
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Input { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// An image to look into: a file, a device, or memory.
pub struct Reader<R> {
    input: R,
    superblock: Superblock,
    block_size: usize,
    block_count: u64,
    sums: Sums,
    /// What the journal holds.
    logged: Logged,
    needs_recovery: bool,
}

impl<R: ReadAt> Reader<R> {
    /// Reads the superblock, and the journal if it was not replayed.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotExt4`], [`ReadError::Superblock`], [`ReadError::Checksum`],
    /// [`ReadError::Journal`], [`ReadError::FastCommits`] and [`ReadError::Input`].
    pub fn open(input: R) -> Result<Self, ReadError> {
        let mut reader = Self::new(input);
        let superblock = reader.read_superblock()?;
        expect(sums::is_right_superblock(&superblock), Structure::Superblock)?;
        reader.adopt(superblock)?;
        reader.see_through_journal()?;
        Ok(reader)
    }

    /// A reader that knows nothing yet of the file system.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            superblock: Superblock::new_zeroed(),
            block_size: 1024,
            block_count: 0,
            sums: Sums::None,
            logged: Logged::new(),
            needs_recovery: false,
        }
    }

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

    /// Takes a superblock for that of the file system; one that makes no sense changes nothing.
    pub(crate) fn adopt(&mut self, superblock: Superblock) -> Result<(), ReadError> {
        let damaged = |what| Err(ReadError::Superblock { what });
        let Some(block_size) = superblock.block_len() else {
            return damaged("blocks of more than 64 KiB");
        };
        if !self.logged.is_empty() && block_size != self.block_size {
            return damaged("blocks of another size in the journal");
        }
        if superblock.inodes_per_group.get() == 0 || superblock.blocks_per_group.get() == 0 {
            return damaged("groups of nothing");
        }
        let block_count = superblock.block_count();
        // 2^48 blocks are the most that an extent can name; offsets of bytes have 63 bits in all that images are kept in.
        if block_count > MAX_BLOCK_COUNT.min(MAX_OFFSET / block_size as u64) {
            return damaged("more blocks than there can be");
        }
        let inode_size = superblock.inode_len();
        if !(128..=block_size).contains(&inode_size) || !inode_size.is_power_of_two() {
            return damaged("the size of inodes");
        }
        if !(32..=block_size).contains(&superblock.descriptor_len()) {
            return damaged("the size of group descriptors");
        }
        self.block_size = block_size;
        self.block_count = block_count;
        self.sums = Sums::of(&superblock);
        self.superblock = superblock;
        Ok(())
    }

    /// The bytes before the superblock, which belong to no file system.
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

    /// Groups that so many blocks are.
    pub(crate) fn group_count(&self, block_count: u64) -> u32 {
        self.superblock.group_count(block_count)
    }

    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    pub(crate) fn inode_size(&self) -> usize {
        self.superblock.inode_len()
    }

    pub(crate) fn descriptor_size(&self) -> usize {
        self.superblock.descriptor_len()
    }

    /// Refuses what would be read wrongly.
    fn check_features(&self) -> Result<(), ReadError> {
        if self.needs_recovery && self.has_journal_elsewhere() {
            return Err(ReadError::NeedsRecovery);
        }
        self.check_known()
    }

    pub(crate) fn check_known(&self) -> Result<(), ReadError> {
        let unknown = (self.superblock.features() & Features::ALL_INCOMPAT).difference(Features::READABLE);
        if unknown.is_empty() {
            return Ok(());
        }
        Err(ReadError::Unsupported {
            features: unknown.names().collect::<Vec<_>>().join(" "),
        })
    }

    /// The descriptor of a group, and the bytes of it that the image has; it may be damaged.
    pub(crate) fn descriptor(&self, group: u32) -> Result<(GroupDesc, Vec<u8>), ReadError> {
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

    /// Where an inode is, in bytes.
    fn offset_of(&self, ino: Ino) -> Result<u64, ReadError> {
        if ino.get() == 0 || ino.get() > self.superblock.inodes_count.get() {
            return Err(ReadError::NoSuchInode { ino: ino.get() });
        }
        let (group, index) = self.superblock.inode_position(ino);
        let (descriptor, bytes) = self.descriptor(group)?;
        let is_right = self.sums.is_right_descriptor(&bytes, &descriptor, group);
        expect(is_right, Structure::GroupDescriptor { group })?;
        let table = descriptor.inode_table();
        if table >= self.block_count {
            return Err(ReadError::Inode {
                ino: ino.get(),
                what: "its table lies behind the end of the file system",
            });
        }
        Ok(self.offset_of_block(table) + u64::from(index) * self.inode_size() as u64)
    }

    /// Reads a whole block that belongs to an inode.
    fn read_block(&self, ino: Ino, block: BlockNr) -> Result<Vec<u8>, ReadError> {
        if block.get() == 0 || block.get() >= self.block_count {
            return Err(ReadError::Inode {
                ino: ino.get(),
                what: "a block lies outside of the file system",
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
