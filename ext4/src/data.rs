//! [`FileData`]: proof that content is in the image.

use crate::origin::Origin;
use crate::units::{BlockNr, BlockRange, Extent};

/// Proof that the content of a file is in the image.
///
/// Only a [`Formatter`](crate::Formatter) creates it, and it accepts only its own. It is not
/// `Clone`, because each block belongs to one file; hard links share an inode instead. The default
/// is the content of an empty file, which every formatter accepts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileData {
    len: u64,
    storage: Storage,
    /// The formatter that wrote the content; none for an empty file, and for content that a
    /// formatter creates for itself.
    origin: Origin,
}

/// Storage of the content.
#[derive(Debug, PartialEq, Eq)]
enum Storage {
    Blocks(Vec<Extent>),
    /// At least one byte of content that needs no block, because the inode will hold it.
    Inline(Box<[u8]>),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Blocks(Vec::new())
    }
}

impl FileData {
    /// Size of the content in bytes, holes included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the extents of the content, ascending in both the file and the image.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        match &self.storage {
            Storage::Blocks(extents) => extents,
            Storage::Inline(_) => &[],
        }
    }

    /// Creates content of at least one byte that the inode will hold.
    pub(crate) fn new_inline(content: Box<[u8]>) -> Self {
        Self {
            len: content.len() as u64,
            storage: Storage::Inline(content),
            origin: Origin::NONE,
        }
    }

    /// The content, if the inode will hold it (`inline_data`).
    pub(crate) fn inline(&self) -> Option<&[u8]> {
        match &self.storage {
            Storage::Blocks(_) => None,
            Storage::Inline(bytes) => Some(bytes),
        }
    }

    /// Creates content of `len` bytes without any block.
    pub(crate) fn with_len(len: u64) -> Self {
        Self { len, ..Self::default() }
    }

    /// Marks the content as written by the formatter `origin`.
    pub(crate) fn written_by(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Returns whether the formatter `origin` accepts the content: its own content, and that of an
    /// empty file.
    pub(crate) fn was_written_by(&self, origin: Origin) -> bool {
        self.origin == origin || (self.origin == Origin::NONE && self.is_empty())
    }

    /// Number of blocks that the content occupies.
    pub(crate) fn block_count(&self) -> u64 {
        self.extents().iter().map(|extent| u64::from(extent.count)).sum()
    }

    /// Appends blocks, extending the last extent if they continue it.
    ///
    /// # Panics
    ///
    /// If the inode will hold the content.
    pub(crate) fn push_blocks(&mut self, logical: u32, start: BlockNr, mut count: u64) {
        let Storage::Blocks(extents) = &mut self.storage else {
            unreachable!("what lies in an inode gets no blocks");
        };
        let mut next = (logical, start);
        let is_continued = |last: &&mut Extent| last.range().end() == start && last.logical + last.count == logical;
        if let Some(last) = extents.last_mut().filter(is_continued) {
            let more = count.min(u64::from(Extent::MAX_BLOCKS - last.count));
            last.count += u32::try_from(more).expect("at most MAX_BLOCKS");
            next = (last.logical + last.count, last.range().end());
            count -= more;
        }
        while count > 0 {
            let part = u32::try_from(count.min(u64::from(Extent::MAX_BLOCKS))).expect("at most MAX_BLOCKS");
            extents.push(Extent {
                logical: next.0,
                start: next.1,
                count: part,
            });
            next = (next.0 + part, next.1 + u64::from(part));
            count -= u64::from(part);
        }
    }

    /// The blocks that the content occupies.
    pub(crate) fn into_ranges(self) -> impl Iterator<Item = BlockRange> {
        let extents = match self.storage {
            Storage::Blocks(extents) => extents,
            Storage::Inline(_) => Vec::new(),
        };
        extents.into_iter().map(Extent::range)
    }

    /// Removes and returns the extents, to allocate other blocks for the same content.
    pub(crate) fn take_extents(&mut self) -> Vec<Extent> {
        match &mut self.storage {
            Storage::Blocks(extents) => std::mem::take(extents),
            Storage::Inline(_) => Vec::new(),
        }
    }
}
