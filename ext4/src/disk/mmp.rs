//! Block for multiple-mount protection, by which hosts notice that the file system is mounted
//! elsewhere ("Multiple Mount Protection" in the kernel's documentation).

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::assert_layout;

/// `mmp_magic` (`EXT4_MMP_MAGIC`).
pub(crate) const MAGIC: u32 = 0x004D_4D50;
/// `mmp_seq` of a file system that is not mounted (`EXT4_MMP_SEQ_CLEAN`).
pub(crate) const SEQUENCE_CLEAN: u32 = 0xFF4D_4D50;
/// Highest `mmp_seq` of a mounted file system (`EXT4_MMP_SEQ_MAX`).
pub(crate) const SEQUENCE_MAX: u32 = 0xE24D_4D4F;

/// Start of the block, 1,024 bytes (`struct mmp_struct`). The checksum covers all bytes before it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct MmpBlock {
    pub(crate) magic: U32,
    pub(crate) sequence: U32,
    /// Time, host name, device name, check interval and padding.
    pub(crate) rest: [u8; 1012],
    pub(crate) checksum: U32,
}

impl MmpBlock {
    /// Returns the bytes that the checksum covers.
    pub(crate) fn covered(&self) -> &[u8] {
        &self.as_bytes()[..std::mem::offset_of!(Self, checksum)]
    }
}

assert_layout!(MmpBlock: 1024, checksum @ 0x3FC);
