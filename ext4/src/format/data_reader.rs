//! [`DataReader`]: content of files, read back from an unfinished image.

use std::fmt;
use std::io::{self, Read};

use crate::block_writer::BlockWriter;
use crate::data::FileData;
use crate::output::Output;
use crate::units::Extent;

/// Reads the content of a file while the image is still being written.
pub struct DataReader<'a, O> {
    writer: &'a mut BlockWriter<O>,
    data: &'a FileData,
    position: u64,
}

impl<O> fmt::Debug for DataReader<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DataReader");
        shown.field("position", &self.position).finish_non_exhaustive()
    }
}

impl<'a, O> DataReader<'a, O> {
    /// Creates a reader. All blocks of `data` must be readable.
    pub(super) fn new(writer: &'a mut BlockWriter<O>, data: &'a FileData) -> Self {
        Self {
            writer,
            data,
            position: 0,
        }
    }
}

impl<O: Output> Read for DataReader<'_, O> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(inline) = self.data.inline() {
            let start = usize::try_from(self.position).expect("inline content is short");
            let read = (&inline[start..]).read(buffer)?;
            self.position += read as u64;
            return Ok(read);
        }
        let block_size = self.writer.block_size();
        let start = |extent: &Extent| u64::from(extent.logical) << block_size.log2();
        let end = |extent: &Extent| start(extent) + (u64::from(extent.count) << block_size.log2());
        let extents = self.data.extents();
        let next = extents.partition_point(|extent| end(extent) <= self.position);
        let (limit, offset) = match extents.get(next) {
            Some(extent) if start(extent) <= self.position => {
                let skipped = self.position - start(extent);
                (end(extent), Some(extent.start.offset(block_size) + skipped))
            }
            Some(extent) => (start(extent), None),
            None => (self.data.len(), None),
        };
        let left = limit.min(self.data.len()) - self.position;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match offset {
            Some(offset) => self.writer.read(&mut buffer[..len], offset)?,
            None => buffer[..len].fill(0),
        }
        self.position += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Formatter;
    use crate::options::Options;

    fn read(formatter: &mut Formatter<Vec<u8>>, data: &FileData) -> Vec<u8> {
        let mut content = Vec::new();
        formatter
            .read_data(data)
            .and_then(|mut read| read.read_to_end(&mut content).map_err(crate::FormatError::Content))
            .expect("memory can be read");
        content
    }

    #[test]
    fn content_is_read_back_before_the_image_is_complete() {
        for inline_data in [false, true] {
            let options = Options {
                inline_data,
                ..Options::new([7; 16])
            };
            let mut formatter = Formatter::new(Vec::new(), options).expect("the options are good");
            let (long, zeros) = (vec![b'x'; 70_000], [0; 9000]);
            let contents: [&[u8]; 4] = [b"", b"short", &long, &zeros];
            let mut written = Vec::new();
            for content in contents {
                written.push(formatter.write_data(content, content.len() as u64).expect("it fits"));
                for (data, content) in written.iter().zip(contents) {
                    assert!(read(&mut formatter, data) == content, "{} bytes", content.len());
                }
            }
        }
    }

    #[test]
    fn holes_are_read_as_zeros() {
        let mut formatter = Formatter::new(Vec::new(), Options::new([7; 16])).expect("the options are good");
        let ranges = [10..12, 20_000..20_001];
        let data = formatter
            .write_sparse(&b"abc"[..], 50_000, &ranges)
            .expect("the ranges are good");
        let mut expected = vec![0; 50_000];
        expected[10..12].copy_from_slice(b"ab");
        expected[20_000] = b'c';
        assert!(read(&mut formatter, &data) == expected);
    }
}
