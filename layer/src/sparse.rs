//! Sparse files: maps of data and holes, in the four formats of GNU tar.

use std::io::{self, Read};
use std::ops::Range;

use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use super::decimal::parse_unsigned;
use super::error::LayerErrorKind;
use super::header::{self, BLOCK_SIZE, MAX_EXTENSION_LEN};

/// Size of a sparse file, and its ranges with data. The rest are holes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SparseMap {
    pub(super) len: u64,
    pub(super) ranges: Vec<Range<u64>>,
}

impl SparseMap {
    /// Creates a map from offsets and lengths in ascending order. A length may be 0.
    fn new(len: u64, pairs: &[[u64; 2]]) -> Result<Self, LayerErrorKind> {
        let mut ranges = Vec::with_capacity(pairs.len());
        let mut previous = 0;
        for &[start, count] in pairs {
            let end = start.checked_add(count).filter(|&end| end <= len);
            let Some(end) = end else {
                return Err(invalid("data beyond its end"));
            };
            if start < previous {
                return Err(invalid("data that overlaps or is out of order"));
            }
            if count > 0 {
                ranges.push(start..end);
            }
            previous = end;
        }
        Ok(Self { len, ranges })
    }

    /// Returns the number of bytes of data.
    pub(super) fn data_len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

/// Reads the map of GNU tar's own format (type `S`): up to four ranges in the header, and 21 more
/// in each block that follows.
pub(super) fn read_gnu_map(header: &GnuHeader, tar: &mut impl Read) -> Result<SparseMap, LayerErrorKind> {
    let mut pairs = Vec::new();
    push_gnu_pairs(&mut pairs, &header.sparse)?;
    let mut extended = header.isextended[0] != 0;
    let mut len = 0;
    while extended {
        len += BLOCK_SIZE as u64;
        if len > MAX_EXTENSION_LEN {
            return Err(too_long(len));
        }
        let mut block = GnuExtSparseHeader::new();
        tar.read_exact(block.as_mut_bytes()).map_err(read_error)?;
        push_gnu_pairs(&mut pairs, block.sparse())?;
        extended = block.is_extended();
    }
    SparseMap::new(
        header::parse_unsigned("size of a sparse file", &header.realsize)?,
        &pairs,
    )
}

fn push_gnu_pairs(pairs: &mut Vec<[u64; 2]>, fields: &[GnuSparseHeader]) -> Result<(), LayerErrorKind> {
    // A field that begins with a NUL ends the list (GNU tar, sparse.c).
    for field in fields.iter().take_while(|field| field.offset[0] != 0) {
        pairs.push([
            header::parse_unsigned("offset of sparse data", &field.offset)?,
            header::parse_unsigned("length of sparse data", &field.numbytes)?,
        ]);
    }
    Ok(())
}

/// Records of an extended header that describe a sparse file.
///
/// Format 0.0 repeats `offset` and `numbytes` for each range, format 0.1 has them in a list, and
/// format 1.0 has them before the data (GNU tar manual, "Storing Sparse Files").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeywords {
    /// Name of the file. The path in the header is for readers that do not know the format.
    pub(super) name: Option<Vec<u8>>,
    len: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    range_count: Option<u64>,
    /// Offsets and lengths, alternating.
    list: Vec<u64>,
}

impl SparseKeywords {
    /// Returns whether the entry is a sparse file. Only a version or a map makes one. Without them,
    /// the name does not count either (Go, `readGNUSparsePAXHeaders`).
    pub(super) fn describe_sparse_file(&self) -> bool {
        self.major.is_some() || self.minor.is_some() || !self.list.is_empty()
    }

    /// Reads a record. Returns false if it is not one of these.
    pub(super) fn read(&mut self, keyword: &[u8], value: &[u8]) -> Result<bool, LayerErrorKind> {
        let Some(keyword) = keyword.strip_prefix(b"GNU.sparse.") else {
            return Ok(false);
        };
        match keyword {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.len = Some(parse_unsigned("GNU.sparse.realsize", value)?),
            b"major" => self.major = Some(parse_unsigned("GNU.sparse.major", value)?),
            b"minor" => self.minor = Some(parse_unsigned("GNU.sparse.minor", value)?),
            b"numblocks" => self.range_count = Some(parse_unsigned("GNU.sparse.numblocks", value)?),
            b"map" => {
                let numbers = value.split(|&byte| byte == b',').filter(|number| !number.is_empty());
                self.list = numbers
                    .map(|number| parse_unsigned("GNU.sparse.map", number))
                    .collect::<Result<_, _>>()?;
            }
            b"offset" | b"numbytes" => {
                if self.list.len().is_multiple_of(2) != (keyword == b"offset") {
                    return Err(invalid("offsets and lengths that do not alternate"));
                }
                self.list.push(parse_unsigned("GNU.sparse.offset", value)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the map. In format 1.0, it is read from the start of the content.
    pub(super) fn map(&self, content: &mut impl Read) -> Result<SparseMap, LayerErrorKind> {
        let len = self.len.ok_or(invalid("no size"))?;
        match (self.major, self.minor) {
            (None | Some(0), None | Some(0 | 1)) => {
                let (pairs, rest) = self.list.as_chunks::<2>();
                if !rest.is_empty() || self.range_count.is_some_and(|count| count != pairs.len() as u64) {
                    return Err(invalid("another number of ranges than announced"));
                }
                SparseMap::new(len, pairs)
            }
            (Some(1), Some(0)) => SparseMap::new(len, &read_pairs_of_1_0(content)?),
            _ => Err(invalid("a format other than 0.0, 0.1 and 1.0")),
        }
    }
}

/// Reads the map at the start of the content (format 1.0): decimal numbers, one a line, padded to
/// whole blocks. The first is the number of ranges.
fn read_pairs_of_1_0(content: &mut impl Read) -> Result<Vec<[u64; 2]>, LayerErrorKind> {
    let mut text = Vec::new();
    let (mut line_count, mut needed) = (0, 1);
    while line_count < needed {
        if text.len() as u64 >= MAX_EXTENSION_LEN {
            return Err(too_long(text.len() as u64));
        }
        let mut block = [0; BLOCK_SIZE];
        content.read_exact(&mut block).map_err(read_error)?;
        text.extend_from_slice(&block);
        line_count += block.split(|&byte| byte == b'\n').skip(1).count() as u64;
        if needed == 1 && line_count > 0 {
            let count = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let count = parse_unsigned("number of sparse ranges", count)?;
            needed = count
                .checked_mul(2)
                .and_then(|lines| lines.checked_add(1))
                .ok_or(too_long(count))?;
        }
    }
    let range_count = usize::try_from((needed - 1) / 2).expect("each range took a line of the text");
    let mut lines = text.split(|&byte| byte == b'\n').skip(1);
    let mut number = || parse_unsigned("sparse range", lines.next().unwrap_or_default());
    (0..range_count).map(|_| Ok([number()?, number()?])).collect()
}

fn invalid(reason: &'static str) -> LayerErrorKind {
    LayerErrorKind::InvalidSparseMap { reason }
}

fn too_long(len: u64) -> LayerErrorKind {
    LayerErrorKind::ExtensionTooLong {
        what: "a sparse map",
        len,
        max: MAX_EXTENSION_LEN,
    }
}

fn read_error(error: io::Error) -> LayerErrorKind {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("a map that does not end"),
        _ => LayerErrorKind::Read(error),
    }
}
