//! A reader of compressed bytes for decoders, which counts them.

use std::io::{self, BufRead};

use super::error::{StreamError, StreamPart};

/// A reader that counts the bytes that were consumed.
pub(super) struct CountingReader<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> CountingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, count: 0 }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// Returns the number of bytes consumed so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the next bytes, without consuming them. Empty at the end.
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.inner.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Called again, since the borrow checker does not let a loop return what it
                // borrows.
                Ok(_) => return self.inner.fill_buf(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Consumes bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.inner.consume(len);
        self.count += len as u64;
    }

    /// Fills the buffer. Fails with the name of `part` if the stream ends before.
    pub(super) fn read_exact(&mut self, buffer: &mut [u8], part: StreamPart) -> Result<(), StreamError> {
        if self.read_up_to(buffer)? < buffer.len() {
            return Err(StreamError::truncated(part));
        }
        Ok(())
    }

    /// Reads until the buffer is full or the stream ends. Returns the number of bytes read.
    pub(super) fn read_up_to(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let available = self.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let len = available.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&available[..len]);
            self.consume(len);
            filled += len;
        }
        Ok(filled)
    }

    /// Skips `len` bytes. Fails with the name of `part` if the stream ends before.
    pub(super) fn skip(&mut self, mut len: u64, part: StreamPart) -> Result<(), StreamError> {
        while len > 0 {
            let available = self.fill_buf()?.len();
            if available == 0 {
                return Err(StreamError::truncated(part));
            }
            let taken = usize::try_from(len).map_or(available, |len| len.min(available));
            self.consume(taken);
            len -= taken as u64;
        }
        Ok(())
    }
}
