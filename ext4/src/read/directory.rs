//! Directories: names and the inodes that they lead to.

use super::sums::{expect, is_right_index_node, is_right_leaf};
use super::{Inode, ReadError, Reader, Structure};
use crate::disk;
use crate::disk::dir_entry::index_entries;
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name: 1 to 255 bytes without `/` and NUL, neither `.` nor `..`.
    pub name: Box<[u8]>,
    /// What it leads to.
    pub ino: Ino,
    /// Type of that, as the directory has it; `None` in file systems without the feature
    /// `filetype`.
    pub file_type: Option<FileType>,
}

impl<R: ReadAt> Reader<R> {
    /// Reads the names in a directory but `.` and `..`, ordered by their bytes.
    ///
    /// The index of a large directory is not needed: each of its blocks looks like one that holds no name.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if it is not a directory, its entries make no sense, or a name is there
    /// twice; [`ReadError::Checksum`] and [`ReadError::Input`].
    pub fn read_dir(&self, inode: &Inode) -> Result<Vec<DirEntry>, ReadError> {
        if !inode.is_directory() {
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
        } else {
            for extent in self.extents(inode)? {
                for (logical, nr) in (u64::from(extent.logical)..).zip(extent.range().blocks()) {
                    let block = self.read_block(inode.ino, nr)?;
                    self.verify_directory_block(inode, logical, nr, &block)?;
                    split(inode, &block, &mut entries)?;
                }
            }
        }
        entries.sort_unstable();
        if entries.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(inode.damaged("a name is in it twice"));
        }
        Ok(entries)
    }

    /// Verifies a block: the root of the index, if it is the first and there is one, another node,
    /// or entries.
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
            Some(entries) => expect(
                is_right_index_node(bytes, entries, seed),
                Structure::IndexNode { ino, block },
            ),
            None => expect(is_right_leaf(bytes, seed), Structure::DirectoryBlock { ino, block }),
        }
    }
}

/// Takes a block of entries apart. Those without an inode hold no name, but room, a checksum or a part of the index.
fn split(inode: &Inode, block: &[u8], entries: &mut Vec<DirEntry>) -> Result<(), ReadError> {
    let damaged = || inode.damaged("an entry of the directory makes no sense");
    let mut left = block;
    while !left.is_empty() {
        let (entry, room, rest) = disk::dir_entry::DirEntry::split(left, block.len()).ok_or_else(damaged)?;
        left = rest;
        if entry.inode.get() == 0 {
            continue;
        }
        let name = entry.name(room).ok_or_else(damaged)?;
        if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
            return Err(inode.damaged("a name in it cannot be"));
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
