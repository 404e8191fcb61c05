//! Builds a disk image with e2fsprogs, as a fallback for the native writer.
//!
//! The native image comes first, and is the specification of the other one:
//!
//! 1. The files of the native image are exported to a directory. Only what any user may create goes
//!    there; the build needs no root.
//! 2. `mke2fs -d` makes a file system of that directory (`format.rs`).
//! 3. debugfs adds and corrects the rest: special files, names, owners, modes, times and extended
//!    attributes (`debugfs.rs`). mke2fs takes some of these from the user who runs it.
//! 4. Both images are read and compared, entry by entry (`compare.rs`). debugfs exits with 0
//!    whatever happens, and prints little, so only this comparison decides whether the build
//!    succeeded. A feature that some version of e2fsprogs lacks becomes an error with the path and
//!    the property.
//! 5. `e2fsck -fn` checks the result, if it is installed.
//!
//! The bytes of the image depend on the version of mke2fs. The feature `inline_data` is never used:
//! mke2fs 1.47.0 truncates sparse files with it.

mod compare;
mod debugfs;
mod error;
mod format;
mod match_inodes;
mod tools;

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use ext4::{Options, Reader, Summary};

pub use error::{FileAction, Mke2fsError};
pub(crate) use tools::Programs;

use crate::stage::{ExportedTree, Fidelity};
use error::file_error;
use layer::cancel::Cancel;
use oci::host::{DEFAULT_FILE_MODE, Directory};
use tools::Tools;

/// Name of the image in the working directory of the programs.
pub(crate) const IMAGE_NAME: &str = "image";
/// Name of the directory with the exported files, in the working directory of the programs.
const TREE_NAME: &str = "tree";

/// A build of one image with e2fsprogs.
pub(crate) struct Mke2fsBuilder<'a> {
    pub(crate) programs: &'a Programs,
    /// Options of the file system, except for its size and features, which are those of the native
    /// image.
    pub(crate) options: &'a Options,
    /// An empty directory that no other user can enter. The programs run in it with relative names,
    /// so they write nowhere else, even if another user replaces a parent directory.
    pub(crate) directory: &'a Directory,
    pub(crate) cancel: &'a Cancel,
}

impl Mke2fsBuilder<'_> {
    /// Builds an image with the tree of the native one, as [`IMAGE_NAME`] in the directory.
    ///
    /// Returns the open file, and the sizes of its file system.
    pub(crate) fn build(&self, native: &File) -> Result<(File, Summary), Mke2fsError> {
        let path = &self.directory.path().join(IMAGE_NAME);
        let tools = Tools::new(self.directory, self.programs, self.cancel)?;
        let native = Reader::open(native)?;
        let superblock = native.info();
        let size = superblock.block_count * superblock.block_size;
        let image = self.directory.create_new(IMAGE_NAME, DEFAULT_FILE_MODE);
        let mut image = image.map_err(file_error(FileAction::Make, path))?;
        image.set_len(size).map_err(file_error(FileAction::Enlarge, path))?;

        let tree = self
            .directory
            .create_private_subdirectory(TREE_NAME)
            .map_err(file_error(FileAction::Make, path))?;
        let mut staged = ExportedTree::new(&tree).map_err(file_error(FileAction::Open, tree.path()))?;
        staged.export(&native, Fidelity::Content, None::<io::Sink>, self.cancel)?;
        format::format(&tools, self.options, &superblock)?;
        // Removed here, since they take as much space as the image.
        drop(staged);
        self.directory
            .remove_directory(TREE_NAME)
            .map_err(file_error(FileAction::Remove, tree.path()))?;

        write_boot_area(&mut image, &self.options.boot_area).map_err(file_error(FileAction::Write, path))?;
        let stderr = debugfs::correct_image(&tools, &native, &image)?;
        if superblock.features.iter().any(|feature| feature == "ea_inode") {
            // debugfs does not count the blocks of attribute inodes.
            tools.repair_with_e2fsck()?;
        }
        let made = Reader::open(&image)?;
        compare::compare(&native, &made, self.cancel).map_err(|error| error.with_stderr(&stderr))?;
        tools.check_with_e2fsck()?;

        let superblock = made.info();
        let summary = Summary {
            size_bytes: superblock.block_count * superblock.block_size,
            used_bytes: superblock.block_count.saturating_sub(superblock.free_block_count) * superblock.block_size,
            inode_count: superblock.inode_count.saturating_sub(superblock.free_inode_count),
        };
        Ok((image, summary))
    }
}

fn write_boot_area(image: &mut File, bytes: &[u8]) -> io::Result<()> {
    image.rewind()?;
    image.write_all(bytes)
}
