//! [`Output`]: the file, device or memory that an image is written to.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;

use crate::read_at::ReadAt;

/// Destination of an image: bytes by position.
///
/// A [`Formatter`](crate::Formatter) first sets the size to 0, and then relies on bytes that it
/// does not write being zero.
pub trait Output {
    /// Fills the buffer with the bytes at an offset.
    ///
    /// # Errors
    ///
    /// That of the output, and `UnexpectedEof` beyond its end.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at an offset, and fills a gap between the end of the output and the offset
    /// with zeros.
    ///
    /// # Errors
    ///
    /// That of the output.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes parts of a buffer whose first byte belongs at `offset`, as [`Output::write_at`]
    /// does.
    ///
    /// Returns a buffer to reuse: this one, or another if the output keeps it to write it later or
    /// on another thread.
    ///
    /// # Errors
    ///
    /// That of the output, or of an earlier write.
    fn write_parts(&mut self, buffer: Vec<u8>, parts: &[Range<usize>], offset: u64) -> io::Result<Vec<u8>> {
        for part in parts {
            self.write_at(&buffer[part.clone()], offset + part.start as u64)?;
        }
        Ok(buffer)
    }

    /// Makes a range read as zeros, and frees its space if the output supports this.
    ///
    /// # Errors
    ///
    /// That of the output.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()>;

    /// Sets the size in bytes: truncates the output, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// That of the output.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Returns the maximum size in bytes of an output of a fixed size, such as a device.
    ///
    /// A [`Formatter`](crate::Formatter) calls this at the start, and then writes nothing beyond
    /// the maximum.
    fn max_len(&self) -> Option<u64> {
        None
    }
}

macro_rules! forward {
    ($output:ty) => {
        impl<O: Output + ?Sized> Output for $output {
            fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_at(buffer, offset)
            }

            fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
                (**self).write_at(bytes, offset)
            }

            fn write_parts(&mut self, buffer: Vec<u8>, parts: &[Range<usize>], offset: u64) -> io::Result<Vec<u8>> {
                (**self).write_parts(buffer, parts, offset)
            }

            fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
                (**self).discard(offset, len)
            }

            fn set_len(&mut self, len: u64) -> io::Result<()> {
                (**self).set_len(len)
            }

            fn max_len(&self) -> Option<u64> {
                (**self).max_len()
            }
        }
    };
}

forward!(&mut O);
forward!(Box<O>);

/// Memory, for small images and for tests.
impl Output for Vec<u8> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        if end > self.len() {
            grow(self, end)?;
        }
        self[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let end = usize::try_from(offset + len).map_or(self.len(), |end| end.min(self.len()));
        let start = usize::try_from(offset).map_or(end, |start| start.min(end));
        self[start..end].fill(0);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        grow(self, usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?)
    }
}

/// Resizes memory, filling new bytes with zeros. Fails if memory is exhausted.
fn grow(memory: &mut Vec<u8>, len: usize) -> io::Result<()> {
    memory
        .try_reserve(len.saturating_sub(memory.len()))
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    memory.resize(len, 0);
    Ok(())
}

/// A regular file, open for reading and writing but not for appending. Its position is irrelevant.
/// For block devices, use [`DeviceOutput`].
///
/// On Linux, the feature `fallocate` punches holes for discarded ranges instead of writing zeros,
/// and refuses a file that is open for appending.
impl Output for File {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::io::Write;
        self.seek(SeekFrom::Start(offset))?;
        self.write_all(bytes)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if punch(self, offset, len)? {
            return Ok(());
        }
        // Bytes beyond the end read as zeros already, and writing zeros there would allocate
        // space.
        let len = len.min(self.metadata()?.len().saturating_sub(offset));
        write_zeros(self, offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        refuse_append(self)?;
        File::set_len(self, len).map_err(|error| if is_device(self) { IsDevice.into() } else { error })
    }
}

/// The file to resize is a block device.
#[derive(Debug)]
pub(crate) struct IsDevice;

impl fmt::Display for IsDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is a block device, whose size is fixed")
    }
}

impl Error for IsDevice {}

impl From<IsDevice> for io::Error {
    fn from(error: IsDevice) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Returns whether a file is known to be a block device.
#[cfg(unix)]
fn is_device(file: &File) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_block_device())
}

#[cfg(not(unix))]
fn is_device(_file: &File) -> bool {
    false
}

/// A block device (or any file of a fixed size), which is discarded completely at first.
///
/// [`Size::Fixed`](crate::Size::Fixed) with [`DeviceOutput::capacity`] fills the device, and
/// [`Size::Fit`](crate::Size::Fit) limits the file system to it. The device must also hold content
/// that is freed later, until it is freed. If the device is too small,
/// [`Formatter::finish`](crate::Formatter::finish) fails with
/// [`FormatError::NoSpace`](crate::FormatError::NoSpace), which contains the required size.
///
/// On Linux, the feature `fallocate` discards blocks instead of writing zeros.
#[derive(Debug)]
pub struct DeviceOutput {
    file: File,
    capacity: u64,
    /// Current length of the image; all bytes after it read as zeros.
    len: u64,
}

impl DeviceOutput {
    /// Discards all of a device that is open for reading and writing.
    ///
    /// # Errors
    ///
    /// That of the device.
    pub fn new(mut file: File) -> io::Result<Self> {
        refuse_append(&file)?;
        // The size in the metadata of a block device is zero.
        let capacity = file.seek(SeekFrom::End(0))?;
        discard_range(&mut file, 0, capacity)?;
        Ok(Self { file, capacity, len: 0 })
    }

    /// Returns the size of the device in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the device.
    #[must_use]
    pub fn into_inner(self) -> File {
        self.file
    }
}

impl Output for DeviceOutput {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        // A regular file would grow instead.
        if end > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.len = self.len.max(end);
        self.file.write_at(bytes, offset)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        discard_range(&mut self.file, offset, len.min(self.len.saturating_sub(offset)))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.discard(len, u64::MAX - len)?;
        self.len = len;
        Ok(())
    }

    fn max_len(&self) -> Option<u64> {
        Some(self.capacity)
    }
}

/// Makes a range of a device read as zeros, within its capacity.
fn discard_range(device: &mut File, offset: u64, len: u64) -> io::Result<()> {
    if punch(device, offset, len)? {
        return Ok(());
    }
    write_zeros(device, offset, len)
}

/// Punches a hole into a file or discards blocks of a device, without changing its size. Returns
/// `false` if the system or file system does not support this.
#[cfg(all(target_os = "linux", feature = "fallocate"))]
fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    if len == 0 {
        return Ok(true);
    }
    match fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        offset,
        len,
    ) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}

/// Fails for a file that is open for appending, because Linux then ignores offsets and appends
/// (pwrite(2), "Bugs").
#[cfg(all(target_os = "linux", feature = "fallocate"))]
fn refuse_append(file: &File) -> io::Result<()> {
    if rustix::fs::fcntl_getfl(file)?.contains(rustix::fs::OFlags::APPEND) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the file is open for appending, so nothing can be written at an offset",
        ));
    }
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "fallocate")))]
#[expect(clippy::unnecessary_wraps, reason = "fallocate has more to check")]
fn refuse_append(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "fallocate")))]
#[expect(clippy::unnecessary_wraps, reason = "fallocate has more to do")]
fn punch(_file: &File, _offset: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

fn write_zeros(file: &mut File, offset: u64, len: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(len.min(1 << 20)).expect("at most a MiB")];
    let mut done = 0;
    while done < len {
        let part = usize::try_from((len - done).min(1 << 20)).expect("at most a MiB");
        file.write_at(&zeros[..part], offset + done)?;
        done += part as u64;
    }
    Ok(())
}
