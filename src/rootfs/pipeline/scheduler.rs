//! A scheduler of jobs for a pool of threads, which knows nothing of what the jobs do.
//!
//! [`Work`] holds what there is to do, says which job is the most urgent, and bounds what waits.
//! The *owner* is the thread that called [`Scheduler::run`]; the others are *workers*. A thread
//! takes a job out of the work, runs it without the lock, and puts its result back:
//!
//! ```text
//!                ┌──────────── complete, wake ◄───────────┐
//!                ▼                                        │
//!   Work ── next_job ──► job, owned by one thread ──► its result
//!     │
//!     └── no job ──► sleep ── notified ──► look again
//! ```
//!
//! # Invariants
//!
//! 1. The work is read and changed under the lock. No job runs under it, and no thread that holds
//!    it sleeps or waits for a job.
//! 2. A job owns what it works with, and the work lacks that until the job is complete. So nothing
//!    is worked with by two threads at once.
//! 3. `running` is the number of jobs that were taken and are not complete.
//! 4. Each change that may make a job possible, or give the owner what it waits for, is followed by
//!    [`Scheduler::wake`] before the lock is released. Only [`Scheduler::run_job`] and
//!    [`Scheduler::update`] make such changes.
//! 5. A thread sleeps only after it looked for a job and found none, under the same hold of the
//!    lock. The owner looked for what it waits for as well.
//! 6. The owner sleeps only while a job runs. It is [`Work`] that must keep this, and
//!    [`Scheduler::sleep_as_owner`] asserts it.
//! 7. A job ends, whatever other threads do: it waits for devices, and at most for a job that
//!    another thread runs, but never for one that nobody has taken.
//! 8. `stopped` is set once and stays. After that, no thread begins a job or sleeps.
//!
//! # No wake-up is lost
//!
//! A change comes either before a thread looks, which then sees it, or after the thread sleeps,
//! since it holds the lock in between (5); then it is notified (4). One notification wakes one
//! worker, though a change may make several jobs possible. So a worker that was woken, and finds a
//! job, wakes the next one before it runs the job. The chain ends where a worker finds no job. To
//! wake all of them at each change would cost more than a job. A worker that was notified and does
//! not run yet counts as one that sleeps. A second notification may pass by it, but it will look
//! after the second change too.
//!
//! # It always goes on
//!
//! When the owner sleeps, a job runs (6) and ends (7), and its completion wakes the owner (4). The
//! owner alone, without workers, finds `running` at zero whenever it looks. So it never sleeps, and
//! does every job itself. Workers wait for nothing but the lock, jobs and the stop, which the owner
//! brings about when it ends.
//!
//! # How it ends
//!
//! The owner's function returns, or any thread panics: in a job, in [`Work`], or in the owner's
//! function. Either leads to [`Scheduler::stop`], which wakes all. Workers return, and an owner
//! that waits panics. Once all threads have ended, [`Scheduler::run`] goes on with the first panic,
//! if there was one. A panic may leave the work in any state, and nobody looks at it again (8); so
//! poison of the lock says nothing new. Errors and cancellation are results of jobs like others.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard, scope, spawn};

/// Work that a scheduler hands out.
pub(super) trait Work {
    /// Something to do without the lock.
    type Job;
    /// Result of a job.
    type JobResult;

    /// Takes the most urgent job for a role, if there is one.
    ///
    /// While no job runs and the owner lacks what it waits for, there must be one for its role.
    fn next_job(&mut self, role: Role) -> Option<Self::Job>;

    /// Does a job.
    fn run(job: Self::Job) -> Self::JobResult;

    /// Takes back what a job owned, and what it made.
    fn complete(&mut self, result: Self::JobResult);
}

/// Thread that asks for a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A worker.
    Worker,
    /// The owner, which waits for what jobs make.
    Consumer,
    /// The owner, which waits until jobs have taken what it made.
    Producer,
}

/// Work, and the threads that do it.
pub(super) struct Scheduler<W> {
    state: Mutex<State<W>>,
    /// Notified when there may be what the owner waits for.
    for_owner: Condvar,
    /// Notified when there may be a job for one more worker.
    for_workers: Condvar,
}

struct State<W> {
    work: W,
    /// Jobs that were taken and are not complete.
    running: usize,
    owner_sleeps: bool,
    sleeping_workers: usize,
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
                owner_sleeps: false,
                sleeping_workers: 0,
                stopped: false,
                panic: None,
            }),
            for_owner: Condvar::new(),
            for_workers: Condvar::new(),
        }
    }

    /// Runs `owner` on this thread while workers do jobs, `threads` in all, and stops when it ends.
    /// `on_stop` ends what jobs wait for, and may be called more than once.
    pub(super) fn run<T>(&self, threads: usize, on_stop: impl Fn() + Sync, owner: impl FnOnce() -> T) -> T {
        let on_stop = &on_stop;
        let result = scope(|scope| {
            for number in 1..threads {
                // With fewer threads it takes longer, and with none too.
                if !spawn(scope, format!("layers-{number}"), move || {
                    self.until_stopped(on_stop, || self.work());
                }) {
                    break;
                }
            }
            self.until_stopped(on_stop, owner)
        });
        let panic = self.lock().panic.take();
        match (panic, result) {
            (None, Some(result)) => result,
            (Some(panic), _) => resume_unwind(panic),
            (None, None) => unreachable!("a function that does not return leaves its panic"),
        }
    }

    /// Waits as the owner until `find` returns something, and does jobs meanwhile. `find` may take
    /// that out of the work, which makes no job possible.
    ///
    /// # Panics
    ///
    /// If a worker has panicked.
    pub(super) fn wait<T>(&self, role: Role, mut find: impl FnMut(&mut W) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            if state.stopped {
                drop(state);
                // Whose panic is reported is the worker's.
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
                None => self.sleep_as_owner(state),
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

    /// Does jobs until the scheduler stops.
    fn work(&self) {
        let mut state = self.lock();
        let mut was_woken = false;
        while !state.stopped {
            let Some(job) = state.next_job(Role::Worker) else {
                state = self.sleep_as_worker(state);
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

    /// Runs a job, and returns with the lock.
    fn run_job(&self, job: W::Job) -> MutexGuard<'_, State<W>> {
        let result = W::run(job);
        let mut state = self.lock();
        state.running -= 1;
        state.work.complete(result);
        self.wake(&state);
        state
    }

    fn sleep_as_worker<'s>(&self, mut state: MutexGuard<'s, State<W>>) -> MutexGuard<'s, State<W>> {
        state.sleeping_workers += 1;
        let mut state = self.for_workers.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.sleeping_workers -= 1;
        state
    }

    fn sleep_as_owner<'s>(&self, mut state: MutexGuard<'s, State<W>>) -> MutexGuard<'s, State<W>> {
        assert!(state.running > 0, "nobody does what the owner waits for");
        state.owner_sleeps = true;
        let mut state = self.for_owner.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.owner_sleeps = false;
        state
    }

    /// Has the owner and a worker look again, if they sleep: a notification that nobody waits for
    /// takes a system call too.
    fn wake(&self, state: &State<W>) {
        if state.owner_sleeps {
            self.for_owner.notify_one();
        }
        self.wake_worker(state);
    }

    fn wake_worker(&self, state: &State<W>) {
        if state.sleeping_workers > 0 {
            self.for_workers.notify_one();
        }
    }

    /// Calls what a thread has to do, and stops all threads when that ends. Returns `None` if it
    /// panicked.
    fn until_stopped<T>(&self, on_stop: impl Fn(), act: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(act));
        let (result, panic) = match result {
            Ok(result) => (Some(result), None),
            Err(panic) => (None, Some(panic)),
        };
        self.stop(panic);
        on_stop();
        result
    }

    /// Has all threads end.
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
