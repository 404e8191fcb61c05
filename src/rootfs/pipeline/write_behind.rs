//! Write-behind: the formatter queues what it writes, and any thread performs it.
//!
//! # Invariants
//!
//! 1. Writes are performed one at a time, in the order in which they were queued: there is one
//!    output, and the job that performs one has it.
//! 2. A discard is performed after all writes that were queued before it, since it waits until no
//!    write is left. A write to a range that is still to be discarded is not queued before that is
//!    done. So content, which only goes on, never waits for a discard.
//! 3. After the first error nothing more is performed. It is returned once, by the next call that
//!    queues something or takes the output; later calls fail too.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;

use ext4::Output;

use super::Pipeline;
use super::scheduler::Role;

/// Most writes that wait: 2 MiB in buffers of the formatter.
pub(super) const MAX_WAITING: usize = if cfg!(test) { 2 } else { 8 };

/// Most ranges that one job discards.
const MAX_DISCARDED: usize = if cfg!(test) { 2 } else { 64 };

/// An output, and what is to be written to it.
pub(super) struct WriteBehind<O> {
    /// The output, unless a job or the owner has it.
    output: Option<O>,
    writes: VecDeque<WriteRequest>,
    /// Ranges to discard, by offset and length.
    discards: VecDeque<(u64, u64)>,
    /// End of the last of them, so that content, which only goes on, is not compared with each.
    discards_end: u64,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    /// The first error, until it is returned.
    error: Option<io::Error>,
    failed: bool,
}

/// Something to do with the output.
pub(super) enum WriteRequest {
    /// Parts of a buffer, whose first byte belongs at the offset.
    Write {
        buffer: Vec<u8>,
        parts: Vec<Range<usize>>,
        offset: u64,
    },
    /// Ranges, by offset and length.
    Discard(Vec<(u64, u64)>),
}

/// A request and the output, in the hands of one thread.
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

    /// Returns whether fewer than `max` writes wait, and no discard that a write to the range would
    /// have to wait for.
    fn has_room(&self, max: usize, range: &Range<u64>) -> bool {
        let overlaps = |&(start, len): &(u64, u64)| start < range.end && range.start < start + len;
        self.writes.len() < max && (range.start >= self.discards_end || !self.discards.iter().any(overlaps))
    }

    /// Queues a write, and returns another buffer for the one in it.
    fn write(&mut self, buffer: Vec<u8>, parts: Vec<Range<usize>>, offset: u64) -> io::Result<Vec<u8>> {
        self.check()?;
        let spare = self.spare.pop();
        let spare = spare.unwrap_or_else(|| Vec::with_capacity(buffer.capacity()));
        self.writes.push_back(WriteRequest::Write { buffer, parts, offset });
        Ok(spare)
    }

    /// Queues a discard.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.check()?;
        self.discards.push_back((offset, len));
        self.discards_end = self.discards_end.max(offset + len);
        Ok(())
    }

    /// Takes the next request, and the output to perform it, if there are both.
    pub(super) fn next(&mut self) -> Option<InFlight<O>> {
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

    /// Takes back the output, and notes how the request went.
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

    /// Takes the output once nothing waits; fails if something could not be performed.
    fn take_output(&mut self) -> Option<io::Result<O>> {
        if !self.writes.is_empty() || !self.discards.is_empty() {
            return None;
        }
        let output = self.output.take()?;
        Some(match self.check() {
            Ok(()) => Ok(output),
            Err(error) => {
                self.output = Some(output);
                Err(error)
            }
        })
    }

    /// Returns the output, which no thread may have.
    #[cfg(test)]
    fn into_output(self) -> O {
        self.output.expect("whatever takes the output puts it back")
    }

    fn check(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.failed => Err(io::Error::other("writing has failed before")),
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

/// The output of the formatter. Errors surface on a later call, at the latest in
/// [`Output::set_len`], with which the formatter ends.
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
        // Without workers, only the next write has this one performed.
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
    /// Uses the output itself, once everything that was queued is performed.
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
        let Some(request) = writes.next() else { return false };
        writes.complete(request.run());
        true
    }

    #[test]
    fn writes_come_in_order_and_before_discards() {
        let mut writes = WriteBehind::new(Vec::new());
        writes.discard(0, 4).unwrap();
        for bytes in [b"aa", b"bb"] {
            assert!(writes.has_room(MAX, &(4..6)));
            write(&mut writes, bytes, 4).unwrap();
        }
        assert!(!writes.has_room(MAX, &(6..8)), "two wait");
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
        let request = writes.next().unwrap();
        assert!(writes.next().is_none());
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
    fn buffers_are_used_again() {
        let mut writes = WriteBehind::new(Vec::new());
        let mut first = Vec::with_capacity(101);
        first.push(b'a');
        let spare = writes.write(first, iter::once(0..1).collect(), 0).unwrap();
        assert!(spare.is_empty() && spare.capacity() > 100);
        assert!(perform(&mut writes));
        assert_eq!(write(&mut writes, b"b", 1).unwrap(), b"a");
    }
}
