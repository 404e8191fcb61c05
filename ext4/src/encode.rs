//! Encoders: turn the tree and its block numbers into structures of the disk. They do no I/O.

pub(crate) mod directory;
pub(crate) mod entries;
pub(crate) mod extents;
pub(crate) mod groups;
pub(crate) mod index;
pub(crate) mod inline;
pub(crate) mod inode;
pub(crate) mod resize;
pub(crate) mod superblock;
pub(crate) mod xattrs;
