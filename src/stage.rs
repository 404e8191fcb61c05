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
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ext4::{ReadAt, ReadError, Reader};
use tracing::info;

pub use error::{StageError, StageReason, TargetAction};

use confined::Root;
use export::Exporter;
pub(crate) use export::Fidelity;
use layer::cancel::Cancel;
use oci::host::{DEFAULT_FILE_MODE, Directory, Identity, NewFile, Replace, TempDirectory, parent_of};
pub(crate) use zeros::write_sparsely;

/// A stage that is being made. Until it is kept, it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    target: PathBuf,
    tree: Staged,
    directory: TempDirectory,
    description: Description,
}

/// The file that describes a stage.
#[derive(Debug)]
enum Description {
    /// It has no name of its own yet.
    New(File, NewFile),
    /// It has its name, and loses it again unless the stage is kept.
    Named(PathBuf, Identity),
    /// It stays, or could not be named.
    Done,
}

/// A directory with the files of an image, which is emptied when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Staged {
    root: Root,
    kept: bool,
}

/// Exports all that is in an image to a directory, at a path where nothing is yet, and describes it
/// in a file beside it, with `.mtree` after the directory's name. Both appear when they are whole.
///
/// # Errors
///
/// [`StageError`] if something is there already or cannot be made, or the image cannot be read, or
/// it is cancelled.
pub fn export(image: impl ReadAt, directory: impl AsRef<Path>, cancel: &Cancel) -> Result<(), StageError> {
    let mut stage = Stage::begin(directory.as_ref())?;
    stage.export(image, cancel)?;
    stage.publish()?;
    stage.keep();
    Ok(())
}

impl Stage {
    /// Begins a stage at a path where nothing is yet.
    pub(crate) fn begin(target: &Path) -> Result<Self, StageError> {
        let begin = || {
            let Some(name) = target.file_name() else {
                return Err(StageReason::Exists(target.to_owned()));
            };
            // Without the slash that may be at its end.
            let target = target.with_file_name(name);
            let failed = |source: io::Error| StageReason::Target {
                action: TargetAction::Begin,
                path: target.clone(),
                source,
            };
            let parent = Directory::open(parent_of(&target)).map_err(failed)?;
            for path in [target.clone(), description_of(&target)] {
                let name = path.file_name().expect("the target has one");
                if parent.entry(name).map_err(failed)?.is_some() {
                    return Err(StageReason::Exists(path));
                }
            }
            let (file, new) = NewFile::create(&description_of(&target), DEFAULT_FILE_MODE).map_err(failed)?;
            let directory = TempDirectory::create(&target).map_err(failed)?;
            Ok(Self {
                tree: Staged::new(directory.directory()).map_err(failed)?,
                directory,
                description: Description::New(file, new),
                target,
            })
        };
        begin().map_err(|reason| reason.at(target))
    }

    /// Exports all that is in an image.
    pub(crate) fn export<R: ReadAt>(&mut self, image: R, cancel: &Cancel) -> Result<(), StageError> {
        let file = match &self.description {
            Description::New(file, _) => Some(BufWriter::new(file)),
            _ => None,
        };
        let begun = Instant::now();
        let result = open(image).and_then(|reader| self.tree.export(&reader, Fidelity::Full, file, cancel));
        let elapsed_ms = begun.elapsed().as_millis();
        info!(directory = %self.target.display(), exported = result.is_ok(), elapsed_ms, "exported the tree");
        result.map_err(|reason| reason.at(&self.target))
    }

    /// Gives directory and description their names. Both go again unless [`Stage::keep`] follows.
    pub(crate) fn publish(&mut self) -> Result<(), StageError> {
        let description = std::mem::replace(&mut self.description, Description::Done);
        let publish = || {
            if let Description::New(file, new) = description {
                let path = description_of(&self.target);
                let publish = || {
                    let identity = Identity::of(&file)?;
                    new.publish(file, Replace::Nothing).map(|()| identity)
                };
                let identity = publish().map_err(|source| naming(path.clone(), source))?;
                self.description = Description::Named(path, identity);
            }
            let name = self.target.file_name().expect("it began with one");
            let renamed = self.directory.rename(name.to_owned());
            renamed.map_err(|source| naming(self.target.clone(), source))
        };
        publish().map_err(|reason| reason.at(&self.target))
    }

    /// Leaves it where it is now, and says where that is.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.tree.kept = true;
        self.directory.keep();
        self.description = Description::Done;
        self.target.clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.directory.hide();
        if let Description::Named(path, identity) = &self.description {
            let remove = || {
                let directory = Directory::open(parent_of(path))?;
                let name = path.file_name().expect("it has the target's and an extension");
                if directory.entry_is(name, *identity)? {
                    directory.remove_file(name)?;
                }
                io::Result::Ok(())
            };
            // The caller has the failure that led here, and no use for another one.
            let _ = remove();
        }
    }
}

impl Staged {
    /// Takes an empty directory.
    pub(crate) fn new(directory: &Directory) -> io::Result<Self> {
        let root = Root::open(directory)?;
        Ok(Self { root, kept: false })
    }

    /// Exports an image into it, with a file for the description.
    pub(crate) fn export<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        fidelity: Fidelity,
        description: Option<impl Write>,
        cancel: &Cancel,
    ) -> Result<(), StageReason> {
        Exporter::new(reader, &self.root, fidelity, description, cancel).run()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            self.root.clear();
        }
    }
}

/// Returns the path of the description of a stage.
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

fn naming(path: PathBuf, source: io::Error) -> StageReason {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return StageReason::Exists(path);
    }
    StageReason::Target {
        action: TargetAction::Name,
        path,
        source,
    }
}

fn open<R: ReadAt>(image: R) -> Result<Reader<R>, StageReason> {
    Reader::open(image).map_err(|source: ReadError| StageReason::Read {
        path: "/".to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use super::export::tests::image;
    use super::*;

    #[test]
    fn a_stage_is_gone_unless_it_is_kept_even_with_its_name() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("stage");
        let publish = || {
            let mut stage = Stage::begin(&target).unwrap();
            stage.export(Cursor::new(image()), &Cancel::new()).unwrap();
            stage.publish().unwrap();
            stage
        };
        let stage = publish();
        assert!(target.join("outer-directory/inner-directory/file").exists());
        drop(stage);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

        publish().keep();
        assert!(target.join("outer-directory/inner-directory/file").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
        let again = export(Cursor::new(image()), &target, &Cancel::new()).unwrap_err();
        assert!(matches!(again.reason, StageReason::Exists(_)), "{again:?}");
        let other = home.path().join("other");
        export(Cursor::new(image()), &other, &Cancel::new()).unwrap();
        let description = |target| fs::read(description_of(target)).unwrap();
        assert_eq!(description(&other), description(&target));
    }
}
