//! Builds a disk image from an OCI image reference.
//!
//! [`build`] resolves the image, pulls and applies its layers (`pipeline.rs`), installs the init,
//! completes the file system, and publishes the file (`output.rs`). With the option `mke2fs`,
//! e2fsprogs rebuilds the disk image before it is published ([`crate::mke2fs`]).

mod background;
mod event;
mod holes;
pub mod identity;
mod options;
mod output;
mod pipeline;
mod report;
mod stage_directories;
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
use crate::mke2fs::{self, Mke2fsBuilder, Programs};
use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancellable, Cancelled};
use layer::{LayerOptions, Limits, RootfsBuilder};
use oci::{Cache, Image, ImageError, Layer, Platform, Reference, Source, SourceOptions};
use output::PendingOutput;
use pipeline::{ImageLayers, Pipeline};
use stage_directories::StageDirectories;
use write_back::WriteBack;

pub use crate::error::BuildError;
pub use background::build_async;
pub use event::{Event, Phase};
pub use options::{BuildOptions, default_state_dir};
pub use report::{AppliedLayer, BuildReport, Builder};
pub use warning::Warning;

/// Limit on the attempts of a build after the first. Each follows the removal of one damaged blob
/// from the state directory.
const MAX_REPAIRS: usize = 100;

/// Builds a disk image in a file.
///
/// The file appears at the path `output` when it is complete, and replaces an existing file there.
/// If the build fails, the path is unchanged.
///
/// Blocks the calling thread; [`build_async`] does not. Ends within moments of a cancellation.
///
/// # Errors
///
/// [`BuildError`]; [`BuildError::Cancelled`] after a cancellation.
pub fn build(options: &BuildOptions, output: impl AsRef<Path>, cancel: &Cancel) -> Result<BuildReport, BuildError> {
    let build = Build::new(options, cancel);
    build.run_with_repairs(|resolved| build.build_file(output.as_ref(), resolved))
}

/// Builds a file system in any output: a block device, memory, or a part of a file.
///
/// The output receives the bytes that [`build`] writes to a file. After an error, its content is
/// undefined.
///
/// For a [`DeviceOutput`](ext4::DeviceOutput), set the size in [`BuildOptions::file_system`] to
/// [`Size::Fixed`] of its capacity. If that is too small, [`BuildError::image_too_small`] returns
/// the size that is needed. Options for files are ignored: `mke2fs`, `digest`, `keep_stage`,
/// `stage_snapshot` and `sync`. Blocks the calling thread, as [`build`] does.
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
    build.run_with_repairs(|resolved| {
        build.check_pinned()?;
        let (report, _) = build.write_file_system(resolved, output, &Arc::default())?;
        Ok(report)
    })
}

/// A build in progress.
struct Build<'a> {
    options: &'a BuildOptions,
    cancel: &'a Cancel,
    /// Warnings of the current attempt, for the report.
    warnings: RefCell<Vec<Warning>>,
    /// Warnings emitted as events in any attempt, so that each is emitted once.
    warned: RefCell<HashSet<Warning>>,
    /// The current phase, and when it began.
    phase: Cell<Option<(Phase, Instant)>>,
}

/// A source, and the image that the reference resolved to in it.
type ResolvedImage = (Source, Image);

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

    /// Ends the current phase, and emits the event that the next one begins.
    fn begin_phase(&self, phase: Phase) {
        self.end_phase();
        self.phase.set(Some((phase, Instant::now())));
        self.options.events.emit(|| Event::Phase(phase));
    }

    fn end_phase(&self) {
        if let Some((phase, begun)) = self.phase.take() {
            info!(%phase, elapsed_ms = begun.elapsed().as_millis(), "ended a phase");
        }
    }

    /// Adds warnings to the report, and emits each that was not emitted before.
    fn warn(&self, warnings: impl IntoIterator<Item = Warning>) {
        for warning in warnings {
            if self.warned.borrow_mut().insert(warning.clone()) {
                self.options.events.emit(|| Event::Warning(warning.clone()));
            }
            self.warnings.borrow_mut().push(warning);
        }
    }

    /// Runs the build, and repeats it while an attempt fails because of a damaged blob in the state
    /// directory. That attempt has removed the blob, and the next one downloads it again.
    fn run_with_repairs(
        &self,
        mut run: impl FnMut(&mut Option<ResolvedImage>) -> Result<BuildReport, BuildError>,
    ) -> Result<BuildReport, BuildError> {
        let mut resolved = None;
        let mut result = run(&mut resolved);
        for _ in 0..MAX_REPAIRS {
            if result.as_ref().is_err_and(BuildError::removed_damaged_copy) {
                resolved.take_if(|(source, _)| !source.is_local());
                info!("building again: a damaged blob was removed from the state directory");
                self.warnings.borrow_mut().clear();
                result = run(&mut resolved);
            }
        }
        self.end_phase();
        // The source may still write to the cache.
        drop(resolved);
        self.trim_cache();
        let mut report = result.map_err(Cancelled::surface)?;
        report.warnings = self.warnings.take();
        Ok(report)
    }

    /// Builds a file in one attempt. Uses the image in `resolved` if an earlier attempt resolved
    /// it.
    fn build_file(&self, output: &Path, resolved: &mut Option<ResolvedImage>) -> Result<BuildReport, BuildError> {
        let options = self.options;
        self.check_pinned()?;
        let (file, pending) = PendingOutput::create(output)?;
        let programs = options.mke2fs.as_deref().map(Programs::find).transpose()?;
        let mut stages = StageDirectories::create(options, output)?;
        let write_back = Arc::new(AtomicBool::new(false));
        let mut disk = WriteBack::new(file, &write_back);
        let (mut report, format) = self.write_file_system(resolved, &mut disk, &write_back)?;
        let file = disk.into_inner();

        let (file, pending) = match &programs {
            None => (file, pending),
            Some(programs) => {
                self.begin_phase(Phase::Mke2fs);
                let (file, pending, summary) = self.build_with_mke2fs(programs, &format, &file, &pending)?;
                report.builder = Builder::Mke2fs;
                report.set_sizes(summary);
                (file, pending)
            }
        };
        if !pending.is_sparse() {
            let path = output.to_owned();
            self.warn([Warning::NotSparse { path }]);
        }
        if options.sync {
            self.begin_phase(Phase::Sync);
            pending.sync(&file)?;
        }
        if options.digest {
            self.begin_phase(Phase::Digest);
            report.output_digest = Some(pending.digest(&file, self.cancel)?);
        }
        if !stages.is_empty() {
            self.begin_phase(Phase::Export);
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

    /// Writes the file system to an output. Uses the image in `resolved`, or else resolves it.
    ///
    /// Sets `write_back` before the last layer is applied, if the options ask for an fsync. Returns
    /// the options of the file system as well.
    fn write_file_system<O: Output + Send>(
        &self,
        resolved: &mut Option<ResolvedImage>,
        output: &mut O,
        write_back: &AtomicBool,
    ) -> Result<(BuildReport, Options), BuildError> {
        let options = self.options;
        let layers = if let Some((source, image)) = resolved {
            let layers = source.prefetch(&image.layers);
            layers.map_err(|error| self.image_error(error))?
        } else {
            self.begin_phase(Phase::Resolve);
            let (source, (image, layers)) = self.open_and_find(Source::pull)?;
            *resolved = Some((source, image));
            layers
        };
        let (source, image) = resolved.as_ref().expect("the image was resolved above");
        self.warn_of_image(source, image);

        let guest = options.init.as_ref().map(|init| Guest::new(init, image));
        let guest = guest.transpose()?;

        let uuid = options.uuid.unwrap_or_else(|| identity::uuid(&image.digest));
        let (size, limits) = reconcile_limits(options.file_system.size, options.limits);
        let format = Options {
            size,
            uuid: uuid.into_bytes(),
            hash_seed: identity::hash_seed(&image.digest),
            boot_area: Provenance::of(image).encode(),
            ..options.file_system.clone()
        };
        self.begin_phase(Phase::Layers);
        info!(
            digest = %image.digest,
            platform = %image.platform,
            layers = layers.len(),
            threads = options.threads,
            %uuid,
            "building the disk image"
        );
        let layers = ImageLayers::new(source, &layers, self.cancel);
        let disk = Cancellable::new(output, self.cancel);
        let pipeline = Pipeline::new(&layers, disk, options.threads, self.cancel);
        let (applied, summary) = pipeline.run(|| {
            // The pipeline is the output of the formatter, and writes to `disk`.
            let formatter = Formatter::new(&pipeline, format.clone())?;
            let mut rootfs = RootfsBuilder::with_limits(formatter, limits);
            let applied = self.apply_layers(&layers, &pipeline, &image.layers, &mut rootfs, write_back)?;
            if let Some(guest) = &guest {
                match guest.install(&mut rootfs) {
                    // The output is too small, so files that the init needs are missing from it.
                    // `finish` fails too, with the size that all content needs.
                    Err(GuestError::Image(FormatError::NoSpace { .. })) => {}
                    installed => installed?,
                }
            }
            self.begin_phase(Phase::Metadata);
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

    /// Reports warnings about an image that are known before its layers are read.
    fn warn_of_image(&self, source: &Source, image: &Image) {
        let config = image.config_platform.as_ref().map(|config| Warning::ConfigPlatform {
            listed: image.platform.clone(),
            config: config.clone(),
        });
        let helper = source
            .skipped_credential_helper()
            .cloned()
            .map(Warning::IgnoredCredentialHelper);
        let platform = Warning::of_platform(&self.options.platform, &image.platform);
        self.warn([platform, config, helper].into_iter().flatten());
    }

    /// Rebuilds the native disk image with e2fsprogs.
    fn build_with_mke2fs(
        &self,
        programs: &Programs,
        format: &Options,
        native: &File,
        pending: &PendingOutput,
    ) -> Result<(File, PendingOutput, Summary), BuildError> {
        let temporary = pending.temp_directory()?;
        let mke2fs = Mke2fsBuilder {
            programs,
            options: format,
            directory: temporary.directory(),
            cancel: self.cancel,
        };
        let (file, summary) = mke2fs.build(native)?;
        let pending = PendingOutput::from_file(pending.target(), temporary.directory(), mke2fs::IMAGE_NAME.as_ref())?;
        Ok((file, pending, summary))
    }

    /// Completes the file system. `max` is the largest size in bytes that may be chosen to fit the
    /// content; `None` for a fixed size.
    fn finish<O: Output>(rootfs: RootfsBuilder<O>, max: Option<u64>) -> Result<Summary, BuildError> {
        let finished = rootfs.formatter.finish(rootfs.tree);
        finished
            .map(|(_, summary)| summary)
            .map_err(|error| match (error, max) {
                // If less than `max` is available, the output itself is too small.
                (FormatError::NoSpace { needed, available }, Some(max)) if available >= max => {
                    BuildError::DiskTooLarge { needed, max }
                }
                (error, _) => error.into(),
            })
    }

    /// Checks that the reference is pinned by digest, or that the options accept any reference.
    ///
    /// # Errors
    ///
    /// [`BuildError::Mutable`], with the pinned reference if the image is local.
    fn check_pinned(&self) -> Result<(), BuildError> {
        let reference = &self.options.image;
        if self.options.allow_mutable || reference.is_pinned() {
            return Ok(());
        }
        let pinned = match reference {
            Reference::Layout(_) | Reference::Local(_) => self
                .open_and_find(Source::resolve)
                .ok()
                .map(|(_, image)| image.resolved_ref),
            // No request is sent for an image that is not allowed.
            _ => None,
        };
        Err(BuildError::Mutable {
            reference: Box::new(reference.clone()),
            pinned,
        })
    }

    /// Opens the source, and calls `find` with it and the platform, to resolve or download the
    /// image.
    fn open_and_find<T>(
        &self,
        find: impl Fn(&Source, &Platform) -> Result<T, ImageError>,
    ) -> Result<(Source, T), BuildError> {
        let mut options = SourceOptions::new(&self.options.state_dir);
        #[cfg(feature = "registry")]
        {
            options.registry = self.options.registry.clone();
        }
        options.keep_unpacked = self.options.keep_unpacked;
        let (_, limits) = reconcile_limits(self.options.file_system.size, self.options.limits);
        options.max_download = limits.max_compressed();
        options.events = self.options.events.wrap(Event::from);
        options.cancel = self.cancel.clone();
        let open = || {
            let source = Source::open(&self.options.image, &options)?;
            let found = find(&source, &self.options.platform)?;
            Ok((source, found))
        };
        open().map_err(|error| self.image_error(error))
    }

    fn image_error(&self, source: ImageError) -> BuildError {
        BuildError::Image {
            reference: Box::new(self.options.image.clone()),
            source,
        }
    }

    /// Trims the cache to its limit. An error does not fail the build, since the next build trims
    /// the cache again.
    fn trim_cache(&self) {
        if matches!(self.options.image, Reference::Registry(_)) || self.options.keep_unpacked {
            let _ = Cache::new(&self.options.state_dir).trim(self.options.cache_limit);
        }
    }

    /// Applies the layers, lowest first. `listed` has them as the manifest lists them, and `layers`
    /// as the source reads them, for example from a cached tar.
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
            // No later layer removes what the last one writes, see `write_back.rs`.
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

    /// Applies a layer, and checks that its blob was intact.
    fn apply_layer<O: Output>(
        &self,
        layers: &ImageLayers<'_>,
        pipeline: &Pipeline<'_, impl Output + Send>,
        index: usize,
        rootfs: &mut RootfsBuilder<O>,
    ) -> Result<AppliedLayer, LayerFailure> {
        let (source, layer) = (layers.source, &layers.layers[index]);
        let applied = self.apply_tar(layers, pipeline, index, rootfs);
        if applied.as_ref().is_err_and(LayerFailure::is_unrelated_to_blob) {
            return applied;
        }
        // A damaged blob may cause any error in its content, so the blob's error takes precedence.
        // An error of the download takes precedence over both.
        let end = pipeline.finish_blob(index);
        source.wait_downloaded(layer)?;
        if let Err(error) = end.read {
            // A cancelled read does not mean that the blob is damaged.
            if !Cancelled::caused(&error) && source.evict(layer)? {
                return Err(LayerFailure::UnreadableCopy(error));
            }
            return applied.and(Err(LayerFailure::Read(error)));
        }
        match end.verdict {
            Ok(()) => applied,
            Err(error) if source.evict(layer)? => Err(LayerFailure::DamagedCopy(error)),
            Err(error) => Err(LayerFailure::Blob(error)),
        }
    }

    /// Applies the tar in a blob, and verifies it against the diff ID in the config.
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
        options.max_time = self.options.max_time;
        options.cancel = self.cancel.clone();
        let summary = rootfs.apply(tar.reader(), &options)?;
        let compression = tar.compression();
        tar.finish().map_err(LayerFailure::DiffId)?;
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

/// Caps a fitted size at the content limit, or raises the content limit to a larger fixed size.
fn reconcile_limits(size: Size, limits: Limits) -> (Size, Limits) {
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
