//! Writes ext4 file systems, byte for byte reproducible: a tree and its contents in, a clean image
//! out; and reads and checks any. No mke2fs, no mount, no privileges, no `unsafe`.
//!
//! A [`Formatter`] streams the content of files to its final blocks; a [`Tree`] takes names, metadata and the [`FileData`] that
//! the formatter gave back as proof; [`Formatter::finish`] writes the rest. The same calls with the same [`Options`] give the
//! same bytes, whenever and wherever.
//!
//! ```
//! use ext4::{Directory, Formatter, InodeId, Kind, Metadata, Options, Size, Tree};
//!
//! let options = Options { size: Size::Fixed(16 << 20), ..Options::new([7; 16]) };
//! let mut formatter = Formatter::new(Vec::new(), options)?;
//! let mut tree = Tree::default();
//! let directory = Metadata { mode: 0o755, ..Metadata::default() };
//! let etc = tree.insert(InodeId::ROOT, b"etc", directory, Kind::Directory(Directory::new()))?;
//!
//! let content = b"microvm\n";
//! let data = formatter.write_data(&content[..], content.len() as u64)?;
//! let file = Metadata { mode: 0o644, ..Metadata::default() };
//! tree.insert(etc, b"hostname", file, Kind::File(data))?;
//!
//! let (image, summary) = formatter.finish(tree)?;
//! assert_eq!(image.len() as u64, summary.size_bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Reading
//!
//! A [`Reader`] opens files by their paths, lists and walks directories, follows symlinks, and
//! tells inodes and extended attributes. It takes a file, a device or memory, and threads can share
//! it. The module [`read`] has all of it.
//!
//! ```
//! # use ext4::{Directory, Formatter, InodeId, Kind, Metadata, Options, Size, Tree};
//! # let options = Options { size: Size::Fixed(4 << 20), ..Options::new([7; 16]) };
//! # let mut formatter = Formatter::new(Vec::new(), options)?;
//! # let mut tree = Tree::default();
//! # let etc = tree.insert(InodeId::ROOT, b"etc", Metadata::default(), Kind::Directory(Directory::new()))?;
//! # let data = formatter.write_data(&b"Welcome\n"[..], 8)?;
//! # tree.insert(etc, b"issue", Metadata::default(), Kind::File(data))?;
//! # let (image, _) = formatter.finish(tree)?;
//! use ext4::Reader;
//!
//! let reader = Reader::open(image)?;
//! assert_eq!(reader.read(b"/etc/issue")?, b"Welcome\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What an image looks like
//!
//! Of a file system of 1 GiB, in blocks of 4 KiB:
//!
//! | block | |
//! |---|---|
//! | 0 | 1,024 bytes for a boot loader ([`Options::boot_area`]), the superblock |
//! | 1 | descriptors of the block groups |
//! | 2 to 128 | room for the descriptors of up to 1 TiB, owned by the resize inode |
//! | 129 on | content of the files, in the order in which it was written, around the copies of blocks 0 to 128 that the groups 1, 3, 5 and 7 begin with |
//! | then | directories and long symlink targets, in the order of their inodes |
//! | then | blocks of extended attributes, blocks of extent trees, the resize inode's map |
//! | then | the journal, of which only the first block is written |
//! | then | block bitmaps, inode bitmaps and inode tables, of 16 groups at a time |
//! | rest | free |
//!
//! Tables may lie in any group (`flex_bg`), and they lie behind the content because nobody knows how large they are before it
//! has been written. Blocks of zeros are left out of the output: they are holes of the file that holds the image.
//!
//! # What is in it
//!
//! The features are those of `mke2fs -t ext4`: `has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg
//! sparse_super large_file huge_file dir_nlink extra_isize metadata_csum`. Linux mounts it from 3.18 on for reading and
//! writing. A directory of more than two levels of index, or of 4 GiB, adds `large_dir` (Linux 4.13).
//!
//! # Limits
//!
//! A file has at most 2^32 - 1 blocks and 65,000 links, a symlink's target one block less a byte and 4,095 bytes, a name 255
//! bytes. A directory has as many names as an index of three levels leads to, with blocks of 1 KiB 5 million of the longest, with
//! 4 KiB 1.9 billion. The extended attributes of a file have some 90 bytes in the inode and one block; with
//! [`Options::large_xattrs`], values of up to 64 KiB that do not fit there have inodes of their own (Linux 4.13). A file system has
//! at most 2^32 - 1 inodes, and as many blocks as its group descriptors reach: [`FormatError::TooLarge`] names the largest size.
//!
//! # Errors
//!
//! A [`TreeError`] is a change that no POSIX tree can take, and leaves the tree as it was. A
//! [`FormatError`] tells whether the content, the output or the options are to blame; the image is
//! then of no use. A [`ReadError`] says what of an image makes no sense, and where. A function
//! panics only if its "Panics" section says so: [`Tree::inode`] with an [`InodeId`] of another
//! tree, for example, where [`Tree::get`] returns `None`.
//!
//! # Features
//!
//! `fallocate` discards ranges of files and devices on Linux, where the crate writes zeros
//! otherwise, and refuses files that are open for appending. It adds the dependency `rustix`;
//! images have the same bytes with and without.
//!
//! # Examples
//!
//! `examples/from_directory.rs`, `from_memory.rs`, `empty.rs`: each is a whole program of less than 60 lines. A sparse file of 1
//! GiB, and what a [`Reader`] says of it:
//!
//! ```
//! use ext4::{Formatter, InodeId, Journal, Kind, Metadata, Options, Reader, Size, Tree};
//!
//! let options = Options { size: Size::Fixed(16 << 20), journal: Journal::None, ..Options::new([7; 16]) };
//! let mut formatter = Formatter::new(Vec::new(), options)?;
//! let mut tree = Tree::default();
//! let len = 1 << 30;
//! let data = formatter.write_sparse(&b"tail"[..], len, &[len - 4..len])?;
//! tree.insert(InodeId::ROOT, b"sparse", Metadata { mode: 0o600, ..Metadata::default() }, Kind::File(data))?;
//! let (image, _) = formatter.finish(tree)?;
//!
//! let reader = Reader::open(image)?;
//! let sparse = reader.open_file(b"/sparse")?;
//! let data = sparse.data();
//! assert_eq!((sparse.inode().size, data.len(), data[0].len), (len, 1, 4096));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// The example of the README, which must hold.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// Not by the feature `derive` of zerocopy: the two compile at the same time.
#[macro_use]
extern crate zerocopy_derive;

mod block_writer;
mod check;
mod checksum;
mod data;
mod disk;
mod encode;
mod error;
mod file_type;
mod format;
mod layout;
mod options;
mod origin;
mod output;
pub mod read;
mod read_at;
mod seal;
mod tree;
mod units;

pub use check::{
    BitmapUnit, BlockRole, CheckReport, Finding, InodeFeature, Problem, QuotaProblem, Severity, StopReason, check,
};
pub use data::FileData;
pub use error::{FormatError, ImageAction};
pub use file_type::FileType;
pub use format::{DataReader, Formatter, Summary};
pub use options::{BOOT_AREA_LEN, Fit, Inodes, Journal, Label, Options, Size};
pub use output::{DeviceOutput, Output};
pub use read::{ReadError, Reader, Structure, StructureKind};
pub use read_at::{ReadAt, ReadSeek};
pub use tree::{
    Acl, AclError, AclTag, Device, Directory, Inode, InodeId, Kind, MAX_LINKS, MAX_NAME_LEN, MAX_TARGET_LEN, Metadata,
    Timestamp, Tree, TreeError, Xattrs,
};
pub use units::{BlockNr, BlockRange, BlockSize, Extent, Ino};
