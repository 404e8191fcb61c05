//! The output file, which gets its name only when it is complete.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::holes;
use crate::error::{BuildError, OutputAction};
use layer::cancel::Cancel;
use oci::host::{DEFAULT_FILE_MODE, Directory, NewFile, Replace, TempDirectory, Untrusted};
use oci::{Algorithm, Digest};

/// The place of an output file that is being written: its target, which changes only with [`Pending::publish`].
#[derive(Debug)]
pub(super) struct Pending {
    new: NewFile,
    target: PathBuf,
    has_holes: bool,
}

impl Pending {
    /// Makes an empty file for the target, with the permission bits of any new file (0666 less the
    /// umask).
    ///
    /// # Errors
    ///
    /// [`BuildError::OutputNotAFile`] if the target is a directory, device or anything else but a regular file,
    /// [`BuildError::NoDirectory`] if its directory does not exist,
    /// [`BuildError::Output`] if that cannot be written, or the target cannot be replaced.
    pub(super) fn create(target: &Path) -> Result<(File, Self), BuildError> {
        let (file, new) = NewFile::create(target, DEFAULT_FILE_MODE).map_err(failed(OutputAction::Create, target))?;
        refuse_locked(target).map_err(failed(OutputAction::Rename, target))?;
        Ok((file, Self::new(new, target)))
    }

    /// Takes a complete file of another directory for the target, under its name there.
    ///
    /// # Errors
    ///
    /// As [`Pending::create`].
    pub(super) fn adopt(target: &Path, from: &Directory, name: &OsStr) -> Result<Self, BuildError> {
        let new = NewFile::from_existing(target, from, name).map_err(failed(OutputAction::Rename, target))?;
        Ok(Self::new(new, target))
    }

    fn new(new: NewFile, target: &Path) -> Self {
        Self {
            has_holes: new.hidden_path().as_deref().is_none_or(holes::allow),
            target: target.to_owned(),
            new,
        }
    }

    /// Whether what is never written takes no room, as far as this is known before: other systems than Windows do not say.
    pub(super) fn has_holes(&self) -> bool {
        self.has_holes
    }

    /// Returns the path that the file is for.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Makes a directory beside the target, for this user alone, which goes when it is dropped.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`].
    pub(super) fn scratch(&self) -> Result<TempDirectory, BuildError> {
        TempDirectory::create(&self.target).map_err(failed(OutputAction::Create, &self.target))
    }

    /// Waits until the content of the file is on the disk.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`], of a full disk too: some file systems notice only now.
    pub(super) fn sync(&self, file: &File) -> Result<(), BuildError> {
        file.sync_all().map_err(failed(OutputAction::Sync, &self.target))
    }

    /// SHA-256 of the file.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`].
    pub(super) fn digest(&self, file: &File, cancel: &Cancel) -> Result<Digest, BuildError> {
        Digest::of_file_cancellable(Algorithm::Sha256, file, cancel).map_err(failed(OutputAction::Read, &self.target))
    }

    /// Gives the file the target's name, in place of an existing one, in one step.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`] and [`BuildError::OutputNotAFile`]; then what was there is as it was.
    pub(super) fn publish(self, file: File) -> Result<(), BuildError> {
        let published = self.new.publish(file, Replace::File);
        published.map_err(failed(OutputAction::Rename, &self.target))
    }
}

/// Windows replaces no file that another program has open, unless that program agreed to it. Better to know now than after a
/// long build.
#[cfg(windows)]
fn refuse_locked(target: &Path) -> io::Result<()> {
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
#[expect(clippy::unnecessary_wraps, reason = "Windows has more to do")]
fn refuse_locked(_target: &Path) -> io::Result<()> {
    Ok(())
}

fn failed(action: OutputAction, target: &Path) -> impl FnOnce(io::Error) -> BuildError {
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
    fn a_file_that_a_program_has_open_is_refused() {
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
        let error = Pending::create(&target).unwrap_err();
        assert!(
            matches!(&error, BuildError::Output { action: OutputAction::Rename, source, .. }
                if source.kind() == io::ErrorKind::ResourceBusy),
            "{error:?}"
        );
        assert!(error.hint().unwrap().to_string().contains("close"), "{error}");
        drop(open);
        Pending::create(&target).unwrap();
    }

    #[test]
    fn a_path_of_a_directory_is_refused() {
        for target in ["..", "/", "directory/", "directory/..", "."] {
            let error = Pending::create(Path::new(target)).unwrap_err();
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
    fn a_directory_that_is_missing_is_told_from_other_failures() {
        let directory = tempfile::TempDir::new().unwrap();
        let target = directory.path().join("missing").join("disk");
        let error = Pending::create(&target).unwrap_err();
        assert!(
            matches!(&error, BuildError::NoDirectory { path, .. } if *path == target),
            "{error:?}"
        );
    }
}
