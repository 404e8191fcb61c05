//! Directories: names and the inodes that they lead to.

use zerocopy::FromBytes;

use super::{FoundInode, FoundKind, ReadError, Reader};
use crate::disk::dir_entry::DirEntry;
use crate::disk::inode::BLOCK_LEN;
use crate::read_at::ReadAt;
use crate::units::Ino;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundEntry {
    /// The name: 1 to 255 bytes without `/` and NUL, neither `.` nor `..`.
    pub name: Box<[u8]>,
    /// What it leads to.
    pub ino: Ino,
}

impl<R: ReadAt> Reader<R> {
    /// The names in a directory but `.` and `..`, ordered by their bytes.
    ///
    /// The index of a large directory is not needed: each of its blocks looks like one that holds no name.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if it is no directory, its entries make no sense, or a name is there twice; [`ReadError::Checksum`] and
    /// [`ReadError::Input`].
    pub fn entries(&self, inode: &FoundInode) -> Result<Vec<FoundEntry>, ReadError> {
        if inode.kind != FoundKind::Directory {
            return Err(inode.damaged("it is not a directory"));
        }
        let mut entries = Vec::new();
        if self.is_inline(inode) {
            let len = usize::try_from(inode.size).ok().filter(|&len| len <= self.inode_size());
            let len = len.ok_or_else(|| inode.damaged("it is too small for its content"))?;
            let content = self.read_whole(inode, len)?;
            // The number of the directory above comes first, and no entry lies in both parts.
            let (first, second) = content.split_at(len.min(BLOCK_LEN));
            split(inode, first.get(4..).unwrap_or_default(), &mut entries)?;
            split(inode, second, &mut entries)?;
            return sorted(inode, entries);
        }
        for extent in self.extents(inode)? {
            for index in 0..u64::from(extent.count) {
                let nr = extent.start + index;
                let logical = u64::from(extent.logical) + index;
                let block = self.read_block(inode.ino, nr)?;
                self.verify_directory_block(inode, logical, nr, &block)?;
                split(inode, &block, &mut entries)?;
            }
        }
        sorted(inode, entries)
    }
}

fn sorted(inode: &FoundInode, mut entries: Vec<FoundEntry>) -> Result<Vec<FoundEntry>, ReadError> {
    entries.sort_unstable();
    if entries.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return Err(inode.damaged("a name is in it twice"));
    }
    Ok(entries)
}

/// Takes a block of entries apart. Those without an inode hold no name, but room, a checksum or a part of the index.
fn split(inode: &FoundInode, block: &[u8], entries: &mut Vec<FoundEntry>) -> Result<(), ReadError> {
    let damaged = || inode.damaged("an entry of the directory makes no sense");
    let mut rest = block;
    while !rest.is_empty() {
        let (entry, names) = DirEntry::read_from_prefix(rest).map_err(|_| damaged())?;
        // 64 KiB do not fit 16 bits (`ext4_rec_len_from_disk`).
        let len = match entry.rec_len.get() {
            0 | 0xFFFF if block.len() == 1 << 16 => 1 << 16,
            len => usize::from(len),
        };
        if len < 12 || len > rest.len() || !len.is_multiple_of(4) {
            return Err(damaged());
        }
        let name_len = usize::from(entry.name_len);
        if entry.inode.get() != 0 {
            let name = names
                .get(..name_len)
                .filter(|_| name_len + 8 <= len)
                .ok_or_else(damaged)?;
            if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
                return Err(inode.damaged("a name in it cannot be"));
            }
            if name != b"." && name != b".." {
                entries.push(FoundEntry {
                    name: name.into(),
                    ino: Ino(entry.inode.get()),
                });
            }
        }
        rest = &rest[len..];
    }
    Ok(())
}
