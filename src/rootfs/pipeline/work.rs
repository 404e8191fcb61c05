//! The work of a build, and which of it is the most urgent.
//!
//! Layers are applied in order, so what serves the layer that is applied comes before what serves
//! those above it. Of one layer, a worker decodes first, since everything else depends on that; the
//! owner takes what is nearest to what it waits for.
//!
//! # What bounds memory
//!
//! `OPEN` layers are open, up to [`MAX_OPEN`](super::MAX_OPEN).
//!
//! | what | at most |
//! |---|---|
//! | chunks of tars | `OPEN` × [`CHUNKS_PER_LAYER`] × `CHUNK_LEN` = 64 MiB, and a skipped one |
//! | chunks of blobs | `OPEN` × (`read_ahead::MAX_WAITING` + 1) × `CHUNK_LEN` = 9 MiB |
//! | windows of decoders | `WINDOW_SHARES` × `WINDOW_SHARE` = 512 MiB |
//! | buffers of writes | `write_behind::MAX_WAITING`, one in a job, and the formatter's: 2.5 MiB |
//! | discards | 16 bytes each |
//!
//! A layer that begins again while a job fetches its blob has those chunks twice, until that job is
//! complete. Buffers that wait to be used again count: there are never more than were in use at
//! once.
//!
//! # Why the owner is never stuck
//!
//! While no job runs, there is one for what the owner waits for, as [`Work::next_job`] demands:
//!
//! - *The layer is open*, or *its blob ends*: all stages are in the task, so it can decode. To open
//!   takes a free chunk, see below. A skipped layer needs none.
//! - *A chunk of the tar*: a chunk that is decoded can be checked. If there is none, the layer has
//!   no chunks, and can decode if there is a free chunk and the window that it needs. Layers above
//!   it give their windows back at once, since no job has a stage of theirs.
//! - *Room for a write*, or *the output*: the output is there, so the next request can be
//!   performed.
//!
//! The layer that is applied finds a free chunk unless it has `RESERVE` of its own. A layer takes
//! one only if that leaves to each lower one, whose tar goes on, what that lacks of its reserve. So
//! of all `T` chunks, `T` - `n` × `RESERVE` at most are in the layers above `n` such layers. A
//! layer that ends, begins again or takes a chunk leaves that as it is.

use ext4::Output;

use super::chunk::Chunk;
use super::layer_task::{LayerJob, LayerJobResult, LayerTask};
use super::scheduler::{Role, Work};
use super::stages::LayerSource;
use super::windows::WINDOW_SHARES;
use super::write_behind::{InFlight, WriteBehind};

/// Chunks for each open layer, 16 MiB, which another layer may use as well: where one waits for its
/// decoder, the next can be decoded further ahead.
pub(super) const CHUNKS_PER_LAYER: usize = if cfg!(test) { 2 } else { 64 };

/// The layers of an image, and what was applied and is not written yet.
pub(super) struct BuildWork<'a, O> {
    source: &'a dyn LayerSource,
    tasks: Vec<LayerTask<'a>>,
    /// The layer that is being applied; those below are done.
    current: usize,
    /// Number of layers that are read at once.
    max_open: usize,
    /// Chunks to be used again.
    spare: Vec<Chunk>,
    pub(super) writes: WriteBehind<O>,
}

/// A job, and where its result belongs.
pub(super) enum Job<'a, O> {
    /// Of a layer, by index.
    Layer(usize, LayerJob<'a>),
    Write(InFlight<O>),
}

/// A job that was run.
pub(super) enum JobResult<'a, O> {
    Layer(usize, LayerJobResult<'a>),
    Written(InFlight<O>),
}

impl<'a, O: Output> BuildWork<'a, O> {
    pub(super) fn new(source: &'a dyn LayerSource, max_open: usize, output: O) -> Self {
        Self {
            source,
            tasks: (0..source.count()).map(|index| LayerTask::new(source, index)).collect(),
            current: 0,
            max_open,
            spare: Vec::new(),
            writes: WriteBehind::new(output),
        }
    }

    pub(super) fn task(&mut self, index: usize) -> &mut LayerTask<'a> {
        &mut self.tasks[index]
    }

    /// Notes that the turn of a layer has come.
    pub(super) fn begin(&mut self, index: usize) {
        self.current = index;
        self.tasks[index].hold();
    }

    /// Drops what there is of the tar of a layer, and the rest when it comes.
    pub(super) fn skip_tar(&mut self, index: usize) {
        self.tasks[index].skip_tar(&mut self.spare);
    }

    /// Takes back a chunk that was applied.
    pub(super) fn recycle(&mut self, index: usize, chunk: Chunk) {
        self.tasks[index].recycled();
        self.spare.push(chunk);
    }

    /// Takes the most urgent job of a layer: of the one that is applied, and only then of those
    /// above it.
    fn next_layer_job(&mut self, role: Role) -> Option<Job<'a, O>> {
        let Self {
            source,
            tasks,
            current,
            spare,
            ..
        } = self;
        let open = *current..tasks.len().min(*current + self.max_open);
        grant_windows(&mut tasks[open.clone()], spare);
        let used = tasks[open.clone()].iter().map(LayerTask::chunk_count).sum();
        let mut free = (self.max_open * CHUNKS_PER_LAYER).saturating_sub(used);
        for (index, task) in open.clone().zip(&mut tasks[open]) {
            let is_current = index == *current;
            // Why there is no blob is for the lower layer to say.
            let may_begin = is_current || !source.is_repeated(index);
            let job = match role {
                _ if !may_begin => None,
                Role::Worker => task
                    .next_decode(free, spare)
                    .or_else(|| task.next_check())
                    .or_else(|| task.next_fetch()),
                // The owner does nothing that waits for the bytes of another layer.
                Role::Consumer | Role::Producer if is_current || source.is_local(index) => task
                    .next_check()
                    .or_else(|| task.next_fetch())
                    .or_else(|| task.next_decode(free, spare)),
                Role::Consumer | Role::Producer => task.next_check(),
            };
            if let Some(job) = job {
                return Some(Job::Layer(index, job));
            }
            free = free.saturating_sub(task.reserve());
        }
        None
    }
}

impl<'a, O: Output> Work for BuildWork<'a, O> {
    type Job = Job<'a, O>;
    type JobResult = JobResult<'a, O>;

    fn next_job(&mut self, role: Role) -> Option<Job<'a, O>> {
        let write = |work: &mut Self| work.writes.next().map(Job::Write);
        match role {
            Role::Producer => write(self).or_else(|| self.next_layer_job(role)),
            Role::Worker | Role::Consumer => self.next_layer_job(role).or_else(|| write(self)),
        }
    }

    fn run(job: Job<'a, O>) -> JobResult<'a, O> {
        match job {
            Job::Layer(index, job) => JobResult::Layer(index, job.run()),
            Job::Write(write) => JobResult::Written(write.run()),
        }
    }

    fn complete(&mut self, result: JobResult<'a, O>) {
        match result {
            JobResult::Layer(index, result) => self.tasks[index].complete(result, &mut self.spare),
            JobResult::Written(write) => self.writes.complete(write),
        }
    }
}

/// Grants what open layers claim, of which the first is the one that is applied.
fn grant_windows(open: &mut [LayerTask<'_>], spare: &mut Vec<Chunk>) {
    let held = |tasks: &[LayerTask<'_>]| tasks.iter().map(|task| task.claim.held).sum::<usize>();
    let Some(lacking) = open.first().map(|current| current.claim.lacking()) else {
        return;
    };
    if lacking > 0 {
        // Layers that begin again give theirs back.
        let mut kept = held(open);
        kept -= open
            .iter()
            .filter(|task| task.is_restarting())
            .map(|task| task.claim.held)
            .sum::<usize>();
        for task in open[1..].iter_mut().rev() {
            if WINDOW_SHARES - kept >= lacking {
                break;
            }
            if !task.is_restarting() {
                kept -= task.claim.held;
                task.restart(spare);
            }
        }
        if WINDOW_SHARES - held(open) < lacking {
            return;
        }
        open[0].claim.held = open[0].claim.wanted;
    }
    let mut free = WINDOW_SHARES - held(open);
    for claim in open.iter_mut().map(|task| &mut task.claim) {
        if claim.held == 0 && claim.wanted == 1 && free > 0 {
            claim.held = 1;
            free -= 1;
        }
    }
}
