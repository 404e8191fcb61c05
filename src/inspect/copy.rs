//! Copying of files out of a disk image.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadAt;

use super::{DiskImage, FileContent, InspectError};
use layer::cancel::{Cancel, Cancelled};
use layer::failure::{ErrorKind, Failure, Hint, Setting};
use oci::host::{EntryKind, NewFile, Replace, Untrusted, io_error_kind, mkdir_hint};

/// Error of copying a file out of a disk image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The file could not be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The path of the copy exists and is not a regular file.
    #[error("{} is a {found}, not a regular file", .path.display())]
    NotAFile {
        /// Path of the copy.
        path: PathBuf,
        /// Type of the existing entry.
        found: EntryKind,
    },
    /// The copy could not be written.
    #[error("could not write {}", .path.display())]
    Write {
        /// Path of the copy.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The copy was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

impl Failure for CopyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Inspect(error) => error.kind(),
            Self::NotAFile { .. } => ErrorKind::Conflict,
            Self::Write { source, .. } => io_error_kind(source),
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Inspect(error) => error.hint(),
            Self::NotAFile {
                path,
                found: EntryKind::Directory,
            } => Some(format!("choose a file in that directory: {}", path.join("copy").display()).into()),
            Self::NotAFile { .. } => {
                let print = ", or use {} and redirect its output";
                Some(Hint::from("choose another file").about(Setting::Print, print, ""))
            }
            Self::Write { path, source } => match source.kind() {
                io::ErrorKind::NotFound => Some(mkdir_hint(path)),
                io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose a file in a directory that you can write to".into())
                }
                kind => Hint::on_write(kind),
            },
            Self::Cancelled(_) => None,
        }
    }
}

impl<R: ReadAt> DiskImage<R> {
    /// Copies a regular file to a file of the host, and returns its size in bytes.
    ///
    /// An existing file is replaced once the copy is complete. Pages of zeros become holes.
    /// Symlinks are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`CopyError`]. An existing file is unchanged then.
    pub fn copy(&self, path: &[u8], to: impl AsRef<Path>) -> Result<u64, CopyError> {
        let to = to.as_ref();
        let cancel = self.cancel.clone();
        let content = self.content(path)?;
        let size = content.size_bytes();
        let failed = |source| CopyError::Write {
            path: to.to_owned(),
            source,
        };
        let written = write(&content, to, &cancel).map_err(|error| match Untrusted::from_error(&error) {
            Some(&Untrusted::NotAFile(kind)) => CopyError::NotAFile {
                path: to.to_owned(),
                found: kind,
            },
            _ => error.downcast().map_or_else(failed, CopyError::Inspect),
        });
        written.map_err(Cancelled::surface)?;
        Ok(size)
    }
}

fn write(content: &FileContent<impl ReadAt>, to: &Path, cancel: &Cancel) -> io::Result<()> {
    let mode = content.mode();
    // Other users cannot read the file before it has its final mode.
    let (mut file, new) = NewFile::create(to, 0o600)?;
    content.write_to(&mut file)?;
    set_mode(&file, mode)?;
    cancel.check()?;
    new.publish(file, Replace::File)
}

/// Sets the permission bits.
#[cfg(unix)]
fn set_mode(file: &File, mode: u16) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(u32::from(mode & 0o777)))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "others have more to do")]
fn set_mode(_file: &File, _mode: u16) -> io::Result<()> {
    Ok(())
}
