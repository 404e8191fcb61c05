//! The output file: a temporary file until it is complete, and then renamed to its path.
//!
//! On Linux the temporary file has no name (`O_TMPFILE`), so that even `kill -9` leaves nothing
//! behind. A path that is not a regular file is never replaced: the rename would put a file where a
//! device was. [`NewFile`] opens the directory once and compares what it replaces by inode, since
//! the owner of a parent directory can change any entry of it at any moment.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::holes;
use crate::error::{BuildError, OutputAction};
use layer::cancel::Cancel;
use oci::host::{DEFAULT_FILE_MODE, Directory, NewFile, Replace, TempDirectory, Untrusted};
use oci::{Algorithm, Digest};

/// An output file that is being written. Its target is unchanged until [`PendingOutput::publish`].
#[derive(Debug)]
pub(super) struct PendingOutput {
    new: NewFile,
    target: PathBuf,
    is_sparse: bool,
}

impl PendingOutput {
    /// Creates an empty file for the target, with the permissions of a new file (0666 less the
    /// umask).
    ///
    /// # Errors
    ///
    /// [`BuildError::OutputNotAFile`] if the target exists and is not a regular file,
    /// [`BuildError::NoDirectory`] if its directory does not exist, and [`BuildError::Output`] if
    /// the directory cannot be written to or the target cannot be replaced.
    pub(super) fn create(target: &Path) -> Result<(File, Self), BuildError> {
        let (file, new) =
            NewFile::create(target, DEFAULT_FILE_MODE).map_err(output_error(OutputAction::Create, target))?;
        check_not_locked(target).map_err(output_error(OutputAction::Rename, target))?;
        Ok((file, Self::new(new, target)))
    }

    /// Prepares to publish a complete file, `name` in the directory `from`, as the target.
    ///
    /// # Errors
    ///
    /// As for [`PendingOutput::create`].
    pub(super) fn from_file(target: &Path, from: &Directory, name: &OsStr) -> Result<Self, BuildError> {
        let new = NewFile::from_existing(target, from, name).map_err(output_error(OutputAction::Rename, target))?;
        Ok(Self::new(new, target))
    }

    fn new(new: NewFile, target: &Path) -> Self {
        Self {
            is_sparse: new.hidden_path().as_deref().is_none_or(holes::make_sparse),
            target: target.to_owned(),
            new,
        }
    }

    /// Returns `false` if ranges that are never written take up disk space. Known on Windows only;
    /// other systems always return `true`.
    pub(super) fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// Returns the path to publish the file at.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Creates a directory beside the target, which only this user can enter, and which is removed
    /// when the value is dropped.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`].
    pub(super) fn temp_directory(&self) -> Result<TempDirectory, BuildError> {
        TempDirectory::create(&self.target).map_err(output_error(OutputAction::Create, &self.target))
    }

    /// Waits until the content of the file is on the disk.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`]. Some file systems report a full disk only here.
    pub(super) fn sync(&self, file: &File) -> Result<(), BuildError> {
        file.sync_all().map_err(output_error(OutputAction::Sync, &self.target))
    }

    /// Computes the SHA-256 of the file.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`].
    pub(super) fn digest(&self, file: &File, cancel: &Cancel) -> Result<Digest, BuildError> {
        Digest::of_file_cancellable(Algorithm::Sha256, file, cancel)
            .map_err(output_error(OutputAction::Read, &self.target))
    }

    /// Renames the file to the target, and replaces an existing file atomically.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`] and [`BuildError::OutputNotAFile`]; the target is unchanged then.
    pub(super) fn publish(self, file: File) -> Result<(), BuildError> {
        let published = self.new.publish(file, Replace::File);
        published.map_err(output_error(OutputAction::Rename, &self.target))
    }
}

/// Checks early that no other program has the target open. Windows replaces an open file only if
/// the program that opened it permits that (`FILE_SHARE_DELETE`).
#[cfg(windows)]
fn check_not_locked(target: &Path) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt;
    const DELETE: u32 = 0x0001_0000;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    match File::options().access_mode(DELETE).open(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, error))
        }
        result => result.map(drop),
    }
}

#[cfg(not(windows))]
#[expect(clippy::unnecessary_wraps, reason = "the check can fail on Windows")]
fn check_not_locked(_target: &Path) -> io::Result<()> {
    Ok(())
}

/// Returns a function that wraps an I/O error in the [`BuildError`] for an action on the output.
fn output_error(action: OutputAction, target: &Path) -> impl FnOnce(io::Error) -> BuildError {
    move |source| {
        let path = target.to_owned();
        match Untrusted::from_error(&source) {
            Some(&Untrusted::NotAFile(found)) => BuildError::OutputNotAFile { path, found },
            None if source.kind() == io::ErrorKind::NotFound && action == OutputAction::Create => {
                BuildError::NoDirectory { path, source }
            }
            _ => BuildError::Output { action, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(windows)]
    use layer::failure::Failure;
    use oci::host::EntryKind;

    #[cfg(windows)]
    #[test]
    fn target_that_another_program_has_open_is_refused() {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        let directory = tempfile::TempDir::new().unwrap();
        let target = directory.path().join("disk");
        std::fs::write(&target, "before").unwrap();
        let open = File::options()
            .read(true)
            .share_mode(FILE_SHARE_READ)
            .open(&target)
            .unwrap();
        let error = PendingOutput::create(&target).unwrap_err();
        assert!(
            matches!(&error, BuildError::Output { action: OutputAction::Rename, source, .. }
                if source.kind() == io::ErrorKind::ResourceBusy),
            "{error:?}"
        );
        assert!(error.hint().unwrap().to_string().contains("close"), "{error}");
        drop(open);
        PendingOutput::create(&target).unwrap();
    }

    #[test]
    fn target_that_is_a_directory_is_refused() {
        for target in ["..", "/", "directory/", "directory/..", "."] {
            let error = PendingOutput::create(Path::new(target)).unwrap_err();
            assert!(
                matches!(
                    error,
                    BuildError::OutputNotAFile {
                        found: EntryKind::Directory,
                        ..
                    }
                ),
                "{target}: {error}"
            );
        }
    }

    #[test]
    fn missing_parent_directory_is_an_error_of_its_own() {
        let directory = tempfile::TempDir::new().unwrap();
        let target = directory.path().join("missing").join("disk");
        let error = PendingOutput::create(&target).unwrap_err();
        assert!(
            matches!(&error, BuildError::NoDirectory { path, .. } if *path == target),
            "{error:?}"
        );
    }
}
