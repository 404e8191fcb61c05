//! Chunks: buffers of bytes that move from stage to stage.

use std::io::{self, BufRead, Read};

/// Capacity of a chunk in bytes: large enough to outweigh the cost of scheduling a job, and small
/// enough to stay in a processor's cache.
pub(super) const CHUNK_LEN: usize = if cfg!(test) { 4 } else { 256 << 10 };

/// Consecutive bytes of a blob or of a tar.
pub(in crate::rootfs) struct Chunk {
    buffer: Box<[u8]>,
    len: usize,
    #[cfg(test)]
    _counted: counted::Counted,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; CHUNK_LEN].into(),
            len: 0,
            #[cfg(test)]
            _counted: counted::Counted::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.buffer.len()
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Replaces the content with bytes of a reader, until the chunk is full or the reader ends.
    /// After an error, the chunk has the bytes that were read before it.
    pub(super) fn fill(&mut self, reader: &mut impl Read) -> io::Result<()> {
        self.len = 0;
        while self.len < self.buffer.len() {
            match reader.read(&mut self.buffer[self.len..]) {
                Ok(0) => break,
                Ok(len) => self.len += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A source of chunks, in order.
pub(in crate::rootfs) trait Chunks {
    /// Takes back the previous chunk, and returns the next one; `None` at the end.
    fn next(&mut self, read: Option<Chunk>) -> io::Result<Option<Chunk>>;
}

/// Reader of consecutive chunks.
pub(in crate::rootfs) struct ChunkReader<C> {
    chunks: C,
    chunk: Option<Chunk>,
    position: usize,
}

impl<C: Chunks> ChunkReader<C> {
    pub(super) fn new(chunks: C) -> Self {
        Self {
            chunks,
            chunk: None,
            position: 0,
        }
    }

    /// Returns the source of the chunks.
    pub(super) fn into_chunks(self) -> C {
        self.chunks
    }
}

impl<C: Chunks> BufRead for ChunkReader<C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // A loop, because the last chunk may be empty.
        while self.chunk.as_ref().is_none_or(|chunk| chunk.len == self.position) {
            self.position = 0;
            self.chunk = self.chunks.next(self.chunk.take())?;
            if self.chunk.is_none() {
                return Ok(&[]);
            }
        }
        let chunk = self.chunk.as_ref();
        Ok(chunk.map_or(&[], |chunk| &chunk.bytes()[self.position..]))
    }

    fn consume(&mut self, len: usize) {
        self.position += len;
    }
}

impl<C: Chunks> Read for ChunkReader<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buffer)?;
        self.consume(len);
        Ok(len)
    }
}

/// Count of the chunks that exist, which the model test compares with the limit.
#[cfg(test)]
pub(super) mod counted {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts one chunk of the test on this thread.
    pub(super) struct Counted(());

    impl Counted {
        pub(super) fn new() -> Self {
            COUNT.set(COUNT.get() + 1);
            Self(())
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            COUNT.set(COUNT.get() - 1);
        }
    }

    #[cfg(not(target_arch = "s390x"))]
    pub(in super::super) fn count() -> usize {
        COUNT.get()
    }
}
