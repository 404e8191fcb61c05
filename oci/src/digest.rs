//! Digests of content, and a reader that verifies one (image-spec descriptor.md, "Digests").

mod file;

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

pub use file::next_data;

use layer::failure::{ErrorKind, Failure, Hint};

/// A hash function that image-spec registers and this crate implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, `sha256`.
    Sha256,
    /// SHA-512, `sha512`.
    Sha512,
}

impl Algorithm {
    /// Returns the name before the colon of a digest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the number of hexadecimal digits of a hash.
    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// The digest of some content: `sha256:` and 64, or `sha512:` and 128, lower case hexadecimal
/// digits.
///
/// Serialized as this text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Returns the digest of `content`.
    #[must_use]
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// Reads a reader to its end, and returns the digest of its bytes.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub fn of_reader(algorithm: Algorithm, reader: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::new(algorithm);
        hasher.update_from(reader)?;
        Ok(hasher.finish())
    }

    /// Returns the hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the hash in lower case hexadecimal digits, which are safe as a file name.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Verifies that `content` has this digest, and `size` bytes if that is known.
    ///
    /// # Errors
    ///
    /// [`DigestError::SizeMismatch`] or [`DigestError::DigestMismatch`].
    pub fn verify(&self, content: &[u8], size: Option<u64>) -> Result<(), DigestError> {
        let actual = content.len() as u64;
        if let Some(expected) = size.filter(|&expected| expected != actual) {
            return Err(DigestError::SizeMismatch { expected, actual });
        }
        self.verify_equal(Self::of(self.algorithm, content))
    }

    /// Verifies that the digest of some content is this one.
    ///
    /// # Errors
    ///
    /// [`DigestError::DigestMismatch`].
    pub fn verify_equal(&self, actual: Self) -> Result<(), DigestError> {
        if *self == actual {
            return Ok(());
        }
        Err(DigestError::DigestMismatch {
            expected: self.clone(),
            actual,
        })
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let excerpt = |text: &str| text.chars().take(160).collect::<String>();
        let malformed = || ParseDigestError::Malformed { digest: excerpt(text) };
        let (name, hex) = text.split_once(':').ok_or_else(malformed)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "" => return Err(malformed()),
            _ => {
                return Err(ParseDigestError::UnsupportedAlgorithm {
                    algorithm: excerpt(name),
                });
            }
        };
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != algorithm.hex_len() || !is_hex {
            return Err(malformed());
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Reason why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDigestError {
    /// The text is not `sha256:` with 64, nor `sha512:` with 128, lower case hexadecimal digits.
    #[error("{digest:?} is not a digest: sha256: and 64 lower case hexadecimal digits, or sha512: and 128")]
    Malformed {
        /// The text, cut after 160 characters.
        digest: String,
    },
    /// The hash function is not SHA-256 or SHA-512.
    #[error("digest algorithm {algorithm:?} is not supported: sha256 and sha512 are")]
    UnsupportedAlgorithm {
        /// The text before the colon, cut after 160 characters.
        algorithm: String,
    },
}

/// Content that does not match its descriptor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The size differs. Reading stops at the first byte too many, so `actual` may be less than the
    /// real size.
    #[error("{actual} bytes instead of {expected}")]
    SizeMismatch {
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Bytes that were read.
        actual: u64,
    },
    /// The digest differs.
    #[error("the digest is {actual} instead of {expected}")]
    DigestMismatch {
        /// Digest in the descriptor.
        expected: Digest,
        /// Digest of the content.
        actual: Digest,
    },
}

impl Failure for DigestError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Permanent
    }

    fn hint(&self) -> Option<Hint> {
        Some("fetch or push the image again: its content does not match its digests".into())
    }
}

/// A hash computation in progress.
#[derive(Clone, Debug)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Hashes a reader to its end. Returns the number of bytes.
    fn update_from(&mut self, mut reader: impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; 128 << 10];
        let mut len = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(len),
                Ok(count) => {
                    self.update(&buffer[..count]);
                    len += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest {
                algorithm: Algorithm::Sha256,
                hex: hex(&hasher.finalize()),
            },
            Self::Sha512(hasher) => Digest {
                algorithm: Algorithm::Sha512,
                hex: hex(&hasher.finalize()),
            },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("four bits are a hexadecimal digit");
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Verifies content against a digest and a size while it arrives in parts.
#[derive(Debug)]
pub struct DigestVerifier {
    expected: Digest,
    size: Option<u64>,
    hasher: Hasher,
    byte_count: u64,
}

impl DigestVerifier {
    /// Creates a verifier for a digest, and a size in bytes if it is known.
    #[must_use]
    pub fn new(expected: Digest, size: Option<u64>) -> Self {
        let hasher = Hasher::new(expected.algorithm);
        Self {
            expected,
            size,
            hasher,
            byte_count: 0,
        }
    }

    /// Hashes the next bytes.
    ///
    /// # Errors
    ///
    /// [`DigestError::SizeMismatch`] at the first bytes beyond the size.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), DigestError> {
        self.byte_count = self.byte_count.saturating_add(bytes.len() as u64);
        self.check_size()?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Returns the number of bytes so far.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        self.byte_count
    }

    /// Verifies the size and the digest of all bytes.
    ///
    /// # Errors
    ///
    /// [`DigestError::SizeMismatch`] and [`DigestError::DigestMismatch`].
    pub fn finish(self) -> Result<(), DigestError> {
        if let Some(expected) = self.size.filter(|&expected| expected != self.byte_count) {
            return Err(DigestError::SizeMismatch {
                expected,
                actual: self.byte_count,
            });
        }
        self.expected.verify_equal(self.hasher.finish())
    }

    /// Checks that the bytes so far do not exceed the size.
    fn check_size(&self) -> Result<(), DigestError> {
        match self.size {
            Some(expected) if self.byte_count > expected => Err(DigestError::SizeMismatch {
                expected,
                actual: self.byte_count,
            }),
            _ => Ok(()),
        }
    }
}

/// A reader that verifies the digest, and the size if known, of another reader.
///
/// Bytes are returned before they are verified: they are trustworthy only once
/// [`VerifyingReader::finish`] has returned `Ok`. A byte beyond the expected size is an immediate
/// error: an [`io::Error`] of kind [`io::ErrorKind::InvalidData`] that wraps a [`DigestError`].
#[derive(Debug)]
pub struct VerifyingReader<R> {
    reader: R,
    verifier: DigestVerifier,
}

impl<R: Read> VerifyingReader<R> {
    /// Wraps a reader of content with this digest, and `size` bytes if that is known.
    pub fn new(reader: R, digest: Digest, size: Option<u64>) -> Self {
        Self {
            reader,
            verifier: DigestVerifier::new(digest, size),
        }
    }

    /// Reads to the end, so that trailing bytes are hashed or refused too. Returns their number.
    ///
    /// # Errors
    ///
    /// Those of the reader, and more bytes than the expected size.
    pub fn drain(&mut self) -> io::Result<u64> {
        io::copy(self, &mut io::sink())
    }

    /// Verifies that exactly the expected bytes were read. Returns the inner reader.
    ///
    /// Does not read: after a decoder that may stop before the end, call [`VerifyingReader::drain`]
    /// first.
    ///
    /// # Errors
    ///
    /// [`DigestError::SizeMismatch`] or [`DigestError::DigestMismatch`].
    pub fn finish(self) -> Result<R, DigestError> {
        self.verifier.finish()?;
        Ok(self.reader)
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        self.verifier.check_size().map_err(invalid)?;
        let count = self.reader.read(buffer)?;
        self.verifier.update(&buffer[..count]).map_err(invalid)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                           2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    fn digest(text: &str) -> Digest {
        text.parse().unwrap()
    }

    #[test]
    fn digests_match_the_test_vectors_of_the_standard() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY);
        assert_eq!(Digest::of(Algorithm::Sha256, b"abc").to_string(), ABC);
        assert_eq!(Digest::of(Algorithm::Sha512, b"abc").to_string(), ABC_512);
    }

    #[test]
    fn digest_is_a_string_in_json() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(
            json,
            r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#
        );
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn only_exact_digests_parse() {
        for text in [EMPTY, ABC, ABC_512] {
            assert_eq!(digest(text).to_string(), text);
        }
        let long = format!("{ABC}0");
        let upper = ABC.to_uppercase();
        let upper_hex = ABC.replace('b', "B");
        let other = ABC.replace("sha256", "sha512");
        let spaced = format!(" {ABC}");
        for text in [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:ba78",
            &long,
            &upper_hex,
            &other,
            ":abc",
            "sha256:../../x",
        ] {
            assert!(
                matches!(text.parse::<Digest>(), Err(ParseDigestError::Malformed { .. })),
                "{text}: {:?}",
                text.parse::<Digest>()
            );
        }
        for (text, name) in [
            ("md5:d41d8cd98f00b204e9800998ecf8427e", "md5"),
            (&upper, "SHA256"),
            (&spaced, " sha256"),
        ] {
            assert_eq!(
                text.parse::<Digest>(),
                Err(ParseDigestError::UnsupportedAlgorithm {
                    algorithm: name.to_owned()
                })
            );
        }
    }

    #[test]
    fn matching_content_returns_the_reader() {
        for size in [None, Some(3)] {
            let mut reader = VerifyingReader::new(&b"abc"[..], digest(ABC), size);
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"abc");
            assert!(reader.finish().unwrap().is_empty());
        }
    }

    #[test]
    fn other_bytes_are_a_digest_mismatch() {
        let mut reader = VerifyingReader::new(&b"abd"[..], digest(ABC), Some(3));
        assert_eq!(reader.drain().unwrap(), 3);
        let actual = Digest::of(Algorithm::Sha256, b"abd");
        assert_eq!(
            reader.finish().err(),
            Some(DigestError::DigestMismatch {
                expected: digest(ABC),
                actual
            })
        );
    }

    #[test]
    fn bytes_beyond_the_size_fail_at_once_and_forever() {
        let endless = io::repeat(b'a');
        let mut reader = VerifyingReader::new(endless, digest(ABC), Some(3));
        let mut buffer = [0; 2];
        assert_eq!(reader.read(&mut buffer).unwrap(), 2);
        for _ in 0..2 {
            let error = reader.read(&mut buffer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let cause = error.get_ref().unwrap().downcast_ref::<DigestError>().unwrap();
            assert_eq!(*cause, DigestError::SizeMismatch { expected: 3, actual: 4 });
        }
        assert_eq!(
            reader.finish().err(),
            Some(DigestError::SizeMismatch { expected: 3, actual: 4 })
        );
    }

    #[test]
    fn content_not_read_to_its_end_fails() {
        let mut reader = VerifyingReader::new(&b"abc"[..], digest(ABC), Some(3));
        reader.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(
            reader.finish().err(),
            Some(DigestError::SizeMismatch { expected: 3, actual: 2 })
        );
        let unread = VerifyingReader::new(&b"abc"[..], digest(ABC), None);
        assert!(matches!(
            unread.finish().err(),
            Some(DigestError::DigestMismatch { .. })
        ));
    }

    #[test]
    fn verify_compares_size_before_digest() {
        assert_eq!(digest(ABC).verify(b"abc", Some(3)), Ok(()));
        assert_eq!(
            digest(ABC).verify(b"abc", Some(4)),
            Err(DigestError::SizeMismatch { expected: 4, actual: 3 })
        );
        assert!(matches!(
            digest(ABC).verify(b"abd", None),
            Err(DigestError::DigestMismatch { .. })
        ));
    }
}
