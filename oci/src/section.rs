//! Parts of files, which several readers can have at once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ImageError;
use super::manifest::{MAX_DOCUMENT_LEN, ManifestError};
use crate::host::{Untrusted, kind_of, open_file};
use layer::DecodeError;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// A part of a file, read independently of others.
#[derive(Debug, Clone)]
pub(super) struct Section {
    file: Arc<File>,
    start: u64,
    len: u64,
    position: u64,
}

impl Section {
    /// A whole regular file. A FIFO or device is an error, and is not waited for.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match open_file(path) {
            Err(error) if Untrusted::of(&error).is_some() => {
                return Err(FileError::NotAFile { path: path.to_owned() });
            }
            file => file.map_err(failed)?,
        };
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self::whole(file, len))
    }

    /// A part of a file.
    pub(super) fn new(file: Arc<File>, start: u64, len: u64) -> Self {
        Self {
            file,
            start,
            len,
            position: 0,
        }
    }

    /// The first bytes of a file.
    pub(super) fn whole(file: File, len: u64) -> Self {
        Self::new(Arc::new(file), 0, len)
    }

    /// The file that it is of.
    pub(super) fn into_file(self) -> Arc<File> {
        self.file
    }

    /// All of it, as the document that errors call so.
    pub(super) fn document(mut self, path: &Path) -> Result<Vec<u8>, ImageError> {
        if self.len > MAX_DOCUMENT_LEN {
            return Err(ImageError::document(
                path.display(),
                ManifestError::TooLarge { len: self.len },
            ));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(content)
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len - self.position;
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = read_at(&self.file, &mut buffer[..len], self.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // What is beyond the end is nothing.
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?.min(self.len);
        Ok(self.position)
    }
}

/// A file of an image on this machine that could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It could not be read, or not be decompressed.
    #[error("could not read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What was decompressed, or came through a pipe, could not be kept.
    #[error("could not unpack into a temporary file in {}", .path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More bytes than are read of what is compressed, or comes through a pipe.
    #[error("{} has more than the {max} bytes that are read of what is compressed, or comes through a pipe", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// A directory, device or FIFO where a file belongs.
    #[error("{} is no regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl Failure for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Scratch { source, .. } => kind_of(source),
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::NotAFile { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "make it readable for you".into(),
                io::ErrorKind::NotFound => "check the path".into(),
                _ => match DecodeError::of(source)? {
                    DecodeError::Stream { .. } => MAKE_ARCHIVE_AGAIN.into(),
                    error => return error.hint(),
                },
            },
            Self::Scratch { path, source } => match Untrusted::of(source) {
                Some(refusal) => {
                    let own = Hint::from("name a directory of your own").with(Setting::StateDirectory);
                    refusal.hint(path, own)
                }
                None => Hint::from("name a directory")
                    .with(Setting::StateDirectory)
                    .and(" that you can write to, with space for what is in the archive"),
            },
            Self::TooLarge { .. } => Hint::raise(Setting::MaxSize),
            Self::NotAFile { .. } => return None,
        })
    }
}

/// Advice on an archive that is damaged.
pub(super) const MAKE_ARCHIVE_AGAIN: &str = "make the archive again, with skopeo copy or docker save, for example";

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
