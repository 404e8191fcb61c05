//! The superblock and its copies.

use zerocopy::FromZeros;

use crate::disk::features::{Compat, Incompat, RoCompat};
use crate::disk::superblock::{self as disk, Superblock};
use crate::disk::{group_desc, inode};
use crate::options::Options;
use crate::place::layout::{LOG_GROUPS_PER_FLEX, Layout};
use crate::units::{Ino, hi, lo};

/// What the superblock says that neither the options nor the layout know.
pub(crate) struct Facts {
    pub(crate) free_inode_count: u32,
    /// `i_block` and size of the journal.
    pub(crate) journal: Option<([u8; 60], u64)>,
    /// Whether a directory's index has more levels than old kernels read.
    pub(crate) has_large_directory: bool,
    /// Whether the value of an attribute has an inode of its own.
    pub(crate) has_value_inodes: bool,
}

/// The superblock of group 0, still to be sealed; its copies differ in `block_group_nr`.
///
/// Zero, because nothing sets them: what mounts leave behind, quota, RAID, snapshots, multi-mount protection, encryption,
/// encoding, and the overhead, which the kernel counts.
pub(crate) fn encode(options: &Options, layout: &Layout, facts: &Facts) -> Superblock {
    let geometry = &layout.geometry;
    let log_block_size = geometry.block_size.log2() - 10;
    let blocks_per_group = u32::try_from(geometry.blocks_per_group()).expect("at most 2^16");
    let reserved = layout.block_count * u64::from(options.reserved_percent.min(50)) / 100;
    let mut superblock = Superblock {
        inodes_count: layout.inode_count().into(),
        blocks_count_lo: lo(layout.block_count).into(),
        blocks_count_hi: hi(layout.block_count).into(),
        r_blocks_count_lo: lo(reserved).into(),
        r_blocks_count_hi: hi(reserved).into(),
        free_blocks_count_lo: lo(layout.free_blocks).into(),
        free_blocks_count_hi: hi(layout.free_blocks).into(),
        free_inodes_count: facts.free_inode_count.into(),
        first_data_block: lo(geometry.first_block()).into(),
        log_block_size: log_block_size.into(),
        log_cluster_size: log_block_size.into(),
        blocks_per_group: blocks_per_group.into(),
        clusters_per_group: blocks_per_group.into(),
        inodes_per_group: layout.inodes_per_group.into(),
        wtime: options.created.into(),
        lastcheck: options.created.into(),
        mkfs_time: options.created.into(),
        max_mnt_count: disk::NO_MOUNT_LIMIT.into(),
        magic: disk::MAGIC.into(),
        state: disk::STATE_VALID.into(),
        errors: disk::ERRORS_CONTINUE.into(),
        rev_level: disk::DYNAMIC_REVISION.into(),
        first_ino: Ino::FIRST.0.into(),
        inode_size: 256.into(),
        feature_compat: compat(layout).bits().into(),
        feature_incompat: incompat(options, facts).bits().into(),
        feature_ro_compat: ro_compat().bits().into(),
        uuid: options.uuid,
        volume_name: options.label.bytes(),
        reserved_gdt_blocks: u16::try_from(layout.reserved_descriptor_blocks)
            .expect("at most 2^14")
            .into(),
        hash_seed: options.hash_seed,
        def_hash_version: disk::HASH_HALF_MD4,
        desc_size: 64.into(),
        default_mount_opts: disk::DEFAULT_MOUNT_OPTIONS.into(),
        min_extra_isize: inode::EXTRA_SIZE.into(),
        want_extra_isize: inode::EXTRA_SIZE.into(),
        flags: disk::FLAG_SIGNED_HASH.into(),
        log_groups_per_flex: LOG_GROUPS_PER_FLEX,
        checksum_type: disk::CHECKSUM_CRC32C,
        ..Superblock::new_zeroed()
    };
    const { assert!(group_desc::SIZE == 64 && inode::SIZE == 256) };
    if let Some((block, size)) = &facts.journal {
        superblock.journal_inum = Ino::JOURNAL.0.into();
        superblock.jnl_backup_type = disk::JOURNAL_BACKUP_BLOCKS;
        let (words, _) = block.as_chunks::<4>();
        for (field, word) in superblock.jnl_blocks.iter_mut().zip(words) {
            *field = u32::from_le_bytes(*word).into();
        }
        superblock.jnl_blocks[15] = hi(*size).into();
        superblock.jnl_blocks[16] = lo(*size).into();
    }
    superblock
}

fn compat(layout: &Layout) -> Compat {
    let mut features = Compat::EXT_ATTR | Compat::DIR_INDEX;
    features.set(Compat::HAS_JOURNAL, layout.journal.is_some());
    features.set(Compat::RESIZE_INODE, layout.resize_map.is_some());
    features
}

fn incompat(options: &Options, facts: &Facts) -> Incompat {
    let mut features = Incompat::FILETYPE | Incompat::EXTENT | Incompat::BIT64 | Incompat::FLEX_BG;
    features.set(Incompat::LARGE_DIR, facts.has_large_directory);
    features.set(Incompat::INLINE_DATA, options.inline_data);
    features.set(Incompat::EA_INODE, facts.has_value_inodes);
    features
}

fn ro_compat() -> RoCompat {
    RoCompat::SPARSE_SUPER
        | RoCompat::LARGE_FILE
        | RoCompat::HUGE_FILE
        | RoCompat::DIR_NLINK
        | RoCompat::EXTRA_ISIZE
        | RoCompat::METADATA_CSUM
}
