//! Checks inodes in the order of their numbers (pass 1 of e2fsck).

use super::claimed_blocks::ClaimedBlocks;
use super::used_inodes::UsedInode;
use super::{BlockRole, Checker, InodeFeature, Problem, is_zeros, report_unreadable};
use crate::disk::features::Features;
use crate::disk::group_desc::GroupFlags;
use crate::disk::inode::{Inode, InodeFlags, PERMISSION_BITS};
use crate::disk::superblock::Superblock;
use crate::file_type::FileType;
use crate::read::checksums::inode_checksum_ok;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// `EXT4_BAD_INO`
const BAD_BLOCKS: u32 = 1;
/// `EXT4_USR_QUOTA_INO`
const USER_QUOTA: u32 = 3;
/// `EXT4_GRP_QUOTA_INO`
const GROUP_QUOTA: u32 = 4;
/// `EXT4_BOOT_LOADER_INO`
const BOOT_LOADER: u32 = 5;
const RESIZE: u32 = Ino::RESIZE.0;
const JOURNAL: u32 = Ino::JOURNAL.0;

/// Reserved inodes that are files without a name.
const NAMELESS: [u32; 6] = [BAD_BLOCKS, USER_QUOTA, GROUP_QUOTA, BOOT_LOADER, RESIZE, JOURNAL];

/// Maximum number of bytes of an inode table that are read at once.
const CHUNK_LEN: usize = 1 << 20;

/// Inode under check.
pub(super) struct CheckedInode {
    pub(super) ino: Ino,
    pub(super) inode: Inode,
    pub(super) flags: InodeFlags,
    pub(super) size: u64,
    /// Offset in bytes of the space for attributes, after the fields.
    pub(super) fields_end: usize,
    /// All bytes of the inode.
    pub(super) bytes: Vec<u8>,
}

impl CheckedInode {
    fn new(ino: Ino, bytes: Vec<u8>) -> Self {
        let inode = Inode::from_prefix(&bytes);
        Self {
            ino,
            flags: inode.flags(),
            size: inode.size(),
            fields_end: inode.fields_end(bytes.len()).unwrap_or(bytes.len()),
            inode,
            bytes,
        }
    }

    pub(super) fn structure(&self) -> Structure {
        Structure::Inode { ino: self.ino.get() }
    }

    pub(super) fn file_type(&self) -> Option<FileType> {
        self.inode.file_type()
    }

    /// Returns the space for attributes after the fields. It is empty if the fields exceed the
    /// inode.
    pub(super) fn xattr_area(&self) -> &[u8] {
        self.bytes.get(self.fields_end..).unwrap_or_default()
    }
}

impl<R: ReadAt> Checker<R> {
    /// Checks the inodes of all groups.
    pub(super) fn check_inodes(&mut self) -> Result<(), ReadError> {
        // Damaged descriptors may share a table. It belongs to the first of their groups.
        let mut tables = ClaimedBlocks::new(self.block_count);
        let len = self.reader.superblock().inode_table_blocks();
        for group in 0..self.groups.len() {
            self.inodes.begin_group();
            if self.findings.is_stopped() {
                break;
            }
            let state = &mut self.groups[group];
            if state.flags.contains(GroupFlags::INODE_UNINIT) {
                continue;
            }
            let (table, blocks) = (state.descriptor.inode_table(), 1..self.block_count);
            state.inodes_unknown = !blocks.contains(&table) || tables.claim(table, len).is_some();
            if !state.inodes_unknown {
                let number = u32::try_from(group).expect("groups are counted in 32 bits");
                self.check_inode_table(number)?;
            }
        }
        self.parents.incomplete = self.groups.iter().any(|group| group.inodes_unknown);
        Ok(())
    }

    /// Returns whether an inode is in a group whose inodes are unknown.
    pub(super) fn is_in_unknown_group(&self, ino: u32) -> bool {
        let group = self.inodes.position(ino).and_then(|(group, _)| self.groups.get(group));
        group.is_some_and(|group| group.inodes_unknown)
    }

    /// Checks the inodes of a group, except those that were never used.
    fn check_inode_table(&mut self, group: u32) -> Result<(), ReadError> {
        let state = &self.groups[group as usize];
        let (table, per_group) = (state.descriptor.inode_table(), self.inodes.per_group());
        let inode_size = self.reader.inode_size();
        let inodes_per_block = (self.reader.block_size() / inode_size) as u64;
        let inodes_in_image = (self.block_count - table).saturating_mul(inodes_per_block);
        let used = per_group.saturating_sub(state.unused_inodes);
        let used = u32::try_from(inodes_in_image).map_or(used, |inodes_in_image| inodes_in_image.min(used));
        let start = self.reader.offset_of_block(table);
        let inodes_per_chunk = u32::try_from(CHUNK_LEN / inode_size).expect("a chunk is small");
        let first = group * per_group + 1;
        let mut chunk = Vec::new();
        for start_index in (0..used).step_by(inodes_per_chunk as usize) {
            let count = inodes_per_chunk.min(used - start_index);
            chunk.resize(count as usize * inode_size, 0);
            let at = start + u64::from(start_index) * inode_size as u64;
            let read = self.reader.read_at(at, &mut chunk);
            let Some(()) = report_unreadable(read, Structure::GroupDescriptor { group }, &mut self.findings)? else {
                return Ok(());
            };
            let inodes = (first + start_index..).zip(chunk.chunks_exact(inode_size));
            for (ino, bytes) in inodes.filter(|(_, bytes)| !is_zeros(bytes)) {
                self.check_inode(Ino(ino), bytes.to_vec())?;
                if self.findings.is_stopped() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Checks an inode, and adds it to the used ones if it is in use.
    fn check_inode(&mut self, ino: Ino, bytes: Vec<u8>) -> Result<(), ReadError> {
        let checked = CheckedInode::new(ino, bytes);
        self.check_fields_and_checksum(&checked);
        let superblock = self.reader.superblock();
        let (links, mode) = (checked.inode.links(), checked.inode.mode.get());
        let is_reserved = ino.get() < superblock.first_inode() && ino != Ino::ROOT;
        // Some reserved inodes have a purpose by their number alone. The superblock names the
        // others that have one.
        let may_be_file = matches!(ino.get(), BOOT_LOADER | RESIZE) || superblock.named_inodes().contains(&ino.get());
        self.require(
            !is_reserved || may_be_file || mode == 0,
            checked.structure(),
            Problem::ReservedInodeHasMode { mode },
        );
        if is_reserved {
            self.check_reserved_inode(&checked);
        }
        let is_orphan = links == 0 && mode != 0 && self.orphans.contains(&ino.get());
        let is_unused = links == 0 && !(is_reserved && mode != 0) && !is_orphan;
        // A reserved inode without a mode is unused, whatever its other fields are.
        if is_unused || is_reserved && mode == 0 && !may_be_file {
            if mode != 0 && checked.inode.dtime.get() == 0 {
                self.report(checked.structure(), Problem::DeletionTimeMissing);
            }
            let is_deletion_time = !self.has_orphan_link_as_dtime(&checked);
            self.require(is_deletion_time, checked.structure(), Problem::OrphanLinkStale);
            // The bad blocks inode owns its blocks although it looks unused. Reserved inodes may
            // have attributes.
            if ino.get() == BAD_BLOCKS {
                self.claim_mapped_blocks(&checked)?;
            } else if is_reserved {
                let attributes = self.check_xattrs(&checked)?;
                self.check_block_count(&checked, attributes);
            }
            return Ok(());
        }
        let is_value = checked.flags.contains(InodeFlags::EA_INODE);
        let superblock = self.reader.superblock();
        let is_special = is_nameless(superblock, ino);
        self.inodes.push(UsedInode {
            index: (ino.get() - 1) % self.inodes.per_group(),
            file_type: checked.file_type(),
            links,
            links_found: 0,
            nameless: is_special || is_reserved || is_value,
            afs: checked.flags.contains(InodeFlags::IMAGIC),
            orphan: is_orphan,
        });
        self.check_used_inode(&checked)
    }

    /// Checks that the inodes that the superblock names are in use.
    pub(super) fn check_named_inodes(&mut self) {
        let superblock = self.reader.superblock();
        let has_resize = superblock.has(Features::RESIZE_INODE);
        let resize = has_resize.then_some(Ino::RESIZE.get());
        let names = superblock.named_inodes().into_iter().chain(resize);
        for ino in names.filter(|&ino| ino != 0) {
            let is_used = self.inodes.get(ino).is_some() || self.is_in_unknown_group(ino);
            self.require(is_used, Structure::Superblock, Problem::NamedInodeUnused { ino });
        }
    }

    /// Checks a reserved inode, which has a fixed purpose or none.
    fn check_reserved_inode(&mut self, checked: &CheckedInode) {
        let structure = checked.structure();
        let (ino, inode, flags) = (checked.ino.get(), &checked.inode, checked.flags);
        let is_file = inode.mode.get() != 0 || inode.links() != 0;
        self.require(
            !flags.contains(InodeFlags::CASEFOLD),
            structure,
            Problem::FeatureMissing {
                needs: InodeFeature::Casefold,
            },
        );
        if ino == BAD_BLOCKS {
            // e2fsck only reads the low halves.
            let has_owner = inode.uid.get() != 0 || inode.gid.get() != 0;
            let has_more = flags.contains(InodeFlags::INLINE_DATA) || inode.file_acl_lo.get() != 0;
            self.require(
                !is_file && !has_owner && !has_more,
                structure,
                Problem::BadBlocksInodeWrong,
            );
            return;
        }
        let superblock = self.reader.superblock();
        let is_named = superblock.named_inodes().contains(&ino);
        let has_resize = superblock.has(Features::RESIZE_INODE);
        let has_block = match ino {
            // Of the block numbers, e2fsck only reads the first.
            USER_QUOTA | GROUP_QUOTA | JOURNAL if !is_named => inode.links() != 0 || inode.block_map()[0] != 0,
            RESIZE if !has_resize => inode.block_map().iter().any(|&block| block != 0),
            _ => false,
        };
        self.require(!has_block, structure, Problem::ReservedInodeHasBlocks);
        if !is_file && !matches!(ino, USER_QUOTA | GROUP_QUOTA | JOURNAL) {
            self.require(!flags.contains(InodeFlags::INDEX), structure, Problem::IndexUnexpected);
            let (size, max) = (checked.size, self.max_file_size(checked));
            self.require(size <= max, structure, Problem::FileTooLarge { size });
        }
    }

    /// Checks the length of the fields, and verifies the checksum.
    fn check_fields_and_checksum(&mut self, checked: &CheckedInode) {
        let (inode, structure) = (&checked.inode, checked.structure());
        let bytes = inode.extra_isize.get();
        let has_room = inode.fields_end(checked.bytes.len()).is_some();
        self.require(has_room, structure, Problem::ExtraFieldsWrong { bytes });
        if let Some(seed) = self.reader.checksum_mode().seed() {
            let seed = seed.of_inode(checked.ino, inode.generation.get());
            let (lo, hi) = (inode.checksum_lo.get(), inode.high_checksum());
            let is_right = inode_checksum_ok(&checked.bytes, lo, hi, seed);
            self.require(is_right, structure, Problem::ChecksumWrong);
        }
    }

    /// Returns whether the time of deletion is the number of the next inode in the orphan list. It
    /// cannot be mistaken for a time unless a clock was set to 1970.
    fn has_orphan_link_as_dtime(&self, checked: &CheckedInode) -> bool {
        let superblock = self.reader.superblock();
        let count = superblock.inodes_count.get();
        let times = [superblock.wtime, superblock.mtime, superblock.mkfs_time];
        let is_number = |time: u32| (1..count).contains(&time);
        is_number(checked.inode.dtime.get()) && !times.into_iter().any(|time| is_number(time.get()))
    }

    /// Checks an inode in use.
    fn check_used_inode(&mut self, checked: &CheckedInode) -> Result<(), ReadError> {
        let structure = checked.structure();
        let kind = checked.file_type();
        let is_bad_blocks = checked.ino.get() == BAD_BLOCKS;
        let bits = checked.inode.mode.get() & !PERMISSION_BITS;
        let problem = Problem::FileTypeUnknown { bits };
        self.require(kind.is_some() || is_bad_blocks, structure, problem);
        let seconds = checked.inode.dtime.get();
        let may_have_dtime = seconds == 0 || self.orphans.contains(&checked.ino.get());
        self.require(may_have_dtime, structure, Problem::DeletionTimeUnexpected { seconds });
        self.require(checked.inode.obso_faddr.get() == 0, structure, Problem::FragmentAddress);
        if checked.ino == Ino::ROOT && kind != Some(FileType::Directory) {
            self.report(structure, Problem::RootNotDirectory);
        }
        self.check_feature_flags(checked);
        let attributes = self.check_xattrs(checked)?;
        let has_resize = self.reader.superblock().has(Features::RESIZE_INODE);
        let content = if checked.ino == Ino::RESIZE && has_resize {
            self.check_resize_inode(checked)?
        } else if has_content(kind) || is_bad_blocks {
            self.check_content(checked)?
        } else {
            let size = checked.size;
            self.require(size == 0, structure, Problem::SizeWithoutContent { size });
            0
        };
        // The block count of the bad blocks inode is not maintained.
        if !is_bad_blocks {
            self.check_block_count(checked, attributes + content);
        }
        Ok(())
    }

    /// Checks flags and high halves against the features of the file system and the type of the
    /// inode.
    fn check_feature_flags(&mut self, checked: &CheckedInode) {
        let structure = checked.structure();
        let features = self.reader.superblock().features();
        let (flags, kind) = (checked.flags, checked.file_type());
        for (flag, feature, needs) in [
            (InodeFlags::EXTENTS, Features::EXTENT, InodeFeature::Extents),
            (InodeFlags::INLINE_DATA, Features::INLINE_DATA, InodeFeature::InlineData),
            (InodeFlags::EA_INODE, Features::EA_INODE, InodeFeature::XattrValue),
            (InodeFlags::ENCRYPT, Features::ENCRYPT, InodeFeature::Encryption),
            (InodeFlags::CASEFOLD, Features::CASEFOLD, InodeFeature::Casefold),
        ] {
            let has_feature = !flags.contains(flag) || features.contains(feature);
            self.require(has_feature, structure, Problem::FeatureMissing { needs });
        }
        let is_inline = flags.contains(InodeFlags::INLINE_DATA);
        let is_mapped = flags.intersects(InodeFlags::EXTENTS | InodeFlags::INDEX);
        self.require(!(is_inline && is_mapped), structure, Problem::InlineDataMapped);
        let may_be_afs = features.contains(Features::IMAGIC_INODES);
        let is_afs = flags.contains(InodeFlags::IMAGIC);
        self.require(may_be_afs || !is_afs, structure, Problem::AfsInode);
        let may_be_wide = features.contains(Features::BIT64);
        let is_wide = checked.inode.file_acl() > u32::MAX.into();
        self.require(may_be_wide || !is_wide, structure, Problem::XattrBlockNumberTooLarge);
        self.check_large_size(checked);
        let is_immutable = flags.intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND);
        let may_be_immutable = matches!(kind, Some(FileType::RegularFile | FileType::Directory));
        self.require(
            !is_immutable || may_be_immutable,
            structure,
            Problem::ImmutableSpecialFile,
        );
        let has_extents = flags.intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
        let may_have_extents = has_content(kind) || checked.ino.get() == BAD_BLOCKS;
        self.require(
            !has_extents || may_have_extents,
            structure,
            Problem::ExtentsWithoutContent,
        );
        let has_index = flags.contains(InodeFlags::INDEX);
        let may_have_index = kind == Some(FileType::Directory) && features.contains(Features::DIR_INDEX);
        self.require(!has_index || may_have_index, structure, Problem::IndexUnexpected);
    }

    /// Checks sizes that need a feature.
    fn check_large_size(&mut self, checked: &CheckedInode) {
        const LARGE: u64 = 1 << 31;
        let superblock = self.reader.superblock();
        let has_index = checked.flags.contains(InodeFlags::INDEX);
        let size = checked.size;
        let (is_large, feature, needs) = match checked.file_type() {
            Some(FileType::RegularFile) => (size >= LARGE, Features::LARGE_FILE, InodeFeature::LargeFile { size }),
            Some(FileType::Directory) => (
                size > LARGE || has_index && size == LARGE,
                Features::LARGE_DIR,
                InodeFeature::LargeDirectory { size },
            ),
            _ => return,
        };
        let may_be_large = superblock.has(feature);
        let problem = Problem::FeatureMissing { needs };
        self.require(!is_large || may_be_large, checked.structure(), problem);
    }

    /// Checks `i_blocks`, which is in units of 512 bytes or of blocks.
    fn check_block_count(&mut self, checked: &CheckedInode, blocks: u64) {
        let structure = checked.structure();
        let has_huge = self.reader.superblock().has(Features::HUGE_FILE);
        let found = if has_huge {
            checked.inode.blocks()
        } else {
            checked.inode.blocks_lo.get().into()
        };
        let unit = if has_huge && checked.flags.contains(InodeFlags::HUGE_FILE) {
            1
        } else {
            self.reader.block_size() as u64 / 512
        };
        let expected = blocks.saturating_mul(unit);
        self.require(
            found == expected,
            structure,
            Problem::InodeBlocksWrong { found, expected },
        );
        let is_huge = checked.inode.blocks() > u32::MAX.into();
        self.require(has_huge || !is_huge, structure, Problem::InodeBlocksTooLarge);
    }

    /// Reads an inode again that was checked before.
    pub(super) fn reread_inode(&mut self, ino: Ino) -> Result<Option<CheckedInode>, ReadError> {
        let position = self.inodes.position(ino.get()).and_then(|(group, index)| {
            let table = self.groups.get(group)?.descriptor.inode_table();
            (1..self.block_count).contains(&table).then_some((table, index))
        });
        let Some((table, index)) = position else {
            return Ok(None);
        };
        let size = self.reader.inode_size();
        let mut bytes = vec![0; size];
        let at = self.reader.offset_of_block(table) + u64::from(index) * size as u64;
        let read = self.reader.read_at(at, &mut bytes);
        let read = report_unreadable(read, Structure::Inode { ino: ino.get() }, &mut self.findings)?;
        Ok(read.map(|()| CheckedInode::new(ino, bytes)))
    }

    /// Claims blocks for a structure of an inode. Reports blocks outside of the image, and blocks
    /// that belong to another structure. Returns whether the blocks are in the image.
    pub(super) fn claim_blocks(&mut self, structure: Structure, start: BlockNr, count: u64) -> bool {
        let (start, end) = (start.get(), start.get().saturating_add(count));
        let first = u64::from(self.reader.superblock().first_data_block.get()).max(1);
        if start < first || end > self.block_count {
            self.report(structure, Problem::BlocksOutside { start, end });
            return false;
        }
        if let Some(block) = self.claimed.claim(start, count) {
            self.report(
                structure,
                Problem::BlockClaimedTwice {
                    block,
                    role: BlockRole::Inode,
                },
            );
        }
        true
    }
}

/// Returns whether an inode needs no name.
fn is_nameless(superblock: &Superblock, ino: Ino) -> bool {
    NAMELESS.contains(&ino.get()) || superblock.named_inodes().contains(&ino.get())
}

/// Returns whether inodes of a type have content.
fn has_content(file_type: Option<FileType>) -> bool {
    use FileType::{Directory, RegularFile, Symlink};
    matches!(file_type, Some(RegularFile | Directory | Symlink))
}
