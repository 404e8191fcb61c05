//! The stage directories of a build: copies of the disk image's tree, see [`stage`].

use std::fs::File;
use std::path::{Path, PathBuf};

use super::BuildOptions;
use crate::stage::{self, Stage, StageError};
use layer::cancel::Cancel;

/// The stage directories that the options ask for.
pub(super) struct StageDirectories {
    /// The one beside the output ([`BuildOptions::keep_stage`]).
    beside: Option<Stage>,
    /// The one at the path in [`BuildOptions::stage_snapshot`].
    snapshot: Option<Stage>,
}

/// Paths of the stage directories that were published.
#[derive(Debug, Default)]
pub(super) struct StagePaths {
    pub(super) beside: Option<PathBuf>,
    pub(super) snapshot: Option<PathBuf>,
}

impl StageDirectories {
    /// Creates temporary directories for them. Fails now, before any layer is read, if a target
    /// exists.
    pub(super) fn create(options: &BuildOptions, output: &Path) -> Result<Self, StageError> {
        let beside = options.keep_stage.then(|| stage::stage_path(output));
        Ok(Self {
            beside: beside.as_deref().map(Stage::begin).transpose()?,
            snapshot: options.stage_snapshot.as_deref().map(Stage::begin).transpose()?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.beside.is_none() && self.snapshot.is_none()
    }

    /// Exports the tree of the finished image to each of them.
    pub(super) fn export(&mut self, image: &File, cancel: &Cancel) -> Result<(), StageError> {
        self.iter_mut().try_for_each(|stage| stage.export(image, cancel))
    }

    /// Renames them to their targets. They are removed again unless [`StageDirectories::keep`]
    /// follows.
    pub(super) fn publish(&mut self) -> Result<(), StageError> {
        self.iter_mut().try_for_each(Stage::publish)
    }

    /// Keeps the published directories, and returns their paths.
    pub(super) fn keep(self) -> StagePaths {
        StagePaths {
            beside: self.beside.map(Stage::keep),
            snapshot: self.snapshot.map(Stage::keep),
        }
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stage> {
        self.beside.iter_mut().chain(&mut self.snapshot)
    }
}
