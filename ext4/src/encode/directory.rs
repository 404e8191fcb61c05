//! [`DirectoryBlocks`]: the blocks of a directory, linear or with an index.

use super::entries::{DirectoryContext, DirectoryEntry, encode_leaf};
use super::index::{DirectoryIndex, TooManyLeaves};
use crate::seal::Sealed;

/// Plan of a directory's blocks, which are encoded one by one.
pub(crate) enum DirectoryBlocks<'name> {
    /// One block of entries, and empty ones after it.
    Linear {
        entries: Vec<DirectoryEntry<'name>>,
        block_count: u64,
    },
    /// An index and its leaves.
    Indexed(DirectoryIndex<'name>),
}

impl<'name> DirectoryBlocks<'name> {
    /// Chooses how a directory is stored: in one block if its entries fit, padded with empty
    /// blocks up to `min_blocks`, or else with an index.
    pub(crate) fn plan(
        entries: Vec<DirectoryEntry<'name>>,
        min_blocks: u64,
        context: &DirectoryContext,
    ) -> Result<Self, TooManyLeaves> {
        let len = context
            .dots()
            .iter()
            .chain(&entries)
            .map(DirectoryEntry::len)
            .sum::<usize>();
        if len <= context.capacity() {
            Ok(Self::Linear {
                entries,
                block_count: min_blocks.max(1),
            })
        } else {
            DirectoryIndex::plan(entries, context).map(Self::Indexed)
        }
    }

    /// Total number of blocks.
    pub(crate) fn block_count(&self) -> u64 {
        match self {
            Self::Linear { block_count, .. } => *block_count,
            Self::Indexed(index) => index.block_count(),
        }
    }

    /// Passes each block to `write`, in order.
    pub(crate) fn encode<E>(
        &self,
        context: &DirectoryContext,
        mut write: impl FnMut(Sealed<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Linear { entries, block_count } => {
                write(encode_leaf(context.dots().iter().chain(entries), context))?;
                (1..*block_count).try_for_each(|_| write(encode_leaf([].iter(), context)))
            }
            Self::Indexed(index) => index.encode(context, write),
        }
    }
}
