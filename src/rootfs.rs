//! From an image reference to a disk image: the whole story.

mod identity;
mod interrupt;
mod output;

use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ext4::{Fit, FormatError, Formatter, Options, Output, Size, Summary, Timestamp};
use uuid::Uuid;

use crate::error::{BuildError, LayerFailure};
use crate::guest::{Guest, Init, InitPath};
use crate::image::{Digest, Image, Layer, Platform, Reference, Source, SourceOptions, Verified};
use crate::layer::{self, LayerOptions, LayerSummary, Limits, Rootfs};
use crate::provenance::Provenance;
use interrupt::Interruptible;
use output::Pending;

/// Bytes of a blob that are read at once.
const BLOB_BUFFER: usize = 128 << 10;

/// What disk image to build, and of what.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Where the image is.
    pub image: Reference,
    /// File to write.
    pub output: PathBuf,
    /// Platform that the image must be for.
    pub platform: Platform,
    /// Whether an image that is not pinned by digest is accepted.
    pub allow_mutable: bool,
    /// Directory for temporary files and caches, which need not exist yet.
    pub state_dir: PathBuf,
    /// File with credentials for registries (containers-auth.json(5)).
    pub auth_file: Option<PathBuf>,
    /// What the file system shall be like. Its UUID and hash seed are not taken from here.
    pub file_system: Options,
    /// UUID of the file system; without, one that derives from the digest of the manifest.
    pub uuid: Option<Uuid>,
    /// The init that the image gets, if any.
    pub init: Option<Init>,
    /// Time that all newer times in the image become.
    pub newest: Option<Timestamp>,
    /// What the image may cost. A disk whose size is fixed may be larger, and its layers as large as the disk.
    pub limits: Limits,
}

/// What was built, of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The image that was used, pinned by digest.
    pub resolved_ref: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Platform that it is for.
    pub platform: Platform,
    /// Its layers, lowest first.
    pub layers: Vec<AppliedLayer>,
    /// Where in it the init is, if it got one.
    pub init_path: Option<InitPath>,
    /// The file that was written.
    pub output_path: PathBuf,
    /// UUID of the file system.
    pub uuid: Uuid,
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Bytes of it that are in use, metadata included.
    pub used_bytes: u64,
    /// Inodes in use.
    pub inode_count: u32,
}

/// A layer that is in the disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedLayer {
    /// Digest of its blob.
    pub digest: Digest,
    /// What it held.
    pub summary: LayerSummary,
}

/// Builds a disk image. The file appears when all of it is right, in place of an existing one; on any failure, all is as
/// it was before. Whoever sets `interrupted` makes it fail soon.
///
/// # Errors
///
/// [`BuildError`], by stage; [`BuildError::Interrupted`] once `interrupted` is set.
pub fn build(options: &BuildOptions, interrupted: &Arc<AtomicBool>) -> Result<Report, BuildError> {
    let build = Build { options, interrupted };
    build.run().map_err(|error| match build.check_interrupted() {
        Ok(()) => error,
        Err(interrupted) => interrupted,
    })
}

/// One build on its way.
struct Build<'a> {
    options: &'a BuildOptions,
    interrupted: &'a Arc<AtomicBool>,
}

impl Build<'_> {
    fn run(&self) -> Result<Report, BuildError> {
        let options = self.options;
        self.refuse_mutable()?;
        let (file, pending) = Pending::create(&options.output)?;
        let (source, image) = self.resolve()?;

        let guest = options.init.as_ref().map(|init| Guest::new(init, &image));
        let guest = guest.transpose()?;

        let uuid = options.uuid.unwrap_or_else(|| identity::uuid(&image.digest));
        let (size, limits) = limited(options.file_system.size, options.limits);
        let format = Options {
            size,
            uuid: uuid.into_bytes(),
            hash_seed: identity::hash_seed(&image.digest),
            boot_area: Provenance::of(&image).encode(),
            ..options.file_system.clone()
        };
        let formatter = Formatter::new(Interruptible::new(file, self.interrupted), format)?;
        let mut rootfs = Rootfs::with_limits(formatter, limits);
        let mut layers = Vec::new();
        for layer in &image.layers {
            let digest = layer.digest.clone();
            match self.add_layer(&source, layer, &mut rootfs) {
                Ok(summary) => layers.push(AppliedLayer { digest, summary }),
                Err(source) => {
                    return Err(BuildError::Layer {
                        number: layers.len() + 1,
                        count: image.layers.len(),
                        digest,
                        source: Box::new(source),
                    });
                }
            }
        }
        if let Some(guest) = &guest {
            guest.install(&mut rootfs)?;
        }
        let (output, summary) = self.finish(rootfs)?;

        let file = output.into_inner();
        pending.sync(&file)?;
        self.check_interrupted()?;
        pending.publish(file)?;
        Ok(Report {
            resolved_ref: image.resolved_ref,
            digest: image.digest,
            platform: image.platform,
            layers,
            init_path: options.init.as_ref().map(|init| init.path.clone()),
            output_path: options.output.clone(),
            uuid,
            size_bytes: summary.size_bytes,
            used_bytes: summary.used_bytes,
            inode_count: summary.inode_count,
        })
    }

    /// Completes the file system.
    fn finish<O: Output>(&self, rootfs: Rootfs<O>) -> Result<(O, Summary), BuildError> {
        let finished = rootfs.formatter.finish(rootfs.tree);
        finished.map_err(|error| match (error, self.options.file_system.size) {
            (FormatError::NoSpace { needed, available }, Size::Fit(_)) => {
                BuildError::DiskTooLarge { needed, max: available }
            }
            (error, _) => error.into(),
        })
    }

    /// Refuses a reference that may mean another image tomorrow, unless that is accepted.
    fn refuse_mutable(&self) -> Result<(), BuildError> {
        let reference = &self.options.image;
        if self.options.allow_mutable || reference.is_pinned() {
            return Ok(());
        }
        let pinned = match reference {
            Reference::Layout(_) => self.resolve().ok().map(|(_, image)| image.resolved_ref),
            // A registry isn't asked for what is not allowed.
            _ => None,
        };
        Err(BuildError::Mutable {
            reference: Box::new(reference.clone()),
            pinned,
        })
    }

    fn resolve(&self) -> Result<(Source, Image), BuildError> {
        let options = SourceOptions {
            state_dir: self.options.state_dir.clone(),
            auth_file: self.options.auth_file.clone(),
            interrupted: Arc::clone(self.interrupted),
        };
        let resolve = || {
            let source = Source::open(&self.options.image, &options)?;
            let image = source.resolve(&self.options.platform)?;
            Ok((source, image))
        };
        resolve().map_err(|source| BuildError::Image {
            reference: Box::new(self.options.image.clone()),
            source,
        })
    }

    /// Applies a layer, and holds its blob against the digest in the manifest.
    fn add_layer<O: Output>(
        &self,
        source: &Source,
        layer: &Layer,
        rootfs: &mut Rootfs<O>,
    ) -> Result<LayerSummary, LayerFailure> {
        let blob = Interruptible::new(source.blob(layer)?, self.interrupted);
        let mut blob = Verified::new(blob, layer.digest.clone(), Some(layer.size));
        let applied = self.apply_tar(&mut blob, layer, rootfs);
        if applied.as_ref().is_err_and(LayerFailure::is_of_the_output) {
            return applied;
        }
        // What is wrong with the content may come from a damaged blob, so that has the first word.
        if let Err(error) = blob.drain() {
            return applied.and(Err(LayerFailure::Read(error)));
        }
        match (blob.finish(), &self.options.image) {
            (Ok(_), _) => applied,
            (Err(error), Reference::Layout(_)) => Err(LayerFailure::Blob(error)),
            (Err(error), _) => {
                source.forget(layer)?;
                Err(LayerFailure::Copy(error))
            }
        }
    }

    /// Applies the tar in a blob, and holds it against the digest in the config.
    fn apply_tar<O: Output>(
        &self,
        blob: impl Read,
        layer: &Layer,
        rootfs: &mut Rootfs<O>,
    ) -> Result<LayerSummary, LayerFailure> {
        let tar = layer::decode(BufReader::with_capacity(BLOB_BUFFER, blob), &layer.media_type)?;
        let mut tar = Verified::new(tar, layer.diff_id.clone(), None);
        let newest = self.options.newest;
        let summary = rootfs.apply(&mut tar, &LayerOptions { newest })?;
        tar.finish().map_err(LayerFailure::Content)?;
        Ok(summary)
    }

    fn check_interrupted(&self) -> Result<(), BuildError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        Ok(())
    }
}

/// Limits a disk that is made to fit; a size that was asked for limits the layers instead, if it is larger.
fn limited(size: Size, limits: Limits) -> (Size, Limits) {
    match size {
        Size::Fit(fit) => {
            let max = fit.max.min(limits.size);
            (Size::Fit(Fit { max, ..fit }), limits)
        }
        Size::Fixed(fixed) => {
            let size = limits.size.max(fixed);
            (Size::Fixed(fixed), Limits { size, ..limits })
        }
    }
}
