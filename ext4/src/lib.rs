//! Writes, reads and checks ext4 file systems in pure Rust.
//!
//! The writer turns a tree and the content of its files into a clean disk image, byte for byte
//! reproducible. It needs no mke2fs, no mount, no privileges and no `unsafe`.
//!
//! A [`Formatter`] streams the content of files to its final blocks and returns [`FileData`] as
//! proof. A [`Tree`] takes names, metadata and that proof. [`Formatter::finish`] writes everything
//! else. The same calls with the same [`Options`] produce the same bytes on every machine.
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
//! A [`Reader`] opens files by path, lists and walks directories, follows symlinks, and returns
//! inodes and extended attributes. It reads from a file, a device or memory, and threads can share
//! it. See the module [`read`].
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
//! # Layout of an image
//!
//! A file system of 1 GiB with blocks of 4 KiB:
//!
//! | block | contents |
//! |---|---|
//! | 0 | 1,024 bytes for a boot loader ([`Options::boot_area`]), then the superblock |
//! | 1 | group descriptors |
//! | 2 to 128 | blocks reserved for the descriptors of up to 1 TiB, owned by the resize inode |
//! | from 129 | content of files, in the order in which it was written |
//! | then | directories and long symlink targets, in the order of their inode numbers |
//! | then | external attribute blocks, extent tree nodes, the resize inode's map |
//! | then | the journal, of which only the first block is written |
//! | then | block bitmaps, inode bitmaps and inode tables, 16 groups at a time |
//! | rest | free |
//!
//! Groups 1, 3, 5 and 7 begin with a backup of blocks 0 to 128; everything else is laid out around
//! these backups.
//!
//! - **Content comes first**, because it is streamed before the number of inodes and blocks is
//!   known. `flex_bg` allows the bitmaps and inode tables of a group to be in any group.
//! - **Content is a log.** Blocks are allocated in ascending order and not reused, so each file is
//!   contiguous except where a backup is in its way. Freed blocks stay free.
//! - **If the content ends beyond the requested size**, it is moved down over the freed blocks. The
//!   result is the layout that results from writing the remaining content alone, so whether an
//!   image fits does not depend on what was written and freed before.
//! - **Structures that contain block numbers come last**: extent tree nodes, and attribute blocks,
//!   whose checksum covers their own block number. Nothing moves after they are placed.
//! - **Blocks of zeros are not written**: they are holes in the file that holds the image.
//!
//! # ext4 features
//!
//! An image has the features of `mke2fs -t ext4`: `has_journal ext_attr resize_inode dir_index
//! filetype extent 64bit flex_bg sparse_super large_file huge_file dir_nlink extra_isize
//! metadata_csum`. Linux 3.18 and later mounts it for reading and writing. A directory whose index
//! has more than two levels, or that reaches 4 GiB, adds `large_dir` (Linux 4.13).
//!
//! # Limits
//!
//! - A file has at most 2^32 - 1 blocks and 65,000 links.
//! - A name has at most 255 bytes.
//! - A symlink target has at most 4,095 bytes, and at most one block less a byte.
//! - A directory has as many names as an index of three levels can reach: with blocks of 1 KiB, 5
//!   million names of the greatest length; with 4 KiB, 1.9 billion.
//! - The extended attributes of a file have about 90 bytes in the inode and one block. With
//!   [`Options::large_xattrs`], values of up to 64 KiB that do not fit there have attribute inodes
//!   of their own (Linux 4.13).
//! - A file system has at most 2^32 - 1 inodes. Its group descriptors limit its size:
//!   [`FormatError::TooLarge`] names the largest one.
//!
//! # Errors
//!
//! A [`TreeError`] is a change that a POSIX tree does not allow; the tree stays as it was. A
//! [`FormatError`] distinguishes failures of the content, the output and the options; the image is
//! then unusable. A [`ReadError`] names the structure of an image that is invalid, and why. A
//! function panics only if its documentation has a "Panics" section: [`Tree::inode`], for example,
//! panics for an [`InodeId`] of another tree, where [`Tree::get`] returns `None`.
//!
//! # Cargo features
//!
//! `fallocate` discards ranges of files and devices on Linux, where the crate writes zeros
//! otherwise, and refuses files that are open for appending. It adds the dependency `rustix`.
//! Images have the same bytes with and without it.
//!
//! # Examples
//!
//! `examples/from_directory.rs`, `from_memory.rs` and `empty.rs` are whole programs of fewer than
//! 60 lines. The following example writes a sparse file of 1 GiB and reads its extents:
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

/// The example in the README, compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// Imported here instead of by zerocopy's feature `derive`, so that both crates compile in
// parallel.
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
