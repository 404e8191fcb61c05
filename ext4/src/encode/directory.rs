//! Directories: one block of entries, or an index with its leaves.

use super::entries::{DirectoryContext, DirectoryEntry, encode_leaf};
use super::index::{DirectoryIndex, TooManyLeaves};
use crate::seal::Sealed;

/// The blocks of a directory, ready to be made one after the other.
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
    /// Decides how a directory is stored. It has an index as soon as its entries do not fit into one block, and at least
    /// `min_blocks` blocks if it has none.
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

    pub(crate) fn block_count(&self) -> u64 {
        match self {
            Self::Linear { block_count, .. } => *block_count,
            Self::Indexed(index) => index.block_count(),
        }
    }

    /// Hands each block to `write`, in order.
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
