//! [`Problem`]: all that a check can find, in one table.

mod details;

use std::error::Error;
use std::fmt;

pub use details::{BitmapUnit, InodeFeature, QuotaProblem, StopReason};

use super::BlockRole;
use crate::read::ReadError;

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Parents and contents of files do not depend on it: a spare copy, a total that the kernel
    /// counts again, or a field that it does not read.
    Warning,
    /// The kernel or e2fsck may refuse what it concerns, and files may be lost by using it.
    Error,
}

impl Severity {
    /// Returns `warning` or `error`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes the enum, its codes and its severities of one table.
macro_rules! problems {
    ($(
        #[doc = $summary:literal]
        #[error($($text:tt)*)]
        $variant:ident $({ $($field:ident: $type:ty),* })? => $code:literal, $severity:ident;
    )*) => {
        /// Fault of a structure. `Display` says it in words.
        ///
        /// Fields have the same names in all variants: `found` is what the image says, and
        /// `expected` what follows from the rest of it. `ino` is the number of an inode, `block`
        /// that of a block of the image, `logical` that of a block of the file; `name` has the
        /// bytes of a name. Sizes are in bytes if their name does not say another unit.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the fields that all variants share are described once")]
        #[non_exhaustive]
        pub enum Problem {
            $(
                #[doc = $summary]
                #[doc = concat!("\n\nCode: `", $code, "`.")]
                $variant $({ $($field: $type),* })?,
            )*
        }

        impl fmt::Display for Problem {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant $({ $($field),* })? => write!(f, $($text)*),)*
                }
            }
        }

        impl Error for Problem {}

        impl Problem {
            /// Returns the code of the problem, which later versions keep: lowercase words with
            /// hyphens between.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }

            /// Severity in a structure that is in use.
            pub(super) fn severity(&self) -> Severity {
                match self {
                    $(Self::$variant { .. } => Severity::$severity,)*
                }
            }

            /// Codes, severities and summaries of all problems.
            #[cfg(test)]
            const TABLE: &[(&str, Severity, &str)] = &[$(($code, Severity::$severity, $summary),)*];
        }
    };
}

problems! {
    // Any structure

    /// The checksum is not that of what it covers.
    #[error("its checksum is wrong")]
    ChecksumWrong => "checksum-wrong", Error;

    /// A block that has to be read is not in the image.
    #[error("block {block} is outside of the file system")]
    BlockOutside { block: u64 } => "block-outside", Error;

    /// Blocks of something, up to the one before `end`, are not all in the image.
    #[error("blocks {start} to {end} are outside of the file system")]
    BlocksOutside { start: u64, end: u64 } => "blocks-outside", Error;

    /// A block belongs to two structures.
    #[error("{} belongs to something else too", role.of_block(*block))]
    BlockClaimedTwice { block: u64, role: BlockRole } => "block-claimed-twice", Error;

    /// The image ends before the structure does.
    #[error("the image ends before it does")]
    ImageEndsEarly => "image-ends-early", Error;

    /// The rest of the image was not checked.
    #[error("{reason} that nothing else is looked at")]
    CheckStopped { reason: StopReason } => "check-stopped", Error;

    // The superblock

    /// The superblock counts more blocks than the image has.
    #[error("it says that there are {found} blocks, and the image has {available}")]
    BlockCountBeyondImage { found: u64, available: u64 } => "block-count-beyond-image", Error;

    /// The superblock counts no blocks.
    #[error("it has no blocks")]
    BlockCountZero => "block-count-zero", Error;

    /// The first block of the first group is not the one that the block size asks for.
    #[error("the first block is {found}, not {expected}")]
    FirstBlockWrong { found: u32, expected: u32 } => "first-block-wrong", Error;

    /// A group cannot have that number of blocks.
    #[error("{blocks} blocks in a group")]
    BlocksPerGroupWrong { blocks: u32 } => "blocks-per-group-wrong", Error;

    /// Clusters have another size than blocks, without the feature for it.
    #[error("clusters that are no blocks")]
    ClusterSizeWrong => "cluster-size-wrong", Error;

    /// A group cannot have that number of inodes.
    #[error("{inodes} inodes in a group")]
    InodesPerGroupWrong { inodes: u32 } => "inodes-per-group-wrong", Error;

    /// The number of inodes is not that of all groups.
    #[error("{found} inodes instead of {expected}")]
    InodeCountWrong { found: u32, expected: u64 } => "inode-count-wrong", Error;

    /// Group descriptors cannot have that size.
    #[error("group descriptors of {bytes} bytes")]
    DescriptorSizeWrong { bytes: u64 } => "descriptor-size-wrong", Error;

    /// The descriptors of all groups do not fit into the first group.
    #[error("there is no room for the descriptors of {groups} groups")]
    DescriptorsWithoutRoom { groups: u32 } => "descriptors-without-room", Error;

    /// More than half of the blocks are reserved.
    #[error("{found} reserved blocks of {blocks}")]
    ReservedBlocksTooMany { found: u64, blocks: u64 } => "reserved-blocks-too-many", Error;

    /// More blocks are free than there are.
    #[error("{found} free blocks of {blocks}")]
    FreeBlocksTooMany { found: u64, blocks: u64 } => "free-blocks-too-many", Error;

    /// More inodes are free than there are.
    #[error("{found} free inodes of {inodes}")]
    FreeInodesTooMany { found: u32, inodes: u32 } => "free-inodes-too-many", Error;

    /// The revision of the format is unknown.
    #[error("revision {revision}")]
    RevisionUnknown { revision: u32 } => "revision-unknown", Error;

    /// The first inode that is not reserved cannot be that one.
    #[error("the first inode that is not reserved is {ino}")]
    FirstInodeWrong { ino: u32 } => "first-inode-wrong", Error;

    /// That many blocks cannot be reserved for group descriptors.
    #[error("{blocks} blocks reserved for descriptors")]
    ReservedDescriptorBlocksWrong { blocks: u16 } => "reserved-descriptor-blocks-wrong", Error;

    /// A flexible group cannot have two to that power of groups.
    #[error("2^{exponent} groups whose bitmaps and tables lie together")]
    FlexGroupSizeWrong { exponent: u8 } => "flex-group-size-wrong", Error;

    /// There is a seed for checksums, and no checksums.
    #[error("there is a seed for checksums, and there are none")]
    ChecksumSeedUnused => "checksum-seed-unused", Error;

    /// Orphans are said to be in a file, and there is none for them.
    #[error("there is no file for the orphans that there are")]
    OrphanFileMissing => "orphan-file-missing", Error;

    /// The default hash of directories is unknown.
    #[error("hashes of version {version}")]
    HashVersionUnknown { version: u8 } => "hash-version-unknown", Error;

    /// Inodes have no room for that many bytes of fields behind the first 128.
    #[error("{bytes} bytes of fields behind the first 128")]
    ExtraFieldsWrong { bytes: u16 } => "extra-fields-wrong", Error;

    /// A journal is to be replayed, and there is none.
    #[error("there is no journal to replay")]
    JournalToReplayMissing => "journal-to-replay-missing", Error;

    /// The list of orphans is not empty after a clean unmount.
    #[error("inode {ino} is in the list of orphans")]
    OrphanListNotEmpty { ino: u32 } => "orphan-list-not-empty", Error;

    /// The superblock gives a use to an inode that is not in use.
    #[error("it names inode {ino}, which is not in use")]
    NamedInodeUnused { ino: u32 } => "named-inode-unused", Error;

    /// The block for multiple-mount protection is not one.
    #[error("block {block} is not the one by which two hosts notice each other")]
    MmpBlockWrong { block: u64 } => "mmp-block-wrong", Error;

    /// The checksum of the block for multiple-mount protection is wrong.
    #[error("the checksum of block {block}, by which two hosts notice each other, is wrong")]
    MmpChecksumWrong { block: u64 } => "mmp-checksum-wrong", Error;

    /// The block for multiple-mount protection says that e2fsck is at work.
    #[error("block {block}, by which two hosts notice each other, says that a program repairs it: {sequence:#x}")]
    MmpInUse { block: u64, sequence: u32 } => "mmp-in-use", Error;

    // The journal

    /// The superblock names the inode of a journal, and there is no journal.
    #[error("it has no journal, and one in inode {ino}")]
    JournalInodeUnexpected { ino: u32 } => "journal-inode-unexpected", Error;

    /// The superblock names the device of a journal, and there is no journal.
    #[error("it has no journal, and one on another device")]
    JournalDeviceUnexpected => "journal-device-unexpected", Error;

    /// The journal is not in the image, and was not checked.
    #[error("its journal is on another device, and cannot be looked at")]
    JournalElsewhere => "journal-elsewhere", Error;

    /// The journal is not in the inode for it.
    #[error("the journal is in inode {ino}")]
    JournalInodeWrong { ino: u32 } => "journal-inode-wrong", Error;

    /// The journal is not empty after a clean unmount.
    #[error("it holds something, and the superblock does not say that it has to be replayed")]
    JournalNotEmpty => "journal-not-empty", Error;

    /// The kernel noted an error in the journal.
    #[error("it notes error {errno}")]
    JournalError { errno: i32 } => "journal-error", Error;

    /// More than one file system has the journal.
    #[error("{users} file systems share it")]
    JournalShared { users: u32 } => "journal-shared", Error;

    /// The superblock's copy of the journal's blocks, for e2fsck, is out of date.
    #[error("its copy of where the journal is is not what the journal's inode says")]
    JournalBackupDiffers => "journal-backup-differs", Warning;

    // Groups

    /// A part of a group is marked as never written, without the feature for it.
    #[error("some of it was never written, and the file system has no such feature")]
    UninitWithoutFeature => "uninit-without-feature", Error;

    /// The block bitmap of the last group is marked as never written.
    #[error("the block bitmap of the last group was never written")]
    LastGroupUninit => "last-group-uninit", Error;

    /// More inodes of a group are unused than it has.
    #[error("{found} unused inodes of {inodes}")]
    UnusedInodesTooMany { found: u32, inodes: u32 } => "unused-inodes-too-many", Error;

    /// A bitmap or an inode table lies outside of the blocks that it can be in.
    #[error("its {role} at block {block} is not where one can be")]
    GroupBlockMisplaced { block: u64, role: BlockRole } => "group-block-misplaced", Error;

    /// A backup says something else than the superblock.
    #[error("it says something else than the superblock")]
    SuperblockBackupDiffers => "superblock-backup-differs", Warning;

    /// The backup of a group's descriptor has a wrong checksum, or leads elsewhere.
    #[error("that of group {group} is damaged, or another")]
    DescriptorBackupDiffers { group: u32 } => "descriptor-backup-differs", Warning;

    // Inodes (pass 1)

    /// A reserved inode without a use has a mode.
    #[error("it is reserved, and has mode {mode:o}")]
    ReservedInodeHasMode { mode: u16 } => "reserved-inode-has-mode", Error;

    /// A reserved inode without a use has links or blocks.
    #[error("it has no use, and has links or blocks")]
    ReservedInodeHasBlocks => "reserved-inode-has-blocks", Error;

    /// The inode of bad blocks has fields that only files have.
    #[error("it holds the bad blocks, and looks like a file")]
    BadBlocksInodeWrong => "bad-blocks-inode-wrong", Error;

    /// A deleted inode has no time of deletion.
    #[error("it has no name, and no time when it was deleted")]
    DeletionTimeMissing => "deletion-time-missing", Warning;

    /// An inode in use has a time of deletion, in seconds since 1970.
    #[error("it is in use, and was deleted at {seconds}")]
    DeletionTimeUnexpected { seconds: u32 } => "deletion-time-unexpected", Warning;

    /// A deleted inode is a member of a list of orphans that does not lead to it.
    #[error("it goes on with a list of orphans that does not lead to it")]
    OrphanLinkStale => "orphan-link-stale", Warning;

    /// The type of the inode is unknown.
    #[error("it is of no kind: {bits:o}")]
    FileTypeUnknown { bits: u16 } => "file-type-unknown", Error;

    /// The inode has the address of a fragment, which ext4 does not have.
    #[error("it has the address of a fragment")]
    FragmentAddress => "fragment-address", Warning;

    /// The inode of the root is not a directory.
    #[error("the root is not a directory")]
    RootNotDirectory => "root-not-directory", Error;

    /// The inode needs a feature that the file system does not have.
    #[error("{needs}, and the file system has no such feature")]
    FeatureMissing { needs: InodeFeature } => "feature-missing", Error;

    /// The content of the inode lies in it, and has extents or an index.
    #[error("its content lies in it, and has extents or an index")]
    InlineDataMapped => "inline-data-mapped", Error;

    /// The inode is one of AFS, without the feature for it.
    #[error("it is one of AFS, and cannot be")]
    AfsInode => "afs-inode", Error;

    /// The number of the block of attributes has more than 32 bits, without the feature for it.
    #[error("the number of its block of attributes is too large")]
    XattrBlockNumberTooLarge => "xattr-block-number-too-large", Error;

    /// A device, FIFO, socket or symlink is immutable or append-only.
    #[error("it cannot be changed, or only appended to, and is neither file nor directory")]
    ImmutableSpecialFile => "immutable-special-file", Error;

    /// An inode of a type without content has extents.
    #[error("it has extents, and no content")]
    ExtentsWithoutContent => "extents-without-content", Error;

    /// An inode has an index, and is no directory or without the feature for it.
    #[error("it has an index, and cannot")]
    IndexUnexpected => "index-unexpected", Error;

    /// An inode of a type without content has a size.
    #[error("it has no content, and {size} bytes")]
    SizeWithoutContent { size: u64 } => "size-without-content", Error;

    /// The number of blocks is not that of the inode's blocks, in the unit of the inode.
    #[error("i_blocks is {found} instead of {expected}")]
    InodeBlocksWrong { found: u64, expected: u64 } => "inode-blocks-wrong", Error;

    /// The number of blocks has more than 32 bits, without the feature for it.
    #[error("i_blocks is too large")]
    InodeBlocksTooLarge => "inode-blocks-too-large", Error;

    // Content: extent trees, block maps, sizes (pass 1)

    /// The header of a node of an extent tree is wrong.
    #[error("the header of a node of its extent tree makes no sense")]
    ExtentHeaderWrong => "extent-header-wrong", Error;

    /// A child of a node of an extent tree is not in order.
    #[error("block {logical} of the file is not where it belongs in its extent tree")]
    ExtentIndexOutOfOrder { logical: u32 } => "extent-index-out-of-order", Error;

    /// An extent is empty, out of order, or overlaps another.
    #[error("the extent of {blocks} blocks at block {logical} of the file")]
    ExtentWrong { logical: u32, blocks: u32 } => "extent-wrong", Error;

    /// A block map reaches a block of the file whose number has more than 32 bits.
    #[error("block {logical} of the file is too far away")]
    MappedBlockTooFar { logical: u64 } => "mapped-block-too-far", Error;

    /// Content in the inode has no attribute for its second part.
    #[error("its content lies in it, without an attribute for the rest of it")]
    InlineDataIncomplete => "inline-data-incomplete", Error;

    /// Content in the inode has another size than its room.
    #[error("its content lies in it, has {size} bytes, and room for {room}")]
    InlineDataSizeWrong { size: u64, room: u64 } => "inline-data-size-wrong", Error;

    /// The target of a symlink ends earlier or later than its size says.
    #[error("a symlink whose target has not {size} bytes")]
    SymlinkTargetLengthWrong { size: u64 } => "symlink-target-length-wrong", Error;

    /// The target of a symlink cannot have that size.
    #[error("a symlink whose target has {size} bytes")]
    SymlinkSizeWrong { size: u64 } => "symlink-size-wrong", Error;

    /// A directory does not end with its last block.
    #[error("a directory of {size} bytes that ends with its block {end}")]
    DirectorySizeWrong { size: u64, end: u64 } => "directory-size-wrong", Error;

    /// A directory has holes.
    #[error("a directory with holes")]
    DirectoryWithHoles => "directory-with-holes", Error;

    /// A directory has blocks that are marked as never written.
    #[error("a directory with blocks that were never written")]
    DirectoryUnwritten => "directory-unwritten", Error;

    /// A file ends before its last block.
    #[error("a file of {size} bytes whose last block is {last}")]
    FileSizeWrong { size: u64, last: u64 } => "file-size-wrong", Error;

    /// A file is larger than its extents or its block map can reach.
    #[error("a file of {size} bytes")]
    FileTooLarge { size: u64 } => "file-too-large", Error;

    // The inode of the blocks reserved for group descriptors (pass 1)

    /// The inode of reserved blocks is not a regular file with one link.
    #[error("it is not a file with one link")]
    ResizeInodeNotFile => "resize-inode-not-file", Error;

    /// The inode of reserved blocks has extents.
    #[error("it has no map of blocks")]
    ResizeInodeNotMapped => "resize-inode-not-mapped", Error;

    /// The inode of reserved blocks has blocks of its own.
    #[error("it has more than a double-indirect block")]
    ResizeInodeHasMore => "resize-inode-has-more", Error;

    /// The map of reserved blocks leads elsewhere.
    #[error("number {index} is {found} instead of {expected}")]
    ReservedBlockWrong { index: u32, found: u32, expected: u64 } => "reserved-block-wrong", Error;

    // Extended attributes (pass 1)

    /// The header of a block of attributes is wrong.
    #[error("its header makes no sense")]
    XattrHeaderWrong => "xattr-header-wrong", Error;

    /// A block of attributes is something else.
    #[error("it is no block of attributes")]
    XattrBlockWrong => "xattr-block-wrong", Error;

    /// The list of attributes reaches the end of its room.
    #[error("its attributes do not end")]
    XattrsUnterminated => "xattrs-unterminated", Error;

    /// The name of an attribute reaches out of its room.
    #[error("the name of an attribute is too long")]
    XattrNameOutside => "xattr-name-outside", Error;

    /// An attribute cannot have that name.
    #[error("an attribute of the name {:?} in namespace {namespace}", shown(name))]
    XattrNameWrong { name: Box<[u8]>, namespace: u8 } => "xattr-name-wrong", Error;

    /// An attribute is not in order, or there twice.
    #[error("the attribute {:?} is not where it belongs", shown(name))]
    XattrOutOfOrder { name: Box<[u8]> } => "xattr-out-of-order", Error;

    /// The hash of an attribute is wrong.
    #[error("the hash of {:?} is wrong", shown(name))]
    XattrHashWrong { name: Box<[u8]> } => "xattr-hash-wrong", Error;

    /// The hash of a block of attributes is wrong.
    #[error("the hash of all attributes is wrong")]
    XattrBlockHashWrong => "xattr-block-hash-wrong", Error;

    /// The value of an attribute reaches out of its room.
    #[error("the value of an attribute lies outside")]
    XattrValueOutside => "xattr-value-outside", Error;

    /// Values of attributes overlap.
    #[error("values of attributes overlap")]
    XattrValuesOverlap => "xattr-values-overlap", Error;

    /// The value of an attribute cannot have an inode of its own.
    #[error("an attribute of {size} bytes in inode {ino}")]
    XattrValueInodeUnexpected { ino: u32, size: u64 } => "xattr-value-inode-unexpected", Error;

    /// The inode of a value has another size than the attribute.
    #[error("inode {ino} has {found} bytes of a value of {expected}")]
    XattrValueSizeWrong { ino: u32, found: u64, expected: u64 } => "xattr-value-size-wrong", Error;

    /// There is no inode where an attribute has its value.
    #[error("there is no such inode")]
    XattrValueMissing => "xattr-value-missing", Error;

    /// The inode of a value has the hash of another value.
    #[error("it has another hash")]
    XattrValueHashWrong => "xattr-value-hash-wrong", Error;

    /// A value is shared by another number of attributes than its inode says.
    #[error("{expected} attributes have it, and it says {found}")]
    XattrValueReferencesWrong { found: u64, expected: u32 } => "xattr-value-references-wrong", Error;

    /// A block of attributes is shared by another number of inodes than it says.
    #[error("{expected} inodes have it, and it says {found}")]
    XattrBlockReferencesWrong { found: u32, expected: u32 } => "xattr-block-references-wrong", Error;

    /// An inode holds the value of an attribute that no inode has.
    #[error("it holds the value of an attribute that is not there")]
    XattrValueUnused => "xattr-value-unused", Error;

    // Orphans (pass 1)

    /// A block of the file of orphans is something else.
    #[error("its block {block} is none of orphans")]
    OrphanBlockWrong { block: u64 } => "orphan-block-wrong", Error;

    /// The file of orphans is not empty, and the superblock says that it is.
    #[error("it says that inode {ino} is an orphan, and the superblock that none is")]
    OrphanUnexpected { ino: u32 } => "orphan-unexpected", Error;

    /// An orphan has a number that no file has.
    #[error("it says that inode {ino} is an orphan, which is no file")]
    OrphanNotFile { ino: u32 } => "orphan-not-file", Error;

    /// An inode is an orphan twice.
    #[error("it says that inode {ino} is an orphan, which was said before")]
    OrphanTwice { ino: u32 } => "orphan-twice", Error;

    /// An orphan is not in use.
    #[error("it is said to be an orphan, and is not in use")]
    OrphanUnused => "orphan-unused", Error;

    /// An orphan has a name.
    #[error("it has a name, and none any more")]
    OrphanNamed => "orphan-named", Error;

    // Quotas

    /// A quota file is damaged.
    #[error("it is a damaged quota file: {problem}")]
    QuotaFileDamaged { problem: QuotaProblem } => "quota-file-damaged", Error;

    // Entries of directories (pass 2)

    /// An entry has a length that it cannot have.
    #[error("an entry has a length that cannot be")]
    EntryLengthWrong => "entry-length-wrong", Error;

    /// The first entry of a directory is not its own.
    #[error("its first entry is not '.'")]
    DotMissing => "dot-missing", Error;

    /// The second entry of a directory is not that of its parent.
    #[error("its second entry is not '..'")]
    DotDotMissing => "dot-dot-missing", Error;

    /// The parent of a directory is not a directory.
    #[error("'..' is inode {ino}, which is no directory")]
    DotDotNotDirectory { ino: u32 } => "dot-dot-not-directory", Error;

    /// The first or second entry of a directory has the type of something else.
    #[error("{:?} is of type {found}, and not a directory", shown(name))]
    DotTypeWrong { name: Box<[u8]>, found: u8 } => "dot-type-wrong", Error;

    /// An entry has another type than its inode.
    #[error("{:?} is of type {found}, and inode {ino} is not", shown(name))]
    EntryTypeWrong { name: Box<[u8]>, ino: u32, found: u8 } => "entry-type-wrong", Error;

    /// An entry cannot have that name.
    #[error("the name {:?} cannot be", shown(name))]
    NameWrong { name: Box<[u8]> } => "name-wrong", Error;

    /// A name is in one directory twice.
    #[error("a name is in it twice")]
    NameTwice => "name-twice", Error;

    /// An entry leads to an inode that is not in use, or not a file.
    #[error("{:?} is inode {ino}, which is no file", shown(name))]
    EntryInodeUnused { name: Box<[u8]>, ino: u32 } => "entry-inode-unused", Error;

    /// A directory has a second name.
    #[error("{:?} is inode {ino}, which is in directory {other} too", shown(name))]
    DirectoryLinkedTwice { name: Box<[u8]>, ino: u32, other: u32 } => "directory-linked-twice", Error;

    /// A directory whose content lies in its inode has not even a parent.
    #[error("a directory of no length")]
    DirectoryEmpty => "directory-empty", Error;

    /// The other blocks of a directory were not checked.
    #[error("so many of its blocks are zeros that its others are not looked at")]
    DirectoryCheckStopped => "directory-check-stopped", Error;

    // Indexes of directories (pass 2)

    /// The header of an index is wrong.
    #[error("what the root of the index says of itself makes no sense")]
    IndexHeaderWrong => "index-header-wrong", Error;

    /// Entries lie where the root of an index is.
    #[error("'..' does not span the root of the index")]
    IndexRootNotSpanned => "index-root-not-spanned", Error;

    /// A block of an index is something else.
    #[error("it is no node of an index")]
    IndexNodeWrong => "index-node-wrong", Error;

    /// A node of an index has no entries, or more than its room, or another room than its block.
    #[error("it has {entries} entries, and room for {room}")]
    IndexCountsWrong { entries: u16, room: u16 } => "index-counts-wrong", Error;

    /// An entry of an index is not in order.
    #[error("hash {hash:#x} is not where it belongs")]
    IndexOutOfOrder { hash: u32 } => "index-out-of-order", Error;

    /// Two entries of an index lead to one block of the directory.
    #[error("block {logical} of the directory is in the index twice")]
    IndexBlockTwice { logical: u32 } => "index-block-twice", Error;

    /// An entry of an index leads to a block that the directory does not have.
    #[error("the index leads to block {logical}, which the directory does not have")]
    IndexBlockOutside { logical: u32 } => "index-block-outside", Error;

    /// No entry of an index leads to a block of the directory.
    #[error("the index does not lead to block {logical} of the directory")]
    IndexBlockMissing { logical: u32 } => "index-block-missing", Error;

    /// The names of a block have other hashes than the index says.
    #[error("it holds hashes from {smallest:#x} to {largest:#x}, which the index does not lead to")]
    IndexRangeWrong { smallest: u32, largest: u32 } => "index-range-wrong", Error;

    // Connections (pass 3)

    /// There is no root directory.
    #[error("there is no root directory")]
    RootMissing => "root-missing", Error;

    /// A directory names another parent than the directory that it is in.
    #[error("it is in directory {expected}, and says {found}")]
    ParentWrong { found: u32, expected: u32 } => "parent-wrong", Error;

    /// A directory is its own ancestor.
    #[error("the root does not lead to it")]
    DirectoryUnreachable => "directory-unreachable", Error;

    // Links (pass 4)

    /// An inode in use has no name.
    #[error("it has no name")]
    NameMissing => "name-missing", Error;

    /// An inode that cannot have a name has one.
    #[error("it is not a file, and has a name")]
    NameUnexpected => "name-unexpected", Error;

    /// An inode has another number of links than it says.
    #[error("it has {expected} links, and says {found}")]
    LinkCountWrong { found: u16, expected: u32 } => "link-count-wrong", Error;

    // Bitmaps and counts (pass 5)

    /// Bits of a bitmap differ from what is in use; the first of `count` is that of number `first`.
    #[error("the bit of {unit} {first} is wrong{}", more(*count))]
    BitmapDiffers { unit: BitmapUnit, first: u64, count: u32 } => "bitmap-differs", Error;

    /// Bits behind the last of a bitmap are not set.
    #[error("the bits behind the last one are not all set")]
    BitmapPaddingWrong => "bitmap-padding-wrong", Error;

    /// A group has another number of free blocks than its descriptor says.
    #[error("{found} free blocks instead of {expected}")]
    GroupFreeBlocksWrong { found: u32, expected: u32 } => "group-free-blocks-wrong", Error;

    /// A group has another number of free inodes than its descriptor says.
    #[error("{found} free inodes instead of {expected}")]
    GroupFreeInodesWrong { found: u32, expected: u32 } => "group-free-inodes-wrong", Error;

    /// A group has another number of directories than its descriptor says.
    #[error("{found} directories instead of {expected}")]
    GroupDirectoriesWrong { found: u32, expected: u32 } => "group-directories-wrong", Warning;

    /// The file system has another number of free blocks than the superblock says.
    #[error("{found} free blocks instead of {expected}")]
    FreeBlocksWrong { found: u64, expected: u64 } => "free-blocks-wrong", Warning;

    /// The file system has another number of free inodes than the superblock says.
    #[error("{found} free inodes instead of {expected}")]
    FreeInodesWrong { found: u32, expected: u64 } => "free-inodes-wrong", Warning;

    // Structures that cannot be read

    /// The superblock contradicts itself.
    #[error("the superblock is damaged: {what}")]
    SuperblockDamaged { what: &'static str } => "superblock-damaged", Error;

    /// The journal cannot be replayed.
    #[error("the journal is damaged: {what}")]
    JournalDamaged { what: &'static str } => "journal-damaged", Error;

    /// An inode, or what belongs to it, contradicts itself or the file system.
    #[error("inode {ino} is damaged: {what}")]
    InodeDamaged { ino: u32, what: &'static str } => "inode-damaged", Error;

    /// There is no inode of that number.
    #[error("there is no inode {ino}")]
    InodeMissing { ino: u32 } => "inode-missing", Error;

    /// The file system cannot be read for another reason.
    #[error("{reason}")]
    Unreadable { reason: String } => "unreadable", Error;
}

impl Problem {
    /// A structure that the reader refuses.
    pub(super) fn unreadable(error: ReadError) -> Self {
        match error {
            ReadError::Superblock { what } => Self::SuperblockDamaged { what },
            ReadError::Journal { what } => Self::JournalDamaged { what },
            ReadError::Inode { ino, what } => Self::InodeDamaged { ino, what },
            ReadError::NoSuchInode { ino } => Self::InodeMissing { ino },
            error => Self::Unreadable {
                reason: error.to_string(),
            },
        }
    }
}

/// A name as messages show it.
fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// Parents how many bits are wrong beside the first.
fn more(count: u32) -> String {
    match count {
        1 => String::new(),
        _ => format!(", and so are {} more", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let codes: BTreeSet<&str> = Problem::TABLE.iter().map(|(code, ..)| *code).collect();
        assert_eq!(codes.len(), Problem::TABLE.len());
        for code in codes {
            let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(code.split('-').all(is_word), "{code}");
        }
    }

    #[test]
    fn the_documented_table_has_all_codes_and_no_other() {
        let documented = include_str!("../../CHECK.md")
            .lines()
            .filter(|line| line.starts_with("| `"));
        let expected = Problem::TABLE
            .iter()
            .map(|(code, severity, summary)| format!("| `{code}` | {severity} | {} |", summary.trim()));
        assert_eq!(documented.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
