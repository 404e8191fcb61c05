//! Directories for the time of some work.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::{Directory, Identity, Untrusted, parent_of};

/// A directory that only this user can enter, under a hidden name. It is removed when this is
/// dropped, with the files and empty directories in it.
#[derive(Debug)]
pub struct TempDirectory {
    parent: Directory,
    hidden: OsString,
    /// The name that [`TempDirectory::rename`] gave it.
    visible: Option<OsString>,
    directory: Directory,
    kept: bool,
}

impl TempDirectory {
    /// Makes one beside a path.
    ///
    /// # Errors
    ///
    /// Those of mkdir(2) and [`Directory::open`], and [`Untrusted`] if somebody else puts another
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

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Gives it a name that nothing has, with which it is removed unless [`TempDirectory::keep`] follows.
    ///
    /// # Errors
    ///
    /// Those of rename(2), `AlreadyExists`, and [`Untrusted::Replaced`] if the hidden name is
    /// another directory's by now.
    pub fn rename(&mut self, name: OsString) -> io::Result<()> {
        let identity = self.directory.identity()?;
        self.check_identity(identity)?;
        self.parent.rename_new(&self.hidden, &self.parent, &name)?;
        self.visible = Some(name);
        self.check_identity(identity)
    }

    /// Gives it its hidden name again, unless it is kept. What is in it can then be removed by
    /// path, where there are no descriptors of directories, and nobody sees half of it.
    pub fn hide(&mut self) {
        let Some(name) = self.visible.as_ref().filter(|_| !self.kept) else {
            return;
        };
        let unchanged = self
            .directory
            .identity()
            .and_then(|identity| self.check_identity(identity));
        // It is removed under the name that it was given where it cannot be hidden.
        if unchanged.is_ok() && self.parent.rename_new(name, &self.parent, &self.hidden).is_ok() {
            self.visible = None;
        }
    }

    /// Returns the name that it has now.
    fn name(&self) -> &OsStr {
        self.visible.as_ref().unwrap_or(&self.hidden)
    }

    fn check_identity(&self, identity: Identity) -> io::Result<()> {
        if self.parent.entry_is(self.name(), identity)? {
            return Ok(());
        }
        Err(Untrusted::Replaced.into())
    }

    /// Leaves it where it is.
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
        // The caller has the failure that led here, and no use for another one.
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
    fn a_directory_goes_with_its_files_unless_it_is_kept() {
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
    fn a_directory_that_takes_its_place_is_neither_renamed_nor_removed() {
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
