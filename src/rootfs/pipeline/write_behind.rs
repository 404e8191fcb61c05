//! The write stage: the formatter queues writes and discards, and any thread performs them.
//!
//! The formatter hands over its full buffer and receives another one ([`Output::write_parts`]), so
//! no content is copied. Discards wait until no write is queued: an image can have ten thousand of
//! them, and nothing needs them before the end.
//!
//! # Invariants
//!
//! 1. Writes are performed one at a time, in the order in which they were queued. There is one
//!    output, and the job that performs a request owns it.
//! 2. A discard is performed after all writes that were queued before it, since it waits until the
//!    queue of writes is empty. A write to a range that is still to be discarded is queued only
//!    when that discard is done. Content is written in ascending order, so it never waits for a
//!    discard.
//! 3. After the first error, nothing more is performed. The next call that queues something or
//!    takes the output returns that error, once; later calls fail too.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;

use ext4::Output;

use super::Pipeline;
use super::scheduler::Role;

/// Limit on queued writes: 2 MiB in buffers of the formatter.
pub(super) const MAX_WAITING: usize = if cfg!(test) { 2 } else { 8 };

/// Limit on the ranges that one job discards.
const MAX_DISCARDED: usize = if cfg!(test) { 2 } else { 64 };

/// An output, and the queue of requests to it.
pub(super) struct WriteBehind<O> {
    /// The output, unless a job or the owner holds it.
    output: Option<O>,
    writes: VecDeque<WriteRequest>,
    /// Ranges to discard, by offset and length.
    discards: VecDeque<(u64, u64)>,
    /// Largest end of a range in `discards`. A write beyond it, as of all content, is not compared
    /// with each range.
    discards_end: u64,
    /// Buffers for reuse.
    spare: Vec<Vec<u8>>,
    /// The first error, until it is returned.
    error: Option<io::Error>,
    failed: bool,
}

/// A request to the output.
pub(super) enum WriteRequest {
    /// Writes parts of a buffer. `offset` is the position of the buffer's first byte in the output.
    Write {
        buffer: Vec<u8>,
        parts: Vec<Range<usize>>,
        offset: u64,
    },
    /// Discards ranges, by offset and length.
    Discard(Vec<(u64, u64)>),
}

/// A request in flight, with the output that performs it.
pub(super) struct InFlight<O> {
    output: O,
    request: WriteRequest,
    result: io::Result<()>,
}

impl<O: Output> WriteBehind<O> {
    pub(super) fn new(output: O) -> Self {
        Self {
            output: Some(output),
            writes: VecDeque::new(),
            discards: VecDeque::new(),
            discards_end: 0,
            spare: Vec::new(),
            error: None,
            failed: false,
        }
    }

    /// Returns whether a write to `range` can be queued: fewer than `max` writes are queued, and no
    /// queued discard overlaps the range.
    fn has_room(&self, max: usize, range: &Range<u64>) -> bool {
        let overlaps = |&(start, len): &(u64, u64)| start < range.end && range.start < start + len;
        self.writes.len() < max && (range.start >= self.discards_end || !self.discards.iter().any(overlaps))
    }

    /// Queues a write, and returns another buffer, with any content, in exchange for `buffer`.
    fn write(&mut self, buffer: Vec<u8>, parts: Vec<Range<usize>>, offset: u64) -> io::Result<Vec<u8>> {
        self.check_error()?;
        let spare = self.spare.pop();
        let spare = spare.unwrap_or_else(|| Vec::with_capacity(buffer.capacity()));
        self.writes.push_back(WriteRequest::Write { buffer, parts, offset });
        Ok(spare)
    }

    /// Queues a discard.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.check_error()?;
        self.discards.push_back((offset, len));
        self.discards_end = self.discards_end.max(offset + len);
        Ok(())
    }

    /// Takes the next request with the output; `None` if no request is queued, or the output is in
    /// use.
    pub(super) fn next_request(&mut self) -> Option<InFlight<O>> {
        let output = self
            .output
            .take_if(|_| !self.writes.is_empty() || !self.discards.is_empty())?;
        let request = self.writes.pop_front().unwrap_or_else(|| {
            let count = self.discards.len().min(MAX_DISCARDED);
            WriteRequest::Discard(self.discards.drain(..count).collect())
        });
        Some(InFlight {
            output,
            request,
            result: Ok(()),
        })
    }

    /// Takes back the output, and records the result of the request.
    pub(super) fn complete(&mut self, done: InFlight<O>) {
        self.output = Some(done.output);
        match (done.result, done.request) {
            (Ok(()), WriteRequest::Write { buffer, .. }) => self.spare.push(buffer),
            (Ok(()), WriteRequest::Discard(_)) => {}
            (Err(error), _) => {
                self.writes.clear();
                self.discards.clear();
                self.error = Some(error);
                self.failed = true;
            }
        }
    }

    /// Takes the output once all requests are performed; `None` before.
    ///
    /// # Errors
    ///
    /// The first error of a request.
    fn take_output(&mut self) -> Option<io::Result<O>> {
        if !self.writes.is_empty() || !self.discards.is_empty() {
            return None;
        }
        let output = self.output.take()?;
        Some(match self.check_error() {
            Ok(()) => Ok(output),
            Err(error) => {
                self.output = Some(output);
                Err(error)
            }
        })
    }

    /// Returns the output, which no thread may hold.
    #[cfg(test)]
    fn into_output(self) -> O {
        self.output.expect("each job puts the output back")
    }

    /// Returns the first error once, and another one for each later call.
    fn check_error(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.failed => Err(io::Error::other("an earlier write failed")),
            None => Ok(()),
        }
    }
}

impl<O: Output> InFlight<O> {
    /// Performs the request.
    pub(super) fn run(mut self) -> Self {
        self.result = match &mut self.request {
            WriteRequest::Write { buffer, parts, offset } => {
                let written = self.output.write_parts(mem::take(buffer), parts, *offset);
                written.map(|returned| *buffer = returned)
            }
            WriteRequest::Discard(ranges) => {
                let mut ranges = ranges.iter();
                ranges.try_for_each(|&(offset, len)| self.output.discard(offset, len))
            }
        };
        self
    }
}

/// The output of the formatter. An error of a write surfaces on a later call, at the latest in
/// [`Output::set_len`], the last call of the formatter.
impl<O: Output + Send> Output for &Pipeline<'_, O> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with_output(|output| output.read_at(buffer, offset))
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let all = 0..bytes.len();
        self.write_parts(bytes.to_vec(), &[all], offset).map(drop)
    }

    fn write_parts(&mut self, buffer: Vec<u8>, parts: &[Range<usize>], offset: u64) -> io::Result<Vec<u8>> {
        let end = parts.last().map_or(0, |part| part.end);
        let range = offset..offset + end as u64;
        // Without workers, a queued write is performed only by the next call, so one may wait.
        let max = if self.thread_count == 1 { 1 } else { MAX_WAITING };
        self.scheduler
            .wait(Role::Producer, |work| work.writes.has_room(max, &range).then_some(()));
        self.scheduler
            .update(|work| work.writes.write(buffer, parts.to_vec(), offset))
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.scheduler.update(|work| work.writes.discard(offset, len))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.with_output(|output| output.set_len(len))
    }

    fn max_len(&self) -> Option<u64> {
        self.max_len
    }
}

impl<O: Output + Send> Pipeline<'_, O> {
    /// Calls `act` with the output, once all queued requests are performed.
    fn with_output<T>(&self, act: impl FnOnce(&mut O) -> io::Result<T>) -> io::Result<T> {
        let mut output = self.scheduler.wait(Role::Producer, |work| work.writes.take_output())?;
        let result = act(&mut output);
        self.scheduler.update(|work| work.writes.output = Some(output));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const MAX: usize = 2;

    fn write<O: Output>(writes: &mut WriteBehind<O>, bytes: &[u8], offset: u64) -> io::Result<Vec<u8>> {
        writes.write(bytes.to_vec(), iter::once(0..bytes.len()).collect(), offset)
    }

    fn perform<O: Output>(writes: &mut WriteBehind<O>) -> bool {
        let Some(request) = writes.next_request() else {
            return false;
        };
        writes.complete(request.run());
        true
    }

    #[test]
    fn writes_are_performed_in_order_and_before_discards() {
        let mut writes = WriteBehind::new(Vec::new());
        writes.discard(0, 4).unwrap();
        for bytes in [b"aa", b"bb"] {
            assert!(writes.has_room(MAX, &(4..6)));
            write(&mut writes, bytes, 4).unwrap();
        }
        assert!(!writes.has_room(MAX, &(6..8)), "two are queued");
        assert!(perform(&mut writes));
        assert!(writes.has_room(MAX, &(6..8)));
        assert!(writes.take_output().is_none());
        assert!(perform(&mut writes));
        assert!(perform(&mut writes));
        assert!(!perform(&mut writes));
        assert_eq!(writes.take_output().unwrap().unwrap(), b"\0\0\0\0bb");
    }

    #[test]
    fn write_after_a_discard_of_its_range() {
        let mut writes = WriteBehind::new(b"before".to_vec());
        writes.discard(2, 2).unwrap();
        for (range, has_room) in [(0..2, true), (0..3, false), (2..4, false), (3..9, false), (4..6, true)] {
            assert_eq!(writes.has_room(MAX, &range), has_room, "{range:?}");
        }
        assert!(perform(&mut writes));
        assert!(writes.has_room(MAX, &(0..9)));
        assert_eq!(writes.into_output(), b"be\0\0re");
    }

    #[test]
    fn discard_after_a_write_to_its_range() {
        let mut writes = WriteBehind::new(Vec::new());
        write(&mut writes, b"bytes", 0).unwrap();
        writes.discard(1, 2).unwrap();
        assert!(perform(&mut writes));
        assert!(perform(&mut writes));
        assert_eq!(writes.into_output(), b"b\0\0es");
    }

    #[test]
    fn one_request_at_a_time() {
        let mut writes = WriteBehind::new(Vec::new());
        write(&mut writes, b"a", 0).unwrap();
        write(&mut writes, b"b", 1).unwrap();
        let request = writes.next_request().unwrap();
        assert!(writes.next_request().is_none());
        assert!(writes.take_output().is_none());
        writes.complete(request.run());
        assert!(perform(&mut writes));
        assert_eq!(writes.into_output(), b"ab");
    }

    #[test]
    fn an_error_is_returned_once_and_nothing_is_performed_after_it() {
        struct Full;
        impl Output for Full {
            fn read_at(&mut self, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
                unreachable!("nothing is read")
            }
            fn write_at(&mut self, _bytes: &[u8], offset: u64) -> io::Result<()> {
                assert_eq!(offset, 0, "written after an error");
                Err(io::ErrorKind::StorageFull.into())
            }
            fn discard(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
                unreachable!("discarded after an error")
            }
            fn set_len(&mut self, _len: u64) -> io::Result<()> {
                unreachable!("resized after an error")
            }
        }
        let mut writes = WriteBehind::new(Full);
        writes.discard(8, 1).unwrap();
        write(&mut writes, b"a", 0).unwrap();
        write(&mut writes, b"b", 1).unwrap();
        assert!(perform(&mut writes));
        assert!(!perform(&mut writes));
        let failure = write(&mut writes, b"c", 2).unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::StorageFull);
        assert!(!perform(&mut writes));
        assert!(writes.discard(0, 1).is_err());
        assert!(writes.take_output().unwrap().is_err());
    }

    #[test]
    fn buffers_are_reused() {
        let mut writes = WriteBehind::new(Vec::new());
        let mut first = Vec::with_capacity(101);
        first.push(b'a');
        let spare = writes.write(first, iter::once(0..1).collect(), 0).unwrap();
        assert!(spare.is_empty() && spare.capacity() > 100);
        assert!(perform(&mut writes));
        assert_eq!(write(&mut writes, b"b", 1).unwrap(), b"a");
    }
}
