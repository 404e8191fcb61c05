//! An output that discards everything.

use std::io;

use ext4::Output;

/// Accepts all writes and discards them. Reading fails.
pub struct NullOutput;

impl Output for NullOutput {
    fn read_at(&mut self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
