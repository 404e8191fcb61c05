//! The output file, which gets its name only when it is whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::{Builder, TempDir, TempPath};

use super::holes;
use crate::error::{BuildError, OutputAction};
use crate::image::{Algorithm, Digest};
use crate::place::Place;

/// The place of an output file that is being written: its target, which changes only with [`Pending::publish`].
///
/// On Linux the file has no name at all until then (`O_TMPFILE`): whatever ends the process, `kill -9` included, leaves
/// nothing. Only where it takes the place of another, it has a hidden name beside that for an instant, as a link replaces
/// nothing. Elsewhere, and on file systems that know no such files, it is `.microagent-XXXXXXXX.partial` beside the target, which
/// is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Pending {
    name: Option<TempPath>,
    target: PathBuf,
    has_holes: bool,
}

impl Pending {
    /// Makes an empty file in the directory of the target, with the permission bits of any new file (0666 less the umask).
    ///
    /// # Errors
    ///
    /// [`BuildError::OutputNotAFile`] if the target is a directory, device or anything else but a regular file,
    /// [`BuildError::Output`] if its directory does not exist or cannot be written, or the target cannot be replaced.
    pub(super) fn create(target: &Path) -> Result<(File, Self), BuildError> {
        refuse_all_but_files(target)?;
        let directory = directory_of(target);
        match nameless(directory) {
            Some(file) => Ok((file, Self::new(None, target))),
            None => Self::create_named(target).map(|(file, pending, _)| (file, pending)),
        }
    }

    /// As [`Pending::create`], of a file that other programs write to, by the path that it has until it is published.
    ///
    /// # Errors
    ///
    /// As [`Pending::create`].
    pub(super) fn create_named(target: &Path) -> Result<(File, Self, PathBuf), BuildError> {
        refuse_all_but_files(target)?;
        let (file, name) = named(directory_of(target)).map_err(failed(OutputAction::Create, target))?;
        let path = name.to_path_buf();
        Ok((file, Self::new(Some(name), target), path))
    }

    fn new(name: Option<TempPath>, target: &Path) -> Self {
        Self {
            has_holes: name.as_deref().is_none_or(holes::allow),
            target: target.to_owned(),
            name,
        }
    }

    /// Whether what is never written takes no room, as far as this is known before: other systems than Windows do not say.
    pub(super) fn has_holes(&self) -> bool {
        self.has_holes
    }

    /// A directory beside the target, for this user alone, which goes when it is dropped.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`].
    pub(super) fn scratch(&self) -> Result<TempDir, BuildError> {
        let scratch = hidden_name().tempdir_in(directory_of(&self.target));
        scratch.map_err(failed(OutputAction::Create, &self.target))
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
    pub(super) fn digest(&self, file: &File, interrupted: &Arc<AtomicBool>) -> Result<Digest, BuildError> {
        Digest::of_file_until(Algorithm::Sha256, file, interrupted).map_err(failed(OutputAction::Read, &self.target))
    }

    /// Gives the file the target's name, in place of an existing one, in one step.
    ///
    /// # Errors
    ///
    /// [`BuildError::Output`]; then an existing file is as it was.
    pub(super) fn publish(self, file: File) -> Result<(), BuildError> {
        let publish = || {
            let name = match self.name {
                Some(name) => name,
                None => match link(&file, &self.target) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => hidden_name()
                        .make_in(directory_of(&self.target), |name| link(&file, name))?
                        .into_temp_path(),
                    result => return result,
                },
            };
            // An open file cannot be renamed everywhere.
            drop(file);
            name.persist(&self.target).map_err(|failure| failure.error)
        };
        publish().map_err(failed(OutputAction::Rename, &self.target))
    }
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn refuse_all_but_files(target: &Path) -> Result<(), BuildError> {
    match Place::of(target).map_err(failed(OutputAction::Create, target))? {
        Place::Free => Ok(()),
        Place::File => refuse_locked(target).map_err(failed(OutputAction::Rename, target)),
        Place::Taken(found) => Err(BuildError::OutputNotAFile {
            path: target.to_owned(),
            found,
        }),
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
    move |source| BuildError::Output {
        action,
        path: target.to_owned(),
        source,
    }
}

fn hidden_name() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".microagent-").rand_bytes(8).suffix(".partial");
    builder
}

fn named(directory: &Path) -> io::Result<(File, TempPath)> {
    let create = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
    Ok(hidden_name().make_in(directory, create)?.into_parts())
}

/// A file without a name, or `None` where there is no such thing or no way to name it later.
#[cfg(target_os = "linux")]
fn nameless(directory: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(open(directory, flags, Mode::from_raw_mode(0o666)).ok()?);
    descriptor_path(&file).exists().then_some(file)
}

/// Names the file, as open(2) shows it for `O_TMPFILE`. This never replaces anything.
#[cfg(target_os = "linux")]
fn link(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    Ok(linkat(CWD, descriptor_path(file), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(target_os = "linux")]
fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn nameless(_directory: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _name: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn is_empty(directory: &Path) -> bool {
        fs::read_dir(directory).unwrap().next().is_none()
    }

    type Create = fn(&Path) -> (File, Pending);

    const WAYS: [Create; 2] = [
        |target| {
            let (file, pending, _) = Pending::create_named(target).unwrap();
            (file, pending)
        },
        |target| Pending::create(target).unwrap(),
    ];

    #[test]
    fn what_is_not_published_is_gone() {
        for create in WAYS {
            let directory = TempDir::new().unwrap();
            let (mut file, pending) = create(&directory.path().join("disk"));
            file.write_all(b"half").unwrap();
            drop((file, pending));
            assert!(is_empty(directory.path()));
        }
    }

    #[test]
    fn what_is_published_takes_the_place_of_what_was_there() {
        for create in WAYS {
            let directory = TempDir::new().unwrap();
            let target = directory.path().join("disk");
            fs::write(&target, "before").unwrap();
            let (mut file, pending) = create(&target);
            file.write_all(b"after").unwrap();
            pending.sync(&file).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "before");

            pending.publish(file).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "after");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    /// It never has another name, with which it would stay if the process ended then.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_new_is_named_in_one_step() {
        use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("disk");
        let (file, pending) = Pending::create(&target).unwrap();
        if pending.name.is_some() {
            return;
        }
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let events = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE;
        inotify::add_watch(&watch, directory.path(), events).unwrap();
        pending.publish(file).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let event = reader.next().unwrap();
        assert_eq!(event.events(), ReadFlags::CREATE);
        assert_eq!(event.file_name().map(std::ffi::CStr::to_bytes), Some(&b"disk"[..]));
        assert!(reader.next().is_err(), "something else happened");
        assert!(target.is_file());
    }

    #[test]
    fn what_cannot_be_published_is_gone() {
        for create in WAYS {
            let directory = TempDir::new().unwrap();
            let target = directory.path().join("disk");
            let (file, pending) = create(&target);
            fs::create_dir(&target).unwrap();
            pending.publish(file).unwrap_err();
            fs::remove_dir(&target).unwrap();
            assert!(is_empty(directory.path()));
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_file_that_a_program_has_open_is_no_target() {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("disk");
        fs::write(&target, "before").unwrap();
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
        assert!(error.remediation().unwrap().contains("close"), "{error}");
        drop(open);
        Pending::create(&target).unwrap();
    }

    #[test]
    fn a_file_without_a_name_is_no_target() {
        for target in ["..", "/", "directory/", "directory/..", "."] {
            let error = Pending::create(Path::new(target)).unwrap_err();
            assert!(
                matches!(error, BuildError::OutputNotAFile { found: "directory", .. }),
                "{target}: {error}"
            );
        }
    }
}
