//! The stages that go with an output.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::BuildOptions;
use crate::stage::{self, Stage, StageError};
use layer::cancel::Cancel;

/// Those that were asked for: beside the output, and where the user says.
pub(super) struct Stages {
    beside: Option<Stage>,
    snapshot: Option<Stage>,
}

/// Where they are.
#[derive(Debug, Default)]
pub(super) struct StagePaths {
    pub(super) beside: Option<PathBuf>,
    pub(super) snapshot: Option<PathBuf>,
}

impl Stages {
    /// Begins them, so that what is in their way shows before there is any work.
    pub(super) fn begin(options: &BuildOptions, output: &Path) -> Result<Self, StageError> {
        let beside = options.keep_stage.then(|| stage::stage_path(output));
        Ok(Self {
            beside: beside.as_deref().map(Stage::begin).transpose()?,
            snapshot: options.stage_snapshot.as_deref().map(Stage::begin).transpose()?,
        })
    }

    /// Returns whether there is anything to export to.
    pub(super) fn are_wanted(&self) -> bool {
        self.beside.is_some() || self.snapshot.is_some()
    }

    /// Exports the finished image.
    pub(super) fn export(&mut self, image: &File, cancel: &Cancel) -> Result<(), StageError> {
        self.each().try_for_each(|stage| stage.export(image, cancel))
    }

    /// Gives them their names, which they lose again unless [`Stages::keep`] follows.
    pub(super) fn publish(&mut self) -> Result<(), StageError> {
        self.each().try_for_each(Stage::publish)
    }

    pub(super) fn keep(self) -> StagePaths {
        StagePaths {
            beside: self.beside.map(Stage::keep),
            snapshot: self.snapshot.map(Stage::keep),
        }
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Stage> {
        self.beside.iter_mut().chain(&mut self.snapshot)
    }
}
