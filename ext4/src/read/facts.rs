//! What the superblock says of the whole file system.

use super::Reader;
use crate::read_at::ReadAt;

/// Features that a reader must know (`s_feature_incompat`, `EXT4_FEATURE_INCOMPAT_*`).
pub(crate) mod incompat {
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const EXTENT: u32 = 0x40;
    pub(crate) const BIT64: u32 = 0x80;
    pub(crate) const MMP: u32 = 0x100;
    pub(crate) const FLEX_BG: u32 = 0x200;
    pub(crate) const EA_INODE: u32 = 0x400;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGE_DIR: u32 = 0x4000;
    pub(crate) const INLINE_DATA: u32 = 0x8000;

    /// Those that change nothing of what is read here, or are known.
    pub(crate) const READABLE: u32 =
        FILETYPE | RECOVER | EXTENT | BIT64 | MMP | FLEX_BG | EA_INODE | CSUM_SEED | LARGE_DIR | INLINE_DATA;
}

/// Features that may be ignored (`s_feature_compat`, `EXT4_FEATURE_COMPAT_*`).
pub(crate) mod compat {
    /// Those that e2fsck knows.
    pub(crate) const KNOWN: u32 = 0x1E3F;
    pub(crate) const IMAGIC_INODES: u32 = 0x2;
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const EXT_ATTR: u32 = 0x8;
    pub(crate) const RESIZE_INODE: u32 = 0x10;
    pub(crate) const DIR_INDEX: u32 = 0x20;
    pub(crate) const ORPHAN_FILE: u32 = 0x1000;
}

/// Features that a writer must know (`s_feature_ro_compat`, `EXT4_FEATURE_RO_COMPAT_*`).
pub(crate) mod ro_compat {
    /// Those that e2fsck knows, but for `bigalloc` and `shared_blocks`.
    pub(crate) const KNOWN: u32 = 0x1_B57B;
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const GDT_CSUM: u32 = 0x10;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const QUOTA: u32 = 0x100;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x1_0000;
}

/// Names by bit, as `mke2fs -O` and `dumpe2fs` give them (e2fsprogs, `lib/e2p/feature.c`); a bit without one is empty.
const COMPAT: [&str; 13] = [
    "dir_prealloc",
    "imagic_inodes",
    "has_journal",
    "ext_attr",
    "resize_inode",
    "dir_index",
    "lazy_bg",
    "",
    "snapshot_bitmap",
    "sparse_super2",
    "fast_commit",
    "stable_inodes",
    "orphan_file",
];
const INCOMPAT: [&str; 18] = [
    "compression",
    "filetype",
    "needs_recovery",
    "journal_dev",
    "meta_bg",
    "",
    "extent",
    "64bit",
    "mmp",
    "flex_bg",
    "ea_inode",
    "",
    "dirdata",
    "metadata_csum_seed",
    "large_dir",
    "inline_data",
    "encrypt",
    "casefold",
];
const RO_COMPAT: [&str; 17] = [
    "sparse_super",
    "large_file",
    "",
    "huge_file",
    "uninit_bg",
    "dir_nlink",
    "extra_isize",
    "",
    "quota",
    "bigalloc",
    "metadata_csum",
    "replica",
    "read-only",
    "project",
    "shared_blocks",
    "verity",
    "orphan_present",
];

/// What the superblock says of the whole file system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Label, without the NULs that fill it up.
    pub label: Vec<u8>,
    /// Size of a block in bytes.
    pub block_size: u64,
    /// Blocks of the file system.
    pub block_count: u64,
    /// Blocks that nothing uses, as the superblock counts them.
    pub free_block_count: u64,
    /// Blocks that only root can use.
    pub reserved_block_count: u64,
    /// Inodes that there are.
    pub inode_count: u32,
    /// Inodes that nothing uses, as the superblock counts them.
    pub free_inode_count: u32,
    /// Features as `dumpe2fs` names them, in its order.
    pub features: Vec<String>,
    /// Whether the journal has to be replayed before the rest means what it says, as the reader does without writing.
    pub needs_recovery: bool,
}

impl<R: ReadAt> Reader<R> {
    /// What the superblock says of the whole file system.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let superblock = &self.superblock;
        let wide = |lo: u32, hi: u32| {
            let hi = if self.has_incompat(incompat::BIT64) { hi } else { 0 };
            u64::from(lo) | u64::from(hi) << 32
        };
        let label = superblock.volume_name.split(|&byte| byte == 0).next();
        let compat = names(superblock.feature_compat.get(), &COMPAT, 'C');
        let incompat = incompat_names(superblock.feature_incompat.get());
        let ro_compat = names(superblock.feature_ro_compat.get(), &RO_COMPAT, 'R');
        Facts {
            uuid: superblock.uuid,
            label: label.unwrap_or_default().to_vec(),
            block_size: self.block_size as u64,
            block_count: self.block_count,
            free_block_count: wide(
                superblock.free_blocks_count_lo.get(),
                superblock.free_blocks_count_hi.get(),
            ),
            reserved_block_count: wide(superblock.r_blocks_count_lo.get(), superblock.r_blocks_count_hi.get()),
            inode_count: superblock.inodes_count.get(),
            free_inode_count: superblock.free_inodes_count.get(),
            features: compat.chain(incompat).chain(ro_compat).collect(),
            needs_recovery: self.needs_recovery,
        }
    }
}

pub(crate) fn compat_names(bits: u32) -> impl Iterator<Item = String> {
    names(bits, &COMPAT, 'C')
}

pub(crate) fn incompat_names(bits: u32) -> impl Iterator<Item = String> {
    names(bits, &INCOMPAT, 'I')
}

pub(crate) fn ro_compat_names(bits: u32) -> impl Iterator<Item = String> {
    names(bits, &RO_COMPAT, 'R')
}

/// A bit without a name is `FEATURE_`, the set's letter and its position, as e2fsprogs prints it.
fn names(bits: u32, names: &'static [&'static str], set: char) -> impl Iterator<Item = String> {
    (0..u32::BITS)
        .filter(move |bit| bits >> bit & 1 == 1)
        .map(move |bit| match names.get(bit as usize) {
            Some(name) if !name.is_empty() => (*name).to_owned(),
            _ => format!("FEATURE_{set}{bit}"),
        })
}
