//! Registries: distribution-spec's pull, over HTTP 1.1.
//!
//! `oci-client` lends the vocabulary (media types), and no more: its client holds manifests, tokens
//! and error pages in memory whatever their size, drops `Retry-After` and the status of a token
//! server's refusal, goes on without a token when it got none, knows no refresh tokens, and panics
//! at a token that cannot stand in a header. Requests are therefore made here with `reqwest`, which
//! it builds on: [`http`] makes one, [`token`] answers the challenge.

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
use super::digest::{Algorithm, Digest};
use super::helper::Helper;
use super::progress::Reporter;
use super::reference::RegistryReference;
use super::{BlobRef, Fetched, ImageError, SourceOptions};
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

/// Media types of the documents that registries are asked for.
const DOCUMENT_MEDIA_TYPES: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// How many blobs are downloaded at once.
const PARALLEL_DOWNLOADS: usize = 4;

/// A repository in a registry.
pub(super) struct Registry {
    image: RegistryReference,
    http: Arc<Http>,
    helper: Option<Helper>,
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

    /// The helper that may have had credentials.
    pub(super) fn helper(&self) -> Option<&Helper> {
        self.helper.as_ref()
    }

    /// The digest that the reference names.
    pub(super) fn pinned(&self) -> Option<&Digest> {
        self.image.digest.as_ref()
    }

    /// The manifest or index that the reference means.
    pub(super) fn root(&self) -> Result<Fetched, ImageError> {
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
                let check = digest.check(&answer.body, None);
                check.map_err(|source| ImageError::content(digest, source))?;
                digest.clone()
            }
            // The bytes decide. The header `Docker-Content-Digest` says nothing that they do not.
            None => Digest::of(Algorithm::Sha256, &answer.body),
        };
        Ok(Fetched {
            digest,
            media_type: answer.media_type,
            json: answer.body,
            platform: None,
        })
    }

    /// The manifest or index of a digest.
    pub(super) fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(&format!("manifests/{digest}"), &DOCUMENT_MEDIA_TYPES, digest, size)
    }

    /// The config of a digest.
    pub(super) fn config(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(&format!("blobs/{digest}"), &["*/*"], digest, size)
    }

    fn document(&self, path: &str, accept: &[&str], digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        let body = self.wait(async || Ok(self.http.fetch_document(path, accept).await?.body))?;
        digest
            .check(&body, Some(size))
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(body)
    }

    /// Begins to download blobs into the store, in this order, some at once.
    pub(super) fn download(&self, blobs: Vec<BlobRef>, store: &BlobStore, reporter: &Reporter) -> Vec<Arc<Download>> {
        let queue = |blob: BlobRef| {
            let progress = reporter.layer(&blob.digest);
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

    /// Waits for a request, made again as long as its failure may pass, or for the cancellation.
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
    fn documents_that_are_asked_for_can_be_parsed() {
        let parsed = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
        assert_eq!(DOCUMENT_MEDIA_TYPES, parsed);
    }

    /// A server that sends each of `parts` and then waits so long.
    fn serve<T: AsRef<str> + Clone + Send + 'static>(parts: Vec<(T, u64)>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, parts) = (stream.unwrap(), parts.clone());
                thread::spawn(move || {
                    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                    for (part, wait) in &parts {
                        // Who no longer listens has given up, as it should.
                        let _ = stream.write_all(part.as_ref().as_bytes());
                        thread::sleep(Duration::from_millis(*wait));
                    }
                });
            }
        });
        address
    }

    /// What asking a server for a manifest ends in.
    fn ask(address: SocketAddr, read: Duration, document: Duration) -> ImageError {
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
    fn silence_times_out_wherever_it_falls() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        for parts in [&[("", 300)][..], &[(HEAD, 300)], &[(HEAD, 20), ("12345", 300)]] {
            let (read, document) = (Duration::from_millis(100), Duration::from_millis(200));
            let error = ask(serve(parts.to_vec()), read, document);
            assert!(
                matches!(error, ImageError::Registry(RegistryError::TimedOut { .. })),
                "{parts:?}: {error:?}"
            );
        }
    }

    /// However little time passes between two of its bytes.
    #[test]
    fn a_document_that_drips_times_out() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        let dripping = serve([HEAD, "1", "2", "3", "4", "5", "6"].map(|part| (part, 200)).to_vec());
        let answer = |head: String| serve(vec![(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"), 0)]);
        let redirect = answer(format!("307 X\r\nLocation: http://{dripping}/"));
        let challenge = answer(format!(
            "401 X\r\nWWW-Authenticate: Bearer realm=\"http://{dripping}/\""
        ));
        // Time enough for another host to come into play.
        let (read, document) = (Duration::from_secs(10), Duration::from_secs(1));
        let errors = [dripping, redirect, challenge].map(|address| thread::spawn(move || ask(address, read, document)));
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
