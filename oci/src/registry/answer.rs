//! Response to a request for a blob, whose body is read as it arrives.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::coding::{self, GzipDecoder};
use super::server::Server;
use crate::ImageError;

/// Bytes of a body that must arrive within
/// [`Timeouts::per_64_kib`](super::client::Timeouts::per_64_kib).
const TIMED_LEN: u64 = 64 << 10;

/// Response with the bytes of a blob from a position on.
pub(super) struct BlobAnswer {
    response: Response,
    server: Server,
    start: u64,
    /// Size of the whole blob in bytes.
    size: u64,
    /// Content coding of the body. `None` if the body is as long as the requested bytes, which then
    /// have no coding.
    coding: Option<String>,
}

impl BlobAnswer {
    /// Wraps a response with the bytes of a blob of `size` bytes from byte `start` on.
    pub(super) fn new(response: Response, server: Server, start: u64, size: u64) -> Self {
        // Some servers name the blob's own compression as its coding. The length tells them apart.
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

    /// Returns the position in the blob of the first byte of the body.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns whether the body has a content coding. Its positions then differ from those of the
    /// blob.
    pub(super) fn is_coded(&self) -> bool {
        self.coding.is_some()
    }

    /// Returns where the body would end the blob, if that is not its size. A
    /// partial response may be shorter than requested, since the rest is requested next.
    pub(super) fn wrong_size(&self) -> Option<u64> {
        let len = self.response.content_length().filter(|_| !self.is_coded())?;
        let end = self.start.saturating_add(len);
        let is_part = self.response.status() == StatusCode::PARTIAL_CONTENT && len > 0;
        (end > self.size || (end < self.size && !is_part)).then_some(end)
    }

    /// Returns the error of a web page if the body is one, and `error` otherwise.
    pub(super) async fn or_web_page(self, error: ImageError) -> ImageError {
        let page = self.server.read_web_page(self.response).await;
        page.map_or(error, ImageError::from)
    }

    /// Passes the decoded bytes to `take` as they arrive.
    ///
    /// # Errors
    ///
    /// Those of `take`; [`RegistryError::TimedOut`] for a body that brings fewer than 64 KiB within
    /// `time`; [`RegistryError::Coding`] for a body that cannot be decoded; the errors of a broken
    /// connection.
    ///
    /// [`RegistryError::Coding`]: super::RegistryError::Coding
    /// [`RegistryError::TimedOut`]: super::RegistryError::TimedOut
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
            // A coded body has another length or content than the blob: the coding is at fault.
            (Err(ImageError::Content { .. }), Some(coding)) => Err(server.coding_error(coding).into()),
            (Ok(()), Some(coding)) if decoder.is_none() => Err(server.coding_error(coding).into()),
            (result, _) => result,
        }
    }

    /// Returns the server that sends the body.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }
}
