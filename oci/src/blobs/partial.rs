//! A blob on its way into the store.

use std::fs::File;
use std::io::{self, Read, Write};

use super::{StoreError, partial_name, remove};
use crate::digest::{Digest, DigestVerifier};
use crate::error::ImageError;
use crate::host::{Access, Directory};
use layer::cancel::Cancel;

/// Bytes that are hashed at once of what is there already.
const BUFFER_LEN: usize = 128 << 10;

/// The beginning of a blob, locked for this process. Dropped before [`PartialBlob::commit`], it stays for whoever comes
/// next.
pub(crate) struct PartialBlob {
    file: File,
    /// The directory that it is in, and that the blob will be in.
    directory: Directory,
    digest: Digest,
    check: DigestVerifier,
    /// Whether any of it is of an earlier request, so that a wrong digest may not be the fault of the last one.
    resumed: bool,
    /// Released when this is dropped.
    _lock: File,
}

impl PartialBlob {
    /// Opens what there is of a blob, and hashes it. What cannot be the beginning of it is emptied.
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
                resumed: check.seen() > 0,
                check,
                _lock: lock,
            }),
            Err(source) => Err(failed(&directory, digest, source)),
        }
    }

    /// Bytes that there are.
    pub(crate) fn len(&self) -> u64 {
        self.check.seen()
    }

    /// Says that what comes next is of another request than what there is.
    pub(crate) fn resume(&mut self) {
        self.resumed |= self.len() > 0;
    }

    /// Takes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.check
            .update(bytes)
            .map_err(|source| ImageError::content(&self.digest, source))?;
        self.file
            .write_all(bytes)
            .map_err(|source| failed(&self.directory, &self.digest, source))?;
        Ok(())
    }

    /// Gives the blob its name, if it is complete and right; removes it if it is not.
    pub(crate) fn commit(self) -> Result<(), ImageError> {
        let Self {
            file,
            directory,
            digest,
            check,
            resumed,
            _lock,
        } = self;
        // An open file cannot be renamed everywhere.
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

    /// Removes it.
    pub(crate) fn discard(self) {
        let Self {
            file,
            directory,
            digest,
            _lock,
            ..
        } = self;
        drop(file);
        // What cannot be removed is found out to be wrong by whoever goes on with it.
        let _ = remove(&directory, &partial_name(&digest));
    }
}

fn failed(directory: &Directory, digest: &Digest, source: io::Error) -> StoreError {
    StoreError::write(directory.path().join(partial_name(digest)), source)
}

/// Reads a file to its end, where writing goes on.
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
