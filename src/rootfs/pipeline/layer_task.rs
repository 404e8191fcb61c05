//! One layer on its way through the stages: what of it waits for which.
//!
//! ```text
//!                ┌──────────────── restart ────────────────┐
//!                ▼                                         │
//!   new ─────► CLOSED ────► TAR ◄──────► BLOCKED ──► RESTARTING
//!              │    │       ▲ │             │          ▲ │ │
//!              │    │       └─┼─────────────┼── hold ──┼─┘ │
//!              │    │         ├─────────────┼──────────┘   │
//!              ▼    ▼         ▼             ▼              │
//!           FAILED  └──────► REST ◄─────────┴──────────────┘
//!                             ▼
//!                            DONE
//! ```
//!
//! | from | to | when | by |
//! |---|---|---|---|
//! | closed | tar | the blob is open, and can be decoded | `complete` |
//! | closed | failed | the source does not have the blob | `complete` |
//! | closed | rest | the blob cannot be decoded | `complete` |
//! | tar | blocked | a frame needs a window that was not granted | `complete` |
//! | blocked | tar | memory for it is granted | `grant_windows` |
//! | tar, blocked | closed | a lower layer needs its memory, no job has a stage | `restart` |
//! | tar, blocked | restarting | a lower layer needs its memory, a job has a stage | `restart` |
//! | restarting | closed | the last of these jobs is complete | `complete`, `restart` |
//! | restarting | tar, blocked | the turn of the layer comes first | `hold` |
//! | tar, restarting | rest | the tar ends, or cannot be decoded further | `complete` |
//! | tar, blocked | rest | nobody reads the rest of the tar | `skip_tar`, `next_decode` |
//! | rest | done | the blob ends | `complete` |
//!
//! While a layer is blocked, its blob is fetched and its chunks are checked. While it restarts, no
//! job of it begins. In *rest* the blob is hashed to its end. What is done or failed has no stage
//! that decodes any more.
//!
//! # Invariants
//!
//! 1. A stage is in the task, or in the job that has it. So it sees its chunks in order.
//! 2. `chunk_count` counts the chunks in `decoded` and `checked`, in the jobs that decode and
//!    check, and the one that the owner reads. Those of the [`ReadAhead`] are not among them.
//! 3. `tar_end` is set when the last chunk of the tar is in `decoded`.
//! 4. A task that holds a window has not come to `tar_end`, and one that restarts holds a window.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;

use super::chunk::Chunk;
use super::decode::{Decode, Decoded};
use super::read_ahead::ReadAhead;
use super::stages::{BlobEnd, LayerSource, TarCheck};
use super::windows::{Claim, WINDOW_SHARE};
use crate::error::LayerFailure;
use layer::{Compression, DeclaredChecksum};

/// Chunks that the layers above leave to a layer: 8 MiB.
const RESERVE: usize = if cfg!(test) { 1 } else { 32 };

/// One layer: the stages that no job has, and the chunks between them.
pub(super) struct LayerTask<'a> {
    source: &'a dyn LayerSource,
    index: usize,
    /// The blob, once it is open.
    read_ahead: Option<Arc<ReadAhead>>,
    /// The stage that undoes the compression.
    decode: Option<Box<Decode<'a>>>,
    /// The stage that hashes the tar, and keeps it.
    check: Option<Box<dyn TarCheck + 'a>>,
    /// Chunks of the tar to check.
    decoded: VecDeque<Chunk>,
    /// Chunks of the tar to apply.
    checked: VecDeque<Chunk>,
    chunk_count: usize,
    /// Result of opening the blob, until the owner takes it.
    opened: Option<Result<Compression, LayerFailure>>,
    /// End of the tar, behind all chunks, and the checksum that the blob says.
    tar_end: Option<io::Result<Option<DeclaredChecksum>>>,
    /// End of the blob.
    end: Option<BlobEnd>,
    /// Memory for the window of the decoder.
    pub(super) claim: Claim,
    /// Set if it begins again, without that memory, as soon as no job has a stage of it.
    restarting: bool,
    /// Set if nobody reads the rest of the tar.
    skipped: bool,
}

/// A stage, and the chunk that goes through it.
pub(super) enum LayerJob<'a> {
    Fetch(Arc<ReadAhead>),
    Decode(Box<Decode<'a>>, Chunk),
    Check(Box<dyn TarCheck + 'a>, Chunk),
}

/// A stage and a chunk after a job.
pub(super) enum LayerJobResult<'a> {
    Fetched,
    Decoded(Box<Decode<'a>>, Decoded, Chunk),
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
                let decoded = decode.step(&mut chunk);
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
            decode: Some(Box::new(Decode::new(source, index))),
            check: Some(source.tar_check(index)),
            decoded: VecDeque::new(),
            checked: VecDeque::new(),
            chunk_count: 0,
            opened: None,
            tar_end: None,
            end: None,
            claim: Claim::default(),
            restarting: false,
            skipped: false,
        }
    }

    /// Takes part in reading the blob, if that is possible now.
    pub(super) fn next_fetch(&self) -> Option<LayerJob<'a>> {
        let read_ahead = self.read_ahead.as_ref();
        let read_ahead = read_ahead.filter(|blob| blob.has_room() && !self.restarting)?;
        Some(LayerJob::Fetch(Arc::clone(read_ahead)))
    }

    /// Takes the decoder to fill one of `free` chunks, if that is possible now.
    pub(super) fn next_decode(&mut self, free: usize, spare: &mut Vec<Chunk>) -> Option<LayerJob<'a>> {
        let has_room = free > 0 && self.claim.lacking() == 0;
        if self.restarting || !(has_room || self.skipped) {
            return None;
        }
        let mut decode = self.decode.take()?;
        if self.skipped {
            decode.skip_tar();
            self.claim = Claim::default();
        } else {
            decode.grant_window(self.claim.held() as u64 * WINDOW_SHARE);
        }
        self.chunk_count += 1;
        Some(LayerJob::Decode(decode, spare.pop().unwrap_or_else(Chunk::new)))
    }

    /// Takes the check and the next chunk for it, if there are both.
    pub(super) fn next_check(&mut self) -> Option<LayerJob<'a>> {
        if self.restarting {
            return None;
        }
        let chunk = self.decoded.pop_front_if(|_| self.check.is_some())?;
        self.check.take().map(|check| LayerJob::Check(check, chunk))
    }

    /// Returns the number of its chunks, those of jobs included.
    pub(super) fn chunk_count(&self) -> usize {
        self.chunk_count
    }

    /// Returns how many of the free chunks the layers above must leave to it, so that it never
    /// waits for them.
    pub(super) fn reserve(&self) -> usize {
        if self.tar_end.is_some() {
            return 0;
        }
        RESERVE.saturating_sub(self.chunk_count)
    }

    /// Takes back what a job had.
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
                    Decoded::Window(len) => self.claim.want(len),
                    Decoded::TarEnd(result) => {
                        self.tar_end = Some(result);
                        // The decoder is gone, and nothing is gained by beginning again.
                        self.claim = Claim::default();
                        self.restarting = false;
                    }
                    Decoded::BlobEnd(end) => self.end = Some(end),
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

    /// Returns whether it is about to begin again.
    pub(super) fn is_restarting(&self) -> bool {
        self.restarting
    }

    /// Stays as it is, since its turn has come.
    pub(super) fn hold(&mut self) {
        self.restarting = false;
    }

    /// Gives back the memory for the window of its decoder, and all that was decoded. The layer is
    /// decoded again later.
    pub(super) fn restart(&mut self, spare: &mut Vec<Chunk>) {
        if self.claim.held() == 0 {
            return;
        }
        self.restarting = true;
        if self.decode.is_none() || self.check.is_none() {
            return;
        }
        self.decode = Some(Box::new(Decode::new(self.source, self.index)));
        self.check = Some(self.source.tar_check(self.index));
        self.read_ahead = None;
        self.opened = None;
        self.drop_chunks(spare);
        self.claim = Claim::default();
        self.restarting = false;
    }

    /// Takes whether the blob is there and can be decoded, once that is known.
    pub(super) fn take_opened(&mut self) -> Option<Result<Compression, LayerFailure>> {
        self.opened.take()
    }

    /// Takes the next chunk to apply, or the end of the tar; `None` if neither is there yet.
    pub(super) fn take_chunk(&mut self) -> Option<io::Result<Option<Chunk>>> {
        if let Some(chunk) = self.checked.pop_front() {
            return Some(Ok(Some(chunk)));
        }
        let check = self.check.as_ref().filter(|_| self.decoded.is_empty())?;
        // A reader that goes on after the end finds it again; an error is returned once.
        let end = mem::replace(self.tar_end.as_mut()?, Ok(None));
        Some(end.and_then(|said| check.expect(said)).map(|()| None))
    }

    /// Takes the check of the tar, of which the end was taken.
    pub(super) fn take_check(&mut self) -> Option<Box<dyn TarCheck + 'a>> {
        self.check.take()
    }

    /// Takes how the blob ended, once that is known.
    pub(super) fn take_end(&mut self) -> Option<BlobEnd> {
        self.end.take()
    }

    /// Notes that the owner gave a chunk back.
    pub(super) fn recycled(&mut self) {
        self.chunk_count -= 1;
    }

    /// Drops what there is of the tar, and the rest when it comes.
    pub(super) fn skip_tar(&mut self, spare: &mut Vec<Chunk>) {
        self.skipped = true;
        self.drop_chunks(spare);
    }

    fn drop_chunks(&mut self, spare: &mut Vec<Chunk>) {
        let before = spare.len();
        spare.extend(self.decoded.drain(..).chain(self.checked.drain(..)));
        self.chunk_count -= spare.len() - before;
    }
}
