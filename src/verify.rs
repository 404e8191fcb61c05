//! Verification of disk images: the consistency of the file system, and the digest of the file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ext4::{CheckReport, Finding, ReadAt, ReadError, Severity};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use tracing::info;

use crate::inspect::{InspectError, InspectReason};
use layer::cancel::{Cancel, Cancellable};
use oci::host;
use oci::{Digest, DigestError};

/// Result of verifying a disk image.
///
/// Serializes to the JSON of `microagent rootfs verify`:
///
/// | member | |
/// |---|---|
/// | `path` | [`path`](Self::path) as text, or `null` |
/// | `clean` | [`is_clean`](Self::is_clean) |
/// | `size_bytes` | [`size_bytes`](Self::size_bytes) |
/// | `problems` | the [`mismatch`](Self::mismatch), then the findings of [`report`](Self::report) |
/// | `more_problems` | number of findings beyond those listed |
///
/// Each problem has `structure` and `problem` in words, and `structure_kind`, `code` and `severity`
/// as names that later versions keep. A digest mismatch has the structure kind `file` and the code
/// `digest-mismatch`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Path of the disk image; `None` if it is not a file.
    pub path: Option<PathBuf>,
    /// Findings of the check of the file system.
    pub report: CheckReport,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Expected and actual digest, if they differ; `None` if they match or no digest was given.
    pub mismatch: Option<DigestError>,
}

impl Verdict {
    /// Returns whether the check found nothing and the digest matches.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_clean() && self.mismatch.is_none()
    }
}

/// Checks the file system in a file. Compares the digest of the file with `digest`, if that is
/// `Some`.
///
/// # Errors
///
/// [`InspectError`] if the file cannot be read, if its file system is unsupported, or once `cancel`
/// is set.
pub fn verify(path: impl AsRef<Path>, digest: Option<&Digest>, cancel: &Cancel) -> Result<Verdict, InspectError> {
    let path = path.as_ref();
    let verify = || {
        let file = host::open_disk(path).map_err(InspectReason::Open)?;
        let size_bytes = ReadAt::size(&file).map_err(InspectReason::Open)?;
        let begun = Instant::now();
        let mismatch = match digest {
            Some(digest) => {
                let actual =
                    Digest::of_file_cancellable(digest.algorithm(), &file, cancel).map_err(InspectReason::Open)?;
                let elapsed_ms = begun.elapsed().as_millis();
                info!(image = %path.display(), bytes = size_bytes, elapsed_ms, "hashed the file");
                digest.verify_equal(actual).err()
            }
            None => None,
        };
        let begun = Instant::now();
        let report = ext4::check(Cancellable::new(file, cancel))?;
        let (is_clean, elapsed_ms) = (report.is_clean(), begun.elapsed().as_millis());
        info!(image = %path.display(), is_clean, elapsed_ms, "checked the file system");
        Ok(Verdict {
            path: Some(path.to_owned()),
            report,
            size_bytes,
            mismatch,
        })
    };
    verify().map_err(|reason| InspectError::new(Some(path), reason))
}

/// Verifies a disk image in memory, in a part of a file, or behind any other [`ReadAt`], like
/// [`verify`]. To compute a digest, all bytes are read, including holes.
///
/// # Errors
///
/// The errors of [`verify`].
pub fn verify_reader(reader: impl ReadAt, digest: Option<&Digest>, cancel: &Cancel) -> Result<Verdict, InspectError> {
    let verify = || {
        let reader = Cancellable::new(reader, cancel);
        let failed = |offset| move |source| ReadError::Input { offset, source };
        let size_bytes = reader.size().map_err(failed(0))?;
        let mismatch = match digest {
            Some(digest) => {
                let mut bytes = Sequential {
                    reader: &reader,
                    position: 0,
                    size: size_bytes,
                };
                let actual = Digest::of_reader(digest.algorithm(), &mut bytes);
                digest.verify_equal(actual.map_err(failed(bytes.position))?).err()
            }
            None => None,
        };
        Ok(Verdict {
            path: None,
            report: ext4::check(reader)?,
            size_bytes,
            mismatch,
        })
    };
    verify().map_err(|reason| InspectError::new(None, reason))
}

/// Reads all bytes of a reader in order.
struct Sequential<'a, R> {
    reader: &'a R,
    position: u64,
    size: u64,
}

impl<R: ReadAt> Read for Sequential<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size - self.position;
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.reader.read_exact_at(&mut buffer[..len], self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let path = self.path.as_deref().map(Path::to_string_lossy);
        let file = self.mismatch.iter().map(JsonProblem::of_file);
        let problems: Vec<_> = file.chain(self.report.findings.iter().map(JsonProblem::of)).collect();
        let mut json = serializer.serialize_struct("Verdict", 5)?;
        json.serialize_field("path", &path)?;
        json.serialize_field("clean", &self.is_clean())?;
        json.serialize_field("size_bytes", &self.size_bytes)?;
        json.serialize_field("problems", &problems)?;
        json.serialize_field("more_problems", &self.report.more)?;
        json.end()
    }
}

/// A problem in JSON.
#[derive(Serialize)]
struct JsonProblem {
    structure: String,
    structure_kind: &'static str,
    problem: String,
    code: &'static str,
    severity: &'static str,
}

impl JsonProblem {
    fn of(finding: &Finding) -> Self {
        Self {
            structure: finding.structure.to_string(),
            structure_kind: finding.structure.kind().name(),
            problem: finding.problem.to_string(),
            code: finding.problem.code(),
            severity: finding.severity().name(),
        }
    }

    /// Returns the problem for a file with another digest than expected.
    fn of_file(mismatch: &DigestError) -> Self {
        Self {
            structure: "the file".to_owned(),
            structure_kind: "file",
            problem: mismatch.to_string(),
            code: "digest-mismatch",
            severity: Severity::Error.name(),
        }
    }
}
