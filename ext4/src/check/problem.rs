//! [`Problem`]: all problems that a check can report, in one table.
//!
//! A new problem takes an entry in the table: summary, text, variant with its facts, code and
//! severity. Repeat it in `ext4/CHECK.md`, in the same order. Report it from a file of `check/`,
//! and add damage that causes it to `ext4/tests` (`check.rs`, or `oracle/damage.rs`, where e2fsck
//! must report it too). Codes are stable: never rename or reuse one.

mod details;

use std::error::Error;
use std::fmt;

pub use details::{BitmapUnit, InodeFeature, QuotaProblem, StopReason};

use super::BlockRole;
use crate::read::ReadError;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Names and contents of files do not depend on it: a backup, a total that the kernel counts
    /// again, or a field that it does not read.
    Warning,
    /// The kernel or e2fsck may refuse the structure, and using it may lose files.
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

/// Defines the enum, its codes and its severities from one table.
macro_rules! problems {
    ($(
        #[doc = $summary:literal]
        #[error($($text:tt)*)]
        $variant:ident $({ $($field:ident: $type:ty),* })? => $code:literal, $severity:ident;
    )*) => {
        /// Fault of a structure. `Display` describes it in words.
        ///
        /// Fields have the same names in all variants: `found` is the value in the image, and
        /// `expected` the value that follows from the rest of the image. `ino` is the number of an
        /// inode, `block` that of a block of the image, `logical` that of a block of a file.
        /// `name` has the bytes of a name. Sizes are in bytes unless their name has another unit.
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
            /// hyphens between them.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }

            /// Returns the severity in a structure other than a backup.
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

    /// The checksum of the structure is wrong.
    #[error("its checksum is wrong")]
    ChecksumWrong => "checksum-wrong", Error;

    /// A block that has to be read is outside of the file system or the image.
    #[error("block {block} is outside of the file system")]
    BlockOutside { block: u64 } => "block-outside", Error;

    /// The blocks from `start` to before `end` are not all in the file system and the image.
    #[error("blocks {start} to {} are outside of the file system", end.saturating_sub(1))]
    BlocksOutside { start: u64, end: u64 } => "blocks-outside", Error;

    /// A block belongs to two structures.
    #[error("{} belongs to another structure too", role.of_block(*block))]
    BlockClaimedTwice { block: u64, role: BlockRole } => "block-claimed-twice", Error;

    /// The image ends before the structure does.
    #[error("the image ends before the structure does")]
    ImageEndsEarly => "image-ends-early", Error;

    /// The rest of the image was not checked.
    #[error("{reason}: the rest was not checked")]
    CheckStopped { reason: StopReason } => "check-stopped", Error;

    // The superblock

    /// The superblock counts more blocks than the image has.
    #[error("the block count is {found}, the image has {available} blocks")]
    BlockCountBeyondImage { found: u64, available: u64 } => "block-count-beyond-image", Error;

    /// The block count is zero.
    #[error("the block count is zero")]
    BlockCountZero => "block-count-zero", Error;

    /// The first block of the first group is wrong for the block size.
    #[error("the first block is {found}, should be {expected}")]
    FirstBlockWrong { found: u32, expected: u32 } => "first-block-wrong", Error;

    /// The number of blocks per group is invalid.
    #[error("the number of blocks per group is {blocks}, which is invalid")]
    BlocksPerGroupWrong { blocks: u32 } => "blocks-per-group-wrong", Error;

    /// Clusters and blocks have different sizes, without the feature for it.
    #[error("clusters and blocks have different sizes")]
    ClusterSizeWrong => "cluster-size-wrong", Error;

    /// The number of inodes per group is invalid.
    #[error("the number of inodes per group is {inodes}, which is invalid")]
    InodesPerGroupWrong { inodes: u32 } => "inodes-per-group-wrong", Error;

    /// The inode count differs from the number of inodes of all groups.
    #[error("the inode count is {found}, should be {expected}")]
    InodeCountWrong { found: u32, expected: u64 } => "inode-count-wrong", Error;

    /// The size of group descriptors is invalid.
    #[error("the size of group descriptors is {bytes} bytes, which is invalid")]
    DescriptorSizeWrong { bytes: u64 } => "descriptor-size-wrong", Error;

    /// The descriptors of all groups do not fit in the first group.
    #[error("the descriptors of {groups} groups do not fit in the first group")]
    DescriptorsWithoutRoom { groups: u32 } => "descriptors-without-room", Error;

    /// More than half of the blocks are reserved.
    #[error("{found} of {blocks} blocks are reserved, more than half")]
    ReservedBlocksTooMany { found: u64, blocks: u64 } => "reserved-blocks-too-many", Error;

    /// The count of free blocks exceeds the block count.
    #[error("the count of free blocks is {found}, the block count {blocks}")]
    FreeBlocksTooMany { found: u64, blocks: u64 } => "free-blocks-too-many", Error;

    /// The count of free inodes exceeds the inode count.
    #[error("the count of free inodes is {found}, the inode count {inodes}")]
    FreeInodesTooMany { found: u32, inodes: u32 } => "free-inodes-too-many", Error;

    /// The revision of the format is unknown.
    #[error("unknown revision {revision}")]
    RevisionUnknown { revision: u32 } => "revision-unknown", Error;

    /// The number of the first inode that is not reserved is invalid.
    #[error("the first inode that is not reserved is {ino}, which is invalid")]
    FirstInodeWrong { ino: u32 } => "first-inode-wrong", Error;

    /// The number of blocks reserved for group descriptors is invalid.
    #[error("the number of blocks reserved for descriptors is {blocks}, which is invalid")]
    ReservedDescriptorBlocksWrong { blocks: u16 } => "reserved-descriptor-blocks-wrong", Error;

    /// The number of groups in a flexible group, two to the power of `exponent`, is invalid.
    #[error("flexible groups have 2^{exponent} groups, which is invalid")]
    FlexGroupSizeWrong { exponent: u8 } => "flex-group-size-wrong", Error;

    /// The superblock has a seed for checksums, but the file system has no checksums.
    #[error("it has a seed for checksums, but no checksums")]
    ChecksumSeedUnused => "checksum-seed-unused", Error;

    /// The superblock refers to orphans in a file, but has no orphan file.
    #[error("the orphan file is marked as in use, but there is no orphan file")]
    OrphanFileMissing => "orphan-file-missing", Error;

    /// The default version of directory hashes is unknown.
    #[error("unknown version {version} of directory hashes")]
    HashVersionUnknown { version: u8 } => "hash-version-unknown", Error;

    /// The length of the fields beyond the first 128 bytes of an inode is invalid.
    #[error("fields of {bytes} bytes beyond the first 128 do not fit in an inode")]
    ExtraFieldsWrong { bytes: u16 } => "extra-fields-wrong", Error;

    /// The journal has to be replayed, but there is no journal.
    #[error("the journal has to be replayed, but there is no journal")]
    JournalToReplayMissing => "journal-to-replay-missing", Error;

    /// The orphan list is not empty after a clean unmount.
    #[error("the orphan list begins with inode {ino}, but should be empty after a clean unmount")]
    OrphanListNotEmpty { ino: u32 } => "orphan-list-not-empty", Error;

    /// The superblock names an inode that is not in use.
    #[error("it names inode {ino}, which is not in use")]
    NamedInodeUnused { ino: u32 } => "named-inode-unused", Error;

    /// The block for multiple-mount protection is invalid.
    #[error("block {block} for multiple-mount protection is invalid")]
    MmpBlockWrong { block: u64 } => "mmp-block-wrong", Error;

    /// The checksum of the block for multiple-mount protection is wrong.
    #[error("the checksum of block {block} for multiple-mount protection is wrong")]
    MmpChecksumWrong { block: u64 } => "mmp-checksum-wrong", Error;

    /// The block for multiple-mount protection is marked as in use by e2fsck.
    #[error("block {block} for multiple-mount protection is marked as in use by e2fsck: sequence {sequence:#x}")]
    MmpInUse { block: u64, sequence: u32 } => "mmp-in-use", Error;

    // The journal

    /// The superblock names a journal inode, but the file system has no journal.
    #[error("it has no journal, but names journal inode {ino}")]
    JournalInodeUnexpected { ino: u32 } => "journal-inode-unexpected", Error;

    /// The superblock names a journal device, but the file system has no journal.
    #[error("it has no journal, but names a journal device")]
    JournalDeviceUnexpected => "journal-device-unexpected", Error;

    /// The journal is on another device, and was not checked.
    #[error("the journal is on another device, and was not checked")]
    JournalElsewhere => "journal-elsewhere", Error;

    /// The journal is not in the inode reserved for it.
    #[error("the journal is in inode {ino}, should be in inode 8")]
    JournalInodeWrong { ino: u32 } => "journal-inode-wrong", Error;

    /// The journal is not empty after a clean unmount.
    #[error("it is not empty, but the superblock is not marked for a replay")]
    JournalNotEmpty => "journal-not-empty", Error;

    /// The kernel recorded an error in the journal.
    #[error("the kernel recorded error {errno} in it")]
    JournalError { errno: i32 } => "journal-error", Error;

    /// Several file systems share the journal.
    #[error("{users} file systems share it")]
    JournalShared { users: u32 } => "journal-shared", Error;

    /// The superblock's copy of the journal's block map, for e2fsck, is out of date.
    #[error("its copy of the journal's block map differs from the journal's inode")]
    JournalBackupDiffers => "journal-backup-differs", Warning;

    // Groups

    /// A part of the group is marked as never written, without the feature for it.
    #[error("a part of the group is marked as never written, but the file system has no such feature")]
    UninitWithoutFeature => "uninit-without-feature", Error;

    /// The block bitmap of the last group is marked as never written.
    #[error("the block bitmap of the last group is marked as never written")]
    LastGroupUninit => "last-group-uninit", Error;

    /// The count of unused inodes exceeds the inodes per group.
    #[error("the count of unused inodes is {found}, the group has {inodes} inodes")]
    UnusedInodesTooMany { found: u32, inodes: u32 } => "unused-inodes-too-many", Error;

    /// A bitmap or inode table is outside of the blocks that it may be in.
    #[error("its {role} at block {block} is misplaced")]
    GroupBlockMisplaced { block: u64, role: BlockRole } => "group-block-misplaced", Error;

    /// The backup differs from the superblock.
    #[error("it differs from the superblock")]
    SuperblockBackupDiffers => "superblock-backup-differs", Warning;

    /// The backup of a group's descriptor has a wrong checksum or differs from the descriptor.
    #[error("the backup of the descriptor of group {group} has a wrong checksum or differs from it")]
    DescriptorBackupDiffers { group: u32 } => "descriptor-backup-differs", Warning;

    // Inodes (pass 1)

    /// A reserved inode without a purpose has a mode.
    #[error("it is reserved, but has mode {mode:o}")]
    ReservedInodeHasMode { mode: u16 } => "reserved-inode-has-mode", Error;

    /// A reserved inode without a purpose has links or blocks.
    #[error("it is reserved, but has links or blocks")]
    ReservedInodeHasBlocks => "reserved-inode-has-blocks", Error;

    /// The bad blocks inode has fields that only files have.
    #[error("it is the bad blocks inode, but has fields of a file")]
    BadBlocksInodeWrong => "bad-blocks-inode-wrong", Error;

    /// A deleted inode has no time of deletion.
    #[error("it is deleted, but has no time of deletion")]
    DeletionTimeMissing => "deletion-time-missing", Warning;

    /// An inode in use has a time of deletion, in seconds since 1970.
    #[error("it is in use, but has the time of deletion {seconds}")]
    DeletionTimeUnexpected { seconds: u32 } => "deletion-time-unexpected", Warning;

    /// A deleted inode has the number of a next orphan, but is not in the orphan list.
    #[error("it has the number of a next orphan, but is not in the orphan list")]
    OrphanLinkStale => "orphan-link-stale", Warning;

    /// The file type of the inode is unknown.
    #[error("unknown file type: mode bits {bits:o}")]
    FileTypeUnknown { bits: u16 } => "file-type-unknown", Error;

    /// The inode has a fragment address, which ext4 does not use.
    #[error("it has a fragment address")]
    FragmentAddress => "fragment-address", Warning;

    /// The root inode is not a directory.
    #[error("the root inode is not a directory")]
    RootNotDirectory => "root-not-directory", Error;

    /// The inode requires a feature that the file system does not have.
    #[error("{needs}, but the file system does not have the feature for it")]
    FeatureMissing { needs: InodeFeature } => "feature-missing", Error;

    /// The inode has inline content, but also extents or an index.
    #[error("it has inline content, but also extents or an index")]
    InlineDataMapped => "inline-data-mapped", Error;

    /// The inode is marked as one of AFS, without the feature for it.
    #[error("it is an inode of AFS, but the file system does not have the feature for it")]
    AfsInode => "afs-inode", Error;

    /// The number of the block of attributes exceeds 32 bits, without the feature for it.
    #[error("the number of its block of attributes exceeds 32 bits")]
    XattrBlockNumberTooLarge => "xattr-block-number-too-large", Error;

    /// A device, FIFO, socket or symlink is immutable or append-only.
    #[error("it is immutable or append-only, but neither a file nor a directory")]
    ImmutableSpecialFile => "immutable-special-file", Error;

    /// An inode of a type without content has extents or inline content.
    #[error("it has extents or inline content, but its type has no content")]
    ExtentsWithoutContent => "extents-without-content", Error;

    /// An inode has an index, but is not a directory, or the file system lacks the feature for it.
    #[error("it has an index, but is not a directory, or the file system does not have the feature for it")]
    IndexUnexpected => "index-unexpected", Error;

    /// An inode of a type without content has a size.
    #[error("its size is {size}, but its type has no content")]
    SizeWithoutContent { size: u64 } => "size-without-content", Error;

    /// The block count of the inode is wrong, in the unit of the inode.
    #[error("i_blocks is {found}, should be {expected}")]
    InodeBlocksWrong { found: u64, expected: u64 } => "inode-blocks-wrong", Error;

    /// The block count of the inode exceeds 32 bits, without the feature for it.
    #[error("i_blocks exceeds 32 bits")]
    InodeBlocksTooLarge => "inode-blocks-too-large", Error;

    // Content: extent trees, block maps, sizes (pass 1)

    /// The header of a node of an extent tree is invalid.
    #[error("the header of a node of the extent tree is invalid")]
    ExtentHeaderWrong => "extent-header-wrong", Error;

    /// A child of a node of an extent tree is out of order.
    #[error("the node for block {logical} of the file is out of order in the extent tree")]
    ExtentIndexOutOfOrder { logical: u32 } => "extent-index-out-of-order", Error;

    /// An extent is empty, out of order, or overlaps another.
    #[error("the extent of {blocks} blocks at block {logical} of the file is empty, out of order or overlaps another")]
    ExtentWrong { logical: u32, blocks: u32 } => "extent-wrong", Error;

    /// A block map reaches a block of the file whose number exceeds 32 bits.
    #[error("the block map reaches block {logical} of the file, whose number exceeds 32 bits")]
    MappedBlockTooFar { logical: u64 } => "mapped-block-too-far", Error;

    /// Inline content has no attribute for its second part.
    #[error("it has inline content, but no attribute for the second part of it")]
    InlineDataIncomplete => "inline-data-incomplete", Error;

    /// The size of inline content differs from the space for it.
    #[error("the size of its inline content is {size}, the space for it {room}")]
    InlineDataSizeWrong { size: u64, room: u64 } => "inline-data-size-wrong", Error;

    /// The target of a symlink is shorter or longer than its size.
    #[error("the symlink target does not have {size} bytes")]
    SymlinkTargetLengthWrong { size: u64 } => "symlink-target-length-wrong", Error;

    /// The size of a symlink target is invalid.
    #[error("the size of the symlink target is {size}, which is invalid")]
    SymlinkSizeWrong { size: u64 } => "symlink-size-wrong", Error;

    /// The size of a directory does not match its last block.
    #[error("the size of the directory is {size}, but its blocks end at block {end}")]
    DirectorySizeWrong { size: u64, end: u64 } => "directory-size-wrong", Error;

    /// A directory has holes.
    #[error("the directory has holes")]
    DirectoryWithHoles => "directory-with-holes", Error;

    /// A directory has unwritten extents.
    #[error("the directory has unwritten extents")]
    DirectoryUnwritten => "directory-unwritten", Error;

    /// The size of a file is too small for its blocks, or more than it can map.
    #[error("the size of the file is {size}, its last block is {last}")]
    FileSizeWrong { size: u64, last: u64 } => "file-size-wrong", Error;

    /// The size of a file exceeds what its extents or block map can reach.
    #[error("the size of the file is {size}, more than its extents or block map can reach")]
    FileTooLarge { size: u64 } => "file-too-large", Error;

    // The inode of the blocks reserved for group descriptors (pass 1)

    /// The resize inode is not a regular file with one link.
    #[error("the resize inode is not a regular file with one link")]
    ResizeInodeNotFile => "resize-inode-not-file", Error;

    /// The resize inode has no block map.
    #[error("the resize inode has no block map")]
    ResizeInodeNotMapped => "resize-inode-not-mapped", Error;

    /// The resize inode has blocks besides the double-indirect block.
    #[error("the resize inode has more than a double-indirect block")]
    ResizeInodeHasMore => "resize-inode-has-more", Error;

    /// The block map of the resize inode has a wrong block.
    #[error("block number {index} is {found}, should be {expected}")]
    ReservedBlockWrong { index: u32, found: u32, expected: u64 } => "reserved-block-wrong", Error;

    // Extended attributes (pass 1)

    /// The header of a block of attributes is invalid.
    #[error("its header is invalid")]
    XattrHeaderWrong => "xattr-header-wrong", Error;

    /// A block of attributes has a wrong magic number.
    #[error("its magic number is wrong")]
    XattrBlockWrong => "xattr-block-wrong", Error;

    /// The list of attributes has no end.
    #[error("the list of attributes has no end")]
    XattrsUnterminated => "xattrs-unterminated", Error;

    /// The name of an attribute extends beyond the space for attributes.
    #[error("the name of an attribute extends beyond the space for attributes")]
    XattrNameOutside => "xattr-name-outside", Error;

    /// The name or namespace of an attribute is invalid.
    #[error("the attribute name {:?} in namespace {namespace} is invalid", shown(name))]
    XattrNameWrong { name: Box<[u8]>, namespace: u8 } => "xattr-name-wrong", Error;

    /// An attribute is out of order, or occurs twice.
    #[error("the attribute {:?} is out of order, or occurs twice", shown(name))]
    XattrOutOfOrder { name: Box<[u8]> } => "xattr-out-of-order", Error;

    /// The hash of an attribute is wrong.
    #[error("the hash of the attribute {:?} is wrong", shown(name))]
    XattrHashWrong { name: Box<[u8]> } => "xattr-hash-wrong", Error;

    /// The hash of a block of attributes is wrong.
    #[error("the hash of all attributes is wrong")]
    XattrBlockHashWrong => "xattr-block-hash-wrong", Error;

    /// The value of an attribute is outside of the space for attributes.
    #[error("the value of an attribute is outside of the space for attributes")]
    XattrValueOutside => "xattr-value-outside", Error;

    /// Values of attributes overlap each other or the entries.
    #[error("values of attributes overlap each other or the entries")]
    XattrValuesOverlap => "xattr-values-overlap", Error;

    /// The value of an attribute is in an inode of its own, but may not be.
    #[error("an attribute value of {size} bytes may not be in inode {ino}")]
    XattrValueInodeUnexpected { ino: u32, size: u64 } => "xattr-value-inode-unexpected", Error;

    /// The inode of a value has another size than the value.
    #[error("inode {ino} has {found} bytes, the value of the attribute {expected}")]
    XattrValueSizeWrong { ino: u32, found: u64, expected: u64 } => "xattr-value-size-wrong", Error;

    /// The inode of a value is not in use.
    #[error("the inode is not in use")]
    XattrValueMissing => "xattr-value-missing", Error;

    /// The inode of a value has the hash of another value.
    #[error("the hash of the value is wrong")]
    XattrValueHashWrong => "xattr-value-hash-wrong", Error;

    /// The reference count of a value differs from the number of attributes with it.
    #[error("the reference count is {found}, should be {expected}")]
    XattrValueReferencesWrong { found: u64, expected: u32 } => "xattr-value-references-wrong", Error;

    /// The reference count of a block of attributes differs from the number of inodes with it.
    #[error("the reference count is {found}, should be {expected}")]
    XattrBlockReferencesWrong { found: u32, expected: u32 } => "xattr-block-references-wrong", Error;

    /// An inode holds an attribute value that no attribute uses.
    #[error("it holds an attribute value that no attribute uses")]
    XattrValueUnused => "xattr-value-unused", Error;

    // Orphans (pass 1)

    /// A block of the orphan file is invalid.
    #[error("block {block} of the orphan file is invalid")]
    OrphanBlockWrong { block: u64 } => "orphan-block-wrong", Error;

    /// The orphan file is not empty, but the superblock marks it as empty.
    #[error("it lists orphan inode {ino}, but the superblock marks it as empty")]
    OrphanUnexpected { ino: u32 } => "orphan-unexpected", Error;

    /// The number of an orphan is not that of a file.
    #[error("orphan inode {ino} is not a file")]
    OrphanNotFile { ino: u32 } => "orphan-not-file", Error;

    /// An inode is listed as an orphan twice.
    #[error("orphan inode {ino} is listed twice")]
    OrphanTwice { ino: u32 } => "orphan-twice", Error;

    /// An orphan is not in use.
    #[error("it is listed as an orphan, but is not in use")]
    OrphanUnused => "orphan-unused", Error;

    /// An orphan has a name.
    #[error("it is listed as an orphan, but has a name")]
    OrphanNamed => "orphan-named", Error;

    // Quotas

    /// A quota file is damaged.
    #[error("the quota file is damaged: {problem}")]
    QuotaFileDamaged { problem: QuotaProblem } => "quota-file-damaged", Error;

    // Entries of directories (pass 2)

    /// A directory entry has an invalid length.
    #[error("an entry has an invalid length")]
    EntryLengthWrong => "entry-length-wrong", Error;

    /// The first entry of a directory is not `.`, or leads to another inode.
    #[error("the first entry is not '.', or leads to another inode")]
    DotMissing => "dot-missing", Error;

    /// The second entry of a directory is not `..`.
    #[error("the second entry is not '..'")]
    DotDotMissing => "dot-dot-missing", Error;

    /// The parent of a directory is not a directory.
    #[error("'..' is inode {ino}, which is not a directory")]
    DotDotNotDirectory { ino: u32 } => "dot-dot-not-directory", Error;

    /// The first or second entry of a directory does not have the type of a directory.
    #[error("{:?} has type {found}, not that of a directory", shown(name))]
    DotTypeWrong { name: Box<[u8]>, found: u8 } => "dot-type-wrong", Error;

    /// The type in an entry differs from that of its inode.
    #[error("{:?} has type {found}, which is not the type of inode {ino}", shown(name))]
    EntryTypeWrong { name: Box<[u8]>, ino: u32, found: u8 } => "entry-type-wrong", Error;

    /// The name of an entry is invalid.
    #[error("the name {:?} is invalid", shown(name))]
    NameWrong { name: Box<[u8]> } => "name-wrong", Error;

    /// A name occurs in a directory twice.
    #[error("a name occurs in it twice")]
    NameTwice => "name-twice", Error;

    /// An entry leads to an inode that is not in use, or not a file.
    #[error("{:?} is inode {ino}, which is not in use, or not a file", shown(name))]
    EntryInodeUnused { name: Box<[u8]>, ino: u32 } => "entry-inode-unused", Error;

    /// A directory has two names.
    #[error("{:?} is directory inode {ino}, which is also in directory {other}", shown(name))]
    DirectoryLinkedTwice { name: Box<[u8]>, ino: u32, other: u32 } => "directory-linked-twice", Error;

    /// An inline directory has no content, not even its parent.
    #[error("the inline directory has no content")]
    DirectoryEmpty => "directory-empty", Error;

    /// The other blocks of a directory were not checked.
    #[error("too many of its blocks are zeros: the others were not checked")]
    DirectoryCheckStopped => "directory-check-stopped", Error;

    // Indexes of directories (pass 2)

    /// The header of an index is invalid.
    #[error("the header of the index is invalid")]
    IndexHeaderWrong => "index-header-wrong", Error;

    /// The entry `..` does not span the root of an index.
    #[error("'..' does not span the root of the index")]
    IndexRootNotSpanned => "index-root-not-spanned", Error;

    /// A block of an index is not an index node.
    #[error("it is not an index node")]
    IndexNodeWrong => "index-node-wrong", Error;

    /// An index node has no entries, more than its capacity, or the wrong capacity.
    #[error("it has {entries} entries and a capacity of {room}, which is invalid")]
    IndexCountsWrong { entries: u16, room: u16 } => "index-counts-wrong", Error;

    /// An entry of an index is out of order.
    #[error("hash {hash:#x} is out of order")]
    IndexOutOfOrder { hash: u32 } => "index-out-of-order", Error;

    /// Two entries of an index lead to one block of the directory.
    #[error("the index leads to block {logical} of the directory twice")]
    IndexBlockTwice { logical: u32 } => "index-block-twice", Error;

    /// An entry of an index leads to a block that the directory does not have.
    #[error("the index leads to block {logical}, which the directory does not have")]
    IndexBlockOutside { logical: u32 } => "index-block-outside", Error;

    /// No entry of an index leads to a block of the directory.
    #[error("the index does not lead to block {logical} of the directory")]
    IndexBlockMissing { logical: u32 } => "index-block-missing", Error;

    /// The hashes of the names in a block are outside of its range in the index.
    #[error("its names have hashes from {smallest:#x} to {largest:#x}, outside of its range in the index")]
    IndexRangeWrong { smallest: u32, largest: u32 } => "index-range-wrong", Error;

    // Connections (pass 3)

    /// The file system has no root directory.
    #[error("there is no root directory")]
    RootMissing => "root-missing", Error;

    /// `..` of a directory is not its parent.
    #[error("'..' is inode {found}, but the directory is in inode {expected}")]
    ParentWrong { found: u32, expected: u32 } => "parent-wrong", Error;

    /// A directory is its own ancestor.
    #[error("it is its own ancestor, and not reachable from the root")]
    DirectoryUnreachable => "directory-unreachable", Error;

    // Links (pass 4)

    /// An inode in use has no name.
    #[error("it has no name")]
    NameMissing => "name-missing", Error;

    /// An inode that may not have a name has one.
    #[error("it may not have a name, but has one")]
    NameUnexpected => "name-unexpected", Error;

    /// The link count of an inode is wrong.
    #[error("the link count is {found}, should be {expected}")]
    LinkCountWrong { found: u16, expected: u32 } => "link-count-wrong", Error;

    // Bitmaps and counts (pass 5)

    /// Bits of a bitmap are wrong: `count` of them, the first one for number `first`.
    #[error("the bit of {unit} {first} is wrong{}", more(*count))]
    BitmapDiffers { unit: BitmapUnit, first: u64, count: u32 } => "bitmap-differs", Error;

    /// Bits after the last one of a bitmap are not set.
    #[error("the padding bits are not all set")]
    BitmapPaddingWrong => "bitmap-padding-wrong", Error;

    /// The count of free blocks of a group is wrong.
    #[error("the count of free blocks is {found}, should be {expected}")]
    GroupFreeBlocksWrong { found: u32, expected: u32 } => "group-free-blocks-wrong", Error;

    /// The count of free inodes of a group is wrong.
    #[error("the count of free inodes is {found}, should be {expected}")]
    GroupFreeInodesWrong { found: u32, expected: u32 } => "group-free-inodes-wrong", Error;

    /// The count of directories of a group is wrong.
    #[error("the count of directories is {found}, should be {expected}")]
    GroupDirectoriesWrong { found: u32, expected: u32 } => "group-directories-wrong", Warning;

    /// The count of free blocks of the file system is wrong.
    #[error("the count of free blocks is {found}, should be {expected}")]
    FreeBlocksWrong { found: u64, expected: u64 } => "free-blocks-wrong", Warning;

    /// The count of free inodes of the file system is wrong.
    #[error("the count of free inodes is {found}, should be {expected}")]
    FreeInodesWrong { found: u32, expected: u64 } => "free-inodes-wrong", Warning;

    // Structures that cannot be read

    /// The superblock is damaged.
    #[error("the superblock is damaged: {what}")]
    SuperblockDamaged { what: &'static str } => "superblock-damaged", Error;

    /// The journal is damaged, and cannot be replayed.
    #[error("the journal is damaged: {what}")]
    JournalDamaged { what: &'static str } => "journal-damaged", Error;

    /// An inode, or a structure that belongs to it, is damaged.
    #[error("inode {ino} is damaged: {what}")]
    InodeDamaged { ino: u32, what: &'static str } => "inode-damaged", Error;

    /// The file system has no inode with that number.
    #[error("there is no inode {ino}")]
    InodeMissing { ino: u32 } => "inode-missing", Error;

    /// The structure cannot be read for another reason.
    #[error("{reason}")]
    Unreadable { reason: String } => "unreadable", Error;
}

impl Problem {
    /// Converts an error of the reader into the problem of the structure that it could not read.
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

/// Returns a name as messages show it.
fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// Describes the number of wrong bits besides the first.
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
    fn check_md_has_the_same_table() {
        let documented = include_str!("../../CHECK.md")
            .lines()
            .filter(|line| line.starts_with("| `"));
        let expected = Problem::TABLE
            .iter()
            .map(|(code, severity, summary)| format!("| `{code}` | {severity} | {} |", summary.trim()));
        assert_eq!(documented.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
