//! Threads for requests.
//!
//! Tokio's own thread pool panics if the system refuses to start a thread (`ulimit -u`,
//! `pids.max`). So each thread is started here, where that is an error, and drives a runtime of its
//! own.

use std::future::Future;
use std::io;
use std::mem;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};

use super::RegistryError;

/// Threads for requests: one for requests that the caller waits for, and workers for downloads.
/// They can be used and dropped within an asynchronous runtime of the caller.
pub(super) struct Runtime {
    requests: RuntimeThread,
    workers: Arc<Workers>,
}

/// A thread that drives a runtime. Dropping it ends the thread.
struct RuntimeThread {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

/// Worker threads. Each runs one task at a time, which may block it.
struct Workers {
    max: usize,
    threads: Mutex<Vec<RuntimeThread>>,
    idle: Mutex<Vec<Handle>>,
    /// Permits equal to the length of `idle`.
    idle_count: Semaphore,
    /// Set once the request thread also serves as the only worker, because no worker thread could
    /// be started.
    fallback: Mutex<bool>,
}

/// A worker with a task. Dropping it makes the worker idle.
struct Worker {
    handle: Handle,
    workers: Arc<Workers>,
}

impl RuntimeThread {
    fn new(name: String) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name(name).spawn(move || {
            // Ends with an error when the sender is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }
}

impl Workers {
    /// Starts a thread for each task, up to the limit and where possible.
    fn start_threads(&self, task_count: usize, requests: &Handle) {
        let mut threads = lock(&self.threads);
        while threads.len() < self.max.min(task_count) {
            // Tasks also run on fewer threads, or on none: then they share the request thread.
            let Ok(thread) = RuntimeThread::new(format!("download-{}", threads.len() + 1)) else {
                break;
            };
            self.add_idle(thread.handle.clone());
            threads.push(thread);
        }
        if threads.is_empty() && !mem::replace(&mut *lock(&self.fallback), true) {
            self.add_idle(requests.clone());
        }
    }

    /// Waits for an idle worker.
    async fn wait_idle(workers: &Arc<Self>) -> Worker {
        // The semaphore is never closed. Each permit stands for a handle in `idle`.
        if let Ok(permit) = workers.idle_count.acquire().await {
            permit.forget();
        }
        let handle = lock(&workers.idle).pop();
        Worker {
            handle: handle.expect("each permit stands for a handle"),
            workers: Arc::clone(workers),
        }
    }

    fn add_idle(&self, idle: Handle) {
        lock(&self.idle).push(idle);
        self.idle_count.add_permits(1);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.workers.add_idle(self.handle.clone());
    }
}

impl Drop for Runtime {
    /// Ends the workers without waiting for their tasks. This is explicit, since tasks hold
    /// references to the workers.
    fn drop(&mut self) {
        lock(&self.workers.threads).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    /// Starts the thread for requests. Up to `max_workers` workers are started when tasks need
    /// them.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Runtime`] if the thread cannot be started.
    pub(super) fn new(max_workers: usize) -> Result<Self, RegistryError> {
        Ok(Self {
            requests: RuntimeThread::new("registry".to_owned()).map_err(RegistryError::Runtime)?,
            workers: Arc::new(Workers {
                max: max_workers,
                threads: Mutex::default(),
                idle: Mutex::default(),
                idle_count: Semaphore::new(0),
                fallback: Mutex::default(),
            }),
        })
    }

    /// Queues tasks, which start in this order, each when a worker is idle. A task may block its
    /// worker. If no worker can be started, tasks share the request thread.
    pub(super) fn queue<F>(&self, tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.workers.start_threads(tasks.len(), &self.requests.handle);
        let workers = Arc::clone(&self.workers);
        self.requests.handle.spawn(async move {
            for task in tasks {
                let worker = Workers::wait_idle(&workers).await;
                let handle = worker.handle.clone();
                handle.spawn(async move {
                    task.await;
                    drop(worker);
                });
            }
        });
    }

    /// Waits for a future. Waits on a new thread if the caller's thread belongs to a runtime, which
    /// does not allow a second one on its thread.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Runtime`] if the new thread cannot be started.
    pub(super) fn block_on<T: Send>(&self, run: impl AsyncFnOnce() -> T + Send) -> Result<T, RegistryError> {
        let handle = &self.requests.handle;
        if Handle::try_current().is_err() {
            return Ok(handle.block_on(run()));
        }
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("registry-wait".to_owned());
            let waiting = thread.spawn_scoped(scope, || handle.block_on(run()));
            let result = waiting.map_err(RegistryError::Runtime)?.join();
            Ok(result.unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn report(number: usize, reports: &Sender<(usize, String)>) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        reports.send((number, name)).expect("the test waits");
    }

    #[test]
    fn blocked_task_does_not_stop_other_tasks() {
        let runtime = Runtime::new(2).unwrap();
        let (reports, reported) = channel();
        let (release, released) = channel::<()>();
        let mut released = Some(released);
        let tasks = (0..5).map(|number| {
            let (reports, released) = (reports.clone(), released.take());
            async move {
                if let Some(released) = released {
                    released.recv_timeout(LONG).expect("it is released");
                }
                report(number, &reports);
            }
        });
        runtime.queue(tasks.collect());
        for expected in 1..5 {
            let (number, name) = reported.recv_timeout(LONG).unwrap();
            assert_eq!(number, expected);
            assert!(name.starts_with("download-"), "{name}");
        }
        release.send(()).unwrap();
        assert_eq!(reported.recv_timeout(LONG).unwrap().0, 0);
    }

    #[test]
    fn without_workers_tasks_run_on_the_thread_of_requests() {
        let runtime = Runtime::new(0).unwrap();
        let (reports, reported) = channel();
        for number in 0..3 {
            let reports = reports.clone();
            runtime.queue(vec![async move { report(number, &reports) }]);
            let expected = (number, "registry".to_owned());
            assert_eq!(reported.recv_timeout(LONG).unwrap(), expected);
        }
    }

    #[test]
    fn dropping_the_runtime_drops_its_tasks() {
        let runtime = Runtime::new(1).unwrap();
        let (reports, reported) = channel::<()>();
        let tasks = (0..2).map(|_| {
            let reports = reports.clone();
            async move {
                std::future::pending::<()>().await;
                drop(reports);
            }
        });
        runtime.queue(tasks.collect());
        drop((reports, runtime));
        let end = reported.recv_timeout(LONG).unwrap_err();
        assert_eq!(end, std::sync::mpsc::RecvTimeoutError::Disconnected);
    }
}
