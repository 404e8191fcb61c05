//! Stages: the tree of a disk image, exported to a directory of the host.
//!
//! A stage consists of a directory and, beside it, an mtree file with `.mtree` appended to the name
//! of the directory. The directory holds everything that the current user can create and set. The
//! mtree file describes the whole tree: see [`mtree`]. For root on Linux the directory equals the
//! image, entry by entry. For other users, owners, setuid and setgid bits, devices, and attributes
//! outside of `user.` are in the mtree file only. On Windows, only directories and the contents and
//! times of files are in the directory.
//!
//! **A stage comes from the image**, not from the layers: it shows what a guest will see, or the
//! export fails.
//!
//! **A stage appears only when it is complete.** It is created in a temporary directory that only
//! its owner can enter, and gets its name at the end. Modes of directories are set last, deepest
//! first. A file whose owner could not be set gets neither setuid nor setgid, because those bits
//! would lend the rights of the user who exports.

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

use confined::ConfinedRoot;
use export::Exporter;
pub(crate) use export::Fidelity;
use layer::cancel::Cancel;
use oci::host::{DEFAULT_FILE_MODE, Directory, Identity, NewFile, Replace, TempDirectory, parent_of};
pub(crate) use zeros::write_sparsely;

/// A stage that is being created. Dropping it removes the stage, unless [`Stage::keep`] was called.
#[derive(Debug)]
pub(crate) struct Stage {
    target: PathBuf,
    tree: ExportedTree,
    directory: TempDirectory,
    mtree_file: MtreeFile,
}

/// The mtree file of a stage.
#[derive(Debug)]
enum MtreeFile {
    /// A file that does not have its name yet.
    Unnamed(File, NewFile),
    /// A file at its path, which is removed on drop.
    Named(PathBuf, Identity),
    /// No file to remove: the stage is kept, or publishing failed.
    Released,
}

/// A directory with the tree of an image. Dropping this empties the directory, unless it is kept.
#[derive(Debug)]
pub(crate) struct ExportedTree {
    root: ConfinedRoot,
    kept: bool,
}

/// Exports the tree of an image to a new directory, with an mtree file beside it.
///
/// The mtree file has `.mtree` appended to the name of the directory. Both appear only when they
/// are complete.
///
/// # Errors
///
/// [`StageError`] if one of the two exists or cannot be created, if the image cannot be read, or if
/// the export is cancelled. Nothing is left behind then.
pub fn export(image: impl ReadAt, directory: impl AsRef<Path>, cancel: &Cancel) -> Result<(), StageError> {
    let mut stage = Stage::begin(directory.as_ref())?;
    stage.export(image, cancel)?;
    stage.publish()?;
    stage.keep();
    Ok(())
}

impl Stage {
    /// Creates the temporary directory and mtree file of a stage. Fails if the path of either
    /// exists.
    pub(crate) fn begin(target: &Path) -> Result<Self, StageError> {
        let begin = || {
            let Some(name) = target.file_name() else {
                return Err(StageReason::Exists(target.to_owned()));
            };
            // Removes a trailing slash.
            let target = target.with_file_name(name);
            let failed = |source: io::Error| StageReason::Target {
                action: TargetAction::Begin,
                path: target.clone(),
                source,
            };
            let parent = Directory::open(parent_of(&target)).map_err(failed)?;
            for path in [target.clone(), mtree_path(&target)] {
                let name = path.file_name().expect("both paths have a file name");
                if parent.entry(name).map_err(failed)?.is_some() {
                    return Err(StageReason::Exists(path));
                }
            }
            let (file, new) = NewFile::create(&mtree_path(&target), DEFAULT_FILE_MODE).map_err(failed)?;
            let directory = TempDirectory::create(&target).map_err(failed)?;
            Ok(Self {
                tree: ExportedTree::new(directory.directory()).map_err(failed)?,
                directory,
                mtree_file: MtreeFile::Unnamed(file, new),
                target,
            })
        };
        begin().map_err(|reason| reason.at(target))
    }

    /// Exports the tree of an image into the stage.
    pub(crate) fn export<R: ReadAt>(&mut self, image: R, cancel: &Cancel) -> Result<(), StageError> {
        let file = match &self.mtree_file {
            MtreeFile::Unnamed(file, _) => Some(BufWriter::new(file)),
            _ => None,
        };
        let begun = Instant::now();
        let result = open(image).and_then(|reader| self.tree.export(&reader, Fidelity::Full, file, cancel));
        let elapsed_ms = begun.elapsed().as_millis();
        info!(directory = %self.target.display(), exported = result.is_ok(), elapsed_ms, "exported the tree");
        result.map_err(|reason| reason.at(&self.target))
    }

    /// Renames the directory and the mtree file to their paths. Dropping the stage still removes
    /// both, unless [`Stage::keep`] follows.
    pub(crate) fn publish(&mut self) -> Result<(), StageError> {
        let mtree_file = std::mem::replace(&mut self.mtree_file, MtreeFile::Released);
        let publish = || {
            if let MtreeFile::Unnamed(file, new) = mtree_file {
                let path = mtree_path(&self.target);
                let publish = || {
                    let identity = Identity::of(&file)?;
                    new.publish(file, Replace::Nothing).map(|()| identity)
                };
                let identity = publish().map_err(|source| publish_error(path.clone(), source))?;
                self.mtree_file = MtreeFile::Named(path, identity);
            }
            let name = self.target.file_name().expect("the target has a file name");
            let renamed = self.directory.rename(name.to_owned());
            renamed.map_err(|source| publish_error(self.target.clone(), source))
        };
        publish().map_err(|reason| reason.at(&self.target))
    }

    /// Keeps the stage, and returns its path.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.tree.kept = true;
        self.directory.keep();
        self.mtree_file = MtreeFile::Released;
        self.target.clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.directory.hide();
        if let MtreeFile::Named(path, identity) = &self.mtree_file {
            let remove = || {
                let directory = Directory::open(parent_of(path))?;
                let name = path.file_name().expect("the mtree file has a name");
                if directory.entry_is(name, *identity)? {
                    directory.remove_file(name)?;
                }
                io::Result::Ok(())
            };
            // The caller already has the error that led here.
            let _ = remove();
        }
    }
}

impl ExportedTree {
    /// Wraps an empty directory.
    pub(crate) fn new(directory: &Directory) -> io::Result<Self> {
        let root = ConfinedRoot::open(directory)?;
        Ok(Self { root, kept: false })
    }

    /// Exports an image into the directory, and its mtree description into `mtree` if that is
    /// `Some`.
    pub(crate) fn export<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        fidelity: Fidelity,
        mtree: Option<impl Write>,
        cancel: &Cancel,
    ) -> Result<(), StageReason> {
        Exporter::new(reader, &self.root, fidelity, mtree, cancel).run()
    }
}

impl Drop for ExportedTree {
    fn drop(&mut self) {
        if !self.kept {
            self.root.remove_contents();
        }
    }
}

/// Returns the path of the mtree file of a stage.
fn mtree_path(target: &Path) -> PathBuf {
    let mut path = OsString::from(target);
    path.push(".mtree");
    path.into()
}

/// Returns the path of the stage for a disk image: its own path with `.stage` appended.
pub(crate) fn stage_path(output: &Path) -> PathBuf {
    let mut path = OsString::from(output);
    path.push(".stage");
    path.into()
}

fn publish_error(path: PathBuf, source: io::Error) -> StageReason {
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
    fn a_stage_is_removed_unless_it_is_kept_even_once_published() {
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
        let description = |target| fs::read(mtree_path(target)).unwrap();
        assert_eq!(description(&other), description(&target));
    }
}
