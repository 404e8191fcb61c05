//! The format as types with methods, one file for each page of the kernel's documentation
//! (`Documentation/filesystems/ext4`): the one place that knows an offset, a bit, or a number in
//! two fields.
//!
//! Fields have the kernel's names without their prefix. All integers are little-endian but those of the journal, and no type
//! has padding. Methods go through the fields that the disk splits, packs or counts in other units.

pub(crate) mod acl;
pub(crate) mod block_map;
pub(crate) mod dir_entry;
pub(crate) mod extent;
pub(crate) mod features;
pub(crate) mod group_desc;
pub(crate) mod hash;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod mmp;
pub(crate) mod orphan_file;
pub(crate) mod quota;
pub(crate) mod superblock;
pub(crate) mod xattr;

use zerocopy::{FromBytes, IntoBytes};

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

/// Defines the getters and setters of numbers that a structure keeps in two fields: of 64 bits in
/// two words, of 48 in a word and half of one, or of 32 in two halves.
macro_rules! split_numbers {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $bits:tt = $lo:ident, $hi:ident;)*) => {
        $($crate::disk::split_numbers! { @$bits $(#[$doc])* $get, $set, $lo, $hi })*
    };
    (@64 $(#[$doc:meta])* $get:ident, $set:ident, $lo:ident, $hi:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(&self) -> u64 {
            $crate::units::join(self.$lo.get(), self.$hi.get())
        }

        pub(crate) fn $set(&mut self, number: u64) {
            self.$lo.set($crate::units::lo(number));
            self.$hi.set($crate::units::hi(number));
        }
    };
    (@48 $(#[$doc:meta])* $get:ident, $set:ident, $lo:ident, $hi:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(&self) -> u64 {
            $crate::units::join(self.$lo.get(), self.$hi.get().into())
        }

        pub(crate) fn $set(&mut self, number: u64) {
            self.$lo.set($crate::units::lo(number));
            let hi = u16::try_from($crate::units::hi(number));
            self.$hi.set(hi.expect("the number has 48 bits"));
        }
    };
    (@32 $(#[$doc:meta])* $get:ident, $set:ident, $lo:ident, $hi:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(&self) -> u32 {
            $crate::units::join16(self.$lo.get(), self.$hi.get())
        }

        pub(crate) fn $set(&mut self, number: u32) {
            self.$lo.set($crate::units::lo16(number));
            self.$hi.set($crate::units::hi16(number));
        }
    };
}
pub(crate) use split_numbers;

/// A structure from its first bytes, as many as there are; the fields behind them are zero.
fn from_prefix<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut structure = T::new_zeroed();
    let len = bytes.len().min(size_of::<T>());
    structure.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
    structure
}
