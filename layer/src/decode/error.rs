//! Errors of decompression.

use std::fmt;
use std::io;

use super::Compression;
use crate::failure::{ErrorKind, Failure, Hint};

/// Reason why a layer, or an archive of an image, cannot be decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The layer is encrypted.
    #[error("the layer is encrypted ({media_type})")]
    Encrypted {
        /// Media type of the layer.
        media_type: String,
    },
    /// The compression is not supported.
    #[error("it is compressed with {name}: only gzip and zstd are supported")]
    Unsupported {
        /// Name of the compression.
        name: &'static str,
    },
    /// The compressed data could not be read.
    #[error("could not read the compressed data")]
    Read(#[source] io::Error),
    /// The compressed stream ends early or is corrupt.
    #[error(
        "the {} stream {fault}: {read} compressed bytes read, {written} bytes decompressed",
        .compression.name()
    )]
    Stream {
        /// Compression of the stream.
        compression: Compression,
        /// Fault in the stream.
        fault: StreamFault,
        /// Compressed bytes that were read before the fault.
        read: u64,
        /// Bytes that were decompressed before the fault.
        written: u64,
    },
    /// A zstd frame needs a larger window than a decoder may have.
    #[error("the zstd stream needs a window of {window} bytes: at most {max} are supported")]
    WindowTooLarge {
        /// Size of the window in bytes.
        window: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A zstd frame was compressed with a dictionary, which no image carries.
    #[error("the zstd stream needs the dictionary {id}: it can only be decompressed without one")]
    Dictionary {
        /// Number of the dictionary.
        id: u32,
    },
    /// The system has no memory for the window of a zstd frame.
    #[error("out of memory: the zstd stream's window takes {window} bytes")]
    OutOfMemory {
        /// Size of the window in bytes.
        window: u64,
    },
}

impl DecodeError {
    /// Returns the decompression error inside of an error of a [`Decoder`](super::Decoder), if
    /// there is one.
    #[must_use]
    pub fn find_in(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns the kind of the [`io::Error`] that it is converted to.
    #[must_use]
    pub fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Read(source) => source.kind(),
            Self::Stream {
                fault: StreamFault::Truncated { .. },
                ..
            } => io::ErrorKind::UnexpectedEof,
            Self::Stream { .. } => io::ErrorKind::InvalidData,
            Self::OutOfMemory { .. } => io::ErrorKind::OutOfMemory,
            _ => io::ErrorKind::Unsupported,
        }
    }
}

impl Failure for DecodeError {
    fn kind(&self) -> ErrorKind {
        self.io_kind().into()
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Encrypted { .. } => "decrypt the image first, for example with skopeo copy --decryption-key",
            Self::Unsupported { .. } => "build the image again with layers in gzip or zstd",
            Self::Stream {
                fault: StreamFault::Trailing,
                ..
            } => "build the image again: something was appended to the layer, or a part of it was damaged",
            Self::Stream { .. } => DAMAGED_HINT,
            Self::WindowTooLarge { .. } => "compress it again with a smaller window: zstd --long=29 or less",
            Self::Dictionary { .. } => "compress it again without a dictionary",
            Self::OutOfMemory { .. } => {
                "free some memory, or raise its limit (ulimit -v); or compress it again with a smaller window"
            }
            Self::Read(_) => return None,
        };
        Some(text.into())
    }
}

/// Hint on a layer that is damaged although its digest is right.
pub(crate) const DAMAGED_HINT: &str =
    "build the image again: the layer was damaged before its digest was taken, so every copy of it is";

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(error.io_kind(), error)
    }
}

/// A fault of a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// The stream ends early.
    #[error("is truncated inside {inside}")]
    Truncated {
        /// Part of the stream in which it ends.
        inside: StreamPart,
    },
    /// A header has bits set that no version of the format defines.
    #[error("is corrupt, as a header has reserved bits set")]
    ReservedBits,
    /// The checksum of a header is wrong.
    #[error("is corrupt, as the checksum of a header is wrong")]
    HeaderChecksum,
    /// The compressed data cannot be decoded.
    #[error("is corrupt, as its data cannot be decoded")]
    Data,
    /// The checksum of the content is wrong.
    #[error("is corrupt, as the checksum of its content is wrong")]
    Checksum,
    /// A gzip member has more or less content than its trailer declares.
    #[error("is corrupt, as a member does not have the length that its trailer says")]
    Length,
    /// Other data follows a complete member or frame.
    #[error("is followed by other data")]
    Trailing,
}

/// A part of a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamPart {
    /// The header of a gzip member (RFC 1952, section 2.3).
    MemberHeader,
    /// The deflate data of a gzip member.
    Member,
    /// The checksum and length at the end of a gzip member.
    MemberTrailer,
    /// The header of a zstd frame (RFC 8878, section 3.1.1.1).
    FrameHeader,
    /// The blocks or the checksum of a zstd frame.
    Frame,
    /// A zstd frame that decoders skip (RFC 8878, section 3.1.2).
    SkippableFrame,
}

impl fmt::Display for StreamPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemberHeader => "the header of a member",
            Self::Member => "a member",
            Self::MemberTrailer => "the trailer of a member",
            Self::FrameHeader => "the header of a frame",
            Self::Frame => "a frame",
            Self::SkippableFrame => "a skippable frame",
        })
    }
}

/// Internal error of a decoder. [`Decoder`](super::Decoder) converts it, and adds its position.
pub(super) enum StreamError {
    /// The compressed bytes could not be read.
    Read(io::Error),
    /// The stream is faulty.
    Fault(StreamFault),
    /// The stream needs what the decoder does not support.
    Decode(DecodeError),
}

impl StreamError {
    pub(super) fn truncated(inside: StreamPart) -> Self {
        Self::Fault(StreamFault::Truncated { inside })
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}
