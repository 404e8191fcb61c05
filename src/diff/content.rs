//! Comparison of the contents of two regular files.

use std::fs;
use std::rc::Rc;

use ext4::read::{File, Inode};
use ext4::{ReadError, Reader};

use super::error::DiffError;
use super::excerpt::{self, MAX_LINE_PAIRS, MAX_TEXT_LEN, ROW_LEN};
use super::side::DiffSide;
use layer::cancel::Cancellable;
use oci::{Algorithm, Digest};

/// Bytes compared at once.
const CHUNK: u64 = 256 << 10;
/// Maximum number of bytes of holes that are hashed, over all files, so that sparse files cost no
/// time.
const MAX_HASHED_HOLES: u64 = 4 << 30;
/// Number of rows of bytes in an excerpt.
const SHOWN_ROWS: u64 = 8;

/// Work that is still allowed for excerpts and digests, over all files.
pub(super) struct ContentBudget {
    line_pairs: u64,
    hole_bytes: u64,
}

impl Default for ContentBudget {
    fn default() -> Self {
        Self {
            line_pairs: MAX_LINE_PAIRS,
            hole_bytes: MAX_HASHED_HOLES,
        }
    }
}

/// Difference between the contents of two files.
pub(super) struct ContentDifference {
    /// Offset of the first byte that differs or that only one of the files has.
    pub(super) offset: u64,
    /// SHA-256 of each file; `None` if the budget for hashing holes is used up.
    pub(super) digests: [Option<Digest>; 2],
    pub(super) excerpt: Vec<String>,
}

/// A regular file of one of the images, open for reading.
struct ComparedFile<'a> {
    side: &'a mut DiffSide,
    file: File<Rc<Reader<Cancellable<fs::File>>>>,
    /// Number of its data ranges that end before the current offset.
    passed_ranges: usize,
}

/// Compares two files. Returns `None` if they have the same content.
pub(super) fn compare(
    (a, a_inode): (&mut DiffSide, &Inode),
    (b, b_inode): (&mut DiffSide, &Inode),
    budget: &mut ContentBudget,
) -> Result<Option<ContentDifference>, DiffError> {
    let mut a = ComparedFile::new(a, a_inode)?;
    let mut b = ComparedFile::new(b, b_inode)?;
    let Some(offset) = first_difference(&mut a, &mut b)? else {
        return Ok(None);
    };
    let digests = [a.digest(budget)?, b.digest(budget)?];
    let is_short = a.size().max(b.size()) <= MAX_TEXT_LEN;
    let text = if is_short {
        let (a, b) = (a.read_part(0, a.size())?, b.read_part(0, b.size())?);
        excerpt::of_texts(&a, &b, &mut budget.line_pairs)
    } else {
        None
    };
    let excerpt = if let Some(text) = text {
        text
    } else {
        let start = offset / ROW_LEN * ROW_LEN;
        let len = ROW_LEN * SHOWN_ROWS;
        excerpt::of_bytes(start, &a.read_part(start, len)?, &b.read_part(start, len)?)
    };
    Ok(Some(ContentDifference {
        offset,
        digests,
        excerpt,
    }))
}

fn first_difference(a: &mut ComparedFile<'_>, b: &mut ComparedFile<'_>) -> Result<Option<u64>, DiffError> {
    let end = a.size().min(b.size());
    let mut offset = 0;
    loop {
        // Ranges that are holes in both files are skipped.
        let next = [a.next_data(offset)?, b.next_data(offset)?].into_iter().flatten().min();
        let Some(start) = next.filter(|&start| start < end) else {
            return Ok((a.size() != b.size()).then_some(end));
        };
        let len = CHUNK.min(end - start);
        let (left, right) = (a.read_part(start, len)?, b.read_part(start, len)?);
        if left != right {
            let same = left.iter().zip(&right).take_while(|(left, right)| left == right);
            return Ok(Some(start + same.count() as u64));
        }
        offset = start + len;
    }
}

impl<'a> ComparedFile<'a> {
    fn new(side: &'a mut DiffSide, inode: &Inode) -> Result<Self, DiffError> {
        Ok(Self {
            file: side.open_file(inode)?,
            side,
            passed_ranges: 0,
        })
    }

    fn size(&self) -> u64 {
        self.file.inode().size
    }

    /// Returns the offset of the next byte, from `offset` on, that is not a hole: neither of the
    /// file in the image, nor of the image's file on the host. `offset` must not decrease between
    /// calls.
    fn next_data(&mut self, offset: u64) -> Result<Option<u64>, DiffError> {
        while let Some(range) = self.file.data().get(self.passed_ranges) {
            let from = range.start.max(offset);
            let end = range.start + range.len;
            if from < end {
                if self.side.info.needs_recovery {
                    // The newest copy of a block may be in the journal, so a hole at its own
                    // position proves nothing.
                    return Ok(Some(from));
                }
                let position = range.position() + (from - range.start);
                let data = self.side.file.next_data(position);
                let data = data.map_err(|error| self.side.error(error))?;
                let skipped = data.map_or(u64::MAX, |data| data.start - position);
                if skipped < end - from {
                    return Ok(Some(from + skipped));
                }
            }
            self.passed_ranges += 1;
        }
        Ok(None)
    }

    /// Reads up to `len` bytes, with zeros for holes. Fewer are returned at the end of the file.
    fn read_part(&self, start: u64, len: u64) -> Result<Vec<u8>, DiffError> {
        self.side.check_cancelled()?;
        let len = len.min(self.size().saturating_sub(start));
        let mut bytes = vec![0; usize::try_from(len).expect("a part fits in memory")];
        let read = self.file.read_at(&mut bytes, start);
        read.map_err(|error| self.side.error(error))?;
        Ok(bytes)
    }

    fn digest(&mut self, budget: &mut ContentBudget) -> Result<Option<Digest>, DiffError> {
        let data: u64 = self.file.data().iter().map(|range| range.len).sum();
        let Some(left) = budget.hole_bytes.checked_sub(self.size().saturating_sub(data)) else {
            return Ok(None);
        };
        budget.hole_bytes = left;
        let digest = Digest::of_reader(Algorithm::Sha256, &mut self.file);
        digest.map(Some).map_err(|error| match error.downcast::<ReadError>() {
            Ok(error) => self.side.error(error),
            Err(error) => self.side.error(error),
        })
    }
}
