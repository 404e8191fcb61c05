//! What was applied, on its way to the output.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use ext4::Output;

/// Most ranges that are cleared in one step.
const MAX_CLEARED: usize = 64;

/// What is to be written, in order, and what is to be cleared, when there is nothing to write.
pub(super) struct Writes<O> {
    /// The box that writes, unless a thread has it.
    output: Option<O>,
    queue: VecDeque<Write>,
    /// Ranges, by offset and length.
    clears: VecDeque<(u64, u64)>,
    /// None of them goes further, so that content, which only goes on, is not held against each.
    clears_end: u64,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    /// What went wrong first, until somebody is told. Nothing is written after it.
    failure: Option<io::Error>,
    has_failed: bool,
}

/// Parts of a buffer, whose first byte belongs at the offset.
pub(super) struct Write {
    pub(super) buffer: Vec<u8>,
    pub(super) parts: Vec<Range<usize>>,
    pub(super) offset: u64,
}

/// The output in the hands of a thread, and what to do with it.
pub(super) struct Writing<O> {
    output: O,
    order: Order,
}

enum Order {
    Write(Write),
    Clear(Vec<(u64, u64)>),
}

/// The output as it comes back.
pub(super) struct Written<O> {
    output: O,
    spare: Option<Vec<u8>>,
    result: io::Result<()>,
}

impl<O: Output> Writes<O> {
    pub(super) fn new(output: O) -> Self {
        Self {
            output: Some(output),
            queue: VecDeque::new(),
            clears: VecDeque::new(),
            clears_end: 0,
            spare: Vec::new(),
            failure: None,
            has_failed: false,
        }
    }

    /// Whether fewer than so many writes wait, and no range is still to be cleared that a write to this one would have to wait for.
    pub(super) fn has_room(&self, max: usize, range: &Range<u64>) -> bool {
        let overlaps = |&(start, len): &(u64, u64)| start < range.end && range.start < start + len;
        self.queue.len() < max && (range.start >= self.clears_end || !self.clears.iter().any(overlaps))
    }

    /// Orders a write, and gives another buffer for the one in it.
    pub(super) fn write(&mut self, write: Write) -> io::Result<Vec<u8>> {
        self.check()?;
        let spare = self.spare.pop();
        let spare = spare.unwrap_or_else(|| Vec::with_capacity(write.buffer.capacity()));
        self.queue.push_back(write);
        Ok(spare)
    }

    /// Orders that a range is cleared, after what was to be written before.
    pub(super) fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.check()?;
        self.clears.push_back((offset, len));
        self.clears_end = self.clears_end.max(offset + len);
        Ok(())
    }

    /// Takes the output for the next order, if there are both.
    pub(super) fn next(&mut self) -> Option<Writing<O>> {
        let output = self
            .output
            .take_if(|_| !self.queue.is_empty() || !self.clears.is_empty())?;
        let order = self.queue.pop_front().map_or_else(
            || Order::Clear(self.clears.drain(..self.clears.len().min(MAX_CLEARED)).collect()),
            Order::Write,
        );
        Some(Writing { output, order })
    }

    /// Takes the output itself, once all that was ordered is done; fails if that could not be.
    pub(super) fn take_output(&mut self) -> Option<io::Result<O>> {
        if !self.queue.is_empty() || !self.clears.is_empty() {
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

    /// Takes the output back.
    pub(super) fn put_output(&mut self, output: O) {
        self.output = Some(output);
    }

    /// Takes the output back, and what was written.
    pub(super) fn put(&mut self, written: Written<O>) {
        self.output = Some(written.output);
        self.spare.extend(written.spare);
        if let Err(error) = written.result {
            self.queue.clear();
            self.clears.clear();
            self.failure = Some(error);
            self.has_failed = true;
        }
    }

    /// The output, which no thread may have.
    #[cfg(test)]
    pub(super) fn into_output(self) -> O {
        self.output.expect("whoever takes the output puts it back")
    }

    fn check(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if self.has_failed => Err(io::Error::other("writing has failed before")),
            None => Ok(()),
        }
    }
}

impl<O: Output> Writing<O> {
    pub(super) fn take(self) -> Written<O> {
        let Self { mut output, order } = self;
        let (spare, result) = match order {
            Order::Write(Write { buffer, parts, offset }) => match output.write_parts(buffer, &parts, offset) {
                Ok(buffer) => (Some(buffer), Ok(())),
                Err(error) => (None, Err(error)),
            },
            Order::Clear(ranges) => {
                let mut ranges = ranges.into_iter();
                (None, ranges.try_for_each(|(offset, len)| output.clear(offset, len)))
            }
        };
        Written { output, spare, result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 2;

    fn write(bytes: &[u8], offset: u64) -> Write {
        Write {
            buffer: bytes.to_vec(),
            parts: std::iter::once(0..bytes.len()).collect(),
            offset,
        }
    }

    fn step<O: Output>(writes: &mut Writes<O>) -> bool {
        let Some(writing) = writes.next() else { return false };
        writes.put(writing.take());
        true
    }

    #[test]
    fn writes_come_in_order_and_before_what_is_cleared() {
        let mut writes = Writes::new(Vec::new());
        writes.clear(0, 4).unwrap();
        for bytes in [b"aa", b"bb"] {
            assert!(writes.has_room(MAX, &(4..6)));
            writes.write(write(bytes, 4)).unwrap();
        }
        assert!(!writes.has_room(MAX, &(6..8)), "two wait");
        assert!(step(&mut writes));
        assert!(writes.has_room(MAX, &(6..8)));
        assert!(writes.take_output().is_none());
        assert!(step(&mut writes));
        assert!(step(&mut writes));
        assert!(!step(&mut writes));
        assert_eq!(writes.take_output().unwrap().unwrap(), b"\0\0\0\0bb");
    }

    #[test]
    fn a_write_waits_for_what_is_cleared_before_it() {
        let mut writes = Writes::new(b"before".to_vec());
        writes.clear(2, 2).unwrap();
        for (range, has_room) in [(0..2, true), (0..3, false), (2..4, false), (3..9, false), (4..6, true)] {
            assert_eq!(writes.has_room(MAX, &range), has_room, "{range:?}");
        }
        assert!(step(&mut writes));
        assert!(writes.has_room(MAX, &(0..9)));
        assert_eq!(writes.into_output(), b"be\0\0re");
    }

    #[test]
    fn what_is_cleared_waits_for_writes_before_it() {
        let mut writes = Writes::new(Vec::new());
        writes.write(write(b"bytes", 0)).unwrap();
        writes.clear(1, 2).unwrap();
        assert!(step(&mut writes));
        assert!(step(&mut writes));
        assert_eq!(writes.into_output(), b"b\0\0es");
    }

    #[test]
    fn one_thread_at_a_time_writes() {
        let mut writes = Writes::new(Vec::new());
        writes.write(write(b"a", 0)).unwrap();
        writes.write(write(b"b", 1)).unwrap();
        let writing = writes.next().unwrap();
        assert!(writes.next().is_none());
        assert!(writes.take_output().is_none());
        writes.put(writing.take());
        assert!(step(&mut writes));
        assert_eq!(writes.into_output(), b"ab");
    }

    #[test]
    fn a_failure_is_told_once_and_nothing_is_written_after_it() {
        struct Full;
        impl Output for Full {
            fn read_at(&mut self, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
                unreachable!("nothing is read")
            }
            fn write_at(&mut self, _bytes: &[u8], offset: u64) -> io::Result<()> {
                assert_eq!(offset, 0, "written after a failure");
                Err(io::ErrorKind::StorageFull.into())
            }
            fn clear(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
                unreachable!("cleared after a failure")
            }
            fn set_len(&mut self, _len: u64) -> io::Result<()> {
                unreachable!("resized after a failure")
            }
        }
        let mut writes = Writes::new(Full);
        writes.clear(8, 1).unwrap();
        writes.write(write(b"a", 0)).unwrap();
        writes.write(write(b"b", 1)).unwrap();
        assert!(step(&mut writes));
        assert!(!step(&mut writes));
        let failure = writes.write(write(b"c", 2)).unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::StorageFull);
        assert!(!step(&mut writes));
        assert!(writes.clear(0, 1).is_err());
        assert!(writes.take_output().unwrap().is_err());
    }

    #[test]
    fn buffers_are_used_again() {
        let mut writes = Writes::new(Vec::new());
        let mut first = write(b"a", 0);
        first.buffer.reserve(100);
        let spare = writes.write(first).unwrap();
        assert!(spare.is_empty() && spare.capacity() > 100);
        assert!(step(&mut writes));
        assert_eq!(writes.write(write(b"b", 1)).unwrap(), b"a");
    }
}
