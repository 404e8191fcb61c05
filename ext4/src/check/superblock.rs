//! Checks that the fields of the superblock are consistent (`check_super_block` of e2fsck).

use zerocopy::{FromZeros, IntoBytes};

use super::findings::Findings;
use super::{Problem, report_unreadable};
use crate::disk::block_map::numbers_per_block;
use crate::disk::features::Features;
use crate::disk::group_desc;
use crate::disk::inode::CLASSIC_SIZE;
use crate::disk::mmp::{self, MmpBlock};
use crate::disk::superblock::{Superblock, first_data_block};
use crate::read::checksums::superblock_checksum_ok;
use crate::read::{ReadError, Reader, Structure};
use crate::read_at::ReadAt;
use crate::units::Ino;

const SUPERBLOCK: Structure = Structure::Superblock;

/// Highest version of the hash of names (`DX_HASH_SIPHASH`).
const MAX_HASH_VERSION: u8 = 6;

/// Sets the superblock of the reader, and loads the journal, which may hold a newer superblock.
/// Returns whether the reader has a usable superblock.
pub(super) fn load_superblock<R: ReadAt>(
    reader: &mut Reader<R>,
    superblock: Superblock,
    findings: &mut Findings,
) -> Result<bool, ReadError> {
    if !superblock_checksum_ok(&superblock) {
        findings.add(SUPERBLOCK, Problem::ChecksumWrong);
    }
    let Some(()) = report_unreadable(reader.set_superblock(superblock), SUPERBLOCK, findings)? else {
        return Ok(false);
    };
    match reader.overlay_journal() {
        Err(error @ ReadError::FastCommits) => return Err(error),
        result => report_unreadable(result, Structure::Journal, findings)?,
    };
    Ok(true)
}

/// Checks the current superblock. Returns whether the rest of the image can be checked.
pub(super) fn check_superblock<R: ReadAt>(
    reader: &Reader<R>,
    len: u64,
    findings: &mut Findings,
) -> Result<bool, ReadError> {
    reader.check_known_features()?;
    let superblock = reader.superblock().clone();
    let unknown = superblock.features() - Features::CHECKABLE;
    if !unknown.is_empty() {
        let features = unknown.names().collect::<Vec<_>>().join(" ");
        return Err(ReadError::Unsupported { features });
    }
    let available = len / reader.block_size() as u64;
    check_geometry(&superblock, reader.block_size(), available, findings);
    check_other_fields(&superblock, reader.block_size(), findings);
    check_mmp(reader, &superblock, findings)?;
    let block_count = superblock.block_count();
    let (blocks, inodes) = (superblock.blocks_per_group.get(), superblock.inodes_per_group.get());
    let bits = reader.block_size() * 8;
    let is_sane = u64::from(superblock.group_count(block_count)) * u64::from(inodes) < u64::from(u32::MAX)
        && has_room_for_descriptors(&superblock, reader.block_size())
        && (8..=bits).contains(&(blocks as usize))
        && inodes as usize <= bits
        && block_count > superblock.first_data_block.get().into();
    Ok(is_sane)
}

/// Checks sizes and counts that other structures depend on, in an image of `available` blocks.
fn check_geometry(superblock: &Superblock, block_len: usize, available: u64, findings: &mut Findings) {
    let mut require = |holds, problem| findings.require(holds, SUPERBLOCK, problem);
    let found = superblock.block_count();
    require(found <= available, Problem::BlockCountBeyondImage { found, available });
    require(found > 0, Problem::BlockCountZero);
    let groups = superblock.group_count(found);
    let (found, expected) = (superblock.first_data_block.get(), first_data_block(block_len));
    require(found == expected, Problem::FirstBlockWrong { found, expected });
    // A bitmap has one block.
    let bits = block_len * 8;
    let blocks = superblock.blocks_per_group.get();
    let is_right = blocks % 8 == 0 && (8..=bits).contains(&(blocks as usize));
    require(is_right, Problem::BlocksPerGroupWrong { blocks });
    let is_right = superblock.log_cluster_size == superblock.log_block_size
        && superblock.clusters_per_group == superblock.blocks_per_group;
    require(is_right, Problem::ClusterSizeWrong);
    let inodes = superblock.inodes_per_group.get();
    let in_block = (block_len / superblock.inode_len()).max(1);
    let is_right = inodes % 8 == 0 && (in_block..=bits).contains(&(inodes as usize));
    require(is_right, Problem::InodesPerGroupWrong { inodes });
    let (found, expected) = (superblock.inodes_count.get(), u64::from(groups) * u64::from(inodes));
    require(
        u64::from(found) == expected,
        Problem::InodeCountWrong { found, expected },
    );
    // The field is used with `64bit` alone, but must be valid without it too.
    let bytes = superblock.desc_size.get().into();
    let is_right = bytes == 0 || u64::is_power_of_two(bytes) && bytes <= 1024;
    require(is_right, Problem::DescriptorSizeWrong { bytes });
    require(
        has_room_for_descriptors(superblock, block_len),
        Problem::DescriptorsWithoutRoom { groups },
    );
    let bytes = superblock.descriptor_len() as u64;
    let least = if superblock.has(Features::BIT64) {
        group_desc::SIZE
    } else {
        group_desc::SMALL_SIZE
    };
    let is_right = bytes.is_power_of_two() && bytes >= least.into();
    require(is_right, Problem::DescriptorSizeWrong { bytes });
}

/// Returns whether the descriptors of all groups fit in the first group, where they lie without
/// `meta_bg`.
fn has_room_for_descriptors(superblock: &Superblock, block_len: usize) -> bool {
    let size = superblock.descriptor_len();
    let groups = u64::from(superblock.group_count(superblock.block_count()));
    let blocks = groups.div_ceil((block_len / size) as u64);
    size.is_power_of_two() && blocks < superblock.blocks_per_group.get().into()
}

/// Checks all other fields.
fn check_other_fields(superblock: &Superblock, block_len: usize, findings: &mut Findings) {
    let mut require = |holds, problem| findings.require(holds, SUPERBLOCK, problem);
    let has = |features| superblock.has(features);
    let blocks = superblock.block_count();
    let found = superblock.reserved_blocks();
    require(found <= blocks / 2, Problem::ReservedBlocksTooMany { found, blocks });
    let found = superblock.free_blocks();
    require(found <= blocks, Problem::FreeBlocksTooMany { found, blocks });
    let inodes = superblock.inodes_count.get();
    let found = superblock.free_inodes_count.get();
    require(found <= inodes, Problem::FreeInodesTooMany { found, inodes });
    let revision = superblock.rev_level.get();
    require(revision <= 1, Problem::RevisionUnknown { revision });
    let ino = superblock.first_ino.get();
    let is_right = revision == 0 || (Ino::FIRST.get()..=inodes).contains(&ino);
    require(is_right, Problem::FirstInodeWrong { ino });
    let blocks = superblock.reserved_gdt_blocks.get();
    let is_right = usize::from(blocks) <= numbers_per_block(block_len) && (blocks == 0 || has(Features::RESIZE_INODE));
    require(is_right, Problem::ReservedDescriptorBlocksWrong { blocks });
    let exponent = superblock.log_groups_per_flex;
    require(
        u32::from(exponent) < u32::BITS,
        Problem::FlexGroupSizeWrong { exponent },
    );
    let has_unused_seed = has(Features::METADATA_CSUM_SEED) && !has(Features::METADATA_CSUM);
    require(!has_unused_seed, Problem::ChecksumSeedUnused);
    let has_lost_orphans = has(Features::ORPHAN_PRESENT) && !has(Features::ORPHAN_FILE);
    require(!has_lost_orphans, Problem::OrphanFileMissing);
    let version = superblock.def_hash_version;
    require(version <= MAX_HASH_VERSION, Problem::HashVersionUnknown { version });
    let room = superblock.inode_len().saturating_sub(CLASSIC_SIZE);
    for bytes in [superblock.min_extra_isize.get(), superblock.want_extra_isize.get()] {
        require(usize::from(bytes) <= room, Problem::ExtraFieldsWrong { bytes });
    }
    let needs_recovery = has(Features::NEEDS_RECOVERY);
    let has_journal = has(Features::HAS_JOURNAL);
    require(has_journal || !needs_recovery, Problem::JournalToReplayMissing);
    let ino = superblock.last_orphan.get();
    require(ino == 0 || needs_recovery, Problem::OrphanListNotEmpty { ino });
}

/// Checks the block for multiple-mount protection (`ext2fs_mmp_read` of e2fsprogs).
fn check_mmp<R: ReadAt>(reader: &Reader<R>, superblock: &Superblock, findings: &mut Findings) -> Result<(), ReadError> {
    if !superblock.has(Features::MMP) {
        return Ok(());
    }
    let block = superblock.mmp_block.get();
    let mut mmp = MmpBlock::new_zeroed();
    let is_read = match mmp_block(superblock) {
        Some(block) => {
            let read = reader.read_at(reader.offset_of_block(block), mmp.as_mut_bytes());
            report_unreadable(read, SUPERBLOCK, findings)?.is_some()
        }
        None => false,
    };
    if !is_read || mmp.magic.get() != mmp::MAGIC {
        findings.add(SUPERBLOCK, Problem::MmpBlockWrong { block });
        return Ok(());
    }
    let seed = reader.checksum_mode().seed();
    let is_right = seed.is_none_or(|seed| mmp.checksum.get() == seed.crc(mmp.covered()).sum());
    findings.require(is_right, SUPERBLOCK, Problem::MmpChecksumWrong { block });
    let sequence = mmp.sequence.get();
    let is_right = sequence == mmp::SEQUENCE_CLEAN || sequence <= mmp::SEQUENCE_MAX;
    findings.require(is_right, SUPERBLOCK, Problem::MmpInUse { block, sequence });
    Ok(())
}

/// Returns the block for multiple-mount protection, if it is in a valid place.
pub(super) fn mmp_block(superblock: &Superblock) -> Option<u64> {
    let block = superblock.mmp_block.get();
    let is_possible = block > superblock.first_data_block.get().into() && block < superblock.block_count();
    (superblock.has(Features::MMP) && is_possible).then_some(block)
}
