//! What the layers of an image may cost, and what they have cost so far.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use super::error::LayerErrorKind;
use super::tar::{TarEntry, TarEntryKind};

/// What each range of data in a sparse file costs besides its bytes: a block of the disk, and its place in memory.
const RANGE_COST: u64 = 4096;

/// What all layers of an image may cost together, however small they are as long as they are compressed.
///
/// What a later layer removes again counts too. Lengths that no file system can have, of names and paths for example, are not
/// among these limits: nothing can raise them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the layers may have when they are unpacked, and bytes that a disk may have that is made to fit.
    pub size: u64,
    /// Entries of layers, and directories without an entry of their own. Each takes some 400 bytes of memory.
    pub entries: u64,
    /// Bytes of paths and of what symlinks on the way make of them, of link targets, and what extended attributes take in memory: twice
    /// their bytes, and 256 for each.
    pub metadata: u64,
}

impl Default for Limits {
    /// 64 GiB, 4 million entries, and 1 GiB of metadata.
    fn default() -> Self {
        Self {
            size: 64 << 30,
            entries: 4_000_000,
            metadata: 1 << 30,
        }
    }
}

impl Limits {
    /// Returns the limit in bytes on the compressed layers: a little above [`Limits::size`], since
    /// some data grows when it is compressed.
    #[must_use]
    pub fn max_compressed(&self) -> u64 {
        const SLACK: u64 = 64 << 20;
        self.size.saturating_add(self.size / 8).saturating_add(SLACK)
    }
}

/// What of the limits is used up.
pub(super) struct Budget {
    limits: Limits,
    /// Not of the layer that is being read.
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

    /// Counts an entry, with the bytes of its metadata.
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

    /// What counts the bytes of the next layer.
    pub(super) fn size_meter(&self) -> SizeMeter {
        SizeMeter {
            base: Cell::new(self.size),
            read: Cell::new(0),
            max: self.limits.size,
        }
    }

    /// Adds what a layer had.
    pub(super) fn add_layer(&mut self, meter: &SizeMeter) {
        self.size = meter.total(meter.read.get());
    }
}

/// Counts the bytes that a layer has when it is unpacked.
pub(super) struct SizeMeter {
    /// Bytes of the layers before, and what ranges of sparse files cost.
    base: Cell<u64>,
    /// Bytes of this layer, as far as it was read.
    read: Cell<u64>,
    max: u64,
}

impl SizeMeter {
    /// Reads a layer, as far as it may go.
    pub(super) fn reader<R: BufRead>(&self, tar: R) -> impl BufRead {
        MeteredReader { tar, meter: self }
    }

    /// Refuses an entry for which there is no room before any of its content is read; `offset` is that of its header.
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

    /// The error that is behind all others once there was more to read than was allowed.
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

    fn total(&self, read: u64) -> u64 {
        self.base.get().saturating_add(read)
    }
}

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
