//! Writing to the disk while there is still something else to do, so that the sync at the end has less to wait for.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ext4::Output;

/// Bytes that are handed to the disk at once.
const PART_LEN: u64 = 16 << 20;

/// A file of which the system begins to write to the disk what comes from some moment on, as it comes.
///
/// What may be removed again is better left in memory: it is never written to the disk then, and to give back its place costs a tenth.
pub(super) struct WriteBack {
    file: File,
    is_wanted: Arc<AtomicBool>,
    /// From where on nothing was handed to the disk.
    start: u64,
}

impl WriteBack {
    /// A file of which all goes to the disk at once that is written while `is_wanted`.
    pub(super) fn new(file: File, is_wanted: &Arc<AtomicBool>) -> Self {
        Self {
            file,
            is_wanted: Arc::clone(is_wanted),
            start: 0,
        }
    }

    pub(super) fn into_inner(self) -> File {
        self.file
    }

    /// Takes note of what was written up to an offset. It comes in ascending order, but for the tables at the very end.
    fn wrote(&mut self, end: u64) {
        let is_wanted = self.is_wanted.load(Ordering::Relaxed);
        if is_wanted && end >= self.start.saturating_add(PART_LEN) {
            hand_over(&self.file, self.start, end - self.start);
            self.start = end;
        }
        if !is_wanted {
            self.start = end;
        }
    }
}

/// `POSIX_FADV_DONTNEED` is what Linux starts to write at, without waiting (`generic_fadvise`); what is being written stays in memory.
#[cfg(target_os = "linux")]
fn hand_over(file: &File, start: u64, len: u64) {
    use std::num::NonZeroU64;

    use rustix::fs::{Advice, fadvise};
    // No more than advice: where it is not taken, the sync takes longer.
    let _ = fadvise(file, start, NonZeroU64::new(len), Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn hand_over(_file: &File, _start: u64, _len: u64) {}

impl Output for WriteBack {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        Output::write_at(&mut self.file, bytes, offset)?;
        self.wrote(offset + bytes.len() as u64);
        Ok(())
    }

    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.file.clear(offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Output::set_len(&mut self.file, len)
    }
}
