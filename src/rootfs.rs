//! From an image reference to a disk image: the whole story.

mod holes;
pub mod identity;
mod output;
mod pipeline;
mod stages;
mod write_back;

use std::env;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ext4::{Fit, FormatError, Formatter, Options, Output, Size, Summary, Timestamp};
use uuid::Uuid;

use crate::error::{BuildError, LayerFailure};
use crate::guest::{Guest, Init, InitPath};
use crate::mke2fs::{self, Mke2fs, Programs};
use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancellable, Cancelled};
use layer::{Compression, LayerOptions, LayerSummary, Limits, Rootfs};
#[cfg(feature = "registry")]
use oci::RegistryOptions;
use oci::{Cache, Digest, Helper, Image, ImageError, Layer, Platform, Progress, Reference, Source, SourceOptions};
use output::Pending;
use pipeline::{ImageLayers, Pipeline};
use stages::Stages;
use write_back::WriteBack;

/// How often a build begins anew because a copy of a blob in the state directory was damaged: each time, one goes.
const MAX_REPAIRS: usize = 100;

/// What disk image to build, and of what.
///
/// [`BuildOptions::new`] has the defaults of the command, and every field can be changed:
///
/// ```no_run
/// use ext4::Size;
/// use layer::cancel::Cancel;
/// use microagent::rootfs::{BuildOptions, build};
///
/// let mut options = BuildOptions::new("oci:layout:latest".parse()?, "disk.ext4");
/// options.allow_mutable = true;
/// options.file_system.size = Size::Fixed(2 << 30);
/// let report = build(&options, &Cancel::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is one of the flags that users know")]
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
    /// Bytes of downloads that are kept in the state directory for other builds; more can be there during a build.
    pub cache_limit: u64,
    /// Whether the layers are kept in the state directory as they are when they are unpacked, so that a later build need not
    /// decompress them. They count towards [`BuildOptions::cache_limit`].
    pub keep_unpacked: bool,
    /// How to speak to registries.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
    /// Told how far the layers are.
    pub progress: Arc<Progress>,
    /// What the file system shall be like. Its UUID and hash seed are not taken from here.
    pub file_system: Options,
    /// UUID of the file system; without, one that derives from the digest of the manifest.
    pub uuid: Option<Uuid>,
    /// The init that the image gets, if any.
    pub init: Option<Init>,
    /// Time that all newer times in the image become.
    pub newest: Option<Timestamp>,
    /// The mke2fs that makes the file system in place of the native writer.
    pub mke2fs: Option<PathBuf>,
    /// Whether the report gives the digest of the output.
    pub digest: bool,
    /// Whether the tree of the finished image is exported beside the output, to its path with `.stage` after it.
    pub keep_stage: bool,
    /// Directory to export the tree of the finished image to, at a path where nothing is yet.
    pub stage_snapshot: Option<PathBuf>,
    /// Threads that read, decompress, hash, apply and write the layers, this one included. They change no byte.
    pub threads: NonZeroUsize,
    /// Whether the disk image shall be on the disk when the build is over, whatever happens to the machine then.
    pub sync: bool,
    /// What the image may cost. A disk whose size is fixed may be larger, and its layers as large as the disk.
    pub limits: Limits,
}

impl BuildOptions {
    /// Options for an image and the file to write, with the defaults of the command.
    ///
    /// That is an image pinned by digest, for Linux on the architecture of this machine, with the
    /// init at [`InitPath::DEFAULT`], a native file system that fits its content, one thread a
    /// processor, an fsync at the end, and [`default_state_dir`]. Credentials are those of
    /// [`RegistryOptions::default`]: none.
    #[must_use]
    pub fn new(image: Reference, output: impl Into<PathBuf>) -> Self {
        Self {
            image,
            output: output.into(),
            platform: Platform::host(),
            allow_mutable: false,
            state_dir: default_state_dir().unwrap_or_default(),
            cache_limit: Cache::DEFAULT_LIMIT,
            keep_unpacked: false,
            #[cfg(feature = "registry")]
            registry: RegistryOptions::default(),
            progress: Arc::default(),
            file_system: Options::new([0; 16]),
            uuid: None,
            init: Some(Init::default()),
            newest: None,
            mke2fs: None,
            digest: false,
            keep_stage: false,
            stage_snapshot: None,
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            sync: true,
            limits: Limits::default(),
        }
    }
}

/// Returns the state directory of the command: `.microagent` in the home directory, or `None`
/// without one.
#[must_use]
pub fn default_state_dir() -> Option<PathBuf> {
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.map(|home| home.join(".microagent"))
}

/// What was built, of what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The image that was used, pinned by digest.
    pub resolved_ref: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Platform that it is for.
    pub platform: Platform,
    /// Platform that its config names, as written, where its index lists another one.
    pub config_platform: Option<String>,
    /// Its layers, lowest first.
    pub layers: Vec<AppliedLayer>,
    /// Where in it the init is, if it got one.
    pub init_path: Option<InitPath>,
    /// The file that was written; `None` of [`build_into`].
    pub output_path: Option<PathBuf>,
    /// SHA-256 of its bytes, if that was asked for.
    pub output_digest: Option<Digest>,
    /// The directory beside it with its tree, if that was asked for.
    pub stage_dir: Option<PathBuf>,
    /// The directory elsewhere with its tree, if that was asked for.
    pub stage_snapshot: Option<PathBuf>,
    /// What made the file system.
    pub builder: Builder,
    /// UUID of the file system.
    pub uuid: Uuid,
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Bytes of it that are in use, metadata included.
    pub used_bytes: u64,
    /// Inodes in use.
    pub inode_count: u32,
    /// Whether the file takes no room for what is never written: not on Windows, if it is on a disk that cannot do so.
    pub has_holes: bool,
    /// A credential helper that a file leaves the registry's credentials to, and that was not asked.
    pub unasked_helper: Option<Helper>,
}

impl Report {
    /// Takes the measures of another file system of the same image.
    fn measure(&mut self, summary: Summary) {
        self.size_bytes = summary.size_bytes;
        self.used_bytes = summary.used_bytes;
        self.inode_count = summary.inode_count;
    }
}

/// What makes a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builder {
    /// The writer of this program.
    Native,
    /// An mke2fs that the user named.
    Mke2fs,
}

/// A layer that is in the disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedLayer {
    /// Digest of its blob.
    pub digest: Digest,
    /// Media type of its blob, as written; empty where nothing says one.
    pub media_type: String,
    /// How it is compressed, which the media type may say otherwise.
    pub compression: Compression,
    /// What it held.
    pub summary: LayerSummary,
}

/// Builds a disk image. The file appears when all of it is right, in place of an existing one; on any failure, all is as
/// it was before. It fails soon once it is cancelled.
///
/// Blocks its thread until it is done. Inside of an asynchronous runtime it works too, and blocks a
/// thread of that: call it there with `spawn_blocking` or the like.
///
/// # Errors
///
/// [`BuildError`], by stage; [`BuildError::Cancelled`] once it is cancelled.
pub fn build(options: &BuildOptions, cancel: &Cancel) -> Result<Report, BuildError> {
    let build = Build { options, cancel };
    build.until_repaired(|found| build.build_file(found))
}

/// Builds a file system in any output: a block device, memory, or a part of a file. It gets the
/// bytes that [`build`] gives a file; on a failure, it is left as it is then.
///
/// A [`DeviceOutput`](ext4::DeviceOutput) takes [`Size::Fixed`] of its capacity in
/// [`BuildOptions::file_system`]. Options that concern a file are not used: `output`, `mke2fs`,
/// `digest`, `keep_stage`, `stage_snapshot` and `sync`. Blocks its thread as [`build`] does.
///
/// ```no_run
/// use std::fs::File;
///
/// use ext4::{DeviceOutput, Size};
/// use layer::cancel::Cancel;
/// use microagent::rootfs::{BuildOptions, build_into};
///
/// let device = File::options().read(true).write(true).open("/dev/loop0")?;
/// let mut output = DeviceOutput::new(device)?;
/// let mut options = BuildOptions::new("oci:layout@sha256:…".parse()?, "");
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
) -> Result<Report, BuildError> {
    let build = Build { options, cancel };
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
}

/// An image, where it was found.
type Found = (Source, Image);

impl Build<'_> {
    /// Builds, and again as long as that only removed a damaged copy of a blob.
    fn until_repaired(
        &self,
        mut run: impl FnMut(&mut Option<Found>) -> Result<Report, BuildError>,
    ) -> Result<Report, BuildError> {
        let mut found = None;
        let mut result = run(&mut found);
        for _ in 0..MAX_REPAIRS {
            if result.as_ref().is_err_and(BuildError::is_repaired) {
                found.take_if(|(source, _)| !source.is_local());
                result = run(&mut found);
            }
        }
        // It may still be writing to the cache.
        drop(found);
        self.trim_cache();
        result.map_err(Cancelled::surface)
    }

    /// Builds a file once, of the image that was found before, if there is one.
    fn build_file(&self, found: &mut Option<Found>) -> Result<Report, BuildError> {
        let options = self.options;
        self.refuse_mutable()?;
        let (file, pending) = Pending::create(&options.output)?;
        let programs = options.mke2fs.as_deref().map(Programs::find).transpose()?;
        let mut stages = Stages::begin(options)?;
        let write_back = Arc::new(AtomicBool::new(false));
        let mut disk = WriteBack::new(file, &write_back);
        let (mut report, format) = self.write(found, &mut disk, &write_back)?;
        let file = disk.into_inner();

        let (file, pending) = match &programs {
            None => (file, pending),
            Some(programs) => {
                let (file, pending, summary) = self.rebuild(programs, &format, &file, &pending)?;
                report.builder = Builder::Mke2fs;
                report.measure(summary);
                (file, pending)
            }
        };
        report.has_holes = pending.has_holes();
        if options.sync {
            pending.sync(&file)?;
        }
        let output_digest = options.digest.then(|| pending.digest(&file, self.cancel));
        report.output_digest = output_digest.transpose()?;
        stages.export(&file, self.cancel)?;
        self.cancel.check()?;
        stages.publish()?;
        pending.publish(file)?;
        report.output_path = Some(options.output.clone());
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
    ) -> Result<(Report, Options), BuildError> {
        let options = self.options;
        let layers = if let Some((source, image)) = found {
            let layers = source.prefetch(&image.layers);
            layers.map_err(|source| self.image_failure(source))?
        } else {
            let (source, (image, layers)) = self.find(Source::pull)?;
            *found = Some((source, image));
            layers
        };
        let (source, image) = found.as_ref().expect("it was pulled");

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
        let layers = ImageLayers::new(source, &layers, self.cancel);
        let disk = Cancellable::new(output, self.cancel);
        let pipeline = Pipeline::new(&layers, disk, options.threads, self.cancel);
        let (applied, summary) = pipeline.run(|| {
            let formatter = Formatter::new(&pipeline, format.clone())?;
            let mut rootfs = Rootfs::with_limits(formatter, limits);
            let applied = self.apply_layers(&layers, &pipeline, &image.layers, &mut rootfs, write_back)?;
            if let Some(guest) = &guest {
                guest.install(&mut rootfs)?;
            }
            self.finish(rootfs).map(|summary| (applied, summary))
        })?;
        let report = Report {
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
            has_holes: true,
            unasked_helper: source.unasked_helper().cloned(),
        };
        Ok((report, format))
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
        let pending = Pending::adopt(&self.options.output, scratch.directory(), mke2fs::IMAGE.as_ref())?;
        Ok((file, pending, summary))
    }

    /// Completes the file system.
    fn finish<O: Output>(&self, rootfs: Rootfs<O>) -> Result<Summary, BuildError> {
        let finished = rootfs.formatter.finish(rootfs.tree);
        finished
            .map(|(_, summary)| summary)
            .map_err(|error| match (error, self.options.file_system.size) {
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
        options.progress = Arc::clone(&self.options.progress);
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
        rootfs: &mut Rootfs<O>,
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
                Ok(layer) => applied.push(AppliedLayer { digest, ..layer }),
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
        rootfs: &mut Rootfs<O>,
    ) -> Result<AppliedLayer, LayerFailure> {
        let (source, layer) = (layers.source, &layers.layers[index]);
        let applied = self.apply_tar(layers, pipeline, index, rootfs);
        if applied.as_ref().is_err_and(LayerFailure::is_final) {
            return applied;
        }
        // What is wrong with the content may come from a damaged blob, so that has the first word, after the source.
        let end = pipeline.end(index);
        source.finish(layer)?;
        if let Err(error) = end.read {
            // A cancellation says nothing of the copy.
            if !Cancelled::caused(&error) && source.forget(layer)? {
                return Err(LayerFailure::UnreadableCopy(error));
            }
            return applied.and(Err(LayerFailure::Read(error)));
        }
        match end.verdict {
            Ok(()) => applied,
            Err(error) if source.forget(layer)? => Err(LayerFailure::Copy(error)),
            Err(error) => Err(LayerFailure::Blob(error)),
        }
    }

    /// Applies the tar in a blob, and holds it against the digest in the config.
    fn apply_tar<O: Output>(
        &self,
        layers: &ImageLayers<'_>,
        pipeline: &Pipeline<'_, impl Output + Send>,
        index: usize,
        rootfs: &mut Rootfs<O>,
    ) -> Result<AppliedLayer, LayerFailure> {
        let mut tar = pipeline.open(index)?;
        let mut options = LayerOptions::default();
        options.newest = self.options.newest;
        options.cancel = self.cancel.clone();
        let summary = rootfs.apply(tar.reader(), &options)?;
        let compression = tar.compression();
        tar.finish().map_err(LayerFailure::Content)?;
        let layer = &layers.layers[index];
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
