//! The answer to a request for a blob, with its body to come.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::coding::{self, GzipDecoder};
use super::server::Server;
use crate::ImageError;

/// Bytes that must come in the time that a slow body has.
const TIMED_LEN: u64 = 64 << 10;

/// A blob's bytes, from a position on.
pub(super) struct BlobAnswer {
    response: Response,
    server: Server,
    start: u64,
    /// Bytes of the blob.
    size: u64,
    /// The content coding, unless the body has as many bytes as the blob without it.
    coding: Option<String>,
}

impl BlobAnswer {
    /// Takes the answer for a blob of `size` bytes that begins with byte `start` of it.
    pub(super) fn new(response: Response, server: Server, start: u64, size: u64) -> Self {
        // With the right length, the coding is the blob's own, which some servers name.
        let has_len = response.content_length() == size.checked_sub(start);
        let coding = coding::content_coding(response.headers()).filter(|_| !has_len);
        Self {
            response,
            server,
            start,
            size,
            coding,
        }
    }

    /// Position of the first byte in the blob.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns whether the body is in a coding, so that its positions are not those of the blob.
    pub(super) fn is_coded(&self) -> bool {
        self.coding.is_some()
    }

    /// Returns the size that a body of this length gives the blob, if that cannot be its size. A
    /// part may be shorter than what was asked for: the rest is asked for next.
    pub(super) fn wrong_size(&self) -> Option<u64> {
        let len = self.response.content_length().filter(|_| !self.is_coded())?;
        let end = self.start.saturating_add(len);
        let is_part = self.response.status() == StatusCode::PARTIAL_CONTENT && len > 0;
        (end > self.size || (end < self.size && !is_part)).then_some(end)
    }

    /// Returns an error that names the web page which came in place of the blob, or else `error`.
    pub(super) async fn or_web_page(self, error: ImageError) -> ImageError {
        let page = self.server.read_web_page(self.response).await;
        page.map_or(error, ImageError::from)
    }

    /// Hands the bytes over as they come, decoded. A body that brings fewer than 64 KiB in the time
    /// `slow` is given up.
    ///
    /// # Errors
    ///
    /// Those of `take`; [`RegistryError::Coding`] for a body that cannot be decoded, and what can
    /// go wrong with a server.
    ///
    /// [`RegistryError::Coding`]: super::RegistryError::Coding
    pub(super) async fn stream(
        mut self,
        time: Duration,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let server = &self.server;
        let mut decoder = self
            .coding
            .as_deref()
            .filter(|coding| coding::is_gzip(coding))
            .map(|_| GzipDecoder::new());
        let (mut since, mut len) = (Instant::now(), 0);
        let result = server
            .stream(&mut self.response, |bytes| {
                len += bytes.len() as u64;
                if len >= TIMED_LEN {
                    (since, len) = (Instant::now(), 0);
                } else if since.elapsed() > time {
                    return Err(server.timed_out().into());
                }
                match (&mut decoder, &self.coding) {
                    (Some(decoder), Some(coding)) => decoder
                        .decode(bytes, &mut take)
                        .unwrap_or_else(|| Err(server.coding_error(coding).into())),
                    _ => take(bytes),
                }
            })
            .await;
        match (result, &self.coding) {
            // Bytes in a coding are too many or too few, and never those of the blob.
            (Err(ImageError::Content { .. }), Some(coding)) => Err(server.coding_error(coding).into()),
            (Ok(()), Some(coding)) if decoder.is_none() => Err(server.coding_error(coding).into()),
            (result, _) => result,
        }
    }

    /// The server that the body comes from.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }
}
