//! Inline directories: entries stored in the inode ("Inline Directories" in the kernel's
//! documentation).

use zerocopy::IntoBytes;

use super::entries::{DirectoryContext, DirectoryEntry, push_entry};
use crate::disk::dir_entry::{DirEntry, INLINE_PARENT_LEN};
use crate::disk::inode::{BLOCK_LEN, MAX_INLINE_DATA};

/// Length in bytes of the entries in `i_block`.
const FIRST_PART_LEN: usize = BLOCK_LEN - INLINE_PARENT_LEN;

/// Encodes the entries of a directory in two parts, for `i_block` and for an attribute. Returns
/// `None` if they do not fit. `.` and `..` have no entries.
pub(crate) fn encode_directory(entries: &[DirectoryEntry<'_>], context: &DirectoryContext) -> Option<Box<[u8]>> {
    let mut filled = 0;
    let first_count = entries
        .iter()
        .take_while(|entry| {
            filled += entry.len();
            filled <= FIRST_PART_LEN
        })
        .count();
    let (first, second) = entries.split_at(first_count);
    let second_len = second.iter().map(DirectoryEntry::len).sum::<usize>();
    if BLOCK_LEN + second_len > MAX_INLINE_DATA {
        return None;
    }
    let mut bytes = context.parent.get().to_le_bytes().to_vec();
    push_entries(&mut bytes, first, FIRST_PART_LEN);
    push_entries(&mut bytes, second, second_len);
    Some(bytes.into())
}

/// Appends entries that fill `len` bytes. The last entry spans the rest; without entries, an
/// unused one does.
fn push_entries(content: &mut Vec<u8>, entries: &[DirectoryEntry<'_>], len: usize) {
    let end = content.len() + len;
    match entries.split_last() {
        Some((last, others)) => {
            for entry in others {
                push_entry(content, entry, entry.len());
            }
            let left = end - content.len();
            push_entry(content, last, left);
        }
        None if len > 0 => content.extend_from_slice(DirEntry::unused(len).as_bytes()),
        None => {}
    }
    content.resize(end, 0);
}
