//! The steps of [`Formatter::finish`], which write everything except the content of files.
//!
//! 1. `check_origins`: checks that this formatter wrote all contents of the tree. Nothing has been
//!    changed yet.
//! 2. `add_lost_found`, `InodeNumbers::assign`: the tree and its inode numbers are final from here
//!    on.
//! 3. `write_directories_and_symlinks`: written after the content of files, in the order of their
//!    inode numbers. They contain inode numbers but no block numbers, so they can still move. This
//!    step decides which directories are inline.
//! 4. `collect_xattrs`: distributes the attributes of each inode between the inode and a block
//!    (inline content takes precedence in the inode), counts the attribute blocks, and writes the
//!    values that get attribute inodes, as if they were file content. The number of inodes and all
//!    content are final from here on.
//! 5. `finalize_layout`: finds the size of the file system. Moves content if it does not fit
//!    otherwise. Allocates the metadata blocks (for attributes and
//!    extent nodes), then the resize inode's map, the journal, bitmaps
//!    and inode tables. All block numbers are final from here on.
//! 6. `discard_unused`: discards the blocks between contents, which may hold freed bytes.
//! 7. `write_attribute_blocks`: uses the first metadata blocks.
//! 8. `write_inodes`: writes the inodes of the tree, then the attribute inodes, with their extent
//!    tree nodes, which use the remaining metadata blocks.
//! 9. `write_tables`: writes the journal, the resize inode, bitmaps, backups of the superblock and
//!    descriptors, and the primary superblock last.
//!
//! Invariants:
//!
//! - Nothing that contains a block number, or whose checksum covers one, is written before step 5.
//!   Nothing moves after it.
//! - Each block is written once, where the output reads as zeros until then, except for moves in
//!   step 5.
//! - Step 8 distributes the attributes again, with the result of step 4, since both depend only on
//!   the inode, its inline content and the values seen before. Inodes take their attribute blocks
//!   in the order in which they were counted.
//! - Steps 7 and 8 use exactly the metadata blocks that step 5 allocates: the attribute blocks
//!   counted in step 4, and the nodes that the final extents need. Running out of them is a panic.
//! - An image does not mount until step 9 is complete, because it has no primary superblock.

use std::collections::BTreeMap;

use super::attribute_blocks::AttributeBlocks;
use super::attribute_inodes::{AttributeInodes, WrittenValue};
use super::final_layout::{FinalLayout, MetadataBlocks, WrittenContent};
use super::table_writer::TableWriter;
use super::{Formatter, Summary};
use crate::checksum::Seed;
use crate::data::FileData;
use crate::disk::hash::NameHasher;
use crate::disk::inode::{BLOCK_LEN, InodeFlags, MAX_FAST_SYMLINK, device_block, i_block_from};
use crate::encode::directory::DirectoryBlocks;
use crate::encode::entries::{DirectoryContext, DirectoryEntry};
use crate::encode::inline;
use crate::encode::inode::{self, InodeFields};
use crate::encode::superblock::SuperblockInputs;
use crate::encode::xattrs;
use crate::error::FormatError;
use crate::layout::Layout;
use crate::layout::free_ranges::FreeRanges;
use crate::layout::inode_numbers::InodeNumbers;
use crate::output::Output;
use crate::tree::{Directory, Inode, InodeId, Kind, MAX_LINKS, Metadata, Tree};
use crate::units::{BlockRange, Ino};

/// Size of `lost+found` in bytes, so that e2fsck finds space in it on a full file system.
/// mke2fs makes it as large.
const LOST_FOUND_LEN: u64 = 16 << 10;

/// Writes everything except the content of files, in the steps at the head of this module.
pub(super) fn finish<O: Output>(formatter: Formatter<O>, mut tree: Tree) -> Result<(O, Summary), FormatError> {
    check_origins(&formatter, &tree)?;
    let lost_found = add_lost_found(&mut tree);
    let mut finisher = Finisher {
        inodes: InodeNumbers::assign(&tree, lost_found),
        seed: Seed::of_uuid(&formatter.options.uuid),
        formatter,
        tree,
        lost_found,
        generated: BTreeMap::new(),
        indexed_directories: BTreeMap::new(),
        attribute_blocks: AttributeBlocks::default(),
        written_values: Vec::new(),
    };
    finisher.write_directories_and_symlinks()?;
    let mut attribute_inodes = finisher.collect_xattrs()?;
    let FinalLayout {
        layout,
        mut metadata_blocks,
        unused,
    } = finisher.finalize_layout()?;
    finisher.discard_unused(&unused)?;
    finisher.write_attribute_blocks(&mut metadata_blocks)?;
    let directory_counts = finisher.write_inodes(&layout, &mut metadata_blocks, &mut attribute_inodes)?;
    finisher.write_tables(&layout, &unused, &directory_counts)
}

/// Checks that the formatter wrote the contents of all files.
fn check_origins<O>(formatter: &Formatter<O>, tree: &Tree) -> Result<(), FormatError> {
    if formatter.foreign_data_freed {
        return Err(FormatError::ForeignData { path: None });
    }
    let mut contents = tree.contents();
    match contents.find(|(_, data)| !data.was_written_by(formatter.origin)) {
        None => Ok(()),
        Some((id, _)) => Err(FormatError::ForeignData {
            path: Some(tree.path_of(id)),
        }),
    }
}

/// Creates a `lost+found` in the root, unless an entry of this name exists.
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

/// Returns the content of a file, or what was generated for a directory or a symlink.
fn content_of<'data>(inode: &'data Inode, generated: Option<&'data FileData>) -> Option<&'data FileData> {
    match inode.kind() {
        Kind::File(data) => Some(data),
        _ => generated,
    }
}

/// State of [`finish`].
struct Finisher<O> {
    formatter: Formatter<O>,
    tree: Tree,
    inodes: InodeNumbers,
    lost_found: Option<InodeId>,
    seed: Seed,
    /// Blocks of directories, and of symlinks whose targets do not fit in their inodes.
    generated: BTreeMap<InodeId, FileData>,
    /// Directories with an index, and whether it needs `large_dir`.
    indexed_directories: BTreeMap<InodeId, bool>,
    attribute_blocks: AttributeBlocks,
    /// In the order of their inode numbers, which follow those of the tree.
    written_values: Vec<WrittenValue>,
}

impl<O: Output> Finisher<O> {
    /// Writes directories and long symlink targets after the content of files, in the order of
    /// their inode numbers.
    fn write_directories_and_symlinks(&mut self) -> Result<(), FormatError> {
        for (ino, id) in self.inodes.iter() {
            let data = match self.tree.inode(id).kind() {
                Kind::Directory(directory) => {
                    let min_len = if Some(id) == self.lost_found { LOST_FOUND_LEN } else { 1 };
                    let context = DirectoryContext {
                        ino,
                        parent: self.inodes.number_of(directory.parent()),
                        block_size: self.formatter.options.block_size,
                        seed: self.seed.of_inode(ino, 0),
                        hasher: NameHasher::new(&self.formatter.options.hash_seed),
                    };
                    let entries = self.entries(directory);
                    // The kernel does not mount a root directory without a block
                    // (`ext4_fill_super`).
                    let may_be_inline =
                        self.formatter.options.inline_data && id != InodeId::ROOT && Some(id) != self.lost_found;
                    if let Some(content) = inline::encode_directory(&entries, &context).filter(|_| may_be_inline) {
                        self.generated.insert(id, FileData::new_inline(content));
                        continue;
                    }
                    let blocks = DirectoryBlocks::plan(entries, context.block_size.blocks(min_len), &context)
                        .map_err(|error| error.for_path(self.tree.path_of(id)))?;
                    if let DirectoryBlocks::Indexed(index) = &blocks {
                        self.indexed_directories
                            .insert(id, index.needs_large_dir(context.block_size));
                    }
                    self.formatter.write_directory(&blocks, &context)?
                }
                Kind::Symlink(target) if target.len() > MAX_FAST_SYMLINK => {
                    self.formatter.check_target(target, || self.tree.path_of(id))?;
                    self.formatter.write_blocks(&target[..], target.len() as u64)?
                }
                _ => continue,
            };
            self.generated.insert(id, data);
        }
        Ok(())
    }

    /// Returns the entries of a directory with their inode numbers and types.
    fn entries<'tree>(&self, directory: &'tree Directory) -> Vec<DirectoryEntry<'tree>> {
        let entry = |(name, child)| DirectoryEntry {
            name,
            ino: self.inodes.number_of(child),
            file_type: self.tree.inode(child).kind().file_type(),
        };
        directory.entries().map(entry).collect()
    }

    /// Counts the external attribute blocks, and writes the values that have attribute inodes.
    fn collect_xattrs(&mut self) -> Result<AttributeInodes, FormatError> {
        let mut attribute_inodes = AttributeInodes::new(self.seed, Ino(self.inodes.count() + 1));
        for (_, id) in self.inodes.iter() {
            let placement = self.distribute_xattrs(id, &mut attribute_inodes)?;
            self.attribute_blocks.count_inode(placement.in_block);
        }
        for (inode, value) in attribute_inodes.by_number() {
            let data = self.formatter.write_blocks(value, value.len() as u64)?;
            self.written_values.push(WrittenValue {
                inode,
                data,
                references: 0,
            });
        }
        for (ino, block_count) in self.attribute_blocks.attribute_inodes() {
            let index = ino.get() - self.inodes.count() - 1;
            self.written_values[index as usize].references += block_count;
        }
        Ok(attribute_inodes)
    }

    /// Distributes the attributes of an inode. Values that get attribute inodes are added to
    /// `attribute_inodes`.
    fn distribute_xattrs(
        &self,
        id: InodeId,
        attribute_inodes: &mut AttributeInodes,
    ) -> Result<xattrs::XattrPlacement, FormatError> {
        let options = &self.formatter.options;
        let inline = content_of(self.tree.inode(id), self.generated.get(&id)).and_then(FileData::inline);
        let inline_rest = inline.map(|content| content.get(BLOCK_LEN..).unwrap_or_default());
        let xattrs = &self.tree.inode(id).metadata.xattrs;
        let attribute_inode = |value: &[u8]| options.large_xattrs.then(|| attribute_inodes.get_or_insert(value));
        xattrs::distribute(xattrs, options.block_size, inline_rest, attribute_inode)
            .map_err(|error| error.for_path(self.tree.path_of(id)))
    }

    /// Number of inodes in use or reserved.
    fn inode_count(&self) -> u32 {
        self.inodes.count() + u32::try_from(self.written_values.len()).expect("each is in memory")
    }

    /// Finds the size and the layout, and moves content if required.
    fn finalize_layout(&mut self) -> Result<FinalLayout, FormatError> {
        let inode_count = self.inode_count();
        let Formatter {
            writer,
            options,
            geometry,
            allocator,
            ..
        } = &mut self.formatter;
        let value_contents = self.written_values.iter_mut().map(|value| &mut value.data);
        let contents = self
            .tree
            .contents_mut()
            .chain(self.generated.values_mut())
            .chain(value_contents);
        let xattr_blocks = self.attribute_blocks.block_count();
        WrittenContent::new(options, *geometry, contents, xattr_blocks, inode_count).finalize_layout(allocator, writer)
    }

    /// Discards blocks between contents, so that nothing of freed content remains in the image.
    fn discard_unused(&mut self, unused: &[BlockRange]) -> Result<(), FormatError> {
        let Formatter {
            writer,
            pending_discards,
            ..
        } = &mut self.formatter;
        let mut rest = unused.iter().filter(|&&range| !pending_discards.was_discarded(range));
        rest.try_for_each(|&range| writer.discard(range))
    }

    /// Writes the external attribute blocks.
    fn write_attribute_blocks(&mut self, metadata_blocks: &mut MetadataBlocks) -> Result<(), FormatError> {
        let writer = &mut self.formatter.writer;
        let write = |nr, block| writer.write_block(nr, &block);
        self.attribute_blocks.write_blocks(
            self.formatter.options.block_size,
            self.seed,
            || metadata_blocks.next(),
            write,
        )
    }

    /// Writes the inodes and their extent tree nodes. Returns the number of directories in each
    /// group.
    fn write_inodes(
        &mut self,
        layout: &Layout,
        metadata_blocks: &mut MetadataBlocks,
        attribute_inodes: &mut AttributeInodes,
    ) -> Result<Vec<u32>, FormatError> {
        let mut directory_counts = vec![0; layout.group_count as usize];
        for (ino, id) in self.inodes.iter() {
            let placement = self.distribute_xattrs(id, attribute_inodes)?;
            let mut fields = self.initial_fields(id);
            fields.xattrs = placement.in_inode;
            fields.xattr_block = self.attribute_blocks.assign_block(&placement.in_block);
            let block_size = self.formatter.options.block_size;
            let value_blocks = placement
                .in_block
                .iter()
                .map(|attribute| attribute.value_blocks(block_size));
            fields.block_count = u64::from(fields.xattr_block.is_some()) + value_blocks.sum::<u64>();

            let inode = self.tree.inode(id);
            let mut tables = TableWriter::new(&mut self.formatter, layout, self.seed);
            if let Some(data) = content_of(inode, self.generated.get(&id)) {
                tables.write_content(ino, data, &mut fields, metadata_blocks)?;
            }
            tables.write_inode(ino, inode::encode(&inode.metadata, &fields, block_size))?;
            directory_counts[layout.inode_location(ino).group] += u32::from(inode.directory().is_some());
        }
        let mut tables = TableWriter::new(&mut self.formatter, layout, self.seed);
        for value in &self.written_values {
            tables.write_attribute_inode(value, metadata_blocks)?;
        }
        Ok(directory_counts)
    }

    /// Fields of an inode that come from its kind and links. Content and attributes are added
    /// later.
    fn initial_fields(&self, id: InodeId) -> InodeFields {
        let inode = self.tree.inode(id);
        let mut fields = InodeFields::new(inode.kind().file_type());
        fields.links = u16::try_from(inode.links()).expect("a tree has at most 65,000 links to a file");
        match inode.kind() {
            Kind::Directory(directory) => {
                // A link count that does not fit is stored as 1 (`dir_nlink`).
                let links = directory.subdirectory_count().saturating_add(2);
                fields.links = u16::try_from(links).ok().filter(|_| links <= MAX_LINKS).unwrap_or(1);
                fields
                    .flags
                    .set(InodeFlags::INDEX, self.indexed_directories.contains_key(&id));
            }
            Kind::Symlink(target) if target.len() <= MAX_FAST_SYMLINK => {
                fields.size = target.len() as u64;
                fields.block = i_block_from(target);
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => fields.block = device_block(*device),
            Kind::File(_) | Kind::Symlink(_) | Kind::Fifo | Kind::Socket => {}
        }
        fields
    }

    /// Writes everything that belongs to no file of the tree, the primary superblock last.
    fn write_tables(
        mut self,
        layout: &Layout,
        unused: &[BlockRange],
        directory_counts: &[u32],
    ) -> Result<(O, Summary), FormatError> {
        let free_ranges = FreeRanges::new(layout, unused);
        let inode_count = self.inode_count();
        let mut tables = TableWriter::new(&mut self.formatter, layout, self.seed);
        let journal = tables.write_journal()?;
        tables.write_resize_inode()?;
        let descriptors = tables.write_bitmaps(&free_ranges, inode_count, directory_counts)?;
        let inputs = SuperblockInputs {
            free_inode_count: layout.inode_count() - inode_count,
            journal,
            has_large_directory: self.indexed_directories.values().any(|&is_large| is_large),
            has_attribute_inodes: !self.written_values.is_empty(),
        };
        tables.write_superblocks(&inputs, &descriptors)?;

        let Self { formatter, tree, .. } = self;
        let Formatter { writer, options, .. } = formatter;
        let log2 = options.block_size.log2();
        let used_bytes = (layout.block_count - layout.free_blocks) << log2;
        // Freeing the tree takes time, during which an output that writes in the background can
        // proceed.
        drop(tree);
        let output = writer.finish(layout.bytes)?;
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
