//! Layout of the init's configuration: what a machine runs, and as which user.
//!
//! The builder of an image (`src/guest`) writes it, and the init in that image (`guest/init`) reads
//! it.
//!
//! # Format
//!
//! The init is an ELF program of 64 bits, little-endian. Its last `PT_LOAD` segment is read-only,
//! holds the configuration, and ends the file. The builder replaces the segment, so it may have any
//! length, and sets `p_filesz` and `p_memsz` to that length.
//!
//! The segment begins with a [`Configuration`]. The values that it points to follow, in any order:
//!
//! - An address is the virtual address at which the kernel maps the value. So the init parses
//!   nothing: an address in the segment is a pointer.
//! - A string is bytes and a NUL.
//! - A list of strings is their addresses and a 0, which `execve` takes as it is.
//! - The other lists have a count, and lie at a multiple of 8.
//!
//! ```
//! use guest_configuration::{Directory, MOUNT, RUN};
//!
//! // What a builder appends to a segment that is mapped at 0x410000 and has 80 bytes so far.
//! let path = RUN.to_bytes_with_nul();
//! let run = Directory { path: 0x41_0050, mode: 0o755, user: 0, group: 0, mount: MOUNT };
//! let bytes = [path, &[0; 3], &run.to_bytes()].concat();
//! assert_eq!(bytes[8..12], [0x50, 0x00, 0x41, 0x00]);
//! ```
//!
//! # To add a field
//!
//! 1. Here: the field, its offset in `layout!`, and the test below. It changes the layout: old
//!    programs and new builders do not work together, so both change in one commit.
//! 2. `src/guest/program.rs`: its value in `build`, and the test `any_bytes_reach_the_guest`.
//! 3. `guest/init/src/configuration.rs`: its value in the static, and a method that returns it.
//! 4. `just init`: builds the prebuilt programs in `src/guest/init`. `tests/init.rs` compares them
//!    with the sources, and `tests/boot` runs them.
#![no_std]

use core::ffi::CStr;
use core::mem::offset_of;

/// Mount point of procfs.
pub const PROC: &CStr = c"/proc";
/// Mount point of sysfs.
pub const SYS: &CStr = c"/sys";
/// Mount point of devtmpfs.
pub const DEV: &CStr = c"/dev";
/// Mount point of a tmpfs, if the image has this directory.
pub const RUN: &CStr = c"/run";
/// Mount point of another tmpfs, if the image has this directory.
pub const TMP: &CStr = c"/tmp";

/// [`Directory::mount`] of a mount point of a tmpfs.
pub const MOUNT: u32 = 1;
/// [`Directory::mount`] of a mount point of a tmpfs that would hide files of the image. The init
/// mounts it only if the root is read-only.
pub const MOUNT_IF_READ_ONLY: u32 = 2;

/// Start of the segment.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Address of the list of the command and its arguments. Never empty. The address is 0 in a
    /// program without a configuration.
    pub arguments: u64,
    /// Address of the list of the environment, in the form `NAME=value`.
    pub environment: u64,
    /// Address of the user's groups, a `u32` each.
    pub groups: u64,
    /// Number of groups.
    pub group_count: u64,
    /// Address of the directories of all tmpfs, each [`Directory`] after its parent.
    pub directories: u64,
    /// Number of directories.
    pub directory_count: u64,
    /// Address of the path of the working directory of the command.
    pub working_directory: u64,
    /// Address of the host name.
    pub hostname: u64,
    /// Uid of the command.
    pub user: u32,
    /// Gid of the command.
    pub group: u32,
    /// Number of the signal that asks the command to stop.
    pub stop_signal: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A directory that the init makes in a tmpfs, or mounts a tmpfs on.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    /// Address of its absolute path.
    pub path: u64,
    /// Permission bits.
    pub mode: u32,
    /// Uid of its owner.
    pub user: u32,
    /// Gid of its group.
    pub group: u32,
    /// [`MOUNT`], [`MOUNT_IF_READ_ONLY`], or 0 for a directory in the tmpfs that was mounted last.
    pub mount: u32,
}

/// Checks the size of a structure and the offset of each field at compile time, and encodes it.
macro_rules! layout {
    ($structure:ident: $size:literal, $($field:ident @ $offset:literal),* $(,)?) => {
        const _: () = {
            assert!(size_of::<$structure>() == $size && align_of::<$structure>() == 8);
            $(assert!(offset_of!($structure, $field) == $offset);)*
        };

        impl $structure {
            /// Returns the bytes that the segment holds: little-endian, whatever the host's byte
            /// order.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $size] {
                let Self { $($field),* } = self;
                let mut bytes = [0; $size];
                $(bytes[$offset..][..size_of_val($field)].copy_from_slice(&$field.to_le_bytes());)*
                bytes
            }
        }
    };
}

layout!(
    Configuration: 80,
    arguments @ 0,
    environment @ 8,
    groups @ 16,
    group_count @ 24,
    directories @ 32,
    directory_count @ 40,
    working_directory @ 48,
    hostname @ 56,
    user @ 64,
    group @ 68,
    stop_signal @ 72,
    reserved @ 76,
);
layout!(Directory: 24, path @ 0, mode @ 8, user @ 12, group @ 16, mount @ 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_in_order() {
        let configuration = Configuration {
            arguments: 0x0102_0304_0506_0708,
            environment: 2,
            groups: 3,
            group_count: 4,
            directories: 5,
            directory_count: 6,
            working_directory: 7,
            hostname: 8,
            user: 0x090A_0B0C,
            group: 10,
            stop_signal: 11,
            reserved: 12,
        };
        let bytes = configuration.to_bytes();
        assert_eq!(bytes[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[64..68], [0x0C, 0x0B, 0x0A, 9]);
        let (addresses, numbers) = bytes.split_at(64);
        for (index, address) in addresses.chunks_exact(8).enumerate().skip(1) {
            let value = u8::try_from(index + 1).unwrap();
            assert_eq!(address, [value, 0, 0, 0, 0, 0, 0, 0]);
        }
        for (index, number) in numbers.chunks_exact(4).enumerate().skip(1) {
            assert_eq!(number, [u8::try_from(index + 9).unwrap(), 0, 0, 0]);
        }
    }
}
