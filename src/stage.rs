//! The tree of a disk image as files of the host: read from the image itself, so that it is what is really in it.
//!
//! A stage is a directory with all that the user who exports can make and set, and a file beside it, with `.mtree` after the
//! directory's name, that describes all of it: see [`mtree`]. As root on Linux the directory equals the image, entry
//! by entry. Otherwise owners, setuid and setgid bits, devices, and attributes outside of `user.` are in the description
//! alone; on Windows so is everything but directories, contents and times of files.

mod confined;
mod error;
mod export;
pub mod mtree;
mod zeros;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ext4::{ReadError, Reader};
use tempfile::{Builder, TempPath};

pub use error::{StageError, StageReason};

use confined::Root;
use export::Exporter;
pub(crate) use export::Fidelity;
pub(crate) use zeros::write_sparsely;

/// A stage that is being made. Until it is kept, it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    target: PathBuf,
    directory: Staged,
    /// The description, while it has no name of its own.
    specification: Option<(File, TempPath)>,
    /// Its name, once it has one that is to go again.
    named: Option<PathBuf>,
}

/// A directory with the files of an image, which is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Staged {
    path: Option<PathBuf>,
    root: Root,
}

impl Stage {
    /// Begins a stage at a path where nothing is yet.
    pub(crate) fn begin(target: &Path) -> Result<Self, StageError> {
        let begin = || {
            let (Some(name), parent) = (target.file_name(), directory_of(target)) else {
                return Err(StageReason::Exists(target.to_owned()));
            };
            // Without the slash that may be at its end.
            let target = target.with_file_name(name);
            refuse_existing(&target)?;
            refuse_existing(&description_of(&target))?;
            let failed = |source| StageReason::Target {
                action: "make a directory beside",
                path: target.clone(),
                source,
            };
            let create = |path: &Path| File::options().write(true).create_new(true).open(path);
            let specification = hidden_name().make_in(parent, create).map_err(failed)?.into_parts();
            let path = hidden_name().tempdir_in(parent).map_err(failed)?.keep();
            let directory = Staged::new(path.clone()).map_err(|source| {
                // It is empty, and nothing is lost if it stays.
                let _ = fs::remove_dir(&path);
                failed(source)
            })?;
            Ok(Self {
                directory,
                specification: Some(specification),
                named: None,
                target,
            })
        };
        begin().map_err(|reason| reason.at(target))
    }

    /// Exports all that is in an image.
    pub(crate) fn export<R: Read + Seek>(&mut self, image: R, interrupted: &AtomicBool) -> Result<(), StageError> {
        let file = self.specification.as_mut().map(|(file, _)| BufWriter::new(file));
        let result =
            open(image).and_then(|mut reader| self.directory.export(&mut reader, Fidelity::Full, file, interrupted));
        result.map_err(|reason| reason.at(&self.target))
    }

    /// Gives directory and description their names. Both go again unless [`Stage::keep`] follows.
    pub(crate) fn publish(&mut self) -> Result<(), StageError> {
        let specification = self.specification.take();
        let publish = || {
            if let Some((file, path)) = specification {
                drop(file);
                let target = description_of(&self.target);
                path.persist_noclobber(&target)
                    .map_err(|failure| naming(target.clone(), failure.error))?;
                self.named = Some(target);
            }
            self.directory.rename(&self.target)
        };
        publish().map_err(|reason| reason.at(&self.target))
    }

    /// Leaves it where it is now, and says where that is.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.directory.path = None;
        self.named = None;
        self.target.clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            // Whoever is told of the failure that led here has no use for another one.
            let _ = fs::remove_file(path);
        }
    }
}

impl Staged {
    /// Takes an empty directory.
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(&path)?,
            path: Some(path),
        })
    }

    /// Exports an image into it, with a file for the description.
    pub(crate) fn export<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        fidelity: Fidelity,
        specification: Option<impl Write>,
        interrupted: &AtomicBool,
    ) -> Result<(), StageReason> {
        Exporter::new(reader, &self.root, fidelity, specification, interrupted).run()
    }

    fn rename(&mut self, target: &Path) -> Result<(), StageReason> {
        let Some(path) = &self.path else { return Ok(()) };
        rename_new(path, target).map_err(|source| naming(target.to_owned(), source))?;
        self.path = Some(target.to_owned());
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        self.root.clear();
        // Whoever is told of the failure that led here has no use for another one.
        let _ = fs::remove_dir_all(path);
    }
}

/// The file that describes a stage.
fn description_of(target: &Path) -> PathBuf {
    let mut path = OsString::from(target);
    path.push(".mtree");
    path.into()
}

/// The stage that belongs to an output.
pub(crate) fn beside(output: &Path) -> PathBuf {
    let mut path = OsString::from(output);
    path.push(".stage");
    path.into()
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn refuse_existing(path: &Path) -> Result<(), StageReason> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(StageReason::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StageReason::Target {
            action: "look for",
            path: path.to_owned(),
            source,
        }),
    }
}

fn hidden_name() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".microagent-").rand_bytes(8).suffix(".partial");
    builder
}

fn naming(path: PathBuf, source: io::Error) -> StageReason {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return StageReason::Exists(path);
    }
    StageReason::Target {
        action: "name",
        path,
        source,
    }
}

fn open<R: Read + Seek>(image: R) -> Result<Reader<R>, StageReason> {
    Reader::open(image).map_err(|source: ReadError| StageReason::Read {
        path: "/".to_owned(),
        source,
    })
}

/// Renames a directory to a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system, and no old kernel, knows how.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}
