//! From the blob of a layer to its tar, piece by piece, and on to the blob's end.

use std::io;
use std::sync::Arc;

use super::feed::{End, Feed, FeedReader};
use super::piece::Piece;
use crate::error::LayerFailure;
use layer::cancel::Cancel;
use layer::{self, Compression, Decoder, SaidChecksum};
use oci::{Check, Layer, Source};

/// Opens a blob, and undoes its compression.
pub(super) struct Decoding<'a> {
    source: &'a Source,
    layer: &'a Layer,
    cancel: &'a Cancel,
    phase: Phase,
}

enum Phase {
    /// Nothing was asked of the source yet.
    Closed,
    /// The tar is being decoded.
    Tar(Box<Decoder<FeedReader>>, Arc<Feed>),
    /// The blob is the tar.
    Unpacked(Arc<Feed>),
    /// What follows is only hashed: what is wrong with the tar may come from a damaged blob.
    Rest(Arc<Feed>),
    Over,
}

/// What a step has come to.
pub(super) enum Decoded {
    /// The source has the blob or not, and it can be decoded or not.
    Opened(Result<Compression, LayerFailure>),
    /// More of the tar, perhaps, and more to come.
    Piece,
    /// More of the tar, perhaps; for more, a window of this many bytes must be granted.
    Window(u64),
    /// The last of the tar, and what the blob says of all of it; or as much as there was before the error.
    TarEnd(io::Result<Option<SaidChecksum>>),
    /// All of the blob was read.
    End(End),
}

impl<'a> Decoding<'a> {
    pub(super) fn new(source: &'a Source, layer: &'a Layer, cancel: &'a Cancel) -> Self {
        Self {
            source,
            layer,
            cancel,
            phase: Phase::Closed,
        }
    }

    /// Whether there are no more steps.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// The blob, as long as there is more of it to read.
    pub(super) fn feed(&self) -> Option<Arc<Feed>> {
        match &self.phase {
            Phase::Tar(_, feed) | Phase::Unpacked(feed) | Phase::Rest(feed) => Some(Arc::clone(feed)),
            Phase::Closed | Phase::Over => None,
        }
    }

    /// Goes on without the tar.
    pub(super) fn skip(&mut self) {
        if let Some(feed) = self.feed() {
            self.phase = Phase::Rest(feed);
        }
    }

    /// Grants the decoder memory for windows of at most this many bytes.
    pub(super) fn grant_window(&mut self, max: u64) {
        if let Phase::Tar(decoder, _) = &mut self.phase {
            decoder.grant_window(max);
        }
    }

    /// Begins again, with nothing asked of the source.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Goes one step further. The piece holds what there is of the tar then.
    pub(super) fn step(&mut self, piece: &mut Piece) -> Decoded {
        match &mut self.phase {
            Phase::Closed => {
                piece.clear();
                Decoded::Opened(self.open())
            }
            Phase::Tar(decoder, feed) => {
                let filled = piece.fill(decoder);
                match (decoder.wanted_window(), filled) {
                    (Some(window), Ok(())) => Decoded::Window(window),
                    (None, Ok(())) if piece.is_full() => Decoded::Piece,
                    (_, end) => {
                        let end = end.map(|()| decoder.checksum());
                        self.phase = Phase::Rest(Arc::clone(feed));
                        Decoded::TarEnd(end)
                    }
                }
            }
            Phase::Unpacked(feed) => match feed.exchange(piece) {
                Ok(true) => Decoded::Piece,
                end => {
                    piece.clear();
                    self.phase = Phase::Rest(Arc::clone(feed));
                    Decoded::TarEnd(end.map(|_| None))
                }
            },
            Phase::Rest(feed) => {
                let has_more = matches!(feed.exchange(piece), Ok(true));
                piece.clear();
                if has_more {
                    return Decoded::Piece;
                }
                let end = feed.end();
                self.phase = Phase::Over;
                Decoded::End(end)
            }
            Phase::Over => unreachable!("nobody takes a step after the last"),
        }
    }

    fn open(&mut self) -> Result<Compression, LayerFailure> {
        self.phase = Phase::Over;
        // A second compression, of an archive that holds the layer, is undone here too, so that its
        // memory counts.
        let blob = self.source.blob(self.layer)?.packed();
        let check = Check::new(self.layer.digest.clone(), Some(self.layer.size));
        let feed = Arc::new(Feed::new(blob, check, self.cancel));
        self.phase = Phase::Rest(Arc::clone(&feed));
        if self.layer.is_unpacked() {
            self.phase = Phase::Unpacked(feed);
            return Ok(Compression::announced(&self.layer.media_type).unwrap_or(Compression::None));
        }
        let decoder = layer::decode(FeedReader::new(Arc::clone(&feed)), &self.layer.media_type)?;
        let compression = decoder.compression();
        // They are the work of the tar's check.
        let mut decoder = decoder.believing_checksums();
        decoder.grant_window(0);
        self.phase = Phase::Tar(Box::new(decoder), feed);
        Ok(compression)
    }
}
