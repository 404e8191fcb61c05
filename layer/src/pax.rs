//! Extended headers (PAX): records that describe the entries that follow.
//!
//! A global header holds for all entries that follow, as POSIX says. A global header that gives
//! every entry the same name, size or attributes is an error: no tool means it, and readers differ
//! in how they treat it.

use ext4::Timestamp;

use super::decimal::{not_a_number, parse_digits, parse_integer, parse_unsigned, split_sign};
use super::error::LayerErrorKind;
use super::libarchive;
use super::sparse;

/// Prefix of extended attributes as star, GNU tar and Go write them.
const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
/// Prefix of extended attributes as libarchive writes them.
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

/// Escapes that a tar's writer uses in the names of extended attributes.
///
/// A keyword ends at its first `=`. GNU tar writes `%3D` for `=` and `%25` for `%`. libarchive
/// escapes names like URLs, in both of its keywords. Go's `archive/tar` (containerd, Docker,
/// `BuildKit`, umoci) and others escape nothing, and refuse names with `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameEscaping {
    None,
    Gnu,
    Libarchive,
}

impl NameEscaping {
    /// Recognizes the writer by the name that it gives the extended header of `dir/file`: GNU tar
    /// `dir/PaxHeaders/file` or, before 1.30, `dir/PaxHeaders.<pid>/file`; libarchive
    /// `dir/PaxHeader/file`; Go `dir/PaxHeaders.0/file`.
    pub(super) fn from_header_name(name: &[u8]) -> Self {
        let mut names = name.rsplit(|&byte| byte == b'/').filter(|name| !name.is_empty());
        match names.nth(1) {
            Some(b"PaxHeader") => Self::Libarchive,
            Some(b"PaxHeaders.0") => Self::None,
            Some(name) if name == b"PaxHeaders" || name.starts_with(b"PaxHeaders.") => Self::Gnu,
            _ => Self::None,
        }
    }

    /// Returns the name without escapes.
    fn decode(self, name: &[u8]) -> Vec<u8> {
        match self {
            Self::None => name.to_vec(),
            Self::Gnu => decode_gnu_xattr_name(name),
            Self::Libarchive => libarchive::decode_name(name),
        }
    }
}

/// Decodes `%3D` and `%25`. Any other `%` stands for itself.
fn decode_gnu_xattr_name(encoded: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, tail @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            _ => (*first, tail),
        };
        name.push(byte);
        rest = after;
    }
    name
}

/// Name and value of an extended attribute. The value is `None` if it could not be decoded.
pub(super) type Xattr = (Vec<u8>, Option<Vec<u8>>);

/// Attributes of an entry from extended headers. Those that are missing come from the entry's own
/// header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PaxAttributes {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) modified: Option<Timestamp>,
    pub(super) accessed: Option<Timestamp>,
    pub(super) changed: Option<Timestamp>,
    pub(super) device_major: Option<i64>,
    pub(super) device_minor: Option<i64>,
    /// Extended attributes. The last one of a name wins.
    pub(super) xattrs: Vec<Xattr>,
    /// Number of ACLs in textual form. Their contents are not kept.
    pub(super) textual_acls: u64,
    pub(super) sparse: sparse::SparseKeywords,
}

impl PaxAttributes {
    /// Reads the extended header of one entry.
    ///
    /// A record overrides what is known already, and earlier records of its keyword. A record
    /// without a value restores the value of the entry's own header (POSIX, pax, "pax Extended
    /// Header"). Unknown keywords are ignored, as POSIX demands.
    pub(super) fn read(&mut self, body: &[u8], escaping: NameEscaping) -> Result<(), LayerErrorKind> {
        let mut libarchive_xattrs = Vec::new();
        let mut xattrs = Vec::new();
        for record in Records::new(body) {
            let (keyword, value) = record?;
            if let Some(name) = keyword.strip_prefix(SCHILY_XATTR) {
                xattrs.push((name, value));
            } else if let Some(name) = keyword.strip_prefix(LIBARCHIVE_XATTR) {
                libarchive_xattrs.push((libarchive::decode_name(name), libarchive::decode_value(value)));
            } else if !self.sparse.read(keyword, value)? {
                self.read_keyword(keyword, value)?;
            }
        }
        let escaping = if libarchive_xattrs.is_empty() {
            escaping
        } else {
            NameEscaping::Libarchive
        };
        // bsdtar writes each attribute in both forms. Go, and so containerd, reads only
        // `SCHILY.xattr.`, which therefore comes last and wins.
        self.xattrs = libarchive_xattrs;
        let xattrs = xattrs.into_iter();
        self.xattrs
            .extend(xattrs.map(|(name, value)| (escaping.decode(name), Some(value.to_vec()))));
        Ok(())
    }

    /// Reads a global header. Its records hold for all entries that follow, unless their own
    /// extended headers override them.
    ///
    /// Names, sizes, sparse maps and extended attributes are refused: they cannot be the same for
    /// all entries.
    pub(super) fn read_global(&mut self, body: &[u8]) -> Result<(), LayerErrorKind> {
        for record in Records::new(body) {
            let (keyword, value) = record?;
            let individual = matches!(keyword, b"path" | b"linkpath" | b"size")
                || [
                    SCHILY_XATTR,
                    LIBARCHIVE_XATTR,
                    b"SCHILY.dev",
                    b"SCHILY.acl.",
                    b"GNU.sparse.",
                ]
                .iter()
                .any(|prefix| keyword.starts_with(prefix));
            if individual {
                return Err(LayerErrorKind::GlobalKeyword {
                    keyword: keyword.to_vec(),
                });
            }
            self.read_keyword(keyword, value)?;
        }
        Ok(())
    }

    fn read_keyword(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), LayerErrorKind> {
        match keyword {
            b"path" => self.path = parse_path(value)?,
            b"linkpath" => self.link_path = parse_path(value)?,
            b"size" => self.size = parse_size(value)?,
            b"uid" => self.uid = parse_unless_empty(value, |value| parse_integer("uid", value))?,
            b"gid" => self.gid = parse_unless_empty(value, |value| parse_integer("gid", value))?,
            b"mtime" => self.modified = parse_unless_empty(value, |value| parse_time("mtime", value))?,
            b"atime" => self.accessed = parse_unless_empty(value, |value| parse_time("atime", value))?,
            b"ctime" => self.changed = parse_unless_empty(value, |value| parse_time("ctime", value))?,
            b"SCHILY.devmajor" => {
                self.device_major = parse_unless_empty(value, |value| parse_integer("SCHILY.devmajor", value))?;
            }
            b"SCHILY.devminor" => {
                self.device_minor = parse_unless_empty(value, |value| parse_integer("SCHILY.devminor", value))?;
            }
            b"GNU.volume.filename" => return Err(LayerErrorKind::OtherVolume { file: value.to_vec() }),
            b"SCHILY.acl.access" | b"SCHILY.acl.default" | b"SCHILY.acl.ace" => self.textual_acls += 1,
            _ => {}
        }
        Ok(())
    }
}

/// Iterator over the records of an extended header, `<length> <keyword>=<value>\n` each.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// Iterates over the records in the body of an extended header.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), LayerErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(split_record(&mut self.0).map_err(|reason| LayerErrorKind::InvalidExtension { reason }))
    }
}

/// Splits off the first record. It ends where its length says, since values may hold newlines.
fn split_record<'a>(records: &mut &'a [u8]) -> Result<(&'a [u8], &'a [u8]), &'static str> {
    let space = records
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or("a record without a length")?;
    let len = parse_digits(&records[..space])
        .and_then(|len| usize::try_from(len).ok())
        .ok_or("a length that is not a number")?;
    if len > records.len() {
        return Err("a record that is longer than the header");
    }
    let (record, rest) = records.split_at(len);
    let record = record
        .get(space + 1..)
        .ok_or("a record that is shorter than its length")?;
    let record = record
        .strip_suffix(b"\n")
        .ok_or("a record that does not end with a newline")?;
    let equals = record
        .iter()
        .position(|&byte| byte == b'=')
        .ok_or("a record without '='")?;
    if equals == 0 {
        return Err("a record without a keyword");
    }
    *records = rest;
    Ok((&record[..equals], &record[equals + 1..]))
}

/// Parses a value. Returns `None` for a record without a value.
fn parse_unless_empty<T>(
    value: &[u8],
    parse: impl FnOnce(&[u8]) -> Result<T, LayerErrorKind>,
) -> Result<Option<T>, LayerErrorKind> {
    if value.is_empty() {
        Ok(None)
    } else {
        parse(value).map(Some)
    }
}

fn parse_path(value: &[u8]) -> Result<Option<Vec<u8>>, LayerErrorKind> {
    parse_unless_empty(value, |value| {
        if value.contains(&0) {
            return Err(LayerErrorKind::NulInPath { path: value.to_vec() });
        }
        Ok(value.to_vec())
    })
}

/// Parses the value of the keyword `size`, in bytes. Returns `None` if it is empty.
///
/// # Errors
///
/// [`LayerErrorKind::NotANumber`] for anything but a decimal number.
pub fn parse_size(value: &[u8]) -> Result<Option<u64>, LayerErrorKind> {
    parse_unless_empty(value, |value| parse_unsigned("size", value))
}

/// Parses seconds since 1970, with an optional sign and fraction. Digits after the ninth are cut
/// off.
fn parse_time(field: &'static str, value: &[u8]) -> Result<Timestamp, LayerErrorKind> {
    let (negative, number) = split_sign(value);
    let mut parts = number.splitn(2, |&byte| byte == b'.');
    let whole = parts
        .next()
        .and_then(parse_digits)
        .and_then(|whole| 0_i64.checked_add_unsigned(whole));
    let fraction = parts.next().unwrap_or_default();
    let (Some(whole), true) = (whole, fraction.iter().all(u8::is_ascii_digit)) else {
        return Err(not_a_number(field, value));
    };
    let nanoseconds = (0..9).fold(0, |nanoseconds, place| {
        let digit = fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'));
        nanoseconds * 10 + digit
    });
    Ok(match (negative, nanoseconds) {
        (false, _) => Timestamp::saturating(whole, nanoseconds),
        (true, 0) => Timestamp::saturating(-whole, 0),
        (true, _) => Timestamp::saturating(-whole - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a record with its length, which includes the digits of the length.
    fn record(keyword: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
        let rest = [b" ", keyword.as_bytes(), b"=", value.as_ref(), b"\n"].concat();
        let mut len = rest.len();
        while len != rest.len() + len.to_string().len() {
            len = rest.len() + len.to_string().len();
        }
        [len.to_string().as_bytes(), &rest].concat()
    }

    fn read(records: &[Vec<u8>]) -> PaxAttributes {
        let mut attributes = PaxAttributes::default();
        attributes.read(&records.concat(), NameEscaping::None).unwrap();
        attributes
    }

    #[test]
    fn records_end_where_their_length_says() {
        let hidden = b"\x01\n28 linkpath=/etc/shadow\n\n\xff=\0";
        let attributes = read(&[
            record("SCHILY.xattr.security.capability", hidden),
            record("SCHILY.xattr.user.after", "x"),
            record("path", "a\nb"),
        ]);
        assert_eq!(
            attributes.xattrs,
            [
                (b"security.capability".to_vec(), Some(hidden.to_vec())),
                (b"user.after".to_vec(), Some(b"x".to_vec()))
            ]
        );
        assert_eq!(attributes.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(attributes.link_path, None);
    }

    #[test]
    fn the_last_of_duplicate_records_wins() {
        let attributes = read(&[
            record("uid", "1"),
            record("uid", "2"),
            record("mtime", "3"),
            record("mtime", ""),
        ]);
        assert_eq!(attributes.uid, Some(2));
        assert_eq!(attributes.modified, None);
    }

    #[test]
    fn an_empty_record_overrides_the_global_header() {
        let mut attributes = PaxAttributes::default();
        attributes
            .read_global(&[record("mtime", "7"), record("uid", "8"), record("comment", "0badcafe")].concat())
            .unwrap();
        attributes.read(&record("mtime", ""), NameEscaping::None).unwrap();
        assert_eq!((attributes.modified, attributes.uid), (None, Some(8)));
    }

    #[test]
    fn a_global_header_cannot_name_a_file() {
        for keyword in [
            "path",
            "size",
            "SCHILY.xattr.user.x",
            "GNU.sparse.map",
            "SCHILY.devmajor",
        ] {
            let result = PaxAttributes::default().read_global(&record(keyword, "1"));
            assert!(matches!(result, Err(LayerErrorKind::GlobalKeyword { .. })), "{keyword}");
        }
    }

    #[test]
    fn schily_attributes_win_over_libarchive_attributes() {
        let attributes = read(&[
            record("SCHILY.xattr.user.a", "schily"),
            record("LIBARCHIVE.xattr.user.a", "bGliYXJjaGl2ZQ"),
            record("LIBARCHIVE.xattr.user.b%3Dc", "AAH/"),
            record("LIBARCHIVE.xattr.user.d", "AAH!"),
        ]);
        assert_eq!(
            attributes.xattrs,
            [
                (b"user.a".to_vec(), Some(b"libarchive".to_vec())),
                (b"user.b=c".to_vec(), Some(b"\0\x01\xff".to_vec())),
                (b"user.d".to_vec(), None),
                (b"user.a".to_vec(), Some(b"schily".to_vec())),
            ]
        );
    }

    #[test]
    fn attribute_names_are_unescaped_as_their_writer_escapes_them() {
        for (header, name) in [
            ("./PaxHeaders/f", "user.a=b%c%20%"),
            ("d/PaxHeaders.4711/f", "user.a=b%c%20%"),
            ("PaxHeaders/d/", "user.a=b%c%20%"),
            ("d/PaxHeader/f", "user.a=b%c %"),
            ("d/PaxHeaders.0/f", "user.a%3Db%25c%20%"),
            ("././@PaxHeader", "user.a%3Db%25c%20%"),
            ("PaxHeaders", "user.a%3Db%25c%20%"),
            ("", "user.a%3Db%25c%20%"),
        ] {
            let mut attributes = PaxAttributes::default();
            let escaping = NameEscaping::from_header_name(header.as_bytes());
            attributes
                .read(&record("SCHILY.xattr.user.a%3Db%25c%20%", "x"), escaping)
                .unwrap();
            let expected = [(name.as_bytes().to_vec(), Some(b"x".to_vec()))];
            assert_eq!(attributes.xattrs, expected, "{header}");
        }
    }

    #[test]
    fn both_forms_of_libarchive_are_one_attribute() {
        let attributes = read(&[
            record("LIBARCHIVE.xattr.user.a%3Db", "eA"),
            record("SCHILY.xattr.user.a%3Db", "x"),
        ]);
        let attribute = (b"user.a=b".to_vec(), Some(b"x".to_vec()));
        assert_eq!(attributes.xattrs, [attribute.clone(), attribute]);
    }

    #[test]
    fn times_have_signs_and_fractions() {
        for (value, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("1.5", 1, 500_000_000),
            ("1.", 1, 0),
            ("1.9999999999999", 1, 999_999_999),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.5", -1, 500_000_000),
            ("-0.0000000001", 0, 0),
            ("-1.000000001", -2, 999_999_999),
            ("+3.25", 3, 250_000_000),
            ("-9223372036854775807", Timestamp::MIN.seconds(), 0),
            ("9223372036854775807", Timestamp::MAX.seconds(), 999_999_999),
        ] {
            let time = parse_time("mtime", value.as_bytes()).unwrap();
            assert_eq!((time.seconds(), time.nanoseconds()), (seconds, nanoseconds), "{value}");
        }
        for value in [
            ".5",
            "-",
            "1.5.5",
            "1.-5",
            "1e9",
            " 1",
            "--1",
            "9223372036854775808",
            "0x1",
        ] {
            assert!(parse_time("mtime", value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn broken_records_are_errors() {
        for body in [
            &b"9 uid=1\n"[..],
            b"7 uid=1\n",
            b"8 uid=1 ",
            b"8 uid:1\n",
            b"5 =1\n",
            b"uid=1\n",
            b" uid=1\n",
            b"-8 uid=1\n",
            b"99999999999999999999 uid=1\n",
            b"1 \n",
            b"0 uid=1\n",
            b"8 uid=1\n\0\0\0",
            b"8 uid=x\n",
            b"10 size=-1\n",
            b"15 path=a\0bcdef",
        ] {
            let result = PaxAttributes::default().read(body, NameEscaping::None);
            assert!(result.is_err(), "{}", body.escape_ascii());
        }
    }
}
