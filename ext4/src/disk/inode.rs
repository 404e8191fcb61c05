//! Inodes ("Index Nodes" in the kernel's documentation).

use bitflags::bitflags;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use super::block_map::{self, ROOT_NUMBERS};
use super::xattr::{INODE_ROOM, TERMINATOR};
use super::{assert_layout, split_numbers, xattr};
use crate::file_type::FileType;
use crate::tree::{Device, Timestamp};
use crate::units::{BlockNr, BlockSize, join, lo, signed, unsigned};

/// Size in bytes of an inode that the writer makes.
pub(crate) const SIZE: u16 = 256;
/// Size in bytes of the smallest inode, which has no fields beyond the first 128 bytes
/// (`EXT4_GOOD_OLD_INODE_SIZE`).
pub(crate) const CLASSIC_SIZE: usize = 128;
/// Length in bytes of the fields beyond the first 128 bytes (`i_extra_isize`).
pub(crate) const EXTRA_SIZE: u16 = 32;
/// Length of `i_block` in bytes.
pub(crate) const BLOCK_LEN: usize = block_map::ROOT_LEN;
/// Maximum length in bytes of a symlink target in `i_block`. One byte less than `i_block` has:
/// pass 1 of e2fsck requires a NUL.
pub(crate) const MAX_FAST_SYMLINK: usize = 59;

/// Maximum length in bytes of content in an inode: `i_block`, and the value of the attribute
/// `system.data`. The value takes the space for attributes, except for its entry, the magic number
/// and the terminator.
pub(crate) const MAX_INLINE_DATA: usize =
    BLOCK_LEN + INODE_ROOM - size_of_val(&xattr::MAGIC) - xattr::entry_len(xattr::INLINE_DATA.1.len()) - TERMINATOR;

/// Bits of `i_mode` for the file type (`S_IFMT`).
const TYPE_BITS: u16 = 0o170_000;
/// Permission, setuid, setgid and sticky bits of `i_mode`.
pub(crate) const PERMISSION_BITS: u16 = 0o7777;

/// Inode, 256 bytes: `struct ext4_inode`, and the space for extended attributes.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Inode {
    pub(crate) mode: U16,
    pub(crate) uid: U16,
    pub(crate) size_lo: U32,
    pub(crate) atime: U32,
    pub(crate) ctime: U32,
    pub(crate) mtime: U32,
    pub(crate) dtime: U32,
    pub(crate) gid: U16,
    pub(crate) links_count: U16,
    pub(crate) blocks_lo: U32,
    pub(crate) flags: U32,
    pub(crate) version: U32,
    pub(crate) block: [u8; BLOCK_LEN],
    pub(crate) generation: U32,
    pub(crate) file_acl_lo: U32,
    pub(crate) size_high: U32,
    pub(crate) obso_faddr: U32,
    pub(crate) blocks_high: U16,
    pub(crate) file_acl_high: U16,
    pub(crate) uid_high: U16,
    pub(crate) gid_high: U16,
    pub(crate) checksum_lo: U16,
    pub(crate) reserved: U16,
    pub(crate) extra_isize: U16,
    pub(crate) checksum_hi: U16,
    pub(crate) ctime_extra: U32,
    pub(crate) mtime_extra: U32,
    pub(crate) atime_extra: U32,
    pub(crate) crtime: U32,
    pub(crate) crtime_extra: U32,
    pub(crate) version_hi: U32,
    pub(crate) projid: U32,
    /// Extended attributes, or zeros.
    pub(crate) xattrs: [u8; INODE_ROOM],
}

impl Inode {
    /// Reads an inode of `bytes.len()` bytes. Fields that it does not have are zero: of those
    /// beyond its first 128 bytes, it has as many as `i_extra_isize` covers. Attributes in the
    /// inode are dropped.
    pub(crate) fn from_prefix(bytes: &[u8]) -> Self {
        let mut inode: Self = super::from_prefix(bytes);
        // Each field after these two bytes is a word or ends a word.
        let extra = (usize::from(inode.extra_isize.get()) / 4 * 4).max(size_of::<U16>());
        let fields_end = CLASSIC_SIZE + extra;
        let missing = inode.as_mut_bytes().get_mut(fields_end..);
        missing.unwrap_or_default().fill(0);
        inode
    }

    /// Returns the offset in bytes of the space for attributes after the fields, in an inode of
    /// `inode_len` bytes. Returns `None` if the fields exceed the inode.
    pub(crate) fn fields_end(&self, inode_len: usize) -> Option<usize> {
        let extra = if inode_len > CLASSIC_SIZE {
            usize::from(self.extra_isize.get())
        } else {
            0
        };
        (extra % 4 == 0 && CLASSIC_SIZE + extra <= inode_len).then_some(CLASSIC_SIZE + extra)
    }

    /// Returns the high half of the checksum, or `None` if `i_extra_isize` does not cover it.
    pub(crate) fn high_checksum(&self) -> Option<u16> {
        let end = std::mem::offset_of!(Self, checksum_hi) + size_of::<U16>();
        (CLASSIC_SIZE + usize::from(self.extra_isize.get()) >= end).then(|| self.checksum_hi.get())
    }

    split_numbers! {
        /// User ID of the owner.
        uid, set_uid: 32 = uid, uid_high;
        /// Group ID of the owner.
        gid, set_gid: 32 = gid, gid_high;
        /// Size in bytes.
        size, set_size: 64 = size_lo, size_high;
        /// `i_blocks`, in units of 512 bytes or, with [`InodeFlags::HUGE_FILE`], of blocks.
        blocks, set_blocks: 48 = blocks_lo, blocks_high;
        /// `i_version`.
        version, set_version: 64 = version, version_hi;
        /// `i_file_acl`, the block of extended attributes, or zero.
        file_acl, set_file_acl: 48 = file_acl_lo, file_acl_high;
    }

    /// Returns the file type, or `None` if the mode has an unknown one.
    pub(crate) fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.mode.get())
    }

    /// Returns the permission, setuid, setgid and sticky bits.
    pub(crate) fn permissions(&self) -> u16 {
        self.mode.get() & PERMISSION_BITS
    }

    /// Sets the file type and the permissions. Other bits of `permissions` are ignored.
    pub(crate) fn set_mode(&mut self, file_type: FileType, permissions: u16) {
        self.mode.set(file_type.mode_bits() | permissions & PERMISSION_BITS);
    }

    /// Returns the number of hard links.
    pub(crate) fn links(&self) -> u16 {
        self.links_count.get()
    }

    /// Returns the flags, including unknown ones.
    pub(crate) fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits_retain(self.flags.get())
    }

    /// Sets `i_blocks` to `count` blocks: in units of 512 bytes if 32 bits suffice for that, or
    /// else in blocks, with [`InodeFlags::HUGE_FILE`].
    pub(crate) fn set_block_count(&mut self, count: u64, block_size: BlockSize) {
        let sectors = count << (block_size.log2() - 9);
        if sectors < 1 << 32 {
            self.set_blocks(sectors);
        } else {
            self.flags.set((self.flags() | InodeFlags::HUGE_FILE).bits());
            self.set_blocks(count);
        }
    }

    /// Returns the block of extended attributes, if there is one.
    pub(crate) fn xattr_block(&self) -> Option<BlockNr> {
        Some(BlockNr(self.file_acl())).filter(|block| block.get() != 0)
    }

    /// Returns the time of the last access.
    pub(crate) fn atime(&self) -> Timestamp {
        Timestamp::decode(self.atime.get(), self.atime_extra.get())
    }

    pub(crate) fn set_atime(&mut self, time: Timestamp) {
        set_time(&mut self.atime, &mut self.atime_extra, time);
    }

    /// Returns the time of the last change of the inode.
    pub(crate) fn ctime(&self) -> Timestamp {
        Timestamp::decode(self.ctime.get(), self.ctime_extra.get())
    }

    pub(crate) fn set_ctime(&mut self, time: Timestamp) {
        set_time(&mut self.ctime, &mut self.ctime_extra, time);
    }

    /// Returns the time of the last change of the content.
    pub(crate) fn mtime(&self) -> Timestamp {
        Timestamp::decode(self.mtime.get(), self.mtime_extra.get())
    }

    pub(crate) fn set_mtime(&mut self, time: Timestamp) {
        set_time(&mut self.mtime, &mut self.mtime_extra, time);
    }

    /// Returns the time of creation.
    pub(crate) fn crtime(&self) -> Timestamp {
        Timestamp::decode(self.crtime.get(), self.crtime_extra.get())
    }

    pub(crate) fn set_crtime(&mut self, time: Timestamp) {
        set_time(&mut self.crtime, &mut self.crtime_extra, time);
    }

    /// Returns the block numbers in `i_block`, if it is the root of a block map.
    pub(crate) fn block_map(&self) -> [u32; ROOT_NUMBERS] {
        let mut numbers = block_map::numbers(&self.block);
        std::array::from_fn(|_| numbers.next().expect("i_block has room for them"))
    }

    /// Returns the device number, if the inode is a device.
    pub(crate) fn device(&self) -> Device {
        let [old, new, ..] = self.block_map();
        Device::decode([old, new])
    }

    /// Returns whether the inode is a symlink whose target lies in `i_block`, up to a NUL.
    pub(crate) fn is_fast_symlink(&self) -> bool {
        let is_mapped = self.flags().intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
        self.file_type() == Some(FileType::Symlink) && !is_mapped && self.size() < BLOCK_LEN as u64
    }

    /// Stores the hash of the attribute value that the inode holds, and the number of attributes
    /// with that value.
    pub(crate) fn set_value(&mut self, hash: u32, references: u32) {
        self.set_atime(Timestamp::decode(hash, 0));
        self.set_version(references.into());
    }

    /// Returns the hash of the attribute value that an inode with [`InodeFlags::EA_INODE`] holds
    /// (`ext4_xattr_inode_get_hash`).
    pub(crate) fn value_hash(&self) -> u32 {
        self.atime.get()
    }

    /// Returns the number of attributes whose value the inode holds (`ext4_xattr_inode_get_ref`).
    pub(crate) fn value_references(&self) -> u64 {
        join(self.version.get(), self.ctime.get())
    }

    /// Returns number and generation of the inode with the attribute whose value this inode holds,
    /// if this inode is from before value inodes had hashes and counts
    /// (`EXT4_XATTR_INODE_GET_PARENT`).
    pub(crate) fn value_parent(&self) -> (u32, u32) {
        (self.mtime.get(), self.generation.get())
    }
}

/// Returns an `i_block` that begins with `bytes`: the target of a short symlink, or content.
pub(crate) fn i_block_from(bytes: &[u8]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..bytes.len()].copy_from_slice(bytes);
    block
}

/// Returns the `i_block` of a device.
pub(crate) fn device_block(device: Device) -> [u8; BLOCK_LEN] {
    i_block_from(&block_map::encode(&device.encode()))
}

fn set_time(seconds: &mut U32, extra: &mut U32, time: Timestamp) {
    let encoded = time.encode();
    seconds.set(encoded.0);
    extra.set(encoded.1);
}

impl Timestamp {
    /// Returns the two words of a time in an inode. The first has the low 32 bits of the signed
    /// seconds. The second has the nanoseconds, and below them, in two bits, how many times 2^32
    /// is added to the seconds (`ext4_encode_extra_time`).
    #[must_use]
    pub fn encode(self) -> (u32, u32) {
        let seconds = lo(unsigned(self.seconds()));
        let epoch = (self.seconds() - i64::from(signed(seconds))) >> 32;
        (seconds, self.nanoseconds() << 2 | lo(unsigned(epoch)) & 3)
    }

    /// Returns the time that two words in an inode stand for (`ext4_decode_extra_time`).
    #[must_use]
    pub fn decode(seconds: u32, extra: u32) -> Self {
        let epoch = i64::from(extra & 3) << 32;
        Self::saturating(i64::from(signed(seconds)) + epoch, extra >> 2)
    }
}

impl Device {
    /// Returns the first two words of `i_block`, one of which is zero: the old encoding if the
    /// number fits in it, or else the new one (`old_encode_dev`, `new_encode_dev`).
    #[must_use]
    pub fn encode(self) -> [u32; 2] {
        let Self { major, minor } = self;
        if major < 256 && minor < 256 {
            [major << 8 | minor, 0]
        } else {
            [0, minor & 0xFF | major << 8 | (minor & !0xFF) << 12]
        }
    }

    /// Returns the device number that the first two words of `i_block` stand for
    /// (`old_decode_dev`, `new_decode_dev`).
    #[must_use]
    pub fn decode([old, new]: [u32; 2]) -> Self {
        if old == 0 {
            Self {
                major: new >> 8 & 0xFFF,
                minor: new & 0xFF | new >> 12 & 0xF_FF00,
            }
        } else {
            Self {
                major: old >> 8 & 0xFF,
                minor: old & 0xFF,
            }
        }
    }
}

impl FileType {
    /// Returns the type as bits of `i_mode` and `st_mode` (`S_IFREG` etc.).
    #[must_use]
    pub fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharacterDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::RegularFile => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// Returns the type in a mode, whose other bits are ignored, or `None` for an unknown type.
    #[must_use]
    pub fn from_mode(mode: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|file_type| file_type.mode_bits() == mode & TYPE_BITS)
    }
}

assert_layout!(Inode: 256, block @ 0x28, file_acl_lo @ 0x68, checksum_lo @ 0x7C, extra_isize @ 0x80, crtime @ 0x90, xattrs @ 0xA0);

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct InodeFlags: u32 {
        /// The file cannot be changed (`EXT4_IMMUTABLE_FL`).
        const IMMUTABLE = 0x10;
        /// The file can only be appended to (`EXT4_APPEND_FL`).
        const APPEND = 0x20;
        /// Content or names are encrypted (`EXT4_ENCRYPT_FL`).
        const ENCRYPT = 0x800;
        /// Inode of AFS (`EXT4_IMAGIC_FL`).
        const IMAGIC = 0x2000;
        /// The directory has an index (`EXT4_INDEX_FL`).
        const INDEX = 0x1000;
        /// `i_blocks` counts blocks instead of units of 512 bytes (`EXT4_HUGE_FILE_FL`).
        const HUGE_FILE = 0x4_0000;
        /// `i_block` is the root of an extent tree (`EXT4_EXTENTS_FL`).
        const EXTENTS = 0x8_0000;
        /// A Merkle tree follows the content (`EXT4_VERITY_FL`).
        const VERITY = 0x10_0000;
        /// The inode holds the value of an extended attribute (`EXT4_EA_INODE_FL`).
        const EA_INODE = 0x20_0000;
        /// The content lies in the inode (`EXT4_INLINE_DATA_FL`).
        const INLINE_DATA = 0x1000_0000;
        /// Names in the directory are case-insensitive (`EXT4_CASEFOLD_FL`).
        const CASEFOLD = 0x4000_0000;
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn file_types_round_trip_and_other_modes_have_none() {
        let known: Vec<u16> = FileType::ALL.map(FileType::mode_bits).into();
        for bits in 0..16 {
            let mode = bits << 12 | 0o7777;
            let found = FileType::from_mode(mode);
            assert_eq!(found.is_some(), known.contains(&(bits << 12)), "{mode:o}");
            assert!(found.is_none_or(|found| found.mode_bits() == bits << 12), "{mode:o}");
        }
    }

    #[test]
    fn small_device_numbers_are_in_the_first_word_and_large_ones_in_the_second() {
        for (major, minor, words) in [
            (0, 0, [0, 0]),
            (1, 3, [0x103, 0]),
            (255, 255, [0xFFFF, 0]),
            (0, 256, [0, 0x10_0000]),
            (256, 0, [0, 0x1_0000]),
            (4095, 0xF_FFFF, [0, u32::MAX]),
        ] {
            assert_eq!(Device { major, minor }.encode(), words, "{major}:{minor}");
        }
    }

    #[test]
    fn times_are_split_as_the_kernel_does() {
        for (seconds, words) in [
            (-1 << 31, (1 << 31, 4)),
            (-1, (u32::MAX, 4)),
            (0, (0, 4)),
            ((1 << 31) - 1, (i32::MAX.cast_unsigned(), 4)),
            (1 << 31, (1 << 31, 5)),
            ((3 << 32) + (1 << 31) - 1, (i32::MAX.cast_unsigned(), 7)),
        ] {
            assert_eq!(Timestamp::saturating(seconds, 1).encode(), words, "{seconds}");
        }
    }

    proptest::proptest! {
        #[test]
        fn device_numbers_round_trip(major in 0_u32..1 << 12, minor in 0_u32..1 << 20) {
            let device = Device { major, minor };
            assert_eq!(Device::decode(device.encode()), device);
        }

        #[test]
        fn times_round_trip_or_are_clamped(seconds in -(1_i64 << 33)..1 << 35, nanoseconds: u32) {
            let time = Timestamp::saturating(seconds, nanoseconds);
            let (low, extra) = time.encode();
            assert_eq!(Timestamp::decode(low, extra), time);
            let expected = if seconds < -(1 << 31) {
                Timestamp::MIN
            } else if seconds > (3 << 32) + i64::from(i32::MAX) {
                Timestamp::MAX
            } else {
                Timestamp::saturating(seconds, nanoseconds.min(999_999_999))
            };
            assert_eq!(time, expected);
        }

        #[test]
        fn missing_fields_are_zero(
            bytes in proptest::collection::vec(0_u8.., 256),
            extra in 0_u16..=128,
        ) {
            let mut bytes = bytes;
            bytes[CLASSIC_SIZE..][..2].copy_from_slice(&extra.to_le_bytes());
            let all: Inode = super::super::from_prefix(&bytes);
            for len in [128, 256] {
                let inode = Inode::from_prefix(&bytes[..len]);
                let has = |end: usize| len == 256 && CLASSIC_SIZE + usize::from(extra) >= end;
                let decode = |time: (u32, u32), end| Timestamp::decode(time.0, if has(end) { time.1 } else { 0 });
                assert_eq!(inode.ctime(), decode((all.ctime.get(), all.ctime_extra.get()), 0x88));
                assert_eq!(inode.mtime(), decode((all.mtime.get(), all.mtime_extra.get()), 0x8C));
                assert_eq!(inode.atime(), decode((all.atime.get(), all.atime_extra.get()), 0x90));
                let projid = if has(0xA0) { all.projid.get() } else { 0 };
                assert_eq!(inode.projid.get(), projid);
                assert_eq!(inode.high_checksum(), has(0x84).then(|| all.checksum_hi.get()));
                assert_eq!(inode.size(), all.size());
                let fits = len == 128 || extra.is_multiple_of(4);
                let end = if len == 128 { 128 } else { 128 + usize::from(extra) };
                assert_eq!(inode.fields_end(len), fits.then_some(end));
            }
        }

        #[test]
        fn split_numbers_round_trip(size: u64, ids: [u32; 2], wide in 0_u64..1 << 48) {
            let mut inode = Inode::new_zeroed();
            inode.set_size(size);
            inode.set_uid(ids[0]);
            inode.set_gid(ids[1]);
            inode.set_file_acl(wide);
            inode.set_blocks(wide);
            assert_eq!((inode.size(), inode.uid(), inode.gid()), (size, ids[0], ids[1]));
            assert_eq!((inode.file_acl(), inode.blocks()), (wide, wide));
            assert_eq!(inode.xattr_block().map_or(0, BlockNr::get), wide);
        }
    }

    #[test]
    fn block_counts_are_in_units_of_512_bytes_if_32_bits_suffice() {
        for (block_size, count, blocks, is_huge) in [
            (BlockSize::Kib4, 1, 8, false),
            (BlockSize::Kib4, (1 << 29) - 1, 0xFFFF_FFF8, false),
            (BlockSize::Kib4, 1 << 29, 1 << 29, true),
            (BlockSize::Kib1, 1 << 31, 1 << 31, true),
            (BlockSize::Kib64, 3, 384, false),
        ] {
            let mut inode = Inode::new_zeroed();
            inode.set_block_count(count, block_size);
            let found = (inode.blocks(), inode.flags() == InodeFlags::HUGE_FILE);
            assert_eq!(found, (blocks, is_huge), "{count} blocks of {block_size:?}");
        }
    }
}
