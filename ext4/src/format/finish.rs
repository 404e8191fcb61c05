//! What follows the content: directories, and the tables.

use std::collections::BTreeMap;

use super::settle::{Pinned, Settling};
use super::shared_xattrs::SharedXattrs;
use super::tables::Tables;
use super::{Formatter, Summary};
use crate::data::Data;
use crate::disk::inode::{InodeFlags, MAX_FAST_SYMLINK};
use crate::encode::directory::{self, Blocks, Context, Entry};
use crate::encode::hash::NameHasher;
use crate::encode::index;
use crate::encode::inode::{self, Body};
use crate::encode::superblock::Facts;
use crate::encode::xattrs::{self, XattrsError};
use crate::error::FormatError;
use crate::output::Output;
use crate::place::inodes::Inodes;
use crate::place::layout::Layout;
use crate::place::usage::Usage;
use crate::seal::Seed;
use crate::tree::{Directory, InodeId, Kind, MAX_LINKS, Metadata, Tree};

/// Size of `lost+found` in bytes, so that e2fsck finds room there when there is none elsewhere (mke2fs makes it as large).
const LOST_FOUND_LEN: u64 = 16 << 10;

pub(super) fn finish<O: Output>(formatter: Formatter<O>, mut tree: Tree) -> Result<(O, Summary), FormatError> {
    let lost_found = add_lost_found(&mut tree);
    let mut finish = Finish {
        inodes: Inodes::number(&tree, lost_found),
        seed: Seed::of_uuid(&formatter.options.uuid),
        formatter,
        tree,
        lost_found,
        content: BTreeMap::new(),
        index_levels: BTreeMap::new(),
        xattrs: SharedXattrs::default(),
    };
    finish.write_directories_and_symlinks()?;
    finish.count_xattrs()?;
    let (layout, mut pinned) = finish.settle()?;
    finish.clear_freed()?;
    finish.write_xattrs(&mut pinned)?;
    let directory_counts = finish.write_inodes(&layout, &mut pinned)?;
    finish.write_tables(&layout, &directory_counts)
}

/// Gives the root a `lost+found` where it has none.
fn add_lost_found(tree: &mut Tree) -> Option<InodeId> {
    let metadata = Metadata {
        mode: 0o700,
        ..Metadata::default()
    };
    tree.insert(
        InodeId::ROOT,
        b"lost+found",
        metadata,
        Kind::Directory(Directory::new()),
    )
    .ok()
}

/// The tree on its way to the disk.
struct Finish<O> {
    formatter: Formatter<O>,
    tree: Tree,
    inodes: Inodes,
    lost_found: Option<InodeId>,
    seed: Seed,
    /// Blocks of directories, and of symlinks whose targets do not fit into their inodes.
    content: BTreeMap<InodeId, Data>,
    /// Levels of nodes of each directory that has an index.
    index_levels: BTreeMap<InodeId, usize>,
    xattrs: SharedXattrs,
}

impl<O: Output> Finish<O> {
    /// Writes what holds no number of a block, behind the content of the files, in the order of the inodes.
    fn write_directories_and_symlinks(&mut self) -> Result<(), FormatError> {
        for (ino, id) in self.inodes.iter() {
            let data = match self.tree.inode(id).kind() {
                Kind::Directory(directory) => {
                    let min_len = if Some(id) == self.lost_found { LOST_FOUND_LEN } else { 1 };
                    let context = Context {
                        ino,
                        parent: self.inodes.number_of(directory.parent()),
                        block_size: self.formatter.options.block_size,
                        seed: self.seed.of_inode(ino),
                        hasher: NameHasher::new(&self.formatter.options.hash_seed),
                    };
                    let blocks = Blocks::plan(self.entries(directory), context.block_size.blocks(min_len), &context);
                    if let Blocks::Indexed(index) = &blocks {
                        self.index_levels.insert(id, index.level_count());
                    }
                    self.formatter.write_directory(&blocks, &context)?
                }
                Kind::Symlink(target) if target.len() > MAX_FAST_SYMLINK => {
                    // e2fsck pass 1: a target lies in one block, with a NUL after it.
                    let max = self.formatter.options.block_size.len() - 1;
                    if target.len() > max {
                        return Err(FormatError::SymlinkTooLong {
                            path: self.tree.path_of(id),
                            len: target.len(),
                            max,
                        });
                    }
                    self.formatter.write_data(&target[..], target.len() as u64)?
                }
                _ => continue,
            };
            self.content.insert(id, data);
        }
        Ok(())
    }

    fn entries<'tree>(&self, directory: &'tree Directory) -> Vec<Entry<'tree>> {
        let entry = |(name, child)| Entry {
            name,
            ino: self.inodes.number_of(child),
            file_type: directory::entry_type(self.tree.inode(child).kind()),
        };
        directory.entries().map(entry).collect()
    }

    fn count_xattrs(&mut self) -> Result<(), FormatError> {
        for (_, id) in self.inodes.iter() {
            let split = self.split_xattrs(id)?;
            self.xattrs.add(split.block);
        }
        Ok(())
    }

    fn split_xattrs(&self, id: InodeId) -> Result<xattrs::Split, FormatError> {
        let split = xattrs::split(&self.tree.inode(id).metadata.xattrs, self.formatter.options.block_size);
        split.map_err(|error| {
            let path = self.tree.path_of(id);
            let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
            match error {
                XattrsError::InvalidAcl { name } => FormatError::InvalidAcl { path, name: text(name) },
                XattrsError::TooLarge {
                    largest,
                    needed,
                    available,
                } => FormatError::XattrsTooLarge {
                    path,
                    name: text(largest),
                    needed,
                    available,
                },
            }
        })
    }

    fn settle(&mut self) -> Result<(Layout, Pinned), FormatError> {
        let Formatter {
            image,
            options,
            geometry,
            cursor,
            freed,
        } = &mut self.formatter;
        let contents = self.tree.contents_mut().chain(self.content.values_mut());
        let xattr_blocks = self.xattrs.block_count();
        Settling::new(options, *geometry, contents, xattr_blocks, self.inodes.count()).settle(cursor, freed, image)
    }

    /// Leaves nothing of what was replaced in the image.
    fn clear_freed(&mut self) -> Result<(), FormatError> {
        let freed = &mut self.formatter.freed;
        freed.sort_unstable();
        freed.dedup_by(|next, last| {
            let touches = last.end() == next.start;
            last.count += if touches { next.count } else { 0 };
            touches
        });
        freed.iter().try_for_each(|&run| self.formatter.image.clear(run))
    }

    fn write_xattrs(&mut self, pinned: &mut Pinned) -> Result<(), FormatError> {
        let image = &mut self.formatter.image;
        let write = |nr, block| image.write_block(nr, &block);
        self.xattrs
            .encode(self.formatter.options.block_size, self.seed, || pinned.next(), write)
    }

    /// Writes the inodes of the tree and the blocks of their extent trees, and counts the directories of each group.
    fn write_inodes(&mut self, layout: &Layout, pinned: &mut Pinned) -> Result<Vec<u32>, FormatError> {
        let mut directory_counts = vec![0; layout.group_count as usize];
        for (ino, id) in self.inodes.iter() {
            let split = self.split_xattrs(id)?;
            let inode = self.tree.inode(id);
            let mut body = Body::new(inode::file_type(inode.kind()));
            body.xattrs = split.inode;
            body.xattr_block = self.xattrs.take(&split.block);
            body.block_count = u64::from(body.xattr_block.is_some());
            body.links = u16::try_from(inode.links()).expect("a tree has at most 65,000 links to a file");
            let data = match inode.kind() {
                Kind::Directory(directory) => {
                    directory_counts[layout.place_of(ino).group] += 1;
                    // `dir_nlink`: a count that does not fit is 1.
                    let links = directory.subdirectory_count().saturating_add(2);
                    body.links = if links > MAX_LINKS {
                        1
                    } else {
                        u16::try_from(links).expect("at most 65,000")
                    };
                    body.flags.set(InodeFlags::INDEX, self.index_levels.contains_key(&id));
                    self.content.get(&id)
                }
                Kind::File(data) => Some(data),
                Kind::Symlink(target) => {
                    let data = self.content.get(&id);
                    if data.is_none() {
                        body.size = target.len() as u64;
                        body.block = inode::symlink_block(target);
                    }
                    data
                }
                Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                    body.block = inode::device_block(*device);
                    None
                }
                Kind::Fifo | Kind::Socket => None,
            };
            let mut tables = Tables::new(&mut self.formatter, layout, self.seed);
            if let Some(data) = data {
                tables.write_extents(ino, data, &mut body, pinned)?;
            }
            tables.write_inode(ino, &inode.metadata, &body)?;
        }
        Ok(directory_counts)
    }

    /// Writes what belongs to no file of the tree, the primary superblock last.
    fn write_tables(mut self, layout: &Layout, directory_counts: &[u32]) -> Result<(O, Summary), FormatError> {
        let usage = Usage::new(layout, &self.formatter.freed);
        let inode_count = self.inodes.count();
        let mut tables = Tables::new(&mut self.formatter, layout, self.seed);
        let journal = tables.write_journal()?;
        tables.write_resize_inode()?;
        let descriptors = tables.write_bitmaps(&usage, inode_count, directory_counts)?;
        let facts = Facts {
            free_inode_count: layout.inode_count() - inode_count,
            journal,
            has_large_directory: self.index_levels.values().any(|&levels| levels > index::MAX_LEVELS),
        };
        tables.write_superblocks(&facts, &descriptors)?;

        let Formatter { image, options, .. } = self.formatter;
        let log2 = options.block_size.log2();
        let used_bytes = (layout.block_count - layout.free_blocks) << log2;
        let output = image.finish(layout.bytes)?;
        Ok((
            output,
            Summary {
                size_bytes: layout.bytes,
                used_bytes,
                inode_count,
            },
        ))
    }
}
