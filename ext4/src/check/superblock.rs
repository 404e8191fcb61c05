//! The superblock: whether its fields make sense together (`check_super_block` of e2fsck).

use std::io::{Read, Seek};

use super::findings::Findings;
use super::{Problem, found};
use crate::disk::superblock::Superblock;
use crate::read::facts::{compat, compat_names, incompat, ro_compat, ro_compat_names};
use crate::read::sums::is_right_superblock;
use crate::read::{ReadError, Reader, Structure};

const HERE: Structure = Structure::Superblock;

/// `EXT4_MMP_MAGIC`
const MMP_MAGIC: u32 = 0x004D_4D50;
/// `EXT4_MMP_SEQ_CLEAN`: nobody has it mounted.
const MMP_CLEAN: u32 = 0xFF4D_4D50;
/// `EXT4_MMP_SEQ_MAX`: the highest number that one who has it mounted counts to.
const MMP_MAX: u32 = 0xE24D_4D4F;
/// Length of `struct mmp_struct` in bytes, which ends with its checksum.
const MMP_LEN: usize = 1024;

/// Gives the reader the superblock, and has it see through the journal, which may hold another. Says whether there is one that
/// can be checked.
pub(super) fn take<R: Read + Seek>(
    reader: &mut Reader<R>,
    superblock: Superblock,
    findings: &mut Findings,
) -> Result<bool, ReadError> {
    if !is_right_superblock(&superblock) {
        findings.add(HERE, Problem::ChecksumWrong);
    }
    if found(reader.adopt(superblock), HERE, findings)?.is_none() {
        return Ok(false);
    }
    match reader.see_through_journal() {
        Err(error @ ReadError::FastCommits) => return Err(error),
        result => found(result, Structure::Journal, findings)?,
    };
    Ok(true)
}

/// Checks the superblock that counts. Says whether the rest has a meaning.
pub(super) fn check<R: Read + Seek>(
    reader: &mut Reader<R>,
    len: u64,
    findings: &mut Findings,
) -> Result<bool, ReadError> {
    reader.check_known()?;
    let superblock = reader.superblock().clone();
    let unknown = compat_names(superblock.feature_compat.get() & !compat::KNOWN)
        .chain(ro_compat_names(superblock.feature_ro_compat.get() & !ro_compat::KNOWN));
    let features = unknown.collect::<Vec<_>>().join(" ");
    if !features.is_empty() {
        return Err(ReadError::Unsupported { features });
    }
    geometry(reader, &superblock, len, findings);
    fields(reader, &superblock, findings);
    mounted_once(reader, &superblock, findings)?;
    let inodes = u64::from(reader.group_count(reader.block_count())) * u64::from(superblock.inodes_per_group.get());
    let sane = inodes < u64::from(u32::MAX)
        && has_room_for_descriptors(reader)
        && superblock.blocks_per_group.get() as usize <= reader.block_size() * 8
        && superblock.inodes_per_group.get() as usize <= reader.block_size() * 8
        && superblock.blocks_per_group.get() >= 8
        && reader.block_count() > u64::from(superblock.first_data_block.get());
    Ok(sane)
}

/// Sizes and numbers, each of which the others depend on.
fn geometry<R: Read + Seek>(reader: &Reader<R>, superblock: &Superblock, len: u64, findings: &mut Findings) {
    let block_size = reader.block_size();
    let block_count = reader.block_count();
    let available = len / block_size as u64;
    findings.expect(
        block_count <= available,
        HERE,
        Problem::BlockCountBeyondImage {
            found: block_count,
            available,
        },
    );
    findings.expect(block_count > 0, HERE, Problem::BlockCountZero);
    let first = u32::from(block_size == 1024);
    findings.expect(
        superblock.first_data_block.get() == first,
        HERE,
        Problem::FirstBlockWrong {
            found: superblock.first_data_block.get(),
            expected: first,
        },
    );
    let per_group = superblock.blocks_per_group.get();
    let is_right = per_group >= 8 && per_group.is_multiple_of(8) && per_group as usize <= block_size * 8;
    findings.expect(is_right, HERE, Problem::BlocksPerGroupWrong { blocks: per_group });
    let cluster = (superblock.log_cluster_size.get(), superblock.clusters_per_group.get());
    findings.expect(
        cluster == (superblock.log_block_size.get(), per_group),
        HERE,
        Problem::ClusterSizeWrong,
    );
    let inodes = superblock.inodes_per_group.get();
    let in_block = (block_size / reader.inode_size()).max(1);
    let is_right = inodes.is_multiple_of(8) && inodes as usize >= in_block && inodes as usize <= block_size * 8;
    findings.expect(is_right, HERE, Problem::InodesPerGroupWrong { inodes });
    let groups = reader.group_count(block_count);
    let expected = u64::from(groups) * u64::from(inodes);
    findings.expect(
        u64::from(superblock.inodes_count.get()) == expected,
        HERE,
        Problem::InodeCountWrong {
            found: superblock.inodes_count.get(),
            expected,
        },
    );
    // What it says counts with `64bit` alone, and is to make sense without.
    let said = superblock.desc_size.get();
    findings.expect(
        said == 0 || said.is_power_of_two() && said <= 1024,
        HERE,
        Problem::DescriptorSizeWrong { bytes: said.into() },
    );
    findings.expect(
        has_room_for_descriptors(reader),
        HERE,
        Problem::DescriptorsWithoutRoom { groups },
    );
    let size = reader.descriptor_size();
    let least = if reader.has_incompat(incompat::BIT64) { 64 } else { 32 };
    findings.expect(
        size.is_power_of_two() && size >= least,
        HERE,
        Problem::DescriptorSizeWrong { bytes: size as u64 },
    );
}

/// Whether the descriptors of all groups lie in the first one, as they do without `meta_bg`.
fn has_room_for_descriptors<R: Read + Seek>(reader: &Reader<R>) -> bool {
    let size = reader.descriptor_size();
    let groups = u64::from(reader.group_count(reader.block_count()));
    let blocks = groups.div_ceil((reader.block_size() / size) as u64);
    size.is_power_of_two() && blocks < reader.superblock().blocks_per_group.get().into()
}

/// All else.
fn fields<R: Read + Seek>(reader: &Reader<R>, superblock: &Superblock, findings: &mut Findings) {
    let facts = reader.facts();
    let block_count = reader.block_count();
    findings.expect(
        facts.reserved_block_count <= block_count / 2,
        HERE,
        Problem::ReservedBlocksTooMany {
            found: facts.reserved_block_count,
            blocks: block_count,
        },
    );
    findings.expect(
        facts.free_block_count <= block_count,
        HERE,
        Problem::FreeBlocksTooMany {
            found: facts.free_block_count,
            blocks: block_count,
        },
    );
    findings.expect(
        facts.free_inode_count <= facts.inode_count,
        HERE,
        Problem::FreeInodesTooMany {
            found: facts.free_inode_count,
            inodes: facts.inode_count,
        },
    );
    let revision = superblock.rev_level.get();
    findings.expect(revision <= 1, HERE, Problem::RevisionUnknown { revision });
    let first = superblock.first_ino.get();
    findings.expect(
        revision == 0 || (11..=superblock.inodes_count.get()).contains(&first),
        HERE,
        Problem::FirstInodeWrong { ino: first },
    );
    let reserved = superblock.reserved_gdt_blocks.get();
    let has_resize = superblock.has_compat(compat::RESIZE_INODE);
    findings.expect(
        usize::from(reserved) <= reader.block_size() / 4 && (has_resize || reserved == 0),
        HERE,
        Problem::ReservedDescriptorBlocksWrong { blocks: reserved },
    );
    let per_flex = superblock.log_groups_per_flex;
    findings.expect(
        u32::from(per_flex) < u32::BITS,
        HERE,
        Problem::FlexGroupSizeWrong { exponent: per_flex },
    );
    let has_seed = reader.has_incompat(incompat::CSUM_SEED);
    let has_sums = superblock.has_ro_compat(ro_compat::METADATA_CSUM);
    findings.expect(has_sums || !has_seed, HERE, Problem::ChecksumSeedUnused);
    let has_orphan_file = superblock.has_compat(compat::ORPHAN_FILE);
    let has_orphans = superblock.has_ro_compat(ro_compat::ORPHAN_PRESENT);
    findings.expect(has_orphan_file || !has_orphans, HERE, Problem::OrphanFileMissing);
    let version = superblock.def_hash_version;
    findings.expect(version <= 6, HERE, Problem::HashVersionUnknown { version });
    let room = reader.inode_size().saturating_sub(128);
    for size in [superblock.min_extra_isize.get(), superblock.want_extra_isize.get()] {
        findings.expect(
            usize::from(size) <= room,
            HERE,
            Problem::ExtraFieldsWrong { bytes: size },
        );
    }
    let has_journal = superblock.has_compat(compat::HAS_JOURNAL);
    let is_recovered = !reader.has_incompat(incompat::RECOVER);
    findings.expect(has_journal || is_recovered, HERE, Problem::JournalToReplayMissing);
    findings.expect(
        superblock.last_orphan.get() == 0 || !is_recovered,
        HERE,
        Problem::OrphanListNotEmpty {
            ino: superblock.last_orphan.get(),
        },
    );
}

/// The block by which two hosts notice that both have mounted the file system (`ext2fs_mmp_read` of e2fsprogs).
fn mounted_once<R: Read + Seek>(
    reader: &mut Reader<R>,
    superblock: &Superblock,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    if !reader.has_incompat(incompat::MMP) {
        return Ok(());
    }
    let mut bytes = [0; MMP_LEN];
    let is_there = match mmp_block(reader) {
        Some(block) => {
            let read = reader.read_at(reader.offset_of_block(block), &mut bytes);
            found(read, HERE, findings)?.is_some()
        }
        None => false,
    };
    let (words, _) = bytes.as_chunks::<4>();
    let [magic, number] = [words[0], words[1]].map(u32::from_le_bytes);
    let block = superblock.mmp_block.get();
    if !is_there || magic != MMP_MAGIC {
        findings.add(HERE, Problem::MmpBlockWrong { block });
        return Ok(());
    }
    let (covered, sum) = bytes.split_at(MMP_LEN - 4);
    let seed = reader.sums().seed();
    let is_right = seed.is_none_or(|seed| sum == seed.crc(covered).sum().to_le_bytes());
    findings.expect(is_right, HERE, Problem::MmpChecksumWrong { block });
    findings.expect(
        number == MMP_CLEAN || number <= MMP_MAX,
        HERE,
        Problem::MmpInUse {
            block,
            sequence: number,
        },
    );
    Ok(())
}

/// The block that belongs to `mmp`, if it is where one can be.
pub(super) fn mmp_block<R: Read + Seek>(reader: &Reader<R>) -> Option<u64> {
    let superblock = reader.superblock();
    let block = superblock.mmp_block.get();
    let is_possible = block > superblock.first_data_block.get().into() && block < reader.block_count();
    (reader.has_incompat(incompat::MMP) && is_possible).then_some(block)
}
