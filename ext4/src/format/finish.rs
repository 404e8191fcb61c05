//! What follows the content: directories, and the tables.

use std::collections::BTreeMap;

use super::large_values::{LargeValues, WrittenValue};
use super::settle::{Pinned, Settled, Settling};
use super::shared_xattrs::SharedXattrs;
use super::tables::Tables;
use super::{Formatter, Summary};
use crate::checksum::Seed;
use crate::data::FileData;
use crate::disk::hash::NameHasher;
use crate::disk::inode::{BLOCK_LEN, InodeFlags, MAX_FAST_SYMLINK, block_of, device_block};
use crate::encode::directory::Blocks;
use crate::encode::entries::{Context, Entry};
use crate::encode::inline;
use crate::encode::inode::{self, Body};
use crate::encode::superblock::Facts;
use crate::encode::xattrs;
use crate::error::FormatError;
use crate::output::Output;
use crate::place::inodes::Inodes;
use crate::place::layout::Layout;
use crate::place::usage::Usage;
use crate::tree::{Directory, Inode, InodeId, Kind, MAX_LINKS, Metadata, Tree};
use crate::units::{BlockRange, Ino};

/// Size of `lost+found` in bytes, so that e2fsck finds room there when there is none elsewhere (mke2fs makes it as large).
const LOST_FOUND_LEN: u64 = 16 << 10;

pub(super) fn finish<O: Output>(formatter: Formatter<O>, mut tree: Tree) -> Result<(O, Summary), FormatError> {
    check_origins(&formatter, &tree)?;
    let lost_found = add_lost_found(&mut tree);
    let mut finish = Finish {
        inodes: Inodes::number(&tree, lost_found),
        seed: Seed::of_uuid(&formatter.options.uuid),
        formatter,
        tree,
        lost_found,
        content: BTreeMap::new(),
        indexed: BTreeMap::new(),
        xattrs: SharedXattrs::default(),
        large_values: Vec::new(),
    };
    finish.write_directories_and_symlinks()?;
    let mut values = finish.count_xattrs()?;
    let Settled {
        layout,
        mut pinned,
        freed,
    } = finish.settle()?;
    finish.clear(&freed)?;
    finish.write_xattrs(&mut pinned)?;
    let directory_counts = finish.write_inodes(&layout, &mut pinned, &mut values)?;
    finish.write_tables(&layout, &freed, &directory_counts)
}

/// Checks that the formatter wrote the contents of all files.
fn check_origins<O>(formatter: &Formatter<O>, tree: &Tree) -> Result<(), FormatError> {
    if formatter.freed_foreign {
        return Err(FormatError::ForeignData { path: None });
    }
    let mut contents = tree.contents();
    match contents.find(|(_, data)| !data.is_from(formatter.origin)) {
        None => Ok(()),
        Some((id, _)) => Err(FormatError::ForeignData {
            path: Some(tree.path_of(id)),
        }),
    }
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

/// The content of a file, or what was made for a directory or a symlink.
fn content_of<'data>(inode: &'data Inode, made: Option<&'data FileData>) -> Option<&'data FileData> {
    match inode.kind() {
        Kind::File(data) => Some(data),
        _ => made,
    }
}

/// The tree on its way to the disk.
struct Finish<O> {
    formatter: Formatter<O>,
    tree: Tree,
    inodes: Inodes,
    lost_found: Option<InodeId>,
    seed: Seed,
    /// Blocks of directories, and of symlinks whose targets do not fit into their inodes.
    content: BTreeMap<InodeId, FileData>,
    /// Directories that have an index, and whether it needs `large_dir`.
    indexed: BTreeMap<InodeId, bool>,
    xattrs: SharedXattrs,
    /// In the order of their inodes, which follow those of the tree.
    large_values: Vec<WrittenValue>,
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
                        seed: self.seed.of_inode(ino, 0),
                        hasher: NameHasher::new(&self.formatter.options.hash_seed),
                    };
                    let entries = self.entries(directory);
                    // The kernel mounts no root without a block (`ext4_fill_super`).
                    let may_be_inline =
                        self.formatter.options.inline_data && id != InodeId::ROOT && Some(id) != self.lost_found;
                    if let Some(content) = inline::directory(&entries, &context).filter(|_| may_be_inline) {
                        self.content.insert(id, FileData::in_inode(content));
                        continue;
                    }
                    let blocks = Blocks::plan(entries, context.block_size.blocks(min_len), &context)
                        .map_err(|error| error.of(self.tree.path_of(id)))?;
                    if let Blocks::Indexed(index) = &blocks {
                        self.indexed.insert(id, index.is_large(context.block_size));
                    }
                    self.formatter.write_directory(&blocks, &context)?
                }
                Kind::Symlink(target) if target.len() > MAX_FAST_SYMLINK => {
                    self.formatter.check_target(target, || self.tree.path_of(id))?;
                    self.formatter.write_blocks(&target[..], target.len() as u64)?
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
            file_type: self.tree.inode(child).kind().file_type(),
        };
        directory.entries().map(entry).collect()
    }

    /// Counts the blocks of attributes, and writes the values that have inodes of their own.
    fn count_xattrs(&mut self) -> Result<LargeValues, FormatError> {
        let mut values = LargeValues::new(self.seed, Ino(self.inodes.count() + 1));
        for (_, id) in self.inodes.iter() {
            let split = self.split_xattrs(id, &mut values)?;
            self.xattrs.add(split.block);
        }
        for (inode, value) in values.in_order() {
            let data = self.formatter.write_blocks(value, value.len() as u64)?;
            self.large_values.push(WrittenValue {
                inode,
                data,
                references: 0,
            });
        }
        for (ino, block_count) in self.xattrs.value_inodes() {
            let index = ino.get() - self.inodes.count() - 1;
            self.large_values[index as usize].references += block_count;
        }
        Ok(values)
    }

    fn split_xattrs(&self, id: InodeId, values: &mut LargeValues) -> Result<xattrs::Split, FormatError> {
        let options = &self.formatter.options;
        let inline = content_of(self.tree.inode(id), self.content.get(&id)).and_then(FileData::inline);
        let inline_rest = inline.map(|content| content.get(BLOCK_LEN..).unwrap_or_default());
        let xattrs = &self.tree.inode(id).metadata.xattrs;
        let value_inode = |value: &[u8]| options.large_xattrs.then(|| values.inode_of(value));
        xattrs::split(xattrs, options.block_size, inline_rest, value_inode)
            .map_err(|error| error.of(self.tree.path_of(id)))
    }

    /// Inodes in use or reserved.
    fn inode_count(&self) -> u32 {
        self.inodes.count() + u32::try_from(self.large_values.len()).expect("each is in memory")
    }

    fn settle(&mut self) -> Result<Settled, FormatError> {
        let inode_count = self.inode_count();
        let Formatter {
            image,
            options,
            geometry,
            cursor,
            ..
        } = &mut self.formatter;
        let values = self.large_values.iter_mut().map(|value| &mut value.data);
        let contents = self.tree.contents_mut().chain(self.content.values_mut()).chain(values);
        let xattr_blocks = self.xattrs.block_count();
        Settling::new(options, *geometry, contents, xattr_blocks, inode_count).settle(cursor, image)
    }

    /// Leaves nothing of what was replaced in the image.
    fn clear(&mut self, gaps: &[BlockRange]) -> Result<(), FormatError> {
        let Formatter { image, freed, .. } = &mut self.formatter;
        let mut rest = gaps.iter().filter(|&&run| !freed.was_cleared(run));
        rest.try_for_each(|&run| image.clear(run))
    }

    fn write_xattrs(&mut self, pinned: &mut Pinned) -> Result<(), FormatError> {
        let image = &mut self.formatter.image;
        let write = |nr, block| image.write_block(nr, &block);
        self.xattrs
            .encode(self.formatter.options.block_size, self.seed, || pinned.next(), write)
    }

    /// Writes the inodes and the blocks of their extent trees, and counts the directories of each group.
    fn write_inodes(
        &mut self,
        layout: &Layout,
        pinned: &mut Pinned,
        values: &mut LargeValues,
    ) -> Result<Vec<u32>, FormatError> {
        let mut directory_counts = vec![0; layout.group_count as usize];
        for (ino, id) in self.inodes.iter() {
            let split = self.split_xattrs(id, values)?;
            let mut body = self.body(id);
            body.xattrs = split.inode;
            body.xattr_block = self.xattrs.take(&split.block);
            let block_size = self.formatter.options.block_size;
            let value_blocks = split.block.iter().map(|attribute| attribute.value_blocks(block_size));
            body.block_count = u64::from(body.xattr_block.is_some()) + value_blocks.sum::<u64>();

            let inode = self.tree.inode(id);
            let mut tables = Tables::new(&mut self.formatter, layout, self.seed);
            if let Some(data) = content_of(inode, self.content.get(&id)) {
                tables.write_content(ino, data, &mut body, pinned)?;
            }
            tables.write_inode(ino, inode::encode(&inode.metadata, &body, block_size))?;
            directory_counts[layout.place_of(ino).group] += u32::from(inode.directory().is_some());
        }
        let mut tables = Tables::new(&mut self.formatter, layout, self.seed);
        for value in &self.large_values {
            tables.write_value_inode(value, pinned)?;
        }
        Ok(directory_counts)
    }

    /// What an inode of the tree holds besides metadata, attributes and content.
    fn body(&self, id: InodeId) -> Body {
        let inode = self.tree.inode(id);
        let mut body = Body::new(inode.kind().file_type());
        body.links = u16::try_from(inode.links()).expect("a tree has at most 65,000 links to a file");
        match inode.kind() {
            Kind::Directory(directory) => {
                // `dir_nlink`: a count that does not fit is 1.
                let links = directory.subdirectory_count().saturating_add(2);
                body.links = u16::try_from(links).ok().filter(|_| links <= MAX_LINKS).unwrap_or(1);
                body.flags.set(InodeFlags::INDEX, self.indexed.contains_key(&id));
            }
            Kind::Symlink(target) if target.len() <= MAX_FAST_SYMLINK => {
                body.size = target.len() as u64;
                body.block = block_of(target);
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => body.block = device_block(*device),
            Kind::File(_) | Kind::Symlink(_) | Kind::Fifo | Kind::Socket => {}
        }
        body
    }

    /// Writes what belongs to no file of the tree, the primary superblock last.
    fn write_tables(
        mut self,
        layout: &Layout,
        freed: &[BlockRange],
        directory_counts: &[u32],
    ) -> Result<(O, Summary), FormatError> {
        let usage = Usage::new(layout, freed);
        let inode_count = self.inode_count();
        let mut tables = Tables::new(&mut self.formatter, layout, self.seed);
        let journal = tables.write_journal()?;
        tables.write_resize_inode()?;
        let descriptors = tables.write_bitmaps(&usage, inode_count, directory_counts)?;
        let facts = Facts {
            free_inode_count: layout.inode_count() - inode_count,
            journal,
            has_large_directory: self.indexed.values().any(|&is_large| is_large),
            has_value_inodes: !self.large_values.is_empty(),
        };
        tables.write_superblocks(&facts, &descriptors)?;

        let Self { formatter, tree, .. } = self;
        let Formatter { image, options, .. } = formatter;
        let log2 = options.block_size.log2();
        let used_bytes = (layout.block_count - layout.free_blocks) << log2;
        // To give back its memory takes time, during which an output that is behind can write.
        drop(tree);
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
