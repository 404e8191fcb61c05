//! Model test of the pipeline: everything but the blobs, the decoders, the checks and the output is
//! real, and a model checker picks which thread goes on at each operation on a lock.
//!
//! Each run has an image, a number of threads and an order of its own. A failure prints the order,
//! with which `shuttle::replay` repeats it. The checker also fails where all threads that are left
//! wait.

use std::any::Any;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ext4::Output;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Barrier;
use shuttle::{Config, Runner};

use super::chunk::{CHUNK_LEN, counted};
use super::read_ahead::{self, ReadAhead, ReadAheadReader};
use super::scheduler::{Role, Work};
use super::stages::{BlobEnd, BlobReader, LayerSource, OpenTar, TarCheck, TarDecoder};
use super::windows::{WINDOW_SHARE, WINDOW_SHARES};
use super::work::{CHUNKS_PER_LAYER, MAX_OPEN};
use super::{Pipeline, write_behind};
use crate::error::LayerFailure;
use crate::image::{DigestError, ImageError};
use crate::layer::{Compression, SaidChecksum};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Fetch,
    Decode,
    Check,
    Apply,
    Write,
}

const STAGES: [Stage; 6] = [
    Stage::Open,
    Stage::Fetch,
    Stage::Decode,
    Stage::Check,
    Stage::Apply,
    Stage::Write,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Panic,
    Error,
    Cancel,
}

/// A layer whose tar has `len` bytes.
#[derive(Debug)]
struct FakeLayer {
    len: usize,
    /// The decoder, if the blob is not the tar.
    packed: Option<Packed>,
    local: bool,
    repeated: bool,
}

#[derive(Debug)]
struct Packed {
    /// Bytes of the blob after those of the tar.
    trailing: usize,
    /// Window that is needed from a byte of the tar on.
    window: u64,
    window_from: usize,
}

impl FakeLayer {
    fn blob_len(&self) -> usize {
        self.len + self.packed.as_ref().map_or(0, |packed| packed.trailing)
    }
}

/// A fault in a stage, when a layer is at a position: a number of chunks, for [`Stage::Write`] of
/// writes to the output.
#[derive(Debug)]
struct Plan {
    stage: Stage,
    fault: Fault,
    layer: usize,
    position: usize,
}

#[derive(Debug)]
struct Image {
    layers: Vec<FakeLayer>,
    thread_count: usize,
    plan: Option<Plan>,
    reached: AtomicBool,
    cancelled: AtomicBool,
    queued: AtomicUsize,
    written: AtomicUsize,
    write_failed: AtomicBool,
}

impl Image {
    fn new(layers: Vec<FakeLayer>, thread_count: usize) -> Self {
        Self {
            layers,
            thread_count,
            plan: None,
            reached: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            write_failed: AtomicBool::new(false),
        }
    }

    /// Makes up an image, with a fault in a stage if one is named.
    fn random(plan: Option<(Stage, Fault)>, min_threads: usize) -> Self {
        let mut rng = thread_rng();
        let layers = (0..rng.gen_range(1..=4)).map(|index| {
            // Twice as many chunks as a layer has for itself, and as many again.
            let len = rng.gen_range(0..=4 * CHUNKS_PER_LAYER * CHUNK_LEN);
            let packed = rng.gen_bool(0.7).then(|| Packed {
                trailing: rng.gen_range(0..=2) * rng.gen_range(0..=CHUNK_LEN),
                window: rng.gen_range(0..=WINDOW_SHARES as u64) * WINDOW_SHARE,
                window_from: rng.gen_range(0..=len),
            });
            FakeLayer {
                len,
                packed,
                local: rng.gen_bool(0.5),
                repeated: index > 0 && rng.gen_bool(0.2),
            }
        });
        let layers: Vec<_> = layers.collect();
        let plan = plan.and_then(|(stage, fault)| {
            let layer = rng.gen_range(0..layers.len());
            let FakeLayer { len, packed, .. } = &layers[layer];
            let chunks = len.div_ceil(CHUNK_LEN);
            let count = match stage {
                Stage::Open => 1,
                Stage::Fetch => layers[layer].blob_len() / CHUNK_LEN + 1,
                Stage::Decode if packed.is_some() => len / CHUNK_LEN + 1,
                Stage::Decode => 0,
                Stage::Check | Stage::Apply | Stage::Write => chunks,
            };
            (count > 0).then(|| Plan {
                stage,
                fault,
                layer,
                position: rng.gen_range(0..count),
            })
        });
        Self {
            plan,
            ..Self::new(layers, rng.gen_range(min_threads..=4))
        }
    }

    /// Called by each stage for each chunk.
    fn visit(&self, stage: Stage, layer: usize, position: usize) -> io::Result<()> {
        let open = MAX_OPEN.min(self.thread_count + 1).min(self.layers.len());
        let blobs = open + self.thread_count - 1;
        let max = open * CHUNKS_PER_LAYER + 1 + blobs * (read_ahead::MAX_WAITING + 1);
        assert!(counted::count() <= max, "{} chunks", counted::count());

        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        let plan = self.plan.as_ref();
        let is_here = |plan: &&Plan| (plan.stage, plan.layer, plan.position) == (stage, layer, position);
        let Some(plan) = plan.filter(is_here) else {
            return Ok(());
        };
        self.reached.store(true, Ordering::Relaxed);
        match plan.fault {
            Fault::Panic => resume_unwind(Box::new(stage)),
            Fault::Error => Err(io::Error::other(format!("{stage:?}"))),
            Fault::Cancel => {
                self.cancelled.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn tar(&self, layer: usize) -> Vec<u8> {
        (0..self.layers[layer].len).map(|at| byte(layer, at)).collect()
    }

    /// Returns the bytes that the output must have.
    fn output(&self) -> Vec<u8> {
        let mut output = Vec::new();
        for layer in 0..self.layers.len() {
            output.extend(self.tar(layer));
        }
        let discarded = self.layers[0].len;
        output[..discarded].fill(0);
        output[..discarded.min(1)].fill(b'!');
        output
    }
}

fn byte(layer: usize, at: usize) -> u8 {
    u8::try_from(layer * 64 + at).unwrap()
}

struct FakeSource(Arc<Image>);

impl LayerSource for FakeSource {
    fn count(&self) -> usize {
        self.0.layers.len()
    }

    fn is_repeated(&self, index: usize) -> bool {
        self.0.layers[index].repeated
    }

    fn is_local(&self, index: usize) -> bool {
        self.0.layers[index].local
    }

    fn cancel_downloads(&self) {}

    fn open(&self, index: usize) -> Result<ReadAhead, LayerFailure> {
        let opened = self.0.visit(Stage::Open, index, 0);
        opened.map_err(|_| LayerFailure::Source(ImageError::Interrupted))?;
        Ok(ReadAhead::new(Box::new(FakeBlob {
            image: Arc::clone(&self.0),
            layer: index,
            at: 0,
            failure: None,
        })))
    }

    fn decoder(&self, index: usize, mut blob: ReadAheadReader) -> Result<OpenTar, LayerFailure> {
        if self.0.layers[index].packed.is_none() {
            return Ok((Compression::None, None));
        }
        // As decoders do, to find out which one they are.
        blob.fill_buf().map_err(LayerFailure::Read)?;
        let decoder = FakeDecoder {
            image: Arc::clone(&self.0),
            layer: index,
            blob,
            at: 0,
            granted: u64::MAX,
        };
        Ok((Compression::Gzip, Some(Box::new(decoder))))
    }

    fn tar_check(&self, index: usize) -> Box<dyn TarCheck + '_> {
        Box::new(FakeCheck {
            image: &self.0,
            layer: index,
            chunks: 0,
            bytes: Vec::new(),
            failure: None,
        })
    }
}

struct FakeBlob {
    image: Arc<Image>,
    layer: usize,
    at: usize,
    failure: Option<io::Error>,
}

impl Read for FakeBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let visited = self.image.visit(Stage::Fetch, self.layer, self.at / CHUNK_LEN);
        if let Err(error) = visited {
            self.failure = Some(io::Error::other(error.to_string()));
            return Err(error);
        }
        let left = self.image.layers[self.layer].blob_len() - self.at;
        let len = left.min(buffer.len());
        for byte_read in &mut buffer[..len] {
            *byte_read = byte(self.layer, self.at);
            self.at += 1;
        }
        Ok(len)
    }
}

impl BlobReader for FakeBlob {
    fn end(self: Box<Self>) -> BlobEnd {
        let expected = self.image.layers[self.layer].blob_len() as u64;
        let actual = self.at as u64;
        BlobEnd {
            verdict: if expected == actual || self.failure.is_some() {
                Ok(())
            } else {
                Err(DigestError::SizeMismatch { expected, actual })
            },
            read: self.failure.map_or(Ok(()), Err),
        }
    }
}

struct FakeDecoder {
    image: Arc<Image>,
    layer: usize,
    blob: ReadAheadReader,
    at: usize,
    granted: u64,
}

impl Read for FakeDecoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.image.visit(Stage::Decode, self.layer, self.at / CHUNK_LEN)?;
        if self.wanted_window().is_some() {
            return Ok(0);
        }
        let layer = &self.image.layers[self.layer];
        let from = layer.packed.as_ref().map_or(0, |packed| packed.window_from);
        let end = if self.at < from { from } else { layer.len };
        let len = buffer.len().min(end - self.at);
        let len = self.blob.read(&mut buffer[..len])?;
        self.at += len;
        Ok(len)
    }
}

impl TarDecoder for FakeDecoder {
    fn grant_window(&mut self, max: u64) {
        self.granted = max;
    }

    fn wanted_window(&self) -> Option<u64> {
        let packed = self.image.layers[self.layer].packed.as_ref()?;
        (self.at >= packed.window_from && self.granted < packed.window).then_some(packed.window)
    }

    fn checksum(&self) -> Option<SaidChecksum> {
        None
    }
}

struct FakeCheck<'a> {
    image: &'a Image,
    layer: usize,
    chunks: usize,
    bytes: Vec<u8>,
    failure: Option<io::Error>,
}

impl TarCheck for FakeCheck<'_> {
    fn begin_gzip(&mut self) {
        assert!(self.bytes.is_empty());
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Err(error) = self.image.visit(Stage::Check, self.layer, self.chunks) {
            self.failure = Some(error);
        }
        self.chunks += 1;
        self.bytes.extend(bytes);
    }

    fn expect(&self, _said: Option<SaidChecksum>) -> io::Result<()> {
        match &self.failure {
            Some(error) => Err(io::Error::other(error.to_string())),
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), DigestError> {
        assert_eq!(self.bytes, self.image.tar(self.layer));
        Ok(())
    }
}

struct FakeOutput {
    image: Arc<Image>,
    bytes: Vec<u8>,
    layer: usize,
    /// Writes of that layer.
    count: usize,
}

impl Output for FakeOutput {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let queued = self.image.queued.load(Ordering::Relaxed);
        let written = self.image.written.fetch_add(1, Ordering::Relaxed);
        // Those that wait, this one, and the one that the owner is about to queue.
        assert!(queued - written <= write_behind::MAX_WAITING + 2);
        let layer = usize::from(bytes[0] / 64);
        self.count = if layer == self.layer { self.count } else { 0 };
        self.layer = layer;
        assert!(
            !self.image.write_failed.load(Ordering::Relaxed),
            "written after an error"
        );
        let visited = self.image.visit(Stage::Write, layer, self.count);
        self.image.write_failed.store(visited.is_err(), Ordering::Relaxed);
        visited?;
        self.count += 1;
        self.bytes.write_at(bytes, offset)
    }

    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        Output::clear(&mut self.bytes, offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        assert_eq!(self.bytes.len() as u64, len);
        Ok(())
    }
}

/// Applies a layer: writes its tar to the output, behind those before it.
fn apply(image: &Image, pipeline: &Pipeline<'_, FakeOutput>, layer: usize, offset: &mut u64) -> Result<(), String> {
    let mut tar = pipeline.open(layer).map_err(|error| error.to_string())?;
    let mut output = pipeline;
    let mut applied = Vec::new();
    for position in 0.. {
        let bytes = tar.reader().fill_buf().map_err(|error| error.to_string())?.to_vec();
        if bytes.is_empty() {
            break;
        }
        let visited = image.visit(Stage::Apply, layer, position);
        visited.map_err(|error| error.to_string())?;
        let len = bytes.len();
        tar.reader().consume(len);
        applied.extend_from_slice(&bytes);
        image.queued.fetch_add(1, Ordering::Relaxed);
        let parts = [0..len];
        let written = output.write_parts(bytes, &parts, *offset);
        written.map_err(|error| format!("write: {error}"))?;
        *offset += len as u64;
    }
    tar.finish().map_err(|error| error.to_string())?;
    assert_eq!(applied, image.tar(layer));
    Ok(())
}

/// Applies all layers as a build does, which discards the first layer then, and writes over it.
fn apply_all(image: &Image, pipeline: &Pipeline<'_, FakeOutput>) -> Result<(), String> {
    let mut offset = 0;
    for layer in 0..image.layers.len() {
        let applied = apply(image, pipeline, layer, &mut offset);
        let is_final = |error: &String| error.starts_with("write") || *error == ImageError::Interrupted.to_string();
        if applied.as_ref().is_err_and(is_final) {
            return applied;
        }
        let end = pipeline.end(layer);
        end.read.map_err(|error| error.to_string())?;
        end.verdict.map_err(|error| error.to_string())?;
        applied?;
    }
    let mut output = pipeline;
    let discarded = image.layers[0].len;
    let finish = |output: &mut &Pipeline<'_, FakeOutput>| {
        if discarded > 0 {
            output.clear(0, discarded as u64)?;
            image.queued.fetch_add(1, Ordering::Relaxed);
            output.write_at(b"!", 0)?;
        }
        output.set_len(offset)
    };
    finish(&mut output).map_err(|error| format!("write: {error}"))
}

/// Builds an image, and checks what comes of it.
fn build(image: &Arc<Image>) {
    let source = FakeSource(Arc::clone(image));
    let output = FakeOutput {
        image: Arc::clone(image),
        bytes: Vec::new(),
        layer: 0,
        count: 0,
    };
    let threads = image.thread_count.try_into().unwrap();
    let pipeline = Pipeline::new(&source, output, threads, &image.cancelled);
    let result = catch_unwind(AssertUnwindSafe(|| pipeline.run(|| apply_all(image, &pipeline))));
    let cancelled = image.cancelled.load(Ordering::Relaxed);
    let reached = image.reached.load(Ordering::Relaxed);
    match (&image.plan, result) {
        (
            Some(Plan {
                stage,
                fault: Fault::Panic,
                ..
            }),
            Err(panic),
        ) => {
            assert!(reached && panicked_in(&*panic) == Some(*stage));
        }
        (
            Some(Plan {
                stage,
                fault: Fault::Error,
                ..
            }),
            Ok(Err(error)),
        ) => {
            let expected = match stage {
                Stage::Open => ImageError::Interrupted.to_string(),
                Stage::Write => "write: Write".to_owned(),
                stage => format!("{stage:?}"),
            };
            assert!(reached && error == expected, "{error}");
        }
        (
            Some(Plan {
                fault: Fault::Cancel, ..
            }),
            Ok(Err(error)),
        ) => {
            assert!(cancelled, "{error}");
        }
        // It may come too late for anyone to notice.
        (
            Some(Plan {
                fault: Fault::Cancel, ..
            })
            | None,
            Ok(Ok(())),
        ) => {
            assert_eq!(pipeline.into_output().bytes, image.output());
        }
        (_, Err(panic)) => resume_unwind(panic),
        (plan, Ok(result)) => panic!("{plan:?} led to {result:?}"),
    }
}

fn panicked_in(panic: &(dyn Any + Send)) -> Option<Stage> {
    panic.downcast_ref().copied()
}

/// Has a model checker run something, in orders that the scheduler picks.
fn explore(scheduler: impl Scheduler + 'static, act: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(act);
}

/// Builds images in orders that the scheduler picks.
fn check(scheduler: impl Scheduler + 'static, image: impl Fn() -> Image + Send + Sync + 'static) {
    explore(scheduler, move || {
        build(&Arc::new(image()));
        assert_eq!(counted::count(), 0);
    });
}

#[test]
fn tars_arrive_whole_and_in_order() {
    check(RandomScheduler::new(2000), || Image::random(None, 1));
    check(PctScheduler::new(3, 2000), || Image::random(None, 2));
}

/// Of all orders of the smallest image with two threads, the first.
#[test]
fn smallest_image_in_every_order() {
    check(DfsScheduler::new(Some(20_000), false), || {
        let layer = FakeLayer {
            len: 1,
            packed: None,
            local: true,
            repeated: false,
        };
        Image::new(vec![layer], 2)
    });
}

#[test]
fn a_panic_in_each_stage() {
    fails(Fault::Panic);
}

#[test]
fn an_error_in_each_stage() {
    fails(Fault::Error);
}

#[test]
fn a_cancellation_in_each_stage() {
    fails(Fault::Cancel);
}

fn fails(fault: Fault) {
    for stage in STAGES {
        check(RandomScheduler::new(500), move || {
            Image::random(Some((stage, fault)), 1)
        });
        check(PctScheduler::new(3, 500), move || {
            Image::random(Some((stage, fault)), 2)
        });
    }
}

/// Jobs that only end together, which those of a build never do.
struct Together {
    waiting: usize,
    barrier: Arc<Barrier>,
}

impl Work for Together {
    type Job = Arc<Barrier>;
    type JobResult = ();

    fn next_job(&mut self, role: Role) -> Option<Arc<Barrier>> {
        self.waiting = self.waiting.checked_sub((role == Role::Worker).into())?;
        (role == Role::Worker).then(|| Arc::clone(&self.barrier))
    }

    fn run(job: Arc<Barrier>) {
        job.wait();
    }

    fn complete(&mut self, (): ()) {}
}

#[test]
fn a_change_wakes_a_worker_for_each_job() {
    const WORKERS: usize = 3;
    explore(RandomScheduler::new(500), || {
        let barrier = Arc::new(Barrier::new(WORKERS + 1));
        let scheduler = super::scheduler::Scheduler::new(Together {
            waiting: 0,
            barrier: Arc::clone(&barrier),
        });
        let owner = || {
            scheduler.update(|work| work.waiting = WORKERS);
            barrier.wait();
        };
        scheduler.run(WORKERS + 1, || (), owner);
    });
}

#[test]
fn a_blob_is_read_ahead_up_to_a_bound() {
    explore(RandomScheduler::new(1), || {
        let layer = FakeLayer {
            len: 4 * read_ahead::MAX_WAITING * CHUNK_LEN,
            packed: None,
            local: true,
            repeated: false,
        };
        let source = FakeSource(Arc::new(Image::new(vec![layer], 1)));
        let blob = Arc::new(source.open(0).unwrap());
        for _ in 0..read_ahead::MAX_WAITING {
            assert!(blob.has_room());
            blob.fetch();
        }
        assert!(!blob.has_room());
        blob.fetch();
        assert_eq!(counted::count(), read_ahead::MAX_WAITING);
        let mut tar = Vec::new();
        let mut reader = ReadAheadReader::new(Arc::clone(&blob));
        reader.fill_buf().unwrap();
        assert!(blob.has_room());
        reader.read_to_end(&mut tar).unwrap();
        assert!(!blob.has_room());
        assert_eq!(tar, source.0.tar(0));
        assert!(blob.end().verdict.is_ok());
    });
}
