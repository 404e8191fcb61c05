//! Inodes: fields from the metadata of a file and from the position of its content.

use zerocopy::FromZeros;

use crate::disk::inode::{BLOCK_LEN, EXTRA_SIZE, Inode, InodeFlags};
use crate::disk::xattr::INODE_ROOM;
use crate::file_type::FileType;
use crate::tree::Metadata;
use crate::units::{BlockNr, BlockSize};

/// Fields of an inode that its metadata does not contain.
pub(crate) struct InodeFields {
    pub(crate) file_type: FileType,
    pub(crate) links: u16,
    /// Size in bytes.
    pub(crate) size: u64,
    pub(crate) flags: InodeFlags,
    /// `i_block`: the root of an extent tree, a short symlink target, or a device number.
    pub(crate) block: [u8; BLOCK_LEN],
    /// Blocks in use for content, extent tree nodes and external attributes.
    pub(crate) block_count: u64,
    pub(crate) xattr_block: Option<BlockNr>,
    pub(crate) xattrs: [u8; INODE_ROOM],
}

impl InodeFields {
    /// Creates the fields of an inode with one link and without content.
    pub(crate) fn new(file_type: FileType) -> Self {
        Self {
            file_type,
            links: 1,
            size: 0,
            flags: InodeFlags::empty(),
            block: [0; BLOCK_LEN],
            block_count: 0,
            xattr_block: None,
            xattrs: [0; INODE_ROOM],
        }
    }
}

/// Encodes an inode without its checksum.
///
/// Deletion time, generation, version and project are zero. The generation is random in other file
/// systems, and would make images differ.
pub(crate) fn encode(metadata: &Metadata, fields: &InodeFields, block_size: BlockSize) -> Inode {
    let mut inode = Inode {
        links_count: fields.links.into(),
        flags: fields.flags.bits().into(),
        block: fields.block,
        extra_isize: EXTRA_SIZE.into(),
        xattrs: fields.xattrs,
        ..Inode::new_zeroed()
    };
    inode.set_mode(fields.file_type, metadata.mode);
    inode.set_uid(metadata.uid);
    inode.set_gid(metadata.gid);
    inode.set_size(fields.size);
    inode.set_block_count(fields.block_count, block_size);
    inode.set_file_acl(fields.xattr_block.map_or(0, BlockNr::get));
    inode.set_atime(metadata.accessed);
    inode.set_ctime(metadata.changed);
    inode.set_mtime(metadata.modified);
    inode.set_crtime(metadata.modified);
    inode
}
