//! Maps the content of files to bytes of the image.

use std::collections::BTreeSet;
use std::mem::offset_of;

use super::extents::{MapFault, MapNode, MapRoot, MapVisitor, walk_map};
use super::{Inode, ReadError, Reader};
use crate::disk::features::Features;
use crate::disk::inode::{self, BLOCK_LEN, InodeFlags};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

/// Bytes of a file that are in the image. The bytes between two ranges are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRange {
    /// Offset of the first byte in the file.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Offset of the first byte in the image.
    at: u64,
}

impl DataRange {
    /// Returns the offset of the first byte in the image.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Returns the offset in the file of the byte after the last one.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }
}

impl<R: ReadAt> Reader<R> {
    /// Returns the ranges of a file that have data, in ascending order and within its size. A
    /// device has none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if its extent tree or block map is damaged, [`ReadError::Checksum`]
    /// and [`ReadError::Input`].
    pub fn data(&self, inode: &Inode) -> Result<Vec<DataRange>, ReadError> {
        if !inode.has_content() {
            return Ok(Vec::new());
        }
        if inode.is_fast_symlink {
            let at = inode.offset + offset_of!(inode::Inode, block) as u64;
            return Ok(vec![DataRange {
                start: 0,
                len: inode.size,
                at,
            }]);
        }
        self.data_before(inode, u64::MAX)
    }

    /// Returns the ranges of a file with content that have data before the byte `end` of the file,
    /// and perhaps some after it.
    fn data_before(&self, inode: &Inode, end: u64) -> Result<Vec<DataRange>, ReadError> {
        if self.is_inline(inode) {
            return inline_ranges(inode);
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

    /// Fills the buffer with bytes of a range, beginning `skip` bytes after its start.
    ///
    /// # Errors
    ///
    /// [`ReadError::Input`].
    ///
    /// # Panics
    ///
    /// If fewer than `buffer.len()` bytes of the range follow.
    pub fn read_data(&self, range: &DataRange, skip: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        assert!(
            buffer.len() as u64 <= range.len.saturating_sub(skip),
            "the buffer ends within the range"
        );
        self.read_at(range.at + skip, buffer)
    }

    /// Returns whether the content lies in the inode (`inline_data`).
    pub(super) fn is_inline(&self, inode: &Inode) -> bool {
        self.superblock.has(Features::INLINE_DATA) && inode.has(InodeFlags::INLINE_DATA)
    }

    /// Reads the first `len` bytes of a file, whatever its size is.
    pub(crate) fn read_prefix(&self, inode: &Inode, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        for range in self.data_before(inode, len as u64)? {
            let start = usize::try_from(range.start).unwrap_or(len).min(len);
            let end = usize::try_from(range.start + range.len).unwrap_or(len).min(len);
            self.read_data(&range, 0, &mut bytes[start..end])?;
        }
        Ok(bytes)
    }

    /// Returns the extents of an inode in ascending order, without unwritten ones, which read as
    /// zeros.
    pub(crate) fn extents(&self, inode: &Inode) -> Result<Vec<Extent>, ReadError> {
        self.extents_before(inode, u64::MAX)
    }

    /// Returns the extents, without unwritten ones, that begin before the block `end` of the file,
    /// and perhaps some after it.
    fn extents_before(&self, inode: &Inode, end: u64) -> Result<Vec<Extent>, ReadError> {
        let mapped = self.map_before(inode, end)?.extents.into_iter();
        Ok(mapped
            .filter(|(_, is_written)| *is_written)
            .map(|(extent, _)| extent)
            .collect())
    }

    /// Returns the extents and nodes that begin before the block `end` of the file, and perhaps
    /// some after it.
    pub(super) fn map_before(&self, inode: &Inode, end: u64) -> Result<MappedBlocks, ReadError> {
        if inode.has(InodeFlags::INLINE_DATA) {
            return Err(inode.damaged("it has inline content without the feature inline_data"));
        }
        let is_tree = inode.has(InodeFlags::EXTENTS);
        let root = MapRoot {
            bytes: &inode.block,
            is_tree,
            block_size: self.block_size,
            seed: self.seed_of(inode),
        };
        let mut strict = StrictVisitor {
            reader: self,
            inode,
            is_tree,
            end,
            seen: BTreeSet::new(),
            mapped: MappedBlocks::default(),
        };
        walk_map(&root, &mut strict)?;
        check_disjoint(inode, &strict.mapped.extents)?;
        Ok(strict.mapped)
    }
}

/// Blocks that an extent tree or block map leads to.
#[derive(Default)]
pub(super) struct MappedBlocks {
    /// Extents in ascending order, and whether they were ever written to.
    pub(super) extents: Vec<(Extent, bool)>,
    /// Nodes below the root.
    pub(super) nodes: Vec<BlockNr>,
}

/// Visitor that collects the blocks of an inode, and returns an error for every fault.
struct StrictVisitor<'a, R> {
    reader: &'a Reader<R>,
    inode: &'a Inode,
    is_tree: bool,
    /// Nodes that begin at this block of the file or after it are left out. A damaged node may
    /// belong to many inodes; reading all of it for each would take too long.
    end: u64,
    /// Nodes of a block map that were visited: a damaged map may contain a cycle.
    seen: BTreeSet<BlockNr>,
    mapped: MappedBlocks,
}

impl<R: ReadAt> MapVisitor for StrictVisitor<'_, R> {
    fn read_node(&mut self, node: &MapNode) -> Result<Option<Vec<u8>>, ReadError> {
        if node.first >= self.end {
            return Ok(None);
        }
        if !self.is_tree && !self.seen.insert(node.block) {
            return Err(self.inode.damaged("a block occurs in its block map twice"));
        }
        self.mapped.nodes.push(node.block);
        self.reader.read_block(self.inode.ino, node.block).map(Some)
    }

    fn visit_extent(&mut self, _: Option<&MapNode>, extent: Extent, is_written: bool) -> Result<(), ReadError> {
        let blocks = 1..=self.reader.block_count;
        if !blocks.contains(&extent.start.get()) || !blocks.contains(&extent.range().end().get()) {
            return Err(self.inode.damaged(if self.is_tree {
                "its extent tree is invalid"
            } else {
                "one of its blocks is outside of the file system"
            }));
        }
        match self.mapped.extents.last_mut() {
            Some((last, _)) if !self.is_tree && last.is_followed_by(extent) => last.count += extent.count,
            _ => self.mapped.extents.push((extent, is_written)),
        }
        Ok(())
    }

    fn visit_fault(&mut self, node: Option<&MapNode>, fault: MapFault) -> Result<(), ReadError> {
        match (fault, node) {
            (MapFault::Checksum, Some(node)) => Err(ReadError::Checksum {
                structure: node.structure(self.inode.ino),
            }),
            (MapFault::TooFar { .. }, _) => Err(self.inode.damaged("its block map reaches too far")),
            _ => Err(self.inode.damaged("its extent tree is invalid")),
        }
    }
}

/// Returns the ranges of inline content: the first bytes are in `i_block`, the others in an
/// attribute.
fn inline_ranges(inode: &Inode) -> Result<Vec<DataRange>, ReadError> {
    let first = inode.size.min(BLOCK_LEN as u64);
    let (at, len) = inode.inline_data_tail()?.unwrap_or_default();
    if inode.size - first > len {
        return Err(inode.damaged("its inline content is shorter than its size"));
    }
    let ranges = [
        DataRange {
            start: 0,
            len: first,
            at: inode.offset + offset_of!(inode::Inode, block) as u64,
        },
        DataRange {
            start: first,
            len: inode.size - first,
            at,
        },
    ];
    Ok(ranges.into_iter().filter(|range| range.len > 0).collect())
}

/// Returns an error if extents share a block: a few bytes could then stand for a lot of content.
fn check_disjoint(inode: &Inode, extents: &[(Extent, bool)]) -> Result<(), ReadError> {
    let mut ranges: Vec<_> = extents.iter().map(|(extent, _)| extent.range()).collect();
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[1].start < pair[0].end()) {
        return Err(inode.damaged("two of its extents share a block"));
    }
    Ok(())
}
