//! Registry client: the pull of distribution-spec, over HTTP 1.1.
//!
//! A request passes through these modules, in this order:
//!
//! 1. [`Registry`] asks for a document, or queues blobs as [`download`]s. [`runtime`] has the
//!    threads, and [`retry`] repeats a request that failed with a transient error.
//! 2. [`http`] limits the time of the exchange and sends the request, with the authorization of the
//!    last one. [`redirect`] decides where a redirect leads.
//! 3. [`server`] sends it with the `reqwest` client that [`client`] builds, through a proxy of
//!    [`proxies`], with the addresses of [`resolver`] and the certificates of [`tls`]. [`events`]
//!    logs the request and its response.
//! 4. After status 401, and often after 403 or 404, `http/authorization.rs` looks for a challenge,
//!    which [`challenge`] parses. [`token`] answers it, with credentials from [`crate::auth`] and a
//!    token from the token server, and the request is sent again.
//! 5. [`server`] turns every failure into a [`RegistryError`] that names the server at fault.
//!    [`problem`] finds the message of an error page, and [`secrets`] hides texts that repeat a
//!    secret.
//! 6. [`answer`] reads the body of a blob, and [`coding`] undoes a content coding. [`download`]
//!    writes the bytes to the blob store.
//!
//! To add a kind of challenge: parse it in `challenge.rs`, answer it in
//! `Authorizer::answer_challenge` and log it in `Authorizer::report` (`token.rs`), and name it in
//! the hint of [`RegistryError::NoChallenge`]. To add a kind of credentials, see [`crate::auth`].
//! To add an error, see `registry/error.rs`. To retry a status: `Server::status_error` in
//! `server.rs`; for those of proxies, `ProxyRefusal::is_transient`.
//!
//! From `oci-client`, only the media types are used. Its client holds manifests, tokens and error
//! pages of any size in memory, drops `Retry-After` and the status of a token server's refusal,
//! continues without a token after a failure, does not support refresh tokens, and panics at a
//! token that cannot stand in a header.

mod answer;
mod causes;
mod challenge;
mod client;
mod coding;
mod download;
mod error;
mod events;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod http;
mod login;
mod options;
mod problem;
mod proxies;
mod redirect;
mod resolver;
mod retry;
mod runtime;
mod secrets;
mod server;
mod tls;
mod token;

use std::sync::Arc;

use oci_distribution::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};

use super::blobs::BlobStore;
use super::credential_helper::CredentialHelper;
use super::digest::{Algorithm, Digest};
use super::progress::Reporter;
use super::reference::RegistryReference;
use super::{BlobRef, ImageError, RawDocument, SourceOptions};
use client::Timeouts;
pub(super) use download::{Download, Opened, TailReader};
pub use error::RegistryError;
use http::Http;
use layer::cancel::Cancel;
pub use login::{LoginCheck, check_login};
pub use options::RegistryOptions;
pub use proxies::ProxyRefusal;
pub use redirect::RedirectError;
use runtime::Runtime;
pub use tls::{CertificateOwner, TlsError};

/// Media types of manifests and indexes that are requested from a registry.
const DOCUMENT_MEDIA_TYPES: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// Limit on blobs that are downloaded at the same time.
const PARALLEL_DOWNLOADS: usize = 4;

/// Client of one repository of a registry.
pub(super) struct Registry {
    image: RegistryReference,
    http: Arc<Http>,
    helper: Option<CredentialHelper>,
    cancel: Cancel,
    runtime: Runtime,
}

impl Registry {
    pub(super) fn open(
        image: &RegistryReference,
        options: &SourceOptions,
        reporter: &Reporter,
    ) -> Result<Self, ImageError> {
        Self::with_timeouts(image, options, reporter, Timeouts::default())
    }

    fn with_timeouts(
        image: &RegistryReference,
        options: &SourceOptions,
        reporter: &Reporter,
        timeouts: Timeouts,
    ) -> Result<Self, ImageError> {
        let found = options.registry.find_credentials(image)?;
        let helper = found.helper.clone().filter(|_| found.credentials.is_none());
        let http = Http::new(
            &image.registry,
            &image.repository,
            found,
            &options.registry,
            timeouts,
            reporter.clone(),
        )?;
        Ok(Self {
            image: image.clone(),
            http: Arc::new(http),
            helper,
            cancel: options.cancel.clone(),
            runtime: Runtime::new(PARALLEL_DOWNLOADS)?,
        })
    }

    /// Returns the credential helper that may have credentials for the repository, if none were
    /// found.
    pub(super) fn helper(&self) -> Option<&CredentialHelper> {
        self.helper.as_ref()
    }

    /// Returns the digest in the reference, if it has one.
    pub(super) fn pinned(&self) -> Option<&Digest> {
        self.image.digest.as_ref()
    }

    /// Fetches the manifest or index that the reference names. Its digest is verified if the
    /// reference has one, and computed otherwise.
    pub(super) fn root(&self) -> Result<RawDocument, ImageError> {
        let version = match (&self.image.digest, &self.image.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        let answer = self.wait(async || {
            Ok(self
                .http
                .fetch_document(&format!("manifests/{version}"), &DOCUMENT_MEDIA_TYPES)
                .await?)
        })?;
        let digest = match &self.image.digest {
            Some(digest) => {
                let check = digest.verify(&answer.body, None);
                check.map_err(|source| ImageError::content(digest, source))?;
                digest.clone()
            }
            // The header `Docker-Content-Digest` is not needed: the digest follows from the bytes.
            None => Digest::of(Algorithm::Sha256, &answer.body),
        };
        Ok(RawDocument {
            digest,
            media_type: answer.media_type,
            json: answer.body,
            platform: None,
        })
    }

    /// Fetches the manifest or index with a digest.
    pub(super) fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(&format!("manifests/{digest}"), &DOCUMENT_MEDIA_TYPES, digest, size)
    }

    /// Fetches the config with a digest.
    pub(super) fn config(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(&format!("blobs/{digest}"), &["*/*"], digest, size)
    }

    /// Fetches a document, and verifies its digest and size.
    fn document(&self, path: &str, accept: &[&str], digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        let body = self.wait(async || Ok(self.http.fetch_document(path, accept).await?.body))?;
        digest
            .verify(&body, Some(size))
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(body)
    }

    /// Starts to download blobs into the store, in this order, up to [`PARALLEL_DOWNLOADS`] at the
    /// same time.
    pub(super) fn download(&self, blobs: Vec<BlobRef>, store: &BlobStore, reporter: &Reporter) -> Vec<Arc<Download>> {
        let queue = |blob: BlobRef| {
            let progress = reporter.next_layer(&blob.digest);
            Download::with_task(blob, progress)
        };
        let (downloads, tasks): (Vec<_>, Vec<_>) = blobs.into_iter().map(queue).unzip();
        let tasks = tasks.into_iter().map(|task| {
            let http = Arc::clone(&self.http);
            let (store, cancel) = (store.clone(), self.cancel.clone());
            async move { task.run(&http, &store, &cancel).await }
        });
        self.runtime.queue(tasks.collect());
        downloads
    }

    /// Waits until a request succeeds, fails for good, or is cancelled. Repeats it after transient
    /// errors.
    fn wait<T: Send>(&self, request: impl AsyncFn() -> Result<T, ImageError> + Send) -> Result<T, ImageError> {
        self.runtime.block_on(async || {
            tokio::select! {
                result = self.http.retry(request) => result,
                cancelled = self.cancel.cancelled() => Err(cancelled.into()),
            }
        })?
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::Reference;
    use crate::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

    #[test]
    fn requested_media_types_can_be_parsed() {
        let parsed = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
        assert_eq!(DOCUMENT_MEDIA_TYPES, parsed);
    }

    /// Starts a server that sends each part and then waits for the given milliseconds.
    fn serve<T: AsRef<str> + Clone + Send + 'static>(parts: Vec<(T, u64)>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, parts) = (stream.unwrap(), parts.clone());
                thread::spawn(move || {
                    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                    for (part, wait) in &parts {
                        // A client that gave up, as it should, has closed the connection.
                        let _ = stream.write_all(part.as_ref().as_bytes());
                        thread::sleep(Duration::from_millis(*wait));
                    }
                });
            }
        });
        address
    }

    /// Returns the error of a request for a manifest.
    fn root_error(address: SocketAddr, read: Duration, document: Duration) -> ImageError {
        let reference = Reference::parse(&format!("{address}/x")).unwrap();
        let Reference::Registry(image) = reference else {
            panic!("no registry")
        };
        let options = SourceOptions::new("unused");
        let timeouts = Timeouts {
            connect: Duration::from_millis(500),
            read,
            document,
            backoff: Duration::from_millis(1),
            ..Timeouts::default()
        };
        let registry = Registry::with_timeouts(&image, &options, &Reporter::default(), timeouts).unwrap();
        registry.root().map(drop).unwrap_err()
    }

    #[test]
    fn silence_before_and_within_a_response_times_out() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        for parts in [&[("", 300)][..], &[(HEAD, 300)], &[(HEAD, 20), ("12345", 300)]] {
            let (read, document) = (Duration::from_millis(100), Duration::from_millis(200));
            let error = root_error(serve(parts.to_vec()), read, document);
            assert!(
                matches!(error, ImageError::Registry(RegistryError::TimedOut { .. })),
                "{parts:?}: {error:?}"
            );
        }
    }

    /// Each byte comes within the time for a byte, but all of them take too long.
    #[test]
    fn slow_document_times_out() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        let dripping = serve([HEAD, "1", "2", "3", "4", "5", "6"].map(|part| (part, 200)).to_vec());
        let answer = |head: String| serve(vec![(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"), 0)]);
        let redirect = answer(format!("307 X\r\nLocation: http://{dripping}/"));
        let challenge = answer(format!(
            "401 X\r\nWWW-Authenticate: Bearer realm=\"http://{dripping}/\""
        ));
        // Long enough for the redirect and the challenge to be followed.
        let (read, document) = (Duration::from_secs(10), Duration::from_secs(1));
        let errors =
            [dripping, redirect, challenge].map(|address| thread::spawn(move || root_error(address, read, document)));
        let [itself, redirected, challenged] = errors.map(|asking| asking.join().unwrap());
        assert!(
            matches!(itself, ImageError::Registry(RegistryError::TimedOut { .. })),
            "{itself:?}"
        );
        for error in [redirected, challenged] {
            assert!(
                matches!(&error, ImageError::Registry(RegistryError::OtherHost { host, source, .. })
                if *host == dripping.to_string() && matches!(**source, RegistryError::TimedOut { .. })),
                "{error:?}"
            );
        }
    }
}
