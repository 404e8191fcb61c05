//! Inodes: all that are in use, in the order of their numbers (pass 1 of e2fsck).

use std::io::{Read, Seek};
use std::mem::offset_of;

use zerocopy::{FromZeros, IntoBytes};

use super::inode_facts::InodeFact;
use super::ownership::Ownership;
use super::{BlockRole, Check, Problem, found, is_zeros};
use crate::disk::group_desc::GroupFlags;
use crate::disk::inode::{BLOCK_LEN, Inode, InodeFlags, file_type};
use crate::disk::superblock::Superblock;
use crate::read::facts::{compat, incompat, ro_compat};
use crate::read::sums::is_right_inode;
use crate::read::{ReadError, Structure};
use crate::units::{BlockNr, Ino};

/// Reserved inodes that are files, and have no name (`EXT4_USR_QUOTA_INO`, `EXT4_GRP_QUOTA_INO`, `EXT4_BOOT_LOADER_INO`).
const NAMELESS: [u32; 6] = [1, 3, 4, 5, Ino::RESIZE.0, Ino::JOURNAL.0];

/// Most bytes of an inode table that are read at once.
const PART_LEN: usize = 1 << 20;

/// What an inode has that takes a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InodeFeature {
    /// An extent tree (`extent`).
    #[error("it has extents")]
    Extents,
    /// Content in the inode (`inline_data`).
    #[error("it has inline data")]
    InlineData,
    /// The value of an attribute as content (`ea_inode`).
    #[error("it has the value of an attribute")]
    XattrValue,
    /// A block of attributes (`ext_attr`).
    #[error("it has a block of attributes")]
    XattrBlock,
    /// Encrypted content or names (`encrypt`).
    #[error("it is encrypted")]
    Encryption,
    /// Names whose case does not matter (`casefold`).
    #[error("its names are without case")]
    Casefold,
    /// A file of 2 GiB or more (`large_file`).
    #[error("it is a large file, of {size} bytes")]
    LargeFile {
        /// Its size in bytes.
        size: u64,
    },
    /// A directory of more than 2 GiB (`large_dir`).
    #[error("it is a large directory, of {size} bytes")]
    LargeDirectory {
        /// Its size in bytes.
        size: u64,
    },
}

/// An inode that is being checked.
pub(super) struct Checked {
    pub(super) ino: Ino,
    pub(super) inode: Inode,
    pub(super) flags: InodeFlags,
    pub(super) size: u64,
    /// Where the fields end that it says it has.
    pub(super) fields_end: usize,
    /// All its bytes.
    pub(super) bytes: Vec<u8>,
}

impl Checked {
    pub(super) fn structure(&self) -> Structure {
        Structure::Inode { ino: self.ino.get() }
    }

    pub(super) fn file_type(&self) -> u16 {
        self.inode.mode.get() & 0o170_000
    }

    /// First byte of the inode's room for attributes, as long as it is within it.
    pub(super) fn room(&self) -> &[u8] {
        self.bytes.get(self.fields_end..).unwrap_or_default()
    }

    pub(super) fn xattr_block(&self) -> u64 {
        u64::from(self.inode.file_acl_lo.get()) | u64::from(self.inode.file_acl_high.get()) << 32
    }

    pub(super) fn is_fast_symlink(&self) -> bool {
        let is_mapped = self.flags.intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
        self.file_type() == file_type::SYMLINK && !is_mapped && self.size < BLOCK_LEN as u64
    }
}

impl<R: Read + Seek> Check<R> {
    pub(super) fn inodes(&mut self) -> Result<(), ReadError> {
        // Damaged descriptors may name one table many times: then it is that of the first.
        let mut tables = Ownership::new(self.block_count);
        let len = self.table_blocks();
        for group in 0..self.groups.len() {
            self.inodes.begin_group();
            if self.findings.is_over() {
                break;
            }
            let described = &mut self.groups[group];
            if described.flags.contains(GroupFlags::INODE_UNINIT) {
                continue;
            }
            let (table, blocks) = (described.inode_table, 1..self.block_count);
            described.is_unknown = !blocks.contains(&table) || tables.claim(table, len).is_some();
            if !described.is_unknown {
                let number = u32::try_from(group).expect("groups are counted in 32 bits");
                self.table(number)?;
            }
        }
        self.names.are_partial = self.groups.iter().any(|group| group.is_unknown);
        Ok(())
    }

    /// Whether an inode is in a group whose inodes are not known.
    pub(super) fn is_unknown(&self, ino: u32) -> bool {
        let group = self.inodes.place_of(ino).and_then(|(group, _)| self.groups.get(group));
        group.is_some_and(|group| group.is_unknown)
    }

    /// The inodes of a group, as far as they were ever used.
    fn table(&mut self, group: u32) -> Result<(), ReadError> {
        let described = &self.groups[group as usize];
        let (table, per_group) = (described.inode_table, self.inodes.per_group());
        let inode_size = self.reader.inode_size();
        let in_block = (self.reader.block_size() / inode_size) as u64;
        let in_image = (self.block_count - table).saturating_mul(in_block);
        let used = per_group.saturating_sub(described.unused_inodes);
        let used = u32::try_from(in_image).map_or(used, |in_image| in_image.min(used));
        let start = self.reader.offset_of_block(table);
        let in_part = u32::try_from(PART_LEN / inode_size).expect("a part is small");
        let first = group * per_group + 1;
        let mut part = Vec::new();
        for begun in (0..used).step_by(in_part as usize) {
            let count = in_part.min(used - begun);
            part.resize(count as usize * inode_size, 0);
            let at = start + u64::from(begun) * inode_size as u64;
            let read = self.reader.read_at(at, &mut part);
            if found(read, Structure::GroupDescriptor { group }, &mut self.findings)?.is_none() {
                return Ok(());
            }
            let inodes = (first + begun..).zip(part.chunks_exact(inode_size));
            for (ino, bytes) in inodes.filter(|(_, bytes)| !is_zeros(bytes)) {
                self.inode(Ino(ino), bytes.to_vec())?;
                if self.findings.is_over() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn inode(&mut self, ino: Ino, bytes: Vec<u8>) -> Result<(), ReadError> {
        let checked = self.fields(ino, bytes);
        let first = self.reader.superblock().first_ino.get().max(11);
        let links = checked.inode.links_count.get();
        let mode = checked.inode.mode.get();
        let is_reserved = ino.get() < first && ino != Ino::ROOT;
        // Of those that are reserved, some have a use by their number alone, and others by the superblock.
        let superblock = self.reader.superblock();
        let may_be_file = matches!(ino.get(), 5 | 7) || superblock_names(superblock).contains(&ino.get());
        self.expect(
            !is_reserved || may_be_file || mode == 0,
            checked.structure(),
            Problem::ReservedInodeHasMode { mode },
        );
        if is_reserved {
            self.reserved(&checked);
        }
        let is_orphan = links == 0 && mode != 0 && self.orphans.contains(&ino.get());
        let is_unused = links == 0 && !(is_reserved && mode != 0) && !is_orphan;
        // A reserved inode without a mode is not in use, whatever else is in it.
        if is_unused || is_reserved && mode == 0 && !may_be_file {
            if mode != 0 && checked.inode.dtime.get() == 0 {
                self.find(checked.structure(), Problem::DeletionTimeMissing);
            }
            let is_time = !self.has_numbers_for_times(&checked);
            self.expect(is_time, checked.structure(), Problem::OrphanLinkStale);
            // The list of bad blocks is in use without looking like it; whatever is reserved may have attributes.
            if ino.get() == 1 {
                self.blocks_of(&checked, true)?;
            } else if is_reserved {
                let attributes = self.attributes(&checked)?;
                self.sectors(&checked, attributes);
            }
            return Ok(());
        }
        let is_value = checked.flags.contains(InodeFlags::EA_INODE);
        let superblock = self.reader.superblock();
        let is_special = is_nameless(superblock, ino);
        self.inodes.push(InodeFact {
            index: (ino.get() - 1) % self.inodes.per_group(),
            // What is of no kind is in use all the same.
            file_type: (mode & 0o170_000).max(1),
            links,
            found: 0,
            is_nameless: is_special || is_reserved || is_value,
            is_foreign: checked.flags.contains(InodeFlags::IMAGIC),
            is_orphan,
        });
        self.used(&checked)
    }

    /// Whether what the superblock names is in use.
    pub(super) fn named_inodes(&mut self) {
        let superblock = self.reader.superblock();
        let has_resize = superblock.has_compat(compat::RESIZE_INODE);
        let resize = has_resize.then_some(Ino::RESIZE.get());
        let names = superblock_names(superblock).into_iter().chain(resize);
        for ino in names.filter(|&ino| ino != 0) {
            let is_used = self.inodes.get(ino).is_some() || self.is_unknown(ino);
            self.expect(is_used, Structure::Superblock, Problem::NamedInodeUnused { ino });
        }
    }

    /// What has a use by its number, or none.
    fn reserved(&mut self, checked: &Checked) {
        let structure = checked.structure();
        let (ino, inode, flags) = (checked.ino.get(), &checked.inode, checked.flags);
        let is_file = inode.mode.get() != 0 || inode.links_count.get() != 0;
        self.expect(
            !flags.contains(InodeFlags::CASEFOLD),
            structure,
            Problem::FeatureMissing {
                needs: InodeFeature::Casefold,
            },
        );
        if ino == 1 {
            let has_owner = inode.uid.get() != 0 || inode.gid.get() != 0;
            let has_more = flags.contains(InodeFlags::INLINE_DATA) || inode.file_acl_lo.get() != 0;
            self.expect(
                !is_file && !has_owner && !has_more,
                structure,
                Problem::BadBlocksInodeWrong,
            );
            return;
        }
        let superblock = self.reader.superblock();
        let is_named = superblock_names(superblock).contains(&ino);
        let has_resize = superblock.has_compat(compat::RESIZE_INODE);
        let has_block = match ino {
            // Only the first is looked at.
            3 | 4 | 8 if !is_named => inode.links_count.get() != 0 || inode.block[..4].iter().any(|&byte| byte != 0),
            7 if !has_resize => inode.block.iter().any(|&byte| byte != 0),
            _ => false,
        };
        self.expect(!has_block, structure, Problem::ReservedInodeHasBlocks);
        if !is_file && !matches!(ino, 3 | 4 | 8) {
            self.expect(!flags.contains(InodeFlags::INDEX), structure, Problem::IndexUnexpected);
            let (size, most) = (checked.size, self.most_bytes(checked));
            self.expect(size <= most, structure, Problem::FileTooLarge { size });
        }
    }

    /// Takes the bytes apart, and verifies their sum.
    fn fields(&mut self, ino: Ino, bytes: Vec<u8>) -> Checked {
        const CLASSIC_LEN: usize = offset_of!(Inode, extra_isize);
        let mut inode = Inode::new_zeroed();
        let len = bytes.len().min(size_of::<Inode>());
        inode.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
        let room = bytes.len() - CLASSIC_LEN;
        let extra = if room == 0 { 0 } else { inode.extra_isize.get() };
        let is_right = extra == 0 || (4..=room).contains(&extra.into()) && extra.is_multiple_of(4);
        let structure = Structure::Inode { ino: ino.get() };
        self.expect(is_right, structure, Problem::ExtraFieldsWrong { bytes: extra });
        if let Some(seed) = self.reader.sums().seed() {
            let seed = seed.of_inode(ino, inode.generation.get());
            let hi = (extra >= 4).then(|| inode.checksum_hi.get());
            if !is_right_inode(&bytes, inode.checksum_lo.get(), hi, seed) {
                self.find(structure, Problem::ChecksumWrong);
            }
        }
        Checked {
            ino,
            flags: InodeFlags::from_bits_retain(inode.flags.get()),
            size: u64::from(inode.size_lo.get()) | u64::from(inode.size_high.get()) << 32,
            fields_end: if is_right {
                CLASSIC_LEN + usize::from(extra)
            } else {
                bytes.len()
            },
            inode,
            bytes,
        }
    }

    /// Whether what should be a time of deletion is the number of the next inode in a list of orphans. It can be told where no
    /// clock stood at the epoch.
    fn has_numbers_for_times(&self, checked: &Checked) -> bool {
        let superblock = self.reader.superblock();
        let count = superblock.inodes_count.get();
        let times = [superblock.wtime, superblock.mtime, superblock.mkfs_time];
        let is_number = |time: u32| (1..count).contains(&time);
        is_number(checked.inode.dtime.get()) && !times.into_iter().any(|time| is_number(time.get()))
    }

    /// An inode in use.
    fn used(&mut self, checked: &Checked) -> Result<(), ReadError> {
        let structure = checked.structure();
        let kind = checked.file_type();
        let is_known = matches!(
            kind,
            file_type::FIFO
                | file_type::CHAR_DEVICE
                | file_type::DIRECTORY
                | file_type::BLOCK_DEVICE
                | file_type::REGULAR
                | file_type::SYMLINK
                | file_type::SOCKET
        );
        let is_bad_blocks = checked.ino.get() == 1;
        self.expect(
            is_known || is_bad_blocks,
            structure,
            Problem::FileTypeUnknown { bits: kind },
        );
        let deleted = checked.inode.dtime.get();
        let is_orphan = self.orphans.contains(&checked.ino.get());
        self.expect(
            deleted == 0 || is_orphan,
            structure,
            Problem::DeletionTimeUnexpected { seconds: deleted },
        );
        self.expect(checked.inode.obso_faddr.get() == 0, structure, Problem::FragmentAddress);
        if checked.ino == Ino::ROOT && kind != file_type::DIRECTORY {
            self.find(structure, Problem::RootNotDirectory);
        }
        self.features(checked);
        let attributes = self.attributes(checked)?;
        let has_content = matches!(kind, file_type::REGULAR | file_type::DIRECTORY | file_type::SYMLINK);
        let has_resize = self.reader.superblock().has_compat(compat::RESIZE_INODE);
        let content = if checked.ino == Ino::RESIZE && has_resize {
            self.resize_inode(checked)?
        } else if has_content || is_bad_blocks {
            self.content(checked)?
        } else {
            self.expect(
                checked.size == 0,
                structure,
                Problem::SizeWithoutContent { size: checked.size },
            );
            0
        };
        // Nobody counts bad blocks.
        if !is_bad_blocks {
            self.sectors(checked, attributes + content);
        }
        Ok(())
    }

    /// Flags and high halves whose features are not there.
    fn features(&mut self, checked: &Checked) {
        let structure = checked.structure();
        for (flag, feature, needs) in [
            (InodeFlags::EXTENTS, incompat::EXTENT, InodeFeature::Extents),
            (InodeFlags::INLINE_DATA, incompat::INLINE_DATA, InodeFeature::InlineData),
            (InodeFlags::EA_INODE, incompat::EA_INODE, InodeFeature::XattrValue),
        ] {
            let has_feature = self.reader.has_incompat(feature);
            self.expect(
                has_feature || !checked.flags.contains(flag),
                structure,
                Problem::FeatureMissing { needs },
            );
        }
        // A file system with these features is not read at all.
        for (flag, needs) in [
            (InodeFlags::ENCRYPT, InodeFeature::Encryption),
            (InodeFlags::CASEFOLD, InodeFeature::Casefold),
        ] {
            self.expect(
                !checked.flags.contains(flag),
                structure,
                Problem::FeatureMissing { needs },
            );
        }
        let is_inline = checked.flags.contains(InodeFlags::INLINE_DATA);
        let is_mapped = checked.flags.intersects(InodeFlags::EXTENTS | InodeFlags::INDEX);
        self.expect(!(is_inline && is_mapped), structure, Problem::InlineDataMapped);
        let may_be_magic = self.reader.superblock().has_compat(compat::IMAGIC_INODES);
        let is_magic = checked.flags.contains(InodeFlags::IMAGIC);
        self.expect(may_be_magic || !is_magic, structure, Problem::AfsInode);
        let is_wide = self.reader.has_incompat(incompat::BIT64);
        self.expect(
            is_wide || checked.inode.file_acl_high.get() == 0,
            structure,
            Problem::XattrBlockNumberTooLarge,
        );
        self.large(checked);
        let kind = checked.file_type();
        let is_device = !matches!(kind, file_type::REGULAR | file_type::DIRECTORY | file_type::SYMLINK);
        let is_kept = checked.flags.intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND);
        let may_be_kept = matches!(kind, file_type::REGULAR | file_type::DIRECTORY);
        self.expect(!is_kept || may_be_kept, structure, Problem::ImmutableSpecialFile);
        let has_extents = checked.flags.intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
        self.expect(
            !(is_device && has_extents) || checked.ino.get() == 1,
            structure,
            Problem::ExtentsWithoutContent,
        );
        let has_index = checked.flags.contains(InodeFlags::INDEX);
        let may_have = kind == file_type::DIRECTORY && self.reader.superblock().has_compat(compat::DIR_INDEX);
        self.expect(!has_index || may_have, structure, Problem::IndexUnexpected);
    }

    /// Sizes that take features.
    fn large(&mut self, checked: &Checked) {
        const LARGE: u64 = 1 << 31;
        let superblock = self.reader.superblock();
        let has_index = checked.flags.contains(InodeFlags::INDEX);
        let size = checked.size;
        let (is_large, has_feature, needs) = match checked.file_type() {
            file_type::REGULAR => (
                size >= LARGE,
                superblock.has_ro_compat(ro_compat::LARGE_FILE),
                InodeFeature::LargeFile { size },
            ),
            file_type::DIRECTORY => (
                size > LARGE || has_index && size == LARGE,
                superblock.has_incompat(incompat::LARGE_DIR),
                InodeFeature::LargeDirectory { size },
            ),
            _ => return,
        };
        self.expect(
            !is_large || has_feature,
            checked.structure(),
            Problem::FeatureMissing { needs },
        );
    }

    /// `i_blocks`: in units of 512 bytes, or of blocks.
    fn sectors(&mut self, checked: &Checked, blocks: u64) {
        let has_huge = self.reader.superblock().has_ro_compat(ro_compat::HUGE_FILE);
        let high = if has_huge { checked.inode.blocks_high.get() } else { 0 };
        let found = u64::from(checked.inode.blocks_lo.get()) | u64::from(high) << 32;
        let unit = if has_huge && checked.flags.contains(InodeFlags::HUGE_FILE) {
            1
        } else {
            self.reader.block_size() as u64 / 512
        };
        let expected = blocks.saturating_mul(unit);
        self.expect(
            found == expected,
            checked.structure(),
            Problem::InodeBlocksWrong { found, expected },
        );
        self.expect(
            has_huge || checked.inode.blocks_high.get() == 0,
            checked.structure(),
            Problem::InodeBlocksTooLarge,
        );
    }

    /// Reads an inode that is in use once more.
    pub(super) fn again(&mut self, ino: Ino) -> Result<Option<Checked>, ReadError> {
        let place = self.inodes.place_of(ino.get()).and_then(|(group, index)| {
            let table = self.groups.get(group)?.inode_table;
            (1..self.block_count).contains(&table).then_some((table, index))
        });
        let Some((table, index)) = place else {
            return Ok(None);
        };
        let size = self.reader.inode_size();
        let mut bytes = vec![0; size];
        let at = self.reader.offset_of_block(table) + u64::from(index) * size as u64;
        if found(
            self.reader.read_at(at, &mut bytes),
            Structure::Inode { ino: ino.get() },
            &mut self.findings,
        )?
        .is_none()
        {
            return Ok(None);
        }
        // It was checked before.
        let findings = std::mem::take(&mut self.findings);
        let checked = self.fields(ino, bytes);
        self.findings = findings;
        Ok(Some(checked))
    }

    /// Takes blocks for something; they must be there, and not belong to anything else.
    pub(super) fn own(&mut self, structure: Structure, start: BlockNr, count: u64) -> bool {
        let (start, end) = (start.get(), start.get().saturating_add(count));
        let first = u64::from(self.reader.superblock().first_data_block.get()).max(1);
        if start < first || end > self.block_count {
            self.find(structure, Problem::BlocksOutside { start, end });
            return false;
        }
        if let Some(block) = self.blocks.claim(start, count) {
            self.find(
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

/// Whether an inode is one of those that need no name.
fn is_nameless(superblock: &Superblock, ino: Ino) -> bool {
    NAMELESS.contains(&ino.get()) || superblock_names(superblock).contains(&ino.get())
}

/// Inodes that the superblock gives a use.
fn superblock_names(superblock: &Superblock) -> [u32; 5] {
    [
        superblock.journal_inum.get(),
        superblock.usr_quota_inum.get(),
        superblock.grp_quota_inum.get(),
        superblock.prj_quota_inum.get(),
        superblock.orphan_file_inum.get(),
    ]
}
