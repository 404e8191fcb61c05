//! Compressed bytes, counted as a decoder takes them.

use std::io::{self, BufRead};

use super::error::{StreamError, StreamPart};

/// A reader that counts the bytes that were taken of it.
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

    /// Bytes that were taken so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns bytes that come next, none at the end.
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.inner.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Asked again, since the borrow checker lets no loop return what it borrows.
                Ok(_) => return self.inner.fill_buf(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.inner.consume(len);
        self.count += len as u64;
    }

    /// Takes as many bytes as the buffer has, which belong to this part of the stream.
    pub(super) fn read_exact(&mut self, buffer: &mut [u8], part: StreamPart) -> Result<(), StreamError> {
        if self.read_up_to(buffer)? < buffer.len() {
            return Err(StreamError::truncated(part));
        }
        Ok(())
    }

    /// Takes as many bytes as the buffer has, or all up to the end; returns how many.
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

    /// Takes this many bytes of a part of the stream, unseen.
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
