//! Runs jobs on a pool of threads. Knows nothing about what the jobs do.
//!
//! [`Work`] has what remains to do, chooses the most urgent job, and limits what is queued. It is a
//! trait so that the rules of this file fit on a page, and a model checker can explore them with
//! other work. The *owner* is the thread that called [`Scheduler::run`]; the others are *workers*.
//! A thread takes a job out of the work, runs it without the lock, and puts the result back:
//!
//! ```text
//!              ┌───────────── complete, wake ◄──────────┐
//!              ▼                                        │
//!            Work ── next_job ──► job, owned by one thread, runs without the lock
//!              │
//!              └── no job ──► park ── notified ──► look for a job again
//! ```
//!
//! # Invariants
//!
//! 1. The work is read and changed only under the lock. No job runs under the lock. Parking
//!    releases it.
//! 2. A job owns what it works on, and the work is without it until the job is complete. So no two
//!    threads work on the same thing.
//! 3. `running` is the number of jobs that were taken and are not complete.
//! 4. A change that may make a job possible, or provide what the owner waits for, is followed by
//!    [`Scheduler::wake`] before the lock is released. Only [`Scheduler::run_job`] and
//!    [`Scheduler::update`] make such changes.
//! 5. A thread parks only after it looked for a job and found none, without releasing the lock in
//!    between. The owner has also looked for what it waits for.
//! 6. The owner parks only while a job runs. [`Work`] is responsible for that, and
//!    [`Scheduler::park_owner`] asserts it.
//! 7. A job ends. It may wait for devices and for a job that another
//!    thread runs, but never for a job that no thread has taken.
//! 8. `stopped` is set once and never cleared. After that, no thread starts a job or parks.
//!
//! # No lost wake-up
//!
//! A change is made either before a thread looks for a job, and then the thread sees it, or after
//! the thread has parked, since it holds the lock in between (5), and then it is notified (4).
//!
//! A notification wakes one worker, although a change may make several jobs possible. So a worker
//! that was woken and finds a job wakes the next worker before it runs the job. The chain ends at a
//! worker that finds no job. To wake all workers at each change would cost more than a job.
//!
//! A worker that was notified and does not run yet counts as parked. A second notification may
//! therefore reach no other worker, but the first worker only looks for a job after the second
//! change, so it sees both.
//!
//! # Progress
//!
//! While the owner is parked, a job runs (6). The job ends (7), and its completion wakes the owner
//! (4). An owner without workers finds `running` at zero whenever it looks; so it never parks, and
//! runs every job itself. Workers wait for the lock, for jobs, and for the stop, which the owner
//! causes when its function returns.
//!
//! # Stop
//!
//! The scheduler stops when the owner's function returns, or when any thread panics: in a job, in
//! [`Work`], or in the owner's function. [`Scheduler::stop`] wakes all threads. Workers return,
//! and an owner that waits panics. When all threads have ended, [`Scheduler::run`] resumes the
//! first panic, if one occurred. A panic may leave the work in any state. Threads may still
//! complete jobs or update it, but only the first panic is kept, so a poisoned lock is ignored.
//! Errors and cancellations are results of jobs, and do not stop the scheduler.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard, scope, spawn};

/// Work that a scheduler divides into jobs.
pub(super) trait Work {
    /// A part of the work that one thread runs without the lock.
    type Job;
    /// Result of a job.
    type JobResult;

    /// Takes the most urgent job for a role; `None` if no job is possible now.
    ///
    /// Must return a job for the owner's role while no job runs and the owner waits.
    fn next_job(&mut self, role: Role) -> Option<Self::Job>;

    /// Runs a job.
    fn run(job: Self::Job) -> Self::JobResult;

    /// Takes back what a job owned, with its result.
    fn complete(&mut self, result: Self::JobResult);
}

/// Role of a thread that looks for a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A worker.
    Worker,
    /// The owner, while it waits for a result of jobs.
    Consumer,
    /// The owner, while it waits until jobs have processed what it queued.
    Producer,
}

/// Work, and the threads that run its jobs.
pub(super) struct Scheduler<W> {
    state: Mutex<State<W>>,
    /// Notified when the owner may find what it waits for, or a job.
    for_owner: Condvar,
    /// Notified when one more worker may find a job.
    for_workers: Condvar,
}

struct State<W> {
    work: W,
    /// Number of jobs that were taken and are not complete.
    running: usize,
    owner_parked: bool,
    parked_workers: usize,
    stopped: bool,
    /// Payload of the first panic.
    panic: Option<Box<dyn Any + Send>>,
}

impl<W: Work> State<W> {
    fn next_job(&mut self, role: Role) -> Option<W::Job> {
        let job = self.work.next_job(role)?;
        self.running += 1;
        Some(job)
    }
}

impl<W: Work + Send> Scheduler<W> {
    pub(super) fn new(work: W) -> Self {
        Self {
            state: Mutex::new(State {
                work,
                running: 0,
                owner_parked: false,
                parked_workers: 0,
                stopped: false,
                panic: None,
            }),
            for_owner: Condvar::new(),
            for_workers: Condvar::new(),
        }
    }

    /// Runs `owner` on this thread while workers run jobs, on `threads` threads in all, and stops
    /// the workers when `owner` returns. `on_stop` must end the waits of jobs; it may be called
    /// more than once.
    pub(super) fn run<T>(&self, threads: usize, on_stop: impl Fn() + Sync, owner: impl FnOnce() -> T) -> T {
        let on_stop = &on_stop;
        let result = scope(|scope| {
            for number in 1..threads {
                // If the system allows no more threads, the build continues with fewer, or with the
                // owner alone.
                if !spawn(scope, format!("layers-{number}"), move || {
                    self.run_then_stop(on_stop, || self.run_jobs());
                }) {
                    break;
                }
            }
            self.run_then_stop(on_stop, owner)
        });
        let panic = self.lock().panic.take();
        match (panic, result) {
            (None, Some(result)) => result,
            (Some(panic), _) => resume_unwind(panic),
            (None, None) => unreachable!("a function that returned no result has panicked"),
        }
    }

    /// Waits as the owner until `find` returns a value, and runs jobs meanwhile. `find` may take
    /// the value out of the work, if taking it does not make a new job possible.
    ///
    /// # Panics
    ///
    /// If a worker has panicked.
    pub(super) fn wait<T>(&self, role: Role, mut find: impl FnMut(&mut W) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            if state.stopped {
                drop(state);
                // `run` resumes the panic of the worker, not this one.
                resume_unwind(Box::new("a worker has panicked"));
            }
            if let Some(found) = find(&mut state.work) {
                return found;
            }
            state = match state.next_job(role) {
                Some(job) => {
                    drop(state);
                    self.run_job(job)
                }
                None => self.park_owner(state),
            };
        }
    }

    /// Changes the work, as the owner.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut W) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.work);
        self.wake(&state);
        result
    }

    /// Runs jobs as a worker, until the scheduler stops.
    fn run_jobs(&self) {
        let mut state = self.lock();
        let mut was_woken = false;
        while !state.stopped {
            let Some(job) = state.next_job(Role::Worker) else {
                state = self.park_worker(state);
                was_woken = true;
                continue;
            };
            if mem::take(&mut was_woken) {
                self.wake_worker(&state);
            }
            drop(state);
            state = self.run_job(job);
        }
    }

    /// Runs a job and completes it. Returns with the lock held.
    fn run_job(&self, job: W::Job) -> MutexGuard<'_, State<W>> {
        let result = W::run(job);
        let mut state = self.lock();
        state.running -= 1;
        state.work.complete(result);
        self.wake(&state);
        state
    }

    fn park_worker<'s>(&self, mut state: MutexGuard<'s, State<W>>) -> MutexGuard<'s, State<W>> {
        state.parked_workers += 1;
        let mut state = self.for_workers.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.parked_workers -= 1;
        state
    }

    fn park_owner<'s>(&self, mut state: MutexGuard<'s, State<W>>) -> MutexGuard<'s, State<W>> {
        assert!(state.running > 0, "the owner waits, but no job runs");
        state.owner_parked = true;
        let mut state = self.for_owner.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.owner_parked = false;
        state
    }

    /// Wakes the owner and one worker, if they are parked. A notification without a waiter would
    /// cost a system call too.
    fn wake(&self, state: &State<W>) {
        if state.owner_parked {
            self.for_owner.notify_one();
        }
        self.wake_worker(state);
    }

    fn wake_worker(&self, state: &State<W>) {
        if state.parked_workers > 0 {
            self.for_workers.notify_one();
        }
    }

    /// Runs the function of a thread, and stops all threads when it ends. Returns `None` if it
    /// panicked.
    fn run_then_stop<T>(&self, on_stop: impl Fn(), act: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(act));
        let (result, panic) = match result {
            Ok(result) => (Some(result), None),
            Err(panic) => (None, Some(panic)),
        };
        self.stop(panic);
        on_stop();
        result
    }

    /// Stops all threads, and keeps the first panic.
    fn stop(&self, panic: Option<Box<dyn Any + Send>>) {
        let mut state = self.lock();
        state.stopped = true;
        state.panic = state.panic.take().or(panic);
        self.for_owner.notify_all();
        self.for_workers.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
