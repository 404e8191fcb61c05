//! Digests of sparse files. Holes are hashed as zeros without being read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::{Algorithm, Digest, Hasher};
use layer::cancel::{Cancel, Cancellable};

impl Digest {
    /// Returns the digest of a whole file, whose position is at the end afterwards.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn of_file(algorithm: Algorithm, file: &File) -> io::Result<Self> {
        Self::of_file_cancellable(algorithm, file, &Cancel::new())
    }

    /// Computes [`Digest::of_file`], unless it is cancelled.
    ///
    /// # Errors
    ///
    /// Those of the file, and [`Cancelled`](layer::cancel::Cancelled).
    pub fn of_file_cancellable(algorithm: Algorithm, mut file: &File, cancel: &Cancel) -> io::Result<Self> {
        let mut hasher = Hasher::new(algorithm);
        let mut at = 0;
        while let Some(data) = next_data(file, at)? {
            hash_zeros(&mut hasher, data.start - at, cancel)?;
            file.seek(SeekFrom::Start(data.start))?;
            let len = hasher.update_from(Cancellable::new(file.take(data.end - data.start), cancel))?;
            at = data.start + len;
            if at < data.end {
                break;
            }
        }
        let end = file.seek(SeekFrom::End(0))?;
        hash_zeros(&mut hasher, end.saturating_sub(at), cancel)?;
        Ok(hasher.finish())
    }
}

/// Returns the next range of data in a file from offset `at`; `None` if only holes follow.
///
/// # Errors
///
/// Those of lseek(2).
#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
pub fn next_data(file: &File, at: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => {
            let end = seek(file, SeekFrom::Hole(start))?;
            Ok((start < end).then_some(start..end))
        }
        Err(Errno::NXIO) => Ok(None),
        // A device, or a file system without holes.
        Err(Errno::INVAL | Errno::NOTSUP) => data_until_end(file, at),
        Err(error) => Err(error.into()),
    }
}

/// Returns the range from offset `at` to the end of a file, as this system does not report holes;
/// `None` if `at` is the end.
///
/// # Errors
///
/// Those of the file.
#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
pub fn next_data(file: &File, at: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    data_until_end(file, at)
}

/// Returns the rest of a file as one range of data.
fn data_until_end(mut file: &File, at: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    let end = file.seek(SeekFrom::End(0))?;
    Ok((at < end).then_some(at..end))
}

/// Hashes `len` zeros, unless it is cancelled.
fn hash_zeros(hasher: &mut Hasher, mut len: u64, cancel: &Cancel) -> io::Result<()> {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while len > 0 {
        cancel.check()?;
        let count = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        hasher.update(&ZEROS[..count]);
        len -= count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use layer::cancel::Cancelled;

    #[test]
    fn sparse_file_has_the_digest_of_its_bytes() {
        let mib = 1 << 20;
        for (len, data) in [
            (0, &[][..]),
            (5, &[0..2, 2..5]),
            (3 * mib, &[]),
            (3 * mib + 7, &[0..10, mib..mib]),
            (3 * mib, &[mib..mib + 1, 3 * mib - 3..3 * mib]),
            (5 * mib, &[0..mib, 2 * mib..4 * mib]),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.set_len(len).unwrap();
            for range in data {
                file.seek(SeekFrom::Start(range.start)).unwrap();
                let count = usize::try_from(range.end - range.start).unwrap();
                file.write_all(&vec![0xA5; count]).unwrap();
            }
            file.rewind().unwrap();
            let expected = Digest::of_reader(Algorithm::Sha256, &file).unwrap();
            let found = Digest::of_file(Algorithm::Sha256, &file).unwrap();
            assert_eq!(found, expected, "{len} bytes, data in {data:?}");
        }
    }

    #[test]
    fn hashing_a_long_hole_is_cancelled() {
        let file = tempfile::tempfile().unwrap();
        // Sparse files of this length are possible wherever disk images are written.
        file.set_len(1 << 40).unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        let error = Digest::of_file_cancellable(Algorithm::Sha256, &file, &cancel).unwrap_err();
        assert!(Cancelled::caused(&error), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn holes_are_not_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(next_data(&file, 0).unwrap(), None);
    }
}
