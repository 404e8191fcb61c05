//! The stage that fetches: the blob of a layer, read and hashed ahead of its decoder.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::chunk::{Chunk, ChunkReader, Chunks};
use super::stages::{BlobEnd, BlobReader};
use super::sync::{AtomicBool, Condvar, Mutex, MutexGuard};

/// Most chunks of a blob that wait for the decoder: 2 MiB.
pub(super) const MAX_WAITING: usize = if cfg!(test) { 2 } else { 8 };

/// A blob, and what was read of it and not decoded yet.
///
/// Two jobs of a layer use it at once: one that fetches, and one that decodes. The decoder reads
/// the blob itself where no chunk waits; it sleeps only while the other has the reader, and gives
/// it back in any case. Each ends with the completion of its job, which is when the scheduler
/// looks again whether there is room.
pub(in crate::rootfs) struct ReadAhead {
    state: Mutex<State>,
    /// Notified when the reader is back, and with it a chunk or the end.
    fetched: Condvar,
    /// Set if there is something to fetch, as of the last change: read without the lock, which
    /// nobody takes under that of the scheduler.
    has_room: AtomicBool,
}

struct State {
    /// The reader, which hashes too, unless a job has it.
    blob: Option<Box<dyn BlobReader>>,
    chunks: VecDeque<Chunk>,
    /// End of the blob, behind all chunks. An error is returned once.
    end: Option<io::Result<()>>,
    /// Chunks to be used again.
    spare: Vec<Chunk>,
}

impl State {
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

    /// Returns whether there is a chunk to fetch, and room for it. It may be too late when the job
    /// begins.
    pub(super) fn has_room(&self) -> bool {
        self.has_room.load(Ordering::Relaxed)
    }

    /// Reads and hashes one chunk, if there is still one to fetch, and room for it.
    pub(super) fn fetch(&self) {
        let state = self.lock();
        if state.has_room() {
            drop(self.read_chunk(state));
        }
    }

    /// Reads and hashes one chunk without the lock, and returns with it.
    fn read_chunk<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let mut blob = state.blob.take().expect("the caller has looked");
        let mut chunk = state.spare.pop().unwrap_or_else(Chunk::new);
        self.note_room(&state);
        drop(state);
        let filled = catch_unwind(AssertUnwindSafe(|| chunk.fill(&mut blob)));
        let mut state = self.lock();
        state.blob = Some(blob);
        let (end, panic) = match filled {
            Ok(result) => ((result.is_err() || !chunk.is_full()).then_some(result), None),
            Err(panic) => (
                Some(Err(io::Error::other("reading the blob has panicked"))),
                Some(panic),
            ),
        };
        state.end = end;
        state.chunks.push_back(chunk);
        debug_assert!(state.chunks.len() <= MAX_WAITING);
        self.note_room(&state);
        // Only the decoder waits.
        self.fetched.notify_one();
        if let Some(panic) = panic {
            drop(state);
            resume_unwind(panic);
        }
        state
    }

    /// Returns the next chunk, which it reads if none waits; `None` at the end.
    fn next(&self, used: Option<Chunk>) -> io::Result<Option<Chunk>> {
        let mut state = self.lock();
        state.spare.extend(used);
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                self.note_room(&state);
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

    /// Exchanges a chunk for the next, and returns whether there was one.
    pub(super) fn exchange(&self, chunk: &mut Chunk) -> io::Result<bool> {
        let Some(next) = self.next(None)? else {
            return Ok(false);
        };
        let used = mem::replace(chunk, next);
        self.lock().spare.push(used);
        Ok(true)
    }

    /// Returns how the blob ended, of which no more is read.
    pub(super) fn end(&self) -> BlobEnd {
        let mut state = self.lock();
        let blob = state.blob.take();
        self.note_room(&state);
        blob.expect("the reader came back with the end").end()
    }

    fn note_room(&self, state: &State) {
        self.has_room.store(state.has_room(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reader of a blob for its decoder.
pub(in crate::rootfs) type ReadAheadReader = ChunkReader<Arc<ReadAhead>>;

impl Chunks for Arc<ReadAhead> {
    fn next(&mut self, read: Option<Chunk>) -> io::Result<Option<Chunk>> {
        ReadAhead::next(self, read)
    }
}
