//! Reads the entries of a tar: headers, extended headers, contents, and the end of the archive.
//!
//! Of the `tar` crate, only the types for a header are used. Its reader splits PAX records at
//! newlines, believes the first of duplicates, does not know PAX sparse files, gives directories
//! and links a content, and has no limits. Where dialects contradict each other, Go's `archive/tar`
//! decides: containerd, moby and umoci read with it.
//!
//! Data after the end of the archive is read, since the digests of the layer cover it, but ignored.
//! [`TarReader::drain`] reports it.
//!
//! # To add an entry type
//!
//! Give it a variant of [`TarEntryKind`], a case in `TarReader::read_kind` or, if it describes the
//! next entry, in [`TarReader::next`], and remove it from `unsupported_type`. Then add it to
//! `NodeKind` and `Change::new` in `change.rs`, and to `Applier::write_content` in `apply.rs`. Its
//! tests belong in `tests/layers/dialects.rs`, and a line on what the references do in the README
//! there.

use std::io::{self, BufRead, Read};
use std::mem;

use ext4::Timestamp;

use super::error::{LayerErrorKind, Position};
use super::header::{BLOCK_SIZE, MAX_EXTENSION_LEN, TarHeader, until_nul};
use super::pax::{NameEscaping, PaxAttributes, Xattr};
use super::sparse;

/// An entry as the tar describes it. Values are not checked for what a file can have.
#[derive(Debug)]
pub(super) struct TarEntry {
    pub(super) name: Vec<u8>,
    pub(super) kind: TarEntryKind,
    pub(super) mode: u16,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) modified: Timestamp,
    pub(super) accessed: Timestamp,
    pub(super) changed: Timestamp,
    /// Attributes in the tar's order. The last one of a name wins.
    pub(super) xattrs: Vec<Xattr>,
    /// Number of ACLs in textual form, which are left out.
    pub(super) textual_acls: u64,
}

/// Type of an entry, with what only entries of this type have.
#[derive(Debug)]
pub(super) enum TarEntryKind {
    Directory,
    /// A regular file, with its size in bytes.
    File(u64),
    /// A regular file with holes.
    SparseFile(sparse::SparseMap),
    /// A hard link, with its target.
    HardLink(Vec<u8>),
    /// A symlink, with its target.
    Symlink(Vec<u8>),
    /// A character device, with its major and minor number.
    CharDevice(i64, i64),
    /// A block device, with its major and minor number.
    BlockDevice(i64, i64),
    Fifo,
}

/// Reads the entries of a tar in order, in memory that does not depend on the size of the tar.
pub(super) struct TarReader<R> {
    tar: OffsetReader<R>,
    /// Bytes of the current entry's content that are still unread.
    content_len: u64,
    /// Attributes from global headers, which hold for all entries that follow.
    global_attributes: PaxAttributes,
    position: Position,
}

impl<R: BufRead> TarReader<R> {
    pub(super) fn new(tar: R) -> Self {
        Self {
            tar: OffsetReader { inner: tar, offset: 0 },
            content_len: 0,
            global_attributes: PaxAttributes::default(),
            position: Position::default(),
        }
    }

    /// Returns the position of the current entry.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Returns a reader of the current entry's content. Of a sparse file, it holds only the data.
    /// It ends early if the tar does.
    pub(super) fn content(&mut self) -> impl Read {
        Content {
            tar: &mut self.tar,
            len: &mut self.content_len,
        }
    }

    /// Skips the unread content of the current entry, and reads the next one. Returns `None` at the
    /// end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<TarEntry>, LayerErrorKind> {
        self.skip_content()?;
        self.position.entry += 1;
        self.position.name = None;
        let (mut long_name, mut long_link, mut extended) = (None, None, None);
        loop {
            self.position.offset = self.tar.offset;
            let Some(header) = self.read_header()? else {
                let complete = long_name.is_none() && long_link.is_none() && extended.is_none();
                return if complete {
                    Ok(None)
                } else {
                    Err(LayerErrorKind::NoEntryForExtension)
                };
            };
            match header.flag() {
                b'x' => {
                    let body = self.read_extension("a PAX header", &header)?;
                    extended = Some((body, NameEscaping::from_header_name(&header.name())));
                }
                b'g' => {
                    let body = self.read_extension("a global PAX header", &header)?;
                    self.global_attributes.read_global(&body)?;
                }
                b'L' => long_name = Some(self.read_extension("a long name", &header)?),
                b'K' => long_link = Some(self.read_extension("a long link target", &header)?),
                // The label of the archive (tar --label). GNU tar skips it too.
                b'V' => {
                    self.content_len = header.size()?;
                    self.skip_content()?;
                }
                flag => {
                    let mut attributes = self.global_attributes.clone();
                    if let Some((body, escaping)) = extended {
                        // Errors in the extended header are reported for the entry that it
                        // describes.
                        self.position.name = Some(header.name());
                        attributes.read(&body, escaping)?;
                    }
                    // GNU's long name takes precedence over a PAX path. An empty one does not count
                    // (Go).
                    let text = |body: Option<Vec<u8>>| {
                        body.map(|body| until_nul(&body).to_vec())
                            .filter(|text| !text.is_empty())
                    };
                    attributes.path = text(long_name).or(attributes.path);
                    attributes.link_path = text(long_link).or(attributes.link_path);
                    return self.read_entry(flag, &header, attributes).map(Some);
                }
            }
        }
    }

    /// Reads up to the end of the tar, past the end of the archive. Returns whether anything but
    /// zeros follows the archive.
    pub(super) fn drain(mut self) -> Result<bool, LayerErrorKind> {
        let mut only_zeros = true;
        let inspect = |bytes: &[u8]| only_zeros = only_zeros && bytes.iter().all(|&byte| byte == 0);
        skip(&mut self.tar, u64::MAX, inspect)?;
        Ok(!only_zeros)
    }

    /// Combines a header with the extended headers before it.
    fn read_entry(
        &mut self,
        flag: u8,
        header: &TarHeader,
        mut attributes: PaxAttributes,
    ) -> Result<TarEntry, LayerErrorKind> {
        let sparse = attributes.sparse.describe_sparse_file();
        let name = mem::take(&mut attributes.sparse.name).filter(|name| sparse && !name.is_empty());
        let name = name.or(attributes.path.take()).unwrap_or_else(|| header.name());
        self.position.name = Some(name.clone());
        let modified = match attributes.modified {
            Some(modified) => modified,
            None => Timestamp::saturating(header.modified()?, 0),
        };
        let seconds = |seconds: Option<i64>| seconds.map(|seconds| Timestamp::saturating(seconds, 0));
        Ok(TarEntry {
            mode: header.mode()?,
            uid: attributes.uid.map_or_else(|| header.uid(), Ok)?,
            gid: attributes.gid.map_or_else(|| header.gid(), Ok)?,
            modified,
            accessed: attributes.accessed.or(seconds(header.accessed())).unwrap_or(modified),
            changed: attributes.changed.or(seconds(header.changed())).unwrap_or(modified),
            xattrs: mem::take(&mut attributes.xattrs),
            textual_acls: attributes.textual_acls,
            kind: self.read_kind(flag, header, &attributes, name.ends_with(b"/"))?,
            name,
        })
    }

    /// Returns the type of an entry.
    ///
    /// Only regular files have content, whatever the size in the header of other types (Go,
    /// `isHeaderOnlyType`).
    fn read_kind(
        &mut self,
        flag: u8,
        header: &TarHeader,
        attributes: &PaxAttributes,
        ends_with_slash: bool,
    ) -> Result<TarEntryKind, LayerErrorKind> {
        let device = || {
            let (major, minor) = header.device()?;
            let major = attributes.device_major.unwrap_or(major);
            Ok::<_, LayerErrorKind>((major, attributes.device_minor.unwrap_or(minor)))
        };
        let link_name = || attributes.link_path.clone().unwrap_or_else(|| header.link_name());
        let kind = match flag {
            // v7 has no type for directories.
            b'\0' if ends_with_slash => TarEntryKind::Directory,
            b'0' | b'\0' | b'7' | b'S' => return self.read_file(flag, header, attributes),
            b'1' => TarEntryKind::HardLink(link_name()),
            b'2' => TarEntryKind::Symlink(link_name()),
            b'3' => device().map(|(major, minor)| TarEntryKind::CharDevice(major, minor))?,
            b'4' => device().map(|(major, minor)| TarEntryKind::BlockDevice(major, minor))?,
            b'5' => TarEntryKind::Directory,
            b'6' => TarEntryKind::Fifo,
            _ => return Err(unsupported_type(flag)),
        };
        if attributes.sparse.describe_sparse_file() {
            return Err(LayerErrorKind::InvalidSparseMap {
                reason: "it is not a regular file",
            });
        }
        Ok(kind)
    }

    /// Returns a regular file with its size, or with its map of holes. Reads the map.
    fn read_file(
        &mut self,
        flag: u8,
        header: &TarHeader,
        attributes: &PaxAttributes,
    ) -> Result<TarEntryKind, LayerErrorKind> {
        self.content_len = attributes.size.map_or_else(|| header.size(), Ok)?;
        let map = match (flag, header.gnu()) {
            (b'S', Some(gnu)) => sparse::read_gnu_map(gnu, &mut self.tar)?,
            (b'S', None) => return Err(unsupported_type(flag)),
            _ if attributes.sparse.describe_sparse_file() => attributes.sparse.map(&mut self.content())?,
            _ => return Ok(TarEntryKind::File(self.content_len)),
        };
        if map.data_len() == self.content_len {
            Ok(TarEntryKind::SparseFile(map))
        } else {
            Err(LayerErrorKind::InvalidSparseMap {
                reason: "more or less data than its map has room for",
            })
        }
    }

    /// Reads the next header. Returns `None` at the end of the archive: at two blocks of zeros, or
    /// where the tar ends without them.
    fn read_header(&mut self) -> Result<Option<TarHeader>, LayerErrorKind> {
        let Some(block) = self.read_block()? else {
            return Ok(None);
        };
        if block == [0; BLOCK_SIZE] {
            return match self.read_block()? {
                Some(second) if second != [0; BLOCK_SIZE] => Err(LayerErrorKind::LoneZeroBlock),
                _ => Ok(None),
            };
        }
        match TarHeader::new(&block) {
            Some(header) => Ok(Some(header)),
            None if self.position.offset == 0 => Err(LayerErrorKind::NotATar),
            None => Err(LayerErrorKind::Checksum),
        }
    }

    /// Reads a block. Returns `None` if the tar ends before it.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK_SIZE]>, LayerErrorKind> {
        let mut block = [0; BLOCK_SIZE];
        match read_up_to(&mut self.tar, &mut block)? {
            0 => Ok(None),
            BLOCK_SIZE => Ok(Some(block)),
            len if self.tar.offset == len as u64 => Err(LayerErrorKind::NotATar),
            len => Err(LayerErrorKind::Truncated {
                what: "a header",
                missing: (BLOCK_SIZE - len) as u64,
            }),
        }
    }

    /// Reads the body of an extended header or a long name.
    fn read_extension(&mut self, what: &'static str, header: &TarHeader) -> Result<Vec<u8>, LayerErrorKind> {
        let len = header.size()?;
        if len > MAX_EXTENSION_LEN {
            return Err(LayerErrorKind::ExtensionTooLong {
                what,
                len,
                max: MAX_EXTENSION_LEN,
            });
        }
        self.content_len = len;
        let mut body = Vec::new();
        self.content().read_to_end(&mut body).map_err(LayerErrorKind::Read)?;
        self.skip_content()?;
        Ok(body)
    }

    /// Skips the unread content, and the padding to a whole block. The last entry may lack the
    /// padding.
    fn skip_content(&mut self) -> Result<(), LayerErrorKind> {
        self.content_len -= skip(&mut self.tar, self.content_len, |_| ())?;
        if self.content_len > 0 {
            return Err(LayerErrorKind::Truncated {
                what: "the content",
                missing: self.content_len,
            });
        }
        let padding = self.tar.offset.wrapping_neg() % BLOCK_SIZE as u64;
        let mut block = [0; BLOCK_SIZE];
        read_up_to(
            &mut self.tar,
            &mut block[..usize::try_from(padding).expect("less than a block")],
        )?;
        Ok(())
    }
}

/// Reads until the buffer is full or the tar ends. Returns the number of bytes read.
fn read_up_to(tar: &mut impl Read, buffer: &mut [u8]) -> Result<usize, LayerErrorKind> {
    let mut len = 0;
    while len < buffer.len() {
        match tar.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LayerErrorKind::Read(error)),
        }
    }
    Ok(len)
}

/// Skips up to `len` bytes, passes them to `inspect`, and returns their number. It is less than
/// `len` only at the end of the tar.
fn skip(tar: &mut impl BufRead, len: u64, mut inspect: impl FnMut(&[u8])) -> Result<u64, LayerErrorKind> {
    let mut done = 0;
    while done < len {
        let bytes = match tar.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LayerErrorKind::Read(error)),
        };
        let count = usize::try_from(len - done).map_or(bytes.len(), |rest| rest.min(bytes.len()));
        inspect(&bytes[..count]);
        tar.consume(count);
        done += count as u64;
    }
    Ok(done)
}

fn unsupported_type(flag: u8) -> LayerErrorKind {
    let name = match flag {
        b'D' => "directory of a GNU incremental backup",
        b'M' => "continuation of a file from another volume",
        b'N' => "list of long names of old GNU tars",
        b'S' => "sparse file in the format of star",
        b'A' => "ACL of Solaris or AIX",
        b'X' => "extended header of Solaris",
        _ => "unknown",
    };
    LayerErrorKind::UnsupportedType { flag, name }
}

/// A reader that keeps its offset from the start.
struct OffsetReader<R> {
    inner: R,
    offset: u64,
}

impl<R: BufRead> Read for OffsetReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buffer)?;
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for OffsetReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.inner.consume(len);
        self.offset += len as u64;
    }
}

/// Reader of the content of one entry.
struct Content<'a, R> {
    tar: &'a mut R,
    len: &'a mut u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(*self.len).map_or(buffer.len(), |len| len.min(buffer.len()));
        if max == 0 {
            return Ok(0);
        }
        let len = self.tar.read(&mut buffer[..max])?;
        *self.len -= len as u64;
        Ok(len)
    }
}
