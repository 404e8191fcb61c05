//! The task of one layer: its stages, the chunks between them, and its state.
//!
//! ```text
//!                ┌──────────────── restart ────────────────┐
//!                ▼                                         │
//!   new ─────► CLOSED ────► TAR ◄──────► BLOCKED ──► RESTARTING
//!              │    │       ▲ │             │          ▲ │ │
//!              │    │       └─┼──── cancel_restart ────┼─┘ │
//!              │    │         ├─────────────┼──────────┘   │
//!              ▼    ▼         ▼             ▼              │
//!           FAILED  └──────► REST ◄─────────┴──────────────┘
//!                             ▼
//!                            DONE
//! ```
//!
//! | from | to | when | by |
//! |---|---|---|---|
//! | closed | tar | the blob was opened, and its compression is known | `complete` |
//! | closed | failed | the source could not open the blob | `complete` |
//! | closed | rest | the blob cannot be decoded | `complete` |
//! | tar | blocked | a frame needs a window that was not granted | `complete` |
//! | blocked | tar | the window is granted | `grant_windows` |
//! | tar, blocked | closed | a lower layer needs its window, no job has a stage | `restart` |
//! | tar, blocked | restarting | a lower layer needs its window, a job has a stage | `restart` |
//! | restarting | closed | the last of these jobs is complete | `complete`, `restart` |
//! | restarting | tar, blocked | the layer is applied before that | `cancel_restart` |
//! | tar, restarting | rest | the tar ends, or cannot be decoded further | `complete` |
//! | tar, blocked | rest | the owner skips the rest of the tar | `skip_tar`, `next_decode` |
//! | rest | done | the blob ends | `complete` |
//!
//! While a layer is blocked, jobs fetch its blob and check its chunks. While it restarts, no job of
//! it starts. In *rest*, the blob is hashed to its end. A layer that is done or has failed has no
//! decode stage.
//!
//! # Invariants
//!
//! 1. A stage is in the task, or in the job that runs it. So a stage sees its chunks in order.
//! 2. `chunk_count` is the number of chunks in `decoded` and `checked`, in decode and check jobs,
//!    and with the owner. Chunks of the [`ReadAhead`] are not included.
//! 3. `tar_end` is set when the last chunk of the tar is in `decoded`.
//! 4. A task that holds shares of window memory has not reached `tar_end`. A task that restarts
//!    holds shares.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;

use super::chunk::Chunk;
use super::decode::{DecodeStage, Decoded};
use super::read_ahead::ReadAhead;
use super::stages::{BlobEnd, LayerSource, TarCheck};
use super::windows::{WINDOW_SHARE, WindowClaim};
use crate::error::LayerFailure;
use layer::{Compression, DeclaredChecksum};

/// Number of chunks that the layers above leave to a layer: 8 MiB.
const RESERVE: usize = if cfg!(test) { 1 } else { 32 };

/// The task of a layer: the stages that no job has, and the chunks between them.
pub(super) struct LayerTask<'a> {
    source: &'a dyn LayerSource,
    index: usize,
    /// The blob, while it is open.
    read_ahead: Option<Arc<ReadAhead>>,
    /// The decode stage, unless a job has it.
    decode: Option<Box<DecodeStage<'a>>>,
    /// The check stage, unless a job has it.
    check: Option<Box<dyn TarCheck + 'a>>,
    /// Chunks of the tar to check.
    decoded: VecDeque<Chunk>,
    /// Chunks of the tar to apply.
    checked: VecDeque<Chunk>,
    chunk_count: usize,
    /// Result of opening the blob, until the owner takes it.
    opened: Option<Result<Compression, LayerFailure>>,
    /// End of the tar, after all chunks, with the checksum that the blob declares.
    tar_end: Option<io::Result<Option<DeclaredChecksum>>>,
    /// End of the blob.
    blob_end: Option<BlobEnd>,
    /// Memory for the window of the decoder.
    pub(super) claim: WindowClaim,
    /// Set if the layer must restart as soon as no job has one of its stages.
    restarting: bool,
    /// Set if the rest of the tar is dropped.
    skipped: bool,
}

/// A job of a layer: a stage, with the chunk for it.
pub(super) enum LayerJob<'a> {
    Fetch(Arc<ReadAhead>),
    Decode(Box<DecodeStage<'a>>, Chunk),
    Check(Box<dyn TarCheck + 'a>, Chunk),
}

/// The result of a job of a layer: the stage and the chunk.
pub(super) enum LayerJobResult<'a> {
    Fetched,
    Decoded(Box<DecodeStage<'a>>, Decoded, Chunk),
    Checked(Box<dyn TarCheck + 'a>, Chunk),
}

impl<'a> LayerJob<'a> {
    pub(super) fn run(self) -> LayerJobResult<'a> {
        match self {
            Self::Fetch(read_ahead) => {
                read_ahead.fetch();
                LayerJobResult::Fetched
            }
            Self::Decode(mut decode, mut chunk) => {
                let decoded = decode.advance(&mut chunk);
                LayerJobResult::Decoded(decode, decoded, chunk)
            }
            Self::Check(mut check, chunk) => {
                check.update(chunk.bytes());
                LayerJobResult::Checked(check, chunk)
            }
        }
    }
}

impl<'a> LayerTask<'a> {
    pub(super) fn new(source: &'a dyn LayerSource, index: usize) -> Self {
        Self {
            source,
            index,
            read_ahead: None,
            decode: Some(Box::new(DecodeStage::new(source, index))),
            check: Some(source.tar_check(index)),
            decoded: VecDeque::new(),
            checked: VecDeque::new(),
            chunk_count: 0,
            opened: None,
            tar_end: None,
            blob_end: None,
            claim: WindowClaim::default(),
            restarting: false,
            skipped: false,
        }
    }

    /// Returns a job that fetches, if one is possible now.
    pub(super) fn next_fetch(&self) -> Option<LayerJob<'a>> {
        let read_ahead = self.read_ahead.as_ref();
        let read_ahead = read_ahead.filter(|blob| blob.has_room() && !self.restarting)?;
        Some(LayerJob::Fetch(Arc::clone(read_ahead)))
    }

    /// Takes a job that decodes, if one is possible now. `free` is the number of chunks that the
    /// layer may still take.
    pub(super) fn next_decode(&mut self, free: usize, spare: &mut Vec<Chunk>) -> Option<LayerJob<'a>> {
        let has_room = free > 0 && self.claim.missing() == 0;
        if self.restarting || !(has_room || self.skipped) {
            return None;
        }
        let mut decode = self.decode.take()?;
        if self.skipped {
            decode.skip_tar();
            self.claim = WindowClaim::default();
        } else {
            decode.grant_window(self.claim.held as u64 * WINDOW_SHARE);
        }
        self.chunk_count += 1;
        Some(LayerJob::Decode(decode, spare.pop().unwrap_or_else(Chunk::new)))
    }

    /// Takes a job that checks, if one is possible now.
    pub(super) fn next_check(&mut self) -> Option<LayerJob<'a>> {
        if self.restarting {
            return None;
        }
        let chunk = self.decoded.pop_front_if(|_| self.check.is_some())?;
        self.check.take().map(|check| LayerJob::Check(check, chunk))
    }

    /// Returns the number of chunks of the layer, including those in jobs.
    pub(super) fn chunk_count(&self) -> usize {
        self.chunk_count
    }

    /// Returns the number of free chunks that the layers above must leave to this layer, so that it
    /// never waits for them.
    pub(super) fn reserve(&self) -> usize {
        if self.tar_end.is_some() {
            return 0;
        }
        RESERVE.saturating_sub(self.chunk_count)
    }

    /// Takes back the stage and the chunk of a job.
    pub(super) fn complete(&mut self, result: LayerJobResult<'a>, spare: &mut Vec<Chunk>) {
        let (chunks, chunk) = match result {
            LayerJobResult::Fetched => return,
            LayerJobResult::Checked(check, chunk) => {
                self.check = Some(check);
                (&mut self.checked, chunk)
            }
            LayerJobResult::Decoded(decode, decoded, chunk) => {
                match decoded {
                    Decoded::Opened(result) => {
                        if let (Ok(Compression::Gzip), Some(check)) = (&result, &mut self.check) {
                            check.begin_gzip();
                        }
                        self.opened = Some(result);
                    }
                    Decoded::Chunk => {}
                    Decoded::Window(len) => self.claim.request(len),
                    Decoded::TarEnd(result) => {
                        self.tar_end = Some(result);
                        // The decoder and its window are freed, so a restart would free nothing.
                        self.claim = WindowClaim::default();
                        self.restarting = false;
                    }
                    Decoded::BlobEnd(end) => self.blob_end = Some(end),
                }
                self.read_ahead = decode.read_ahead();
                if !decode.is_done() {
                    self.decode = Some(decode);
                }
                (&mut self.decoded, chunk)
            }
        };
        if self.skipped || chunk.bytes().is_empty() {
            self.chunk_count -= 1;
            spare.push(chunk);
        } else {
            chunks.push_back(chunk);
        }
        if self.restarting {
            self.restart(spare);
        }
    }

    /// Returns whether the layer restarts once its jobs are complete.
    pub(super) fn is_restarting(&self) -> bool {
        self.restarting
    }

    /// Cancels a restart that still waits for jobs: it is this layer's turn to be applied.
    pub(super) fn cancel_restart(&mut self) {
        self.restarting = false;
    }

    /// Returns the window of the layer's decoder and drops its chunks, at once or when no job has
    /// one of its stages. The layer is opened and decoded again later.
    pub(super) fn restart(&mut self, spare: &mut Vec<Chunk>) {
        if self.claim.held == 0 {
            return;
        }
        self.restarting = true;
        if self.decode.is_none() || self.check.is_none() {
            return;
        }
        self.decode = Some(Box::new(DecodeStage::new(self.source, self.index)));
        self.check = Some(self.source.tar_check(self.index));
        self.read_ahead = None;
        self.opened = None;
        self.drop_chunks(spare);
        self.claim = WindowClaim::default();
        self.restarting = false;
    }

    /// Takes the result of opening the blob; `None` before.
    pub(super) fn take_opened(&mut self) -> Option<Result<Compression, LayerFailure>> {
        self.opened.take()
    }

    /// Takes the next chunk to apply, or the end of the tar; `None` if neither is ready.
    pub(super) fn take_chunk(&mut self) -> Option<io::Result<Option<Chunk>>> {
        if let Some(chunk) = self.checked.pop_front() {
            return Some(Ok(Some(chunk)));
        }
        let check = self.check.as_ref().filter(|_| self.decoded.is_empty())?;
        // Later calls return the end again, but an error only once.
        let end = mem::replace(self.tar_end.as_mut()?, Ok(None));
        Some(end.and_then(|declared| check.check_declared(declared)).map(|()| None))
    }

    /// Takes the check of the tar, whose end must have been taken.
    pub(super) fn take_check(&mut self) -> Option<Box<dyn TarCheck + 'a>> {
        self.check.take()
    }

    /// Takes the result of reading the blob to its end; `None` before.
    pub(super) fn take_blob_end(&mut self) -> Option<BlobEnd> {
        self.blob_end.take()
    }

    /// Records that the owner returned a chunk.
    pub(super) fn return_chunk(&mut self) {
        self.chunk_count -= 1;
    }

    /// Drops the chunks of the tar, and those that follow.
    pub(super) fn skip_tar(&mut self, spare: &mut Vec<Chunk>) {
        self.skipped = true;
        self.drop_chunks(spare);
    }

    /// Moves the chunks of the tar to `spare`.
    fn drop_chunks(&mut self, spare: &mut Vec<Chunk>) {
        let before = spare.len();
        spare.extend(self.decoded.drain(..).chain(self.checked.drain(..)));
        self.chunk_count -= spare.len() - before;
    }
}
