//! [`Layout`]: the journal, bitmaps and inode tables, which follow the content, for one size of the
//! file system.

use super::cursor::Cursor;
use super::geometry::{Geometry, copies};
use crate::data::FileData;
use crate::disk::extent::node_blocks;
use crate::disk::inode;
use crate::disk::journal::MIN_BLOCKS;
use crate::options::{Inodes, Journal, Options};
use crate::units::{BlockNr, BlockRange, Ino};

/// Most blocks of a journal (mke2fs: 10,240,000).
const MAX_JOURNAL_BLOCKS: u64 = 10_240_000;

/// Groups whose tables lie together, as mke2fs has it, and the kernel allocates from together, as a
/// power of two (`s_log_groups_per_flex`).
pub(crate) const LOG_GROUPS_PER_FLEX: u8 = 4;

/// What a file system has to hold, besides the blocks that the cursor has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Inodes, the reserved ones included.
    pub(crate) inode_count: u32,
    /// Inodes that shall be free.
    pub(crate) free_inode_count: u32,
    /// Blocks that the content occupies, wherever they are.
    pub(crate) content_blocks: u64,
    /// Blocks that shall be free.
    pub(crate) free_blocks: u64,
}

/// Where everything is that is not content.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    /// Size in bytes that was asked for; it may end in a few that make no group.
    pub(crate) bytes: u64,
    /// Blocks of the file system, the first unused one with 1 KiB blocks included.
    pub(crate) block_count: u64,
    pub(crate) group_count: u32,
    pub(crate) inodes_per_group: u32,
    /// Blocks that the group descriptors fill after each copy of the superblock.
    pub(crate) descriptor_blocks: u64,
    /// Blocks reserved after them, which the resize inode owns.
    pub(crate) reserved_descriptor_blocks: u64,
    /// By group.
    pub(crate) block_bitmaps: Vec<BlockNr>,
    /// By group.
    pub(crate) inode_bitmaps: Vec<BlockNr>,
    /// First block of the inode table, by group.
    pub(crate) inode_tables: Vec<BlockNr>,
    /// The block that lists the reserved descriptor blocks.
    pub(crate) resize_map: Option<BlockNr>,
    /// Content of the journal's inode.
    pub(crate) journal: Option<FileData>,
    /// Blocks of the journal's extent tree.
    pub(crate) journal_nodes: Vec<BlockNr>,
    /// After all that is in use.
    pub(crate) end: Cursor,
    /// Blocks that nothing uses.
    pub(crate) free_blocks: u64,
}

/// Why a size does not do: so many blocks are missing, at the least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misfit {
    pub(crate) missing_blocks: u64,
}

/// Where an inode lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodePlace {
    pub(crate) group: usize,
    pub(crate) block: BlockNr,
    /// Bytes before it in the block.
    pub(crate) skip: u64,
}

impl Layout {
    /// Lays out a file system of `bytes` behind what `cursor` has passed.
    pub(crate) fn place(
        options: &Options,
        geometry: Geometry,
        bytes: u64,
        mut cursor: Cursor,
        demand: Demand,
    ) -> Result<Self, Misfit> {
        let block_count = usable_blocks(&geometry, bytes >> geometry.block_size.log2());
        let groups = geometry.group_count(block_count);
        let short_of = |blocks: u64| Misfit {
            missing_blocks: blocks.saturating_sub(block_count).max(1),
        };
        if block_count < geometry.head(0).end().0 {
            return Err(short_of(geometry.head(0).end().0));
        }

        let most_inodes = groups * u64::from(geometry.max_inodes_per_group());
        let wanted_inodes = inode_count(options, bytes, most_inodes, demand);
        let step = u64::from(geometry.inodes_per_block().max(8));
        // All groups have the same number, and of all inodes there are no more than 32 bits count.
        let most_in_each = u64::from(u32::MAX) / groups / step * step;
        let inodes_per_group = wanted_inodes.div_ceil(groups).next_multiple_of(step).min(most_in_each);
        if groups * inodes_per_group < u64::from(demand.inode_count) {
            return Err(short_of(u64::MAX));
        }
        if inodes_per_group > u64::from(geometry.max_inodes_per_group()) {
            let groups = wanted_inodes.div_ceil(u64::from(geometry.max_inodes_per_group()));
            return Err(short_of(
                (groups - 1) * geometry.blocks_per_group() + geometry.first_block() + 1,
            ));
        }
        let inodes_per_group = u32::try_from(inodes_per_group).expect("below the largest number of inodes in a group");
        let table_blocks = u64::from(inodes_per_group / geometry.inodes_per_block());
        let descriptor_blocks = groups.div_ceil(geometry.descriptors_per_block());
        // The resize inode names blocks by 32 bits.
        let grows = options.growth && block_count <= 1 << 32;
        let reserved_descriptor_blocks = if grows {
            geometry.descriptor_room - descriptor_blocks
        } else {
            0
        };
        let journal_blocks = journal_blocks(options, block_count);
        let resize_map_blocks = u64::from(reserved_descriptor_blocks > 0);

        let heads = copies(groups).count() as u64 * (1 + descriptor_blocks + reserved_descriptor_blocks);
        let used = geometry.first_block()
            + heads
            + demand.content_blocks
            + groups * (2 + table_blocks)
            + journal_blocks
            + resize_map_blocks;
        // Checked by number first: the positions below would take memory for every group of a hopeless size.
        if used + demand.free_blocks > block_count {
            return Err(short_of(used + demand.free_blocks));
        }

        let resize_map = (resize_map_blocks > 0).then(|| cursor.take(1).start);
        let journal = (journal_blocks > 0).then(|| cursor.take_data(journal_blocks));
        let journal_nodes = journal
            .as_ref()
            .map_or(0, |data| node_blocks(data.extents().len(), geometry.block_size));
        let used = used + journal_nodes;
        if used + demand.free_blocks > block_count {
            return Err(short_of(used + demand.free_blocks));
        }
        let journal_nodes = (0..journal_nodes).map(|_| cursor.take(1).start).collect();
        let (mut block_bitmaps, mut inode_bitmaps, mut inode_tables) = (Vec::new(), Vec::new(), Vec::new());
        // resize2fs puts nothing where tables of groups were that it removes (`free_gdp_blocks`):
        // they come last, so that nothing has to move into their place, and those of the first
        // groups before those of others.
        for first in (0..groups).step_by(1 << LOG_GROUPS_PER_FLEX) {
            let count = (groups - first).min(1 << LOG_GROUPS_PER_FLEX);
            block_bitmaps.extend((0..count).map(|_| cursor.take(1).start));
            inode_bitmaps.extend((0..count).map(|_| cursor.take(1).start));
            inode_tables.extend((0..count).map(|_| cursor.take_contiguous(table_blocks).start));
        }
        if cursor.end().0 > block_count {
            return Err(short_of(cursor.end().0));
        }
        Ok(Self {
            geometry,
            bytes,
            block_count,
            group_count: u32::try_from(groups).expect("the descriptors have room for fewer"),
            inodes_per_group,
            descriptor_blocks,
            reserved_descriptor_blocks,
            block_bitmaps,
            inode_bitmaps,
            inode_tables,
            resize_map,
            journal,
            journal_nodes,
            end: cursor,
            free_blocks: block_count - used,
        })
    }

    /// Inodes of the file system.
    pub(crate) fn inode_count(&self) -> u32 {
        self.group_count * self.inodes_per_group
    }

    /// Where an inode lies.
    pub(crate) fn place_of(&self, ino: Ino) -> InodePlace {
        let index = ino.get() - 1;
        let group = (index / self.inodes_per_group) as usize;
        let inodes_per_block = self.geometry.inodes_per_block();
        let index = index % self.inodes_per_group;
        InodePlace {
            group,
            block: self.inode_tables[group] + u64::from(index / inodes_per_block),
            skip: u64::from(index % inodes_per_block * u32::from(inode::SIZE)),
        }
    }

    /// Blocks of a group, fewer in the last.
    pub(crate) fn group_blocks(&self, group: u64) -> BlockRange {
        let start = self.geometry.group_start(group);
        BlockRange {
            start,
            count: self.geometry.blocks_per_group().min(self.block_count - start.0),
        }
    }

    /// What is in use at the start of a group: the superblock or its copy, the descriptors and the reserved ones.
    pub(crate) fn head_blocks(&self, group: u64) -> u64 {
        match self.geometry.head(group).count {
            0 => 0,
            _ => 1 + self.descriptor_blocks + self.reserved_descriptor_blocks,
        }
    }
}

/// Blocks that a file system can use of so many: a last group that has no room but for its copy of the superblock is left out.
fn usable_blocks(geometry: &Geometry, blocks: u64) -> u64 {
    let Some(last) = geometry.group_count(blocks).checked_sub(1) else {
        return blocks;
    };
    let head = geometry.head(last);
    if last > 0 && blocks <= head.end().0 {
        head.start.0
    } else {
        blocks
    }
}

/// Inodes that the options ask for and the content needs. A ratio counts only as far as the groups can have so many.
fn inode_count(options: &Options, bytes: u64, most: u64, demand: Demand) -> u64 {
    let needed = u64::from(demand.inode_count) + u64::from(demand.free_inode_count);
    let count = match options.inodes {
        Inodes::PerBytes(ratio) => (bytes / u64::from(ratio.max(1))).min(most).max(needed),
        Inodes::AtLeast(count) => needed.max(u64::from(count)),
    };
    count.min(u64::from(u32::MAX))
}

/// Blocks of the journal; by default those of mke2fs's table (`ext2fs_default_journal_size`).
fn journal_blocks(options: &Options, block_count: u64) -> u64 {
    const K: u64 = 1024;
    match options.journal {
        Journal::None => 0,
        Journal::Bytes(bytes) => options
            .block_size
            .blocks(bytes)
            .clamp(MIN_BLOCKS.into(), MAX_JOURNAL_BLOCKS),
        Journal::Auto => match block_count {
            0..2_048 => 0,
            2_048..32_768 => K,
            32_768..262_144 => 4 * K,
            262_144..524_288 => 8 * K,
            524_288..4_194_304 => 16 * K,
            4_194_304..8_388_608 => 32 * K,
            8_388_608..16_777_216 => 64 * K,
            16_777_216..33_554_432 => 128 * K,
            _ => 256 * K,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Size;
    use crate::units::BlockSize;

    const TIB: u64 = 1 << 40;

    /// Inodes of a file system of so many bytes and nothing in it, or what is missing.
    fn inodes(block_size: BlockSize, bytes: u64, inodes: Inodes, inode_count: u32) -> Result<u64, Misfit> {
        let options = Options {
            size: Size::Fixed(bytes),
            block_size,
            growth: false,
            inodes,
            ..Options::new([7; 16])
        };
        let geometry = Geometry::new(&options);
        let demand = Demand {
            inode_count,
            free_inode_count: 0,
            content_blocks: 0,
            free_blocks: 0,
        };
        let layout = Layout::place(&options, geometry, bytes, Cursor::new(geometry), demand)?;
        assert_eq!(
            u64::from(layout.inode_count()),
            u64::from(layout.group_count) * u64::from(layout.inodes_per_group)
        );
        assert!(
            layout
                .inodes_per_group
                .is_multiple_of(geometry.inodes_per_block().max(8))
        );
        Ok(layout.inode_count().into())
    }

    #[test]
    fn no_file_system_has_more_inodes_than_32_bits_count() {
        for (block_size, bytes) in [
            (BlockSize::Kib4, 64 * TIB),
            (BlockSize::Kib4, 64 * TIB - 4096),
            (BlockSize::Kib4, 100 * TIB),
            (BlockSize::Kib64, 256 * TIB),
            (BlockSize::Kib64, 1000 * TIB),
        ] {
            for wish in [Inodes::default(), Inodes::PerBytes(1), Inodes::AtLeast(u32::MAX)] {
                let count = inodes(block_size, bytes, wish, 11).expect("it fits");
                // As many as there can be in groups of the same number.
                assert!(
                    count > u64::from(u32::MAX) / 100 * 99,
                    "{bytes} bytes, {wish:?}: {count}"
                );
            }
        }
    }

    #[test]
    fn inodes_that_do_not_fit_equal_groups_are_refused() {
        // 2^19 groups of 8,191.99 inodes, in steps of 16.
        let most = (8192 - 16) << 19;
        for wish in [Inodes::default(), Inodes::AtLeast(0)] {
            let count = |needed| inodes(BlockSize::Kib4, 64 * TIB, wish, needed);
            assert_eq!(count(most).expect("it fits"), u64::from(most));
            assert!(count(most + 1).is_err());
        }
    }
}
