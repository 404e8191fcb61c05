//! The format as types, one file for each page of the kernel's documentation (`Documentation/filesystems/ext4`).
//!
//! Fields have the kernel's names without their prefix. All integers are little-endian but those of the journal, and no type
//! has padding.

pub(crate) mod dir_entry;
pub(crate) mod extent;
pub(crate) mod features;
pub(crate) mod group_desc;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod quota;
pub(crate) mod superblock;
pub(crate) mod xattr;

/// Checks the size of a structure and the offsets of fields against the documentation, at compile time.
macro_rules! assert_layout {
    ($structure:ty: $size:literal $(, $field:ident @ $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(size_of::<$structure>() == $size);
            $(assert!(std::mem::offset_of!($structure, $field) == $offset);)*
        };
    };
}
pub(crate) use assert_layout;
