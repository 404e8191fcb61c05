//! Sparse images in memory, with a limit on the bytes that may be read.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use ext4::{Output, ReadAt};

/// Unit of allocation, in bytes.
const PAGE_LEN: usize = 4096;

/// An image that allocates memory only for what is written.
#[derive(Clone, Default)]
pub(crate) struct SparseImage {
    /// Contents by page number.
    pages: BTreeMap<u64, Vec<u8>>,
    pub(crate) len: u64,
    /// Bytes that may still be read.
    budget: Cell<u64>,
}

impl SparseImage {
    /// Returns the bytes allocated for what was written.
    pub(crate) fn written_len(&self) -> u64 {
        (self.pages.len() * PAGE_LEN) as u64
    }

    /// Allows `bytes` bytes to be read. Reading more panics.
    pub(crate) fn with_read_budget(self, bytes: u64) -> Self {
        self.budget.set(bytes);
        self
    }

    pub(crate) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let (number, within) = locate(at + done as u64);
            let count = (PAGE_LEN - within).min(len - done);
            if let Some(page) = self.pages.get(&number) {
                bytes[done..done + count].copy_from_slice(&page[within..within + count]);
            }
            done += count;
        }
        bytes
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.len = self.len.max(at + bytes.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let (number, within) = locate(at + done as u64);
            let count = (PAGE_LEN - within).min(bytes.len() - done);
            let page = self.pages.entry(number).or_insert_with(|| vec![0; PAGE_LEN]);
            page[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }

    pub(crate) fn u32_at(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.get(at, 4).try_into().expect("four bytes"))
    }
}

/// Returns the number of the page that contains a byte, and the offset in the page.
fn locate(at: u64) -> (u64, usize) {
    let within = usize::try_from(at % PAGE_LEN as u64).expect("less than a page");
    (at / PAGE_LEN as u64, within)
}

impl Output for SparseImage {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.copy_from_slice(&self.get(offset, buffer.len()));
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.put(offset, bytes);
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        // In these tests, only written ranges are discarded, and they are small.
        self.put(offset, &vec![0; usize::try_from(len).expect("a part of memory")]);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.len = len;
        Ok(())
    }
}

impl ReadAt for SparseImage {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let count = self.len.saturating_sub(offset).min(buffer.len() as u64);
        let left = self.budget.get().checked_sub(count).expect("the read budget suffices");
        self.budget.set(left);
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
