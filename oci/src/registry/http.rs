//! Requests to a registry for documents and blobs, and the meaning of their responses.

mod authorization;

use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE,
};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::{debug, info};

use super::answer::BlobAnswer;
use super::challenge::Challenge;
use super::client::{ClientOptions, Timeouts, read_certificates};
use super::proxies::Proxies;
use super::redirect::{self, MAX_REDIRECTS, RedirectError};
use super::retry::{Retries, show_wait};
use super::secrets::SentSecrets;
use super::server::{CurrentHost, DOCKER_HUB, Server};
use super::token::{AllowedRealms, Authorizer};
use super::{RegistryError, RegistryOptions};
use crate::ImageError;
use crate::auth::FoundCredentials;
use crate::digest::Digest;
use crate::manifest::MAX_DOCUMENT_LEN;
use crate::progress::Reporter;
use crate::reference::{host_of, is_loopback};

/// HTTP client for one repository, or for a registry without a repository.
pub(super) struct Http {
    client: Client,
    server: Server,
    authorizer: Authorizer,
    /// Supported challenge of `/v2/`, or `None` without one. Set by the first request to `/v2/`.
    root_challenge: OnceCell<Option<Challenge>>,
    timeouts: Timeouts,
    reporter: Reporter,
}

/// Body of a response for a document, and its media type.
pub(super) struct Document {
    pub(super) body: Vec<u8>,
    /// The `Content-Type` without parameters; may be empty.
    pub(super) media_type: String,
}

impl Http {
    /// Makes a client for a repository, or with an empty name for the registry itself.
    pub(super) fn new(
        registry: &str,
        repository: &str,
        found: FoundCredentials,
        options: &RegistryOptions,
        timeouts: Timeouts,
        reporter: Reporter,
    ) -> Result<Self, RegistryError> {
        let is_loopback = is_loopback(host_of(registry));
        let is_plain = options.is_plain(is_loopback);
        let host = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let scheme = if is_plain { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{repository}");
        let base = Url::parse(&base).expect("the parts of a parsed reference make a URL");
        let proxies = Proxies::from_env();
        if let Ok(Some(proxy)) = proxies.for_url(&base) {
            info!(registry = host, proxy = proxy.name(), "goes through a proxy");
        }
        let sent = SentSecrets::for_credentials(found.credentials.as_ref().map(|(credentials, _)| credentials));
        proxies.secrets().for_each(|secret| sent.add(secret));
        let server = Server {
            name: host.to_owned(),
            referrer: None,
            base,
            repository: repository.to_owned(),
            credentials: found.credentials.as_ref().map(|(_, file)| file.clone()),
            helper: found.helper,
            proxies: proxies.clone(),
            sent,
        };
        let certificates = match &options.tls_ca {
            Some(path) => read_certificates(path)?,
            None => Vec::new(),
        };
        if let Some(path) = &options.tls_ca {
            debug!(count = certificates.len(), file = %path.display(), "trusts certificates of the user");
        }
        if options.accept_any_certificate {
            info!(registry = host, "accepts any certificate");
        }
        let client = ClientOptions {
            timeouts,
            proxies,
            plain_http: is_plain,
            certificates,
            accept_any_certificate: options.accept_any_certificate,
        };
        let client = client.build()?;
        let realms = match (is_plain, is_loopback) {
            (false, _) => AllowedRealms::Secure,
            (true, true) => AllowedRealms::SecureOrLoopback,
            (true, false) => AllowedRealms::Any,
        };
        let credentials = found.credentials.map(|(credentials, _)| credentials);
        Ok(Self {
            authorizer: Authorizer::new(client.clone(), server.clone(), realms, credentials),
            client,
            server,
            root_challenge: OnceCell::new(),
            timeouts,
            reporter,
        })
    }

    /// Requests `/v2/`, to find out whether the registry accepts the credentials
    /// (distribution-spec, "Determining Support").
    pub(super) async fn ping(&self) -> Result<(), RegistryError> {
        let current_host = self.registry_host();
        let exchange = async {
            let response = self.exchange("", &["*/*"], None, &current_host).await?;
            let server = self.server.at(response.url());
            server.read_web_page(response).await.map_or(Ok(()), Err)
        };
        self.with_timeout(&current_host, exchange).await
    }

    /// Returns whether the server to which the credentials were sent has refused them.
    pub(super) fn is_refused(&self) -> bool {
        self.authorizer.is_refused()
    }

    /// Returns whether the registry sent a challenge, and accepted the answer to it.
    pub(super) fn was_challenged(&self) -> bool {
        self.authorizer.current().is_some()
    }

    /// Fetches a whole document.
    pub(super) async fn fetch_document(&self, path: &str, accept: &[&str]) -> Result<Document, RegistryError> {
        let current_host = self.registry_host();
        let get = async {
            let mut response = self.exchange(path, accept, None, &current_host).await?;
            let media_type = response.headers().get(CONTENT_TYPE);
            let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            let server = self.server.at(response.url());
            let body = server.read_document(&mut response, MAX_DOCUMENT_LEN).await?;
            match server.web_page(&body) {
                Some(error) => Err(error),
                None => Ok(Document { body, media_type }),
            }
        };
        self.with_timeout(&current_host, get).await
    }

    /// Requests a blob of `size` bytes from byte `from` on.
    ///
    /// If the server refuses the range, requests the blob from its start. Some servers refuse a
    /// range with a status of another meaning, and would refuse every retry; so this follows every
    /// status in [`RegistryError::is_refusal`].
    pub(super) async fn fetch_blob(&self, digest: &Digest, from: u64, size: u64) -> Result<BlobAnswer, RegistryError> {
        let path = format!("blobs/{digest}");
        let current_host = self.registry_host();
        let answer = |response: Response, start| {
            let server = self.server.at(response.url());
            BlobAnswer::new(response, server, start, size)
        };
        if from > 0 {
            let exchange = self.exchange(&path, &["*/*"], Some(from), &current_host);
            match self.with_timeout(&current_host, exchange).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    info!(%digest, from, "the server knows no ranges, and sends the whole blob");
                    return Ok(answer(response, 0));
                }
                Ok(response) if is_part_from(&response, from) => {
                    let part = answer(response, from);
                    if !part.is_coded() {
                        return Ok(part);
                    }
                }
                Err(error) if !error.is_refusal() => return Err(error),
                _ => {}
            }
            info!(%digest, from, "the server refused the range, and is asked for the whole blob");
        }
        let exchange = self.exchange(&path, &["*/*"], None, &current_host);
        Ok(answer(self.with_timeout(&current_host, exchange).await?, 0))
    }

    /// Passes the bytes of a blob to `take` as they arrive. Fails if the body is too slow.
    pub(super) async fn stream(
        &self,
        answer: BlobAnswer,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let server = answer.server().clone();
        let current_host = CurrentHost::new(server.base.clone());
        let stream = answer.stream(self.timeouts.per_64_kib, |bytes| {
            current_host.record_activity();
            take(bytes)
        });
        show_wait(
            &self.reporter,
            self.timeouts.notice,
            &current_host,
            || server.name.clone(),
            stream,
        )
        .await
    }

    /// Returns the limits on waiting.
    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    pub(super) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Returns the wait after the first transient error.
    pub(super) fn backoff(&self) -> Duration {
        self.timeouts.backoff
    }

    /// Repeats a request until it succeeds, fails with a permanent error, or has used up its
    /// attempts.
    pub(super) async fn retry<T>(&self, request: impl AsyncFn() -> Result<T, ImageError>) -> Result<T, ImageError> {
        let mut retries = Retries::new(self.timeouts.backoff);
        loop {
            match request().await {
                Err(ImageError::Registry(error)) if retries.pause(&error, &self.reporter).await => {}
                done => return done,
            }
        }
    }

    /// Returns a new [`CurrentHost`], which names the registry until another server is asked.
    fn registry_host(&self) -> CurrentHost {
        CurrentHost::new(self.server.base.clone())
    }

    /// Limits the time of a whole exchange, which a server could draw out byte by byte, and reports
    /// a long wait.
    async fn with_timeout<T>(
        &self,
        current_host: &CurrentHost,
        exchange: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let host = || self.server.at(&current_host.url()).name;
        let shown = show_wait(&self.reporter, self.timeouts.notice, current_host, host, exchange);
        let result = timeout(self.timeouts.document, shown).await;
        result.unwrap_or_else(|_| Err(self.server.at(&current_host.url()).timed_out()))
    }

    /// Sends a request, answers the registry's challenge, and turns a refusal into an error.
    async fn exchange(
        &self,
        path: &str,
        accept: &[&str],
        from: Option<u64>,
        current_host: &CurrentHost,
    ) -> Result<Response, RegistryError> {
        let url = format!("{}/{path}", self.server.base.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).expect("tags and digests can stand in a URL");
        let response = self.send_authorized(&url, accept, from, current_host).await?;
        let server = self.server.at(response.url());
        let has_repository = self.has_repository();
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if from.is_some() => Ok(response),
            // A registry that redirects its manifests leaves them to another host, whose 404 counts
            // as the registry's.
            StatusCode::NOT_FOUND
                if has_repository && (server.referrer.is_none() || path.starts_with("manifests/")) =>
            {
                let problem = server.read_problem(response).await;
                Err(server.not_found(&self.server.repository, path, problem))
            }
            // Any other refusal of another host tells nothing about the image or the credentials.
            _ if server.referrer.is_some() => Err(server.status_error(response).await),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let problem = server.read_problem(response).await;
                Err(server.unauthorized(problem))
            }
            _ => Err(server.status_error(response).await),
        }
    }

    /// Returns whether a response is from the registry itself, and not from a host that it
    /// redirected to.
    fn is_from_registry(&self, response: &Response) -> bool {
        response.url().origin() == self.server.base.origin()
    }

    /// Returns whether the client is for a repository, and not for a registry without one.
    fn has_repository(&self) -> bool {
        !self.server.repository.is_empty()
    }

    /// Sends a request and follows its redirects. Drops the authorization at the first redirect to
    /// another origin. See [`redirect`] for the redirects that are followed.
    async fn send_following_redirects(
        &self,
        url: &Url,
        accept: &[&str],
        from: Option<u64>,
        mut authorization: Option<HeaderValue>,
        current_host: &CurrentHost,
    ) -> Result<Response, RegistryError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            current_host.set(&url);
            authorization = authorization.filter(|_| url.origin() == self.server.base.origin());
            let response = self.send(url.clone(), accept, from, authorization.clone()).await?;
            let next = redirect::location(&response);
            url = match next.map_err(|why| self.server.at(&url).redirect_error(why))? {
                Some(next) => {
                    let (from, to) = (self.server.redacted_url(&url), self.server.redacted_url(&next));
                    debug!(%from, %to, status = response.status().as_u16(), "redirected");
                    next
                }
                None => return Ok(response),
            };
        }
        Err(self
            .server
            .redirect_error(RedirectError::TooMany { max: MAX_REDIRECTS }))
    }

    /// Sends one request, without following redirects.
    async fn send(
        &self,
        url: Url,
        accept: &[&str],
        from: Option<u64>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::from_str(&accept.join(", ")).expect("media types can stand in a header");
        headers.insert(ACCEPT, accept);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(from) = from {
            let range = HeaderValue::from_str(&format!("bytes={from}-")).expect("digits can stand in a header");
            headers.insert(RANGE, range);
        }
        headers.extend(authorization.map(|authorization| (AUTHORIZATION, authorization)));
        let request = self.client.get(url.clone()).headers(headers);
        self.server.at(&url).send(request).await
    }
}

/// Returns whether a response is a part of a blob that starts at byte `from` (RFC 9110, 14.4).
fn is_part_from(response: &Response, from: u64) -> bool {
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    range
        .and_then(|range| {
            range
                .trim()
                .strip_prefix("bytes ")?
                .split('-')
                .next()?
                .trim()
                .parse()
                .ok()
        })
        .is_some_and(|start: u64| start == from && response.status() == StatusCode::PARTIAL_CONTENT)
}
