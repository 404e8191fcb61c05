//! On-disk structures of ext4: one file for each page of the kernel's documentation
//! (`Documentation/filesystems/ext4`). No other module knows an offset, a bit, or which numbers
//! are split into two fields.
//!
//! Fields have the kernel's names without their prefix. All integers are little-endian, except
//! those of the journal. No type has padding. Methods convert numbers that the disk splits, packs
//! or counts in other units.
//!
//! A new structure takes a type with `assert_layout!` in `disk/`, a function that fills it in
//! `encode/`, its checksum in `checksum.rs` and `seal.rs`, a function that reads and verifies it
//! in `read/`, its rules in `check/` (with a `Structure` and `Problem`s), and a case in
//! `ext4/tests/oracle`.

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

/// Checks the size of a structure and the offsets of its fields at compile time. The expected
/// numbers are those of the kernel's documentation.
macro_rules! assert_layout {
    ($structure:ty: $size:literal $(, $field:ident @ $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(size_of::<$structure>() == $size);
            $(assert!(std::mem::offset_of!($structure, $field) == $offset);)*
        };
    };
}
pub(crate) use assert_layout;

/// Defines getters and setters of numbers that a structure keeps in two fields: 64 bits in two
/// words, 48 bits in a word and a half-word, or 32 bits in two half-words.
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

/// Copies `bytes` into a structure. Fields beyond the end of `bytes` are zero; excess bytes are
/// ignored.
fn from_prefix<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut structure = T::new_zeroed();
    let len = bytes.len().min(size_of::<T>());
    structure.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
    structure
}
