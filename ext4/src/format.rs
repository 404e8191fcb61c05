//! [`Formatter`]: streams the content of files to the output, then writes everything else
//! (`format/finish.rs`).

mod attribute_blocks;
mod attribute_inodes;
mod data_reader;
mod final_layout;
mod finish;
mod sparse;
mod table_writer;

use std::fmt;
use std::io::Read;
use std::ops::Range;

use crate::block_writer::BlockWriter;
use crate::data::FileData;
use crate::disk::extent::MAX_FILE_BLOCKS;
use crate::disk::inode::MAX_INLINE_DATA;
use crate::encode::directory::DirectoryBlocks;
use crate::encode::entries::DirectoryContext;
use crate::encode::xattrs::{self, AttributeInode};
use crate::error::FormatError;
use crate::layout::geometry::Geometry;
use crate::layout::log_allocator::LogAllocator;
use crate::layout::pending_discards::PendingDiscards;
use crate::layout::size::MIB;
use crate::options::{Options, Size};
use crate::origin::Origin;
use crate::output::Output;
use crate::tree::{Tree, Xattrs};

pub use data_reader::DataReader;

/// Writes one file system to an output.
///
/// Content is streamed to its final blocks before the number of files is known.
/// [`Formatter::finish`] writes directories, inodes and all other metadata after it.
pub struct Formatter<O> {
    writer: BlockWriter<O>,
    options: Options,
    geometry: Geometry,
    allocator: LogAllocator,
    pending_discards: PendingDiscards,
    origin: Origin,
    /// Set if [`Formatter::free`] was called with content of another formatter.
    foreign_data_freed: bool,
}

impl<O> fmt::Debug for Formatter<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Formatter");
        shown.field("options", &self.options).finish_non_exhaustive()
    }
}

/// Size and usage of the file system that [`Formatter::finish`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Bytes in use, including metadata and the journal.
    pub used_bytes: u64,
    /// Inodes in use, including the 10 reserved ones and `lost+found`.
    pub inode_count: u32,
}

impl<O: Output> Formatter<O> {
    /// Starts a file system on an output, and empties the output: none of its previous content
    /// remains.
    ///
    /// # Errors
    ///
    /// - [`FormatError::TooLarge`] if the size is fixed and larger than any file system with these
    ///   options. The output is unchanged.
    /// - [`FormatError::OutputTooSmall`] if the size is fixed and the output cannot hold it. The
    ///   output is unchanged.
    /// - [`FormatError::IsDevice`] for a block device that is passed as a [`File`](std::fs::File).
    ///   Use [`DeviceOutput`](crate::DeviceOutput) instead.
    /// - [`FormatError::Image`] if the output cannot be emptied.
    pub fn new(output: O, options: Options) -> Result<Self, FormatError> {
        if let Size::Fixed(size) = options.size {
            let max = Geometry::max_bytes(&options);
            if size > max {
                return Err(FormatError::TooLarge { size, max });
            }
            if let Some(available) = output.max_len().filter(|&max_len| max_len < size) {
                return Err(FormatError::OutputTooSmall { size, available });
            }
        }
        let geometry = Geometry::new(&options);
        Ok(Self {
            writer: BlockWriter::new(output, options.block_size)?,
            options,
            geometry,
            allocator: LogAllocator::new(geometry),
            pending_discards: PendingDiscards::default(),
            origin: Origin::new(),
            foreign_data_freed: false,
        })
    }

    /// Writes the content of a file: exactly `len` bytes, read from `content`.
    ///
    /// Content beyond the [`Output::max_len`] of an output is dropped, which is not an error of
    /// this function. [`Formatter::finish`] then fails, and its error contains the size that all
    /// of the content requires.
    ///
    /// # Errors
    ///
    /// [`FormatError::Content`] and [`FormatError::ContentTooShort`] if `content` fails,
    /// [`FormatError::Image`] if the output fails, [`FormatError::FileTooLarge`].
    pub fn write_data(&mut self, content: impl Read, len: u64) -> Result<FileData, FormatError> {
        if self.options.inline_data && (1..=MAX_INLINE_DATA as u64).contains(&len) {
            return Ok(read_inline(content, len)?.written_by(self.origin));
        }
        Ok(self.write_blocks(content, len)?.written_by(self.origin))
    }

    /// Writes the content of a sparse file of `len` bytes. `content` contains the bytes of all
    /// `ranges`, one after the other. Blocks entirely outside of the ranges are holes.
    ///
    /// # Errors
    ///
    /// Those of [`Formatter::write_data`], and [`FormatError::InvalidRange`].
    pub fn write_sparse(
        &mut self,
        content: impl Read,
        len: u64,
        ranges: &[Range<u64>],
    ) -> Result<FileData, FormatError> {
        let mut data = FileData::with_len(self.checked_len(len)?);
        sparse::check_ranges(ranges, len)?;
        let mut content = sparse::ZeroFilled::new(content, ranges);
        for segment in sparse::block_segments(ranges, u64::from(self.options.block_size.bytes())) {
            content.seek(segment.start);
            self.write_range(
                &mut data,
                segment.start,
                &mut content,
                segment.end.min(len) - segment.start,
            )?;
        }
        Ok(data.written_by(self.origin))
    }

    /// Returns a reader of content that this formatter has written.
    ///
    /// # Errors
    ///
    /// [`FormatError::ForeignData`] for content of another formatter. [`FormatError::NoSpace`] if
    /// the output could not hold the content; the error contains the size that everything written
    /// so far requires. [`FormatError::Image`] if buffered data cannot be written. The reader
    /// fails with the errors of the output.
    pub fn read_data<'a>(&'a mut self, data: &'a FileData) -> Result<DataReader<'a, O>, FormatError> {
        if !data.was_written_by(self.origin) {
            return Err(FormatError::ForeignData { path: None });
        }
        self.writer.extend_to(self.allocator.end())?;
        if let Some(dropped) = self.writer.dropped()?.cloned() {
            let block_size = self.options.block_size;
            let mut ends = data
                .extents()
                .iter()
                .map(|extent| extent.range().end().offset(block_size));
            if ends.any(|end| end > dropped.start) {
                return Err(FormatError::NoSpace {
                    needed: dropped.end.next_multiple_of(MIB),
                    available: self.writer.max_len(),
                });
            }
        }
        Ok(DataReader::new(&mut self.writer, data))
    }

    /// Checks that the extended attributes of a file fit. `path` returns the path of the file for
    /// the error.
    ///
    /// [`Formatter::finish`] checks this as well. A caller that adds files one by one can call
    /// this to report the failing file earlier. With [`Options::inline_data`], `finish` may fail
    /// even so, because content may occupy the same space in the inode.
    ///
    /// # Errors
    ///
    /// [`FormatError::XattrsTooLarge`], [`FormatError::NoNamespace`], [`FormatError::InvalidAcl`].
    pub fn check_xattrs(&self, xattrs: &Xattrs, path: impl FnOnce() -> String) -> Result<(), FormatError> {
        let attribute_inode = |_: &[u8]| self.options.large_xattrs.then_some(AttributeInode::ANY);
        match xattrs::distribute(xattrs, self.options.block_size, None, attribute_inode) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.for_path(path())),
        }
    }

    /// Checks that the target of a symlink fits, before [`Formatter::finish`] checks it. `path`
    /// returns the path of the symlink for the error.
    ///
    /// # Errors
    ///
    /// [`FormatError::SymlinkTooLong`].
    pub fn check_target(&self, target: &[u8], path: impl FnOnce() -> String) -> Result<(), FormatError> {
        // A target must fit in one block with a NUL after it (e2fsck pass 1).
        let max = self.options.block_size.len() - 1;
        if target.len() <= max {
            return Ok(());
        }
        Err(FormatError::SymlinkTooLong {
            path: path(),
            len: target.len(),
            max,
        })
    }

    /// Frees content: its blocks become free, and its bytes are removed from the image.
    ///
    /// The output discards the blocks in batches when more content is written, and the rest in
    /// [`Formatter::finish`]. The same happens to content that no file of the final tree has, such
    /// as content that ended early.
    ///
    /// Content of another formatter is not freed, and [`Formatter::finish`] then fails with
    /// [`FormatError::ForeignData`].
    pub fn free(&mut self, data: FileData) {
        if !data.was_written_by(self.origin) {
            self.foreign_data_freed = true;
            return;
        }
        self.pending_discards.add(data.into_ranges());
    }

    /// Writes everything except the content, and returns the output.
    ///
    /// The root gets a directory `lost+found` if it has no entry of this name.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoSpace`], [`FormatError::Image`], [`FormatError::ForeignData`], and the
    /// errors for files that ext4 cannot store.
    pub fn finish(self, mut tree: Tree) -> Result<(O, Summary), FormatError> {
        tree.release();
        finish::finish(self, tree)
    }

    /// Writes content to blocks, even if it is small enough for the inode.
    fn write_blocks(&mut self, mut content: impl Read, len: u64) -> Result<FileData, FormatError> {
        let mut data = FileData::with_len(self.checked_len(len)?);
        self.write_range(&mut data, 0, &mut content, len)?;
        Ok(data)
    }

    /// Returns `len` if a file can have this length in bytes.
    fn checked_len(&self, len: u64) -> Result<u64, FormatError> {
        let max = MAX_FILE_BLOCKS << self.options.block_size.log2();
        if len > max {
            Err(FormatError::FileTooLarge { len, max })
        } else {
            Ok(len)
        }
    }

    /// Writes `len` bytes at the offset `offset` of a file, which is the start of a block.
    fn write_range(
        &mut self,
        data: &mut FileData,
        offset: u64,
        content: &mut impl Read,
        len: u64,
    ) -> Result<(), FormatError> {
        // Here, and not in `free`, because an output that writes in the background may have time
        // now.
        for range in self.pending_discards.take_batch() {
            self.writer.discard(range)?;
        }
        let block_size = self.options.block_size;
        let mut done = 0;
        while done < len {
            let range = self.allocator.allocate_part(block_size.blocks(len - done));
            let part = (range.count << block_size.log2()).min(len - done);
            let logical = u32::try_from((offset + done) >> block_size.log2()).expect("the length was checked");
            data.push_blocks(logical, range.start, range.count);
            let actual = self.writer.write_content(range, content, part)?;
            if actual < part {
                return Err(FormatError::ContentTooShort {
                    expected: len,
                    actual: done + actual,
                });
            }
            done += part;
        }
        Ok(())
    }

    /// Writes the blocks of a directory.
    fn write_directory(
        &mut self,
        blocks: &DirectoryBlocks<'_>,
        context: &DirectoryContext,
    ) -> Result<FileData, FormatError> {
        let data = self.allocator.allocate_data(blocks.block_count());
        let mut numbers = data.extents().iter().flat_map(|extent| extent.range().blocks());
        blocks.encode(context, |block| {
            let nr = numbers
                .next()
                .expect("the plan has the number of blocks that are encoded");
            self.writer.write_block(nr, &block)
        })?;
        Ok(data)
    }
}

/// Reads content that is small enough for the inode.
fn read_inline(content: impl Read, len: u64) -> Result<FileData, FormatError> {
    let mut bytes = Vec::new();
    content
        .take(len)
        .read_to_end(&mut bytes)
        .map_err(FormatError::Content)?;
    let actual = bytes.len() as u64;
    if actual < len {
        return Err(FormatError::ContentTooShort { expected: len, actual });
    }
    Ok(FileData::new_inline(bytes.into()))
}
