//! Decompresses layers: gzip, zstd, or uncompressed, as their first bytes show.
//!
//! A media type that contradicts the bytes is not an error: both the image-spec's and Docker's
//! contradict them in the wild. Bytes that readers would decompress differently are an error.
//!
//! To add a compression: a variant of [`Compression`] with its names and media types, its first
//! bytes in `detect_compression` instead of `UNSUPPORTED`, a decoder beside `gzip.rs` and
//! `frames.rs` as a variant of `Stream`, its parts in [`StreamPart`], and the text of
//! [`DecodeError::Unsupported`] and of its hint. If its window can be large, it needs a grant like
//! zstd's (`src/rootfs/pipeline/windows.rs`). A media type of a layer has to be accepted by
//! `is_tar_layer` in `oci/src/manifest.rs`. Its tests belong in `tests/layers/wrappings.rs`, and
//! its bytes in `fuzz/src/layer.rs`; README.md and layer/README.md list the compressions.

mod counting_reader;
mod error;
mod frames;
mod gzip;

use std::fmt;
use std::io::{self, BufRead, Chain, Cursor, Read};

use counting_reader::CountingReader;
use error::StreamError;
use frames::{ZstdDecoder, begins_frame};
use gzip::GzipDecoder;

pub(super) use error::DAMAGED_HINT;
pub use error::{DecodeError, StreamFault, StreamPart};
pub use frames::MAX_WINDOW;

/// Number of bytes that distinguish every compression from a tar.
const MAGIC_LEN: u64 = 10;

/// First bytes and names of compressions that the image-spec has no media type for.
const UNSUPPORTED: [(&[u8], &str); 7] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP\x01", "lzip"),
    (b"\x89LZO\0\r\n", "lzop"),
    (b"\x1f\x9d", "compress"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// Compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// gzip, in one member or many.
    Gzip,
    /// zstd, in one frame or many.
    Zstd,
}

impl Compression {
    /// Returns the compression that the media type of a layer announces, in the form of the
    /// image-spec or Docker. Returns `None` for other types. The bytes may contradict it: see
    /// [`decode()`].
    #[must_use]
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let media_type = media_type.split(';').next()?.trim().to_ascii_lowercase();
        if !media_type.contains("/vnd.") {
            return None;
        }
        // The image-spec writes `+gzip`, and Docker `.gzip`.
        match media_type.rsplit(['+', '.']).next()? {
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "tar" => Some(Self::None),
            _ => None,
        }
    }

    /// Returns the name of the format.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not compressed",
            Self::Gzip => "compressed with gzip",
            Self::Zstd => "compressed with zstd",
        })
    }
}

/// A reader of a decompressed layer, created by [`decode()`].
///
/// It ends where the layer ends, never before: all members of a gzip stream and all frames of a
/// zstd stream are read, and their checksums verified.
pub struct Decoder<R: BufRead> {
    stream: Stream<R>,
    /// Decompressed bytes that were read.
    written: u64,
}

impl<R: BufRead> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Decoder");
        shown.field("compression", &self.compression());
        shown.field("written", &self.written).finish_non_exhaustive()
    }
}

enum Stream<R: BufRead> {
    None(PeekedReader<R>),
    Gzip(GzipDecoder<PeekedReader<R>>),
    Zstd(ZstdDecoder<PeekedReader<R>>),
}

/// A reader, with its first bytes put back in front.
type PeekedReader<R> = Chain<Cursor<Vec<u8>>, R>;

/// Starts to decompress a layer.
///
/// The compression is detected from the first bytes, as in containerd, and returned by
/// [`Decoder::compression`]. The media type only shows whether the layer is encrypted.
///
/// # Errors
///
/// All variants of [`DecodeError`]. Damage after the first bytes is an error of [`Decoder::read`].
pub fn decode<R: BufRead>(mut blob: R, media_type: &str) -> Result<Decoder<R>, DecodeError> {
    if media_type.ends_with("+encrypted") {
        return Err(DecodeError::Encrypted {
            media_type: media_type.to_owned(),
        });
    }
    let mut magic = Vec::new();
    blob.by_ref()
        .take(MAGIC_LEN)
        .read_to_end(&mut magic)
        .map_err(DecodeError::Read)?;
    if let Some(name) = detect_unsupported(&magic) {
        return Err(DecodeError::Unsupported { name });
    }
    let compression = detect_compression(&magic);
    let blob = Cursor::new(magic).chain(blob);
    let stream = match compression {
        Compression::None => Stream::None(blob),
        Compression::Gzip => Stream::Gzip(GzipDecoder::new(CountingReader::new(blob))),
        Compression::Zstd => Stream::Zstd(ZstdDecoder::new(CountingReader::new(blob))?),
    };
    Ok(Decoder { stream, written: 0 })
}

impl<R: BufRead> Decoder<R> {
    /// Does not verify the CRC-32 of a gzip stream, so that the caller can do it on another thread.
    /// The caller compares the [`Checksum`] of all bytes that it read with
    /// [`Decoder::declared_checksum`].
    #[must_use]
    pub fn trusting_checksums(mut self) -> Self {
        if let Stream::Gzip(members) = &mut self.stream {
            members.trust_checksums();
        }
        self
    }

    /// Returns the checksum that the members of a gzip stream declare for all of its content, once
    /// the stream is at its end. Returns `None` for other compressions, and if the decoder verifies
    /// the checksum itself.
    pub fn declared_checksum(&self) -> Option<DeclaredChecksum> {
        match &self.stream {
            Stream::Gzip(members) => Some(DeclaredChecksum {
                crc: members.declared_checksum()?,
                read: members.read_count(),
                written: self.written,
            }),
            Stream::None(_) | Stream::Zstd(_) => None,
        }
    }

    /// Grants memory for zstd windows of at most `max` bytes. A new decoder has a grant for every
    /// window that can be decoded.
    pub fn grant_window(&mut self, max: u64) {
        if let Stream::Zstd(frames) = &mut self.stream {
            frames.grant_window(max);
        }
    }

    /// Returns the window in bytes that the stream needs to continue and has no grant for. Until it
    /// is granted, the stream seems to be at its end.
    pub fn wanted_window(&self) -> Option<u64> {
        match &self.stream {
            Stream::Zstd(frames) => frames.wanted_window(),
            Stream::None(_) | Stream::Gzip(_) => None,
        }
    }

    /// Returns the reader of the layer. As little as the first bytes may have been read from it.
    #[must_use]
    pub fn into_inner(self) -> R {
        let (_, blob) = match self.stream {
            Stream::None(blob) => blob,
            Stream::Gzip(members) => members.into_inner(),
            Stream::Zstd(frames) => frames.into_inner(),
        }
        .into_inner();
        blob
    }

    /// Returns the compression of the layer.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.stream {
            Stream::None(_) => Compression::None,
            Stream::Gzip(_) => Compression::Gzip,
            Stream::Zstd(_) => Compression::Zstd,
        }
    }
}

/// CRC-32 of the content of a gzip stream (RFC 1952, section 2.3.1).
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum(u32);

/// CRC-32 that a gzip stream declares for its content, and the length of both.
#[derive(Debug, Clone, Copy)]
pub struct DeclaredChecksum {
    crc: u32,
    read: u64,
    written: u64,
}

impl Checksum {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 = zlib_rs::crc32::crc32(self.0, bytes);
    }

    /// Compares the checksum with the declared one.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Stream`] if they differ.
    pub fn verify(self, declared: DeclaredChecksum) -> Result<(), DecodeError> {
        if self.0 == declared.crc {
            return Ok(());
        }
        Err(DecodeError::Stream {
            compression: Compression::Gzip,
            fault: StreamFault::Checksum,
            read: declared.read,
            written: declared.written,
        })
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (result, read) = match &mut self.stream {
            Stream::None(blob) => return blob.read(buffer),
            Stream::Gzip(members) => (members.read(buffer), members.read_count()),
            Stream::Zstd(frames) => (frames.read(buffer), frames.read_count()),
        };
        match result {
            Ok(len) => {
                self.written += len as u64;
                Ok(len)
            }
            Err(StreamError::Read(error)) => Err(error),
            Err(StreamError::Decode(error)) => Err(error.into()),
            Err(StreamError::Fault(fault)) => Err(DecodeError::Stream {
                compression: self.compression(),
                fault,
                read,
                written: self.written,
            }
            .into()),
        }
    }
}

fn detect_compression(magic: &[u8]) -> Compression {
    match magic {
        // A blob that ends inside of the magic number is a truncated stream: a tar is never this
        // short.
        [0x1f, 0x8b, 0x08, ..] | [0x1f, 0x8b] => Compression::Gzip,
        [_, _, _, _, ..] if begins_frame(&magic[..4]) => Compression::Zstd,
        [_, _] | [_, _, _] if begins_frame(magic) => Compression::Zstd,
        _ => Compression::None,
    }
}

fn detect_unsupported(magic: &[u8]) -> Option<&'static str> {
    // Level and first block are checked too, since the name of a file may begin with "BZh".
    if let [b'B', b'Z', b'h', b'1'..=b'9', block @ ..] = magic
        && (block == b"1AY&SY" || block == b"\x17\x72\x45\x38\x50\x90")
    {
        return Some("bzip2");
    }
    let (_, name) = UNSUPPORTED.iter().find(|(first, _)| magic.starts_with(first))?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{GzBuilder, write::GzEncoder};

    use super::*;

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns a gzip member whose header has a checksum.
    fn gzip_with_header_checksum(bytes: &[u8]) -> Vec<u8> {
        let mut member = gzip(bytes);
        let rest = member.split_off(10);
        member[3] = 2;
        let [first, second, ..] = zlib_rs::crc32::crc32(0, &member).to_le_bytes();
        [&member, &[first, second][..], &rest].concat()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 0).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn skippable(len: u32) -> Vec<u8> {
        let content = vec![0xff; len as usize];
        [&b"\x5e\x2a\x4d\x18"[..], &len.to_le_bytes(), &content].concat()
    }

    /// Decodes a layer that arrives in pieces of `piece` bytes.
    fn decode_in_pieces(blob: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        let reader = io::BufReader::with_capacity(piece, blob);
        decode(reader, TAR)
            .map_err(io::Error::other)?
            .read_to_end(&mut decoded)?;
        Ok(decoded)
    }

    /// Decodes a layer. Checks that the result does not depend on the pieces in which it arrives.
    fn decode_all(blob: &[u8]) -> io::Result<Vec<u8>> {
        let whole = decode_in_pieces(blob, blob.len().max(1));
        for piece in [1, 2, 7, 512] {
            let decoded = decode_in_pieces(blob, piece);
            assert_eq!(decoded.as_ref().ok(), whole.as_ref().ok(), "in pieces of {piece} bytes");
        }
        whole
    }

    #[test]
    fn all_members_and_all_frames_are_read() {
        let extra = {
            let mut encoder = GzBuilder::new()
                .extra(&b"SG\x04\0abcd"[..])
                .filename("x")
                .comment("y")
                .write(Vec::new(), flate2::Compression::none());
            encoder.write_all(b"four").unwrap();
            encoder.finish().unwrap()
        };
        for (blob, compression, expected) in [
            (vec![], Compression::None, &b""[..]),
            (b"plain".to_vec(), Compression::None, b"plain"),
            (
                b"a longer plain layer".to_vec(),
                Compression::None,
                b"a longer plain layer",
            ),
            (gzip(b"one"), Compression::Gzip, b"one"),
            (gzip(b""), Compression::Gzip, b""),
            (gzip_with_header_checksum(b"one"), Compression::Gzip, b"one"),
            (
                [gzip(b"one"), gzip(b""), gzip(b"two"), extra, gzip(b"")].concat(),
                Compression::Gzip,
                b"onetwofour",
            ),
            ([gzip(b"one"), vec![0; 1000]].concat(), Compression::Gzip, b"one"),
            (zstd(b"one"), Compression::Zstd, b"one"),
            (
                [zstd(b"one"), skippable(0), zstd(b""), zstd(b"two"), skippable(700)].concat(),
                Compression::Zstd,
                b"onetwo",
            ),
            ([skippable(3), zstd(b"one")].concat(), Compression::Zstd, b"one"),
        ] {
            assert_eq!(decode(&blob[..], TAR).unwrap().compression(), compression);
            assert_eq!(decode_all(&blob).unwrap(), expected);
        }
    }

    #[test]
    fn truncated_layers_are_errors_wherever_they_end() {
        // A stream that ends between two members or frames is complete.
        for (parts, complete) in [
            (vec![gzip(b"one"), gzip(b"some more")], vec![1]),
            (vec![zstd(b"one"), skippable(9), zstd(b"some more")], vec![1, 2]),
        ] {
            let blob = parts.concat();
            let complete: Vec<usize> = complete
                .into_iter()
                .map(|count| parts[..count].concat().len())
                .collect();
            let decoded: Vec<usize> = (4..blob.len())
                .filter(|&len| decode_all(&blob[..len]).is_ok())
                .collect();
            assert_eq!(decoded, complete);
        }
    }

    #[test]
    fn damaged_layers_are_errors() {
        let mut checksum = gzip(b"content");
        let crc = checksum.len() - 8;
        checksum[crc] ^= 1;
        let mut size = gzip(b"content");
        *size.last_mut().unwrap() ^= 1;
        let mut header = gzip_with_header_checksum(b"content");
        header[4] ^= 1;
        let mut flags = gzip(b"content");
        flags[3] = 1 << 5;
        let mut frame = zstd(b"content");
        *frame.last_mut().unwrap() ^= 1;
        for (blob, name) in [
            (checksum, "wrong checksum of a gzip member"),
            (size, "wrong size of a gzip member"),
            (header, "wrong checksum of the header of a gzip member"),
            (flags, "unknown flag of a gzip member"),
            (frame, "wrong checksum of a zstd frame"),
            ([gzip(b"one"), b"garbage".to_vec()].concat(), "garbage after gzip"),
            (
                [gzip(b"one"), b"\x1f\x8c".to_vec()].concat(),
                "half a header after gzip",
            ),
            (
                [gzip(b"one"), vec![0; 9], gzip(b"two")].concat(),
                "a member after the padding",
            ),
            ([zstd(b"one"), b"garbage".to_vec()].concat(), "garbage after zstd"),
            ([zstd(b"one"), vec![0; 9]].concat(), "zeros after zstd"),
        ] {
            assert!(decode_all(&blob).is_err(), "{name}");
        }
    }

    #[test]
    fn a_caller_can_verify_the_checksums_of_gzip_itself() {
        let long = "x".repeat(100_000);
        let members = [&b"one"[..], b"", long.as_bytes(), b"two"];
        let mut content = Vec::new();
        let blob = members.map(gzip).concat();
        let mut decoder = decode(&blob[..], TAR).unwrap().trusting_checksums();
        decoder.read_to_end(&mut content).unwrap();
        assert_eq!(content, members.concat());
        let mut checksum = Checksum::default();
        content.chunks(7).for_each(|part| checksum.update(part));
        checksum.verify(decoder.declared_checksum().unwrap()).unwrap();
        checksum.update(b"more");
        assert!(checksum.verify(decoder.declared_checksum().unwrap()).is_err());
        assert!(decode(&blob[..], TAR).unwrap().declared_checksum().is_none());
    }

    #[test]
    fn unsupported_compressions_are_refused_by_name() {
        for (blob, expected) in [
            (&b"BZh91AY&SY\x01\x02"[..], "bzip2"),
            (b"\xfd7zXZ\0\0\x04", "xz"),
            (b"\x04\x22\x4d\x18\x60", "lz4"),
            (b"\x1f\x9d\x90", "compress"),
        ] {
            assert!(
                matches!(decode(blob, TAR), Err(DecodeError::Unsupported { name }) if name == expected),
                "{expected}"
            );
        }
        assert_eq!(
            decode(&b"BZhou-dynasty/"[..], TAR).unwrap().compression(),
            Compression::None
        );
    }

    #[test]
    fn the_first_bytes_decide_unless_the_media_type_is_encrypted() {
        let gzip = gzip(b"content");
        assert_eq!(decode(&gzip[..], TAR).unwrap().compression(), Compression::Gzip);
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        assert!(matches!(
            decode(&gzip[..], media_type),
            Err(DecodeError::Encrypted { .. })
        ));
    }
}
