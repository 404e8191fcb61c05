//! Layers read ahead: as many threads as there shall be take steps, and one of them applies what comes out, in order.
//!
//! ```text
//! blob ─► fetch ─► decode ─► check ─► apply ─► write ─► image
//! ```
//!
//! Each layer has a [`Lane`], through which it moves in pieces: *fetch* reads the blob and hashes it, *decode* undoes its
//! compression, *check* hashes the tar, and keeps it if that is wanted, and the thread that builds applies it. What the formatter
//! makes of that waits in [`Writes`] for *write*. A step takes one piece through one box, and belongs to one thread while it lasts,
//! so that each box sees its pieces in order, and no thread ever waits while there is something to do. The applier takes steps too
//! whenever its next piece is not ready, or too much waits to be written; without other threads it takes all of them.
//!
//! Memory is bounded by the pieces of a lane, the lanes that are open, the writes that wait, and
//! the [`windows`] of decoders. Which thread does what, and when, changes nothing of what the
//! applier sees, and nothing of the image.

mod behind;
mod decoding;
mod feed;
mod lane;
mod piece;
mod tar_check;
mod windows;
mod writes;

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::mem;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::LayerFailure;
use behind::Behind;
use ext4::Output;
use feed::End;
use lane::{Lane, Step};
use layer::Compression;
use layer::cancel::{Cancel, Cancellable};
use oci::{DigestError, Layer, Source};
use piece::{Piece, PieceReader, Pieces};
use writes::{Writes, Writing};

/// Most layers that are read at once.
const MAX_LANES: usize = 4;

/// Pieces for each open lane, 16 MiB, which one lane may use as well as another: where one waits for its decoder, the next can be
/// decoded further ahead.
const LANE_PIECES: usize = 64;

/// Where the image goes.
pub(super) type Disk<'a> = Cancellable<Box<dyn Output + Send + 'a>>;

/// The layers of an image on their way to whoever applies them.
pub(super) struct Pipeline<'a> {
    pub(super) source: &'a Source,
    pub(super) layers: &'a [Layer],
    cancel: &'a Cancel,
    thread_count: usize,
    lane_count: usize,
    state: Mutex<State<'a>>,
    /// Told when there may be what the applier waits for.
    for_applier: Condvar,
    /// Told when there may be something to do for one more worker: to wake them all at each step takes more than the step, if they are many.
    for_workers: Condvar,
}

struct State<'a> {
    lanes: Vec<Lane<'a>>,
    /// The layer that is being applied; those below are done.
    current: usize,
    /// Pieces to be used again.
    spare: Vec<Piece>,
    /// What was applied, and is not in the image yet.
    writes: Writes<Disk<'a>>,
    is_applier_waiting: bool,
    waiting_workers: usize,
    is_stopped: bool,
}

/// Who takes a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Keeps the decoders going, which all else depends on.
    Worker,
    /// Takes the step that is nearest to what it waits for, and none that waits for the bytes of another layer.
    Applier,
    /// The applier, which waits for what it has applied to be written.
    Writer,
}

/// A step, and what it is for.
enum Task<'a> {
    /// A layer, by its index.
    Lane(usize, Step<'a>),
    /// The image.
    Write(Writing<Disk<'a>>),
}

impl<'a> Pipeline<'a> {
    /// Prepares to read layers, from the first on, and to write to a disk, with so many threads, the one that applies the layers
    /// included.
    pub(super) fn new(
        source: &'a Source,
        layers: &'a [Layer],
        disk: Disk<'a>,
        thread_count: NonZeroUsize,
        cancel: &'a Cancel,
    ) -> Self {
        let lane_count = (thread_count.get() + 1).min(MAX_LANES).min(layers.len());
        Self {
            source,
            layers,
            cancel,
            // One each to fetch, to decode and to check is all that a lane can make use of; and one writes.
            thread_count: thread_count.get().min(2 + 3 * lane_count),
            lane_count,
            state: Mutex::new(State {
                lanes: lanes(source, layers, cancel),
                current: 0,
                spare: Vec::new(),
                writes: Writes::new(disk),
                is_applier_waiting: false,
                waiting_workers: 0,
                is_stopped: false,
            }),
            for_applier: Condvar::new(),
            for_workers: Condvar::new(),
        }
    }

    /// Has the other threads take steps while `apply` asks for one layer after the other, and writes. They end when it does,
    /// whatever it was that ended it.
    pub(super) fn run<T>(&self, apply: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let _stop = Stop(self);
            for number in 1..self.thread_count {
                let worker = thread::Builder::new().name(format!("layers-{number}"));
                // With fewer threads it takes longer, and with none too.
                if worker.spawn_scoped(scope, || self.work()).is_err() {
                    break;
                }
            }
            apply()
        })
    }

    /// Waits for a layer, which must be the one after the last that was asked for.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Source`] and [`LayerFailure::Decode`]; only after the latter, the layer has an [`Pipeline::end`].
    pub(super) fn open(&self, index: usize) -> Result<Tar<'_, 'a>, LayerFailure> {
        let mut state = self.lock();
        state.current = index;
        state.lanes[index].stay();
        self.wake(&state);
        drop(state);
        let compression = self.wait(Role::Applier, |state| state.lanes[index].opened.take())?;
        let pieces = Applied { pipeline: self, index };
        Ok(Tar {
            compression,
            reader: PieceReader::new(pieces),
        })
    }

    /// Waits for the end of the blob of a layer, without reading its tar any further.
    pub(super) fn end(&self, index: usize) -> End {
        let mut state = self.lock();
        let State { lanes, spare, .. } = &mut *state;
        lanes[index].skip(spare);
        drop(state);
        self.wait(Role::Applier, |state| state.lanes[index].end.take())
    }

    /// Where to write the image to; one thread at a time writes.
    pub(super) fn output(&self) -> Behind<'_, 'a> {
        Behind { pipeline: self }
    }

    /// Takes steps until there are no more.
    fn work(&self) {
        let mut state = self.lock();
        let mut was_woken = false;
        while !state.is_stopped {
            let Some(task) = self.next_task(&mut state, Role::Worker) else {
                was_woken = true;
                state = self.sleep(state, Role::Worker);
                continue;
            };
            // What one worker was woken for may be enough for two.
            if mem::take(&mut was_woken) {
                self.wake_worker(&state);
            }
            drop(state);
            state = self.take(task);
        }
    }

    /// Takes steps until there is what is waited for.
    fn wait<T>(&self, role: Role, mut find: impl FnMut(&mut State<'a>) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return found;
            }
            assert!(!state.is_stopped, "a thread that read layers has panicked");
            state = match self.next_task(&mut state, role) {
                Some(task) => {
                    drop(state);
                    self.take(task)
                }
                None => self.sleep(state, role),
            };
        }
    }

    fn next_task(&self, state: &mut State<'a>, role: Role) -> Option<Task<'a>> {
        let write = |state: &mut State<'a>| state.writes.next().map(Task::Write);
        let read = |state: &mut State<'a>| self.next_step(state, role).map(|(index, step)| Task::Lane(index, step));
        match role {
            Role::Writer => write(state).or_else(|| read(state)),
            Role::Worker | Role::Applier => read(state).or_else(|| write(state)),
        }
    }

    /// The most urgent step that there is: of the layer that is applied, and only then of those above it.
    fn next_step(&self, state: &mut State<'a>, role: Role) -> Option<(usize, Step<'a>)> {
        let State {
            lanes, current, spare, ..
        } = state;
        let open = *current..lanes.len().min(*current + self.lane_count);
        windows::grant(&mut lanes[open.clone()], spare);
        let used = lanes[open.clone()].iter().map(Lane::piece_count).sum();
        let mut free = (self.lane_count * LANE_PIECES).saturating_sub(used);
        for (index, lane) in open.clone().zip(&mut lanes[open]) {
            let may_begin = !lane.same_before || index == *current;
            let step = match role {
                _ if !may_begin => None,
                Role::Worker => lane
                    .next_decode(free, spare)
                    .or_else(|| lane.next_check())
                    .or_else(|| lane.next_fetch()),
                _ if index == *current || self.source.is_here(&self.layers[index]) => lane
                    .next_check()
                    .or_else(|| lane.next_fetch())
                    .or_else(|| lane.next_decode(free, spare)),
                _ => lane.next_check(),
            };
            if let Some(step) = step {
                return Some((index, step));
            }
            free = free.saturating_sub(lane.reserve());
        }
        None
    }

    fn take(&self, task: Task<'a>) -> MutexGuard<'_, State<'a>> {
        let state = match task {
            Task::Lane(index, step) => {
                let outcome = self.attempt(|| step.take());
                let mut state = self.lock();
                let State { lanes, spare, .. } = &mut *state;
                lanes[index].put(outcome, spare);
                state
            }
            Task::Write(writing) => {
                let written = self.attempt(|| writing.take());
                let mut state = self.lock();
                state.writes.put(written);
                state
            }
        };
        self.wake(&state);
        state
    }

    /// Does something without the state. If it panics, all other threads end too.
    fn attempt<T>(&self, act: impl FnOnce() -> T) -> T {
        let on_panic = Stop(self);
        let result = act();
        mem::forget(on_panic);
        result
    }

    fn sleep<'state>(&self, mut state: MutexGuard<'state, State<'a>>, role: Role) -> MutexGuard<'state, State<'a>> {
        if role == Role::Worker {
            state.waiting_workers += 1;
            state = self.for_workers.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting_workers -= 1;
        } else {
            state.is_applier_waiting = true;
            state = self.for_applier.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.is_applier_waiting = false;
        }
        state
    }

    /// Has the applier and a worker look again, if they wait: to find out that nobody does takes a system call otherwise.
    fn wake(&self, state: &State<'a>) {
        if state.is_applier_waiting {
            self.for_applier.notify_one();
        }
        self.wake_worker(state);
    }

    fn wake_worker(&self, state: &State<'a>) {
        if state.waiting_workers > 0 {
            self.for_workers.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane for each layer.
fn lanes<'a>(source: &'a Source, layers: &'a [Layer], cancel: &'a Cancel) -> Vec<Lane<'a>> {
    let mut seen = HashSet::new();
    let lane = |layer: &'a Layer| Lane::new(source, layer, !seen.insert(&layer.digest), cancel);
    layers.iter().map(lane).collect()
}

/// Ends the steps, and the waiting for bytes, when it is dropped.
struct Stop<'pipeline, 'a>(&'pipeline Pipeline<'a>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().is_stopped = true;
        self.0.source.abandon();
        self.0.for_applier.notify_all();
        self.0.for_workers.notify_all();
    }
}

/// The tar of a layer.
pub(super) struct Tar<'pipeline, 'a> {
    compression: Compression,
    reader: PieceReader<Applied<'pipeline, 'a>>,
}

impl Tar<'_, '_> {
    /// How the layer is compressed.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Its bytes.
    pub(super) fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    /// Holds what was read, which must be all of it, against the digest in the config.
    ///
    /// # Errors
    ///
    /// [`DigestError::DigestMismatch`].
    pub(super) fn finish(self) -> Result<(), DigestError> {
        let Applied { pipeline, index } = self.reader.into_pieces();
        let check = pipeline.lock().lanes[index].check.take();
        check.expect("nobody hashes a tar after its end").finish()
    }
}

/// The end of a lane, where its pieces are applied.
struct Applied<'pipeline, 'a> {
    pipeline: &'pipeline Pipeline<'a>,
    index: usize,
}

impl Pieces for Applied<'_, '_> {
    fn next(&mut self, read: Option<Piece>) -> io::Result<Option<Piece>> {
        // Few bytes of a blob can be gigabytes of zeros, for which nothing else is read or written.
        self.pipeline.cancel.check()?;
        if let Some(piece) = read {
            let mut state = self.pipeline.lock();
            state.lanes[self.index].recycled();
            state.spare.push(piece);
            self.pipeline.wake(&state);
        }
        self.pipeline
            .wait(Role::Applier, |state| state.lanes[self.index].next_piece())
    }
}
