//! From an image reference to a disk image: the whole story.

mod background;
mod event;
mod holes;
pub mod identity;
mod options;
mod output;
mod pipeline;
mod report;
mod stages;
mod warning;
mod write_back;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ext4::{Fit, FormatError, Formatter, Options, Output, Size, Summary};
use tracing::{debug, info};

use crate::error::LayerFailure;
use crate::guest::{Guest, GuestError};
use crate::mke2fs::{self, Mke2fs, Programs};
use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancellable, Cancelled};
use layer::{LayerOptions, Limits, RootfsBuilder};
use oci::{Cache, Image, ImageError, Layer, Platform, Reference, Source, SourceOptions};
use output::Pending;
use pipeline::{ImageLayers, Pipeline};
use stages::Stages;
use write_back::WriteBack;

pub use crate::error::BuildError;
pub use background::build_async;
pub use event::{Event, Phase};
pub use options::{BuildOptions, default_state_dir};
pub use report::{AppliedLayer, BuildReport, Builder};
pub use warning::Warning;

/// How often a build begins anew because a copy of a blob in the state directory was damaged: each time, one goes.
const MAX_REPAIRS: usize = 100;

/// Builds a disk image. The file appears when all of it is right, in place of an existing one; on
/// any failure, all is as it was before.
///
/// Blocks its thread until it is done; [`build_async`] does not. Fails within moments once it is
/// cancelled.
///
/// # Errors
///
/// [`BuildError`], by stage; [`BuildError::Cancelled`] once it is cancelled.
pub fn build(options: &BuildOptions, output: impl AsRef<Path>, cancel: &Cancel) -> Result<BuildReport, BuildError> {
    let build = Build::new(options, cancel);
    build.until_repaired(|found| build.build_file(output.as_ref(), found))
}

/// Builds a file system in any output: a block device, memory, or a part of a file. It gets the
/// bytes that [`build`] gives a file; on a failure, it is left as it is then.
///
/// A [`DeviceOutput`](ext4::DeviceOutput) takes [`Size::Fixed`] of its capacity in
/// [`BuildOptions::file_system`]. If it is too small, [`BuildError::image_too_small`] says how
/// large it has to be. Options that concern a file are not used: `mke2fs`, `digest`, `keep_stage`,
/// `stage_snapshot` and `sync`. Blocks its thread as [`build`] does.
///
/// ```no_run
/// use std::fs::File;
///
/// use ext4::{DeviceOutput, Size};
/// use microagent::Cancel;
/// use microagent::rootfs::{BuildOptions, build_into};
///
/// let device = File::options().read(true).write(true).open("/dev/loop0")?;
/// let mut output = DeviceOutput::new(device)?;
/// let mut options = BuildOptions::new("oci:layout@sha256:…".parse()?);
/// options.file_system.size = Size::Fixed(output.capacity());
/// build_into(&options, &mut output, &Cancel::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`build`].
pub fn build_into(
    options: &BuildOptions,
    output: &mut (impl Output + Send),
    cancel: &Cancel,
) -> Result<BuildReport, BuildError> {
    let build = Build::new(options, cancel);
    build.until_repaired(|found| {
        build.refuse_mutable()?;
        let (report, _) = build.write(found, output, &Arc::default())?;
        Ok(report)
    })
}

/// One build on its way.
struct Build<'a> {
    options: &'a BuildOptions,
    cancel: &'a Cancel,
    /// Warnings for the report, from the current attempt.
    warnings: RefCell<Vec<Warning>>,
    /// Warnings that were reported: a build that begins again has the same ones.
    warned: RefCell<HashSet<Warning>>,
    /// The current phase, and when it began.
    phase: Cell<Option<(Phase, Instant)>>,
}

/// An image, where it was found.
type Found = (Source, Image);

impl<'a> Build<'a> {
    fn new(options: &'a BuildOptions, cancel: &'a Cancel) -> Self {
        Self {
            options,
            cancel,
            warnings: RefCell::default(),
            warned: RefCell::default(),
            phase: Cell::new(None),
        }
    }

    /// Reports that a phase begins.
    fn begin(&self, phase: Phase) {
        self.end_phase();
        self.phase.set(Some((phase, Instant::now())));
        self.options.events.emit(|| Event::Phase(phase));
    }

    fn end_phase(&self) {
        if let Some((phase, begun)) = self.phase.take() {
            info!(%phase, elapsed_ms = begun.elapsed().as_millis(), "ended a phase");
        }
    }

    /// Takes warnings for the report, and reports those that were not reported before.
    fn warn(&self, warnings: impl IntoIterator<Item = Warning>) {
        for warning in warnings {
            if self.warned.borrow_mut().insert(warning.clone()) {
                self.options.events.emit(|| Event::Warning(warning.clone()));
            }
            self.warnings.borrow_mut().push(warning);
        }
    }

    /// Builds, and again as long as that only removed a damaged copy of a blob.
    fn until_repaired(
        &self,
        mut run: impl FnMut(&mut Option<Found>) -> Result<BuildReport, BuildError>,
    ) -> Result<BuildReport, BuildError> {
        let mut found = None;
        let mut result = run(&mut found);
        for _ in 0..MAX_REPAIRS {
            if result.as_ref().is_err_and(BuildError::is_repaired) {
                found.take_if(|(source, _)| !source.is_local());
                info!("builds again, as a damaged copy of a blob was removed");
                self.warnings.borrow_mut().clear();
                result = run(&mut found);
            }
        }
        self.end_phase();
        // It may still be writing to the cache.
        drop(found);
        self.trim_cache();
        let mut report = result.map_err(Cancelled::surface)?;
        report.warnings = self.warnings.take();
        Ok(report)
    }

    /// Builds a file once, of the image that was found before, if there is one.
    fn build_file(&self, output: &Path, found: &mut Option<Found>) -> Result<BuildReport, BuildError> {
        let options = self.options;
        self.refuse_mutable()?;
        let (file, pending) = Pending::create(output)?;
        let programs = options.mke2fs.as_deref().map(Programs::find).transpose()?;
        let mut stages = Stages::begin(options, output)?;
        let write_back = Arc::new(AtomicBool::new(false));
        let mut disk = WriteBack::new(file, &write_back);
        let (mut report, format) = self.write(found, &mut disk, &write_back)?;
        let file = disk.into_inner();

        let (file, pending) = match &programs {
            None => (file, pending),
            Some(programs) => {
                self.begin(Phase::Mke2fs);
                let (file, pending, summary) = self.rebuild(programs, &format, &file, &pending)?;
                report.builder = Builder::Mke2fs;
                report.measure(summary);
                (file, pending)
            }
        };
        if !pending.has_holes() {
            let path = output.to_owned();
            self.warn([Warning::NotSparse { path }]);
        }
        if options.sync {
            self.begin(Phase::Sync);
            pending.sync(&file)?;
        }
        if options.digest {
            self.begin(Phase::Digest);
            report.output_digest = Some(pending.digest(&file, self.cancel)?);
        }
        if stages.are_wanted() {
            self.begin(Phase::Export);
            stages.export(&file, self.cancel)?;
        }
        self.cancel.check()?;
        stages.publish()?;
        pending.publish(file)?;
        report.output_path = Some(output.to_owned());
        let stages = stages.keep();
        report.stage_dir = stages.beside;
        report.stage_snapshot = stages.snapshot;
        Ok(report)
    }

    /// Writes the file system to an output, of the image that was found before, if there is one.
    /// Returns also the options that the file system has.
    fn write<O: Output + Send>(
        &self,
        found: &mut Option<Found>,
        output: &mut O,
        write_back: &AtomicBool,
    ) -> Result<(BuildReport, Options), BuildError> {
        let options = self.options;
        let layers = if let Some((source, image)) = found {
            let layers = source.prefetch(&image.layers);
            layers.map_err(|source| self.image_failure(source))?
        } else {
            self.begin(Phase::Resolve);
            let (source, (image, layers)) = self.find(Source::pull)?;
            *found = Some((source, image));
            layers
        };
        let (source, image) = found.as_ref().expect("it was pulled");
        self.warn_of_image(source, image);

        let guest = options.init.as_ref().map(|init| Guest::new(init, image));
        let guest = guest.transpose()?;

        let uuid = options.uuid.unwrap_or_else(|| identity::uuid(&image.digest));
        let (size, limits) = limited(options.file_system.size, options.limits);
        let format = Options {
            size,
            uuid: uuid.into_bytes(),
            hash_seed: identity::hash_seed(&image.digest),
            boot_area: Provenance::of(image).encode(),
            ..options.file_system.clone()
        };
        self.begin(Phase::Layers);
        info!(
            digest = %image.digest,
            platform = %image.platform,
            layers = layers.len(),
            threads = options.threads,
            %uuid,
            "builds the image"
        );
        let layers = ImageLayers::new(source, &layers, self.cancel);
        let disk = Cancellable::new(output, self.cancel);
        let pipeline = Pipeline::new(&layers, disk, options.threads, self.cancel);
        let (applied, summary) = pipeline.run(|| {
            let formatter = Formatter::new(&pipeline, format.clone())?;
            let mut rootfs = RootfsBuilder::with_limits(formatter, limits);
            let applied = self.apply_layers(&layers, &pipeline, &image.layers, &mut rootfs, write_back)?;
            if let Some(guest) = &guest {
                match guest.install(&mut rootfs) {
                    // The output lost files of the image that the init needs. How large it has to
                    // be for all of them is known in the end.
                    Err(GuestError::Image(FormatError::NoSpace { .. })) => {}
                    installed => installed?,
                }
            }
            self.begin(Phase::Metadata);
            let max = match format.size {
                Size::Fit(fit) => Some(fit.max),
                Size::Fixed(_) => None,
            };
            Self::finish(rootfs, max).map(|summary| (applied, summary))
        })?;
        let report = BuildReport {
            resolved_ref: image.resolved_ref.clone(),
            digest: image.digest.clone(),
            platform: image.platform.clone(),
            config_platform: image.config_platform.clone(),
            layers: applied,
            init_path: options.init.as_ref().map(|init| init.path.clone()),
            output_path: None,
            output_digest: None,
            stage_dir: None,
            stage_snapshot: None,
            builder: Builder::Native,
            uuid,
            size_bytes: summary.size_bytes,
            used_bytes: summary.used_bytes,
            inode_count: summary.inode_count,
            warnings: Vec::new(),
        };
        Ok((report, format))
    }

    /// Reports what is unexpected of an image before its layers are read.
    fn warn_of_image(&self, source: &Source, image: &Image) {
        let config = image.config_platform.as_ref().map(|config| Warning::ConfigPlatform {
            listed: image.platform.clone(),
            config: config.clone(),
        });
        let helper = source.skipped_credential_helper().cloned().map(Warning::UnaskedHelper);
        let platform = Warning::of_platform(&self.options.platform, &image.platform);
        self.warn([platform, config, helper].into_iter().flatten());
    }

    /// Has mke2fs make what the native writer made.
    fn rebuild(
        &self,
        programs: &Programs,
        format: &Options,
        native: &File,
        pending: &Pending,
    ) -> Result<(File, Pending, Summary), BuildError> {
        let scratch = pending.scratch()?;
        let mke2fs = Mke2fs {
            programs,
            options: format,
            scratch: scratch.directory(),
            cancel: self.cancel,
        };
        let (file, summary) = mke2fs.build(native)?;
        let pending = Pending::adopt(pending.target(), scratch.directory(), mke2fs::IMAGE.as_ref())?;
        Ok((file, pending, summary))
    }

    /// Completes the file system, whose size may be what fits the content up to `max` bytes.
    fn finish<O: Output>(rootfs: RootfsBuilder<O>, max: Option<u64>) -> Result<Summary, BuildError> {
        let finished = rootfs.formatter.finish(rootfs.tree);
        finished
            .map(|(_, summary)| summary)
            .map_err(|error| match (error, max) {
                // Less is available only in an output of a fixed size.
                (FormatError::NoSpace { needed, available }, Some(max)) if available >= max => {
                    BuildError::DiskTooLarge { needed, max }
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
            Reference::Layout(_) | Reference::Local(_) => {
                self.find(Source::resolve).ok().map(|(_, image)| image.resolved_ref)
            }
            // A registry isn't asked for what is not allowed.
            _ => None,
        };
        Err(BuildError::Mutable {
            reference: Box::new(reference.clone()),
            pinned,
        })
    }

    /// Opens the source, and finds there the image for the platform.
    fn find<T>(&self, find: impl Fn(&Source, &Platform) -> Result<T, ImageError>) -> Result<(Source, T), BuildError> {
        let mut options = SourceOptions::new(&self.options.state_dir);
        #[cfg(feature = "registry")]
        {
            options.registry = self.options.registry.clone();
        }
        options.keep_unpacked = self.options.keep_unpacked;
        let (_, limits) = limited(self.options.file_system.size, self.options.limits);
        options.max_download = limits.max_compressed();
        options.events = self.options.events.wrap(Event::from);
        options.cancel = self.cancel.clone();
        let open = || {
            let source = Source::open(&self.options.image, &options)?;
            let found = find(&source, &self.options.platform)?;
            Ok((source, found))
        };
        open().map_err(|source| self.image_failure(source))
    }

    fn image_failure(&self, source: ImageError) -> BuildError {
        BuildError::Image {
            reference: Box::new(self.options.image.clone()),
            source,
        }
    }

    /// Keeps the downloads within their limit. A failure is no failure of the build, and the next one tries again.
    fn trim_cache(&self) {
        if matches!(self.options.image, Reference::Registry(_)) || self.options.keep_unpacked {
            let _ = Cache::new(&self.options.state_dir).trim(self.options.cache_limit);
        }
    }

    /// Applies the layers that the manifest lists, lowest first, each as it is best read.
    fn apply_layers<O: Output>(
        &self,
        layers: &ImageLayers<'_>,
        pipeline: &Pipeline<'_, impl Output + Send>,
        listed: &[Layer],
        rootfs: &mut RootfsBuilder<O>,
        write_back: &AtomicBool,
    ) -> Result<Vec<AppliedLayer>, BuildError> {
        let mut applied = Vec::with_capacity(listed.len());
        for (index, layer) in listed.iter().enumerate() {
            // Nothing removes again what the last one writes.
            if index + 1 == listed.len() {
                write_back.store(self.options.sync, Ordering::Relaxed);
            }
            let digest = layer.digest.clone();
            match self.apply_layer(layers, pipeline, index, rootfs) {
                Ok(layer) => {
                    let layer = AppliedLayer { digest, ..layer };
                    self.warn(layer.warnings());
                    applied.push(layer);
                }
                Err(failure) => {
                    return Err(BuildError::Layer {
                        number: index + 1,
                        count: listed.len(),
                        digest,
                        source: Box::new(failure),
                    });
                }
            }
        }
        Ok(applied)
    }

    /// Applies a layer, and holds its blob against the digest in the manifest.
    fn apply_layer<O: Output>(
        &self,
        layers: &ImageLayers<'_>,
        pipeline: &Pipeline<'_, impl Output + Send>,
        index: usize,
        rootfs: &mut RootfsBuilder<O>,
    ) -> Result<AppliedLayer, LayerFailure> {
        let (source, layer) = (layers.source, &layers.layers[index]);
        let applied = self.apply_tar(layers, pipeline, index, rootfs);
        if applied.as_ref().is_err_and(LayerFailure::is_final) {
            return applied;
        }
        // What is wrong with the content may come from a damaged blob, so that has the first word, after the source.
        let end = pipeline.end(index);
        source.wait_downloaded(layer)?;
        if let Err(error) = end.read {
            // A cancellation says nothing of the copy.
            if !Cancelled::caused(&error) && source.evict(layer)? {
                return Err(LayerFailure::UnreadableCopy(error));
            }
            return applied.and(Err(LayerFailure::Read(error)));
        }
        match end.verdict {
            Ok(()) => applied,
            Err(error) if source.evict(layer)? => Err(LayerFailure::Copy(error)),
            Err(error) => Err(LayerFailure::Blob(error)),
        }
    }

    /// Applies the tar in a blob, and holds it against the digest in the config.
    fn apply_tar<O: Output>(
        &self,
        layers: &ImageLayers<'_>,
        pipeline: &Pipeline<'_, impl Output + Send>,
        index: usize,
        rootfs: &mut RootfsBuilder<O>,
    ) -> Result<AppliedLayer, LayerFailure> {
        let begun = Instant::now();
        let mut tar = pipeline.open(index)?;
        let mut options = LayerOptions::default();
        options.max_time = self.options.newest;
        options.cancel = self.cancel.clone();
        let summary = rootfs.apply(tar.reader(), &options)?;
        let compression = tar.compression();
        tar.finish().map_err(LayerFailure::Content)?;
        let layer = &layers.layers[index];
        let (entries, elapsed_ms) = (summary.entry_count, begun.elapsed().as_millis());
        debug!(layer = %layer.digest, %compression, entries, elapsed_ms, "applied a layer");
        Ok(AppliedLayer {
            digest: layer.digest.clone(),
            media_type: layer.media_type.clone(),
            compression,
            summary,
        })
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
