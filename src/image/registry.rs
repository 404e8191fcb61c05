//! Registries: distribution-spec's pull, over HTTP 1.1.
//!
//! `oci-client` lends the vocabulary (media types, error codes), and no more: its client holds manifests, tokens and error
//! pages in memory whatever their size, drops `Retry-After` and the status of a token server's refusal, goes on without
//! a token when it got none, knows no refresh tokens, and panics at a token that cannot stand in a header. Requests are
//! therefore made here with `reqwest`, which it builds on: [`http`] makes one, [`token`] answers the challenge.

mod client;
mod download;
mod http;
mod login;
mod options;
mod redirect;
mod retry;
mod server;
mod token;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::auth::Helper;
use super::blobs::BlobStore;
use super::digest::{Algorithm, Digest, ParseDigestError};
use super::manifest::DOCUMENT_MEDIA_TYPES;
use super::reference::RegistryReference;
use super::{Fetched, ImageError, Layer, Progress, SourceOptions};
use crate::interrupt::{POLL, is_raised};
pub(super) use download::{Download, Growing, Opened};
use http::{Http, Timeouts};
pub use login::{LoginCheck, check_login};
pub use options::RegistryOptions;
pub use redirect::Redirects;
use retry::retry;

/// How many blobs are downloaded at once.
const PARALLEL_DOWNLOADS: usize = 4;

/// A repository in a registry.
pub(super) struct Registry {
    image: RegistryReference,
    http: Arc<Http>,
    helper: Option<Helper>,
    slots: Arc<Semaphore>,
    interrupted: Arc<AtomicBool>,
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
}

impl Registry {
    pub(super) fn open(image: &RegistryReference, options: &SourceOptions) -> Result<Self, ImageError> {
        Self::with_timeouts(image, options, Timeouts::default())
    }

    fn with_timeouts(
        image: &RegistryReference,
        options: &SourceOptions,
        timeouts: Timeouts,
    ) -> Result<Self, ImageError> {
        let found = options.registry.auth_files.find(image)?;
        let helper = found.helper.clone().filter(|_| found.credentials.is_none());
        let http = Http::new(&image.registry, &image.repository, found, &options.registry, timeouts)?;
        Ok(Self {
            image: image.clone(),
            http: Arc::new(http),
            helper,
            slots: Arc::new(Semaphore::new(PARALLEL_DOWNLOADS)),
            interrupted: Arc::clone(&options.interrupted),
            runtime: Some(runtime()?),
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
                .document(&format!("manifests/{version}"), &DOCUMENT_MEDIA_TYPES)
                .await?)
        })?;
        let digest = match (&self.image.digest, answer.digest) {
            (Some(digest), _) => digest.clone(),
            (None, Some(digest)) => digest.parse().map_err(RegistryError::DigestHeader)?,
            (None, None) => Digest::of(Algorithm::Sha256, &answer.body),
        };
        digest
            .check(&answer.body, None)
            .map_err(|source| ImageError::content(&digest, source))?;
        Ok(Fetched {
            digest,
            media_type: answer.media_type,
            json: answer.body,
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
        let body = self.wait(async || Ok(self.http.document(path, accept).await?.body))?;
        digest
            .check(&body, Some(size))
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(body)
    }

    /// Begins to download blobs into the store, in this order, some at once.
    pub(super) fn download(&self, layers: Vec<Layer>, store: &BlobStore, progress: &Progress) -> Vec<Arc<Download>> {
        let queue = |layer: &Layer| Download::queue(progress.layer(&layer.digest));
        let (downloads, duties): (Vec<_>, Vec<_>) = layers.iter().map(queue).unzip();
        let (http, slots) = (Arc::clone(&self.http), Arc::clone(&self.slots));
        let (store, interrupted) = (store.clone(), Arc::clone(&self.interrupted));
        self.runtime().spawn(async move {
            for (layer, duty) in layers.into_iter().zip(duties) {
                let slot = Arc::clone(&slots).acquire_owned().await;
                let (http, store, interrupted) = (Arc::clone(&http), store.clone(), Arc::clone(&interrupted));
                tokio::spawn(async move {
                    duty.perform(&http, &store, &layer, &interrupted).await;
                    drop(slot);
                });
            }
        });
        downloads
    }

    /// Waits for a request, made again as long as its failure may pass, or for the interruption.
    fn wait<T>(&self, request: impl AsyncFn() -> Result<T, ImageError>) -> Result<T, ImageError> {
        self.runtime().block_on(async {
            tokio::select! {
                result = retry(self.http.backoff(), request) => result,
                () = raised(&self.interrupted) => Err(ImageError::Interrupted),
            }
        })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is there until drop")
    }
}

impl Drop for Registry {
    /// Does not wait for what cannot be cancelled, such as a name lookup.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Result<Runtime, RegistryError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RegistryError::Runtime)
}

async fn raised(flag: &AtomicBool) {
    while !is_raised(flag) {
        sleep(POLL).await;
    }
}

/// A registry that does not give what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The threads that speak to the network could not be started.
    #[error("could not prepare for the network")]
    Runtime(#[source] io::Error),
    /// TLS could not be set up, which is mostly a system without root certificates.
    #[error("could not set up TLS: are the system's CA certificates installed?")]
    Setup(#[source] reqwest::Error),
    /// No connection.
    #[error("could not connect to {registry}")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// A connection that cannot be trusted, or a server that does not speak TLS.
    #[error("could not make a secure connection to {registry}")]
    Tls {
        /// Host and port.
        registry: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came for too long.
    #[error("{registry} did not answer in time")]
    TimedOut {
        /// Host and port.
        registry: String,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the connection to {registry} broke")]
    Broken {
        /// Host and port.
        registry: String,
        /// How.
        #[source]
        source: reqwest::Error,
    },
    /// The registry wants other credentials than it got.
    #[error("{}", unauthorized(registry, repository, credentials.as_deref(), helper.as_deref(), problem))]
    Unauthorized {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// The repository.
        repository: String,
        /// The file with the credentials that it got, if there were any.
        credentials: Option<PathBuf>,
        /// The helper that would have had to be asked for some.
        helper: Option<Box<Helper>>,
        /// What the registry says about it; may be empty.
        problem: String,
    },
    /// The registry does not accept a user with a password.
    #[error("{registry} does not accept this user with this password{}", colon(problem))]
    LoginRefused {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// What the registry says about it; may be empty.
        problem: String,
    },
    /// The file with certificates of authorities could not be read.
    #[error("could not read the certificates in {}", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file with certificates of authorities holds none, or something else.
    #[error("{} is no PEM file with certificates", .path.display())]
    CaFormat {
        /// The file.
        path: PathBuf,
    },
    /// A request in plain HTTP, where TLS is spoken.
    #[error("{registry} speaks TLS, and was spoken to in plain HTTP")]
    SpeaksTls {
        /// Host and port.
        registry: String,
    },
    /// A request in TLS, where plain HTTP is spoken.
    #[error("{registry} speaks plain HTTP, and was spoken to in TLS")]
    SpeaksPlainHttp {
        /// Host and port.
        registry: String,
    },
    /// Another server that the registry leaves something to, its blobs or its tokens, does not do that.
    #[error("{registry} leaves this to {host}")]
    Elsewhere {
        /// Host and port of the registry.
        registry: String,
        /// Host and port of the other server.
        host: String,
        /// What is wrong there.
        #[source]
        source: Box<RegistryError>,
    },
    /// A redirect that is not followed.
    #[error("{registry} sends elsewhere")]
    Redirects {
        /// Host and port.
        registry: String,
        /// Why it is not followed.
        #[source]
        source: Redirects,
    },
    /// The registry does not have it.
    #[error("{registry} has no {repository}/{path}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// The repository.
        repository: String,
        /// `manifests/` or `blobs/`, and which.
        path: String,
    },
    /// Too many requests in a short time.
    #[error("{registry} refuses more requests for now{}", colon(problem))]
    TooManyRequests {
        /// Host and port.
        registry: String,
        /// How long to wait, if the registry says so.
        retry_after: Option<Duration>,
        /// What the registry says about it; may be empty.
        problem: String,
    },
    /// The registry has a problem of its own: status 408 or 5xx.
    #[error("{registry} failed with status {status}{}", colon(problem))]
    Server {
        /// Host and port.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// How long to wait, if the registry says so.
        retry_after: Option<Duration>,
        /// What the registry says about it; may be empty.
        problem: String,
    },
    /// A status that has no meaning here.
    #[error("{registry} answered with status {status}{}", colon(problem))]
    UnexpectedStatus {
        /// Host and port.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says about it; may be empty.
        problem: String,
    },
    /// An answer that is larger than what it should hold.
    #[error("{registry} answered with more than {max} bytes")]
    TooLarge {
        /// Host and port.
        registry: String,
        /// The limit in bytes.
        max: u64,
    },
    /// A `Docker-Content-Digest` header that is no digest.
    #[error("the registry names no usable digest of the manifest")]
    DigestHeader(#[source] ParseDigestError),
    /// A token server whose answer holds no token.
    #[error("{realm} gave no token")]
    NoToken {
        /// The URL of the token server.
        realm: String,
    },
    /// A token server to which credentials could only go unprotected, or whose URL is none.
    #[error("{registry} asks for credentials to be sent to {realm:?}, which is not secure")]
    InsecureRealm {
        /// Host and port of the registry.
        registry: String,
        /// The URL of the token server.
        realm: String,
    },
}

impl RegistryError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Broken { .. }
            | Self::TooManyRequests { .. }
            | Self::Server { .. } => true,
            Self::Elsewhere { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// How long to wait before the next attempt, if the registry says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            Self::Elsewhere { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}

fn unauthorized(
    registry: &str,
    repository: &str,
    credentials: Option<&Path>,
    helper: Option<&Helper>,
    problem: &str,
) -> String {
    let problem = colon(problem);
    if let Some(file) = credentials {
        let file = file.display();
        return format!("{registry} does not give {repository} to whom the credentials in {file} are for{problem}");
    }
    let helper = helper.map(|helper| format!("; {helper}")).unwrap_or_default();
    format!(
        "{registry} does not give {repository} to everyone, if it exists, and there are no credentials for it{problem}{helper}"
    )
}

fn colon(problem: &str) -> String {
    if problem.is_empty() {
        String::new()
    } else {
        format!(": {problem}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::image::Reference;

    /// What asking for a manifest ends in, at a server that sends each of `parts` and then waits so long.
    fn ask(parts: &'static [(&'static str, u64)]) -> ImageError {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reference = Reference::parse(&format!("{}/x", listener.local_addr().unwrap())).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                for (part, wait) in parts {
                    // Who no longer listens has given up, as it should.
                    let _ = stream.write_all(part.as_bytes());
                    thread::sleep(Duration::from_millis(*wait));
                }
            }
        });
        let Reference::Registry(image) = reference else {
            panic!("no registry")
        };
        let options = SourceOptions {
            state_dir: "unused".into(),
            registry: RegistryOptions::default(),
            keep_unpacked: false,
            max_download: u64::MAX,
            progress: Arc::default(),
            interrupted: Arc::default(),
        };
        let timeouts = Timeouts {
            connect: Duration::from_millis(500),
            read: Duration::from_millis(100),
            document: Duration::from_millis(200),
            backoff: Duration::from_millis(1),
            ..Timeouts::default()
        };
        let registry = Registry::with_timeouts(&image, &options, timeouts).unwrap();
        registry.root().map(drop).unwrap_err()
    }

    #[test]
    fn silence_times_out_wherever_it_falls() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        for parts in [&[("", 300)][..], &[(HEAD, 300)], &[(HEAD, 20), ("12345", 300)]] {
            let error = ask(parts);
            assert!(
                matches!(error, ImageError::Registry(RegistryError::TimedOut { .. })),
                "{parts:?}: {error:?}"
            );
        }
    }

    #[test]
    fn a_document_that_drips_times_out() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        let error = ask(&[(HEAD, 60), ("1", 60), ("2", 60), ("3", 60), ("4", 60), ("5", 60)]);
        assert!(
            matches!(error, ImageError::Registry(RegistryError::TimedOut { .. })),
            "{error:?}"
        );
    }
}
