//! The superblock ("Super Block" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32, U64};

use super::block_map::{self, ROOT_NUMBERS};
use super::features::Features;
use super::hash::{HashVersion, NameHasher};
use super::inode::{BLOCK_LEN, CLASSIC_SIZE};
use super::{assert_layout, group_desc, split_numbers};
use crate::units::{BlockSize, Ino, hi, join, lo};

/// Offset of the superblock in the image, in bytes.
pub(crate) const OFFSET: u64 = 1024;
/// `s_magic`.
pub(crate) const MAGIC: u16 = 0xEF53;
/// `s_state`: unmounted cleanly (`EXT4_VALID_FS`).
pub(crate) const STATE_VALID: u16 = 1;
/// `s_errors`: continue after an error (`EXT4_ERRORS_CONTINUE`).
pub(crate) const ERRORS_CONTINUE: u16 = 1;
/// `s_rev_level`: the superblock has the inode size and the features (`EXT4_DYNAMIC_REV`).
pub(crate) const DYNAMIC_REVISION: u32 = 1;
/// `s_max_mnt_count`: no limit on mounts between checks.
pub(crate) const NO_MOUNT_LIMIT: u16 = 0xFFFF;
/// `s_default_mount_opts`: `EXT4_DEFM_XATTR_USER | EXT4_DEFM_ACL`, as mke2fs sets them.
pub(crate) const DEFAULT_MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// `s_def_hash_version`: half MD4 (`DX_HASH_HALF_MD4`).
pub(crate) const HASH_HALF_MD4: u8 = 1;
/// `s_flags`: bytes are signed in directory hashes (`EXT2_FLAGS_SIGNED_HASH`), as on x86.
pub(crate) const FLAG_SIGNED_HASH: u32 = 1;
/// `s_flags`: bytes are unsigned in directory hashes (`EXT2_FLAGS_UNSIGNED_HASH`), as on ARM.
pub(crate) const FLAG_UNSIGNED_HASH: u32 = 2;
/// `s_checksum_type`: CRC32C (`EXT4_CRC32C_CHKSUM`).
pub(crate) const CHECKSUM_CRC32C: u8 = 1;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds the journal's `i_block` and size
/// (`EXT3_JNL_BACKUP_BLOCKS`).
pub(crate) const JOURNAL_BACKUP_BLOCKS: u8 = 1;

/// Binary logarithm of the smallest block size in bytes.
const LOG_MIN_BLOCK_LEN: u32 = 10;
/// `s_log_block_size` of the largest block size, 64 KiB (`EXT4_MAX_BLOCK_LOG_SIZE`).
const MAX_LOG_BLOCK_SIZE: u32 = 16 - LOG_MIN_BLOCK_LEN;
/// Maximum blocks of a file system: block numbers in extents have 48 bits.
pub(crate) const MAX_BLOCK_COUNT: u64 = 1 << 48;

/// Superblock, 1,024 bytes (`struct ext4_super_block`).
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Superblock {
    pub(crate) inodes_count: U32,
    pub(crate) blocks_count_lo: U32,
    pub(crate) r_blocks_count_lo: U32,
    pub(crate) free_blocks_count_lo: U32,
    pub(crate) free_inodes_count: U32,
    pub(crate) first_data_block: U32,
    pub(crate) log_block_size: U32,
    pub(crate) log_cluster_size: U32,
    pub(crate) blocks_per_group: U32,
    pub(crate) clusters_per_group: U32,
    pub(crate) inodes_per_group: U32,
    pub(crate) mtime: U32,
    pub(crate) wtime: U32,
    pub(crate) mnt_count: U16,
    pub(crate) max_mnt_count: U16,
    pub(crate) magic: U16,
    pub(crate) state: U16,
    pub(crate) errors: U16,
    pub(crate) minor_rev_level: U16,
    pub(crate) lastcheck: U32,
    pub(crate) checkinterval: U32,
    pub(crate) creator_os: U32,
    pub(crate) rev_level: U32,
    pub(crate) def_resuid: U16,
    pub(crate) def_resgid: U16,
    pub(crate) first_ino: U32,
    pub(crate) inode_size: U16,
    pub(crate) block_group_nr: U16,
    pub(crate) feature_compat: U32,
    pub(crate) feature_incompat: U32,
    pub(crate) feature_ro_compat: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) volume_name: [u8; 16],
    pub(crate) last_mounted: [u8; 64],
    pub(crate) algorithm_usage_bitmap: U32,
    pub(crate) prealloc_blocks: u8,
    pub(crate) prealloc_dir_blocks: u8,
    pub(crate) reserved_gdt_blocks: U16,
    pub(crate) journal_uuid: [u8; 16],
    pub(crate) journal_inum: U32,
    pub(crate) journal_dev: U32,
    pub(crate) last_orphan: U32,
    pub(crate) hash_seed: [u8; 16],
    pub(crate) def_hash_version: u8,
    pub(crate) jnl_backup_type: u8,
    pub(crate) desc_size: U16,
    pub(crate) default_mount_opts: U32,
    pub(crate) first_meta_bg: U32,
    pub(crate) mkfs_time: U32,
    /// 15 words of `i_block`, then the high and the low half of the size.
    pub(crate) jnl_blocks: [U32; 17],
    pub(crate) blocks_count_hi: U32,
    pub(crate) r_blocks_count_hi: U32,
    pub(crate) free_blocks_count_hi: U32,
    pub(crate) min_extra_isize: U16,
    pub(crate) want_extra_isize: U16,
    pub(crate) flags: U32,
    pub(crate) raid_stride: U16,
    pub(crate) mmp_interval: U16,
    pub(crate) mmp_block: U64,
    pub(crate) raid_stripe_width: U32,
    pub(crate) log_groups_per_flex: u8,
    pub(crate) checksum_type: u8,
    pub(crate) encryption_level: u8,
    pub(crate) reserved_pad: u8,
    pub(crate) kbytes_written: U64,
    pub(crate) snapshot_inum: U32,
    pub(crate) snapshot_id: U32,
    pub(crate) snapshot_r_blocks_count: U64,
    pub(crate) snapshot_list: U32,
    /// `s_error_count` to `s_last_error_func`: the kernel's record of errors.
    pub(crate) error_record: [u8; 108],
    pub(crate) mount_opts: [u8; 64],
    pub(crate) usr_quota_inum: U32,
    pub(crate) grp_quota_inum: U32,
    pub(crate) overhead_clusters: U32,
    pub(crate) backup_bgs: [U32; 2],
    pub(crate) encrypt_algos: [u8; 4],
    pub(crate) encrypt_pw_salt: [u8; 16],
    pub(crate) lpf_ino: U32,
    pub(crate) prj_quota_inum: U32,
    pub(crate) checksum_seed: U32,
    /// High bytes of the times above, then error codes.
    pub(crate) time_hi: [u8; 8],
    pub(crate) encoding: U16,
    pub(crate) encoding_flags: U16,
    pub(crate) orphan_file_inum: U32,
    pub(crate) reserved: [U32; 94],
    pub(crate) checksum: U32,
}

impl Superblock {
    /// Returns the features.
    pub(crate) fn features(&self) -> Features {
        let words = [&self.feature_compat, &self.feature_incompat, &self.feature_ro_compat];
        Features::from_words(words.map(|word| word.get()))
    }

    /// Sets all features.
    pub(crate) fn set_features(&mut self, features: Features) {
        let words = features.words();
        self.feature_compat.set(words[0]);
        self.feature_incompat.set(words[1]);
        self.feature_ro_compat.set(words[2]);
    }

    /// Returns whether all of `features` are set.
    pub(crate) fn has(&self, features: Features) -> bool {
        self.features().contains(features)
    }

    split_numbers! {
        /// `s_blocks_count`. The high half is only valid with `64bit`.
        wide_block_count, set_block_count: 64 = blocks_count_lo, blocks_count_hi;
        /// `s_r_blocks_count`. The high half is only valid with `64bit`.
        wide_reserved_blocks, set_reserved_blocks: 64 = r_blocks_count_lo, r_blocks_count_hi;
        /// `s_free_blocks_count`. The high half is only valid with `64bit`.
        wide_free_blocks, set_free_blocks: 64 = free_blocks_count_lo, free_blocks_count_hi;
    }

    /// Returns the number of blocks of the file system.
    pub(crate) fn block_count(&self) -> u64 {
        self.without_unused_half(self.wide_block_count())
    }

    /// Returns the number of blocks that only root can allocate.
    pub(crate) fn reserved_blocks(&self) -> u64 {
        self.without_unused_half(self.wide_reserved_blocks())
    }

    /// Returns the number of free blocks.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.without_unused_half(self.wide_free_blocks())
    }

    /// Clears the high half of a block count, unless `64bit` makes it valid.
    fn without_unused_half(&self, number: u64) -> u64 {
        if self.has(Features::BIT64) {
            number
        } else {
            lo(number).into()
        }
    }

    /// Returns the size of a block in bytes, or `None` if it exceeds 64 KiB.
    pub(crate) fn block_len(&self) -> Option<usize> {
        let log = self.log_block_size.get();
        (log <= MAX_LOG_BLOCK_SIZE).then(|| 1 << (LOG_MIN_BLOCK_LEN + log))
    }

    /// Sets the size of blocks, and that of clusters to the same.
    pub(crate) fn set_block_size(&mut self, block_size: BlockSize) {
        self.log_block_size.set(block_size.log2() - LOG_MIN_BLOCK_LEN);
        self.log_cluster_size = self.log_block_size;
    }

    /// Returns the number of blocks that `bytes` bytes take, rounded up.
    fn blocks_for(&self, bytes: u64) -> u64 {
        let log = self.log_block_size.get().min(MAX_LOG_BLOCK_SIZE);
        bytes.div_ceil(1 << (LOG_MIN_BLOCK_LEN + log))
    }

    /// Returns the number of groups that the first `block_count` blocks form. Panics if
    /// `s_blocks_per_group` is zero.
    pub(crate) fn group_count(&self, block_count: u64) -> u32 {
        let blocks = block_count.saturating_sub(self.first_data_block.get().into());
        let groups = blocks.div_ceil(self.blocks_per_group.get().into());
        u32::try_from(groups).unwrap_or(u32::MAX)
    }

    /// Returns the first block of a group.
    pub(crate) fn group_start(&self, group: u32) -> u64 {
        let blocks = u64::from(group) * u64::from(self.blocks_per_group.get());
        u64::from(self.first_data_block.get()) + blocks
    }

    /// Returns how many blocks the descriptors of all groups take. Without `meta_bg`, they follow
    /// each superblock.
    pub(crate) fn descriptor_blocks(&self) -> u64 {
        let groups = u64::from(self.group_count(self.block_count()));
        self.blocks_for(groups * self.descriptor_len() as u64)
    }

    /// Returns the number of blocks at the start of a group with a backup: the superblock, the
    /// descriptors, and the blocks reserved for more descriptors.
    pub(crate) fn backup_blocks(&self) -> u64 {
        1 + self.descriptor_blocks() + u64::from(self.reserved_gdt_blocks.get())
    }

    /// Returns the number of blocks of an inode table.
    pub(crate) fn inode_table_blocks(&self) -> u64 {
        self.blocks_for(u64::from(self.inodes_per_group.get()) * self.inode_len() as u64)
    }

    /// Returns the group of an inode and its index in the group's inode table. Panics if
    /// `s_inodes_per_group` is zero.
    pub(crate) fn inode_position(&self, ino: Ino) -> (u32, u32) {
        let index = ino.get() - 1;
        let per_group = self.inodes_per_group.get();
        (index / per_group, index % per_group)
    }

    /// Returns the number of the first inode that is not reserved.
    pub(crate) fn first_inode(&self) -> u32 {
        self.first_ino.get().max(Ino::FIRST.get())
    }

    /// Returns the inodes that the superblock names: the journal, the quota files of users, groups
    /// and projects, and the orphan file. The number of a missing one is zero.
    pub(crate) fn named_inodes(&self) -> [u32; 5] {
        let inodes = [
            &self.journal_inum,
            &self.usr_quota_inum,
            &self.grp_quota_inum,
            &self.prj_quota_inum,
            &self.orphan_file_inum,
        ];
        inodes.map(|ino| ino.get())
    }

    /// Returns the label without its padding of NULs.
    pub(crate) fn label(&self) -> &[u8] {
        let end = self.volume_name.iter().position(|&byte| byte == 0);
        &self.volume_name[..end.unwrap_or(self.volume_name.len())]
    }

    /// Returns the hash of names in indexed directories, with an algorithm.
    pub(crate) fn name_hasher(&self, version: HashVersion) -> NameHasher {
        let hasher = NameHasher::new(&self.hash_seed).with_version(version);
        if self.flags.get() & FLAG_UNSIGNED_HASH == 0 {
            hasher
        } else {
            hasher.with_unsigned_bytes()
        }
    }

    /// Returns `i_block` and size of the journal's inode, if the superblock has a copy of them.
    /// e2fsck uses them to find a journal whose inode is lost.
    pub(crate) fn journal_backup(&self) -> Option<([u8; BLOCK_LEN], u64)> {
        if self.jnl_backup_type != JOURNAL_BACKUP_BLOCKS {
            return None;
        }
        let [block @ .., size_high, size_low] = self.jnl_blocks.map(U32::get);
        let bytes = block_map::encode(&block);
        let block = bytes.try_into().expect("the words of i_block");
        Some((block, join(size_low, size_high)))
    }

    /// Stores a copy of `i_block` and size of the journal's inode.
    pub(crate) fn set_journal_backup(&mut self, block: &[u8; BLOCK_LEN], size: u64) {
        self.jnl_backup_type = JOURNAL_BACKUP_BLOCKS;
        for (field, word) in self.jnl_blocks.iter_mut().zip(block_map::numbers(block)) {
            field.set(word);
        }
        self.jnl_blocks[ROOT_NUMBERS].set(hi(size));
        self.jnl_blocks[ROOT_NUMBERS + 1].set(lo(size));
    }

    /// Returns the size of an inode in bytes (`EXT2_INODE_SIZE`).
    pub(crate) fn inode_len(&self) -> usize {
        match self.rev_level.get() {
            0 => CLASSIC_SIZE,
            _ => self.inode_size.get().into(),
        }
    }

    /// Returns the size of a group descriptor in bytes (`EXT2_DESC_SIZE`).
    pub(crate) fn descriptor_len(&self) -> usize {
        match self.desc_size.get() {
            size if self.has(Features::BIT64) => size.into(),
            _ => group_desc::SMALL_SIZE.into(),
        }
    }

    /// Returns whether a group begins with a superblock: the primary one or a backup
    /// (`ext4_bg_has_super`).
    pub(crate) fn has_backup(&self, group: u32) -> bool {
        if group == 0 {
            true
        } else if self.has(Features::SPARSE_SUPER2) {
            self.backup_bgs.iter().any(|backup| backup.get() == group)
        } else {
            !self.has(Features::SPARSE_SUPER) || has_sparse_backup(group.into())
        }
    }
}

/// Returns `s_first_data_block` for a block size. The primary superblock lies at byte 1,024, so it
/// has a block of its own only if blocks are 1 KiB.
pub(crate) fn first_data_block(block_len: usize) -> u32 {
    u32::from(block_len as u64 == OFFSET)
}

/// Returns whether a group begins with a superblock with the feature `sparse_super`: groups 0 and
/// 1, and powers of 3, 5 and 7.
pub(crate) fn has_sparse_backup(group: u64) -> bool {
    let is_power_of = |base: u64| {
        let mut powers = std::iter::successors(Some(base), |power| power.checked_mul(base));
        powers.find(|&power| power >= group) == Some(group)
    };
    group <= 1 || group % 2 == 1 && [3, 5, 7].into_iter().any(is_power_of)
}

assert_layout!(
    Superblock: 1024,
    magic @ 0x38,
    uuid @ 0x68,
    journal_inum @ 0xE0,
    jnl_blocks @ 0x10C,
    blocks_count_hi @ 0x150,
    log_groups_per_flex @ 0x174,
    error_record @ 0x194,
    mount_opts @ 0x200,
    lpf_ino @ 0x268,
    encoding @ 0x27C,
    checksum @ 0x3FC,
);

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    /// Returns which of the first 130 groups have a superblock.
    fn backups(superblock: &Superblock) -> Vec<u32> {
        (0..130).filter(|&group| superblock.has_backup(group)).collect()
    }

    #[test]
    fn groups_with_a_backup_depend_on_two_features() {
        const SPARSE: [u32; 11] = [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125];
        let all: Vec<u32> = (0..130).collect();
        let cases: [(Features, [u32; 2], &[u32]); 9] = [
            (Features::empty(), [0, 0], &all),
            (Features::empty(), [1, 128], &all),
            (Features::SPARSE_SUPER, [0, 0], &SPARSE),
            (Features::SPARSE_SUPER, [1, 128], &SPARSE),
            (Features::SPARSE_SUPER.union(Features::META_BG), [0, 0], &SPARSE),
            (Features::META_BG, [0, 0], &all),
            (Features::SPARSE_SUPER2, [0, 0], &[0]),
            (Features::SPARSE_SUPER2, [1, 128], &[0, 1, 128]),
            (Features::SPARSE_SUPER2.union(Features::SPARSE_SUPER), [4, 0], &[0, 4]),
        ];
        for (features, named, expected) in cases {
            let mut superblock = Superblock::new_zeroed();
            superblock.set_features(features);
            superblock.backup_bgs = named.map(U32::new);
            assert_eq!(backups(&superblock), expected, "{features:?} {named:?}");
        }
    }

    #[test]
    fn backups_of_the_largest_group_numbers() {
        let mut superblock = Superblock::new_zeroed();
        superblock.set_features(Features::SPARSE_SUPER);
        assert!(!superblock.has_backup(u32::MAX));
        assert!(superblock.has_backup(3_u32.pow(20)));
        assert!(!has_sparse_backup(u64::MAX));
        assert!(has_sparse_backup(3_u64.pow(40)));
    }

    #[test]
    fn high_halves_are_ignored_without_64bit() {
        let mut superblock = Superblock::new_zeroed();
        superblock.set_block_count(0x5_0000_0006);
        superblock.set_reserved_blocks(0x3_0000_0004);
        superblock.set_free_blocks(0x1_0000_0002);
        let counts = |superblock: &Superblock| {
            [
                superblock.block_count(),
                superblock.reserved_blocks(),
                superblock.free_blocks(),
            ]
        };
        assert_eq!(counts(&superblock), [6, 4, 2]);
        superblock.set_features(Features::BIT64);
        assert_eq!(counts(&superblock), [0x5_0000_0006, 0x3_0000_0004, 0x1_0000_0002]);
    }

    #[test]
    fn sizes_of_parts() {
        let mut superblock = Superblock::new_zeroed();
        superblock.set_block_size(BlockSize::Kib1);
        superblock.set_block_count(3 * 8192 + 2);
        superblock.first_data_block.set(1);
        superblock.blocks_per_group.set(8192);
        superblock.inodes_per_group.set(100);
        superblock.reserved_gdt_blocks.set(7);
        assert_eq!(superblock.block_len(), Some(1024));
        assert_eq!(superblock.group_count(superblock.block_count()), 4);
        assert_eq!(
            (superblock.group_start(0), superblock.group_start(3)),
            (1, 3 * 8192 + 1)
        );
        assert_eq!((superblock.descriptor_blocks(), superblock.backup_blocks()), (1, 9));
        assert_eq!((superblock.inode_len(), superblock.inode_table_blocks()), (128, 13));
        assert_eq!(superblock.inode_position(Ino(101)), (1, 0));
        superblock.log_block_size.set(7);
        assert_eq!(superblock.block_len(), None);
    }

    proptest::proptest! {
        #[test]
        fn the_journal_backup_round_trips(block: [[u8; 20]; 3], size: u64) {
            let mut superblock = Superblock::new_zeroed();
            assert_eq!(superblock.journal_backup(), None);
            let block = block.concat().try_into().expect("60 bytes");
            superblock.set_journal_backup(&block, size);
            assert_eq!(superblock.journal_backup(), Some((block, size)));
        }
    }
}
