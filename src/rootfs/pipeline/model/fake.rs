//! Fake images for the model test: layers of numbered bytes, with at most one fault, in one stage.

use std::io::{self, BufRead, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ext4::Output;
use shuttle::rand::{Rng, thread_rng};

use crate::error::LayerFailure;
use crate::rootfs::pipeline::chunk::{CHUNK_LEN, counted};
use crate::rootfs::pipeline::read_ahead;
use crate::rootfs::pipeline::stages::{BlobEnd, BlobReader, LayerSource, OpenTar, TarCheck, TarDecoder};
use crate::rootfs::pipeline::windows::{WINDOW_SHARE, WINDOW_SHARES};
use crate::rootfs::pipeline::work::CHUNKS_PER_LAYER;
use crate::rootfs::pipeline::{MAX_OPEN_LAYERS, write_behind};
use layer::cancel::{Cancel, Cancelled};
use layer::{Compression, DeclaredChecksum};
use oci::{DigestError, ImageError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Fetch,
    Decode,
    Check,
    Apply,
    Write,
}

pub(super) const STAGES: [Stage; 6] = [
    Stage::Open,
    Stage::Fetch,
    Stage::Decode,
    Stage::Check,
    Stage::Apply,
    Stage::Write,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Panic,
    Error,
    Cancel,
}

/// A layer whose tar has `len` bytes.
#[derive(Debug)]
pub(super) struct FakeLayer {
    pub(super) len: usize,
    /// Properties of the decoder, if the blob is not the tar.
    pub(super) packed: Option<Packed>,
    pub(super) local: bool,
    pub(super) repeated: bool,
}

#[derive(Debug)]
pub(super) struct Packed {
    /// Number of bytes of the blob after those of the tar.
    trailing: usize,
    /// Size of the window that is needed from the byte `window_from` of the tar on.
    window: u64,
    window_from: usize,
}

impl FakeLayer {
    fn blob_len(&self) -> usize {
        self.len + self.packed.as_ref().map_or(0, |packed| packed.trailing)
    }
}

/// A fault in a stage of a layer, at a position: the number of chunks before it, or for
/// [`Stage::Write`] the number of writes to the output.
#[derive(Debug)]
pub(super) struct PlannedFault {
    pub(super) stage: Stage,
    pub(super) fault: Fault,
    layer: usize,
    position: usize,
}

#[derive(Debug)]
pub(super) struct Image {
    pub(super) layers: Vec<FakeLayer>,
    pub(super) thread_count: usize,
    pub(super) planned: Option<PlannedFault>,
    pub(super) reached: AtomicBool,
    pub(super) cancel: Cancel,
    pub(super) queued: AtomicUsize,
    pub(super) written: AtomicUsize,
    pub(super) write_failed: AtomicBool,
}

impl Image {
    pub(super) fn new(layers: Vec<FakeLayer>, thread_count: usize) -> Self {
        Self {
            layers,
            thread_count,
            planned: None,
            reached: AtomicBool::new(false),
            cancel: Cancel::new(),
            queued: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            write_failed: AtomicBool::new(false),
        }
    }

    /// Creates a random image, with a fault in a stage if `plan` has one.
    pub(super) fn random(plan: Option<(Stage, Fault)>, min_threads: usize) -> Self {
        let mut rng = thread_rng();
        let layers = (0..rng.gen_range(1..=4)).map(|index| {
            // Up to four times the chunks of a layer.
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
            (count > 0).then(|| PlannedFault {
                stage,
                fault,
                layer,
                position: rng.gen_range(0..count),
            })
        });
        Self {
            planned: plan,
            ..Self::new(layers, rng.gen_range(min_threads..=4))
        }
    }

    /// Called by each stage for each chunk. Checks the limit on chunks, and causes the planned
    /// fault.
    pub(super) fn visit(&self, stage: Stage, layer: usize, position: usize) -> io::Result<()> {
        let open = MAX_OPEN_LAYERS.min(self.thread_count + 1).min(self.layers.len());
        let blobs = open + self.thread_count - 1;
        let max = open * CHUNKS_PER_LAYER + 1 + blobs * (read_ahead::MAX_WAITING + 1);
        assert!(counted::count() <= max, "{} chunks", counted::count());

        self.cancel.check()?;
        let plan = self.planned.as_ref();
        let matches = |plan: &&PlannedFault| (plan.stage, plan.layer, plan.position) == (stage, layer, position);
        let Some(plan) = plan.filter(matches) else {
            return Ok(());
        };
        self.reached.store(true, Ordering::Relaxed);
        match plan.fault {
            Fault::Panic => resume_unwind(Box::new(stage)),
            Fault::Error => Err(io::Error::other(format!("{stage:?}"))),
            Fault::Cancel => {
                self.cancel.cancel();
                Ok(())
            }
        }
    }

    pub(super) fn tar(&self, layer: usize) -> Vec<u8> {
        (0..self.layers[layer].len).map(|at| byte(layer, at)).collect()
    }

    /// Returns the bytes that the output must have.
    pub(super) fn output(&self) -> Vec<u8> {
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
    u8::try_from(layer * 64 + at).expect("layers are few and short")
}

pub(super) struct FakeSource(pub(super) Arc<Image>);

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

    fn open(&self, index: usize) -> Result<Box<dyn BlobReader>, LayerFailure> {
        let opened = self.0.visit(Stage::Open, index, 0);
        opened.map_err(|_| LayerFailure::Source(ImageError::Cancelled(Cancelled)))?;
        Ok(Box::new(FakeBlob {
            image: Arc::clone(&self.0),
            layer: index,
            at: 0,
            failure: None,
        }))
    }

    fn decoder(&self, index: usize, mut blob: Box<dyn BufRead + Send>) -> Result<OpenTar, LayerFailure> {
        if self.0.layers[index].packed.is_none() {
            return Ok((Compression::None, None));
        }
        // As real decoders do, to detect the compression.
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
    fn finish(self: Box<Self>) -> BlobEnd {
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
    blob: Box<dyn BufRead + Send>,
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

    fn checksum(&self) -> Option<DeclaredChecksum> {
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

    fn check_declared(&self, _declared: Option<DeclaredChecksum>) -> io::Result<()> {
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

pub(super) struct FakeOutput {
    pub(super) image: Arc<Image>,
    pub(super) bytes: Vec<u8>,
    pub(super) layer: usize,
    /// Number of writes with bytes of that layer.
    pub(super) count: usize,
}

impl Output for FakeOutput {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let queued = self.image.queued.load(Ordering::Relaxed);
        let written = self.image.written.fetch_add(1, Ordering::Relaxed);
        // The queued writes, this one, and the one that the owner is about to queue.
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

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        Output::discard(&mut self.bytes, offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        assert_eq!(self.bytes.len() as u64, len);
        Ok(())
    }
}
