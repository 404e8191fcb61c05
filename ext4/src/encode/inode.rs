//! Inodes: what the tree says of a file, and where its content is.

use zerocopy::FromZeros;

use crate::disk::inode::{self as disk, BLOCK_LEN, EXTRA_SIZE, InodeFlags, file_type};
use crate::tree::{Device, Kind, Metadata, Timestamp};
use crate::units::{BlockNr, BlockSize, hi, hi16, lo, lo16};

/// What is to be said of an inode besides its metadata.
pub(crate) struct Body {
    /// Kind of file, as in `i_mode`.
    pub(crate) file_type: u16,
    pub(crate) links: u16,
    /// Size in bytes.
    pub(crate) size: u64,
    pub(crate) flags: InodeFlags,
    /// `i_block`: an extent tree's root, a short symlink's target, or a device number.
    pub(crate) block: [u8; BLOCK_LEN],
    /// Blocks in use: of the content, the extent tree and the extended attributes.
    pub(crate) block_count: u64,
    /// `i_version`: how many attributes have this inode's content as their value.
    pub(crate) version: u32,
    pub(crate) xattr_block: Option<BlockNr>,
    pub(crate) xattrs: [u8; 96],
}

impl Body {
    /// An inode of one link with nothing in it.
    pub(crate) fn new(file_type: u16) -> Self {
        Self {
            file_type,
            links: 1,
            size: 0,
            flags: InodeFlags::empty(),
            block: [0; BLOCK_LEN],
            block_count: 0,
            version: 0,
            xattr_block: None,
            xattrs: [0; 96],
        }
    }
}

/// The inode, still to be sealed.
///
/// Zero, because nothing sets them: deletion time, generation (so that no image has a random byte), project.
pub(crate) fn encode(metadata: &Metadata, body: &Body, block_size: BlockSize) -> disk::Inode {
    let mut flags = body.flags;
    let sectors = body.block_count << (block_size.log2() - 9);
    let blocks = if sectors < 1 << 32 {
        sectors
    } else {
        flags |= InodeFlags::HUGE_FILE;
        body.block_count
    };
    let xattr_block = body.xattr_block.map_or(0, BlockNr::get);
    disk::Inode {
        mode: (metadata.mode & 0o7777 | body.file_type).into(),
        uid: lo16(metadata.uid).into(),
        uid_high: hi16(metadata.uid).into(),
        gid: lo16(metadata.gid).into(),
        gid_high: hi16(metadata.gid).into(),
        size_lo: lo(body.size).into(),
        size_high: hi(body.size).into(),
        atime: seconds(metadata.accessed).into(),
        atime_extra: extra(metadata.accessed).into(),
        ctime: seconds(metadata.changed).into(),
        ctime_extra: extra(metadata.changed).into(),
        mtime: seconds(metadata.modified).into(),
        mtime_extra: extra(metadata.modified).into(),
        crtime: seconds(metadata.modified).into(),
        crtime_extra: extra(metadata.modified).into(),
        links_count: body.links.into(),
        blocks_lo: lo(blocks).into(),
        blocks_high: lo16(hi(blocks)).into(),
        flags: flags.bits().into(),
        version: body.version.into(),
        block: body.block,
        file_acl_lo: lo(xattr_block).into(),
        file_acl_high: lo16(hi(xattr_block)).into(),
        extra_isize: EXTRA_SIZE.into(),
        xattrs: body.xattrs,
        ..disk::Inode::new_zeroed()
    }
}

/// Kind of file, as in `i_mode`.
pub(crate) fn file_type(kind: &Kind) -> u16 {
    match kind {
        Kind::Directory(_) => file_type::DIRECTORY,
        Kind::File(_) => file_type::REGULAR,
        Kind::Symlink(_) => file_type::SYMLINK,
        Kind::CharDevice(_) => file_type::CHAR_DEVICE,
        Kind::BlockDevice(_) => file_type::BLOCK_DEVICE,
        Kind::Fifo => file_type::FIFO,
        Kind::Socket => file_type::SOCKET,
    }
}

/// `i_block` of a device: the first word in the old encoding if that can hold it, else the second in the new one
/// (`old_encode_dev`, `new_encode_dev`).
pub(crate) fn device_block(device: Device) -> [u8; BLOCK_LEN] {
    let Device { major, minor } = device;
    let mut block = [0; BLOCK_LEN];
    if major < 256 && minor < 256 {
        block[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else {
        block[4..8].copy_from_slice(&(minor & 0xFF | major << 8 | (minor & !0xFF) << 12).to_le_bytes());
    }
    block
}

/// `i_block` of a symlink whose target fits into it.
pub(crate) fn symlink_block(target: &[u8]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..target.len()].copy_from_slice(target);
    block
}

/// Low 32 bits of the seconds, which are signed (`i_mtime` and its like).
fn seconds(time: Timestamp) -> u32 {
    lo(time.seconds().cast_unsigned())
}

/// Two bits that count how many times 2^32 seconds are to be added to the signed low bits, and nanoseconds above them
/// (`ext4_encode_extra_time`).
fn extra(time: Timestamp) -> u32 {
    let signed_low = i64::from(seconds(time).cast_signed());
    let epoch = lo(((time.seconds() - signed_low) >> 32).cast_unsigned()) & 3;
    time.nanoseconds() << 2 | epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel makes of the two fields (`ext4_decode_extra_time`).
    fn decode(seconds: u32, extra: u32) -> (i64, u32) {
        (
            i64::from(seconds.cast_signed()) + (i64::from(extra & 3) << 32),
            extra >> 2,
        )
    }

    #[test]
    fn times_from_1901_to_2446_come_back() {
        for second in [
            -(1 << 31),
            -1,
            0,
            1,
            (1 << 31) - 1,
            1 << 31,
            (1 << 32) - 1,
            1 << 32,
            (1 << 33) + 5,
            (3 << 32) + (1 << 31) - 1,
        ] {
            let time = Timestamp::saturating(second, 999_999_999);
            assert_eq!(decode(seconds(time), extra(time)), (second, 999_999_999));
        }
    }

    #[test]
    fn a_large_device_number_is_in_the_second_word() {
        let block = device_block(Device {
            major: 4095,
            minor: 0xF_FFFF,
        });
        assert_eq!(block[..8], [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(
            device_block(Device { major: 1, minor: 3 })[..8],
            [3, 1, 0, 0, 0, 0, 0, 0]
        );
    }
}
