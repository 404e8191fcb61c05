//! Directories that lie in their inodes ("Inline Directories" in the kernel's documentation).

use zerocopy::IntoBytes;

use super::entries::{Context, Entry, push};
use crate::disk::dir_entry::{DirEntry, INLINE_PARENT_LEN};
use crate::disk::inode::{BLOCK_LEN, MAX_INLINE_DATA};

/// Bytes of the first part that entries can fill.
const FIRST_ROOM: usize = BLOCK_LEN - INLINE_PARENT_LEN;

/// The entries of a directory in two parts, one for `i_block` and one for an attribute, if they fit. `.` and `..` have no entry.
pub(crate) fn directory(entries: &[Entry<'_>], context: &Context) -> Option<Box<[u8]>> {
    let mut filled = 0;
    let first_count = entries
        .iter()
        .take_while(|entry| {
            filled += entry.len();
            filled <= FIRST_ROOM
        })
        .count();
    let (first, second) = entries.split_at(first_count);
    let second_len = second.iter().map(Entry::len).sum::<usize>();
    if BLOCK_LEN + second_len > MAX_INLINE_DATA {
        return None;
    }
    let mut bytes = context.parent.get().to_le_bytes().to_vec();
    fill(&mut bytes, first, FIRST_ROOM);
    fill(&mut bytes, second, second_len);
    Some(bytes.into())
}

/// Adds entries that take `room` bytes: the last spans what is left, or one that is not in use does.
fn fill(content: &mut Vec<u8>, entries: &[Entry<'_>], room: usize) {
    let end = content.len() + room;
    match entries.split_last() {
        Some((last, others)) => {
            for entry in others {
                push(content, entry, entry.len());
            }
            let left = end - content.len();
            push(content, last, left);
        }
        None if room > 0 => content.extend_from_slice(DirEntry::unused(room).as_bytes()),
        None => {}
    }
    content.resize(end, 0);
}
