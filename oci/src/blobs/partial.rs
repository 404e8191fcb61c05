//! Resumable writes of blobs, into a `.partial` file.

use std::fs::File;
use std::io::{self, Read, Write};

use super::{StoreError, partial_name, remove};
use crate::digest::{Digest, DigestVerifier};
use crate::error::ImageError;
use crate::host::{Access, Directory};
use layer::cancel::Cancel;

/// Bytes of an earlier download that are read and hashed at a time.
const BUFFER_LEN: usize = 128 << 10;

/// The beginning of a blob, locked for this process. Dropped before [`PartialBlob::commit`], the
/// file stays, and the next download resumes it.
pub(crate) struct PartialBlob {
    file: File,
    /// Directory of the file, and of the complete blob.
    directory: Directory,
    digest: Digest,
    check: DigestVerifier,
    /// Set if some bytes are from an earlier request. A wrong digest may then be the fault of
    /// either request.
    resumed: bool,
    /// Released when this is dropped.
    _lock: File,
}

impl PartialBlob {
    /// Opens the beginning of a blob, or creates an empty file, and hashes it. A file longer than
    /// the blob is emptied.
    pub(super) fn open(
        directory: Directory,
        digest: &Digest,
        size: u64,
        lock: File,
        cancel: &Cancel,
    ) -> Result<Self, StoreError> {
        let open = || {
            let mut file = directory.open_file(partial_name(digest), Access::Create)?;
            let mut check = DigestVerifier::new(digest.clone(), Some(size));
            if file.metadata()?.len() > size {
                file.set_len(0)?;
            }
            hash(&mut file, &mut check, cancel)?;
            Ok((file, check))
        };
        match open() {
            Ok((file, check)) => Ok(Self {
                file,
                directory,
                digest: digest.clone(),
                resumed: check.byte_count() > 0,
                check,
                _lock: lock,
            }),
            Err(source) => Err(failed(&directory, digest, source)),
        }
    }

    /// Returns the length of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.check.byte_count()
    }

    /// Records that the bytes that follow come from another request than those in the file.
    pub(crate) fn resume(&mut self) {
        self.resumed |= self.len() > 0;
    }

    /// Appends bytes to the file and to the hash.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.check
            .update(bytes)
            .map_err(|source| ImageError::content(&self.digest, source))?;
        self.file
            .write_all(bytes)
            .map_err(|source| failed(&self.directory, &self.digest, source))?;
        Ok(())
    }

    /// Publishes the blob under its digest if its size and digest are right, and removes the file
    /// otherwise.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if a resumed download has the wrong digest, since its older part may
    /// be wrong; [`ImageError::Content`] if all bytes are from one request.
    pub(crate) fn commit(self) -> Result<(), ImageError> {
        let Self {
            file,
            directory,
            digest,
            check,
            resumed,
            _lock,
        } = self;
        // Windows cannot rename an open file.
        drop(file);
        let name = partial_name(&digest);
        match check.finish() {
            Ok(()) => {
                let renamed = directory.rename(name, &directory, digest.hex());
                renamed.map_err(|source| failed(&directory, &digest, source).into())
            }
            Err(source) => {
                remove(&directory, &name)?;
                Err(if resumed {
                    StoreError::Damaged { digest }.into()
                } else {
                    ImageError::content(&digest, source)
                })
            }
        }
    }

    /// Removes the file.
    pub(crate) fn discard(self) {
        let Self {
            file,
            directory,
            digest,
            _lock,
            ..
        } = self;
        drop(file);
        // If this fails, the next download finds out that the file is wrong when it verifies the
        // digest.
        let _ = remove(&directory, &partial_name(&digest));
    }
}

fn failed(directory: &Directory, digest: &Digest, source: io::Error) -> StoreError {
    StoreError::write(directory.path().join(partial_name(digest)), source)
}

/// Hashes a file from its start to its end. Leaves its position at the end, for the writes that
/// follow.
fn hash(file: &mut File, check: &mut DigestVerifier, cancel: &Cancel) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        cancel.check()?;
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => check.update(&buffer[..count]).map_err(io::Error::other)?,
        }
    }
}
