//! Writes ext4 file systems.

mod data;
mod disk;
mod encode;
mod error;
mod format;
mod image;
mod options;
mod output;
mod place;
mod seal;
mod tree;
mod units;

pub use data::Data;
pub use error::{FormatError, TreeError};
pub use format::{Formatter, Summary};
pub use options::{Fit, Inodes, Journal, Label, Options, Size};
pub use output::Output;
pub use tree::{
    Device, Directory, Inode, InodeId, Kind, MAX_LINKS, MAX_NAME_LEN, MAX_TARGET_LEN, Metadata, Timestamp, Tree, Xattrs,
};
pub use units::{BlockNr, BlockSize, Extent, Ino};
