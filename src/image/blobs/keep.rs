//! A blob that the store gets besides what it was asked for: the tar of a layer, while it is applied.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::BlobStore;
use crate::image::digest::Digest;

/// A tar on its way into the store, in a file that is locked for this process. It stays only if [`Keep::commit`] is called.
///
/// It is for the convenience of later builds: whatever goes wrong with it, a full disk for example, only means that there is none.
pub(crate) struct Keep {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_whole: bool,
}

impl Keep {
    /// Begins to keep a blob, unless the store has it or somebody else writes it.
    pub(in crate::image) fn begin(store: &BlobStore, digest: &Digest) -> Option<Self> {
        let (directory, target) = (directory(store), store.path(digest));
        if target.exists() {
            return None;
        }
        fs::create_dir_all(&directory).ok()?;
        fs::create_dir_all(target.parent()?).ok()?;
        let path = directory.join(digest.hex());
        let file = open_locked(&path)?;
        file.set_len(0).ok()?;
        Some(Self {
            file,
            path,
            target,
            is_whole: true,
        })
    }

    /// Takes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.is_whole = self.is_whole && self.file.write_all(bytes).is_ok();
    }

    /// Gives it its name: all of it was written, and has the digest.
    pub(crate) fn commit(self) {
        if self.is_whole {
            let _ = fs::rename(&self.path, &self.target);
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        // After a rename there is none.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what processes left that were killed.
pub(super) fn sweep(store: &BlobStore) {
    let Ok(files) = fs::read_dir(directory(store)) else {
        return;
    };
    for path in files.flatten().map(|file| file.path()) {
        if let Some(_locked) = open_locked(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn directory(store: &BlobStore) -> PathBuf {
    store.directory.join("unpacked")
}

fn open_locked(path: &Path) -> Option<File> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .ok()?;
    file.try_lock().ok()?;
    Some(file)
}
