//! Content that is in the image.

use crate::units::{BlockNr, Extent, Run};

/// Proof that the content of a file is in the image.
///
/// Only a [`Formatter`](crate::Formatter) makes one, and it is not `Clone`: each block belongs to one file, and hard links
/// share an inode by construction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Data {
    len: u64,
    extents: Vec<Extent>,
    /// Content that needs no block, because the inode will hold it; empty if there is none.
    inline: Box<[u8]>,
}

impl Data {
    /// Size of the content in bytes, holes included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the content has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the blocks are, ascending in both the file and the image.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Content that the inode will hold.
    pub(crate) fn in_inode(content: Box<[u8]>) -> Self {
        Self {
            len: content.len() as u64,
            extents: Vec::new(),
            inline: content,
        }
    }

    /// The content, if the inode holds it (`inline_data`).
    pub(crate) fn inline(&self) -> Option<&[u8]> {
        (!self.inline.is_empty()).then_some(&*self.inline)
    }

    /// Content of so many bytes, without any block yet.
    pub(crate) fn with_len(len: u64) -> Self {
        Self { len, ..Self::default() }
    }

    /// Blocks that the content occupies.
    pub(crate) fn block_count(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.count)).sum()
    }

    /// Adds blocks at the end, to the last extent if they continue it.
    pub(crate) fn push(&mut self, logical: u32, start: BlockNr, mut count: u64) {
        let mut next = (logical, start);
        if let Some(last) = self.extents.last_mut()
            && last.run().end() == start
            && last.logical + last.count == logical
        {
            let more = count.min(u64::from(Extent::MAX_BLOCKS - last.count));
            last.count += u32::try_from(more).expect("at most MAX_BLOCKS");
            next = (last.logical + last.count, last.run().end());
            count -= more;
        }
        while count > 0 {
            let part = u32::try_from(count.min(u64::from(Extent::MAX_BLOCKS))).expect("at most MAX_BLOCKS");
            self.extents.push(Extent {
                logical: next.0,
                start: next.1,
                count: part,
            });
            next = (next.0 + part, next.1 + u64::from(part));
            count -= u64::from(part);
        }
    }

    /// The blocks, without the content that is in them.
    pub(crate) fn into_runs(self) -> impl Iterator<Item = Run> {
        self.extents.into_iter().map(Extent::run)
    }

    /// Takes the place of the extents away, to find another.
    pub(crate) fn take_extents(&mut self) -> Vec<Extent> {
        std::mem::take(&mut self.extents)
    }
}
