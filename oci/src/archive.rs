//! Reads files inside a tar, without extracting it, through an index of its members.

mod error;
mod members;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::spool::Spool;
use layer::{Compression, decode};
use members::{Member, MembersError, normalize_name, read_members};

pub use error::ArchiveError;

/// Limit on members of an archive. Images have a few for each layer.
const MAX_MEMBERS: usize = 100_000;

/// Limit in bytes on the names of all members and of their link targets.
const MAX_NAMES_LEN: usize = 16 << 20;

/// Limit on links that are followed from one name to the next.
const MAX_LINKS: usize = 8;

/// An opened tar, and an index of its members.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: BTreeMap<String, Member>,
}

impl Archive {
    /// Opens a tar and reads its headers. Decompresses a compressed tar into an unnamed file of
    /// `spool` first.
    pub(super) fn open(path: &Path, spool: &Spool) -> Result<Self, ImageError> {
        let whole = open_uncompressed(path, spool)?;
        let mut reader = BufReader::new(whole);
        let members = read_members(&mut reader).map_err(|error| {
            let path = path.to_owned();
            match error {
                MembersError::Read(source) => ImageError::from(FileError::Read { path, source }),
                MembersError::Damaged { offset } => ArchiveError::Damaged { path, offset }.into(),
                MembersError::TooMany => ArchiveError::TooManyMembers { path }.into(),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: reader.into_inner().into_file(),
            members,
        })
    }

    /// Returns the path of the archive, as given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in the archive by its name. Follows links, up to [`MAX_LINKS`] of them.
    pub(super) fn find_file(&self, name: &str) -> Option<FileRange> {
        let mut name = normalize_name(name);
        for _ in 0..MAX_LINKS {
            match self.members.get(&name)? {
                Member::File { start, len } => {
                    return Some(FileRange::new(Arc::clone(&self.file), *start, *len));
                }
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// Opens a tar, and decompresses it into `spool` if it is compressed.
fn open_uncompressed(path: &Path, spool: &Spool) -> Result<FileRange, ImageError> {
    let mut range = FileRange::open(path)?;
    let decode_failed = |source| ArchiveError::Decode {
        path: path.to_owned(),
        source,
    };
    let mut decoder = decode(BufReader::new(&mut range), "").map_err(decode_failed)?;
    if decoder.compression() == Compression::None {
        range.rewind().map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        return Ok(range);
    }
    Ok(spool.spool(&mut decoder, path)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tar::{Builder, EntryType, Header};

    use super::*;
    use layer::cancel::Cancel;

    fn archive(tar: &[u8]) -> Result<Archive, ImageError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(tar).unwrap();
        Archive::open(file.path(), &Spool::new(Path::new(""), 1 << 20, &Cancel::new()))
    }

    fn content_of(archive: &Archive, name: &str) -> Option<String> {
        let mut content = String::new();
        archive.find_file(name)?.read_to_string(&mut content).unwrap();
        Some(content)
    }

    fn sample() -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        let long = format!("{}/b", "d".repeat(200));
        let file = |name: &str, content: &str, tar: &mut Builder<Vec<u8>>| {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        };
        file("a", "old", &mut tar);
        file("x/a", "one", &mut tar);
        file(&long, "two", &mut tar);
        file("a", "new", &mut tar);
        tar.append_pax_extensions([("path", "pax/name".as_bytes())]).unwrap();
        file("short", "pax", &mut tar);
        for (kind, name, target) in [
            (EntryType::Symlink, "x/link", "../a"),
            (EntryType::Symlink, "x/far", &long[..]),
            (EntryType::Link, "x/hard", "x/a"),
            (EntryType::Symlink, "loop", "loop"),
            (EntryType::Symlink, "out", "../../../../etc/passwd"),
        ] {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            tar.append_link(&mut header, name, target).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn find_file_follows_links_and_returns_the_last_member_of_a_name() {
        let archive = archive(&sample()).unwrap();
        let long = format!("{}/b", "d".repeat(200));
        for (name, expected) in [
            ("a", Some("new")),
            ("./x//a", Some("one")),
            (&long, Some("two")),
            ("pax/name", Some("pax")),
            ("short", None),
            ("x/link", Some("new")),
            ("x/hard", Some("one")),
            ("loop", None),
            ("out", None),
            ("x", None),
        ] {
            assert_eq!(content_of(&archive, name).as_deref(), expected, "{name}");
        }
    }

    /// Writers record sizes of 8 GiB and more in one of these ways, and some record all sizes this
    /// way.
    #[test]
    fn size_of_a_member_from_an_extended_header() {
        let block = |kind: EntryType, name: &str, size: u64| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_path(name).unwrap();
            header.set_size(size);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        let padded = |bytes: &[u8]| [bytes, &vec![0; bytes.len().next_multiple_of(512) - bytes.len()][..]].concat();
        let extended =
            |kind: EntryType, body: &[u8]| [block(kind, "extended", body.len() as u64), padded(body)].concat();
        let size = extended(EntryType::XHeader, b"12 size=600\n");
        let content = padded(&[b'c'; 600]);
        let last = [block(EntryType::Regular, "last", 3), padded(b"end")].concat();
        let global = extended(EntryType::XGlobalHeader, b"18 comment=global\n");
        let name = extended(EntryType::GNULongName, b"named\0");
        // A value may contain the text of a record.
        let hidden = extended(EntryType::XHeader, b"26 comment=\n12 size=7000\n\n12 size=600\n");
        let binary = {
            let mut header = Header::new_ustar();
            header.set_path("file").unwrap();
            header.as_old_mut().size = *b"\x80\0\0\0\0\0\0\0\0\0\x02\x58";
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        for (name, before) in [
            ("file", [&size[..], &block(EntryType::Regular, "file", 0)].concat()),
            ("file", [&size[..], &block(EntryType::Regular, "file", 5)].concat()),
            (
                "file",
                [&size[..], &global, &block(EntryType::Regular, "file", 0)].concat(),
            ),
            (
                "named",
                [&size[..], &name, &block(EntryType::Regular, "file", 0)].concat(),
            ),
            (
                "named",
                [&name[..], &size, &block(EntryType::Regular, "file", 0)].concat(),
            ),
            ("file", [&hidden[..], &block(EntryType::Regular, "file", 0)].concat()),
            ("file", binary),
        ] {
            let archive = archive(&[&before[..], &content, &last].concat()).unwrap();
            assert_eq!(content_of(&archive, name).unwrap(), "c".repeat(600));
            assert_eq!(content_of(&archive, "last").as_deref(), Some("end"));
        }
        // A record without a value restores the size in the header, and applies to one member
        // alone.
        let none = extended(EntryType::XHeader, b"12 size=100\n8 size=\n");
        for before in [
            [&none[..], &block(EntryType::Regular, "file", 600), &content].concat(),
            [
                &size[..],
                &block(EntryType::Symlink, "link", 0),
                &block(EntryType::Fifo, "pipe", 600),
            ]
            .concat(),
        ] {
            let archive = archive(&[&before[..], &last].concat()).unwrap();
            assert_eq!(content_of(&archive, "last").as_deref(), Some("end"));
        }
        for wrong in [
            &b"10 size=x\n"[..],
            b"11 size=-1\n",
            b"29 size=18446744073709551615\n",
            b"14 size=99999\n",
        ] {
            let tar = [
                extended(EntryType::XHeader, wrong),
                block(EntryType::Regular, "file", 0),
                last.clone(),
            ]
            .concat();
            assert!(archive(&tar).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn names_are_limited_in_total() {
        let of_members = |count: usize| {
            let mut tar = Builder::new(Vec::new());
            for number in 0..count {
                let name = format!("{number}{}", "n".repeat(MAX_NAMES_LEN / 20));
                let mut header = Header::new_gnu();
                header.set_size(0);
                tar.append_data(&mut header, name, &b""[..]).unwrap();
            }
            archive(&tar.into_inner().unwrap())
        };
        assert_eq!(of_members(19).unwrap().members.len(), 19);
        let error = of_members(20).unwrap_err();
        assert!(
            matches!(error, ImageError::Archive(ArchiveError::TooManyMembers { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn damaged_tar_is_an_error_and_never_a_panic() {
        let tar = sample();
        assert!(archive(&tar[..tar.len() - 1024]).is_ok(), "without the two zero blocks");
        for len in (1..2000).step_by(13).filter(|len| len % 512 != 0) {
            // A tar that ends within the padding of a member is complete.
            let is_padding = (515..1024).contains(&len) || (1539..2048).contains(&len);
            assert_eq!(archive(&tar[..len]).is_ok(), is_padding, "{len}");
        }
        for at in 0..tar.len() {
            let mut damaged = tar.clone();
            damaged[at] ^= 0xff;
            let _ = archive(&damaged);
        }
        let mut huge = Header::new_gnu();
        huge.set_entry_type(EntryType::XHeader);
        huge.set_size(1 << 40);
        huge.set_cksum();
        assert!(matches!(
            archive(huge.as_bytes()),
            Err(ImageError::Archive(ArchiveError::Damaged { .. }))
        ));
    }

    #[test]
    fn compressed_archives_are_read() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&sample()).unwrap();
        for compressed in [gzip.finish().unwrap(), zstd::encode_all(&sample()[..], 1).unwrap()] {
            assert_eq!(content_of(&archive(&compressed).unwrap(), "a").as_deref(), Some("new"));
        }
    }
}
