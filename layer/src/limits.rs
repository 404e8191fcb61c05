//! Limits on what the layers of an image may cost, and the counts against them.
//!
//! The limits are on cost, not on the rate of compression: bytes when unpacked, entries, and the
//! memory that holds them, over all layers, including what later layers remove. A limit on the rate
//! would refuse honest layers of zeros. A limit on the disk alone would let a layer overwrite one
//! file for hours.
//!
//! # To add a limit
//!
//! 1. Here: a field of [`Limits`] with its default, a counter in [`Budget`] if it is over all
//!    layers, and a check before the memory or time is spent (for a limit of one entry, in
//!    `change.rs`).
//! 2. `error.rs`: a variant of `LayerErrorKind` with kind `LimitExceeded`, and a hint to raise it.
//! 3. `failure.rs`: a `Setting`, and its flag in `src/cli/hints.rs` and the test there.
//! 4. `src/cli/limits.rs`: the flag. `README.md`: the table of flags, and `docs/limits.md`.
//! 5. Tests: `tests/layers/limits.rs`, right below and above it; `tests/cli/limits.rs`, error and
//!    flag.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use super::error::LayerErrorKind;
use super::tar::{TarEntry, TarEntryKind};

/// Bytes that a range of data in a sparse file counts for, besides its data: a block of the disk,
/// and its place in memory.
const RANGE_COST: u64 = 4096;

/// Limits on what all layers of an image may cost together, however well they compress.
///
/// Bytes, entries and metadata that a later layer removes count too. Lengths that no file system
/// allows, such as those of names and paths, have fixed limits that nothing can raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all layers when unpacked, and the largest size of a disk that is made to fit.
    pub size: u64,
    /// Number of entries, and of directories without an entry of their own. Each takes some 400
    /// bytes of memory.
    pub entries: u64,
    /// Bytes of metadata: paths, the targets of symlinks followed on the way, link targets, and
    /// extended attributes. An attribute counts for its memory: twice its bytes, and 256.
    pub metadata: u64,
}

impl Default for Limits {
    /// Returns 64 GiB, 4 million entries, and 1 GiB of metadata.
    fn default() -> Self {
        Self {
            size: 64 << 30,
            entries: 4_000_000,
            metadata: 1 << 30,
        }
    }
}

impl Limits {
    /// Returns the limit in bytes on the compressed layers. It is a little above [`Limits::size`],
    /// since some data grows when it is compressed.
    #[must_use]
    pub fn max_compressed(&self) -> u64 {
        const SLACK: u64 = 64 << 20;
        self.size.saturating_add(self.size / 8).saturating_add(SLACK)
    }
}

/// Counts of the layers so far, and their limits.
pub(super) struct Budget {
    limits: Limits,
    /// Bytes of the layers that were read to their end.
    size: u64,
    entries: u64,
    metadata: u64,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            size: 0,
            entries: 0,
            metadata: 0,
        }
    }

    /// Counts an entry and its bytes of metadata.
    pub(super) fn count_entry(&mut self, metadata: usize) -> Result<(), LayerErrorKind> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(LayerErrorKind::TooManyEntries {
                count: self.entries,
                max: self.limits.entries,
            });
        }
        self.count_metadata(metadata)
    }

    /// Counts bytes of metadata.
    pub(super) fn count_metadata(&mut self, metadata: usize) -> Result<(), LayerErrorKind> {
        self.metadata = self.metadata.saturating_add(metadata as u64);
        if self.metadata > self.limits.metadata {
            return Err(LayerErrorKind::TooMuchMetadata {
                len: self.metadata,
                max: self.limits.metadata,
            });
        }
        Ok(())
    }

    /// Returns a meter for the bytes of the next layer.
    pub(super) fn size_meter(&self) -> SizeMeter {
        SizeMeter {
            base: Cell::new(self.size),
            read: Cell::new(0),
            max: self.limits.size,
        }
    }

    /// Adds the bytes of a layer that was read to its end.
    pub(super) fn add_layer(&mut self, meter: &SizeMeter) {
        self.size = meter.total(meter.read.get());
    }
}

/// Counts the unpacked bytes of a layer while it is read.
pub(super) struct SizeMeter {
    /// Bytes of the layers before, and the cost of ranges of sparse files.
    base: Cell<u64>,
    /// Bytes of this layer that were read so far.
    read: Cell<u64>,
    max: u64,
}

impl SizeMeter {
    /// Returns a reader that counts the bytes of a layer, and fails beyond the limit.
    pub(super) fn reader<R: BufRead>(&self, tar: R) -> impl BufRead {
        MeteredReader { tar, meter: self }
    }

    /// Counts the ranges of a sparse file, and checks an entry against the limit before its content
    /// is read. `offset` is that of its header.
    pub(super) fn check_entry(&self, entry: &TarEntry, offset: u64) -> Result<(), LayerErrorKind> {
        let len = match &entry.kind {
            TarEntryKind::File(len) => *len,
            TarEntryKind::SparseFile(map) => {
                let cost = map.ranges.len() as u64 * RANGE_COST;
                self.base.set(self.base.get().saturating_add(cost));
                map.data_len()
            }
            _ => 0,
        };
        self.check_size(offset.saturating_add(len))
    }

    /// Checks the bytes that were read so far. Beyond the limit, its error is the cause of any
    /// other error of the reader.
    pub(super) fn check_read(&self) -> Result<(), LayerErrorKind> {
        self.check_size(self.read.get())
    }

    fn check_size(&self, read: u64) -> Result<(), LayerErrorKind> {
        let (len, max) = (self.total(read), self.max);
        if len > max {
            Err(LayerErrorKind::TooLarge { len, max })
        } else {
            Ok(())
        }
    }

    /// Returns the bytes of all layers, with `read` bytes of this one.
    fn total(&self, read: u64) -> u64 {
        self.base.get().saturating_add(read)
    }
}

/// A reader that counts its bytes in a [`SizeMeter`].
struct MeteredReader<'a, R> {
    tar: R,
    meter: &'a SizeMeter,
}

impl<R: BufRead> Read for MeteredReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buffer)?;
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for MeteredReader<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.meter.check_read().map_err(io::Error::other)?;
        self.tar.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.meter.read.set(self.meter.read.get().saturating_add(len as u64));
        self.tar.consume(len);
    }
}
