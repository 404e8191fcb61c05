//! What moves from box to box.

use std::io;

/// Bytes of a piece: enough for the steps to outweigh what is between them, and little enough to stay in a processor's cache.
const PIECE_LEN: usize = 256 << 10;

/// Consecutive bytes of a blob or of a tar.
pub(super) struct Piece {
    buffer: Box<[u8]>,
    len: usize,
}

impl Piece {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; PIECE_LEN].into(),
            len: 0,
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

    /// Fills it anew, as far as the reader goes; what came before an error counts.
    pub(super) fn fill(&mut self, reader: &mut impl io::Read) -> io::Result<()> {
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
