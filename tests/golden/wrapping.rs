//! Encodes layers as gzip and zstd without compression, so that the bytes do not depend on a
//! compressor. Versions of zlib and libzstd, and processors, compress the same content differently,
//! and the digest of the manifest is in the image.

/// Maximum bytes in a stored block of deflate, and in a raw block here.
const BLOCK: usize = 0xFFFF;

/// Encoding of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Plain,
    Gzip,
    Zstd,
}

impl Wrapping {
    /// Returns the media type of a layer with this encoding.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Encodes a tar.
    pub(crate) fn wrap(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => tar.to_vec(),
            Self::Gzip => gzip(tar),
            Self::Zstd => zstd(tar),
        }
    }
}

/// Returns a gzip member of stored blocks (RFC 1951, 3.2.4; RFC 1952).
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];
    let count = content.chunks(BLOCK).count();
    for (index, block) in content.chunks(BLOCK).enumerate() {
        let len = u16::try_from(block.len()).unwrap();
        bytes.push(u8::from(index + 1 == count));
        bytes.extend(len.to_le_bytes());
        bytes.extend((!len).to_le_bytes());
        bytes.extend(block);
    }
    let mut checksum = flate2::Crc::new();
    checksum.update(content);
    bytes.extend(checksum.sum().to_le_bytes());
    bytes.extend(checksum.amount().to_le_bytes());
    bytes
}

/// Returns a zstd frame of raw blocks, and of RLE blocks where a block has one repeated byte (RFC
/// 8878, 3.1.1).
fn zstd(content: &[u8]) -> Vec<u8> {
    // A frame header with a window of 128 KiB, and neither content size nor checksum.
    let mut bytes = vec![0x28, 0xB5, 0x2F, 0xFD, 0, 7 << 3];
    let count = content.chunks(BLOCK).count();
    for (index, block) in content.chunks(BLOCK).enumerate() {
        let is_repeated = block.iter().all(|byte| *byte == block[0]);
        let is_last = index + 1 == count;
        let header = u32::try_from(block.len()).unwrap() << 3 | u32::from(is_repeated) << 1 | u32::from(is_last);
        bytes.extend(&header.to_le_bytes()[..3]);
        bytes.extend(if is_repeated { &block[..1] } else { block });
    }
    bytes
}
