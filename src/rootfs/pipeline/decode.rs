//! The decode stage: decompresses the blob of a layer to its tar, chunk by chunk, and then reads
//! the rest of the blob, so that its hash is complete.

use std::io;
use std::sync::Arc;

use super::chunk::Chunk;
use super::read_ahead::{ReadAhead, ReadAheadReader};
use super::stages::{BlobEnd, LayerSource, TarDecoder};
use crate::error::LayerFailure;
use layer::{Compression, DeclaredChecksum};

/// The decode stage of one layer. It opens the blob too.
pub(super) struct DecodeStage<'a> {
    source: &'a dyn LayerSource,
    index: usize,
    state: DecodeState,
}

enum DecodeState {
    /// The blob is not open.
    Closed,
    /// The blob is compressed.
    Packed(Box<dyn TarDecoder>, Arc<ReadAhead>),
    /// The blob is the tar.
    Unpacked(Arc<ReadAhead>),
    /// The tar has ended or failed. The rest of the blob is read for its hash: a damaged blob may
    /// have caused the error.
    Rest(Arc<ReadAhead>),
    Done,
}

/// Result of [`DecodeStage::advance`]. The chunk may be empty with each of them.
pub(super) enum Decoded {
    /// The blob was opened, and its compression detected.
    Opened(Result<Compression, LayerFailure>),
    /// The next bytes of the tar. More bytes of the tar or of the blob follow.
    Chunk,
    /// The next bytes of the tar. To continue, the decoder needs a window of this many bytes.
    Window(u64),
    /// The last bytes of the tar, with the checksum that the blob declares; or those before an
    /// error.
    TarEnd(io::Result<Option<DeclaredChecksum>>),
    /// The blob was read to its end.
    BlobEnd(BlobEnd),
}

impl<'a> DecodeStage<'a> {
    /// Returns the stage of a layer, with its blob closed.
    pub(super) fn new(source: &'a dyn LayerSource, index: usize) -> Self {
        Self {
            source,
            index,
            state: DecodeState::Closed,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, DecodeState::Done)
    }

    /// Returns the blob while it is open.
    pub(super) fn read_ahead(&self) -> Option<Arc<ReadAhead>> {
        match &self.state {
            DecodeState::Packed(_, blob) | DecodeState::Unpacked(blob) | DecodeState::Rest(blob) => {
                Some(Arc::clone(blob))
            }
            DecodeState::Closed | DecodeState::Done => None,
        }
    }

    /// Continues with the rest of the blob, without the rest of the tar.
    pub(super) fn skip_tar(&mut self) {
        if let Some(blob) = self.read_ahead() {
            self.state = DecodeState::Rest(blob);
        }
    }

    /// Grants the decoder memory for a window of at most `max` bytes.
    pub(super) fn grant_window(&mut self, max: u64) {
        if let DecodeState::Packed(decoder, _) = &mut self.state {
            decoder.grant_window(max);
        }
    }

    /// Opens the blob, or reads one chunk. `chunk` then holds the next bytes of the tar, if any.
    pub(super) fn advance(&mut self, chunk: &mut Chunk) -> Decoded {
        match &mut self.state {
            DecodeState::Closed => {
                chunk.clear();
                Decoded::Opened(self.open())
            }
            DecodeState::Packed(decoder, blob) => {
                let filled = chunk.fill(decoder);
                match (decoder.wanted_window(), filled) {
                    (Some(window), Ok(())) => Decoded::Window(window),
                    (None, Ok(())) if chunk.is_full() => Decoded::Chunk,
                    (_, end) => {
                        let end = end.map(|()| decoder.checksum());
                        self.state = DecodeState::Rest(Arc::clone(blob));
                        Decoded::TarEnd(end)
                    }
                }
            }
            DecodeState::Unpacked(blob) => match blob.swap_with_next(chunk) {
                Ok(true) => Decoded::Chunk,
                end => {
                    chunk.clear();
                    self.state = DecodeState::Rest(Arc::clone(blob));
                    Decoded::TarEnd(end.map(|_| None))
                }
            },
            DecodeState::Rest(blob) => {
                let has_more = matches!(blob.swap_with_next(chunk), Ok(true));
                chunk.clear();
                if has_more {
                    return Decoded::Chunk;
                }
                let end = blob.finish();
                self.state = DecodeState::Done;
                Decoded::BlobEnd(end)
            }
            DecodeState::Done => unreachable!("a stage that is done has no job"),
        }
    }

    fn open(&mut self) -> Result<Compression, LayerFailure> {
        self.state = DecodeState::Done;
        let blob = Arc::new(ReadAhead::new(self.source.open(self.index)?));
        self.state = DecodeState::Rest(Arc::clone(&blob));
        let reader = ReadAheadReader::new(Arc::clone(&blob));
        let (compression, decoder) = self.source.decoder(self.index, Box::new(reader))?;
        self.state = match decoder {
            Some(mut decoder) => {
                decoder.grant_window(0);
                DecodeState::Packed(decoder, blob)
            }
            None => DecodeState::Unpacked(blob),
        };
        Ok(compression)
    }
}
