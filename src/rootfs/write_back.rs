//! Early write-back: the kernel writes to the disk while the build goes on, so that the fsync at
//! the end has less to wait for.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ext4::Output;

/// Bytes to write before each request for write-back.
const INTERVAL: u64 = 16 << 20;

/// A file that can start kernel write-back early, from the last layer on.
///
/// A later layer may remove the content of lower layers. That content stays in memory while the
/// kernel keeps it there, because a hole is punched ten times faster before write-back has started.
/// No layer removes what the last layer writes, so its write-back starts at once.
pub(super) struct WriteBack {
    file: File,
    enabled: Arc<AtomicBool>,
    /// End of the range that was left in memory, or whose write-back was started.
    start: u64,
}

impl WriteBack {
    /// Wraps a file. Write-back of a write starts early if `enabled` is set at that moment.
    pub(super) fn new(file: File, enabled: &Arc<AtomicBool>) -> Self {
        Self {
            file,
            enabled: Arc::clone(enabled),
            start: 0,
        }
    }

    pub(super) fn into_inner(self) -> File {
        self.file
    }

    /// Records a write up to the offset `end`. Writes come in ascending order, except for the
    /// tables at the end of a build.
    fn record_write(&mut self, end: u64) {
        let enabled = self.enabled.load(Ordering::Relaxed);
        if enabled && end >= self.start.saturating_add(INTERVAL) {
            start_write_back(&self.file, self.start, end - self.start);
            self.start = end;
        }
        if !enabled {
            self.start = end;
        }
    }
}

/// Starts write-back of a range and returns at once, as `POSIX_FADV_DONTNEED` does on Linux
/// (`generic_fadvise`). Pages under write-back stay in memory.
#[cfg(target_os = "linux")]
fn start_write_back(file: &File, start: u64, len: u64) {
    use std::num::NonZeroU64;

    use rustix::fs::{Advice, fadvise};
    // If the advice is ignored, the fsync takes longer.
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
        self.record_write(offset + bytes.len() as u64);
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
