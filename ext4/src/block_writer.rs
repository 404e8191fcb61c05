//! [`BlockWriter`]: buffered writes to the output at block numbers. It accepts the content of
//! files and sealed structures, nothing else.

use std::error::Error;
use std::io::{self, Read};
use std::mem;
use std::ops::Range;

use zerocopy::{Immutable, IntoBytes};

use crate::error::{FormatError, ImageAction};
use crate::layout::compact::BlockMove;
use crate::output::{IsDevice, Output};
use crate::seal::Sealed;
use crate::units::{BlockNr, BlockRange, BlockSize, as_chunks};

/// Size of the write buffer in bytes.
const BUFFER_LEN: usize = 256 << 10;
/// Granularity in bytes at which zeros are left out, at offsets that are multiples of it.
const HOLE_LEN: usize = 4096;

/// The output, with a buffer that combines adjacent writes and leaves out pages of zeros.
///
/// Each block is written once, where the output reads as zeros until then. The exception are
/// blocks that [`BlockWriter::move_blocks`] overwrites.
pub(crate) struct BlockWriter<O> {
    output: O,
    block_size: BlockSize,
    /// Always [`BUFFER_LEN`] bytes long, so that it is not zeroed before it is filled.
    buffer: Vec<u8>,
    /// Length in bytes of the data at the start of the buffer.
    filled: usize,
    /// Offset in bytes of the buffer in the output.
    offset: u64,
    /// Maximum size in bytes of the output.
    max_len: u64,
    /// Range from the first to the last byte that was not written because it exceeds the size of
    /// the output. The image is then lost, but the required size is only known at the end.
    dropped: Option<Range<u64>>,
}

impl<O: Output> BlockWriter<O> {
    /// Empties the output, so that all of it reads as zeros: zeros are never written.
    pub(crate) fn new(output: O, block_size: BlockSize) -> Result<Self, FormatError> {
        let mut writer = Self {
            max_len: output.max_len().unwrap_or(u64::MAX),
            dropped: None,
            output,
            block_size,
            buffer: vec![0; BUFFER_LEN],
            filled: 0,
            offset: 0,
        };
        writer.set_len(0)?;
        Ok(writer)
    }

    /// Writes the next `len` bytes of a file's content to a block range, and zeros up to the end
    /// of the last block. Returns the number of bytes read, which is less than `len` if the
    /// content ends early.
    pub(crate) fn write_content(
        &mut self,
        range: BlockRange,
        content: &mut impl Read,
        len: u64,
    ) -> Result<u64, FormatError> {
        self.seek(range.start.offset(self.block_size))?;
        let mut done = 0;
        while done < len {
            let free = self.free_buffer()?;
            let wanted = usize::try_from(len - done).map_or(free.len(), |rest| rest.min(free.len()));
            match content.read(&mut free[..wanted]) {
                Ok(0) => return Ok(done),
                Ok(read) => {
                    self.filled += read;
                    done += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FormatError::Content(error)),
            }
        }
        // The buffer's length is a multiple of the block size, so the padding fits.
        let padded = self.filled.next_multiple_of(self.block_size.len());
        self.buffer[self.filled..padded].fill(0);
        self.filled = padded;
        Ok(done)
    }

    /// Writes a structure `offset` bytes after the start of a block.
    pub(crate) fn write_structure<T: IntoBytes + Immutable + ?Sized>(
        &mut self,
        block: BlockNr,
        offset: u64,
        structure: &Sealed<T>,
    ) -> Result<(), FormatError> {
        self.seek(block.offset(self.block_size) + offset)?;
        self.append(structure.as_bytes())
    }

    /// Writes a whole block.
    pub(crate) fn write_block(&mut self, nr: BlockNr, block: &Sealed<Vec<u8>>) -> Result<(), FormatError> {
        self.seek(nr.offset(self.block_size))?;
        self.append(block.bytes())
    }

    /// Makes everything before the block `end` readable, even what was never written.
    pub(crate) fn extend_to(&mut self, end: BlockNr) -> Result<(), FormatError> {
        self.flush()?;
        self.set_len(end.offset(self.block_size).min(self.max_len))
    }

    /// Maximum size in bytes of the output.
    pub(crate) fn max_len(&self) -> u64 {
        self.max_len
    }

    /// Flushes the buffer. Returns the range from the first to the last byte that was dropped
    /// because it exceeds the size of the output.
    pub(crate) fn dropped(&mut self) -> Result<Option<&Range<u64>>, FormatError> {
        self.flush()?;
        Ok(self.dropped.as_ref())
    }

    /// Size of a block.
    pub(crate) fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Reads bytes that were written, after [`BlockWriter::extend_to`] has made them readable.
    /// Fails for bytes that were dropped.
    pub(crate) fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if self.dropped.as_ref().is_some_and(|dropped| dropped.start < end) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.output.read_at(buffer, offset)
    }

    /// Moves blocks to lower block numbers, overwriting the blocks there.
    pub(crate) fn move_blocks(&mut self, block_move: BlockMove) -> Result<(), FormatError> {
        let (from, to) = (
            block_move.from.start.offset(self.block_size),
            block_move.to.start.offset(self.block_size),
        );
        let len = if from == to {
            0
        } else {
            block_move.to.count << self.block_size.log2()
        };
        self.flush()?;
        let mut done = 0;
        while done < len {
            let part = usize::try_from(len - done).unwrap_or(BUFFER_LEN).min(BUFFER_LEN);
            let buffer = &mut self.buffer[..part];
            let offset = from + done;
            self.output
                .read_at(buffer, offset)
                .map_err(output_error(ImageAction::Read, offset))?;
            let offset = to + done;
            if is_zero(buffer) {
                self.discard_bytes(offset, part as u64)?;
            } else {
                self.output
                    .write_at(buffer, offset)
                    .map_err(output_error(ImageAction::Write, offset))?;
            }
            done += part as u64;
        }
        Ok(())
    }

    /// Makes blocks read as zeros, and frees their space if the output supports this.
    pub(crate) fn discard(&mut self, range: BlockRange) -> Result<(), FormatError> {
        let (offset, len) = (
            range.start.offset(self.block_size),
            range.count << self.block_size.log2(),
        );
        let buffered = self.offset..self.offset + self.filled as u64;
        if offset < buffered.end && buffered.start < offset + len {
            self.flush()?;
        }
        self.discard_bytes(offset, len)
    }

    /// Truncates the output before the block `end`.
    pub(crate) fn truncate(&mut self, end: BlockNr) -> Result<(), FormatError> {
        self.flush()?;
        self.set_len(end.offset(self.block_size))
    }

    /// Flushes the buffer, sets the size of the image in bytes, and returns the output.
    pub(crate) fn finish(mut self, len: u64) -> Result<O, FormatError> {
        self.flush()?;
        self.set_len(len)?;
        Ok(self.output)
    }

    fn set_len(&mut self, len: u64) -> Result<(), FormatError> {
        self.output.set_len(len).map_err(|source| {
            if source.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<IsDevice>) {
                FormatError::IsDevice
            } else {
                output_error(ImageAction::Resize, len)(source)
            }
        })
    }

    fn discard_bytes(&mut self, offset: u64, len: u64) -> Result<(), FormatError> {
        let len = len.min(self.max_len.saturating_sub(offset));
        if len == 0 {
            return Ok(());
        }
        self.output
            .discard(offset, len)
            .map_err(output_error(ImageAction::Discard, offset))
    }

    /// Sets the offset of the next write, flushing the buffer unless that continues it.
    fn seek(&mut self, offset: u64) -> Result<(), FormatError> {
        if offset != self.offset + self.filled as u64 {
            self.flush()?;
            self.offset = offset;
        }
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), FormatError> {
        while !bytes.is_empty() {
            let free = self.free_buffer()?;
            let (now, later) = bytes.split_at(bytes.len().min(free.len()));
            free[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// The free part of the buffer, which is never empty.
    fn free_buffer(&mut self) -> Result<&mut [u8], FormatError> {
        if self.filled == BUFFER_LEN {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    /// Writes the buffer without its pages of zeros, and empties it. Drops it instead if it ends
    /// beyond the maximum size of the output.
    fn flush(&mut self) -> Result<(), FormatError> {
        let (offset, end) = (self.offset, self.offset + self.filled as u64);
        if end > self.max_len {
            let dropped = self.dropped.get_or_insert(offset..end);
            *dropped = dropped.start.min(offset)..dropped.end.max(end);
            self.filled = 0;
            self.offset = end;
            return Ok(());
        }
        let parts = self.data_parts();
        let buffer = mem::take(&mut self.buffer);
        self.buffer = match parts.first() {
            None => buffer,
            Some(first) => {
                let written = self.output.write_parts(buffer, &parts, offset);
                written.map_err(output_error(ImageAction::Write, offset + first.start as u64))?
            }
        };
        self.buffer.resize(BUFFER_LEN, 0);
        self.filled = 0;
        self.offset = end;
        Ok(())
    }

    /// Ranges of the buffer between the pages of zeros.
    fn data_parts(&self) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut start = 0;
        while start < self.filled {
            let zeros = self
                .pages(start)
                .take_while(|page| is_zero(page))
                .map(<[u8]>::len)
                .sum::<usize>();
            start += zeros;
            let data = self
                .pages(start)
                .take_while(|page| !is_zero(page))
                .map(<[u8]>::len)
                .sum::<usize>();
            if data > 0 {
                parts.push(start..start + data);
            }
            start += data;
        }
        parts
    }

    /// The buffered data from a position on, cut at multiples of [`HOLE_LEN`] of the image.
    fn pages(&self, start: usize) -> impl Iterator<Item = &[u8]> {
        let misaligned = usize::try_from((self.offset + start as u64) % HOLE_LEN as u64).expect("less than a page");
        let (first, rest) = self.buffer[start..self.filled].split_at((HOLE_LEN - misaligned).min(self.filled - start));
        std::iter::once(first)
            .chain(rest.chunks(HOLE_LEN))
            .filter(|page| !page.is_empty())
    }
}

fn output_error(action: ImageAction, offset: u64) -> impl FnOnce(io::Error) -> FormatError {
    move |source| FormatError::Image { action, offset, source }
}

/// Returns whether all bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    // In words, for the speed of memory.
    let (words, rest) = as_chunks::<16>(bytes);
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defers writes until it must perform them, and returns buffers with other content.
    #[derive(Default)]
    struct DeferredOutput {
        bytes: Vec<u8>,
        waiting: Vec<(Vec<u8>, Vec<Range<usize>>, u64)>,
    }

    impl DeferredOutput {
        fn write_waiting(&mut self) -> io::Result<&mut Vec<u8>> {
            for (buffer, parts, offset) in self.waiting.drain(..) {
                self.bytes.write_parts(buffer, &parts, offset)?;
            }
            Ok(&mut self.bytes)
        }
    }

    impl Output for DeferredOutput {
        fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.write_waiting()?.read_at(buffer, offset)
        }

        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let all = 0..bytes.len();
            self.write_parts(bytes.to_vec(), &[all], offset).map(drop)
        }

        fn write_parts(&mut self, buffer: Vec<u8>, parts: &[Range<usize>], offset: u64) -> io::Result<Vec<u8>> {
            self.waiting.push((buffer, parts.to_vec(), offset));
            Ok(vec![7; 7])
        }

        fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
            Output::discard(self.write_waiting()?, offset, len)
        }

        fn set_len(&mut self, len: u64) -> io::Result<()> {
            Output::set_len(self.write_waiting()?, len)
        }
    }

    fn write_all<O: Output>(output: O) -> O {
        let mut writer = BlockWriter::new(output, BlockSize::Kib4).unwrap();
        // Pages of zeros at the start, in the middle and at the end, and a gap.
        for (start, pages) in [(1, [0, 1, 2].repeat(100)), (400, vec![0; 9]), (410, vec![3; 99])] {
            let content: Vec<u8> = pages.iter().flat_map(|&byte| [byte; HOLE_LEN]).collect();
            let range = BlockRange {
                start: BlockNr(start),
                count: pages.len() as u64,
            };
            let len = content.len() as u64 - 5;
            assert_eq!(writer.write_content(range, &mut &content[..], len).unwrap(), len);
        }
        writer.finish(600 * HOLE_LEN as u64).unwrap()
    }

    #[test]
    fn an_output_may_keep_buffers_and_write_them_later() {
        let deferred = write_all(DeferredOutput::default());
        assert!(deferred.waiting.is_empty());
        assert!(deferred.bytes == write_all(Vec::new()));
    }
}
