//! Reads and decodes layers ahead on a pool of threads, applies them in order on one of them, and
//! writes the image behind it.
//!
//! ```text
//! blob ─► fetch ─► decode ─► check ─► apply ─► write ─► image
//! ```
//!
//! A layer moves from stage to stage in chunks: *fetch* reads the blob and hashes it
//! ([`read_ahead`]), *decode* undoes its compression ([`decode`]), and *check* hashes the tar, and
//! keeps it if the source does ([`diff_id`]). The owner of the pipeline, which is the thread that
//! builds, applies the tar. What the formatter makes of it is queued for *write*
//! ([`write_behind`]). A job takes one chunk through one stage. [`scheduler`] runs jobs, [`work`]
//! says which comes first and what bounds memory, and [`layer_task`] which state a layer is in.
//! Which thread does what, and when, changes nothing of what the owner sees, and nothing of the
//! image.
//!
//! # Locks
//!
//! There are two: the scheduler's, and one in each [`ReadAhead`](read_ahead::ReadAhead). No thread
//! takes one of them while it holds the other. Under the scheduler's, [`LayerSource::is_local`]
//! takes the locks of downloads, whose holders take none of these. A listener to events is called
//! with none of these locks held.
//!
//! # Who waits for what
//!
//! | thread | for | until |
//! |---|---|---|
//! | a worker | a job | a job is complete, the owner changes the work, or the stop |
//! | the owner | a chunk, an end, room, the output | a job is complete, or the stop |
//! | either, decoding | a chunk of the blob that another job fetches | that fetch ends |
//! | either, reading a blob | bytes of a download | they come, it fails, a cancellation, the stop |
//! | either, in any job | files | the system has done it |
//!
//! # What goes wrong
//!
//! | stage | an error |
//! |---|---|
//! | open | is the result of [`Pipeline::open`] |
//! | fetch | ends the blob: decode fails with it, and [`BlobEnd::read`] has it too |
//! | decode | ends the tar, behind what came before it; the rest of the blob is hashed |
//! | check | takes the place of the end of the tar, or is the result of [`Tar::finish`] |
//! | apply | is the caller's, which goes on with [`Pipeline::end`], or ends |
//! | write | is the result of the next call that writes; nothing is written after it |
//!
//! A cancellation is an error of each read and write that follows it, and of the next chunk that
//! the owner asks for. A panic, in any stage, stops the scheduler: threads end, and waits for
//! downloads too. [`Pipeline::run`] then goes on with it. A fetch that panics ends the blob with an
//! error before, since a decoder may wait for it.

mod chunk;
mod decode;
mod diff_id;
mod image_layers;
mod layer_task;
#[cfg(all(test, not(target_arch = "s390x")))]
mod model;
mod read_ahead;
mod scheduler;
mod stages;
mod sync;
mod windows;
mod work;
mod write_behind;

use std::io::{self, BufRead};
use std::num::NonZeroUsize;

use ext4::Output;

use crate::error::LayerFailure;
use chunk::{Chunk, ChunkReader, Chunks};
pub(super) use image_layers::ImageLayers;
use layer::Compression;
use layer::cancel::Cancel;
use oci::DigestError;
use scheduler::{Role, Scheduler};
use stages::{BlobEnd, LayerSource};
use work::BuildWork;

/// Most layers that are read at once.
const MAX_OPEN: usize = 4;

/// Reads layers ahead of the thread that applies them, and writes the image behind it.
pub(super) struct Pipeline<'a, O> {
    source: &'a dyn LayerSource,
    cancel: &'a Cancel,
    thread_count: usize,
    /// Most bytes that the output can hold.
    max_len: Option<u64>,
    scheduler: Scheduler<BuildWork<'a, O>>,
}

impl<'a, O: Output + Send> Pipeline<'a, O> {
    /// Prepares to read layers, from the first on, and to write to an output, on `thread_count`
    /// threads, the one that applies the layers included.
    pub(super) fn new(source: &'a dyn LayerSource, output: O, thread_count: NonZeroUsize, cancel: &'a Cancel) -> Self {
        let max_open = (thread_count.get() + 1).min(MAX_OPEN).min(source.count());
        Self {
            source,
            cancel,
            // A layer can make use of one each to fetch, to decode and to check; and one writes.
            thread_count: thread_count.get().min(2 + 3 * max_open),
            max_len: output.max_len(),
            scheduler: Scheduler::new(BuildWork::new(source, max_open, output)),
        }
    }

    /// Runs `apply`, which asks for one layer after the other, while workers do jobs. They end when
    /// it does.
    pub(super) fn run<T>(&self, apply: impl FnOnce() -> T) -> T {
        let cancel = || self.source.cancel_downloads();
        self.scheduler.run(self.thread_count, cancel, apply)
    }

    /// Waits for a layer, which must be the one after the last that was asked for.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Source`] and [`LayerFailure::Decode`]; only after the latter, the layer has
    /// an [`Pipeline::end`].
    pub(super) fn open(&self, index: usize) -> Result<Tar<'_, 'a, O>, LayerFailure> {
        self.scheduler.update(|work| work.begin(index));
        let opened = |work: &mut BuildWork<'a, O>| work.task(index).take_opened();
        let compression = self.scheduler.wait(Role::Consumer, opened)?;
        let chunks = TarChunks { pipeline: self, index };
        Ok(Tar {
            compression,
            reader: ChunkReader::new(chunks),
        })
    }

    /// Waits for the end of the blob of a layer, without reading its tar any further.
    pub(super) fn end(&self, index: usize) -> BlobEnd {
        self.scheduler.update(|work| work.skip_tar(index));
        self.scheduler.wait(Role::Consumer, |work| work.task(index).take_end())
    }
}

/// The tar of a layer.
pub(super) struct Tar<'p, 'a, O> {
    compression: Compression,
    reader: ChunkReader<TarChunks<'p, 'a, O>>,
}

impl<O: Output + Send> Tar<'_, '_, O> {
    /// Returns how the layer is compressed.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns a reader of its bytes.
    pub(super) fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    /// Compares what was read, which must be all of it, with the digest in the config.
    ///
    /// # Errors
    ///
    /// [`DigestError::DigestMismatch`].
    pub(super) fn finish(self) -> Result<(), DigestError> {
        let TarChunks { pipeline, index } = self.reader.into_chunks();
        let check = pipeline.scheduler.update(|work| work.task(index).take_check());
        check.expect("no job checks a tar after its end").finish()
    }
}

/// The chunks of a tar for the owner.
struct TarChunks<'p, 'a, O> {
    pipeline: &'p Pipeline<'a, O>,
    index: usize,
}

impl<O: Output + Send> Chunks for TarChunks<'_, '_, O> {
    fn next(&mut self, read: Option<Chunk>) -> io::Result<Option<Chunk>> {
        // Few bytes of a blob can be gigabytes of zeros, for which nothing else is read or written.
        self.pipeline.cancel.check()?;
        let Self { pipeline, index } = *self;
        if let Some(chunk) = read {
            pipeline.scheduler.update(|work| work.recycle(index, chunk));
        }
        pipeline
            .scheduler
            .wait(Role::Consumer, |work| work.task(index).take_chunk())
    }
}
