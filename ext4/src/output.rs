//! Where an image goes: a file, or memory.

use std::fs::File;
use std::io;

/// A place for an image: bytes by position.
pub trait Output {
    /// Fills the buffer with the bytes at an offset.
    ///
    /// # Errors
    ///
    /// That of the place, and `UnexpectedEof` beyond its end.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at an offset, growing the place with zeros up to there.
    ///
    /// # Errors
    ///
    /// That of the place.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes a range read as zeros, and gives its space back where the place can.
    ///
    /// # Errors
    ///
    /// That of the place.
    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()>;

    /// Sets the size in bytes, growing with zeros.
    ///
    /// # Errors
    ///
    /// That of the place.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

/// Memory, for small images and for tests.
impl Output for Vec<u8> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buffer.len())?));
        let bytes = range
            .and_then(|range| self.get(range))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        if end > self.len() {
            self.resize(end, 0);
        }
        self[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let end = usize::try_from(offset + len).map_or(self.len(), |end| end.min(self.len()));
        let start = usize::try_from(offset).map_or(end, |start| start.min(end));
        self[start..end].fill(0);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.resize(usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?, 0);
        Ok(())
    }
}

/// A regular file, which must be empty at first.
impl Output for File {
    #[cfg(unix)]
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        self.seek(SeekFrom::Start(offset))?;
        self.read_exact(buffer)
    }

    #[cfg(unix)]
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.seek(SeekFrom::Start(offset))?;
        self.write_all(bytes)
    }

    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        // What lies beyond the end reads as zeros already, and writing zeros there would take space.
        let len = len.min(self.metadata()?.len().saturating_sub(offset));
        if len == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(&*self, flags, offset, len) {
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                result => return Ok(result?),
            }
        }
        let zeros = vec![0; usize::try_from(len.min(1 << 20)).expect("at most a MiB")];
        let mut done = 0;
        while done < len {
            let part = usize::try_from((len - done).min(1 << 20)).expect("at most a MiB");
            self.write_at(&zeros[..part], offset + done)?;
            done += part as u64;
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
}
