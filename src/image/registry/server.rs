//! Who answers, and what errors tell about that.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oci_distribution::errors::OciEnvelope;
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use rustls::InvalidMessage;

use super::RegistryError;
use super::proxies::Proxies;
use super::redirect::Redirects;
use super::secrets::SentSecrets;
use crate::image::auth::Helper;

/// Where Docker Hub is.
pub(super) const DOCKER_HUB: &str = "registry-1.docker.io";

/// The most that is read of an error page, in bytes.
const MAX_PROBLEM_LEN: usize = 64 << 10;

/// What servers answer in plain HTTP, with status 400, to who speaks it where they speak TLS: those in Go, nginx, and Apache.
const SPEAKS_TLS: [&str; 3] = [
    "Client sent an HTTP request to an HTTPS server",
    "The plain HTTP request was sent to HTTPS port",
    "speaking plain HTTP to an SSL-enabled server port",
];

/// What errors tell about a server: the registry, or one that it refers to.
#[derive(Clone)]
pub(super) struct Server {
    /// Host and port.
    pub(super) name: String,
    /// The registry, if this is another server.
    pub(super) referrer: Option<String>,
    /// Of the registry, what all that is asked of it begins with: `<scheme>://<host>/v2/<repository>`.
    pub(super) base: Url,
    /// Empty for the registry as such.
    pub(super) repository: String,
    /// The file with the credentials.
    pub(super) credentials: Option<PathBuf>,
    pub(super) helper: Option<Helper>,
    /// The way to it, and to servers that it refers to.
    pub(super) proxies: Proxies,
    /// Secrets that it may repeat.
    pub(super) sent: SentSecrets,
}

/// The server that was asked last, which is to blame for what comes too slowly, and the time when
/// something was last asked or heard.
pub(super) struct Asked(Mutex<(Url, Instant)>);

impl Asked {
    pub(super) fn new(url: Url) -> Self {
        Self(Mutex::new((url, Instant::now())))
    }

    pub(super) fn get(&self) -> Url {
        self.lock().0.clone()
    }

    pub(super) fn set(&self, url: &Url) {
        *self.lock() = (url.clone(), Instant::now());
    }

    pub(super) fn since(&self) -> Instant {
        self.lock().1
    }

    /// Takes note that some of an answer has come.
    pub(super) fn hear(&self) {
        self.lock().1 = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, (Url, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// The server behind a URL, to which the registry may have referred.
    pub(super) fn at(&self, url: &Url) -> Self {
        let sent = self.sent.with_query(url);
        if url.origin() == self.base.origin() {
            return Self { sent, ..self.clone() };
        }
        let host = sent.shown(url.host_str().unwrap_or_default());
        Self {
            name: url
                .port()
                .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            referrer: Some(self.name.clone()),
            base: url.clone(),
            repository: String::new(),
            credentials: None,
            helper: None,
            proxies: self.proxies.clone(),
            sent,
        }
    }

    /// Sends it a request, through the proxy that the environment names for this URL.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| self.failure(error))?;
        let url = request.url().clone();
        let proxy = self.proxies.of(&url)?;
        let result = client.execute(request).await;
        let failure = match (proxy, &result) {
            (Some(proxy), Ok(response)) => proxy.refusal(&self.name, &url, response.status()),
            (Some(proxy), Err(error)) => proxy.failure(&self.name, &url, error).await,
            (None, _) => None,
        };
        match failure {
            Some(failure) => Err(self.blamed(failure)),
            None => result.map_err(|error| self.failure(error)),
        }
    }

    /// Why a request or a body failed. URLs are taken out: where redirects lead, they hold signatures.
    pub(super) fn failure(&self, error: reqwest::Error) -> RegistryError {
        let source = error.without_url();
        let registry = self.name.clone();
        self.blamed(match tls_error(&source) {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                RegistryError::SpeaksPlainHttp { registry }
            }
            Some(error) => RegistryError::Tls {
                registry,
                source: error.into(),
            },
            None if source.is_timeout() => RegistryError::TimedOut { registry },
            None if source.is_connect() => RegistryError::Unreachable { registry, source },
            None => RegistryError::Broken { registry, source },
        })
    }

    /// That it does not answer in time.
    pub(super) fn timed_out(&self) -> RegistryError {
        let registry = self.name.clone();
        self.blamed(RegistryError::TimedOut { registry })
    }

    /// That it sends to where nobody goes.
    pub(super) fn redirects(&self, source: Redirects) -> RegistryError {
        let registry = self.name.clone();
        let source = match source {
            Redirects::Insecure { scheme } => Redirects::Insecure {
                scheme: self.sent.shown(&scheme).to_owned(),
            },
            other => other,
        };
        self.blamed(RegistryError::Redirects { registry, source })
    }

    /// The error of this server, with a word about how it came into play.
    fn blamed(&self, error: RegistryError) -> RegistryError {
        match self.referrer.clone() {
            Some(registry) => RegistryError::Elsewhere {
                registry,
                host: self.name.clone(),
                source: Box::new(error),
            },
            None => error,
        }
    }

    pub(super) fn not_found(&self, repository: &str, path: &str) -> RegistryError {
        self.blamed(RegistryError::NotFound {
            registry: self.name.clone(),
            repository: repository.to_owned(),
            path: path.to_owned(),
        })
    }

    pub(super) fn unauthorized(&self, problem: String) -> RegistryError {
        let registry = match self.name.as_str() {
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

    /// The meaning of a status that means failure.
    pub(super) async fn refusal(&self, response: Response) -> RegistryError {
        let registry = self.name.clone();
        let status = response.status();
        let is_plain = response.url().scheme() == "http";
        let retry_after = retry_after(response.headers());
        let page = error_page(response).await;
        let problem = self.message(&page);
        self.blamed(match status {
            StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests {
                registry,
                retry_after,
                problem,
            },
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => RegistryError::Server {
                registry,
                status: status.as_u16(),
                retry_after,
                problem,
            },
            StatusCode::BAD_REQUEST if is_plain && says_tls(&page) => RegistryError::SpeaksTls { registry },
            status => RegistryError::UnexpectedStatus {
                registry,
                status: status.as_u16(),
                problem,
            },
        })
    }

    /// Returns what an error page says in the form of distribution-spec, "Error codes"; nothing if
    /// it has another form, and `…` if it repeats a secret.
    pub(super) async fn problem(&self, response: Response) -> String {
        self.message(&error_page(response).await)
    }

    fn message(&self, body: &[u8]) -> String {
        let first = serde_json::from_slice::<OciEnvelope>(body)
            .ok()
            .and_then(|envelope| envelope.errors.into_iter().next());
        let message = first.map(|error| error.message).unwrap_or_default();
        let message = self.sent.shown(&message);
        message.chars().take(200).flat_map(char::escape_debug).collect()
    }

    /// Reads a body of at most `max` bytes.
    pub(super) async fn body(&self, response: &mut Response, max: u64) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        self.stream(response, |bytes| {
            body.extend_from_slice(bytes);
            if body.len() as u64 > max {
                let registry = self.name.clone();
                return Err(self.blamed(RegistryError::TooLarge { registry, max }));
            }
            Ok(())
        })
        .await?;
        Ok(body)
    }

    /// Hands a body over as it comes.
    pub(super) async fn stream<E: From<RegistryError>>(
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

async fn error_page(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_PROBLEM_LEN
        && let Ok(Some(bytes)) = response.chunk().await
    {
        body.extend_from_slice(&bytes);
    }
    body
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

/// Whether an error page is of a server that speaks TLS.
fn says_tls(page: &[u8]) -> bool {
    let page = String::from_utf8_lossy(page);
    SPEAKS_TLS.iter().any(|text| page.contains(text))
}

/// What TLS has to say about an error.
fn tls_error<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error rustls::Error> {
    // The source of an `io::Error` is not the error that it wraps, but what comes after.
    let cause = match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
        None => error.source(),
    };
    error.downcast_ref().or_else(|| cause.and_then(tls_error))
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
