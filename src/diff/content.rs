//! Whether two files hold the same, and where they begin to differ.

use std::fs;
use std::rc::Rc;

use ext4::read::{File, Inode};
use ext4::{ReadError, Reader};

use super::error::DiffError;
use super::excerpt::{self, MAX_LINE_PAIRS, MAX_TEXT_LEN, ROW};
use super::side::Side;
use layer::cancel::Cancellable;
use oci::{Algorithm, Digest};

/// Bytes that are compared at once.
const CHUNK: u64 = 256 << 10;
/// Most bytes of holes that are hashed, over all files: a file that takes no room shall take no time.
const MAX_HASHED_HOLES: u64 = 4 << 30;
/// Rows of bytes that are shown.
const SHOWN_ROWS: u64 = 8;

/// What may still be done for excerpts and digests.
pub(super) struct Budget {
    line_pairs: u64,
    hole_bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            line_pairs: MAX_LINE_PAIRS,
            hole_bytes: MAX_HASHED_HOLES,
        }
    }
}

/// How two files differ.
pub(super) struct Differing {
    /// The first byte that only one of them has, or that is another.
    pub(super) offset: u64,
    /// SHA-256 of each; none where there are too many holes.
    pub(super) digests: [Option<Digest>; 2],
    pub(super) excerpt: Vec<String>,
}

/// A file in an image.
struct Content<'a> {
    side: &'a mut Side,
    file: File<Rc<Reader<Cancellable<fs::File>>>>,
    /// Ranges of its data that end before what is looked at.
    passed: usize,
}

/// Compares two files.
pub(super) fn compare(
    (a, a_inode): (&mut Side, &Inode),
    (b, b_inode): (&mut Side, &Inode),
    budget: &mut Budget,
) -> Result<Option<Differing>, DiffError> {
    let mut a = Content::new(a, a_inode)?;
    let mut b = Content::new(b, b_inode)?;
    let Some(offset) = first_difference(&mut a, &mut b)? else {
        return Ok(None);
    };
    let digests = [a.digest(budget)?, b.digest(budget)?];
    let is_short = a.size().max(b.size()) <= MAX_TEXT_LEN;
    let text = if is_short {
        let (a, b) = (a.part(0, a.size())?, b.part(0, b.size())?);
        excerpt::of_texts(&a, &b, &mut budget.line_pairs)
    } else {
        None
    };
    let excerpt = if let Some(text) = text {
        text
    } else {
        let start = offset / ROW * ROW;
        let len = ROW * SHOWN_ROWS;
        excerpt::of_bytes(start, &a.part(start, len)?, &b.part(start, len)?)
    };
    Ok(Some(Differing {
        offset,
        digests,
        excerpt,
    }))
}

fn first_difference(a: &mut Content<'_>, b: &mut Content<'_>) -> Result<Option<u64>, DiffError> {
    let end = a.size().min(b.size());
    let mut offset = 0;
    loop {
        // What is a hole on both sides is not looked at.
        let next = [a.next(offset)?, b.next(offset)?].into_iter().flatten().min();
        let Some(start) = next.filter(|&start| start < end) else {
            return Ok((a.size() != b.size()).then_some(end));
        };
        let len = CHUNK.min(end - start);
        let (left, right) = (a.part(start, len)?, b.part(start, len)?);
        if left != right {
            let same = left.iter().zip(&right).take_while(|(left, right)| left == right);
            return Ok(Some(start + same.count() as u64));
        }
        offset = start + len;
    }
}

impl<'a> Content<'a> {
    fn new(side: &'a mut Side, inode: &Inode) -> Result<Self, DiffError> {
        Ok(Self {
            file: side.open_file(inode)?,
            side,
            passed: 0,
        })
    }

    fn size(&self) -> u64 {
        self.file.inode().size
    }

    /// Where the next bytes are that the image's file has, from an offset on, which never goes back.
    fn next(&mut self, offset: u64) -> Result<Option<u64>, DiffError> {
        while let Some(range) = self.file.data().get(self.passed) {
            let from = range.start.max(offset);
            let end = range.start + range.len;
            if from < end {
                if self.side.info.needs_recovery {
                    // What the journal holds is not where the image's holes tell of.
                    return Ok(Some(from));
                }
                let position = range.position() + (from - range.start);
                let data = self.side.holes.next_data(position);
                let data = data.map_err(|error| self.side.failed(error))?;
                let skipped = data.map_or(u64::MAX, |data| data.start - position);
                if skipped < end - from {
                    return Ok(Some(from + skipped));
                }
            }
            self.passed += 1;
        }
        Ok(None)
    }

    /// Bytes from an offset on, with zeros for holes, and fewer at the end.
    fn part(&self, start: u64, len: u64) -> Result<Vec<u8>, DiffError> {
        self.side.check()?;
        let len = len.min(self.size().saturating_sub(start));
        let mut bytes = vec![0; usize::try_from(len).expect("parts fit in memory")];
        let read = self.file.read_at(&mut bytes, start);
        read.map_err(|error| self.side.failed(error))?;
        Ok(bytes)
    }

    fn digest(&mut self, budget: &mut Budget) -> Result<Option<Digest>, DiffError> {
        let data: u64 = self.file.data().iter().map(|range| range.len).sum();
        let Some(left) = budget.hole_bytes.checked_sub(self.size().saturating_sub(data)) else {
            return Ok(None);
        };
        budget.hole_bytes = left;
        let digest = Digest::of_reader(Algorithm::Sha256, &mut self.file);
        digest.map(Some).map_err(|error| match error.downcast::<ReadError>() {
            Ok(error) => self.side.failed(error),
            Err(error) => self.side.failed(error),
        })
    }
}
