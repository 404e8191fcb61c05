//! The fetch stage: reads and hashes the blob of a layer ahead of its decoder.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::chunk::{Chunk, ChunkReader, Chunks};
use super::stages::{BlobEnd, BlobReader};
use super::sync::{AtomicBool, Condvar, Mutex, MutexGuard};

/// Limit on the chunks of a blob that wait for the decoder: 2 MiB.
pub(super) const MAX_WAITING: usize = if cfg!(test) { 2 } else { 8 };

/// A blob, and its chunks that were read and not decoded.
///
/// Two jobs of a layer use it at the same time: one fetches, and one decodes. If no chunk waits,
/// the decoder reads the blob itself. It blocks only while a fetch job has the reader, and a fetch
/// job returns the reader even if it panics. [`ReadAhead::has_room`] changes only while one of
/// these jobs runs, and the scheduler looks for jobs again when the job is complete.
pub(in crate::rootfs) struct ReadAhead {
    state: Mutex<State>,
    /// Notified when the reader is back, with a chunk or the end of the blob.
    fetched: Condvar,
    /// Value of [`State::has_room`] at the last change. The scheduler reads it without this lock,
    /// which must not be taken under the scheduler's lock.
    has_room: AtomicBool,
}

struct State {
    /// The reader, which also hashes, unless a job has it.
    blob: Option<Box<dyn BlobReader>>,
    chunks: VecDeque<Chunk>,
    /// End of the blob, after all chunks. An error is returned once.
    end: Option<io::Result<()>>,
    /// Chunks for reuse.
    spare: Vec<Chunk>,
}

impl State {
    /// Returns whether a chunk can be fetched, and may be queued.
    fn has_room(&self) -> bool {
        self.blob.is_some() && self.end.is_none() && self.chunks.len() < MAX_WAITING
    }
}

impl ReadAhead {
    pub(super) fn new(blob: Box<dyn BlobReader>) -> Self {
        Self {
            state: Mutex::new(State {
                blob: Some(blob),
                chunks: VecDeque::new(),
                end: None,
                spare: Vec::new(),
            }),
            fetched: Condvar::new(),
            has_room: AtomicBool::new(true),
        }
    }

    /// Returns whether a fetch job is possible. That may have changed when the job starts.
    pub(super) fn has_room(&self) -> bool {
        self.has_room.load(Ordering::Relaxed)
    }

    /// Reads and hashes one chunk, if that is still possible.
    pub(super) fn fetch(&self) {
        let state = self.lock();
        if state.has_room() {
            drop(self.read_chunk(state));
        }
    }

    /// Reads and hashes one chunk without the lock, and queues it. Returns with the lock held.
    fn read_chunk<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let mut blob = state.blob.take().expect("the caller checked that the reader is here");
        let mut chunk = state.spare.pop().unwrap_or_else(Chunk::new);
        self.update_has_room(&state);
        drop(state);
        let filled = catch_unwind(AssertUnwindSafe(|| chunk.fill(&mut blob)));
        let mut state = self.lock();
        state.blob = Some(blob);
        let (end, panic) = match filled {
            Ok(result) => ((result.is_err() || !chunk.is_full()).then_some(result), None),
            Err(panic) => (
                Some(Err(io::Error::other("a panic occurred while the blob was read"))),
                Some(panic),
            ),
        };
        state.end = end;
        state.chunks.push_back(chunk);
        debug_assert!(state.chunks.len() <= MAX_WAITING);
        self.update_has_room(&state);
        // Only the decoder can be waiting.
        self.fetched.notify_one();
        if let Some(panic) = panic {
            drop(state);
            resume_unwind(panic);
        }
        state
    }

    /// Returns the next chunk, which is read now if none is queued; `None` at the end. Takes back
    /// the chunk `used`.
    fn next(&self, used: Option<Chunk>) -> io::Result<Option<Chunk>> {
        let mut state = self.lock();
        state.spare.extend(used);
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                self.update_has_room(&state);
                return Ok(Some(chunk));
            }
            if let Some(end) = &mut state.end {
                return mem::replace(end, Ok(())).map(|()| None);
            }
            state = if state.blob.is_some() {
                self.read_chunk(state)
            } else {
                self.fetched.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Swaps `chunk` with the next one. Returns `false` at the end.
    pub(super) fn swap_with_next(&self, chunk: &mut Chunk) -> io::Result<bool> {
        let Some(next) = self.next(None)? else {
            return Ok(false);
        };
        let used = mem::replace(chunk, next);
        self.lock().spare.push(used);
        Ok(true)
    }

    /// Returns how the blob ended. Must be called once, after its last chunk.
    pub(super) fn finish(&self) -> BlobEnd {
        let mut state = self.lock();
        let blob = state.blob.take();
        self.update_has_room(&state);
        blob.expect("the reader is back at the end").finish()
    }

    fn update_has_room(&self, state: &State) {
        self.has_room.store(state.has_room(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reader of the bytes of a blob, for its decoder.
pub(in crate::rootfs) type ReadAheadReader = ChunkReader<Arc<ReadAhead>>;

impl Chunks for Arc<ReadAhead> {
    fn next(&mut self, read: Option<Chunk>) -> io::Result<Option<Chunk>> {
        ReadAhead::next(self, read)
    }
}
