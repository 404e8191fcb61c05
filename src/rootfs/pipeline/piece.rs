//! What moves from box to box.

use std::io::{self, BufRead, Read};

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

/// What gives pieces, in order.
pub(super) trait Pieces {
    /// Takes back the last piece, which was read, and gives the next; none at the end.
    fn next(&mut self, read: Option<Piece>) -> io::Result<Option<Piece>>;
}

/// Reads pieces as if they were one.
pub(super) struct PieceReader<P> {
    pieces: P,
    piece: Option<Piece>,
    position: usize,
}

impl<P: Pieces> PieceReader<P> {
    pub(super) fn new(pieces: P) -> Self {
        Self {
            pieces,
            piece: None,
            position: 0,
        }
    }

    /// What gave the pieces.
    pub(super) fn into_pieces(self) -> P {
        self.pieces
    }
}

impl<P: Pieces> BufRead for PieceReader<P> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // The last piece may be empty.
        while self.piece.as_ref().is_none_or(|piece| piece.len == self.position) {
            self.position = 0;
            self.piece = self.pieces.next(self.piece.take())?;
            if self.piece.is_none() {
                return Ok(&[]);
            }
        }
        let piece = self.piece.as_ref();
        Ok(piece.map_or(&[], |piece| &piece.bytes()[self.position..]))
    }

    fn consume(&mut self, len: usize) {
        self.position += len;
    }
}

impl<P: Pieces> Read for PieceReader<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buffer)?;
        self.consume(len);
        Ok(len)
    }
}
