//! The members of a gzip stream (RFC 1952).

use std::io::{self, BufRead, Read};

use bitflags::bitflags;
use flate2::{Decompress, FlushDecompress, Status};
use zlib_rs::crc32::{crc32, crc32_combine};

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
    blob: R,
    deflate: Decompress,
    /// Whether it is in the middle of a member.
    is_inside: bool,
    checksums: Checksums,
}

/// What becomes of the CRC-32 of each member.
enum Checksums {
    /// It is held against that of the content, which for this member is so far this.
    Verified(u32),
    /// It is taken for right. That of all that the members hold is then this.
    Believed(u32),
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(blob: R) -> Self {
        Self {
            blob,
            deflate: Decompress::new(false),
            is_inside: false,
            checksums: Checksums::Verified(0),
        }
    }

    /// Leaves it to the reader to hold all that it has read against [`Members::checksum`].
    pub(super) fn believe_checksums(&mut self) {
        self.checksums = Checksums::Believed(0);
    }

    /// The CRC-32 that everything must have that was read up to the end of a member, if that is the reader's business.
    pub(super) fn checksum(&self) -> Option<u32> {
        match self.checksums {
            Checksums::Verified(_) => None,
            Checksums::Believed(all) => Some(all),
        }
    }

    /// Begins the next member, and says whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        match self.blob.fill_buf()? {
            [] => return Ok(false),
            [0, ..] => return skip_padding(&mut self.blob).map(|()| false),
            [0x1f, ..] => read_header(&mut self.blob)?,
            _ => return Err(data_after_end()),
        }
        self.deflate.reset(false);
        if let Checksums::Verified(crc) = &mut self.checksums {
            *crc = 0;
        }
        self.is_inside = true;
        Ok(true)
    }

    /// Decompresses what fits the buffer, and ends the member if that was all.
    fn inflate(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = self.blob.fill_buf()?;
        if input.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self.deflate.decompress(input, buffer, FlushDecompress::None);
        let status = status.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let index = |total: u64| usize::try_from(total).expect("it is within a buffer");
        let read = index(self.deflate.total_in() - before_in);
        let written = index(self.deflate.total_out() - before_out);
        self.blob.consume(read);
        if let Checksums::Verified(crc) = &mut self.checksums {
            *crc = crc32(*crc, &buffer[..written]);
        }
        match status {
            Status::StreamEnd => self.end()?,
            _ if read == 0 && written == 0 => return Err(corrupt("the deflate stream goes nowhere")),
            _ => {}
        }
        Ok(written)
    }

    /// Holds what came out of a member against its end.
    fn end(&mut self) -> io::Result<()> {
        let mut trailer = [[0; 4]; 2];
        self.blob.read_exact(trailer.as_flattened_mut())?;
        let [expected, len] = trailer.map(u32::from_le_bytes);
        let whole_len = self.deflate.total_out();
        match &mut self.checksums {
            Checksums::Verified(crc) if *crc != expected => return Err(wrong_checksum()),
            Checksums::Verified(_) => {}
            Checksums::Believed(all) => *all = crc32_combine(*all, expected, whole_len),
        }
        // `ISIZE` is modulo 2^32.
        if u64::from(len) != whole_len & 0xFFFF_FFFF {
            return Err(corrupt("a gzip member has another size"));
        }
        self.is_inside = false;
        Ok(())
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_inside && !self.begin()? {
                return Ok(0);
            }
            let len = self.inflate(buffer)?;
            if len > 0 {
                return Ok(len);
            }
        }
    }
}

/// Reads the header of a member, of which nothing matters.
fn read_header(blob: &mut impl BufRead) -> io::Result<()> {
    let mut header = Header { blob, crc: 0 };
    let mut fixed = [0; 10];
    header.read(&mut fixed)?;
    if !fixed.starts_with(&MAGIC) {
        return Err(data_after_end());
    }
    let Some(flags) = Flags::from_bits(fixed[3]) else {
        return Err(corrupt("a gzip member has flags that nobody knows"));
    };
    if flags.contains(Flags::FEXTRA) {
        let mut len = [0; 2];
        header.read(&mut len)?;
        let mut fields = vec![0; u16::from_le_bytes(len).into()];
        header.read(&mut fields)?;
    }
    for text in [Flags::FNAME, Flags::FCOMMENT] {
        if flags.contains(text) {
            let mut byte = [1];
            while byte != [0] {
                header.read(&mut byte)?;
            }
        }
    }
    if flags.contains(Flags::FHCRC) {
        let [first, second, ..] = header.crc.to_le_bytes();
        let mut crc = [0; 2];
        header.read(&mut crc)?;
        if crc != [first, second] {
            return Err(corrupt("the header of a gzip member has another checksum"));
        }
    }
    Ok(())
}

/// A header that is being read.
struct Header<'a, R> {
    blob: &'a mut R,
    crc: u32,
}

impl<R: BufRead> Header<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.blob.read_exact(bytes)?;
        self.crc = crc32(self.crc, bytes);
        Ok(())
    }
}

/// Reads zeros to the end.
fn skip_padding(blob: &mut impl BufRead) -> io::Result<()> {
    loop {
        let len = match blob.fill_buf()? {
            [] => return Ok(()),
            zeros if zeros.iter().all(|&byte| byte == 0) => zeros.len(),
            _ => return Err(data_after_end()),
        };
        blob.consume(len);
    }
}

fn data_after_end() -> io::Error {
    corrupt("data after the end of the gzip stream")
}

/// A member whose content has another checksum than it says.
pub(super) fn wrong_checksum() -> io::Error {
    corrupt("a gzip member has another checksum")
}

fn corrupt(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
