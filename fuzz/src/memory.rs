//! An output in memory that is limited in size, and fails after a number of calls.

use std::io;

use ext4::Output;

/// Largest image, in bytes.
pub(crate) const CAPACITY: u64 = 32 << 20;

/// An image in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    /// Number of calls that still succeed; `None` for all.
    calls: Option<u32>,
}

impl Memory {
    /// Creates an output whose calls fail after the first `calls` ones.
    pub(crate) fn failing_after(calls: u32) -> Self {
        Self {
            calls: Some(calls),
            ..Self::default()
        }
    }

    /// Fails after the last call that may succeed, and for an end beyond the capacity.
    fn count_call(&mut self, end: Option<u64>) -> io::Result<()> {
        if let Some(calls) = &mut self.calls {
            *calls = calls.checked_sub(1).ok_or_else(|| io::Error::other("broken"))?;
        }
        match end {
            Some(end) if end <= CAPACITY => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl Output for Memory {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.count_call(Some(0))?;
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.count_call(offset.checked_add(bytes.len() as u64))?;
        self.bytes.write_at(bytes, offset)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.count_call(Some(0))?;
        Output::discard(&mut self.bytes, offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.count_call(Some(len))?;
        Output::set_len(&mut self.bytes, len)
    }
}
