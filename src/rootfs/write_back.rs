//! Early write-back: the kernel writes to the disk while the build goes on, so that the fsync at
//! the end has less to wait for.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ext4::Output;

/// Bytes after which the kernel is asked to write back.
const PART_LEN: u64 = 16 << 20;

/// A file that can start kernel write-back early, from the last layer on.
///
/// Content that a later layer may remove is better left in memory: it is never written to the disk
/// then, and to discard it costs a tenth.
pub(super) struct WriteBack {
    file: File,
    wanted: Arc<AtomicBool>,
    /// End of what was left in memory or is being written back.
    start: u64,
}

impl WriteBack {
    /// Wraps a file. What is written while `wanted` is set is written back at once.
    pub(super) fn new(file: File, wanted: &Arc<AtomicBool>) -> Self {
        Self {
            file,
            wanted: Arc::clone(wanted),
            start: 0,
        }
    }

    pub(super) fn into_inner(self) -> File {
        self.file
    }

    /// Notes that bytes were written up to an offset. They come in ascending order, but for the
    /// tables at the very end.
    fn wrote(&mut self, end: u64) {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted && end >= self.start.saturating_add(PART_LEN) {
            start_write_back(&self.file, self.start, end - self.start);
            self.start = end;
        }
        if !wanted {
            self.start = end;
        }
    }
}

/// Starts write-back of a range, without waiting: `POSIX_FADV_DONTNEED` does that on Linux
/// (`generic_fadvise`). Pages that are being written stay in memory.
#[cfg(target_os = "linux")]
fn start_write_back(file: &File, start: u64, len: u64) {
    use std::num::NonZeroU64;

    use rustix::fs::{Advice, fadvise};
    // It is advice. Where it is not taken, the fsync takes longer.
    let _ = fadvise(file, start, NonZeroU64::new(len), Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start_write_back(_file: &File, _start: u64, _len: u64) {}

impl Output for WriteBack {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        Output::write_at(&mut self.file, bytes, offset)?;
        self.wrote(offset + bytes.len() as u64);
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.file.discard(offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Output::set_len(&mut self.file, len)
    }

    fn max_len(&self) -> Option<u64> {
        self.file.max_len()
    }
}
