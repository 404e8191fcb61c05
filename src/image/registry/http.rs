//! One request to a registry, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::{Instant, timeout};

use super::client::{ClientOptions, authorities};
use super::proxies::Proxies;
use super::redirect::{self, MAX_REDIRECTS, Redirects};
use super::retry::shown;
use super::secrets::SentSecrets;
use super::server::{Asked, DOCKER_HUB, Server};
use super::token::{Authorizer, Realms};
use super::{RegistryError, RegistryOptions};
use crate::image::ImageError;
use crate::image::auth::Found;
use crate::image::digest::Digest;
use crate::image::manifest::MAX_DOCUMENT_LEN;
use crate::image::progress::Progress;
use crate::image::reference::{host_of, is_loopback};

/// How long to wait for what.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// For a connection.
    pub(super) connect: Duration,
    /// For the next byte.
    pub(super) read: Duration,
    /// For a whole document or token.
    pub(super) document: Duration,
    /// For each 64 KiB of a blob.
    pub(super) slow: Duration,
    /// After the first failure that may pass.
    pub(super) backoff: Duration,
    /// For another build that has a lock, or for a server, before the user is told.
    pub(super) notice: Duration,
    /// For another build that has a lock and downloads nothing.
    pub(super) held: Duration,
}

/// What must come in [`Timeouts::slow`], in bytes.
const SLOW_LEN: u64 = 64 << 10;

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            document: Duration::from_mins(1),
            slow: Duration::from_mins(1),
            backoff: Duration::from_millis(400),
            notice: Duration::from_secs(3),
            held: Duration::from_mins(10),
        }
    }
}

/// A client for one repository.
pub(super) struct Http {
    client: Client,
    server: Server,
    authorizer: Authorizer,
    timeouts: Timeouts,
    progress: Arc<Progress>,
}

/// The body of an answer, with what its headers say of it.
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// The `Content-Type` without parameters; may be empty.
    pub(super) media_type: String,
    /// The `Docker-Content-Digest`.
    pub(super) digest: Option<String>,
}

impl Http {
    /// A client for a repository, or with an empty name for the registry as such.
    pub(super) fn new(
        registry: &str,
        repository: &str,
        found: Found,
        options: &RegistryOptions,
        timeouts: Timeouts,
        progress: Arc<Progress>,
    ) -> Result<Self, RegistryError> {
        let is_loopback = is_loopback(host_of(registry));
        let is_plain = options.is_plain(is_loopback);
        let host = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let scheme = if is_plain { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{repository}");
        let base = Url::parse(&base).expect("the parts of a parsed reference make a URL");
        let proxies = Proxies::from_env();
        let sent = SentSecrets::of(found.credentials.as_ref().map(|(credentials, _)| credentials));
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
            Some(path) => authorities(path)?,
            None => Vec::new(),
        };
        let client = ClientOptions {
            timeouts,
            proxies,
            is_plain,
            certificates,
            accept_any_certificate: options.accept_any_certificate,
        };
        let client = client.build()?;
        let realms = match (is_plain, is_loopback) {
            (false, _) => Realms::Secure,
            (true, true) => Realms::SecureOrLoopback,
            (true, false) => Realms::Any,
        };
        let credentials = found.credentials.map(|(credentials, _)| credentials);
        Ok(Self {
            authorizer: Authorizer::new(client.clone(), server.clone(), realms, credentials),
            client,
            server,
            timeouts,
            progress,
        })
    }

    /// Asks the registry for nothing but whether it would give something (distribution-spec, "Determining Support").
    pub(super) async fn ping(&self) -> Result<(), RegistryError> {
        let asked = self.asked();
        let exchange = self.exchange("", &["*/*"], None, &asked);
        self.in_time(&asked, exchange).await.map(drop)
    }

    /// Whether the registry has asked for credentials, and got what it wanted.
    pub(super) fn was_challenged(&self) -> bool {
        self.authorizer.current().is_some()
    }

    /// Gets a document, whole.
    pub(super) async fn document(&self, path: &str, accept: &[&str]) -> Result<Answer, RegistryError> {
        let asked = self.asked();
        let get = async {
            let mut response = self.exchange(path, accept, None, &asked).await?;
            let header = |name: HeaderName| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            let media_type = header(CONTENT_TYPE)
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let digest = Some(header(HeaderName::from_static("docker-content-digest"))).filter(|text| !text.is_empty());
            let server = self.server.at(response.url());
            let body = server.body(&mut response, MAX_DOCUMENT_LEN).await?;
            Ok(Answer {
                body,
                media_type,
                digest,
            })
        };
        self.in_time(&asked, get).await
    }

    /// Gets a blob from byte `from` on, or from where the server is willing to begin: the answer, with its body to
    /// come, and the position of the first byte of that.
    pub(super) async fn blob(&self, digest: &Digest, from: u64) -> Result<(Response, u64), RegistryError> {
        let path = format!("blobs/{digest}");
        let asked = self.asked();
        if from > 0 {
            let exchange = self.exchange(&path, &["*/*"], Some(from), &asked);
            let response = self.in_time(&asked, exchange).await?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT if starts_at(&response, from) => return Ok((response, from)),
                StatusCode::OK => return Ok((response, 0)),
                // A server that takes the question amiss is asked without a range.
                _ => {}
            }
        }
        let exchange = self.exchange(&path, &["*/*"], None, &asked);
        let response = self.in_time(&asked, exchange).await?;
        Ok((response, 0))
    }

    /// Hands a body over as it comes. One that comes too slowly is given up.
    pub(super) async fn stream(
        &self,
        mut response: Response,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let server = self.server.at(response.url());
        let asked = Asked::new(response.url().clone());
        let mut since = Instant::now();
        let mut len = 0;
        let stream = server.stream(&mut response, |bytes| {
            asked.hear();
            len += bytes.len() as u64;
            if len >= SLOW_LEN {
                (since, len) = (Instant::now(), 0);
            } else if since.elapsed() > self.timeouts.slow {
                return Err(server.timed_out().into());
            }
            take(bytes)
        });
        let host = || server.name.clone();
        shown(&self.progress, self.timeouts.notice, &asked, host, stream).await
    }

    /// Parses the digest in a header of the registry.
    ///
    /// # Errors
    ///
    /// [`RegistryError::DigestHeader`], which shows what is there unless it repeats a secret.
    pub(super) fn parse_digest(&self, text: &str) -> Result<Digest, RegistryError> {
        let parsed = text.parse();
        parsed.or_else(|_| {
            self.server
                .sent
                .shown(text)
                .parse()
                .map_err(RegistryError::DigestHeader)
        })
    }

    /// How long to wait after the first failure that may pass.
    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn backoff(&self) -> Duration {
        self.timeouts.backoff
    }

    /// The registry, until somebody else is asked.
    fn asked(&self) -> Asked {
        Asked::new(self.server.base.clone())
    }

    /// Bounds the time for a whole exchange, which a server could draw out byte by byte, and shows
    /// a long wait.
    async fn in_time<T>(
        &self,
        asked: &Asked,
        exchange: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let host = || self.server.at(&asked.get()).name;
        let shown = shown(&self.progress, self.timeouts.notice, asked, host, exchange);
        let result = timeout(self.timeouts.document, shown).await;
        result.unwrap_or_else(|_| Err(self.server.at(&asked.get()).timed_out()))
    }

    /// Asks, answers the challenge if there is one, and asks again.
    async fn exchange(
        &self,
        path: &str,
        accept: &[&str],
        from: Option<u64>,
        asked: &Asked,
    ) -> Result<Response, RegistryError> {
        let url = format!("{}/{path}", self.server.base.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).expect("tags and digests can stand in a URL");
        let used = self.authorizer.current();
        let mut response = self.follow(&url, accept, from, used.clone(), asked).await?;
        // A challenge from where a redirect leads is not the registry's, and must not get its credentials.
        if response.status() == StatusCode::UNAUTHORIZED && response.url().origin() == self.server.base.origin() {
            let authorization = self.authorizer.answer(response.headers(), used.as_ref(), asked).await?;
            response = self.follow(&url, accept, from, Some(authorization), asked).await?;
        }
        let server = self.server.at(response.url());
        let has_names = !self.server.repository.is_empty();
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if from.is_some() => Ok(response),
            // Where all that is asked of the registry is sent on, it is another host that knows what there is.
            StatusCode::NOT_FOUND if has_names && (server.referrer.is_none() || path.starts_with("manifests/")) => {
                Err(server.not_found(&self.server.repository, path))
            }
            // What another host says otherwise is no word about what the registry has, and whom it gives it.
            _ if server.referrer.is_some() => Err(server.refusal(response).await),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let problem = server.problem(response).await;
                Err(server.unauthorized(problem))
            }
            _ => Err(server.refusal(response).await),
        }
    }

    /// Asks, and follows redirects: without the authorisation once they have led elsewhere, and never from TLS to plain HTTP.
    async fn follow(
        &self,
        url: &Url,
        accept: &[&str],
        from: Option<u64>,
        mut authorization: Option<HeaderValue>,
        asked: &Asked,
    ) -> Result<Response, RegistryError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            asked.set(&url);
            authorization = authorization.filter(|_| url.origin() == self.server.base.origin());
            let response = self.send(url.clone(), accept, from, authorization.clone()).await?;
            let next = redirect::next(&response);
            url = match next.map_err(|why| self.server.at(&url).redirects(why))? {
                Some(next) => next,
                None => return Ok(response),
            };
        }
        Err(self.server.redirects(Redirects::TooMany { max: MAX_REDIRECTS }))
    }

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
        if let Some(from) = from {
            let range = HeaderValue::from_str(&format!("bytes={from}-")).expect("digits can stand in a header");
            headers.insert(RANGE, range);
        }
        headers.extend(authorization.map(|authorization| (AUTHORIZATION, authorization)));
        let request = self.client.get(url.clone()).headers(headers);
        self.server.at(&url).send(request).await
    }
}

/// Whether a part of a blob begins where it was asked to (RFC 9110, 14.4).
fn starts_at(response: &Response, from: u64) -> bool {
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
        .is_some_and(|start: u64| start == from)
}
