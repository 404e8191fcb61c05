//! Servers that respond to requests, and the errors that name them.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use rustls::InvalidMessage;

use super::causes::{causes, io_error};
use super::coding::{self, GzipDecoder};
use super::events::{RedactedUrl, RequestLog};
use super::problem::{ErrorPage, web_page};
use super::proxies::Proxies;
use super::redirect::RedirectError;
use super::secrets::SentSecrets;
use super::{RegistryError, TlsError};
use crate::credential_helper::CredentialHelper;
use crate::reference::canonical_host;

/// Host of Docker Hub's registry.
pub(super) const DOCKER_HUB: &str = "registry-1.docker.io";

/// Limit on the characters of a server's message that an error shows.
const MAX_PROBLEM_LEN: usize = 200;

/// Texts in the response of a TLS server, with status 400, to a request in plain HTTP: those of Go,
/// nginx and Apache.
const TLS_SERVER_TEXTS: [&str; 3] = [
    "Client sent an HTTP request to an HTTPS server",
    "The plain HTTP request was sent to HTTPS port",
    "speaking plain HTTP to an SSL-enabled server port",
];

/// A server that gets requests, with what errors show of it: the registry, or a server that it
/// refers to.
#[derive(Clone)]
pub(super) struct Server {
    /// Host and port.
    pub(super) name: String,
    /// Host and port of the registry that referred to this server; `None` for the registry itself.
    pub(super) referrer: Option<String>,
    /// For the registry, the common start of its URLs, `<scheme>://<host>/v2/<repository>`. For
    /// another server, the URL that the registry referred to.
    pub(super) base: Url,
    /// Repository. Empty for another server, and for a registry without a repository.
    pub(super) repository: String,
    /// File with the credentials, an empty path for the caller's; `None` without credentials.
    pub(super) credentials: Option<PathBuf>,
    pub(super) helper: Option<CredentialHelper>,
    /// Proxies to this server, and to those that it refers to.
    pub(super) proxies: Proxies,
    /// Secrets that the server may repeat in its responses.
    pub(super) sent: SentSecrets,
}

/// The URL requested last, whose server is at fault for a timeout, and the time of the last request
/// or response bytes.
pub(super) struct CurrentHost(Mutex<(Url, Instant)>);

impl CurrentHost {
    pub(super) fn new(url: Url) -> Self {
        Self(Mutex::new((url, Instant::now())))
    }

    pub(super) fn url(&self) -> Url {
        self.lock().0.clone()
    }

    pub(super) fn set(&self, url: &Url) {
        *self.lock() = (url.clone(), Instant::now());
    }

    /// Returns the time at which a request was last sent, or bytes last arrived.
    pub(super) fn last_activity(&self) -> Instant {
        self.lock().1
    }

    /// Records that bytes have arrived.
    pub(super) fn record_activity(&self) {
        self.lock().1 = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, (Url, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Returns the server of a URL: the registry, or a server that it referred to.
    pub(super) fn at(&self, url: &Url) -> Self {
        let sent = self.sent.with_query(url);
        if url.origin() == self.base.origin() {
            return Self { sent, ..self.clone() };
        }
        let host = sent.redact(url.host_str().unwrap_or_default());
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

    /// Sends a request to this server, through the proxy for its URL, and logs it.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| self.request_error(error))?;
        let url = request.url().clone();
        let proxy = self.proxies.for_url(&url)?;
        let log = RequestLog::start(&request, &self.redacted_url(&url), proxy);
        let result = client.execute(request).await;
        let failure = match (proxy, &result) {
            (Some(proxy), Ok(response)) => proxy.refusal(&self.name, &url, response.status()),
            (Some(proxy), Err(error)) => proxy.failure(&self.name, &url, error).await,
            (None, _) => None,
        };
        let result = match failure {
            Some(failure) => Err(self.attribute(failure)),
            None => result.map_err(|error| self.request_error(error)),
        };
        match &result {
            Ok(response) => log.answered(response, &self.redacted_url(&url)),
            Err(error) => log.failed(error, &self.redacted_url(&url)),
        }
        result
    }

    /// Returns a URL for events, without secrets.
    pub(super) fn redacted_url<'a>(&'a self, url: &'a Url) -> RedactedUrl<'a> {
        RedactedUrl {
            url,
            base: Some(&self.base).filter(|_| self.referrer.is_none()),
            sent: &self.sent,
        }
    }

    /// Returns the error of a failed request or body. Removes URLs from it, since those of
    /// redirects hold signatures.
    pub(super) fn request_error(&self, error: reqwest::Error) -> RegistryError {
        let source = error.without_url();
        let registry = self.name.clone();
        let causes = causes(&source);
        let tls = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>());
        self.attribute(match tls {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                RegistryError::SpeaksPlainHttp { registry }
            }
            Some(error) => RegistryError::Tls {
                registry,
                source: TlsError::from_rustls(error),
            },
            None if source.is_timeout() => RegistryError::TimedOut { registry },
            None if source.is_connect() => RegistryError::Unreachable {
                registry,
                source: io_error(&causes),
            },
            None => RegistryError::Broken {
                registry,
                source: io_error(&causes),
            },
        })
    }

    /// Returns the error of a response that does not arrive in time.
    pub(super) fn timed_out(&self) -> RegistryError {
        let registry = self.name.clone();
        self.attribute(RegistryError::TimedOut { registry })
    }

    /// Returns the error of a redirect that is not followed.
    pub(super) fn redirect_error(&self, source: RedirectError) -> RegistryError {
        let registry = self.name.clone();
        let source = match source {
            RedirectError::Insecure { scheme } => RedirectError::Insecure {
                scheme: self.sent.redact(&scheme).to_owned(),
            },
            other => other,
        };
        self.attribute(RegistryError::Redirect { registry, source })
    }

    /// Attributes an error to this server: names the server in it, unless it is the registry.
    fn attribute(&self, error: RegistryError) -> RegistryError {
        match self.referrer.clone() {
            Some(registry) => RegistryError::OtherHost {
                registry,
                host: self.name.clone(),
                source: Box::new(error),
            },
            None => error,
        }
    }

    /// Returns the error of a missing repository, manifest or blob.
    pub(super) fn not_found(&self, repository: &str, path: &str, problem: String) -> RegistryError {
        self.attribute(RegistryError::NotFound {
            registry: canonical_host(&self.name),
            repository: repository.to_owned(),
            path: path.to_owned(),
            problem,
        })
    }

    /// Returns the error of a registry without a supported challenge. `challenge` is its
    /// `WWW-Authenticate`.
    pub(super) fn no_challenge(&self, challenge: &str) -> RegistryError {
        RegistryError::NoChallenge {
            registry: canonical_host(&self.name),
            challenge: self.redact(challenge),
        }
    }

    /// Returns the error of a body that exceeds its limit in bytes.
    pub(super) fn too_large(&self, max: u64) -> RegistryError {
        let registry = self.name.clone();
        self.attribute(RegistryError::TooLarge { registry, max })
    }

    /// Returns the error of a body that ended early.
    pub(super) fn incomplete(&self, received: u64, expected: u64) -> RegistryError {
        self.attribute(RegistryError::Incomplete {
            registry: self.name.clone(),
            received,
            expected,
        })
    }

    /// Returns the error of a body in a content coding that cannot be decoded.
    pub(super) fn coding_error(&self, coding: &str) -> RegistryError {
        self.attribute(RegistryError::Coding {
            registry: self.name.clone(),
            coding: self.redact(coding),
        })
    }

    /// Returns the error of a web page in place of a registry's response; `None` for any other
    /// body.
    pub(super) fn web_page(&self, body: &[u8]) -> Option<RegistryError> {
        let title = web_page(body)?;
        Some(self.attribute(RegistryError::WebPage {
            registry: self.name.clone(),
            title: self.redact(&title),
        }))
    }

    /// Reads the beginning of a body, and returns the error of a web page if it is one.
    pub(super) async fn read_web_page(&self, response: Response) -> Option<RegistryError> {
        self.web_page(&ErrorPage::read(response).await.body)
    }

    /// Returns the error of a registry that denies access. `problem` is its message.
    pub(super) fn unauthorized(&self, problem: String) -> RegistryError {
        RegistryError::Unauthorized {
            registry: canonical_host(&self.name),
            repository: self.repository.clone(),
            credentials: self.credentials.clone(),
            helper: self.helper.clone().map(Box::new),
            problem,
        }
    }

    /// Returns the error of a response with a failure status. Reads its message.
    pub(super) async fn status_error(&self, response: Response) -> RegistryError {
        let registry = self.name.clone();
        let status = response.status();
        let is_plain = response.url().scheme() == "http";
        let retry_after = retry_after(response.headers());
        let page = ErrorPage::read(response).await;
        let problem = self.redact(&page.message());
        self.attribute(match status {
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
            StatusCode::BAD_REQUEST if is_plain && is_from_tls_server(&page) => RegistryError::SpeaksTls { registry },
            status => RegistryError::UnexpectedStatus {
                registry,
                status: status.as_u16(),
                problem,
            },
        })
    }

    /// Returns the message of an error page. Empty without one, and `…` if it repeats a secret.
    pub(super) async fn read_problem(&self, response: Response) -> String {
        self.redact(&ErrorPage::read(response).await.message())
    }

    /// Returns the beginning of a server's text, escaped for a terminal, or `…` if it repeats a
    /// secret.
    pub(super) fn redact(&self, text: &str) -> String {
        let text = self.sent.redact(text).chars().take(MAX_PROBLEM_LEN);
        text.flat_map(char::escape_debug).collect()
    }

    /// Reads a document of at most `max` bytes. Decodes it if it is labelled as gzip and begins
    /// like gzip, as JSON never does.
    pub(super) async fn read_document(&self, response: &mut Response, max: u64) -> Result<Vec<u8>, RegistryError> {
        let coding = coding::content_coding(response.headers());
        let mut body = Vec::new();
        self.stream(response, |bytes| self.append(&mut body, bytes, max))
            .await?;
        let Some(coding) = coding else { return Ok(body) };
        if coding::is_gzip(&coding) && coding::looks_like_gzip(&body) {
            let mut decoded = Vec::new();
            let result = GzipDecoder::new().decode(&body, |bytes| self.append(&mut decoded, bytes, max));
            return result.ok_or_else(|| self.coding_error(&coding))?.map(|()| decoded);
        }
        // The label is wrong: the document has no coding.
        if body.trim_ascii_start().starts_with(b"{") {
            return Ok(body);
        }
        Err(self.coding_error(&coding))
    }

    /// Appends bytes to a body. Fails if it exceeds `max` bytes.
    fn append(&self, body: &mut Vec<u8>, bytes: &[u8], max: u64) -> Result<(), RegistryError> {
        body.extend_from_slice(bytes);
        if body.len() as u64 > max {
            return Err(self.too_large(max));
        }
        Ok(())
    }

    /// Passes the bytes of a body to `take` as they arrive.
    pub(super) async fn stream<E: From<RegistryError>>(
        &self,
        response: &mut Response,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(bytes) = response.chunk().await.map_err(|error| self.request_error(error))? {
            take(&bytes)?;
        }
        Ok(())
    }
}

/// Returns the wait in `Retry-After` (RFC 9110, 10.2.3): a number of seconds, or a time, which is
/// compared with the server's own clock in `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wait = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = wait.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text| httpdate::parse_http_date(text).ok();
    time(wait)?.duration_since(time(text(DATE)?.trim())?).ok()
}

/// Returns whether an error page is from a TLS server that got a request in plain HTTP.
fn is_from_tls_server(page: &ErrorPage) -> bool {
    TLS_SERVER_TEXTS.iter().any(|text| page.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_seconds_or_by_the_server_clock() {
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
