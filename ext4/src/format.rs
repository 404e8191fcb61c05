//! [`Formatter`]: stream content, then write the metadata, step by step.

use std::io::Read;
use std::ops::Range;

use crate::data::Data;
use crate::error::FormatError;
use crate::options::Options;
use crate::output::Output;
use crate::tree::Tree;

/// Writes one file system, from its first byte to its last.
///
/// Content goes straight to its final blocks, before anybody knows how many files there will be; the tables follow.
pub struct Formatter<O> {
    output: O,
    options: Options,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Bytes in use, metadata and journal included.
    pub used_bytes: u64,
    /// Inodes in use, the 10 reserved ones and `lost+found` included.
    pub inode_count: u32,
}

impl<O: Output> Formatter<O> {
    /// Begins a file system.
    ///
    /// # Errors
    ///
    /// [`FormatError::InvalidSize`] if no file system of that size can be made with these options.
    pub fn new(output: O, options: Options) -> Result<Self, FormatError> {
        Ok(Self { output, options })
    }

    /// Writes the content of a file: exactly `len` bytes, read from `content`.
    ///
    /// # Errors
    ///
    /// [`FormatError::Content`] and [`FormatError::ContentTooShort`] if the content is to blame, [`FormatError::Image`] if
    /// the output is, [`FormatError::FileTooLarge`].
    pub fn write_data(&mut self, content: impl Read, len: u64) -> Result<Data, FormatError> {
        self.write_sparse(content, len, &[0..len])
    }

    /// Writes the content of a sparse file of `len` bytes: `content` holds the bytes of `ranges`, one after the other, and all
    /// outside them are holes.
    ///
    /// # Errors
    ///
    /// As [`Formatter::write_data`], and [`FormatError::InvalidRange`].
    pub fn write_sparse(&mut self, content: impl Read, len: u64, ranges: &[Range<u64>]) -> Result<Data, FormatError> {
        let _ = (content, len, ranges);
        Ok(Data::with_len(len))
    }

    /// Gives content back: its blocks become free, and none of its bytes stays in the image.
    pub fn free(&mut self, data: Data) {
        drop(data);
    }

    /// Writes all that the tree is besides content, and returns the output.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoSpace`], [`FormatError::Image`], and those that name a file of the tree that ext4 cannot hold.
    pub fn finish(self, tree: Tree) -> Result<(O, Summary), FormatError> {
        drop((tree, self.options));
        Ok((
            self.output,
            Summary {
                size_bytes: 0,
                used_bytes: 0,
                inode_count: 0,
            },
        ))
    }
}
