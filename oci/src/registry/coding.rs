//! Content codings (RFC 9110, 8.4): bodies that a server compressed although the request did not
//! allow it.
//!
//! Requests send `Accept-Encoding: identity`. Some servers compress nevertheless. Others label a
//! layer that is itself gzip with `Content-Encoding: gzip`, and send it unchanged.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// Returns the content coding in the headers, in lower case; `None` for a body without one.
/// `aws-chunked` is a remnant of the upload and does not change the body.
pub(super) fn content_coding(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let codings: Vec<_> = values
        .flat_map(|value| {
            value
                .split(',')
                .map(|coding| coding.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|coding| !matches!(coding.as_str(), "" | "identity" | "aws-chunked"))
        .collect();
    Some(codings.join(", ")).filter(|codings| !codings.is_empty())
}

/// Returns whether a coding is gzip, the only one that is decoded.
pub(super) fn is_gzip(coding: &str) -> bool {
    matches!(coding, "gzip" | "x-gzip")
}

/// First bytes of gzip (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Returns whether bytes begin with the magic number of gzip.
pub(super) fn looks_like_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&GZIP_MAGIC)
}

/// Decoder of a gzip body that arrives in parts.
pub(super) struct GzipDecoder {
    gzip: MultiGzDecoder<Vec<u8>>,
    /// Rest of [`GZIP_MAGIC`] that has not arrived. It is checked here, since the decoder waits for
    /// a whole header.
    magic: &'static [u8],
}

impl GzipDecoder {
    pub(super) fn new() -> Self {
        Self {
            gzip: MultiGzDecoder::new(Vec::new()),
            magic: &GZIP_MAGIC,
        }
    }

    /// Decodes the next bytes, and passes the result to `take`. Returns `None` if they are not
    /// gzip. Decodes a slice of the input at a time, since a few bytes can decode to a thousand
    /// times as many.
    pub(super) fn decode<E>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let magic = self.magic.split_at(self.magic.len().min(bytes.len()));
        if !bytes.starts_with(magic.0) {
            return None;
        }
        self.magic = magic.1;
        for slice in bytes.chunks(4 << 10) {
            self.gzip.write_all(slice).ok()?;
            self.gzip.flush().ok()?;
            let decoded = std::mem::take(self.gzip.get_mut());
            if let Err(error) = take(&decoded) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn content_codings_are_listed_except_identity_and_aws_chunked() {
        let coding = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            content_coding(&headers)
        };
        for none in [&[][..], &["identity"], &[""], &["aws-chunked", "identity"]] {
            assert_eq!(coding(none), None);
        }
        assert_eq!(coding(&["GZip"]).as_deref(), Some("gzip"));
        assert_eq!(coding(&["aws-chunked, gzip"]).as_deref(), Some("gzip"));
        assert_eq!(coding(&["gzip", "br"]).as_deref(), Some("gzip, br"));
    }

    #[test]
    fn gzip_in_pieces_of_any_length() {
        let content = "what the body holds ".repeat(1000);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content.as_bytes()).unwrap();
        let gzip = encoder.finish().unwrap();
        assert!(looks_like_gzip(&gzip));
        for len in [1, 7, gzip.len()] {
            let (mut decoder, mut all) = (GzipDecoder::new(), Vec::new());
            for piece in gzip.chunks(len) {
                let take = |bytes: &[u8]| {
                    all.extend_from_slice(bytes);
                    Ok::<_, ()>(())
                };
                decoder.decode(piece, take).unwrap().unwrap();
            }
            assert_eq!(all, content.as_bytes(), "{len}");
        }
        for other in [&b"no gzip at all"[..], b"x", &[0x1f, 0x8c]] {
            assert!(
                GzipDecoder::new().decode(other, |_| Ok::<_, ()>(())).is_none(),
                "{other:?}"
            );
        }
    }
}
