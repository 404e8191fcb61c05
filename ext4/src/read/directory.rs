//! Lists the entries of directories.

use super::checksums::{directory_block_checksum_ok, index_node_checksum_ok, verify_checksum};
use super::{Inode, ReadError, Reader, Structure};
use crate::disk;
use crate::disk::dir_entry::index_entries;
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// Entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct DirEntry {
    /// Name of 1 to 255 bytes, without `/` and NUL. It is neither `.` nor `..`.
    pub name: Box<[u8]>,
    /// Inode that the entry leads to.
    pub ino: Ino,
    /// Type of the inode according to the entry. `None` in file systems without the feature
    /// `filetype`.
    pub file_type: Option<FileType>,
}

impl<R: ReadAt> Reader<R> {
    /// Returns the entries of a directory except `.` and `..`, ordered by the bytes of their
    /// names.
    ///
    /// Does not use the index of a large directory: each block of the index looks like a block
    /// without names.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if `inode` is not a directory, an entry is invalid, or a name occurs
    /// twice; [`ReadError::Checksum`] and [`ReadError::Input`].
    pub fn read_dir(&self, inode: &Inode) -> Result<Vec<DirEntry>, ReadError> {
        if !inode.is_directory() {
            return Err(inode.damaged("it is not a directory"));
        }
        let mut entries = Vec::new();
        if self.is_inline(inode) {
            let len = usize::try_from(inode.size).ok().filter(|&len| len <= self.inode_size());
            let len = len.ok_or_else(|| inode.damaged("its size exceeds its inline content"))?;
            let content = self.read_prefix(inode, len)?;
            // The inode number of the parent comes first. No entry crosses from one part to the
            // other.
            let (first, second) = content.split_at(len.min(BLOCK_LEN));
            parse_entries(inode, first.get(4..).unwrap_or_default(), &mut entries)?;
            parse_entries(inode, second, &mut entries)?;
        } else {
            for extent in self.extents(inode)? {
                for (logical, nr) in (u64::from(extent.logical)..).zip(extent.range().blocks()) {
                    let block = self.read_block(inode.ino, nr)?;
                    self.verify_directory_block(inode, logical, nr, &block)?;
                    parse_entries(inode, &block, &mut entries)?;
                }
            }
        }
        entries.sort_unstable();
        if entries.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(inode.damaged("a name occurs in it twice"));
        }
        Ok(entries)
    }

    /// Verifies the checksum of a block of a directory: the root or another node of the index, or
    /// a block of entries.
    fn verify_directory_block(
        &self,
        inode: &Inode,
        logical: u64,
        block: BlockNr,
        bytes: &[u8],
    ) -> Result<(), ReadError> {
        let Some(seed) = self.seed_of(inode) else {
            return Ok(());
        };
        let (ino, block) = (inode.ino.get(), block.get());
        let has_index = inode.has(InodeFlags::INDEX);
        match index_entries(bytes, logical == 0).filter(|_| has_index) {
            Some(entries) => verify_checksum(
                index_node_checksum_ok(bytes, entries, seed),
                Structure::IndexNode { ino, block },
            ),
            None => verify_checksum(
                directory_block_checksum_ok(bytes, seed),
                Structure::DirectoryBlock { ino, block },
            ),
        }
    }
}

/// Parses a block of entries. An entry without an inode is skipped: it is free space, a checksum,
/// or part of the index.
fn parse_entries(inode: &Inode, block: &[u8], entries: &mut Vec<DirEntry>) -> Result<(), ReadError> {
    let damaged = || inode.damaged("a directory entry is invalid");
    let mut left = block;
    while !left.is_empty() {
        let (entry, room, rest) = disk::dir_entry::DirEntry::split(left, block.len()).ok_or_else(damaged)?;
        left = rest;
        if entry.inode.get() == 0 {
            continue;
        }
        let name = entry.name(room).ok_or_else(damaged)?;
        if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
            return Err(inode.damaged("a name in it is invalid"));
        }
        if name != b"." && name != b".." {
            entries.push(DirEntry {
                name: name.into(),
                ino: Ino(entry.inode.get()),
                file_type: FileType::from_entry_type(entry.file_type),
            });
        }
    }
    Ok(())
}
