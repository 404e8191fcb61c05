//! Images in memory that are mostly holes, and of which no more may be read than is allowed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use ext4::{Output, ReadAt};

/// Bytes that are kept together.
const PIECE: usize = 4096;

/// An image of which only what was written takes memory.
#[derive(Clone, Default)]
pub(crate) struct Sparse {
    /// By number.
    pieces: BTreeMap<u64, Vec<u8>>,
    pub(crate) len: u64,
    /// Bytes that may still be read.
    left: Cell<u64>,
}

impl Sparse {
    /// Bytes that were ever written.
    pub(crate) fn written(&self) -> u64 {
        (self.pieces.len() * PIECE) as u64
    }

    /// Lets so many bytes be read, and panics at more.
    pub(crate) fn limited(self, bytes: u64) -> Self {
        self.left.set(bytes);
        self
    }

    pub(crate) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let (number, within) = place(at + done as u64);
            let count = (PIECE - within).min(len - done);
            if let Some(piece) = self.pieces.get(&number) {
                bytes[done..done + count].copy_from_slice(&piece[within..within + count]);
            }
            done += count;
        }
        bytes
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.len = self.len.max(at + bytes.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let (number, within) = place(at + done as u64);
            let count = (PIECE - within).min(bytes.len() - done);
            let piece = self.pieces.entry(number).or_insert_with(|| vec![0; PIECE]);
            piece[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }

    pub(crate) fn u32_at(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.get(at, 4).try_into().expect("four bytes"))
    }
}

/// The number of the piece that a byte is in, and where in it.
fn place(at: u64) -> (u64, usize) {
    let within = usize::try_from(at % PIECE as u64).expect("less than a piece");
    (at / PIECE as u64, within)
}

impl Output for Sparse {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.copy_from_slice(&self.get(offset, buffer.len()));
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.put(offset, bytes);
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        // Here only what was written is ever cleared, and little of it.
        self.put(offset, &vec![0; usize::try_from(len).expect("a part of memory")]);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.len = len;
        Ok(())
    }
}

impl ReadAt for Sparse {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let count = self.len.saturating_sub(offset).min(buffer.len() as u64);
        let left = self.left.get().checked_sub(count).expect("no more is read than may be");
        self.left.set(left);
        if count < buffer.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&self.get(offset, buffer.len()));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}
