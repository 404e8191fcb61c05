//! Temporary directories.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::{Directory, Identity, Untrusted, parent_of};

/// A temporary directory with a hidden name, which only this user can enter. Dropping it removes
/// the directory, with the files and empty directories in it.
#[derive(Debug)]
pub struct TempDirectory {
    parent: Directory,
    hidden: OsString,
    /// Name from [`TempDirectory::rename`], which the directory has instead of the hidden one.
    visible: Option<OsString>,
    directory: Directory,
    kept: bool,
}

impl TempDirectory {
    /// Creates a temporary directory beside a path.
    ///
    /// # Errors
    ///
    /// Those of mkdir(2) and [`Directory::open`], and [`Untrusted`] if another user puts another
    /// directory in its place.
    pub fn create(beside: &Path) -> io::Result<Self> {
        let parent = Directory::open(parent_of(beside))?;
        let (hidden, directory) = parent.create_hidden_with(|parent, name| parent.create_private_subdirectory(name))?;
        Ok(Self {
            parent,
            hidden,
            visible: None,
            directory,
            kept: false,
        })
    }

    /// Returns the open directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Renames the directory to an unused name. It is still removed on drop unless
    /// [`TempDirectory::keep`] is called.
    ///
    /// # Errors
    ///
    /// Those of rename(2), `AlreadyExists`, and [`Untrusted::Replaced`] if another directory has
    /// taken the hidden name.
    pub fn rename(&mut self, name: OsString) -> io::Result<()> {
        let identity = self.directory.identity()?;
        self.check_identity(identity)?;
        self.parent.rename_new(&self.hidden, &self.parent, &name)?;
        self.visible = Some(name);
        self.check_identity(identity)
    }

    /// Renames the directory back to its hidden name, unless it is kept. A caller does this before
    /// it removes the content by path, where directories have no descriptors, so that no user sees
    /// a half-removed directory.
    pub fn hide(&mut self) {
        let Some(name) = self.visible.as_ref().filter(|_| !self.kept) else {
            return;
        };
        let unchanged = self
            .directory
            .identity()
            .and_then(|identity| self.check_identity(identity));
        // If this fails, the directory is removed under its visible name.
        if unchanged.is_ok() && self.parent.rename_new(name, &self.parent, &self.hidden).is_ok() {
            self.visible = None;
        }
    }

    /// Returns the current name of the directory.
    fn name(&self) -> &OsStr {
        self.visible.as_ref().unwrap_or(&self.hidden)
    }

    /// Checks that the entry with the current name is this directory.
    fn check_identity(&self, identity: Identity) -> io::Result<()> {
        if self.parent.entry_is(self.name(), identity)? {
            return Ok(());
        }
        Err(Untrusted::Replaced.into())
    }

    /// Keeps the directory: dropping the `TempDirectory` no longer removes it.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.hide();
        // Errors are ignored: the caller already gets the error that led to this drop.
        for name in self.directory.names().unwrap_or_default() {
            let _ = self
                .directory
                .remove_file(&name)
                .or_else(|_| self.directory.remove_directory(&name));
        }
        if self
            .directory
            .identity()
            .is_ok_and(|identity| self.check_identity(identity).is_ok())
        {
            let _ = self.parent.remove_directory(self.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn directory_is_removed_with_its_files_unless_it_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        let mut temporary = TempDirectory::create(&target).unwrap();
        temporary.directory().create_new("file", 0o600).unwrap();
        temporary.directory().create_private_subdirectory("empty").unwrap();
        temporary.rename("target".into()).unwrap();
        assert!(target.join("file").exists());
        drop(temporary);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

        fs::create_dir(&target).unwrap();
        let mut temporary = TempDirectory::create(&target).unwrap();
        let error = temporary.rename("target".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        temporary.keep();
        drop(temporary);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn directory_in_its_place_is_neither_renamed_nor_removed() {
        let home = tempfile::tempdir().unwrap();
        let mut temporary = TempDirectory::create(&home.path().join("target")).unwrap();
        let hidden = home.path().join(temporary.name());
        fs::rename(&hidden, home.path().join("stolen")).unwrap();
        fs::create_dir(&hidden).unwrap();
        let error = temporary.rename("target".into()).unwrap_err();
        assert_eq!(Untrusted::from_error(&error), Some(&Untrusted::Replaced));
        drop(temporary);
        assert!(hidden.exists() && !home.path().join("target").exists());
    }
}
