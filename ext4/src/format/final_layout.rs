//! [`FinalLayout`]: the size of the file system, the position of its tables, and content moved
//! down if that is required to fit.

use crate::block_writer::BlockWriter;
use crate::data::FileData;
use crate::disk::extent::node_blocks;
use crate::disk::inode;
use crate::error::FormatError;
use crate::layout::compact;
use crate::layout::geometry::Geometry;
use crate::layout::log_allocator::LogAllocator;
use crate::layout::size::smallest_fitting;
use crate::layout::{DoesNotFit, Layout, Requirements};
use crate::options::{Fit, Inodes, Options, Size};
use crate::output::Output;
use crate::units::{BlockNr, BlockRange};

/// Blocks for external attribute blocks and extent tree nodes. Both contain block numbers, or
/// checksums over their own, so they are allocated after content has reached its final blocks.
pub(super) struct MetadataBlocks(std::vec::IntoIter<BlockNr>);

impl MetadataBlocks {
    /// Allocates `count` blocks.
    fn allocate(allocator: &mut LogAllocator, count: u64) -> Self {
        let ranges = allocator.allocate(count).into_iter();
        let blocks: Vec<_> = ranges.flat_map(BlockRange::blocks).collect();
        Self(blocks.into_iter())
    }

    /// Uses blocks that were allocated elsewhere.
    pub(super) fn from_blocks(blocks: Vec<BlockNr>) -> Self {
        Self(blocks.into_iter())
    }

    /// Returns the next block.
    ///
    /// # Panics
    ///
    /// If all blocks were used.
    pub(super) fn next(&mut self) -> BlockNr {
        self.0.next().expect("the number of blocks was counted before")
    }
}

/// Layout of a file system whose content does not move any more.
pub(super) struct FinalLayout {
    pub(super) layout: Layout,
    pub(super) metadata_blocks: MetadataBlocks,
    /// Blocks between those of the content, ascending. They may contain bytes of content that was
    /// freed or ended early.
    pub(super) unused: Vec<BlockRange>,
}

/// All content of a file system after the last of it was written.
pub(super) struct WrittenContent<'content> {
    options: &'content Options,
    geometry: Geometry,
    /// Ordered by their first blocks.
    contents: Vec<&'content mut FileData>,
    content_blocks: u64,
    xattr_blocks: u64,
    inode_count: u32,
    /// Number of blocks that were allocated for content, if the output could not hold all of them.
    /// It includes content that was freed later. 0 if everything was written.
    dropped_log_blocks: u64,
}

impl<'content> WrittenContent<'content> {
    pub(super) fn new(
        options: &'content Options,
        geometry: Geometry,
        contents: impl Iterator<Item = &'content mut FileData>,
        xattr_blocks: u64,
        inode_count: u32,
    ) -> Self {
        let contents = compact::sort_by_block(contents);
        let content_blocks = contents.iter().map(|data| data.block_count()).sum();
        Self {
            options,
            geometry,
            contents,
            content_blocks,
            xattr_blocks,
            inode_count,
            dropped_log_blocks: 0,
        }
    }

    /// Finds the size and the layout of the file system, and allocates the metadata blocks. If the
    /// content does not fit where it is, moves it down over the freed blocks.
    pub(super) fn finalize_layout<O: Output>(
        mut self,
        allocator: &mut LogAllocator,
        writer: &mut BlockWriter<O>,
    ) -> Result<FinalLayout, FormatError> {
        let available = match self.options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(Fit { max, .. }) => max.min(writer.max_len()),
        };
        if let Some(dropped) = writer.dropped()? {
            let end = BlockNr(self.options.block_size.blocks(dropped.end));
            let passed = LogAllocator::new(self.geometry).allocate_until(end);
            self.dropped_log_blocks = passed.iter().map(|range| range.count).sum();
            return Err(self.no_space(available));
        }
        let bytes = match self.options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(_) => self
                .smallest_size(self.min_size(), available)
                .ok_or_else(|| self.no_space(available))?,
        };
        if let Ok((layout, metadata_blocks)) = self.compute_layout(bytes, allocator.clone(), self.extent_node_blocks())
        {
            let unused = compact::gaps(&self.contents, self.geometry, allocator.end());
            return Ok(FinalLayout {
                layout,
                metadata_blocks,
                unused,
            });
        }
        self.check_fits(bytes).map_err(|_| self.no_space(bytes))?;

        writer.extend_to(allocator.end())?;
        *allocator = LogAllocator::new(self.geometry);
        for data in &mut self.contents {
            for block_move in compact::relocate(data, allocator) {
                writer.move_blocks(block_move)?;
            }
        }
        writer.truncate(allocator.end())?;
        let (layout, metadata_blocks) = self
            .compute_layout(bytes, allocator.clone(), self.extent_node_blocks())
            .map_err(|_| self.no_space(bytes))?;
        Ok(FinalLayout {
            layout,
            metadata_blocks,
            unused: Vec::new(),
        })
    }

    /// Computes the layout for a size, after the blocks that `allocator` has allocated and
    /// `node_blocks` blocks of extent trees.
    fn compute_layout(
        &self,
        bytes: u64,
        mut allocator: LogAllocator,
        node_blocks: u64,
    ) -> Result<(Layout, MetadataBlocks), DoesNotFit> {
        let metadata_block_count = self.xattr_blocks + node_blocks;
        let content_blocks = self.content_blocks + metadata_block_count;
        let free = self.free_bytes(content_blocks);
        let free_inodes = match self.options.inodes {
            Inodes::PerBytes(ratio) => free / u64::from(ratio.max(1)),
            Inodes::AtLeast(_) => 0,
        };
        let requirements = Requirements {
            inode_count: self.inode_count,
            free_inode_count: u32::try_from(free_inodes).unwrap_or(u32::MAX),
            content_blocks,
            free_blocks: self.options.block_size.blocks(free),
        };
        let metadata_blocks = MetadataBlocks::allocate(&mut allocator, metadata_block_count);
        let layout = Layout::compute(self.options, self.geometry_for(bytes), bytes, allocator, requirements)?;
        Ok((layout, metadata_blocks))
    }

    /// Checks that a size fits the content as if only the remaining content had been written. If
    /// the output could not hold all content, the size must also fit what was freed.
    fn check_fits(&self, bytes: u64) -> Result<(), DoesNotFit> {
        let mut allocator = LogAllocator::new(self.geometry_for(bytes));
        if self.dropped_log_blocks > 0 {
            let mut allocator = allocator.clone();
            allocator.allocate(self.dropped_log_blocks);
            let missing_blocks = allocator
                .end()
                .0
                .saturating_sub(bytes >> self.options.block_size.log2());
            if missing_blocks > 0 {
                return Err(DoesNotFit { missing_blocks });
            }
        }
        let extent_counts = self
            .contents
            .iter()
            .map(|data| compact::relocated_extent_count(data, &mut allocator));
        let node_blocks = extent_counts
            .map(|count| node_blocks(count, self.options.block_size))
            .sum();
        self.compute_layout(bytes, allocator, node_blocks).map(drop)
    }

    /// Returns the smallest size in bytes from `min` to `max` that fits the content, or `None` if
    /// none fits.
    fn smallest_size(&self, min: u64, max: u64) -> Option<u64> {
        let max = max.min(Geometry::max_bytes(self.options));
        smallest_fitting(min, max, u64::from(self.options.block_size.bytes()), |bytes| {
            self.check_fits(bytes)
        })
    }

    /// The requested minimum of the size in bytes.
    fn min_size(&self) -> u64 {
        match self.options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(Fit { min, max, .. }) => min.min(max),
        }
    }

    /// Returns the error for content that does not fit `available` bytes, with the smallest size
    /// that fits.
    fn no_space(&self, available: u64) -> FormatError {
        match self.smallest_size(available.max(self.min_size()), u64::MAX) {
            Some(needed) => FormatError::NoSpace { needed, available },
            None => FormatError::TooLarge {
                size: available,
                max: Geometry::max_bytes(self.options),
            },
        }
    }

    /// The geometry that results from requesting this size.
    fn geometry_for(&self, bytes: u64) -> Geometry {
        match self.options.size {
            Size::Fixed(_) => Geometry::for_size(self.options, bytes),
            Size::Fit(_) => self.geometry,
        }
    }

    /// Minimum of free space in bytes for a size that fits the content.
    fn free_bytes(&self, content_blocks: u64) -> u64 {
        match self.options.size {
            Size::Fixed(_) => 0,
            Size::Fit(Fit { free, free_percent, .. }) => {
                let blocks = content_blocks << self.options.block_size.log2();
                let inodes = u64::from(self.inode_count) * u64::from(inode::SIZE);
                free.max((blocks + inodes).saturating_mul(u64::from(free_percent)) / 100)
            }
        }
    }

    /// Number of blocks of the contents' extent trees, with the present extents.
    fn extent_node_blocks(&self) -> u64 {
        self.contents
            .iter()
            .map(|data| node_blocks(data.extents().len(), self.options.block_size))
            .sum()
    }
}
