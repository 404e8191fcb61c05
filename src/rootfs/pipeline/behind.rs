//! The output for whoever applies.

use std::io;
use std::ops::Range;

use ext4::Output;

use super::writes::{Write, Writes};
use super::{Disk, Pipeline, Role};

/// Most buffers of the formatter that wait to be written: 2 MiB.
const MAX_WRITES: usize = 8;

/// What it is given is written by the thread that has time. What fails is said by a later call, [`Output::set_len`] at the latest, which
/// the formatter ends with.
pub(in crate::rootfs) struct Behind<'pipeline, 'a> {
    pub(super) pipeline: &'pipeline Pipeline<'a>,
}

impl<'a> Behind<'_, 'a> {
    /// Gives an order. Nobody else gives any.
    fn order<T>(&self, give: impl FnOnce(&mut Writes<Disk<'a>>) -> io::Result<T>) -> io::Result<T> {
        let Self { pipeline } = self;
        let mut state = pipeline.lock();
        let result = give(&mut state.writes);
        pipeline.wake(&state);
        result
    }

    /// Does something with the disk, when all that was ordered is done.
    fn with_disk<T>(&self, act: impl FnOnce(&mut Disk<'a>) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.pipeline.wait(Role::Writer, |state| state.writes.take_output())?;
        let result = act(&mut disk);
        self.pipeline.lock().writes.put_output(disk);
        result
    }
}

impl Output for Behind<'_, '_> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with_disk(|disk| disk.read_at(buffer, offset))
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let all = 0..bytes.len();
        self.write_parts(bytes.to_vec(), &[all], offset).map(drop)
    }

    fn write_parts(&mut self, buffer: Vec<u8>, parts: &[Range<usize>], offset: u64) -> io::Result<Vec<u8>> {
        let end = parts.last().map_or(0, |part| part.end);
        let range = offset..offset + end as u64;
        let write = Write {
            buffer,
            parts: parts.to_vec(),
            offset,
        };
        let Self { pipeline } = self;
        // Without other threads, only the next write has this one carried out.
        let max = if pipeline.thread_count == 1 { 1 } else { MAX_WRITES };
        pipeline.wait(Role::Writer, |state| state.writes.has_room(max, &range).then_some(()));
        self.order(|writes| writes.write(write))
    }

    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.order(|writes| writes.clear(offset, len))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.with_disk(|disk| disk.set_len(len))
    }
}
