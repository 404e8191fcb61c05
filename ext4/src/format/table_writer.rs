//! [`TableWriter`]: writes inodes, bitmaps, group descriptors, the start of the journal, and
//! superblocks.

use super::Formatter;
use super::attribute_inodes::WrittenValue;
use super::final_layout::MetadataBlocks;
use crate::block_writer::BlockWriter;
use crate::checksum::Seed;
use crate::data::FileData;
use crate::disk::group_desc::{self, GroupDesc};
use crate::disk::inode::{BLOCK_LEN, Inode, InodeFlags, i_block_from};
use crate::disk::journal::JournalSuperblock;
use crate::disk::superblock::OFFSET;
use crate::encode::inode::{self, InodeFields};
use crate::encode::superblock::{self, SuperblockInputs};
use crate::encode::{extents, groups, resize};
use crate::error::FormatError;
use crate::file_type::FileType;
use crate::layout::Layout;
use crate::layout::free_ranges::FreeRanges;
use crate::layout::geometry;
use crate::options::Options;
use crate::output::Output;
use crate::seal::{self, Sealed};
use crate::tree::{Metadata, Timestamp};
use crate::units::{BlockNr, Ino};

/// Writes metadata to the positions of a layout.
pub(super) struct TableWriter<'format, O> {
    writer: &'format mut BlockWriter<O>,
    options: &'format Options,
    layout: &'format Layout,
    seed: Seed,
}

impl<'format, O: Output> TableWriter<'format, O> {
    pub(super) fn new(formatter: &'format mut Formatter<O>, layout: &'format Layout, seed: Seed) -> Self {
        Self {
            writer: &mut formatter.writer,
            options: &formatter.options,
            layout,
            seed,
        }
    }

    /// Stores the position of content in the fields of its inode, and writes its extent tree
    /// nodes. Inline content becomes part of the fields.
    pub(super) fn write_content(
        &mut self,
        ino: Ino,
        data: &FileData,
        fields: &mut InodeFields,
        node_blocks: &mut MetadataBlocks,
    ) -> Result<(), FormatError> {
        fields.size = data.len();
        if let Some(content) = data.inline() {
            fields.flags |= InodeFlags::INLINE_DATA;
            fields.block = i_block_from(&content[..content.len().min(BLOCK_LEN)]);
            return Ok(());
        }
        let block_size = self.options.block_size;
        let (root, blocks) = extents::encode(data.extents(), block_size, self.seed.of_inode(ino, 0), || {
            node_blocks.next()
        });
        fields.flags |= InodeFlags::EXTENTS;
        fields.block = root;
        fields.block_count += data.block_count() + blocks.len() as u64;
        blocks
            .iter()
            .try_for_each(|(nr, block)| self.writer.write_block(*nr, block))
    }

    /// Writes an inode to its position in the inode table.
    pub(super) fn write_inode(&mut self, ino: Ino, inode: Inode) -> Result<(), FormatError> {
        let location = self.layout.inode_location(ino);
        let inode = inode.seal(self.seed, ino);
        self.writer.write_structure(location.block, location.offset, &inode)
    }

    /// Writes a reserved inode: mode 0600, owned by root, with the time of creation.
    fn write_reserved_inode(&mut self, ino: Ino, fields: &InodeFields) -> Result<(), FormatError> {
        let created = Timestamp::saturating(i64::from(self.options.created), 0);
        let metadata = Metadata {
            mode: 0o600,
            accessed: created,
            modified: created,
            changed: created,
            ..Metadata::default()
        };
        self.write_inode(ino, inode::encode(&metadata, fields, self.options.block_size))
    }

    /// Writes the attribute inode of a value.
    pub(super) fn write_attribute_inode(
        &mut self,
        value: &WrittenValue,
        node_blocks: &mut MetadataBlocks,
    ) -> Result<(), FormatError> {
        let mut fields = InodeFields::new(FileType::RegularFile);
        fields.flags = InodeFlags::EA_INODE;
        let metadata = Metadata {
            mode: 0o600,
            ..Metadata::default()
        };
        self.write_content(value.inode.ino, &value.data, &mut fields, node_blocks)?;
        let mut inode = inode::encode(&metadata, &fields, self.options.block_size);
        inode.set_value(value.inode.hash, value.references);
        self.write_inode(value.inode.ino, inode)
    }

    /// Writes the journal's inode and first block. Returns the `i_block` and the size that the
    /// superblock keeps as a backup, or `None` without a journal.
    pub(super) fn write_journal(&mut self) -> Result<Option<([u8; BLOCK_LEN], u64)>, FormatError> {
        let Some(data) = &self.layout.journal else {
            return Ok(None);
        };
        let mut fields = InodeFields::new(FileType::RegularFile);
        let mut node_blocks = MetadataBlocks::from_blocks(self.layout.journal_nodes.clone());
        self.write_content(Ino::JOURNAL, data, &mut fields, &mut node_blocks)?;
        self.write_reserved_inode(Ino::JOURNAL, &fields)?;
        let superblock = JournalSuperblock::empty(data.block_count(), self.options.block_size).seal();
        self.writer.write_structure(data.extents()[0].start, 0, &superblock)?;
        Ok(Some((fields.block, fields.size)))
    }

    /// Writes the resize inode and its map, if blocks are reserved for descriptors.
    pub(super) fn write_resize_inode(&mut self) -> Result<(), FormatError> {
        let Some(map) = self.layout.resize_map else {
            return Ok(());
        };
        let reserved = resize::encode(self.layout, map);
        let mut fields = InodeFields::new(FileType::RegularFile);
        fields.block = reserved.inode_block;
        fields.size = reserved.size;
        fields.block_count = reserved.block_count;
        self.write_reserved_inode(Ino::RESIZE, &fields)?;
        reserved
            .blocks
            .iter()
            .try_for_each(|(nr, block)| self.writer.write_block(*nr, block))
    }

    /// Writes the bitmaps, and returns the descriptors of all groups.
    pub(super) fn write_bitmaps(
        &mut self,
        free_ranges: &FreeRanges,
        inode_count: u32,
        directory_counts: &[u32],
    ) -> Result<Vec<Sealed<GroupDesc>>, FormatError> {
        (0..self.layout.group_count)
            .map(|group| {
                let index = group as usize;
                let encoded = groups::encode(
                    group,
                    self.layout,
                    free_ranges,
                    inode_count,
                    directory_counts[index],
                    self.seed,
                );
                if let Some(bitmap) = &encoded.block_bitmap {
                    self.writer.write_block(self.layout.block_bitmaps[index], bitmap)?;
                }
                if let Some(bitmap) = &encoded.inode_bitmap {
                    self.writer.write_block(self.layout.inode_bitmaps[index], bitmap)?;
                }
                Ok(encoded.descriptor)
            })
            .collect()
    }

    /// Writes the boot area and all superblocks and descriptors, the primary superblock last, so
    /// that an unfinished image does not mount.
    pub(super) fn write_superblocks(
        &mut self,
        inputs: &SuperblockInputs,
        descriptors: &[Sealed<GroupDesc>],
    ) -> Result<(), FormatError> {
        let superblock = superblock::encode(self.options, self.layout, inputs);
        let geometry = &self.layout.geometry;
        let boot_area = seal::boot_area(&self.options.boot_area);
        self.writer.write_structure(BlockNr(0), 0, &boot_area)?;
        let backup_groups: Vec<u64> = geometry::backup_groups(u64::from(self.layout.group_count)).collect();
        for &group in backup_groups.iter().rev() {
            let start = geometry.group_start(group);
            for (offset, descriptor) in (0..).step_by(group_desc::SIZE.into()).zip(descriptors) {
                self.writer.write_structure(start + 1, offset, descriptor)?;
            }
            let mut backup = superblock.clone();
            backup.block_group_nr = u16::try_from(group).unwrap_or(u16::MAX).into();
            // The first block of the image also contains the boot area, except with blocks of 1
            // KiB.
            let offset = if start.get() == 0 { OFFSET } else { 0 };
            self.writer.write_structure(start, offset, &backup.seal())?;
        }
        Ok(())
    }
}
