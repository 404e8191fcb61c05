//! Who answers, and what errors tell about that.

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
use crate::helper::Helper;
use crate::reference::canonical;

/// Where Docker Hub is.
pub(super) const DOCKER_HUB: &str = "registry-1.docker.io";

/// Limit on what is shown of a server's words in characters.
const MAX_PROBLEM_LEN: usize = 200;

/// What servers answer in plain HTTP, with status 400, to who speaks it where they speak TLS: those in Go, nginx, and Apache.
const TLS_SERVER_TEXTS: [&str; 3] = [
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

    pub(super) fn last_activity(&self) -> Instant {
        self.lock().1
    }

    /// Takes note that some of an answer has come.
    pub(super) fn record_activity(&self) {
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

    /// Sends it a request, through the proxy that the environment names for this URL.
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

    /// Returns a URL as events show it.
    pub(super) fn redacted_url<'a>(&'a self, url: &'a Url) -> RedactedUrl<'a> {
        RedactedUrl {
            url,
            base: Some(&self.base).filter(|_| self.referrer.is_none()),
            sent: &self.sent,
        }
    }

    /// Why a request or a body failed. URLs are taken out: where redirects lead, they hold signatures.
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

    /// That it does not answer in time.
    pub(super) fn timed_out(&self) -> RegistryError {
        let registry = self.name.clone();
        self.attribute(RegistryError::TimedOut { registry })
    }

    /// That it sends to where nobody goes.
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

    /// The error of this server, with a word about how it came into play.
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

    /// Returns the error of a repository, or a manifest or blob in it, that the server does not
    /// have.
    pub(super) fn not_found(&self, repository: &str, path: &str, problem: String) -> RegistryError {
        self.attribute(RegistryError::NotFound {
            registry: canonical(&self.name),
            repository: repository.to_owned(),
            path: path.to_owned(),
            problem,
        })
    }

    /// Returns the error of a registry that wants to know who asks, in no way that this program
    /// knows. `challenge` is what it says of the ways.
    pub(super) fn no_challenge(&self, challenge: &str) -> RegistryError {
        RegistryError::NoChallenge {
            registry: canonical(&self.name),
            challenge: self.redact(challenge),
        }
    }

    /// Returns the error of a body that has more bytes than it may have.
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

    /// Returns the error of a body in a coding that it cannot be read in.
    pub(super) fn coding_error(&self, coding: &str) -> RegistryError {
        self.attribute(RegistryError::Coding {
            registry: self.name.clone(),
            coding: self.redact(coding),
        })
    }

    /// Returns the error of a body that is a web page where no server of registries has one; `None`
    /// for any other body.
    pub(super) fn web_page(&self, body: &[u8]) -> Option<RegistryError> {
        let title = web_page(body)?;
        Some(self.attribute(RegistryError::WebPage {
            registry: self.name.clone(),
            title: self.redact(&title),
        }))
    }

    /// Reads a body that may be a web page, as [`Server::web_page`].
    pub(super) async fn read_web_page(&self, response: Response) -> Option<RegistryError> {
        self.web_page(&ErrorPage::read(response).await.body)
    }

    pub(super) fn unauthorized(&self, problem: String) -> RegistryError {
        RegistryError::Unauthorized {
            registry: canonical(&self.name),
            repository: self.repository.clone(),
            credentials: self.credentials.clone(),
            helper: self.helper.clone().map(Box::new),
            problem,
        }
    }

    /// The meaning of a status that means failure.
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

    /// Returns the words of an error page; nothing if it has none, `…` if it repeats a secret.
    pub(super) async fn read_problem(&self, response: Response) -> String {
        self.redact(&ErrorPage::read(response).await.message())
    }

    /// Returns the beginning of a server's text as it can be shown.
    pub(super) fn redact(&self, text: &str) -> String {
        let text = self.sent.redact(text).chars().take(MAX_PROBLEM_LEN);
        text.flat_map(char::escape_debug).collect()
    }

    /// Reads a document of at most `max` bytes, and decodes it if it is gzip, which no document
    /// begins like.
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
        // A label without the coding that it names.
        if body.trim_ascii_start().starts_with(b"{") {
            return Ok(body);
        }
        Err(self.coding_error(&coding))
    }

    fn append(&self, body: &mut Vec<u8>, bytes: &[u8], max: u64) -> Result<(), RegistryError> {
        body.extend_from_slice(bytes);
        if body.len() as u64 > max {
            return Err(self.too_large(max));
        }
        Ok(())
    }

    /// Hands a body over as it comes.
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

/// Returns whether an error page is of a server that speaks TLS.
fn is_from_tls_server(page: &ErrorPage) -> bool {
    TLS_SERVER_TEXTS.iter().any(|text| page.contains(text))
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
