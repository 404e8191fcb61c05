//! One layer on its way: what of it waits for which step.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::decoding::{Decoded, Decoding};
use super::feed::{End, Feed};
use super::piece::Piece;
use super::tar_check::TarCheck;
use super::windows::{Claim, WINDOW_SHARE};
use crate::error::LayerFailure;
use layer::cancel::Cancel;
use layer::{Compression, SaidChecksum};
use oci::{Layer, Source};

/// Pieces that the lanes above leave to a lane: 8 MiB.
const RESERVE: usize = 32;

/// One layer: the boxes that are not in a thread's hands, and the pieces between them.
pub(super) struct Lane<'a> {
    /// The blob, once it is open.
    feed: Option<Arc<Feed>>,
    /// Undoes the compression of the blob.
    decoding: Option<Box<Decoding<'a>>>,
    /// Hashes the tar, and keeps it.
    pub(super) check: Option<Box<TarCheck<'a>>>,
    /// Pieces that nobody has hashed.
    decoded: VecDeque<Piece>,
    /// Pieces to apply.
    checked: VecDeque<Piece>,
    /// All pieces, those in a thread's hands included.
    piece_count: usize,
    /// Whether the blob is there and can be decoded, until somebody takes note of it.
    pub(super) opened: Option<Result<Compression, LayerFailure>>,
    /// How the tar ended, behind all pieces, and what the blob says of it.
    tar_end: Option<io::Result<Option<SaidChecksum>>>,
    /// How the blob ended.
    pub(super) end: Option<End>,
    /// Memory for the window of its decoder.
    pub(super) claim: Claim,
    /// Set if it begins again, without that memory, as soon as no thread has a box of it.
    is_restarting: bool,
    /// Whether nobody wants the rest of the tar.
    is_skipped: bool,
    /// Whether a layer below is the same: only one of them can be told why there is no blob, and that is the lower one, if this one
    /// is not begun before its turn.
    pub(super) same_before: bool,
}

/// Something to do with a piece, and the box to do it with.
pub(super) enum Step<'a> {
    Fetch(Arc<Feed>),
    Decode(Box<Decoding<'a>>, Piece),
    Check(Box<TarCheck<'a>>, Piece),
}

/// What was done.
pub(super) enum Outcome<'a> {
    Fetched,
    Decoded(Box<Decoding<'a>>, Decoded, Piece),
    Checked(Box<TarCheck<'a>>, Piece),
}

impl<'a> Step<'a> {
    pub(super) fn take(self) -> Outcome<'a> {
        match self {
            Self::Fetch(feed) => {
                feed.fetch();
                Outcome::Fetched
            }
            Self::Decode(mut decoding, mut piece) => {
                let decoded = decoding.step(&mut piece);
                Outcome::Decoded(decoding, decoded, piece)
            }
            Self::Check(mut check, piece) => {
                check.update(piece.bytes());
                Outcome::Checked(check, piece)
            }
        }
    }
}

impl<'a> Lane<'a> {
    pub(super) fn new(source: &'a Source, layer: &'a Layer, same_before: bool, cancel: &'a Cancel) -> Self {
        Self {
            feed: None,
            decoding: Some(Box::new(Decoding::new(source, layer, cancel))),
            check: Some(Box::new(TarCheck::new(source, layer))),
            decoded: VecDeque::new(),
            checked: VecDeque::new(),
            piece_count: 0,
            opened: None,
            tar_end: None,
            end: None,
            claim: Claim::default(),
            is_restarting: false,
            is_skipped: false,
            same_before,
        }
    }

    /// Takes part in reading the blob, if that is possible now.
    pub(super) fn next_fetch(&self) -> Option<Step<'a>> {
        let feed = self
            .feed
            .as_ref()
            .filter(|feed| feed.has_room() && !self.is_restarting)?;
        Some(Step::Fetch(Arc::clone(feed)))
    }

    /// Takes the decoder to fill one of so many free pieces, if that is possible now.
    pub(super) fn next_decode(&mut self, free: usize, spare: &mut Vec<Piece>) -> Option<Step<'a>> {
        let has_room = free > 0 && self.claim.lacking() == 0;
        if self.is_restarting || !(has_room || self.is_skipped) {
            return None;
        }
        let mut decoding = self.decoding.take()?;
        if self.is_skipped {
            decoding.skip();
            self.claim = Claim::default();
        } else {
            decoding.grant_window(self.claim.held() as u64 * WINDOW_SHARE);
        }
        self.piece_count += 1;
        Some(Step::Decode(decoding, spare.pop().unwrap_or_else(Piece::new)))
    }

    /// All its pieces, those in a thread's hands included.
    pub(super) fn piece_count(&self) -> usize {
        self.piece_count
    }

    /// How many of the free pieces the lanes above must leave to it, so that it never waits for them.
    pub(super) fn reserve(&self) -> usize {
        if self.tar_end.is_some() {
            return 0;
        }
        RESERVE.saturating_sub(self.piece_count)
    }

    /// Takes the hash of the tar and the next piece for it, if there are both.
    pub(super) fn next_check(&mut self) -> Option<Step<'a>> {
        if self.is_restarting {
            return None;
        }
        let piece = self.decoded.pop_front_if(|_| self.check.is_some())?;
        self.check.take().map(|check| Step::Check(check, piece))
    }

    /// Takes back what a step was made with.
    pub(super) fn put(&mut self, outcome: Outcome<'a>, spare: &mut Vec<Piece>) {
        let (pieces, piece) = match outcome {
            Outcome::Fetched => return,
            Outcome::Checked(check, piece) => {
                self.check = Some(check);
                (&mut self.checked, piece)
            }
            Outcome::Decoded(decoding, decoded, piece) => {
                match decoded {
                    Decoded::Opened(result) => {
                        if let (Ok(Compression::Gzip), Some(check)) = (&result, &mut self.check) {
                            check.begin_gzip();
                        }
                        self.opened = Some(result);
                    }
                    Decoded::Piece => {}
                    Decoded::Window(len) => self.claim.want(len),
                    Decoded::TarEnd(result) => {
                        self.tar_end = Some(result);
                        // The decoder is gone, and nothing is gained by beginning again.
                        self.claim = Claim::default();
                        self.is_restarting = false;
                    }
                    Decoded::End(end) => self.end = Some(end),
                }
                self.feed = decoding.feed();
                if !decoding.is_over() {
                    self.decoding = Some(decoding);
                }
                (&mut self.decoded, piece)
            }
        };
        if self.is_skipped || piece.bytes().is_empty() {
            self.piece_count -= 1;
            spare.push(piece);
        } else {
            pieces.push_back(piece);
        }
        if self.is_restarting {
            self.restart(spare);
        }
    }

    /// Returns whether it is about to begin again.
    pub(super) fn is_restarting(&self) -> bool {
        self.is_restarting
    }

    /// Stays as it is, since its turn has come.
    pub(super) fn stay(&mut self) {
        self.is_restarting = false;
    }

    /// Gives back the memory for the window of its decoder, and all that came out of it: the layer
    /// is decoded again later.
    pub(super) fn restart(&mut self, spare: &mut Vec<Piece>) {
        if self.claim.held() == 0 {
            return;
        }
        self.is_restarting = true;
        let (Some(decoding), Some(check)) = (&mut self.decoding, &mut self.check) else {
            return;
        };
        decoding.restart();
        check.restart();
        self.feed = None;
        self.opened = None;
        self.drop_pieces(spare);
        self.claim = Claim::default();
        self.is_restarting = false;
    }

    /// The next piece to apply, or the end of the tar; `None` if neither is there yet.
    pub(super) fn next_piece(&mut self) -> Option<io::Result<Option<Piece>>> {
        if let Some(piece) = self.checked.pop_front() {
            return Some(Ok(Some(piece)));
        }
        let check = self.check.as_ref().filter(|_| self.decoded.is_empty())?;
        // Whoever reads on after the end finds it again; an error is told once.
        let end = std::mem::replace(self.tar_end.as_mut()?, Ok(None));
        Some(end.and_then(|said| check.expect(said)).map(|()| None))
    }

    /// Takes note that the applier gave a piece back.
    pub(super) fn recycled(&mut self) {
        self.piece_count -= 1;
    }

    /// Drops what is there of the tar; the rest is not decoded any more.
    pub(super) fn skip(&mut self, spare: &mut Vec<Piece>) {
        self.is_skipped = true;
        self.drop_pieces(spare);
    }

    fn drop_pieces(&mut self, spare: &mut Vec<Piece>) {
        let pieces = self.decoded.drain(..).chain(self.checked.drain(..));
        let before = spare.len();
        spare.extend(pieces);
        self.piece_count -= spare.len() - before;
    }
}
