//! Tree and places in, structures of the disk out. Nothing here reads or writes.

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
