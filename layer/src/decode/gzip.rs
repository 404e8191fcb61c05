//! The members of a gzip stream (RFC 1952).

use std::io::BufRead;

use bitflags::bitflags;
use flate2::{Decompress, FlushDecompress, Status};
use zlib_rs::crc32::{crc32, crc32_combine};

use super::counted::Counted;
use super::error::{Stop, StreamFault, StreamPart};

/// `ID1`, `ID2`, and the only `CM`.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

bitflags! {
    /// `FLG`: what the header has besides.
    #[derive(Clone, Copy)]
    struct Flags: u8 {
        /// The content may be text, which means nothing.
        const FTEXT = 1 << 0;
        /// A checksum of the header.
        const FHCRC = 1 << 1;
        /// Fields, as of eStargz.
        const FEXTRA = 1 << 2;
        /// A name that ends with a zero.
        const FNAME = 1 << 3;
        /// A comment that ends with a zero.
        const FCOMMENT = 1 << 4;
    }
}

/// What all members hold, one after the other.
///
/// Zeros after the last one are padding, which GNU gzip and umoci accept too: there are builders that write it. Anything else is
/// an error: it might be a member that was damaged.
pub(super) struct Members<R> {
    blob: Counted<R>,
    deflate: Decompress,
    place: Place,
    checksums: Checksums,
}

/// A place in the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a member, or at the end.
    Between,
    /// Amid the deflate data of a member.
    Data,
    /// Before the trailer of a member.
    Trailer,
}

/// What becomes of the CRC-32 of each member.
enum Checksums {
    /// It is held against that of the content, which for this member is so far this.
    VerifyingReader(u32),
    /// It is taken for right. That of all that the members hold is then this.
    Believed(u32),
}

impl<R: BufRead> Members<R> {
    /// Returns the reader of the compressed bytes.
    pub(super) fn into_inner(self) -> R {
        self.blob.into_inner()
    }

    pub(super) fn new(blob: Counted<R>) -> Self {
        Self {
            blob,
            deflate: Decompress::new(false),
            place: Place::Between,
            checksums: Checksums::VerifyingReader(0),
        }
    }

    /// Leaves it to the reader to hold all that it has read against [`Members::checksum`].
    pub(super) fn believe_checksums(&mut self) {
        self.checksums = Checksums::Believed(0);
    }

    /// The CRC-32 that everything must have that was read up to the end of a member, if that is the reader's business.
    pub(super) fn checksum(&self) -> Option<u32> {
        match self.checksums {
            Checksums::VerifyingReader(_) => None,
            Checksums::Believed(all) => Some(all),
        }
    }

    /// Compressed bytes that were read.
    pub(super) fn read_count(&self) -> u64 {
        self.blob.count()
    }

    /// Decompresses what fits the buffer; returns 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.place {
                Place::Between => {
                    if !self.begin()? {
                        return Ok(0);
                    }
                }
                Place::Data => match self.inflate(buffer)? {
                    0 => {}
                    len => return Ok(len),
                },
                Place::Trailer => self.end()?,
            }
        }
    }

    /// Begins the next member; returns whether there is one.
    fn begin(&mut self) -> Result<bool, Stop> {
        match self.blob.fill_buf()? {
            [] => return Ok(false),
            [0, ..] => return skip_padding(&mut self.blob).map(|()| false),
            [0x1f, ..] => read_header(&mut self.blob)?,
            _ => return Err(Stop::Fault(StreamFault::Trailing)),
        }
        self.deflate.reset(false);
        if let Checksums::VerifyingReader(crc) = &mut self.checksums {
            *crc = 0;
        }
        self.place = Place::Data;
        Ok(true)
    }

    /// Decompresses what fits the buffer. No content is lost to an error behind it.
    fn inflate(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        let input = self.blob.fill_buf()?;
        if input.is_empty() {
            return Err(Stop::truncated(StreamPart::Member));
        }
        let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self.deflate.decompress(input, buffer, FlushDecompress::None);
        let index = |total: u64| usize::try_from(total).expect("it is within a buffer");
        let read = index(self.deflate.total_in() - before_in);
        let written = index(self.deflate.total_out() - before_out);
        self.blob.consume(read);
        if let Checksums::VerifyingReader(crc) = &mut self.checksums {
            *crc = crc32(*crc, &buffer[..written]);
        }
        match status {
            Ok(Status::StreamEnd) => self.place = Place::Trailer,
            // The next call fails in the same way.
            Err(_) if written > 0 => {}
            Ok(_) if read > 0 || written > 0 => {}
            _ => return Err(Stop::Fault(StreamFault::Data)),
        }
        Ok(written)
    }

    /// Holds what came out of a member against its end.
    fn end(&mut self) -> Result<(), Stop> {
        let mut trailer = [[0; 4]; 2];
        self.blob.take(trailer.as_flattened_mut(), StreamPart::MemberTrailer)?;
        let [expected, len] = trailer.map(u32::from_le_bytes);
        let whole_len = self.deflate.total_out();
        match &mut self.checksums {
            Checksums::VerifyingReader(crc) if *crc != expected => return Err(Stop::Fault(StreamFault::Checksum)),
            Checksums::VerifyingReader(_) => {}
            Checksums::Believed(all) => *all = crc32_combine(*all, expected, whole_len),
        }
        // `ISIZE` is modulo 2^32.
        if u64::from(len) != whole_len & 0xFFFF_FFFF {
            return Err(Stop::Fault(StreamFault::Length));
        }
        self.place = Place::Between;
        Ok(())
    }
}

/// Reads the header of a member, of which nothing matters.
fn read_header<R: BufRead>(blob: &mut Counted<R>) -> Result<(), Stop> {
    let mut header = Header { blob, crc: 0 };
    let mut fixed = [0; 10];
    let (magic, rest) = fixed.split_at_mut(MAGIC.len());
    let len = header.take_some(magic)?;
    if !MAGIC.starts_with(&magic[..len]) {
        return Err(Stop::Fault(StreamFault::Trailing));
    }
    if len < MAGIC.len() {
        return Err(Stop::truncated(StreamPart::MemberHeader));
    }
    header.take(rest)?;
    let Some(flags) = Flags::from_bits(fixed[3]) else {
        return Err(Stop::Fault(StreamFault::ReservedBits));
    };
    if flags.contains(Flags::FEXTRA) {
        let mut len = [0; 2];
        header.take(&mut len)?;
        let mut fields = vec![0; u16::from_le_bytes(len).into()];
        header.take(&mut fields)?;
    }
    for text in [Flags::FNAME, Flags::FCOMMENT] {
        if flags.contains(text) {
            let mut byte = [1];
            while byte != [0] {
                header.take(&mut byte)?;
            }
        }
    }
    if flags.contains(Flags::FHCRC) {
        let [first, second, ..] = header.crc.to_le_bytes();
        let mut crc = [0; 2];
        header.take(&mut crc)?;
        if crc != [first, second] {
            return Err(Stop::Fault(StreamFault::HeaderChecksum));
        }
    }
    Ok(())
}

/// A header that is being read.
struct Header<'a, R> {
    blob: &'a mut Counted<R>,
    crc: u32,
}

impl<R: BufRead> Header<'_, R> {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), Stop> {
        if self.take_some(bytes)? < bytes.len() {
            return Err(Stop::truncated(StreamPart::MemberHeader));
        }
        Ok(())
    }

    fn take_some(&mut self, bytes: &mut [u8]) -> Result<usize, Stop> {
        let len = self.blob.take_some(bytes)?;
        self.crc = crc32(self.crc, &bytes[..len]);
        Ok(len)
    }
}

/// Reads zeros to the end.
fn skip_padding<R: BufRead>(blob: &mut Counted<R>) -> Result<(), Stop> {
    loop {
        let len = match blob.fill_buf()? {
            [] => return Ok(()),
            zeros if zeros.iter().all(|&byte| byte == 0) => zeros.len(),
            _ => return Err(Stop::Fault(StreamFault::Trailing)),
        };
        blob.consume(len);
    }
}
