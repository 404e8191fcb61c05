//! The blob of a layer, read and hashed by one thread or another, ahead of its decoder.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::piece::{Piece, PieceReader, Pieces};
use layer::cancel::{Cancel, Cancellable, Cancelled};
use oci::{Blob, Check, DigestError};

/// Most pieces that are read ahead: 2 MiB.
const MAX_PIECES: usize = 8;

/// A blob, and what was read of it and not decoded yet.
pub(super) struct Feed {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The box that reads and hashes, unless a thread has it.
    blob: Option<Hashed>,
    pieces: VecDeque<Piece>,
    /// How the blob ended, behind all pieces; an error is told once.
    end: Option<io::Result<()>>,
    /// Pieces to be used again.
    spare: Vec<Piece>,
}

/// A blob, and its hash so far unless somebody else computes it.
struct Hashed {
    blob: Cancellable<Blob>,
    check: Option<Check>,
    /// Why there is no more of the blob, if that is not because it ended.
    failure: Option<io::Error>,
}

/// How a blob ended.
pub(in crate::rootfs) struct End {
    /// Whether it could be read to its end.
    pub(in crate::rootfs) read: io::Result<()>,
    /// Whether it was the one that the manifest names, if it could.
    pub(in crate::rootfs) verdict: Result<(), DigestError>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match self.blob.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                // The decoder gets the one, and whoever asks how the blob ended the other.
                self.failure = Some(if Cancelled::caused(&error) {
                    Cancelled.into()
                } else {
                    io::Error::new(error.kind(), error.to_string())
                });
                return Err(error);
            }
            result => result?,
        };
        if let Some(check) = &mut self.check {
            let checked = check.update(&buffer[..len]);
            checked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(len)
    }
}

impl Feed {
    /// A blob, and the check that it has to pass.
    pub(super) fn new(blob: Blob, check: Check, cancel: &Cancel) -> Self {
        let blob = Hashed {
            check: (!blob.is_hashed_elsewhere()).then_some(check),
            blob: Cancellable::new(blob, cancel),
            failure: None,
        };
        Self {
            state: Mutex::new(State {
                blob: Some(blob),
                pieces: VecDeque::new(),
                end: None,
                spare: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Whether one more piece can be read ahead.
    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        state.blob.is_some() && state.end.is_none() && state.pieces.len() < MAX_PIECES
    }

    /// Reads and hashes one piece, if nobody else does and there is more.
    pub(super) fn fetch(&self) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        let Some(blob) = state.blob.take() else { return };
        let piece = state.spare.pop().unwrap_or_else(Piece::new);
        drop(state);
        let mut fetching = Fetching {
            feed: self,
            blob: Some(blob),
            piece: Some(piece),
            end: None,
        };
        fetching.fill();
    }

    /// Takes the next piece, and reads it if it is not there yet; none at the end.
    fn next(&self, used: Option<Piece>) -> io::Result<Option<Piece>> {
        let mut state = self.lock();
        state.spare.extend(used);
        loop {
            if let Some(piece) = state.pieces.pop_front() {
                return Ok(Some(piece));
            }
            if let Some(end) = &mut state.end {
                return mem::replace(end, Ok(())).map(|()| None);
            }
            state = if state.blob.is_some() {
                drop(state);
                self.fetch();
                self.lock()
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Exchanges a piece for the next, and says whether there was one.
    pub(super) fn exchange(&self, piece: &mut Piece) -> io::Result<bool> {
        let Some(next) = self.next(None)? else {
            return Ok(false);
        };
        let used = mem::replace(piece, next);
        self.lock().spare.push(used);
        Ok(true)
    }

    /// How the blob ended, of which no more is read.
    pub(super) fn end(&self) -> End {
        let blob = self.lock().blob.take();
        let blob = blob.expect("who reads the last piece gives the blob back with it");
        End {
            read: blob.failure.map_or(Ok(()), Err),
            verdict: blob.check.map_or(Ok(()), Check::finish),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob in the hands of a thread, which gives it back with what it has read, whatever happens.
struct Fetching<'feed> {
    feed: &'feed Feed,
    blob: Option<Hashed>,
    piece: Option<Piece>,
    end: Option<io::Result<()>>,
}

impl Fetching<'_> {
    fn fill(&mut self) {
        if let (Some(blob), Some(piece)) = (&mut self.blob, &mut self.piece) {
            let result = piece.fill(blob);
            if result.is_err() || !piece.is_full() {
                self.end = Some(result);
            }
        }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut state = self.feed.lock();
        state.blob = self.blob.take();
        state.pieces.extend(self.piece.take());
        state.end = self.end.take();
        self.feed.changed.notify_all();
    }
}

/// What a decoder reads.
pub(super) type FeedReader = PieceReader<Arc<Feed>>;

impl Pieces for Arc<Feed> {
    fn next(&mut self, read: Option<Piece>) -> io::Result<Option<Piece>> {
        Feed::next(self, read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use oci::{Algorithm, Digest};

    /// What reading a blob of ten bytes to its end comes to, and how it ended.
    fn read(file: File, cancelled: bool) -> (io::Result<usize>, End) {
        let check = Check::new(Digest::of(Algorithm::Sha256, &[0; 10]), Some(10));
        let cancel = Cancel::new();
        if cancelled {
            cancel.cancel();
        }
        let feed = Arc::new(Feed::new(Blob::of_file(file, 10), check, &cancel));
        let read = FeedReader::new(Arc::clone(&feed)).read_to_end(&mut Vec::new());
        (read, feed.end())
    }

    #[test]
    fn what_could_not_be_read_is_not_called_damaged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10).unwrap();
        let (read_result, end) = read(file.reopen().unwrap(), false);
        assert_eq!(read_result.unwrap(), 10);
        assert!(end.read.is_ok() && end.verdict.is_ok());

        let unreadable = File::options().write(true).open(file.path()).unwrap();
        for (file, cancelled) in [(unreadable, false), (file.reopen().unwrap(), true)] {
            let (read_result, end) = read(file, cancelled);
            assert_eq!(end.read.unwrap_err().to_string(), read_result.unwrap_err().to_string());
        }

        file.as_file().set_len(9).unwrap();
        let (_, end) = read(file.reopen().unwrap(), false);
        assert!(end.read.is_ok() && end.verdict.is_err());
    }
}
