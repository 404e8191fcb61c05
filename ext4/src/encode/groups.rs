//! Group descriptors and bitmaps.

use zerocopy::FromZeros;

use crate::checksum::Seed;
use crate::disk::group_desc::{GroupDesc, GroupFlags};
use crate::layout::Layout;
use crate::layout::free_ranges::FreeRanges;
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, BlockRange};

/// Descriptor and bitmaps of a group. A bitmap that is not required is `None`, and the descriptor
/// has the matching `UNINIT` flag.
pub(crate) struct EncodedGroup {
    pub(crate) descriptor: Sealed<GroupDesc>,
    pub(crate) block_bitmap: Option<Sealed<Vec<u8>>>,
    pub(crate) inode_bitmap: Option<Sealed<Vec<u8>>>,
}

/// Encodes a group. All inodes up to number `inode_count` are in use or reserved;
/// `directory_count` of the inodes in this group are directories.
pub(crate) fn encode(
    group: u32,
    layout: &Layout,
    free_ranges: &FreeRanges,
    inode_count: u32,
    directory_count: u32,
    seed: Seed,
) -> EncodedGroup {
    let blocks = layout.group_blocks(u64::from(group));
    let free: Vec<BlockRange> = free_ranges.within(blocks).collect();
    let free_blocks = free.iter().map(|range| range.count).sum::<u64>();
    let first_inode = group * layout.inodes_per_group;
    let used_inodes = inode_count.saturating_sub(first_inode).min(layout.inodes_per_group);
    let unused_inodes = layout.inodes_per_group - used_inodes;

    let mut flags = GroupFlags::INODE_ZEROED;
    flags.set(GroupFlags::INODE_UNINIT, used_inodes == 0);
    // As with mke2fs, the last group always has a block bitmap, because of its padding.
    let is_untouched = free_blocks + layout.used_backup_area_blocks(u64::from(group)) == blocks.count;
    flags.set(GroupFlags::BLOCK_UNINIT, is_untouched && group + 1 < layout.group_count);

    let block_size = layout.geometry.block_size.len();
    let block_bitmap = (!flags.contains(GroupFlags::BLOCK_UNINIT)).then(|| {
        let blocks_per_group = usize::try_from(layout.geometry.blocks_per_group()).expect("at most 2^16");
        seal::bitmap(block_bitmap(blocks, &free, block_size), seed, blocks_per_group / 8)
    });
    let inode_bitmap = (used_inodes > 0).then(|| {
        let covered = layout.inodes_per_group as usize / 8;
        seal::bitmap(
            inode_bitmap(used_inodes, layout.inodes_per_group, block_size),
            seed,
            covered,
        )
    });

    let index = group as usize;
    let [block_bitmap_nr, inode_bitmap_nr, inode_table_nr] =
        [&layout.block_bitmaps, &layout.inode_bitmaps, &layout.inode_tables]
            .map(|numbers: &Vec<BlockNr>| numbers[index].get());
    let free_blocks = u32::try_from(free_blocks).expect("a group has at most 2^16 blocks");
    let checksum = |bitmap: &Option<(_, u32)>| bitmap.as_ref().map_or(0, |(_, checksum)| *checksum);
    let mut descriptor = GroupDesc {
        flags: flags.bits().into(),
        ..GroupDesc::new_zeroed()
    };
    descriptor.set_block_bitmap(block_bitmap_nr);
    descriptor.set_inode_bitmap(inode_bitmap_nr);
    descriptor.set_inode_table(inode_table_nr);
    descriptor.set_free_blocks(free_blocks);
    descriptor.set_free_inodes(unused_inodes);
    descriptor.set_used_dirs(directory_count);
    descriptor.set_itable_unused(unused_inodes);
    descriptor.set_block_bitmap_csum(checksum(&block_bitmap));
    descriptor.set_inode_bitmap_csum(checksum(&inode_bitmap));
    EncodedGroup {
        descriptor: descriptor.seal(seed, group),
        block_bitmap: block_bitmap.map(|(block, _)| block),
        inode_bitmap: inode_bitmap.map(|(block, _)| block),
    }
}

/// Encodes a block bitmap: ones for blocks in use, and for bits beyond the group.
fn block_bitmap(blocks: BlockRange, free: &[BlockRange], block_size: usize) -> Vec<u8> {
    let mut bitmap = vec![0xFF; block_size];
    for range in free {
        clear_bits(&mut bitmap, range.start.get() - blocks.start.get(), range.count);
    }
    bitmap
}

/// Encodes an inode bitmap: ones for the first `used` inodes, and for bits beyond the group.
fn inode_bitmap(used: u32, inodes_per_group: u32, block_size: usize) -> Vec<u8> {
    let mut bitmap = vec![0xFF; block_size];
    clear_bits(&mut bitmap, u64::from(used), u64::from(inodes_per_group - used));
    bitmap
}

/// Clears `count` bits from bit `first` on.
fn clear_bits(bitmap: &mut [u8], first: u64, count: u64) {
    let (mut bit, end) = (first, first + count);
    while bit < end {
        let byte = &mut bitmap[usize::try_from(bit / 8).expect("a bit of a block")];
        if bit % 8 == 0 && end - bit >= 8 {
            *byte = 0;
            bit += 8;
        } else {
            *byte &= !(1 << (bit % 8));
            bit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_cleared_across_bytes_and_nowhere_else() {
        let mut bitmap = [0xFF; 4];
        clear_bits(&mut bitmap, 6, 12);
        assert_eq!(bitmap, [0b0011_1111, 0, 0b1111_1100, 0xFF]);
    }
}
