//! Content that is in the image.

use crate::origin::Origin;
use crate::units::{BlockNr, BlockRange, Extent};

/// Proof that the content of a file is in the image.
///
/// Only a [`Formatter`](crate::Formatter) makes one, and takes none that another made. It is not
/// `Clone`: each block belongs to one file, and hard links share an inode by construction. The
/// default is the content of an empty file, of any image.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileData {
    len: u64,
    storage: Storage,
    /// The formatter that wrote it; none for an empty file, and for what a formatter makes for
    /// itself.
    origin: Origin,
}

/// Place of the bytes.
#[derive(Debug, PartialEq, Eq)]
enum Storage {
    Blocks(Vec<Extent>),
    /// Bytes that need no block, because the inode will hold them; at least one.
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

    /// Whether the content has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the blocks are, ascending in both the file and the image.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        match &self.storage {
            Storage::Blocks(extents) => extents,
            Storage::Inline(_) => &[],
        }
    }

    /// Content of at least one byte that the inode will hold.
    pub(crate) fn new_inline(content: Box<[u8]>) -> Self {
        Self {
            len: content.len() as u64,
            storage: Storage::Inline(content),
            origin: Origin::NONE,
        }
    }

    /// The content, if the inode holds it (`inline_data`).
    pub(crate) fn inline(&self) -> Option<&[u8]> {
        match &self.storage {
            Storage::Blocks(_) => None,
            Storage::Inline(bytes) => Some(bytes),
        }
    }

    /// Content of `len` bytes, without any block yet.
    pub(crate) fn with_len(len: u64) -> Self {
        Self { len, ..Self::default() }
    }

    /// The same content, written by this formatter.
    pub(crate) fn written_by(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Returns whether an image of this formatter can have it: its own content, and that of an
    /// empty file.
    pub(crate) fn was_written_by(&self, origin: Origin) -> bool {
        self.origin == origin || (self.origin == Origin::NONE && self.is_empty())
    }

    /// Blocks that the content occupies.
    pub(crate) fn block_count(&self) -> u64 {
        self.extents().iter().map(|extent| u64::from(extent.count)).sum()
    }

    /// Adds blocks at the end, to the last extent if they continue it.
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

    /// The blocks, without the content that is in them.
    pub(crate) fn into_ranges(self) -> impl Iterator<Item = BlockRange> {
        let extents = match self.storage {
            Storage::Blocks(extents) => extents,
            Storage::Inline(_) => Vec::new(),
        };
        extents.into_iter().map(Extent::range)
    }

    /// Takes the place of the extents away, to find another.
    pub(crate) fn take_extents(&mut self) -> Vec<Extent> {
        match &mut self.storage {
            Storage::Blocks(extents) => std::mem::take(extents),
            Storage::Inline(_) => Vec::new(),
        }
    }
}
