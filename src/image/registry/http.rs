//! One request to a registry, and what its answer means.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use oci_distribution::errors::OciEnvelope;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::{Instant, timeout};

use super::client::{ClientOptions, authorities};
use super::token::{Authorizer, Realms};
use super::{RegistryError, RegistryOptions};
use crate::image::ImageError;
use crate::image::auth::{Found, Helper};
use crate::image::digest::Digest;
use crate::image::manifest::MAX_DOCUMENT_LEN;
use crate::image::reference::{host_of, is_loopback};

/// Where Docker Hub is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// The most that is read of an error page, in bytes.
const MAX_PROBLEM_LEN: usize = 64 << 10;

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
        }
    }
}

/// A client for one repository.
pub(super) struct Http {
    client: Client,
    server: Server,
    /// `<scheme>://<host>/v2/<repository>`.
    base: Url,
    authorizer: Authorizer,
    timeouts: Timeouts,
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
    ) -> Result<Self, RegistryError> {
        let is_loopback = is_loopback(host_of(registry));
        let is_plain = options.is_plain(is_loopback);
        let host = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let scheme = if is_plain { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{repository}");
        let base = Url::parse(&base).expect("the parts of a parsed reference make a URL");
        let server = Server {
            registry: host.to_owned(),
            repository: repository.to_owned(),
            credentials: found.credentials.as_ref().map(|(_, file)| file.clone()),
            helper: found.helper,
        };
        let certificates = match &options.tls_ca {
            Some(path) => authorities(path)?,
            None => Vec::new(),
        };
        let client = ClientOptions {
            timeouts,
            is_loopback,
            is_plain,
            certificates,
            accept_any_certificate: options.accept_any_certificate,
        };
        let realms = match (is_plain, is_loopback) {
            (false, _) => Realms::Secure,
            (true, true) => Realms::SecureOrLoopback,
            (true, false) => Realms::Any,
        };
        let credentials = found.credentials.map(|(credentials, _)| credentials);
        Ok(Self {
            client: client.following()?,
            authorizer: Authorizer::new(client, server.clone(), realms, credentials),
            server,
            base,
            timeouts,
        })
    }

    /// Asks the registry for nothing but whether it would give something (distribution-spec, "Determining Support").
    pub(super) async fn ping(&self) -> Result<(), RegistryError> {
        self.in_time(self.exchange("", &["*/*"], None)).await.map(drop)
    }

    /// Gets a document, whole.
    pub(super) async fn document(&self, path: &str, accept: &[&str]) -> Result<Answer, RegistryError> {
        let get = async {
            let mut response = self.exchange(path, accept, None).await?;
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
            let body = self.server.body(&mut response, MAX_DOCUMENT_LEN).await?;
            Ok(Answer {
                body,
                media_type,
                digest,
            })
        };
        self.in_time(get).await
    }

    /// Gets a blob from byte `from` on, or from where the server is willing to begin: the answer, with its body to
    /// come, and the position of the first byte of that.
    pub(super) async fn blob(&self, digest: &Digest, from: u64) -> Result<(Response, u64), RegistryError> {
        let path = format!("blobs/{digest}");
        if from > 0 {
            let response = self.in_time(self.exchange(&path, &["*/*"], Some(from))).await?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT if starts_at(&response, from) => return Ok((response, from)),
                StatusCode::OK => return Ok((response, 0)),
                // A server that takes the question amiss is asked without a range.
                _ => {}
            }
        }
        let response = self.in_time(self.exchange(&path, &["*/*"], None)).await?;
        Ok((response, 0))
    }

    /// Hands a body over as it comes. One that comes too slowly is given up.
    pub(super) async fn stream(
        &self,
        mut response: Response,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut since = Instant::now();
        let mut len = 0;
        self.server
            .stream(&mut response, |bytes| {
                len += bytes.len() as u64;
                if len >= SLOW_LEN {
                    (since, len) = (Instant::now(), 0);
                } else if since.elapsed() > self.timeouts.slow {
                    return Err(self.timed_out().into());
                }
                take(bytes)
            })
            .await
    }

    /// How long to wait after the first failure that may pass.
    pub(super) fn backoff(&self) -> Duration {
        self.timeouts.backoff
    }

    fn timed_out(&self) -> RegistryError {
        RegistryError::TimedOut {
            registry: self.server.registry.clone(),
        }
    }

    /// Bounds the time for a whole exchange, which a server could draw out byte by byte.
    async fn in_time<T>(&self, exchange: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        timeout(self.timeouts.document, exchange)
            .await
            .unwrap_or_else(|_| Err(self.timed_out()))
    }

    /// Asks, answers the challenge if there is one, and asks again.
    ///
    /// Redirects are followed, without credentials where they lead to another host.
    async fn exchange(&self, path: &str, accept: &[&str], from: Option<u64>) -> Result<Response, RegistryError> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let used = self.authorizer.current();
        let mut response = self.send(&url, accept, from, used.clone()).await?;
        // A challenge from where a redirect leads is not the registry's, and must not get its credentials.
        if response.status() == StatusCode::UNAUTHORIZED && response.url().origin() == self.base.origin() {
            let authorization = self.authorizer.answer(response.headers(), used.as_ref()).await?;
            response = self.send(&url, accept, from, Some(authorization)).await?;
        }
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if from.is_some() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.server.unauthorized(problem(response).await)),
            StatusCode::NOT_FOUND if !self.server.repository.is_empty() => {
                let Server {
                    registry, repository, ..
                } = self.server.clone();
                Err(RegistryError::NotFound {
                    registry,
                    repository,
                    path: path.to_owned(),
                })
            }
            _ => Err(self.server.refusal(response).await),
        }
    }

    async fn send(
        &self,
        url: &str,
        accept: &[&str],
        from: Option<u64>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.client.get(url).header(ACCEPT, accept.join(", "));
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| self.server.failure(error))
    }
}

/// What errors tell about the server.
#[derive(Clone)]
pub(super) struct Server {
    /// Host and port.
    pub(super) registry: String,
    /// Empty for the registry as such.
    pub(super) repository: String,
    /// The file with the credentials.
    pub(super) credentials: Option<PathBuf>,
    pub(super) helper: Option<Helper>,
}

impl Server {
    /// Why a request or a body failed. URLs are taken out: where redirects lead, they hold signatures.
    pub(super) fn failure(&self, error: reqwest::Error) -> RegistryError {
        let source = error.without_url();
        let registry = self.registry.clone();
        if is_tls(&source) {
            RegistryError::Tls { registry, source }
        } else if source.is_timeout() {
            RegistryError::TimedOut { registry }
        } else if source.is_connect() {
            RegistryError::Unreachable { registry, source }
        } else {
            RegistryError::Broken { registry, source }
        }
    }

    pub(super) fn unauthorized(&self, problem: String) -> RegistryError {
        let registry = match self.registry.as_str() {
            DOCKER_HUB => "docker.io",
            other => other,
        };
        RegistryError::Unauthorized {
            registry: registry.to_owned(),
            repository: self.repository.clone(),
            credentials: self.credentials.clone(),
            helper: self.helper.clone().map(Box::new),
            problem,
        }
    }

    /// The meaning of a status that means failure, whoever sent it.
    pub(super) async fn refusal(&self, response: Response) -> RegistryError {
        let registry = self.registry.clone();
        let retry_after = retry_after(response.headers());
        match response.status() {
            StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests {
                registry,
                retry_after,
                problem: problem(response).await,
            },
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => RegistryError::Server {
                registry,
                status: status.as_u16(),
                retry_after,
                problem: problem(response).await,
            },
            status => {
                let body = error_page(response).await;
                // What servers in Go say in plain HTTP to who does.
                if status == StatusCode::BAD_REQUEST
                    && body.starts_with(b"Client sent an HTTP request to an HTTPS server")
                {
                    return RegistryError::SpeaksTls { registry };
                }
                RegistryError::UnexpectedStatus {
                    registry,
                    status: status.as_u16(),
                    problem: message(&body),
                }
            }
        }
    }

    /// Reads a body of at most `max` bytes.
    pub(super) async fn body(&self, response: &mut Response, max: u64) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        self.stream(response, |bytes| {
            body.extend_from_slice(bytes);
            if body.len() as u64 > max {
                return Err(RegistryError::TooLarge {
                    registry: self.registry.clone(),
                    max,
                });
            }
            Ok(())
        })
        .await?;
        Ok(body)
    }

    async fn stream<E: From<RegistryError>>(
        &self,
        response: &mut Response,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(bytes) = response.chunk().await.map_err(|error| self.failure(error))? {
            take(&bytes)?;
        }
        Ok(())
    }
}

/// What an error page says in the form of distribution-spec, "Error codes"; empty if it has another.
pub(super) async fn problem(response: Response) -> String {
    message(&error_page(response).await)
}

async fn error_page(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_PROBLEM_LEN
        && let Ok(Some(bytes)) = response.chunk().await
    {
        body.extend_from_slice(&bytes);
    }
    body
}

fn message(body: &[u8]) -> String {
    let first = serde_json::from_slice::<OciEnvelope>(body)
        .ok()
        .and_then(|envelope| envelope.errors.into_iter().next());
    let message = first.map(|error| error.message).unwrap_or_default();
    message.chars().take(200).flat_map(char::escape_debug).collect()
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

/// How long a server wants to be left alone (RFC 9110, 10.2.3): seconds, or a time, which is held against the server's
/// own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wait = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = wait.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text| httpdate::parse_http_date(text).ok();
    time(wait)?.duration_since(time(text(DATE)?.trim())?).ok()
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    // The source of an `io::Error` is not the error that it wraps, but what comes after.
    let cause = match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
        None => error.source(),
    };
    error.is::<rustls::Error>() || cause.is_some_and(is_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_how_long_to_wait_in_seconds_or_by_its_own_clock() {
        let wait = |value: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            headers.extend(date.map(|date| (DATE, HeaderValue::from_static(date))));
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        let noon = "Wed, 21 Oct 2015 12:00:00 GMT";
        assert_eq!(wait("30", None), Some(30));
        assert_eq!(wait("Wed, 21 Oct 2015 12:00:30 GMT", Some(noon)), Some(30));
        assert_eq!(wait("Wed, 21 Oct 2015 11:59:30 GMT", Some(noon)), None);
        for odd in ["", "-1", "soon", "1.5", "Wed, 21 Oct 2015 12:00:30 GMT"] {
            assert_eq!(wait(odd, None), None, "{odd}");
        }
    }
}
