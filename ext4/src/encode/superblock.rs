//! The superblock and its backups.

use zerocopy::FromZeros;

use crate::disk::features::Features;
use crate::disk::group_desc;
use crate::disk::inode::{self, BLOCK_LEN};
use crate::disk::superblock::{self as disk, Superblock};
use crate::layout::{LOG_GROUPS_PER_FLEX, Layout};
use crate::options::Options;
use crate::units::{Ino, lo};

/// Properties of the content that the superblock contains, in addition to options and layout.
pub(crate) struct SuperblockInputs {
    pub(crate) free_inode_count: u32,
    /// `i_block` and size in bytes of the journal.
    pub(crate) journal: Option<([u8; BLOCK_LEN], u64)>,
    /// A directory needs the feature `large_dir`.
    pub(crate) has_large_directory: bool,
    /// An attribute has its value in an attribute inode.
    pub(crate) has_attribute_inodes: bool,
}

/// Encodes the superblock of group 0 without its checksum. Backups differ in `block_group_nr`.
///
/// Zero are the fields that mounting sets, those for quota, RAID, snapshots, multi-mount
/// protection, encryption and encoding, and the overhead, which the kernel computes.
pub(crate) fn encode(options: &Options, layout: &Layout, inputs: &SuperblockInputs) -> Superblock {
    let geometry = &layout.geometry;
    let blocks_per_group = u32::try_from(geometry.blocks_per_group()).expect("at most 2^16");
    let mut superblock = Superblock {
        inodes_count: layout.inode_count().into(),
        free_inodes_count: inputs.free_inode_count.into(),
        first_data_block: lo(geometry.first_data_block()).into(),
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
        inode_size: inode::SIZE.into(),
        uuid: options.uuid,
        volume_name: options.label.bytes(),
        reserved_gdt_blocks: u16::try_from(layout.reserved_descriptor_blocks)
            .expect("at most 2^14")
            .into(),
        hash_seed: options.hash_seed,
        def_hash_version: disk::HASH_HALF_MD4,
        desc_size: group_desc::SIZE.into(),
        default_mount_opts: disk::DEFAULT_MOUNT_OPTIONS.into(),
        min_extra_isize: inode::EXTRA_SIZE.into(),
        want_extra_isize: inode::EXTRA_SIZE.into(),
        flags: disk::FLAG_SIGNED_HASH.into(),
        log_groups_per_flex: LOG_GROUPS_PER_FLEX,
        checksum_type: disk::CHECKSUM_CRC32C,
        ..Superblock::new_zeroed()
    };
    superblock.set_features(features(options, layout, inputs));
    superblock.set_block_size(geometry.block_size);
    superblock.set_block_count(layout.block_count);
    superblock.set_reserved_blocks(layout.block_count * u64::from(options.reserved_percent.min(50)) / 100);
    superblock.set_free_blocks(layout.free_blocks);
    if let Some((block, size)) = &inputs.journal {
        superblock.journal_inum = Ino::JOURNAL.0.into();
        superblock.set_journal_backup(block, *size);
    }
    superblock
}

/// Features of `mke2fs -t ext4`, and those that the options and the content require.
fn features(options: &Options, layout: &Layout, inputs: &SuperblockInputs) -> Features {
    let mut features = Features::EXT_ATTR
        | Features::DIR_INDEX
        | Features::FILETYPE
        | Features::EXTENT
        | Features::BIT64
        | Features::FLEX_BG
        | Features::SPARSE_SUPER
        | Features::LARGE_FILE
        | Features::HUGE_FILE
        | Features::DIR_NLINK
        | Features::EXTRA_ISIZE
        | Features::METADATA_CSUM;
    features.set(Features::HAS_JOURNAL, layout.journal.is_some());
    features.set(Features::RESIZE_INODE, layout.resize_map.is_some());
    features.set(Features::LARGE_DIR, inputs.has_large_directory);
    features.set(Features::INLINE_DATA, options.inline_data);
    features.set(Features::EA_INODE, inputs.has_attribute_inodes);
    features
}
