//! Contents: which bytes of the image hold which of a file.

use std::collections::BTreeSet;
use std::mem::offset_of;

use super::extents::{Fault, Node, Root, Visitor, walk};
use super::{Inode, ReadError, Reader};
use crate::disk::features::Features;
use crate::disk::inode::{self, BLOCK_LEN, InodeFlags};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

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
    /// Returns the offset of the first byte in the image.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The byte of the file behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }
}

impl<R: ReadAt> Reader<R> {
    /// Finds where a file has bytes, in ascending order and within its size. A device has none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if its extent tree makes no sense, [`ReadError::Checksum`] and
    /// [`ReadError::Input`].
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

    /// The same without ranges from `end` on, in bytes of the file.
    fn data_before(&self, inode: &Inode, end: u64) -> Result<Vec<DataRange>, ReadError> {
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

    /// Fills the buffer with bytes of a range, from an offset in it on.
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

    /// Returns whether the content lies in the inode (`inline_data`).
    pub(super) fn is_inline(&self, inode: &Inode) -> bool {
        self.superblock.has(Features::INLINE_DATA) && inode.has(InodeFlags::INLINE_DATA)
    }

    /// Reads the first bytes of a content, no matter how far it goes on.
    pub(crate) fn read_whole(&self, inode: &Inode, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        for range in self.data_before(inode, len as u64)? {
            let start = usize::try_from(range.start).unwrap_or(len).min(len);
            let end = usize::try_from(range.start + range.len).unwrap_or(len).min(len);
            self.read_data(&range, 0, &mut bytes[start..end])?;
        }
        Ok(bytes)
    }

    /// The extents of an inode, ascending; those that were never written to are left out, since
    /// they read as zeros.
    pub(crate) fn extents(&self, inode: &Inode) -> Result<Vec<Extent>, ReadError> {
        self.extents_before(inode, u64::MAX)
    }

    /// Those that begin before a block of the file, and perhaps some behind it.
    fn extents_before(&self, inode: &Inode, end: u64) -> Result<Vec<Extent>, ReadError> {
        let mapped = self.mapped_before(inode, end)?.extents.into_iter();
        Ok(mapped
            .filter(|(_, is_written)| *is_written)
            .map(|(extent, _)| extent)
            .collect())
    }

    /// The extents and nodes of an inode that begin before a block of the file, and perhaps some
    /// behind it.
    pub(super) fn mapped_before(&self, inode: &Inode, end: u64) -> Result<Mapped, ReadError> {
        if inode.has(InodeFlags::INLINE_DATA) {
            return Err(inode.damaged("its content lies in it, without the feature inline_data"));
        }
        let is_tree = inode.has(InodeFlags::EXTENTS);
        let root = Root {
            bytes: &inode.block,
            is_tree,
            block_size: self.block_size,
            seed: self.seed_of(inode),
        };
        let mut strict = Strict {
            reader: self,
            inode,
            is_tree,
            end,
            seen: BTreeSet::new(),
            mapped: Mapped::default(),
        };
        walk(&root, &mut strict)?;
        check_disjoint(inode, &strict.mapped.extents)?;
        Ok(strict.mapped)
    }
}

/// Blocks of an inode's content, and those that lead there.
#[derive(Default)]
pub(super) struct Mapped {
    /// Ascending, and whether they were ever written to.
    pub(super) extents: Vec<(Extent, bool)>,
    /// Blocks of the nodes below the root.
    pub(super) nodes: Vec<BlockNr>,
}

/// Makes any fault an error.
struct Strict<'a, R> {
    reader: &'a Reader<R>,
    inode: &'a Inode,
    is_tree: bool,
    /// Nodes are left out that begin at this block of the file or behind it: damaged ones may
    /// belong to many inodes, each of which would take the time that all of them take.
    end: u64,
    /// Nodes of a map, which may lead to themselves.
    seen: BTreeSet<BlockNr>,
    mapped: Mapped,
}

impl<R: ReadAt> Visitor for Strict<'_, R> {
    fn node(&mut self, node: &Node) -> Result<Option<Vec<u8>>, ReadError> {
        if node.first >= self.end {
            return Ok(None);
        }
        if !self.is_tree && !self.seen.insert(node.block) {
            return Err(self.inode.damaged("one block is in its block map twice"));
        }
        self.mapped.nodes.push(node.block);
        self.reader.read_block(self.inode.ino, node.block).map(Some)
    }

    fn extent(&mut self, _: Option<&Node>, extent: Extent, is_written: bool) -> Result<(), ReadError> {
        let blocks = 1..=self.reader.block_count;
        if !blocks.contains(&extent.start.get()) || !blocks.contains(&extent.range().end().get()) {
            return Err(self.inode.damaged(if self.is_tree {
                "its extent tree makes no sense"
            } else {
                "a block lies outside of the file system"
            }));
        }
        match self.mapped.extents.last_mut() {
            Some((last, _)) if !self.is_tree && last.continues_with(extent) => last.count += extent.count,
            _ => self.mapped.extents.push((extent, is_written)),
        }
        Ok(())
    }

    fn fault(&mut self, node: Option<&Node>, fault: Fault) -> Result<(), ReadError> {
        match (fault, node) {
            (Fault::Checksum, Some(node)) => Err(ReadError::Checksum {
                structure: node.structure(self.inode.ino),
            }),
            (Fault::TooFar { .. }, _) => Err(self.inode.damaged("its block map reaches too far")),
            _ => Err(self.inode.damaged("its extent tree makes no sense")),
        }
    }
}

/// Content in the inode: `i_block` holds the first bytes, an attribute the others.
fn inline(inode: &Inode) -> Result<Vec<DataRange>, ReadError> {
    let first = inode.size.min(BLOCK_LEN as u64);
    let (at, len) = inode.inline_rest()?.unwrap_or_default();
    if inode.size - first > len {
        return Err(inode.damaged("it has less content than its size says"));
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

/// Refuses one block in two places, which would make much content of few bytes.
fn check_disjoint(inode: &Inode, extents: &[(Extent, bool)]) -> Result<(), ReadError> {
    let mut runs: Vec<_> = extents.iter().map(|(extent, _)| extent.range()).collect();
    runs.sort_unstable();
    if runs.windows(2).any(|pair| pair[1].start < pair[0].end()) {
        return Err(inode.damaged("one block is in it twice"));
    }
    Ok(())
}
