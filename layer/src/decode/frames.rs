//! Decodes the frames of a zstd stream (RFC 8878).
//!
//! Frame headers are parsed here, so that the memory that a frame needs is known before it is
//! allocated.

use std::io::BufRead;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::counting_reader::CountingReader;
use super::error::{DecodeError, StreamError, StreamFault, StreamPart};

/// Largest window, as a power of 2 in bytes: what containerd reads (the default of
/// klauspost/compress), and `zstd --long=29` writes.
const MAX_WINDOW_LOG: u32 = 29;

/// Largest window in bytes.
pub const MAX_WINDOW: u64 = 1 << MAX_WINDOW_LOG;

/// `Magic_Number` of a frame (section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Longest `Frame_Header`, including `Magic_Number` (section 3.1.1.1).
const MAX_HEADER_LEN: usize = 18;

/// Returns whether the bytes are a prefix of the `Magic_Number` of a frame or of a skippable frame
/// (section 3.1.2).
pub(super) fn begins_frame(bytes: &[u8]) -> bool {
    const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
    let is_skippable = match bytes {
        [0x50..=0x5f, rest @ ..] => SKIPPABLE.starts_with(rest),
        _ => false,
    };
    MAGIC.starts_with(bytes) || is_skippable
}

/// Decoder of a zstd stream: the content of all frames, one after the other.
pub(super) struct ZstdDecoder<R> {
    blob: CountingReader<R>,
    context: DCtx<'static>,
    state: ZstdState,
    /// Largest window in bytes that has a grant.
    granted: u64,
}

/// Position of a [`ZstdDecoder`] in its stream.
enum ZstdState {
    /// Before a frame, or at the end.
    Between,
    /// After the header of a frame whose window may need a grant.
    Header(FrameHeader),
    /// Inside of a frame with a window of `window` bytes. Its next block ends after about `hint`
    /// more compressed bytes.
    Inside { window: u64, hint: usize },
}

/// Header of a frame.
#[derive(Clone, Copy)]
struct FrameHeader {
    bytes: [u8; MAX_HEADER_LEN],
    len: usize,
    /// Bytes of content that the decoder must keep to decode more.
    window: u64,
}

impl<R: BufRead> ZstdDecoder<R> {
    /// Returns the reader of the compressed bytes.
    pub(super) fn into_inner(self) -> R {
        self.blob.into_inner()
    }

    pub(super) fn new(blob: CountingReader<R>) -> Result<Self, DecodeError> {
        let none = || DecodeError::OutOfMemory { window: 0 };
        let mut context = DCtx::try_create().ok_or_else(none)?;
        let limited = context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG));
        limited.expect("the limit is one that libzstd knows");
        Ok(Self {
            blob,
            context,
            state: ZstdState::Between,
            granted: u64::MAX,
        })
    }

    /// Returns the number of compressed bytes that were read.
    pub(super) fn read_count(&self) -> u64 {
        self.blob.count()
    }

    /// Grants memory for windows of at most `max` bytes.
    pub(super) fn grant_window(&mut self, max: u64) {
        self.granted = max;
    }

    /// Returns the window in bytes of the frame that waits for a grant. Returns `None` if none
    /// does.
    pub(super) fn wanted_window(&self) -> Option<u64> {
        match &self.state {
            ZstdState::Header(header) if header.window > self.granted => Some(header.window),
            _ => None,
        }
    }

    /// Decompresses into the buffer. Returns 0 at the end, and where a frame waits for a grant.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let len = match self.state {
                ZstdState::Between => {
                    let Some(header) = self.next_header()? else {
                        return Ok(0);
                    };
                    self.state = ZstdState::Header(header);
                    0
                }
                ZstdState::Header(header) if header.window > self.granted => return Ok(0),
                ZstdState::Header(header) => self.start_frame(&header, buffer)?,
                ZstdState::Inside { window, hint } => self.decompress(window, hint, buffer)?,
            };
            if len > 0 {
                return Ok(len);
            }
        }
    }

    /// Reads the header of the next frame, and skips skippable frames. Returns `None` at the end.
    fn next_header(&mut self) -> Result<Option<FrameHeader>, StreamError> {
        loop {
            let mut magic = [0; 4];
            let start = self.blob.fill_buf()?;
            if start.is_empty() {
                return Ok(None);
            }
            let len = self.blob.read_up_to(&mut magic)?;
            match &magic[..len] {
                magic if !begins_frame(magic) => return Err(StreamError::Fault(StreamFault::Trailing)),
                magic if magic.len() < MAGIC.len() => return Err(StreamError::truncated(StreamPart::FrameHeader)),
                magic if *magic == MAGIC => return self.read_header().map(Some),
                _ => {
                    let mut len = [0; 4];
                    self.blob.read_exact(&mut len, StreamPart::SkippableFrame)?;
                    self.blob
                        .skip(u32::from_le_bytes(len).into(), StreamPart::SkippableFrame)?;
                }
            }
        }
    }

    /// Reads the part of a frame's header after `Magic_Number`.
    fn read_header(&mut self) -> Result<FrameHeader, StreamError> {
        let mut bytes = [0; MAX_HEADER_LEN];
        let mut len = MAGIC.len();
        bytes[..len].copy_from_slice(&MAGIC);
        let mut field = |size: usize| {
            let start = len;
            len += size;
            self.blob.read_exact(&mut bytes[start..len], StreamPart::FrameHeader)?;
            let mut number = [0; 8];
            number[..size].copy_from_slice(&bytes[start..len]);
            Ok::<_, StreamError>(u64::from_le_bytes(number))
        };
        let descriptor = field(1)?;
        let is_single_segment = descriptor & 1 << 5 != 0;
        if descriptor & 1 << 3 != 0 {
            return Err(StreamError::Fault(StreamFault::ReservedBits));
        }
        let mut window = 0;
        if !is_single_segment {
            let exponent_and_mantissa = field(1)?;
            let base = 1_u64 << (10 + (exponent_and_mantissa >> 3));
            window = base + base / 8 * (exponent_and_mantissa & 7);
        }
        let dictionary = field([0, 1, 2, 4][usize::try_from(descriptor & 3).expect("2 bits")])?;
        let content = match descriptor >> 6 {
            0 if !is_single_segment => None,
            0 => Some(field(1)?),
            1 => Some(field(2)? + 256),
            2 => Some(field(4)?),
            _ => Some(field(8)?),
        };
        if is_single_segment {
            window = content.expect("the header of a single segment has its length");
        }
        if let Ok(id @ 1..) = u32::try_from(dictionary) {
            return Err(StreamError::Decode(DecodeError::Dictionary { id }));
        }
        if window > MAX_WINDOW {
            let max = MAX_WINDOW;
            return Err(StreamError::Decode(DecodeError::WindowTooLarge { window, max }));
        }
        Ok(FrameHeader {
            bytes,
            len,
            window: content.map_or(window, |content| content.min(window)),
        })
    }

    /// Passes the header of a frame to the decoder.
    fn start_frame(&mut self, header: &FrameHeader, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let window = header.window;
        let mut input = InBuffer::around(&header.bytes[..header.len]);
        let mut output = OutBuffer::around(buffer);
        let mut hint = 0;
        while input.pos() < header.len {
            let result = self.context.decompress_stream(&mut output, &mut input);
            hint = result.map_err(|code| zstd_error(code, window))?;
        }
        self.state = ZstdState::Inside { window, hint };
        Ok(output.pos())
    }

    /// Decompresses into the buffer, one block at a time: an error in a block must not lose the
    /// content of the one before.
    fn decompress(&mut self, window: u64, hint: usize, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let input = self.blob.fill_buf()?;
        let is_over = input.is_empty();
        let mut input = InBuffer::around(&input[..hint.min(input.len())]);
        let mut output = OutBuffer::around(buffer);
        let result = self.context.decompress_stream(&mut output, &mut input);
        let (read, written) = (input.pos(), output.pos());
        if is_over && written == 0 {
            return Err(StreamError::truncated(StreamPart::Frame));
        }
        self.state = match result.map_err(|code| zstd_error(code, window))? {
            0 => ZstdState::Between,
            hint => ZstdState::Inside { window, hint },
        };
        self.blob.consume(read);
        Ok(written)
    }
}

/// Converts an error code of libzstd.
fn zstd_error(code: usize, window: u64) -> StreamError {
    // An error is the negative of its code (`ZSTD_getErrorCode`).
    let is = |error: ZSTD_ErrorCode| code == (error as usize).wrapping_neg();
    if is(ZSTD_ErrorCode::ZSTD_error_checksum_wrong) {
        StreamError::Fault(StreamFault::Checksum)
    } else if is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
        StreamError::Decode(DecodeError::OutOfMemory { window })
    } else {
        StreamError::Fault(StreamFault::Data)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Returns a frame with this `Window_Descriptor`, which needs less.
    fn frame(descriptor: u8) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(b"content").unwrap();
        let mut frame = encoder.finish().unwrap();
        frame[5] = descriptor;
        frame
    }

    /// Returns the header of a frame with a single segment of `len` bytes.
    fn single_segment(len: u64) -> Vec<u8> {
        [&MAGIC, &[0b1110_0000][..], &len.to_le_bytes()].concat()
    }

    fn frames(blob: &[u8]) -> ZstdDecoder<&[u8]> {
        ZstdDecoder::new(CountingReader::new(blob)).unwrap()
    }

    fn error(blob: &[u8]) -> DecodeError {
        match frames(blob).read(&mut [0; 100]) {
            Err(StreamError::Decode(error)) => error,
            _ => panic!("no error of its own"),
        }
    }

    #[test]
    fn windows_of_up_to_512_mib_are_decoded() {
        for (descriptor, window) in [
            (0, 1024),
            (1, 1152),
            (17 << 3, 128 * MIB),
            (18 << 3 | 4, 384 * MIB),
            (19 << 3, 512 * MIB),
        ] {
            let blob = frame(descriptor);
            let mut frames = frames(&blob);
            frames.grant_window(window - 1);
            let mut buffer = [0; 100];
            assert!(matches!(frames.read(&mut buffer), Ok(0)));
            assert_eq!(frames.wanted_window(), Some(window));
            frames.grant_window(window);
            assert!(matches!(frames.read(&mut buffer), Ok(7)));
            assert_eq!(&buffer[..7], b"content");
            assert!(matches!(frames.read(&mut buffer), Ok(0)));
            assert_eq!(frames.wanted_window(), None);
        }
    }

    #[test]
    fn larger_windows_are_named_with_the_limit() {
        let of_window = |wanted: u64, blob: &[u8]| {
            let error = error(blob);
            assert!(
                matches!(error, DecodeError::WindowTooLarge { window, max: 536_870_912 } if window == wanted),
                "{error}"
            );
        };
        of_window(576 * MIB, &frame(19 << 3 | 1));
        of_window(1 << 30, &frame(20 << 3));
        of_window((1 << 41) + (7 << 38), &frame(u8::MAX));
        of_window((1 << 29) + 1, &single_segment((1 << 29) + 1));
        of_window(u64::MAX, &single_segment(u64::MAX));
    }

    /// A decoder never keeps more than all of the content.
    #[test]
    fn content_shorter_than_its_window_needs_only_its_length() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_pledged_src_size(Some(7)).unwrap();
        encoder.write_all(b"content").unwrap();
        let frame = encoder.finish().unwrap();
        for (blob, window) in [(frame, 7), (single_segment(512 * MIB), 512 * MIB)] {
            let mut frames = frames(&blob);
            frames.grant_window(0);
            assert!(matches!(frames.read(&mut [0; 10]), Ok(0)));
            assert_eq!(frames.wanted_window(), Some(window));
        }
    }

    #[test]
    fn a_frame_with_a_dictionary_is_refused_with_its_id() {
        for (flag, field) in [(1, &[7][..]), (2, &[7, 1]), (3, &[7, 1, 0, 0])] {
            let blob = [&MAGIC, &[0b0010_0000 | flag][..], field, &[1]].concat();
            let number = if flag == 1 { 7 } else { 263 };
            assert!(matches!(error(&blob), DecodeError::Dictionary { id } if id == number));
        }
    }
}
