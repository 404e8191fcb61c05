//! Disk images made by e2fsprogs: the external fallback to the writer of this program.
//!
//! The image that the native writer makes says what is to be in the other one. Its files go to a directory, as far as any user
//! may make them, for `mke2fs -d` to pick up. What is missing then, and what mke2fs takes from the user instead of the image,
//! debugfs puts right: special files, names, owners, modes, times, attributes. In the end both images are read and compared,
//! entry by entry, so that whatever some version of e2fsprogs cannot do is an error which names it.
//!
//! The bytes are those of the mke2fs that was used. `inline_data` is not: mke2fs 1.47.0 cuts sparse files off with it.

mod amend;
mod compare;
mod error;
mod format;
mod pair;
mod program;

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use ext4::{Options, Reader, Summary};

pub use error::{Mke2fsError, WorkAction};
pub(crate) use program::Programs;

use crate::stage::{ExportedTree, Fidelity};
use error::working;
use layer::cancel::Cancel;
use oci::host::{ANY_FILE, Directory};
use program::Workshop;

/// Name of the image in the directory where the programs run.
pub(crate) const IMAGE: &str = "image";
/// Name of the directory there with the files of the image.
const TREE: &str = "tree";

/// What to build, and how.
pub(crate) struct Mke2fs<'a> {
    pub(crate) programs: &'a Programs,
    /// What the file system shall be like. Its size and features are those of the native image.
    pub(crate) options: &'a Options,
    /// An empty directory that nobody else can enter. The programs run there and get names in it,
    /// so that what they write to is in it, whatever others do to the directories that it is in.
    pub(crate) scratch: &'a Directory,
    pub(crate) cancel: &'a Cancel,
}

impl Mke2fs<'_> {
    /// Makes an image like the native one, and leaves it in the directory, under the name
    /// [`IMAGE`].
    pub(crate) fn build(&self, native: &File) -> Result<(File, Summary), Mke2fsError> {
        let path = &self.scratch.path().join(IMAGE);
        let workshop = Workshop::new(self.scratch, self.programs, self.cancel)?;
        let native = Reader::open(native)?;
        let facts = native.info();
        let size = facts.block_count * facts.block_size;
        let image = self.scratch.create_new(IMAGE, ANY_FILE);
        let mut image = image.map_err(working(WorkAction::Make, path))?;
        image.set_len(size).map_err(working(WorkAction::Enlarge, path))?;

        let tree = self
            .scratch
            .make_private(TREE)
            .map_err(working(WorkAction::Make, path))?;
        let mut staged = ExportedTree::new(&tree).map_err(working(WorkAction::Open, tree.path()))?;
        staged.export(&native, Fidelity::Content, None::<io::Sink>, self.cancel)?;
        format::format(&workshop, self.options, &facts)?;
        // It takes as much room as the image.
        drop(staged);
        self.scratch
            .remove_directory(TREE)
            .map_err(working(WorkAction::Remove, tree.path()))?;

        write_start(&mut image, &self.options.boot_area).map_err(working(WorkAction::Write, path))?;
        let said = amend::amend(&workshop, &native, &image)?;
        if facts.features.iter().any(|feature| feature == "ea_inode") {
            // Debugfs does not count the blocks of attributes that have inodes of their own.
            workshop.mend()?;
        }
        let made = Reader::open(&image)?;
        compare::compare(&native, &made, self.cancel).map_err(|error| error.explained_by(&said))?;
        workshop.check()?;

        let facts = made.info();
        let summary = Summary {
            size_bytes: facts.block_count * facts.block_size,
            used_bytes: facts.block_count.saturating_sub(facts.free_block_count) * facts.block_size,
            inode_count: facts.inode_count.saturating_sub(facts.free_inode_count),
        };
        Ok((image, summary))
    }
}

fn write_start(image: &mut File, bytes: &[u8]) -> io::Result<()> {
    image.rewind()?;
    image.write_all(bytes)
}
