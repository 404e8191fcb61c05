//! Decodes the members of a gzip stream (RFC 1952).
//!
//! Members are parsed here, and a library only inflates their data. So the CRC-32 can be left to
//! another thread: the decoder is the stage for which all others wait. The CRC-32 of the whole
//! content follows from those that the members declare.

use std::io::BufRead;

use bitflags::bitflags;
use flate2::{Decompress, FlushDecompress, Status};
use zlib_rs::crc32::{crc32, crc32_combine};

use super::counting_reader::CountingReader;
use super::error::{StreamError, StreamFault, StreamPart};

/// `ID1`, `ID2`, and the only defined `CM`.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

bitflags! {
    /// Optional fields of the header (`FLG`).
    #[derive(Clone, Copy)]
    struct Flags: u8 {
        /// The content may be text. Ignored.
        const FTEXT = 1 << 0;
        /// A checksum of the header.
        const FHCRC = 1 << 1;
        /// Extra fields, such as those of eStargz.
        const FEXTRA = 1 << 2;
        /// A name that ends with a zero.
        const FNAME = 1 << 3;
        /// A comment that ends with a zero.
        const FCOMMENT = 1 << 4;
    }
}

/// Decoder of a gzip stream: the content of all members, one after the other.
///
/// Zeros after the last member are padding: some builders write it, and GNU gzip and umoci accept
/// it. Anything else after a member is an error, as it might be a damaged member.
pub(super) struct GzipDecoder<R> {
    blob: CountingReader<R>,
    deflate: Decompress,
    state: GzipState,
    crc_mode: CrcMode,
}

/// Position of a [`GzipDecoder`] in its stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GzipState {
    /// Before a member, or at the end.
    Between,
    /// Inside of the deflate data of a member.
    Data,
    /// Before the trailer of a member.
    Trailer,
}

/// Treatment of the CRC-32 that members declare.
enum CrcMode {
    /// Each member's is compared with that of its content, of which this is the value so far.
    Verify(u32),
    /// Each member's is trusted. This is the CRC-32 of the content of all members so far.
    Trust(u32),
}

impl<R: BufRead> GzipDecoder<R> {
    /// Returns the reader of the compressed bytes.
    pub(super) fn into_inner(self) -> R {
        self.blob.into_inner()
    }

    pub(super) fn new(blob: CountingReader<R>) -> Self {
        Self {
            blob,
            deflate: Decompress::new(false),
            state: GzipState::Between,
            crc_mode: CrcMode::Verify(0),
        }
    }

    /// Does not verify checksums. The caller compares all that it read with
    /// [`GzipDecoder::declared_checksum`].
    pub(super) fn trust_checksums(&mut self) {
        self.crc_mode = CrcMode::Trust(0);
    }

    /// Returns the declared CRC-32 of all content up to the end of the last complete member.
    /// Returns `None` if the decoder verifies checksums itself.
    pub(super) fn declared_checksum(&self) -> Option<u32> {
        match self.crc_mode {
            CrcMode::Verify(_) => None,
            CrcMode::Trust(all) => Some(all),
        }
    }

    /// Returns the number of compressed bytes that were read.
    pub(super) fn read_count(&self) -> u64 {
        self.blob.count()
    }

    /// Decompresses into the buffer. Returns 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                GzipState::Between => {
                    if !self.start_member()? {
                        return Ok(0);
                    }
                }
                GzipState::Data => match self.inflate(buffer)? {
                    0 => {}
                    len => return Ok(len),
                },
                GzipState::Trailer => self.end_member()?,
            }
        }
    }

    /// Reads the header of the next member. Returns false at the end of the stream.
    fn start_member(&mut self) -> Result<bool, StreamError> {
        match self.blob.fill_buf()? {
            [] => return Ok(false),
            [0, ..] => return skip_padding(&mut self.blob).map(|()| false),
            [0x1f, ..] => read_header(&mut self.blob)?,
            _ => return Err(StreamError::Fault(StreamFault::Trailing)),
        }
        self.deflate.reset(false);
        if let CrcMode::Verify(crc) = &mut self.crc_mode {
            *crc = 0;
        }
        self.state = GzipState::Data;
        Ok(true)
    }

    /// Inflates into the buffer. Content before corrupt data is returned first, and the error by
    /// the next call.
    fn inflate(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let input = self.blob.fill_buf()?;
        if input.is_empty() {
            return Err(StreamError::truncated(StreamPart::Member));
        }
        let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self.deflate.decompress(input, buffer, FlushDecompress::None);
        let index = |total: u64| usize::try_from(total).expect("the count is at most the length of a buffer");
        let read = index(self.deflate.total_in() - before_in);
        let written = index(self.deflate.total_out() - before_out);
        self.blob.consume(read);
        if let CrcMode::Verify(crc) = &mut self.crc_mode {
            *crc = crc32(*crc, &buffer[..written]);
        }
        match status {
            Ok(Status::StreamEnd) => self.state = GzipState::Trailer,
            // The next call fails in the same way.
            Err(_) if written > 0 => {}
            Ok(_) if read > 0 || written > 0 => {}
            _ => return Err(StreamError::Fault(StreamFault::Data)),
        }
        Ok(written)
    }

    /// Compares the content of a member with its trailer.
    fn end_member(&mut self) -> Result<(), StreamError> {
        let mut trailer = [[0; 4]; 2];
        self.blob
            .read_exact(trailer.as_flattened_mut(), StreamPart::MemberTrailer)?;
        let [expected, len] = trailer.map(u32::from_le_bytes);
        let whole_len = self.deflate.total_out();
        match &mut self.crc_mode {
            CrcMode::Verify(crc) if *crc != expected => return Err(StreamError::Fault(StreamFault::Checksum)),
            CrcMode::Verify(_) => {}
            CrcMode::Trust(all) => *all = crc32_combine(*all, expected, whole_len),
        }
        // `ISIZE` is modulo 2^32.
        if u64::from(len) != whole_len & 0xFFFF_FFFF {
            return Err(StreamError::Fault(StreamFault::Length));
        }
        self.state = GzipState::Between;
        Ok(())
    }
}

/// Reads the header of a member. Its fields are checked, and otherwise ignored.
fn read_header<R: BufRead>(blob: &mut CountingReader<R>) -> Result<(), StreamError> {
    let mut header = MemberHeader { blob, crc: 0 };
    let mut fixed = [0; 10];
    let (magic, rest) = fixed.split_at_mut(MAGIC.len());
    let len = header.read_up_to(magic)?;
    if !MAGIC.starts_with(&magic[..len]) {
        return Err(StreamError::Fault(StreamFault::Trailing));
    }
    if len < MAGIC.len() {
        return Err(StreamError::truncated(StreamPart::MemberHeader));
    }
    header.read_exact(rest)?;
    let Some(flags) = Flags::from_bits(fixed[3]) else {
        return Err(StreamError::Fault(StreamFault::ReservedBits));
    };
    if flags.contains(Flags::FEXTRA) {
        let mut len = [0; 2];
        header.read_exact(&mut len)?;
        let mut fields = vec![0; u16::from_le_bytes(len).into()];
        header.read_exact(&mut fields)?;
    }
    for text in [Flags::FNAME, Flags::FCOMMENT] {
        if flags.contains(text) {
            let mut byte = [1];
            while byte != [0] {
                header.read_exact(&mut byte)?;
            }
        }
    }
    if flags.contains(Flags::FHCRC) {
        let [first, second, ..] = header.crc.to_le_bytes();
        let mut crc = [0; 2];
        header.read_exact(&mut crc)?;
        if crc != [first, second] {
            return Err(StreamError::Fault(StreamFault::HeaderChecksum));
        }
    }
    Ok(())
}

/// A reader of a member's header, which computes the checksum of the header.
struct MemberHeader<'a, R> {
    blob: &'a mut CountingReader<R>,
    crc: u32,
}

impl<R: BufRead> MemberHeader<'_, R> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), StreamError> {
        if self.read_up_to(bytes)? < bytes.len() {
            return Err(StreamError::truncated(StreamPart::MemberHeader));
        }
        Ok(())
    }

    fn read_up_to(&mut self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        let len = self.blob.read_up_to(bytes)?;
        self.crc = crc32(self.crc, &bytes[..len]);
        Ok(len)
    }
}

/// Reads zeros up to the end of the stream.
fn skip_padding<R: BufRead>(blob: &mut CountingReader<R>) -> Result<(), StreamError> {
    loop {
        let len = match blob.fill_buf()? {
            [] => return Ok(()),
            zeros if zeros.iter().all(|&byte| byte == 0) => zeros.len(),
            _ => return Err(StreamError::Fault(StreamFault::Trailing)),
        };
        blob.consume(len);
    }
}
