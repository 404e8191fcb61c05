//! A reader that reads on a thread of its own.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::thread;

use super::{Cancel, Cancelled, Registration};

type ReadResult = io::Result<Vec<u8>>;

/// A reader for an input that may block forever, such as a pipe. A thread of its own reads it, so
/// that waiting for bytes ends when the flag is set.
///
/// The thread ends at the end of the input. If this reader is dropped before, the thread ends with
/// the next bytes.
#[derive(Debug)]
pub struct ThreadedReader {
    chunks: Receiver<ReadResult>,
    chunk: Vec<u8>,
    position: usize,
    done: bool,
    registration: Registration,
    cancel_waker: Waker,
}

/// Ends the wait for the next chunk by sending an error, while the thread that sends chunks lives.
struct CancelWaker(Weak<SyncSender<ReadResult>>);

impl Wake for CancelWaker {
    fn wake(self: Arc<Self>) {
        if let Some(sender) = self.0.upgrade() {
            // If the channel is full, there is nothing to wait for, and the next wait checks the
            // flag first.
            let _ = sender.try_send(Err(Cancelled.into()));
        }
    }
}

impl ThreadedReader {
    /// Length of a chunk in bytes: the capacity of a pipe on Linux.
    const CHUNK_LEN: usize = 64 << 10;

    /// Number of chunks that are read ahead.
    const MAX_CHUNKS_AHEAD: usize = 8;

    /// Starts a thread that reads `reader`.
    ///
    /// # Errors
    ///
    /// The error of the system if the thread cannot be started.
    pub fn new(reader: impl Read + Send + 'static, cancel: &Cancel) -> io::Result<Self> {
        let (sender, chunks) = sync_channel(Self::MAX_CHUNKS_AHEAD);
        let sender = Arc::new(sender);
        let cancel_waker = Arc::new(CancelWaker(Arc::downgrade(&sender))).into();
        let thread = thread::Builder::new().name("input".to_owned());
        thread.spawn(move || Self::send_all(reader, &sender))?;
        Ok(Self {
            chunks,
            chunk: Vec::new(),
            position: 0,
            done: false,
            registration: cancel.register(),
            cancel_waker,
        })
    }

    /// Sends chunks up to an error or the end. An empty chunk stands for the end. Returns early
    /// when the receiver is dropped.
    fn send_all(mut reader: impl Read, sender: &SyncSender<ReadResult>) {
        loop {
            let mut chunk = vec![0; Self::CHUNK_LEN];
            let read = match reader.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let is_last = !matches!(read, Ok(1..));
            let read = read.map(|len| {
                chunk.truncate(len);
                chunk
            });
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    }

    /// Waits for the next chunk.
    fn receive(&self) -> ReadResult {
        self.registration.set_waker(&self.cancel_waker)?;
        let chunk = self.chunks.recv();
        chunk.map_err(|_| io::Error::other("the thread that reads the input has ended"))?
    }
}

impl Read for ThreadedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() && !self.done {
            (self.chunk, self.position) = (self.receive()?, 0);
            self.done = self.chunk.is_empty();
        }
        let left = &self.chunk[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cancel_during;
    use super::*;

    #[test]
    fn a_threaded_reader_returns_all_bytes_and_the_error() {
        struct FailingReader;
        impl Read for FailingReader {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let cancel = Cancel::new();
        let content: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let mut read = Vec::new();
        let mut whole = ThreadedReader::new(io::Cursor::new(content.clone()), &cancel).unwrap();
        whole.read_to_end(&mut read).unwrap();
        assert!(read == content);
        assert_eq!(whole.read(&mut [0]).unwrap(), 0, "the end stays");

        let mut broken = ThreadedReader::new(io::Cursor::new(b"abc").chain(FailingReader), &cancel).unwrap();
        let error = broken.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(read.split_off(content.len()), b"abc");
        assert!(broken.read(&mut [0]).is_err(), "what broke off has no end");
    }

    #[test]
    fn a_wait_for_bytes_ends_when_the_flag_is_set() {
        let cancel = Cancel::new();
        let (silent, _writer) = io::pipe().unwrap();
        let mut waiting = ThreadedReader::new(silent, &cancel).unwrap();
        let error = cancel_during(&cancel, || waiting.read(&mut [0]).unwrap_err());
        assert!(Cancelled::caused(&error));
        // Even if bytes are there.
        let mut late = ThreadedReader::new(io::repeat(0), &cancel).unwrap();
        assert!(Cancelled::caused(&late.read(&mut [0]).unwrap_err()));
    }
}
