//! Memory that an image goes to: bounded, and broken where the input says so.

use std::io;

use ext4::Output;

/// Most bytes that an image can have here.
pub(crate) const CAPACITY: u64 = 32 << 20;

/// An image in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    /// How many more calls succeed, if not all do.
    calls: Option<u32>,
}

impl Memory {
    /// Memory of which every call after so many fails.
    pub(crate) fn failing_after(calls: u32) -> Self {
        Self {
            calls: Some(calls),
            ..Self::default()
        }
    }

    fn call(&mut self, end: Option<u64>) -> io::Result<()> {
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
        self.call(Some(0))?;
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call(offset.checked_add(bytes.len() as u64))?;
        self.bytes.write_at(bytes, offset)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.call(Some(0))?;
        Output::discard(&mut self.bytes, offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.call(Some(len))?;
        Output::set_len(&mut self.bytes, len)
    }
}
