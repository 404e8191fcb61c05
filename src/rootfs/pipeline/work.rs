//! The work of a build: the jobs of all layers and of the output, by urgency.
//!
//! Layers are applied in order, so a job for the layer that is applied is more urgent than one for
//! a layer above it. Within a layer, a worker decodes first, since all later stages depend on that.
//! The owner takes the job nearest to what it waits for: check, then fetch, then decode.
//!
//! # Memory
//!
//! At most `OPEN` layers are open, up to [`MAX_OPEN_LAYERS`](super::MAX_OPEN_LAYERS).
//!
//! | memory | limit |
//! |---|---|
//! | chunks of tars | `OPEN` × [`CHUNKS_PER_LAYER`] × `CHUNK_LEN` = 64 MiB, and one of a skipped tar |
//! | chunks of blobs | `OPEN` × (`read_ahead::MAX_WAITING` + 1) × `CHUNK_LEN` = 9 MiB |
//! | windows of decoders | `WINDOW_SHARES` × `WINDOW_SHARE` = 512 MiB |
//! | buffers of writes | `write_behind::MAX_WAITING`, one in a job, and the formatter's: 2.5 MiB |
//! | ranges to discard | 16 bytes each, without a limit on their number |
//!
//! While a job fetches the blob of a layer that restarts, the layer can have twice its chunks of
//! the blob, until that job is complete. Spare chunks and buffers are included: their number is
//! never larger than the number that was in use at once.
//!
//! # Progress
//!
//! [`Work::next_job`] must return a job while the owner waits and no job runs. It does, for
//! each thing that the owner waits for:
//!
//! 1. *The layer is open*, or *its blob has ended*: every stage is in the task, so it can decode.
//!    To open a layer takes a free chunk, see 4. A skipped layer needs none.
//! 2. *A chunk of the tar*: a decoded chunk can be checked. If no chunk is decoded, the layer has
//!    no chunks at all, and can decode if it has a free chunk (4) and its window (3).
//! 3. *Its window*: layers above it return their windows at once, since no job has a stage of
//!    theirs.
//! 4. *A free chunk*: the layer that is applied has `RESERVE` chunks, or finds a free one. A layer
//!    takes a chunk only if enough chunks remain free for each lower layer, whose tar goes on, to
//!    reach `RESERVE`. So of `T` chunks in all, the layers above `n` such layers have at most
//!    `T` - `n` × `RESERVE`. That stays true when a layer ends, restarts or takes a chunk.
//! 5. *Room for a write*, or *the output*: no job has the output, so the next request can be
//!    performed.

use ext4::Output;

use super::chunk::Chunk;
use super::layer_task::{LayerJob, LayerJobResult, LayerTask};
use super::scheduler::{Role, Work};
use super::stages::LayerSource;
use super::windows::WINDOW_SHARES;
use super::write_behind::{InFlight, WriteBehind};

/// Number of chunks for each open layer: 16 MiB. Another layer may use them too: while one waits
/// for its decoder, the next is decoded further ahead.
pub(super) const CHUNKS_PER_LAYER: usize = if cfg!(test) { 2 } else { 64 };

/// The work of a build: the layers of the image, and the writes to the output.
pub(super) struct BuildWork<'a, O> {
    source: &'a dyn LayerSource,
    tasks: Vec<LayerTask<'a>>,
    /// Index of the layer that is applied. Those below are done.
    current: usize,
    /// Limit on open layers.
    max_open: usize,
    /// Chunks for reuse.
    spare: Vec<Chunk>,
    pub(super) writes: WriteBehind<O>,
}

/// A job of a build.
pub(super) enum Job<'a, O> {
    /// A job of the layer with this index.
    Layer(usize, LayerJob<'a>),
    Write(InFlight<O>),
}

/// The result of a job.
pub(super) enum JobResult<'a, O> {
    Layer(usize, LayerJobResult<'a>),
    Write(InFlight<O>),
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

    /// Makes a layer the one that is applied.
    pub(super) fn begin_layer(&mut self, index: usize) {
        self.current = index;
        self.tasks[index].cancel_restart();
    }

    /// Drops the chunks of a layer's tar, and those that follow.
    pub(super) fn skip_tar(&mut self, index: usize) {
        self.tasks[index].skip_tar(&mut self.spare);
    }

    /// Takes back a chunk that the owner has applied.
    pub(super) fn recycle(&mut self, index: usize, chunk: Chunk) {
        self.tasks[index].return_chunk();
        self.spare.push(chunk);
    }

    /// Takes the most urgent job of the open layers. Jobs of the layer that is being applied come
    /// first, then those of the layers above it, in order.
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
            // A layer with the blob of a lower layer starts only when it is applied, so that an
            // error of the source is reported for the lower one.
            let may_start = is_current || !source.is_repeated(index);
            let job = match role {
                _ if !may_start => None,
                Role::Worker => task
                    .next_decode(free, spare)
                    .or_else(|| task.next_check())
                    .or_else(|| task.next_fetch()),
                // The owner runs no job that could wait for the download of another layer.
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
        let write = |work: &mut Self| work.writes.next_request().map(Job::Write);
        match role {
            Role::Producer => write(self).or_else(|| self.next_layer_job(role)),
            Role::Worker | Role::Consumer => self.next_layer_job(role).or_else(|| write(self)),
        }
    }

    fn run(job: Job<'a, O>) -> JobResult<'a, O> {
        match job {
            Job::Layer(index, job) => JobResult::Layer(index, job.run()),
            Job::Write(write) => JobResult::Write(write.run()),
        }
    }

    fn complete(&mut self, result: JobResult<'a, O>) {
        match result {
            JobResult::Layer(index, result) => self.tasks[index].complete(result, &mut self.spare),
            JobResult::Write(write) => self.writes.complete(write),
        }
    }
}

/// Grants shares of window memory to open layers, the first of which is applied. See
/// [`windows`](super::windows) for the rules.
fn grant_windows(open: &mut [LayerTask<'_>], spare: &mut Vec<Chunk>) {
    let held = |tasks: &[LayerTask<'_>]| tasks.iter().map(|task| task.claim.held).sum::<usize>();
    let Some(missing) = open.first().map(|current| current.claim.missing()) else {
        return;
    };
    if missing > 0 {
        // Restarting layers return their shares.
        let mut kept = held(open);
        kept -= open
            .iter()
            .filter(|task| task.is_restarting())
            .map(|task| task.claim.held)
            .sum::<usize>();
        for task in open[1..].iter_mut().rev() {
            if WINDOW_SHARES - kept >= missing {
                break;
            }
            if !task.is_restarting() {
                kept -= task.claim.held;
                task.restart(spare);
            }
        }
        if WINDOW_SHARES - held(open) < missing {
            return;
        }
        open[0].claim.held = open[0].claim.requested;
    }
    let mut free = WINDOW_SHARES - held(open);
    for claim in open.iter_mut().map(|task| &mut task.claim) {
        if claim.held == 0 && claim.requested == 1 && free > 0 {
            claim.held = 1;
            free -= 1;
        }
    }
}
