//! The pipeline: reads and decodes layers ahead on a pool of threads, applies them in order on one
//! thread, and writes the disk image behind it.
//!
//! ```text
//! blob ─► fetch ──► decode ──► check ──► apply ──► write ─► disk image
//!               │          └─────┬─────┘       │
//!        2 MiB a layer    16 MiB a layer     2 MiB    (limits on what waits between stages)
//! ```
//!
//! | stage | work on one chunk of at most 256 KiB | module |
//! |---|---|---|
//! | fetch | reads the blob and hashes it | [`read_ahead`] |
//! | decode | decompresses the blob to a tar | [`decode`] |
//! | check | hashes the tar, and writes it to the cache if the source does | [`diff_id`] |
//! | apply | parses the tar, changes the tree, and fills the formatter's buffers | the owner |
//! | write | writes a buffer of the formatter to the output, or discards ranges | [`write_behind`] |
//!
//! The *owner* is the thread that builds and applies layers; the other threads are *workers*. A
//! *job* takes one chunk through one stage. [`scheduler`] runs jobs on the threads, [`work`]
//! chooses the most urgent job and bounds memory, and [`layer_task`] has the state of one layer.
//!
//! # Design
//!
//! - A thread takes the most urgent job of any stage. Workers keep the decoder of the lowest layer
//!   busy; the owner takes the job nearest to what it waits for. So the number of threads is
//!   exactly the one in the options, a single thread is not a special case, and no thread is idle
//!   while a job is possible. One thread for each stage, the alternative, needs three times as many
//!   threads and a wake-up for each chunk, and hashes the blob on the decoder's thread.
//! - No result depends on which thread runs a job, or when: each stage of a layer sees its chunks
//!   in order, and writes are performed in the order in which they were queued.
//! - Queues between stages are bounded. A full queue makes the job before it impossible, which is
//!   the only back-pressure: no job waits for room.
//!
//! # Invariants
//!
//! 1. **Locks.** The pipeline has two kinds: that of the scheduler, and one in each
//!    [`ReadAhead`](read_ahead::ReadAhead). No thread takes one of them while it holds another.
//!    Under the scheduler's lock, [`LayerSource::is_local`] takes locks of downloads, and a thread
//!    that holds one of those takes none of these. No lock is held while a listener to events is
//!    called.
//! 2. **Blocking.** A thread blocks only as in this table:
//!
//!    | thread | waits for | until |
//!    |---|---|---|
//!    | worker | a job | a job is complete, the owner changes the work, or the stop |
//!    | owner | a chunk, the end of a blob, room for a write, the output | a job is complete, or the stop |
//!    | any, in a decode job | a chunk of the blob that another job fetches | that job fetched it |
//!    | any, reading a blob | bytes of a download | they arrive, the download fails or is cancelled, or the stop |
//!    | any, in a job | the file system of the host | the system call returns |
//!
//! 3. **Memory.** At most [`MAX_OPEN_LAYERS`] layers are open, and each queue has a limit:
//!    [`work`], "Memory".
//! 4. **Progress.** While the owner waits and no job runs, a job is possible that brings it closer
//!    to what it waits for ([`work`], "Progress"). Each job ends, and its end wakes the owner
//!    ([`scheduler`], "Progress").
//! 5. **Errors.** An error ends the stage that it occurs in, and reaches the owner as follows:
//!
//!    | stage | an error |
//!    |---|---|
//!    | open | is the result of [`Pipeline::open`] |
//!    | fetch | ends the blob: decode fails with it, and [`BlobEnd::read`] has it as well |
//!    | decode | ends the tar, after the chunks before it; the rest of the blob is still hashed |
//!    | check | replaces the end of the tar, or is the result of [`LayerTar::finish`] |
//!    | apply | is the owner's, which calls [`Pipeline::finish_blob`] or ends |
//!    | write | is the result of the next call that writes; nothing is written after it |
//!
//! 6. **Cancellation.** After a cancellation, each read of a blob, each write to the output, and
//!    the next chunk that the owner asks for fail.
//! 7. **Panics.** A panic in any stage stops the scheduler: threads end, and waits for downloads
//!    are cancelled. [`Pipeline::run`] then resumes the panic. A fetch that panics ends the blob
//!    with an error first, since a decoder may wait for it.
//!
//! The module `model` tests these with a model checker, which explores the interleavings of threads
//! with made-up layers, in which each stage fails, panics or is cancelled.

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

/// Limit on the layers that are open at once: the one that is applied, and those read ahead.
const MAX_OPEN_LAYERS: usize = 4;

/// The pipeline of a build, see the [module](self).
pub(super) struct Pipeline<'a, O> {
    source: &'a dyn LayerSource,
    cancel: &'a Cancel,
    thread_count: usize,
    /// Capacity of the output in bytes, if it has a fixed size.
    max_len: Option<u64>,
    scheduler: Scheduler<BuildWork<'a, O>>,
}

impl<'a, O: Output + Send> Pipeline<'a, O> {
    /// Creates a pipeline for the layers of a source and an output, with `thread_count` threads,
    /// including the owner.
    pub(super) fn new(source: &'a dyn LayerSource, output: O, thread_count: NonZeroUsize, cancel: &'a Cancel) -> Self {
        let max_open = (thread_count.get() + 1).min(MAX_OPEN_LAYERS).min(source.count());
        Self {
            source,
            cancel,
            // A layer can use one thread each to fetch, decode and check. One thread applies, and
            // one writes.
            thread_count: thread_count.get().min(2 + 3 * max_open),
            max_len: output.max_len(),
            scheduler: Scheduler::new(BuildWork::new(source, max_open, output)),
        }
    }

    /// Runs `apply`, which opens one layer after the other, while workers run jobs. The workers end
    /// when `apply` returns.
    pub(super) fn run<T>(&self, apply: impl FnOnce() -> T) -> T {
        let cancel = || self.source.cancel_downloads();
        self.scheduler.run(self.thread_count, cancel, apply)
    }

    /// Waits until a layer is open, and returns its tar. Layers must be opened in order.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Source`], after which [`Pipeline::finish_blob`] must not be called, and
    /// [`LayerFailure::Decode`], after which it may be called.
    pub(super) fn open(&self, index: usize) -> Result<LayerTar<'_, 'a, O>, LayerFailure> {
        self.scheduler.update(|work| work.begin_layer(index));
        let opened = |work: &mut BuildWork<'a, O>| work.task(index).take_opened();
        let compression = self.scheduler.wait(Role::Consumer, opened)?;
        let chunks = TarChunks { pipeline: self, index };
        Ok(LayerTar {
            compression,
            reader: ChunkReader::new(chunks),
        })
    }

    /// Drops the rest of a layer's tar, waits until its blob is read and hashed to the end, and
    /// returns the result.
    pub(super) fn finish_blob(&self, index: usize) -> BlobEnd {
        self.scheduler.update(|work| work.skip_tar(index));
        self.scheduler
            .wait(Role::Consumer, |work| work.task(index).take_blob_end())
    }
}

/// The tar of an open layer.
pub(super) struct LayerTar<'p, 'a, O> {
    compression: Compression,
    reader: ChunkReader<TarChunks<'p, 'a, O>>,
}

impl<O: Output + Send> LayerTar<'_, '_, O> {
    /// Returns the compression of the blob.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns a reader of the tar.
    pub(super) fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    /// Verifies the tar, which must have been read to its end, against the diff ID in the config.
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

/// The checked chunks of a tar, for the owner.
struct TarChunks<'p, 'a, O> {
    pipeline: &'p Pipeline<'a, O>,
    index: usize,
}

impl<O: Output + Send> Chunks for TarChunks<'_, '_, O> {
    fn next(&mut self, read: Option<Chunk>) -> io::Result<Option<Chunk>> {
        // A few bytes of a blob can decode to gigabytes of zeros, which cause no read or write that
        // would notice a cancellation.
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
