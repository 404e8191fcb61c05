//! The 512-byte header of a tar entry, in the dialects v7, ustar, GNU and star.
//!
//! To add a dialect: a variant of [`Dialect`], its magic in [`TarHeader::new`], and a case in each
//! method of `TarHeader` whose field differs. Its tests belong in `tests/layers/dialects.rs`, which
//! has the same files in every dialect. What only the dialect's extended headers can say is read in
//! `pax.rs`.

use tar::{GnuHeader, Header as Block};

use super::error::LayerErrorKind;

/// Size of a tar block in bytes.
pub(super) const BLOCK_SIZE: usize = 512;

/// Largest extended header, long name or sparse map in bytes. Go has the same limit
/// (`maxSpecialFileSize`).
pub(super) const MAX_EXTENSION_LEN: u64 = 1 << 20;

/// A header with a valid checksum.
pub(super) struct TarHeader {
    block: Box<Block>,
    dialect: Dialect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    /// POSIX.1-1988, and PAX.
    Ustar,
    /// GNU tar before POSIX: times and a sparse map where ustar has the prefix of the name.
    Gnu,
    /// ustar as Schily's tar writes it: a shorter prefix, and two more times.
    Star,
}

impl TarHeader {
    /// Reads a block as a header. Returns `None` if its checksum is wrong.
    pub(super) fn new(bytes: &[u8; BLOCK_SIZE]) -> Option<Self> {
        let mut block = Box::new(Block::new_old());
        *block.as_mut_bytes() = *bytes;
        let stored = parse_octal(&block.as_old().cksum)?;
        // Old tars of Sun summed signed bytes.
        if stored != checksum(bytes, i64::from) && stored != checksum(bytes, |byte| i64::from(byte.cast_signed())) {
            return None;
        }
        let dialect = match (&bytes[257..263], &bytes[263..265]) {
            (b"ustar\0", _) if bytes.ends_with(b"tar\0") => Dialect::Star,
            (b"ustar\0", _) => Dialect::Ustar,
            (b"ustar ", b" \0") => Dialect::Gnu,
            _ => Dialect::V7,
        };
        Some(Self { block, dialect })
    }

    /// Returns the type of the entry (`typeflag`).
    pub(super) fn flag(&self) -> u8 {
        self.block.as_old().linkflag[0]
    }

    /// Returns the name, including the prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.block.as_old().name);
        let prefix = match self.dialect {
            Dialect::Ustar => until_nul(self.prefix_field(155)),
            Dialect::Star => until_nul(self.prefix_field(131)),
            // Go before 1.8 wrote GNU headers with a prefix over the times
            // (golang.org/issue/12594). Go reads the field as a prefix if it does not hold times.
            Dialect::Gnu if self.gnu_times().is_none() => until_nul(self.prefix_field(155)),
            Dialect::Gnu | Dialect::V7 => &[],
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    /// Returns the target of a link.
    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.block.as_old().linkname).to_vec()
    }

    /// Returns the size of the content in bytes.
    pub(super) fn size(&self) -> Result<u64, LayerErrorKind> {
        parse_unsigned("size", &self.block.as_old().size)
    }

    /// Returns the permission bits. The bits above them mean nothing (POSIX) and are dropped.
    pub(super) fn mode(&self) -> Result<u16, LayerErrorKind> {
        let mode = required_number("mode", &self.block.as_old().mode)?;
        Ok(u16::try_from(mode & 0o7777).expect("12 bits"))
    }

    /// Returns the uid of the owner.
    pub(super) fn uid(&self) -> Result<i64, LayerErrorKind> {
        required_number("uid", &self.block.as_old().uid)
    }

    /// Returns the gid of the group.
    pub(super) fn gid(&self) -> Result<i64, LayerErrorKind> {
        required_number("gid", &self.block.as_old().gid)
    }

    /// Returns the modification time of the content, in seconds since 1970.
    pub(super) fn modified(&self) -> Result<i64, LayerErrorKind> {
        required_number("mtime", &self.block.as_old().mtime)
    }

    /// Returns the access time in seconds since 1970. Returns `None` in dialects without it.
    pub(super) fn accessed(&self) -> Option<i64> {
        match self.dialect {
            Dialect::Gnu => self.gnu_times()?.0,
            Dialect::Star => parse_number(&self.block.as_bytes()[476..488]),
            Dialect::V7 | Dialect::Ustar => None,
        }
    }

    /// Returns the change time of the inode in seconds since 1970. Returns `None` in dialects
    /// without it.
    pub(super) fn changed(&self) -> Option<i64> {
        match self.dialect {
            Dialect::Gnu => self.gnu_times()?.1,
            Dialect::Star => parse_number(&self.block.as_bytes()[488..500]),
            Dialect::V7 | Dialect::Ustar => None,
        }
    }

    /// Returns the major and minor number of a device: 0 in v7, which has no field for them.
    pub(super) fn device(&self) -> Result<(i64, i64), LayerErrorKind> {
        if self.dialect == Dialect::V7 {
            return Ok((0, 0));
        }
        let bytes = self.block.as_bytes();
        Ok((
            required_number("major device number", &bytes[329..337])?,
            required_number("minor device number", &bytes[337..345])?,
        ))
    }

    /// Returns the header with the fields of GNU tar. Returns `None` in other dialects.
    pub(super) fn gnu(&self) -> Option<&GnuHeader> {
        self.block.as_gnu()
    }

    fn prefix_field(&self, len: usize) -> &[u8] {
        &self.block.as_bytes()[345..345 + len]
    }

    /// Returns access and change time of a GNU header. Returns `None` if the fields hold something
    /// else.
    fn gnu_times(&self) -> Option<(Option<i64>, Option<i64>)> {
        let time = |field: &[u8]| {
            if field[0] == 0 {
                Some(None)
            } else {
                parse_number(field).map(Some)
            }
        };
        let gnu = self.gnu()?;
        Some((time(&gnu.atime)?, time(&gnu.ctime)?))
    }
}

/// Reads a header field with a number that cannot be negative.
pub(super) fn parse_unsigned(name: &'static str, field: &[u8]) -> Result<u64, LayerErrorKind> {
    let value = required_number(name, field)?;
    u64::try_from(value).map_err(|_| LayerErrorKind::OutOfRange {
        field: name,
        value,
        max: i64::MAX.cast_unsigned(),
    })
}

/// Reads a header field with a number.
fn required_number(name: &'static str, field: &[u8]) -> Result<i64, LayerErrorKind> {
    parse_number(field).ok_or_else(|| LayerErrorKind::NotANumber {
        field: name,
        value: field.to_vec(),
    })
}

/// Parses octal digits or, if the highest bit of the first byte is set, two's complement (GNU's
/// base-256).
fn parse_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 == 0 {
        return parse_octal(field);
    }
    // The highest bit is the marker. The bit below it is the sign.
    let highest = i128::from((field[0] << 1).cast_signed() >> 1);
    let value = field[1..]
        .iter()
        .fold(highest, |value, &byte| value << 8 | i128::from(byte));
    i64::try_from(value).ok()
}

/// Parses octal digits with spaces and NULs on either side. A field without digits is 0.
fn parse_octal(field: &[u8]) -> Option<i64> {
    let start = field
        .iter()
        .position(|byte| !b" \0".contains(byte))
        .unwrap_or(field.len());
    let digits = until_nul(&field[start..]).trim_ascii_end();
    digits.iter().try_fold(0, |value: i64, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// Returns the bytes before the first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Returns the sum of the bytes of a header. Those of the checksum field count as spaces.
fn checksum(bytes: &[u8; BLOCK_SIZE], value: impl Fn(u8) -> i64) -> i64 {
    let (before, rest) = bytes.split_at(148);
    let sum: i64 = before.iter().chain(&rest[8..]).map(|&byte| value(byte)).sum();
    sum + 8 * i64::from(b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_may_be_padded_in_any_way() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"000644 \0", Some(0o644)),
            (b"   644  ", Some(0o644)),
            (b"\0\0\x30644\0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"77777777", Some(0o7777_7777)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"00006448", None),
            (b"-0000001", None),
            (b"0x000644", None),
            (b"64 4    ", None),
        ] {
            assert_eq!(parse_number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn binary_fields_are_twos_complement_behind_a_marker() {
        for (field, expected) in [
            (&b"\x80\0\0\0\0\0\0\x01"[..], Some(1)),
            (b"\x80\0\0\0\0\x20\0\0", Some(1 << 21)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\xc0\0\0\0\0\0\0\0", Some(-(1 << 62))),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(parse_number(field), expected, "{}", field.escape_ascii());
        }
    }

    /// Returns the header with its checksum filled in.
    fn with_checksum(mut bytes: [u8; BLOCK_SIZE], value: impl Fn(u8) -> i64) -> [u8; BLOCK_SIZE] {
        let sum = checksum(&bytes, value);
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    }

    #[test]
    fn signed_and_unsigned_checksums_are_valid() {
        let mut bytes = [0; BLOCK_SIZE];
        bytes[..4].copy_from_slice(b"\xc3\xa9/x");
        let unsigned = with_checksum(bytes, i64::from);
        let signed = with_checksum(bytes, |byte| i64::from(byte.cast_signed()));
        assert_ne!(unsigned, signed);
        for block in [unsigned, signed] {
            assert_eq!(TarHeader::new(&block).unwrap().name(), b"\xc3\xa9/x");
            let mut damaged = block;
            damaged[1] ^= 1;
            assert!(TarHeader::new(&damaged).is_none());
        }
    }

    #[test]
    fn each_dialect_has_its_own_prefix() {
        let block = |magic: &[u8], trailer: &[u8], prefix: &[u8]| {
            let mut bytes = [0; BLOCK_SIZE];
            bytes[..4].copy_from_slice(b"name");
            bytes[257..257 + magic.len()].copy_from_slice(magic);
            bytes[345..345 + prefix.len()].copy_from_slice(prefix);
            bytes[508..508 + trailer.len()].copy_from_slice(trailer);
            TarHeader::new(&with_checksum(bytes, i64::from)).unwrap()
        };
        let long = [b'p'; 155];
        assert_eq!(block(b"", b"", &long).name(), b"name");
        assert_eq!(block(b"ustar\x0000", b"", &long).name(), [&long[..], b"/name"].concat());
        assert_eq!(block(b"ustar\0\0\0", b"", &long).name(), [&long[..], b"/name"].concat());
        assert_eq!(
            block(b"ustar\x0000", b"tar\0", &long).name(),
            [&long[..131], b"/name"].concat()
        );
        assert_eq!(
            block(b"ustar  \0", b"", b"00000000017\x0000000000021\0").name(),
            b"name"
        );
        assert_eq!(
            block(b"ustar  \0", b"", b"00000000017\x0000000000021\0").changed(),
            Some(17)
        );
        assert_eq!(
            block(b"ustar  \0", b"", b"some/directory").name(),
            b"some/directory/name"
        );
    }
}
