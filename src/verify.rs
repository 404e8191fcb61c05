//! Whether a disk image is whole: a file system without a fault, and the bytes that a digest names.

use std::path::Path;
use std::time::Instant;

use ext4::Report;
use tracing::info;

use crate::inspect::{InspectError, InspectReason};
use layer::cancel::{Cancel, Cancellable};
use oci::host;
use oci::{Digest, DigestError};

/// What a disk image turned out to be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// All that is wrong with its file system.
    pub report: Report,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// The digest that was expected, if it is another than that of the file.
    pub mismatch: Option<DigestError>,
}

impl Verdict {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_clean() && self.mismatch.is_none()
    }
}

/// Checks the file system in a file, and that the file has a digest, if one is given.
///
/// # Errors
///
/// [`InspectError`] if the file cannot be read, or holds no file system that this program knows, or
/// it is cancelled.
pub fn verify(path: &Path, digest: Option<&Digest>, cancel: &Cancel) -> Result<Verdict, InspectError> {
    let verify = || {
        let file = host::open_disk(path).map_err(InspectReason::Open)?;
        let size_bytes = file.metadata().map_err(InspectReason::Open)?.len();
        let begun = Instant::now();
        let mismatch = match digest {
            Some(digest) => {
                let actual = Digest::of_file_until(digest.algorithm(), &file, cancel).map_err(InspectReason::Open)?;
                let elapsed_ms = begun.elapsed().as_millis();
                info!(image = %path.display(), bytes = size_bytes, elapsed_ms, "hashed the file");
                digest.expect(actual).err()
            }
            None => None,
        };
        let begun = Instant::now();
        let report = ext4::check(Cancellable::new(file, cancel))?;
        let (is_clean, elapsed_ms) = (report.is_clean(), begun.elapsed().as_millis());
        info!(image = %path.display(), is_clean, elapsed_ms, "checked the file system");
        Ok(Verdict {
            report,
            size_bytes,
            mismatch,
        })
    };
    verify().map_err(|reason| InspectError::new(path, reason))
}
