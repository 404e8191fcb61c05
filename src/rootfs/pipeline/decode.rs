//! The stage that decodes: from the blob of a layer to its tar, chunk by chunk, and on to the end
//! of the blob.

use std::io;
use std::sync::Arc;

use super::chunk::Chunk;
use super::read_ahead::{ReadAhead, ReadAheadReader};
use super::stages::{BlobEnd, LayerSource, TarDecoder};
use crate::error::LayerFailure;
use layer::{Compression, DeclaredChecksum};

/// Opens a blob, and undoes its compression.
pub(super) struct Decode<'a> {
    source: &'a dyn LayerSource,
    index: usize,
    phase: Phase,
}

enum Phase {
    /// Nothing was asked of the source yet.
    Closed,
    /// The tar is being decoded.
    Tar(Box<dyn TarDecoder>, Arc<ReadAhead>),
    /// The blob is the tar.
    Unpacked(Arc<ReadAhead>),
    /// The rest is only hashed: an error in the tar may come from a damaged blob.
    Rest(Arc<ReadAhead>),
    Done,
}

/// Result of one step.
pub(super) enum Decoded {
    /// The source has the blob or not, and it can be decoded or not.
    Opened(Result<Compression, LayerFailure>),
    /// More of the tar, perhaps, and more to come.
    Chunk,
    /// More of the tar, perhaps; for more, a window of this many bytes must be granted.
    Window(u64),
    /// The last of the tar, and what the blob says of all of it; or the part before an error.
    TarEnd(io::Result<Option<DeclaredChecksum>>),
    /// All of the blob was read.
    BlobEnd(BlobEnd),
}

impl<'a> Decode<'a> {
    /// Returns the stage of a layer, with nothing asked of the source.
    pub(super) fn new(source: &'a dyn LayerSource, index: usize) -> Self {
        Self {
            source,
            index,
            phase: Phase::Closed,
        }
    }

    /// Returns whether there are no more steps.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Returns the blob, as long as there is more of it to read.
    pub(super) fn read_ahead(&self) -> Option<Arc<ReadAhead>> {
        match &self.phase {
            Phase::Tar(_, blob) | Phase::Unpacked(blob) | Phase::Rest(blob) => Some(Arc::clone(blob)),
            Phase::Closed | Phase::Done => None,
        }
    }

    /// Goes on without the tar.
    pub(super) fn skip_tar(&mut self) {
        if let Some(blob) = self.read_ahead() {
            self.phase = Phase::Rest(blob);
        }
    }

    /// Grants the decoder memory for windows of at most `max` bytes.
    pub(super) fn grant_window(&mut self, max: u64) {
        if let Phase::Tar(decoder, _) = &mut self.phase {
            decoder.grant_window(max);
        }
    }

    /// Goes one step further. The chunk then holds the next part of the tar.
    pub(super) fn step(&mut self, chunk: &mut Chunk) -> Decoded {
        match &mut self.phase {
            Phase::Closed => {
                chunk.clear();
                Decoded::Opened(self.open())
            }
            Phase::Tar(decoder, blob) => {
                let filled = chunk.fill(decoder);
                match (decoder.wanted_window(), filled) {
                    (Some(window), Ok(())) => Decoded::Window(window),
                    (None, Ok(())) if chunk.is_full() => Decoded::Chunk,
                    (_, end) => {
                        let end = end.map(|()| decoder.checksum());
                        self.phase = Phase::Rest(Arc::clone(blob));
                        Decoded::TarEnd(end)
                    }
                }
            }
            Phase::Unpacked(blob) => match blob.exchange(chunk) {
                Ok(true) => Decoded::Chunk,
                end => {
                    chunk.clear();
                    self.phase = Phase::Rest(Arc::clone(blob));
                    Decoded::TarEnd(end.map(|_| None))
                }
            },
            Phase::Rest(blob) => {
                let has_more = matches!(blob.exchange(chunk), Ok(true));
                chunk.clear();
                if has_more {
                    return Decoded::Chunk;
                }
                let end = blob.end();
                self.phase = Phase::Done;
                Decoded::BlobEnd(end)
            }
            Phase::Done => unreachable!("there is no step after the last"),
        }
    }

    fn open(&mut self) -> Result<Compression, LayerFailure> {
        self.phase = Phase::Done;
        let blob = Arc::new(ReadAhead::new(self.source.open(self.index)?));
        self.phase = Phase::Rest(Arc::clone(&blob));
        let reader = ReadAheadReader::new(Arc::clone(&blob));
        let (compression, decoder) = self.source.decoder(self.index, Box::new(reader))?;
        self.phase = match decoder {
            Some(mut decoder) => {
                decoder.grant_window(0);
                Phase::Tar(decoder, blob)
            }
            None => Phase::Unpacked(blob),
        };
        Ok(compression)
    }
}
