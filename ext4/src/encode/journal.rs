//! The journal's first block; all that follows it is empty.

use zerocopy::FromZeros;

use crate::disk::journal::{JournalSuperblock, MAGIC, SUPERBLOCK_V2};
use crate::units::BlockSize;

/// The superblock of an empty journal of so many blocks, itself included, still to be sealed.
///
/// Zero, because nothing sets them: features (the kernel switches checksums on at the first mount), the UUID (of journals on
/// a device of their own), and the start of the log, which says that there is nothing to replay.
pub(crate) fn encode(block_count: u64, block_size: BlockSize) -> JournalSuperblock {
    JournalSuperblock {
        magic: MAGIC.into(),
        blocktype: SUPERBLOCK_V2.into(),
        blocksize: block_size.bytes().into(),
        maxlen: u32::try_from(block_count)
            .expect("a journal has at most 10,240,000 blocks")
            .into(),
        first: 1.into(),
        sequence: 1.into(),
        nr_users: 1.into(),
        ..JournalSuperblock::new_zeroed()
    }
}
