//! Contents: which blocks of the image hold which of a file.

use std::mem::offset_of;

use zerocopy::FromBytes;

use super::facts::incompat;
use super::{FoundInode, ReadError, Reader};
use crate::disk::extent::{ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf, MAGIC};
use crate::disk::inode::{BLOCK_LEN, Inode, InodeFlags};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

/// Levels of nodes above the leaves that there can be (`EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;

/// Bytes of a file that are in the image; what lies between two ranges is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRange {
    /// First byte of the file.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// First byte of the image.
    at: u64,
}

impl DataRange {
    /// Where the first byte is in the image.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }
}

impl<R: ReadAt> Reader<R> {
    /// Where a file has bytes, in ascending order and within its size.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if its extent tree makes no sense or it has none, and [`ReadError::Input`].
    pub fn data(&self, inode: &FoundInode) -> Result<Vec<DataRange>, ReadError> {
        self.data_before(inode, u64::MAX)
    }

    /// The same without what begins behind so many bytes of the file.
    fn data_before(&self, inode: &FoundInode, end: u64) -> Result<Vec<DataRange>, ReadError> {
        if self.is_inline(inode) {
            return inline(inode);
        }
        let extents = self.extents_before(inode, end.div_ceil(self.block_size as u64))?;
        let mut ranges = Vec::with_capacity(extents.len());
        for extent in extents {
            let start = u64::from(extent.logical) * self.block_size as u64;
            let len = u64::from(extent.count) * self.block_size as u64;
            let len = len.min(inode.size.saturating_sub(start));
            if len > 0 {
                let at = self.offset_of_block(extent.start.get());
                ranges.push(DataRange { start, len, at });
            }
        }
        Ok(ranges)
    }

    /// Fills the buffer with bytes of a range, from so many after its start on.
    ///
    /// # Errors
    ///
    /// [`ReadError::Input`].
    ///
    /// # Panics
    ///
    /// If the range has fewer.
    pub fn read_data(&self, range: &DataRange, skip: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        assert!(
            buffer.len() as u64 <= range.len.saturating_sub(skip),
            "the buffer ends within the range"
        );
        self.read_at(range.at + skip, buffer)
    }

    /// Whether the content lies in the inode (`inline_data`).
    pub(super) fn is_inline(&self, inode: &FoundInode) -> bool {
        self.has_incompat(incompat::INLINE_DATA) && inode.flags.contains(InodeFlags::INLINE_DATA)
    }

    /// Reads the first bytes of a content, no matter how far it goes on.
    pub(crate) fn read_whole(&self, inode: &FoundInode, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        for range in self.data_before(inode, len as u64)? {
            let start = usize::try_from(range.start).unwrap_or(len).min(len);
            let end = usize::try_from(range.start + range.len).unwrap_or(len).min(len);
            self.read_data(&range, 0, &mut bytes[start..end])?;
        }
        Ok(bytes)
    }

    /// The extents of an inode, ascending; those that were never written to are left out, since they read as zeros.
    pub(crate) fn extents(&self, inode: &FoundInode) -> Result<Vec<Extent>, ReadError> {
        self.extents_before(inode, u64::MAX)
    }

    /// Those that begin before a block of the file. Nodes of a tree or a map that all lie behind it are not read:
    /// damaged ones may belong to many inodes, each of which would take the time that all of them take.
    fn extents_before(&self, inode: &FoundInode, end: u64) -> Result<Vec<Extent>, ReadError> {
        if inode.flags.contains(InodeFlags::INLINE_DATA) {
            return Err(inode.damaged("its content lies in it, without the feature inline_data"));
        }
        if !inode.flags.contains(InodeFlags::EXTENTS) {
            let extents = self.mapped(inode, end)?;
            check_disjoint(inode, &extents)?;
            return Ok(extents);
        }
        let mut extents = Vec::new();
        let mut next = 0;
        let mut pending = Vec::new();
        let mut children = self.node(inode, &inode.block, None, &mut next, &mut extents)?;
        loop {
            // Last first, so that leaves come in ascending order.
            pending.extend(children.into_iter().rev());
            let Some((block, depth)) = pending.pop().filter(|_| next < end) else {
                check_disjoint(inode, &extents)?;
                return Ok(extents);
            };
            let node = self.read_block(inode.ino, block)?;
            children = self.node(inode, &node, Some((block, depth)), &mut next, &mut extents)?;
        }
    }

    /// Takes a node apart: into extents, or the numbers of its children and their depth. All nodes but the root have a block,
    /// and a depth that the one above gives them.
    ///
    /// Every node but the root must hold something, and what leaves hold must ascend from `next` on: so no node counts twice, and
    /// a tree in circles ends soon.
    fn node(
        &self,
        inode: &FoundInode,
        node: &[u8],
        place: Option<(BlockNr, u16)>,
        next: &mut u64,
        extents: &mut Vec<Extent>,
    ) -> Result<Vec<(BlockNr, u16)>, ReadError> {
        let damaged = || inode.damaged("its extent tree makes no sense");
        let (block, depth) = place.unzip();
        let (header, entries) = ExtentHeader::read_from_prefix(node).map_err(|_| damaged())?;
        let found_depth = header.depth.get();
        let count = usize::from(header.entries.get());
        if header.magic.get() != MAGIC
            || found_depth > MAX_DEPTH
            || depth.is_some_and(|depth| depth != found_depth || count == 0)
        {
            return Err(damaged());
        }
        if let Some(block) = block {
            self.verify_extent_node(inode, block, node, &header)?;
        }
        let entries = entries.get(..count * ENTRY_LEN).ok_or_else(damaged)?;
        let (entries, _) = entries.as_chunks::<ENTRY_LEN>();
        let mut children = Vec::new();
        for entry in entries {
            if found_depth > 0 {
                let index = ExtentIndex::read_from_bytes(entry).map_err(|_| damaged())?;
                let block = u64::from(index.leaf_lo.get()) | u64::from(index.leaf_hi.get()) << 32;
                children.push((BlockNr(block), found_depth - 1));
                continue;
            }
            let leaf = ExtentLeaf::read_from_bytes(entry).map_err(|_| damaged())?;
            let (len, max) = (u32::from(leaf.len.get()), Extent::MAX_BLOCKS);
            let is_written = len <= max;
            let count = if is_written { len } else { len - max };
            let start = u64::from(leaf.start_lo.get()) | u64::from(leaf.start_hi.get()) << 32;
            let logical = u64::from(leaf.block.get());
            let end = start + u64::from(count);
            if count == 0 || logical < *next || start == 0 || end > self.block_count {
                return Err(damaged());
            }
            *next = logical + u64::from(count);
            if is_written {
                extents.push(Extent {
                    start: BlockNr(start),
                    logical: leaf.block.get(),
                    count,
                });
            }
        }
        Ok(children)
    }
}

/// Content in the inode: `i_block` holds the first bytes, an attribute the others.
fn inline(inode: &FoundInode) -> Result<Vec<DataRange>, ReadError> {
    let first = inode.size.min(BLOCK_LEN as u64);
    let (at, len) = inode.inline_rest()?.unwrap_or_default();
    if inode.size - first > len {
        return Err(inode.damaged("it has less content than its size says"));
    }
    let ranges = [
        DataRange {
            start: 0,
            len: first,
            at: inode.at + offset_of!(Inode, block) as u64,
        },
        DataRange {
            start: first,
            len: inode.size - first,
            at,
        },
    ];
    Ok(ranges.into_iter().filter(|range| range.len > 0).collect())
}

/// Refuses one block in two places, which would make much content of few bytes.
fn check_disjoint(inode: &FoundInode, extents: &[Extent]) -> Result<(), ReadError> {
    let mut runs: Vec<_> = extents.iter().map(|extent| extent.run()).collect();
    runs.sort_unstable();
    if runs.windows(2).any(|pair| pair[1].start < pair[0].end()) {
        return Err(inode.damaged("one block is in it twice"));
    }
    Ok(())
}
