//! Model test of the pipeline, by a model checker (shuttle).
//!
//! Blobs, decoders, checks and the output are replaced ([`fake`]); everything else is the real
//! pipeline. At each operation on a lock, the checker chooses which thread continues. Each run has
//! its own image, number of threads and schedule. A failure prints the schedule, which
//! `shuttle::replay` repeats. The checker also fails on a deadlock, when all remaining threads
//! wait.

mod fake;

use std::any::Any;
use std::io::{BufRead, Read};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ext4::Output;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::sync::Barrier;
use shuttle::{Config, Runner};

use super::Pipeline;
use super::chunk::{CHUNK_LEN, counted};
use super::read_ahead::{self, ReadAhead, ReadAheadReader};
use super::scheduler::{Role, Scheduler, Work};
use super::stages::LayerSource;
use fake::{FakeLayer, FakeOutput, FakeSource, Fault, Image, STAGES, Stage};
use layer::cancel::Cancelled;

/// Applies a layer: appends its tar to the output.
fn apply(
    image: &Image,
    pipeline: &Pipeline<'_, impl Output + Send>,
    layer: usize,
    offset: &mut u64,
) -> Result<(), String> {
    let mut tar = pipeline.open(layer).map_err(|error| error.to_string())?;
    let mut output = pipeline;
    let mut applied = Vec::new();
    for position in 0.. {
        let bytes = tar.reader().fill_buf().map_err(|error| error.to_string())?.to_vec();
        if bytes.is_empty() {
            break;
        }
        let visited = image.visit(Stage::Apply, layer, position);
        visited.map_err(|error| error.to_string())?;
        let len = bytes.len();
        tar.reader().consume(len);
        applied.extend_from_slice(&bytes);
        image.queued.fetch_add(1, Ordering::Relaxed);
        let written = output.write_parts(bytes, slice::from_ref(&(0..len)), *offset);
        written.map_err(|error| format!("write: {error}"))?;
        *offset += len as u64;
    }
    tar.finish().map_err(|error| error.to_string())?;
    assert_eq!(applied, image.tar(layer));
    Ok(())
}

/// Applies all layers in the way a build does. Then discards the first layer, and writes over it.
fn apply_all(image: &Image, pipeline: &Pipeline<'_, impl Output + Send>) -> Result<(), String> {
    let mut offset = 0;
    for layer in 0..image.layers.len() {
        let applied = apply(image, pipeline, layer, &mut offset);
        let is_final = |error: &String| error.starts_with("write") || *error == Cancelled.to_string();
        if applied.as_ref().is_err_and(is_final) {
            return applied;
        }
        let end = pipeline.finish_blob(layer);
        end.read.map_err(|error| error.to_string())?;
        end.verdict.map_err(|error| error.to_string())?;
        applied?;
    }
    let mut output = pipeline;
    let discarded = image.layers[0].len;
    let finish = |output: &mut &Pipeline<'_, _>| {
        if discarded > 0 {
            output.discard(0, discarded as u64)?;
            image.queued.fetch_add(1, Ordering::Relaxed);
            output.write_at(b"!", 0)?;
        }
        output.set_len(offset)
    };
    finish(&mut output).map_err(|error| format!("write: {error}"))
}

/// Builds an image, and checks the result, which must be the planned fault or the right bytes.
fn build(image: &Arc<Image>) {
    let source = FakeSource(Arc::clone(image));
    let mut output = FakeOutput {
        image: Arc::clone(image),
        bytes: Vec::new(),
        layer: 0,
        count: 0,
    };
    let threads = NonZeroUsize::new(image.thread_count).expect("the owner is a thread");
    let pipeline = Pipeline::new(&source, &mut output, threads, &image.cancel);
    let result = catch_unwind(AssertUnwindSafe(|| pipeline.run(|| apply_all(image, &pipeline))));
    drop(pipeline);
    let cancelled = image.cancel.is_cancelled();
    let reached = image.reached.load(Ordering::Relaxed);
    let plan = image.planned.as_ref().map(|plan| (plan.stage, plan.fault));
    match (plan, result) {
        (Some((stage, Fault::Panic)), Err(panic)) => {
            assert!(reached && panicked_in(&*panic) == Some(stage));
        }
        (Some((stage, Fault::Error)), Ok(Err(error))) => {
            let expected = match stage {
                Stage::Open => Cancelled.to_string(),
                Stage::Write => "write: Write".to_owned(),
                stage => format!("{stage:?}"),
            };
            assert!(reached && error == expected, "{error}");
        }
        (Some((_, Fault::Cancel)), Ok(Err(error))) => assert!(cancelled, "{error}"),
        // The cancellation may come too late to have an effect.
        (Some((_, Fault::Cancel)) | None, Ok(Ok(()))) => {
            assert_eq!(output.bytes, image.output());
        }
        (_, Err(panic)) => resume_unwind(panic),
        (plan, Ok(result)) => panic!("{plan:?} led to {result:?}"),
    }
}

/// Returns the stage of a planned panic, from its payload.
fn panicked_in(panic: &(dyn Any + Send)) -> Option<Stage> {
    panic.downcast_ref().copied()
}

/// Runs `act` under the model checker, in the schedules of `scheduler`.
fn explore(scheduler: impl shuttle::scheduler::Scheduler + 'static, act: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(act);
}

/// Builds images under the model checker, and checks that all chunks are freed.
fn check(scheduler: impl shuttle::scheduler::Scheduler + 'static, image: impl Fn() -> Image + Send + Sync + 'static) {
    explore(scheduler, move || {
        build(&Arc::new(image()));
        assert_eq!(counted::count(), 0);
    });
}

#[test]
fn tars_arrive_whole_and_in_order() {
    check(RandomScheduler::new(1000), || Image::random(None, 1));
    check(PctScheduler::new(3, 1000), || Image::random(None, 2));
}

/// Explores schedules of two threads for the smallest image systematically, up to a limit.
#[test]
fn the_smallest_image_builds_in_systematically_explored_schedules() {
    check(DfsScheduler::new(Some(5000), false), || {
        let layer = FakeLayer {
            len: 1,
            packed: None,
            local: true,
            repeated: false,
        };
        Image::new(vec![layer], 2)
    });
}

#[test]
fn panic_in_each_stage() {
    check_each_stage(Fault::Panic);
}

#[test]
fn error_in_each_stage() {
    check_each_stage(Fault::Error);
}

#[test]
fn cancellation_in_each_stage() {
    check_each_stage(Fault::Cancel);
}

fn check_each_stage(fault: Fault) {
    for stage in STAGES {
        check(RandomScheduler::new(300), move || {
            Image::random(Some((stage, fault)), 1)
        });
        check(PctScheduler::new(3, 300), move || {
            Image::random(Some((stage, fault)), 2)
        });
    }
}

/// Work whose jobs wait for each other at a barrier, so that each needs a worker of its own.
struct BarrierWork {
    waiting: usize,
    barrier: Arc<Barrier>,
}

impl Work for BarrierWork {
    type Job = Arc<Barrier>;
    type JobResult = ();

    fn next_job(&mut self, role: Role) -> Option<Arc<Barrier>> {
        self.waiting = self.waiting.checked_sub((role == Role::Worker).into())?;
        (role == Role::Worker).then(|| Arc::clone(&self.barrier))
    }

    fn run(job: Arc<Barrier>) {
        job.wait();
    }

    fn complete(&mut self, (): ()) {}
}

#[test]
fn one_change_wakes_a_worker_for_each_job() {
    const WORKERS: usize = 3;
    explore(RandomScheduler::new(500), || {
        let barrier = Arc::new(Barrier::new(WORKERS + 1));
        let scheduler = Scheduler::new(BarrierWork {
            waiting: 0,
            barrier: Arc::clone(&barrier),
        });
        let owner = || {
            scheduler.update(|work| work.waiting = WORKERS);
            barrier.wait();
        };
        scheduler.run(WORKERS + 1, || (), owner);
    });
}

#[test]
fn blob_is_read_ahead_up_to_the_limit() {
    explore(RandomScheduler::new(1), || {
        let layer = FakeLayer {
            len: 4 * read_ahead::MAX_WAITING * CHUNK_LEN,
            packed: None,
            local: true,
            repeated: false,
        };
        let source = FakeSource(Arc::new(Image::new(vec![layer], 1)));
        let blob = Arc::new(ReadAhead::new(source.open(0).unwrap()));
        for _ in 0..read_ahead::MAX_WAITING {
            assert!(blob.has_room());
            blob.fetch();
        }
        assert!(!blob.has_room());
        blob.fetch();
        assert_eq!(counted::count(), read_ahead::MAX_WAITING);
        let mut tar = Vec::new();
        let mut reader = ReadAheadReader::new(Arc::clone(&blob));
        reader.fill_buf().unwrap();
        assert!(blob.has_room());
        reader.read_to_end(&mut tar).unwrap();
        assert!(!blob.has_room());
        assert_eq!(tar, source.0.tar(0));
        assert!(blob.finish().verdict.is_ok());
    });
}
