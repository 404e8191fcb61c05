//! Settling down: the size of the file system, the place of its tables, and whether content has to move for that.

use crate::data::FileData;
use crate::disk::extent::node_blocks;
use crate::disk::inode;
use crate::error::FormatError;
use crate::image::Image;
use crate::options::{Fit, Inodes, Options, Size};
use crate::output::Output;
use crate::place::compact;
use crate::place::cursor::Cursor;
use crate::place::geometry::Geometry;
use crate::place::layout::{Demand, Layout, Misfit};
use crate::place::size;
use crate::units::{BlockNr, BlockRange};

/// Blocks for structures that hold numbers of blocks, or checksums over their own: they cannot move.
pub(super) struct Pinned(std::vec::IntoIter<BlockNr>);

impl Pinned {
    /// Sets blocks aside.
    fn take(cursor: &mut Cursor, count: u64) -> Self {
        let ranges = cursor.take_all(count).into_iter();
        let blocks: Vec<_> = ranges.flat_map(BlockRange::blocks).collect();
        Self(blocks.into_iter())
    }

    /// Blocks that were placed elsewhere.
    pub(super) fn from_blocks(blocks: Vec<BlockNr>) -> Self {
        Self(blocks.into_iter())
    }

    /// The next of them.
    pub(super) fn next(&mut self) -> BlockNr {
        self.0.next().expect("as many blocks were set aside as were counted")
    }
}

/// Where everything is.
pub(super) struct Settled {
    pub(super) layout: Layout,
    pub(super) pinned: Pinned,
    /// Blocks between those of the content, ascending: they hold what was written and is not part of it.
    pub(super) freed: Vec<BlockRange>,
}

/// What is known of the content when all of it has been written.
pub(super) struct Settling<'content> {
    options: &'content Options,
    geometry: Geometry,
    /// In the order of their blocks.
    contents: Vec<&'content mut FileData>,
    content_blocks: u64,
    xattr_blocks: u64,
    inode_count: u32,
    /// Blocks that the output has to hold while content is written, if it could not: some of them
    /// may be freed later.
    log_blocks: u64,
}

impl<'content> Settling<'content> {
    pub(super) fn new(
        options: &'content Options,
        geometry: Geometry,
        contents: impl Iterator<Item = &'content mut FileData>,
        xattr_blocks: u64,
        inode_count: u32,
    ) -> Self {
        let contents = compact::in_order(contents);
        let content_blocks = contents.iter().map(|data| data.block_count()).sum();
        Self {
            options,
            geometry,
            contents,
            content_blocks,
            xattr_blocks,
            inode_count,
            log_blocks: 0,
        }
    }

    /// Finds the layout and sets blocks aside. If the content does not fit where it is, the gaps in it are closed.
    pub(super) fn settle<O: Output>(
        mut self,
        cursor: &mut Cursor,
        image: &mut Image<O>,
    ) -> Result<Settled, FormatError> {
        let available = match self.options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(Fit { max, .. }) => max.min(image.max_len()),
        };
        if let Some(dropped) = image.dropped()? {
            let end = BlockNr(self.options.block_size.blocks(dropped.end));
            let passed = Cursor::new(self.geometry).take_until(end);
            self.log_blocks = passed.iter().map(|run| run.count).sum();
            return Err(self.no_space(available));
        }
        let bytes = match self.options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(_) => self
                .smallest(self.min(), available)
                .ok_or_else(|| self.no_space(available))?,
        };
        if let Ok((layout, pinned)) = self.place(bytes, cursor.clone(), self.node_blocks()) {
            let freed = compact::gaps(&self.contents, self.geometry, cursor.end());
            return Ok(Settled { layout, pinned, freed });
        }
        self.fits(bytes).map_err(|_| self.no_space(bytes))?;

        image.extend(cursor.end())?;
        *cursor = Cursor::new(self.geometry);
        for data in &mut self.contents {
            for step in compact::place(data, cursor) {
                image.copy(step)?;
            }
        }
        image.truncate(cursor.end())?;
        let (layout, pinned) = self
            .place(bytes, cursor.clone(), self.node_blocks())
            .map_err(|_| self.no_space(bytes))?;
        Ok(Settled {
            layout,
            pinned,
            freed: Vec::new(),
        })
    }

    /// The layout of a size behind what the cursor has passed and so many blocks of extent trees.
    fn place(&self, bytes: u64, mut cursor: Cursor, node_blocks: u64) -> Result<(Layout, Pinned), Misfit> {
        let pinned_blocks = self.xattr_blocks + node_blocks;
        let content_blocks = self.content_blocks + pinned_blocks;
        let free = self.free_bytes(content_blocks);
        let free_inodes = match self.options.inodes {
            Inodes::PerBytes(ratio) => free / u64::from(ratio.max(1)),
            Inodes::AtLeast(_) => 0,
        };
        let demand = Demand {
            inode_count: self.inode_count,
            free_inode_count: u32::try_from(free_inodes).unwrap_or(u32::MAX),
            content_blocks,
            free_blocks: self.options.block_size.blocks(free),
        };
        let pinned = Pinned::take(&mut cursor, pinned_blocks);
        let layout = Layout::place(self.options, self.geometry_for(bytes), bytes, cursor, demand)?;
        Ok((layout, pinned))
    }

    /// Checks that a size would do if only the content that remains had ever been written. If the
    /// output could not hold all content, it counts also what was freed.
    fn fits(&self, bytes: u64) -> Result<(), Misfit> {
        let mut cursor = Cursor::new(self.geometry_for(bytes));
        if self.log_blocks > 0 {
            let mut cursor = cursor.clone();
            cursor.take_all(self.log_blocks);
            let missing_blocks = cursor.end().0.saturating_sub(bytes >> self.options.block_size.log2());
            if missing_blocks > 0 {
                return Err(Misfit { missing_blocks });
            }
        }
        let extent_counts = self
            .contents
            .iter()
            .map(|data| compact::extent_count(data, &mut cursor));
        let node_blocks = extent_counts
            .map(|count| node_blocks(count, self.options.block_size))
            .sum();
        self.place(bytes, cursor, node_blocks).map(drop)
    }

    fn smallest(&self, min: u64, max: u64) -> Option<u64> {
        let max = max.min(Geometry::max_bytes(self.options));
        size::smallest(min, max, u64::from(self.options.block_size.bytes()), |bytes| {
            self.fits(bytes)
        })
    }

    /// The smallest size that was asked for.
    fn min(&self) -> u64 {
        match self.options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(Fit { min, max, .. }) => min.min(max),
        }
    }

    fn no_space(&self, available: u64) -> FormatError {
        match self.smallest(available.max(self.min()), u64::MAX) {
            Some(needed) => FormatError::NoSpace { needed, available },
            None => FormatError::TooLarge {
                size: available,
                max: Geometry::max_bytes(self.options),
            },
        }
    }

    /// What the geometry would have been, had this size been asked for.
    fn geometry_for(&self, bytes: u64) -> Geometry {
        match self.options.size {
            Size::Fixed(_) => Geometry::for_size(self.options, bytes),
            Size::Fit(_) => self.geometry,
        }
    }

    /// Free space that a size that fits must leave.
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

    /// Blocks of the extent trees of the contents where they are.
    fn node_blocks(&self) -> u64 {
        self.contents
            .iter()
            .map(|data| node_blocks(data.extents().len(), self.options.block_size))
            .sum()
    }
}
