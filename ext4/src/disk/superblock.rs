//! The superblock ("Super Block" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;
use super::features::{Compat, Incompat, RoCompat};

/// Offset of the superblock in the image, in bytes.
pub(crate) const OFFSET: u64 = 1024;
/// `s_magic`.
pub(crate) const MAGIC: u16 = 0xEF53;
/// `s_state`: cleanly unmounted (`EXT4_VALID_FS`).
pub(crate) const STATE_VALID: u16 = 1;
/// `s_errors`: go on after an error (`EXT4_ERRORS_CONTINUE`).
pub(crate) const ERRORS_CONTINUE: u16 = 1;
/// `s_rev_level`: inode size and features are given (`EXT4_DYNAMIC_REV`).
pub(crate) const DYNAMIC_REVISION: u32 = 1;
/// `s_max_mnt_count`: no check after a number of mounts.
pub(crate) const NO_MOUNT_LIMIT: u16 = 0xFFFF;
/// `s_default_mount_opts`: `EXT4_DEFM_XATTR_USER | EXT4_DEFM_ACL`, as mke2fs sets them.
pub(crate) const DEFAULT_MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// `s_def_hash_version`: half MD4 (`DX_HASH_HALF_MD4`).
pub(crate) const HASH_HALF_MD4: u8 = 1;
/// `s_flags`: directory hashes take bytes as signed (`EXT2_FLAGS_SIGNED_HASH`), as on x86.
pub(crate) const FLAG_SIGNED_HASH: u32 = 1;
/// `s_checksum_type`: CRC32C (`EXT4_CRC32C_CHKSUM`).
pub(crate) const CHECKSUM_CRC32C: u8 = 1;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds the journal's `i_block` and size (`EXT3_JNL_BACKUP_BLOCKS`).
pub(crate) const JOURNAL_BACKUP_BLOCKS: u8 = 1;

/// The superblock, 1,024 bytes (`struct ext4_super_block`).
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
    /// `s_error_count` to `s_last_error_func`: what the kernel says of errors that it met.
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
    /// High bytes of the times above, then codes of errors.
    pub(crate) time_hi: [u8; 8],
    pub(crate) encoding: U16,
    pub(crate) encoding_flags: U16,
    pub(crate) orphan_file_inum: U32,
    pub(crate) reserved: [U32; 94],
    pub(crate) checksum: U32,
}

impl Superblock {
    /// Size of an inode in bytes (`EXT2_INODE_SIZE`).
    pub(crate) fn inode_len(&self) -> usize {
        match self.rev_level.get() {
            0 => 128,
            _ => self.inode_size.get().into(),
        }
    }

    /// Size of a group descriptor in bytes (`EXT2_DESC_SIZE`).
    pub(crate) fn descriptor_len(&self) -> usize {
        match self.desc_size.get() {
            size if self.has_incompat(Incompat::BIT64.bits()) => size.into(),
            _ => 32,
        }
    }

    /// Returns whether a group begins with a superblock: the first one, or a backup
    /// (`ext4_bg_has_super`).
    pub(crate) fn has_backup(&self, group: u32) -> bool {
        let is_power_of = |base: u32| {
            let mut powers = std::iter::successors(Some(base), |power| power.checked_mul(base));
            powers.find(|&power| power >= group) == Some(group)
        };
        if group == 0 {
            true
        } else if self.has_compat(Compat::SPARSE_SUPER2.bits()) {
            self.backup_bgs.iter().any(|backup| backup.get() == group)
        } else if self.has_ro_compat(RoCompat::SPARSE_SUPER.bits()) {
            group == 1 || is_power_of(3) || is_power_of(5) || is_power_of(7)
        } else {
            true
        }
    }

    /// Whether it has a feature of `s_feature_compat`.
    pub(crate) fn has_compat(&self, feature: u32) -> bool {
        self.feature_compat.get() & feature != 0
    }

    /// Whether it has a feature of `s_feature_incompat`.
    pub(crate) fn has_incompat(&self, feature: u32) -> bool {
        self.feature_incompat.get() & feature != 0
    }

    /// Whether it has a feature of `s_feature_ro_compat`.
    pub(crate) fn has_ro_compat(&self, feature: u32) -> bool {
        self.feature_ro_compat.get() & feature != 0
    }
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

    #[test]
    fn which_groups_have_a_backup_depends_on_two_features() {
        let mut superblock = Superblock::new_zeroed();
        let groups =
            |superblock: &Superblock| -> Vec<u32> { (0..130).filter(|&group| superblock.has_backup(group)).collect() };
        assert_eq!(groups(&superblock), (0..130).collect::<Vec<_>>());
        superblock.feature_ro_compat.set(RoCompat::SPARSE_SUPER.bits());
        assert_eq!(groups(&superblock), [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
        superblock.feature_compat.set(Compat::SPARSE_SUPER2.bits());
        assert_eq!(groups(&superblock), [0]);
        superblock.backup_bgs = [1, 128].map(U32::new);
        assert_eq!(groups(&superblock), [0, 1, 128]);
    }

    #[test]
    fn no_group_is_too_large_to_be_asked_for() {
        let mut superblock = Superblock::new_zeroed();
        superblock.feature_ro_compat.set(RoCompat::SPARSE_SUPER.bits());
        assert!(!superblock.has_backup(u32::MAX));
        assert!(superblock.has_backup(3_u32.pow(20)));
    }
}
