//! Whether two images hold the same.

use ext4::{DataRange, FoundInode, FoundKind};

use super::error::Mke2fsError;
use super::pair::{Image, pair};
use layer::cancel::Cancel;

/// Bytes that are compared at once.
const CHUNK: u64 = 1 << 20;

/// Finds the first difference between two images.
pub(super) fn compare(native: &mut Image<'_>, made: &mut Image<'_>, cancel: &Cancel) -> Result<(), Mke2fsError> {
    let pairing = pair(native, made)?;
    if let Some(missing) = pairing.missing.first() {
        return Err(Mke2fsError::different(&missing.path, "it is missing"));
    }
    for (&ino, paired) in &pairing.inodes {
        let expected = native.inode(ino)?;
        let found = made.inode(paired.ino)?;
        let is_directory = expected.kind == FoundKind::Directory;
        let sized = |inode: &FoundInode| match inode.kind {
            FoundKind::File | FoundKind::Symlink => inode.size,
            _ => 0,
        };
        let what = if expected.kind != found.kind {
            "it is another device"
        } else if expected.mode != found.mode {
            "its mode"
        } else if (expected.uid, expected.gid) != (found.uid, found.gid) {
            "its owner"
        } else if expected.links != found.links && !is_directory {
            "its number of links"
        } else if times(&expected) != times(&found) {
            "its times"
        } else if sized(&expected) != sized(&found) {
            "its size"
        } else if native.xattrs(&expected)? != made.xattrs(&found)? {
            "its extended attributes"
        } else if expected.kind == FoundKind::Symlink && native.target(&expected)? != made.target(&found)? {
            "its target"
        } else if expected.kind == FoundKind::File && !same_content((native, &expected), (made, &found), cancel)? {
            "its content"
        } else {
            continue;
        };
        return Err(Mke2fsError::different(&paired.path, what));
    }
    Ok(())
}

fn times(inode: &FoundInode) -> [ext4::Timestamp; 3] {
    [inode.accessed, inode.modified, inode.changed]
}

/// Content on its way past; both sides have the same size.
struct Content<'a, 'b> {
    image: &'a mut Image<'b>,
    /// Ranges that end after the part that is looked at, the first one last.
    ranges: Vec<DataRange>,
    size: u64,
    buffer: Vec<u8>,
}

fn same_content(
    (native, expected): (&mut Image<'_>, &FoundInode),
    (made, found): (&mut Image<'_>, &FoundInode),
    cancel: &Cancel,
) -> Result<bool, Mke2fsError> {
    let mut expected = Content::new(native, expected)?;
    let mut found = Content::new(made, found)?;
    let mut offset = 0;
    loop {
        cancel.check()?;
        // What is a hole on both sides is not looked at.
        let next = [expected.next(offset), found.next(offset)].into_iter().flatten().min();
        let Some(start) = next else { return Ok(true) };
        offset = start + CHUNK;
        if expected.part(start)? != found.part(start)? {
            return Ok(false);
        }
    }
}

impl<'a, 'b> Content<'a, 'b> {
    fn new(image: &'a mut Image<'b>, inode: &FoundInode) -> Result<Self, Mke2fsError> {
        let mut ranges = image.data(inode)?;
        ranges.reverse();
        Ok(Self {
            image,
            ranges,
            size: inode.size,
            buffer: Vec::new(),
        })
    }

    /// Where the next data is, from an offset on.
    fn next(&mut self, offset: u64) -> Option<u64> {
        while self
            .ranges
            .last()
            .is_some_and(|range| range.start + range.len <= offset)
        {
            self.ranges.pop();
        }
        self.ranges.last().map(|range| range.start.max(offset))
    }

    /// A chunk from an offset on, with zeros for holes.
    fn part(&mut self, start: u64) -> Result<&[u8], Mke2fsError> {
        let end = self.size.min(start + CHUNK);
        let index = |offset: u64| usize::try_from(offset - start).expect("it lies in the chunk");
        self.buffer.clear();
        self.buffer.resize(index(end), 0);
        for range in self.ranges.iter().rev().take_while(|range| range.start < end) {
            let (from, to) = (range.start.max(start), (range.start + range.len).min(end));
            if from < to {
                let part = &mut self.buffer[index(from)..index(to)];
                self.image.read_data(range, from - range.start, part)?;
            }
        }
        Ok(&self.buffer)
    }
}
