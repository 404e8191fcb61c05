//! Indexes the members of a tar by reading its headers.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::mem;

use tar::{EntryType, Header};

use super::{MAX_MEMBERS, MAX_NAMES_LEN};
use crate::file_range::FileRange;
use layer::{LayerErrorKind, pax};

/// Size of a tar block in bytes.
const BLOCK_SIZE: usize = 512;

/// Limit in bytes on an extended header or long name.
const MAX_EXTENSION_LEN: u64 = 1 << 20;

/// A member of a tar.
#[derive(Debug)]
pub(super) enum Member {
    /// A regular file: offset of its content in the tar, and length in bytes.
    File { start: u64, len: u64 },
    /// A symlink or hard link: the normalized name of its target in the archive.
    Link(String),
}

impl Member {
    /// Returns the length of the link's target in bytes.
    fn target_len(&self) -> usize {
        match self {
            Self::File { .. } => 0,
            Self::Link(target) => target.len(),
        }
    }
}

/// Error of [`read_members`].
pub(super) enum MembersError {
    Read(io::Error),
    Damaged { offset: u64 },
    TooMany,
}

impl From<io::Error> for MembersError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Reads the headers of a tar, and returns its files and links by name. The last member of a name
/// wins.
pub(super) fn read_members(tar: &mut BufReader<FileRange>) -> Result<BTreeMap<String, Member>, MembersError> {
    let len = tar.get_ref().len();
    let mut members = BTreeMap::new();
    let mut overrides = HeaderOverrides::default();
    let mut names_len = 0_usize;
    let mut offset = 0;
    while offset < len {
        let damaged = || MembersError::Damaged { offset };
        let mut block = [0; BLOCK_SIZE];
        match tar.read_exact(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            result => result?,
        }
        if block == [0; BLOCK_SIZE] {
            break;
        }
        let header = Header::from_byte_slice(&block);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let field: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
        if header.cksum().ok() != Some(sum - field + 8 * u32::from(b' ')) {
            return Err(damaged());
        }
        let kind = header.entry_type();
        let size = match overrides.len {
            _ if !has_content(kind) => 0,
            Some(size) if !is_extension(kind) => size,
            _ => header.entry_size().map_err(|_| damaged())?,
        };
        let start = offset + BLOCK_SIZE as u64;
        let next = size
            .checked_next_multiple_of(BLOCK_SIZE as u64)
            .and_then(|size| start.checked_add(size));
        // Some writers omit the padding of the last member.
        let next = next.filter(|_| start + size <= len).ok_or_else(damaged)?;
        if is_extension(kind) {
            let body = read_extension(tar, size).map_err(|error| error.unwrap_or_else(damaged))?;
            overrides.read(kind, &body).map_err(|_| damaged())?;
        } else {
            let HeaderOverrides { name, target, .. } = mem::take(&mut overrides);
            let name = name.unwrap_or_else(|| text_before_nul(&header.path_bytes()));
            let target = || target.or_else(|| header.link_name_bytes().map(|name| text_before_nul(&name)));
            let name = normalize_name(&name);
            let member = match kind {
                EntryType::Symlink => {
                    target().map(|target| Member::Link(normalize_name(&resolve_target(&name, &target))))
                }
                EntryType::Link => target().map(|target| Member::Link(normalize_name(&target))),
                EntryType::Regular | EntryType::Continuous => Some(Member::File { start, len: size }),
                _ => None,
            };
            if let Some(member) = member {
                names_len += name.len() + member.target_len();
                members.insert(name, member);
            }
        }
        if members.len() > MAX_MEMBERS || names_len > MAX_NAMES_LEN {
            return Err(MembersError::TooMany);
        }
        tar.seek(SeekFrom::Start(next))?;
        offset = next;
    }
    Ok(members)
}

/// Fields of the next member that extended headers override; the others come from its own header.
#[derive(Default)]
struct HeaderOverrides {
    name: Option<String>,
    target: Option<String>,
    len: Option<u64>,
}

impl HeaderOverrides {
    /// Reads the body of an extended header into the fields.
    fn read(&mut self, kind: EntryType, body: &[u8]) -> Result<(), LayerErrorKind> {
        let non_empty = |value: &[u8]| Some(text_before_nul(value)).filter(|value| !value.is_empty());
        match kind {
            EntryType::GNULongName => self.name = non_empty(body),
            EntryType::GNULongLink => self.target = non_empty(body),
            EntryType::XHeader => {
                for record in pax::Records::new(body) {
                    match record? {
                        (b"path", value) => self.name = non_empty(value),
                        (b"linkpath", value) => self.target = non_empty(value),
                        (b"size", value) => self.len = pax::parse_size(value)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns whether the size field counts bytes of content. For other types it is ignored, as in Go
/// (`isHeaderOnlyType`).
fn has_content(kind: EntryType) -> bool {
    !matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

/// Returns whether a member is an extended header, which describes the next member.
fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
    )
}

/// Reads the body of an extended header. Returns `Err(None)` if it is longer than
/// [`MAX_EXTENSION_LEN`].
fn read_extension(tar: &mut impl Read, size: u64) -> Result<Vec<u8>, Option<MembersError>> {
    if size > MAX_EXTENSION_LEN {
        return Err(None);
    }
    let mut body = Vec::new();
    tar.take(size)
        .read_to_end(&mut body)
        .map_err(|error| Some(error.into()))?;
    Ok(body)
}

/// Decodes bytes up to the first NUL as UTF-8, lossily.
fn text_before_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Returns the path from the root of the archive to the target of a symlink in `name`.
fn resolve_target(name: &str, target: &str) -> String {
    match name.rsplit_once('/') {
        Some((directory, _)) if !target.starts_with('/') => format!("{directory}/{target}"),
        _ => target.to_owned(),
    }
}

/// Returns a name without `.`, `..` and repeated slashes.
pub(super) fn normalize_name(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
