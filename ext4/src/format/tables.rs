//! The tables: inodes, bitmaps, group descriptors, the journal's start, superblocks.

use super::Formatter;
use super::large_values::WrittenValue;
use super::settle::Pinned;
use crate::checksum::Seed;
use crate::data::FileData;
use crate::disk::group_desc::{self, GroupDesc};
use crate::disk::inode::{BLOCK_LEN, Inode, InodeFlags, block_of};
use crate::disk::journal::JournalSuperblock;
use crate::disk::superblock::OFFSET;
use crate::encode::inode::{self, Body};
use crate::encode::superblock::{self, Facts};
use crate::encode::{extents, groups, resize};
use crate::error::FormatError;
use crate::file_type::FileType;
use crate::image::Image;
use crate::options::Options;
use crate::output::Output;
use crate::place::geometry::copies;
use crate::place::layout::Layout;
use crate::place::usage::Usage;
use crate::seal::{self, Sealed};
use crate::tree::{Metadata, Timestamp};
use crate::units::{BlockNr, Ino};

/// The tables of one layout.
pub(super) struct Tables<'format, O> {
    image: &'format mut Image<O>,
    options: &'format Options,
    layout: &'format Layout,
    seed: Seed,
}

impl<'format, O: Output> Tables<'format, O> {
    pub(super) fn new(formatter: &'format mut Formatter<O>, layout: &'format Layout, seed: Seed) -> Self {
        Self {
            image: &mut formatter.image,
            options: &formatter.options,
            layout,
            seed,
        }
    }

    /// Notes an inode's content in it, and writes the blocks of the extent tree, if the content is not in the inode itself.
    pub(super) fn write_content(
        &mut self,
        ino: Ino,
        data: &FileData,
        body: &mut Body,
        nodes: &mut Pinned,
    ) -> Result<(), FormatError> {
        body.size = data.len();
        if let Some(content) = data.inline() {
            body.flags |= InodeFlags::INLINE_DATA;
            body.block = block_of(&content[..content.len().min(BLOCK_LEN)]);
            return Ok(());
        }
        let block_size = self.options.block_size;
        let (root, blocks) = extents::encode(data.extents(), block_size, self.seed.of_inode(ino, 0), || nodes.next());
        body.flags |= InodeFlags::EXTENTS;
        body.block = root;
        body.block_count += data.block_count() + blocks.len() as u64;
        blocks
            .iter()
            .try_for_each(|(nr, block)| self.image.write_block(*nr, block))
    }

    /// Writes an inode to its place.
    pub(super) fn write_inode(&mut self, ino: Ino, inode: Inode) -> Result<(), FormatError> {
        let place = self.layout.place_of(ino);
        let inode = inode.seal(self.seed, ino);
        self.image.write_structure(place.block, place.skip, &inode)
    }

    /// Writes a reserved inode, which has what no file of the tree asks for.
    fn write_reserved_inode(&mut self, ino: Ino, body: &Body) -> Result<(), FormatError> {
        let created = Timestamp::saturating(i64::from(self.options.created), 0);
        let metadata = Metadata {
            mode: 0o600,
            accessed: created,
            modified: created,
            changed: created,
            ..Metadata::default()
        };
        self.write_inode(ino, inode::encode(&metadata, body, self.options.block_size))
    }

    /// Writes the inode of an attribute's value.
    pub(super) fn write_value_inode(&mut self, value: &WrittenValue, nodes: &mut Pinned) -> Result<(), FormatError> {
        let mut body = Body::new(FileType::RegularFile);
        body.flags = InodeFlags::EA_INODE;
        let metadata = Metadata {
            mode: 0o600,
            ..Metadata::default()
        };
        self.write_content(value.inode.ino, &value.data, &mut body, nodes)?;
        let mut inode = inode::encode(&metadata, &body, self.options.block_size);
        inode.set_value(value.inode.hash, value.references);
        self.write_inode(value.inode.ino, inode)
    }

    /// Writes the journal's inode and first block, and says what the superblock keeps of them.
    pub(super) fn write_journal(&mut self) -> Result<Option<([u8; BLOCK_LEN], u64)>, FormatError> {
        let Some(data) = &self.layout.journal else {
            return Ok(None);
        };
        let mut body = Body::new(FileType::RegularFile);
        let mut nodes = Pinned::from_blocks(self.layout.journal_nodes.clone());
        self.write_content(Ino::JOURNAL, data, &mut body, &mut nodes)?;
        self.write_reserved_inode(Ino::JOURNAL, &body)?;
        let superblock = JournalSuperblock::empty(data.block_count(), self.options.block_size).seal();
        self.image.write_structure(data.extents()[0].start, 0, &superblock)?;
        Ok(Some((body.block, body.size)))
    }

    /// Writes the resize inode and its map, if blocks are reserved for descriptors.
    pub(super) fn write_resize_inode(&mut self) -> Result<(), FormatError> {
        let Some(map) = self.layout.resize_map else {
            return Ok(());
        };
        let reserved = resize::encode(self.layout, map);
        let mut body = Body::new(FileType::RegularFile);
        body.block = reserved.inode_block;
        body.size = reserved.size;
        body.block_count = reserved.block_count;
        self.write_reserved_inode(Ino::RESIZE, &body)?;
        reserved
            .blocks
            .iter()
            .try_for_each(|(nr, block)| self.image.write_block(*nr, block))
    }

    /// Writes the bitmaps and returns the descriptors of all groups.
    pub(super) fn write_bitmaps(
        &mut self,
        usage: &Usage,
        inode_count: u32,
        directory_counts: &[u32],
    ) -> Result<Vec<Sealed<GroupDesc>>, FormatError> {
        (0..self.layout.group_count)
            .map(|group| {
                let index = group as usize;
                let encoded = groups::encode(
                    group,
                    self.layout,
                    usage,
                    inode_count,
                    directory_counts[index],
                    self.seed,
                );
                if let Some(bitmap) = &encoded.block_bitmap {
                    self.image.write_block(self.layout.block_bitmaps[index], bitmap)?;
                }
                if let Some(bitmap) = &encoded.inode_bitmap {
                    self.image.write_block(self.layout.inode_bitmaps[index], bitmap)?;
                }
                Ok(encoded.descriptor)
            })
            .collect()
    }

    /// Writes the copies of the superblock and of the descriptors, and the superblock itself last: an image that was not
    /// finished does not mount.
    pub(super) fn write_superblocks(
        &mut self,
        facts: &Facts,
        descriptors: &[Sealed<GroupDesc>],
    ) -> Result<(), FormatError> {
        let superblock = superblock::encode(self.options, self.layout, facts);
        let geometry = &self.layout.geometry;
        let boot_area = seal::boot_area(&self.options.boot_area);
        self.image.write_structure(BlockNr(0), 0, &boot_area)?;
        let copies: Vec<u64> = copies(u64::from(self.layout.group_count)).collect();
        for &group in copies.iter().rev() {
            let start = geometry.group_start(group);
            for (offset, descriptor) in (0..).step_by(group_desc::SIZE.into()).zip(descriptors) {
                self.image.write_structure(start + 1, offset, descriptor)?;
            }
            let mut copy = superblock.clone();
            copy.block_group_nr = u16::try_from(group).unwrap_or(u16::MAX).into();
            // The first block holds the boot sector too, unless that has a block of its own.
            let skip = if start.get() == 0 { OFFSET } else { 0 };
            self.image.write_structure(start, skip, &copy.seal())?;
        }
        Ok(())
    }
}
