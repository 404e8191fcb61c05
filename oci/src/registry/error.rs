//! Errors of a registry, a token server or a proxy.
//!
//! To add an error: add the variant with its message, put it in [`RegistryError::is_transient`] and
//! `host` if a retry may help, choose its kind and its hint in the `Failure` implementation, and
//! pass the hint on from `OtherHost` if the error can come from another server. An error made of a
//! response status also belongs in `is_refusal`. `registry/server.rs` constructs most errors and
//! names the server in them; its tests are in `tests/sources`.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proxies::ProxyRefusal;
use super::redirect::RedirectError;
use super::tls::TlsError;
use crate::credential_helper::CredentialHelper;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Failure of a request to a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The threads for requests could not be started.
    #[error("could not start the threads for the network")]
    Runtime(#[source] io::Error),
    /// TLS could not be set up, mostly because the system has no root certificates.
    #[error("could not set up TLS")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
    /// No connection was made, for example because the host has no address.
    #[error("could not connect to {registry}")]
    Unreachable {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// A variable for a proxy does not hold the URL of a supported proxy.
    #[error("{}", proxy_variable(name, scheme.as_deref()))]
    ProxyVariable {
        /// Name of the variable. Its value is not shown, since it may hold a password.
        name: String,
        /// Scheme of the URL, if the scheme is not supported.
        scheme: Option<String>,
    },
    /// No connection was made to a proxy or through it.
    #[error("could not connect to {registry} through the proxy {proxy}")]
    ProxyUnreachable {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names the proxy.
        variable: String,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// A proxy refused to connect to the registry.
    #[error("the proxy {proxy} does not connect to {registry}: {reason}")]
    ProxyRefused {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names the proxy.
        variable: String,
        /// Cause of the failure.
        reason: ProxyRefusal,
    },
    /// A proxy does not speak TLS, or its certificate is not trusted.
    #[error("the TLS handshake with the proxy {proxy} failed")]
    ProxyTls {
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names the proxy.
        variable: String,
        /// Cause of the failure.
        #[source]
        source: Box<TlsError>,
    },
    /// The TLS handshake failed: the certificate is not trusted, or no version or cipher is shared.
    #[error("the TLS handshake with {registry} failed")]
    Tls {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Cause of the failure.
        #[source]
        source: TlsError,
    },
    /// The response, or a part of it, did not arrive in time.
    #[error("timed out waiting for {registry}")]
    TimedOut {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
    },
    /// The connection broke, or the response is not valid HTTP.
    #[error("lost the connection to {registry}")]
    Broken {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// A body ended early. This concerns a body without a `Content-Length`, and a partial response.
    #[error("{registry} sent {received} of {expected} bytes")]
    Incomplete {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Bytes of the blob that were received.
        received: u64,
        /// Size of the blob in bytes.
        expected: u64,
    },
    /// A body has a content coding that was not requested, and cannot be decoded.
    #[error("{registry} sent the content coding {coding}, which it was not asked for")]
    Coding {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// The `Content-Encoding`.
        coding: String,
    },
    /// The response is a web page: from a captive portal, a proxy, or a server that is not a
    /// registry.
    #[error(
        "{registry} answered with a web page{}, and not as a registry does",
        with_title(title)
    )]
    WebPage {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Title of the page; may be empty.
        title: String,
    },
    /// The registry denied access with the credentials that it got, or without any.
    #[error("{}", unauthorized(registry, repository, credentials.as_deref(), helper.as_deref(), problem))]
    Unauthorized {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// The repository.
        repository: String,
        /// File with the credentials that were sent; `None` without credentials, and an empty path
        /// for [`RegistryOptions::credentials`](crate::RegistryOptions::credentials).
        credentials: Option<PathBuf>,
        /// Credential helper that may have credentials, and was not executed.
        helper: Option<Box<CredentialHelper>>,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// The registry requires authentication, but sends no supported challenge.
    #[error("{registry} requires authentication, but {}", describe_challenge(challenge))]
    NoChallenge {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// The `WWW-Authenticate`; may be empty.
        challenge: String,
    },
    /// The registry refused a login, for a reason that may have nothing to do with the user and the
    /// password.
    #[error(
        "{registry} refused the login without rejecting the user or the password{}",
        after_colon(problem)
    )]
    LoginUndecided {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// The registry does not accept a user with a password.
    #[error("{registry} does not accept this user with this password{}", after_colon(problem))]
    LoginRefused {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// The file with certificates of authorities could not be read.
    #[error("could not read the certificates in {}", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// The file with certificates of authorities has no certificate in PEM form.
    #[error("{} is not a PEM file with certificates", .path.display())]
    CaFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file with certificates of authorities is larger than the limit.
    #[error("the file with certificates {} has more than {max} bytes", .path.display())]
    CaTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// The request used plain HTTP, and the server speaks TLS.
    #[error("{registry} speaks TLS, but the request used plain HTTP")]
    SpeaksTls {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
    },
    /// The request used TLS, and the server speaks plain HTTP.
    #[error("{registry} speaks plain HTTP, but the request used TLS")]
    SpeaksPlainHttp {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
    },
    /// A request failed at another server to which the registry referred, for a blob or for a
    /// token.
    #[error("{registry} refers to {host}")]
    OtherHost {
        /// Host and port of the registry.
        registry: String,
        /// Host and port of the other server.
        host: String,
        /// Failure at the other server.
        #[source]
        source: Box<RegistryError>,
    },
    /// A redirect is not followed.
    #[error("{registry} sent a redirect that is not followed")]
    Redirect {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Reason why it is not followed.
        #[source]
        source: RedirectError,
    },
    /// The registry does not have the repository, manifest or blob.
    #[error("{registry} has no {}{}", missing_name(repository, path), after_colon(problem))]
    NotFound {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// The repository.
        repository: String,
        /// Path below the repository: `manifests/<tag or digest>` or `blobs/<digest>`.
        path: String,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// The registry limits the rate of requests: status 429.
    #[error("too many requests to {registry} (status 429){}", after_colon(problem))]
    TooManyRequests {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// Wait before the next attempt, if the registry sends one.
        retry_after: Option<Duration>,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// The registry failed: status 408 or 5xx.
    #[error("{registry} failed with status {status}{}", after_colon(problem))]
    Server {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// Wait before the next attempt, if the registry sends one.
        retry_after: Option<Duration>,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// The registry responded with any other status.
    #[error("{registry} answered with status {status}{}", after_colon(problem))]
    UnexpectedStatus {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// Message of the registry; may be empty.
        problem: String,
    },
    /// A response is larger than its limit.
    #[error("{registry} answered with more than {max} bytes")]
    TooLarge {
        /// Host, and the port if the reference or the URL has one.
        registry: String,
        /// The limit in bytes.
        max: u64,
    },
    /// The response of a token server has no token.
    #[error("{realm} returned no token")]
    NoToken {
        /// The URL of the token server.
        realm: String,
    },
    /// The realm of a challenge is not a URL, or credentials would be sent to it without TLS.
    #[error("{registry} names the token server {realm:?}, which is not the URL of a server with TLS")]
    InsecureRealm {
        /// Host and port of the registry.
        registry: String,
        /// The URL of the token server.
        realm: String,
    },
}

impl RegistryError {
    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::ProxyUnreachable { .. }
            | Self::TimedOut { .. }
            | Self::Broken { .. }
            | Self::Incomplete { .. }
            | Self::TooManyRequests { .. }
            | Self::Server { .. } => true,
            Self::ProxyRefused { reason, .. } => reason.is_transient(),
            Self::OtherHost { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Returns whether a server refused a request with a status that may concern only a part of it,
    /// such as its range. Status 429 and network failures concern the whole request.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Unauthorized { .. }
            | Self::NoChallenge { .. }
            | Self::NotFound { .. }
            | Self::Server { .. }
            | Self::UnexpectedStatus { .. } => true,
            Self::OtherHost { source, .. } => source.is_refusal(),
            _ => false,
        }
    }

    /// Returns host and port of the server for a [transient](Self::is_transient) error; empty for
    /// any other error.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Unreachable { registry, .. }
            | Self::ProxyUnreachable { registry, .. }
            | Self::ProxyRefused { registry, .. }
            | Self::TimedOut { registry }
            | Self::Broken { registry, .. }
            | Self::Incomplete { registry, .. }
            | Self::TooManyRequests { registry, .. }
            | Self::Server { registry, .. } => registry,
            Self::OtherHost { source, .. } => source.host(),
            _ => "",
        }
    }

    /// Returns the wait before the next attempt, if the registry sent one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            Self::OtherHost { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}

impl Failure for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            // The system is out of threads or descriptors.
            Self::Runtime(_) => ErrorKind::SystemLimit,
            Self::CaFile { source, .. } => source.kind().into(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unauthorized { .. } | Self::LoginRefused { .. } | Self::InsecureRealm { .. } => {
                ErrorKind::PolicyDenied
            }
            Self::ProxyRefused { reason, .. } if !reason.is_transient() => ErrorKind::PolicyDenied,
            Self::OtherHost { source, .. } => source.kind(),
            error if error.is_transient() => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Unauthorized {
                registry, credentials, ..
            } => {
                let registry = registry.clone();
                let (advice, command) = match credentials {
                    Some(file) if file.as_os_str().is_empty() => {
                        return Some("check the name, and that the user may pull it".into());
                    }
                    None => ("check the name; for a private image, log in first", ": {}"),
                    Some(_) => (
                        "check the name, and that the user may pull it; log in as another one",
                        " with: {}",
                    ),
                };
                return Some(Hint::from(advice).about(Setting::Login { registry }, command, ""));
            }
            Self::NoChallenge { .. } => {
                "check the host; the supported schemes are Basic (user and password) and Bearer (tokens)"
            }
            Self::LoginUndecided { .. } => {
                "check the host and the registry's message; the user and the password may be right"
            }
            Self::WebPage { .. } => {
                "check the host and the port; where a network has a sign-in page, sign in with a browser first"
            }
            Self::Coding { .. } => {
                "ask the operator of the registry, or of the proxy before it, to honor Accept-Encoding: identity"
            }
            Self::InsecureRealm { .. } => {
                "ask the operator of the registry to name its token server with https; credentials are never sent in the \
                 clear"
            }
            Self::LoginRefused { .. } => {
                "check the user and the password; many registries want an access token in place of the password"
            }
            Self::Runtime(_) => "allow more processes and threads (ulimit -u, pids.max), or end some",
            Self::NotFound { .. } => "check the repository, and the tag or digest",
            Self::Tls { source, .. } => return source.hint(),
            Self::SpeaksPlainHttp { .. } => {
                let accept = "check the host and the port; if the registry has no TLS, plain HTTP works";
                let risk = ", and anyone on the network path can then read and change what is sent";
                return Some(Hint::from(accept).with(Setting::PlainHttp).and(risk));
            }
            // The user cannot set options or credentials for other servers.
            Self::OtherHost { source, .. } if !source.is_transient() => {
                return match **source {
                    Self::Tls { .. }
                    | Self::NotFound { .. }
                    | Self::WebPage { .. }
                    | Self::Coding { .. }
                    | Self::ProxyRefused { .. }
                    | Self::ProxyTls { .. } => source.hint(),
                    _ => None,
                };
            }
            Self::ProxyVariable { name, .. } => {
                return Some(Hint::from(format!(
                    "set {name} to http://<host>:<port>, https://… or socks5://…, with reserved characters of a \
                     password percent-encoded (# as %23); or unset it"
                )));
            }
            Self::ProxyRefused {
                registry,
                proxy,
                variable,
                reason,
            } if !reason.is_transient() => return Some(reason.hint(registry, proxy, variable)),
            Self::ProxyUnreachable { registry, variable, .. } => {
                return Some(Hint::from(format!(
                    "check the host and the port in {variable}; if {registry} is reached without a proxy, add it to \
                     NO_PROXY"
                )));
            }
            Self::ProxyTls { variable, .. } => {
                let advice = format!(
                    "begin {variable} with http:// if the proxy does not speak TLS; if its certificate is of an \
                     authority of your own, pass the authority's certificate"
                );
                return Some(Hint::from(advice).with(Setting::Authority));
            }
            Self::SpeaksTls { .. } => {
                return Some(
                    Hint::default()
                        .about(Setting::PlainHttp, "pass {}=false", "speak TLS")
                        .about(Setting::Authority, ", with {} for an authority of your own", ""),
                );
            }
            Self::CaFile { .. } | Self::CaFormat { .. } | Self::CaTooLarge { .. } => {
                "use a file with certificates in PEM form, which begin with -----BEGIN CERTIFICATE-----"
            }
            Self::Setup(_) => {
                let install =
                    "install the system's CA certificates (on Debian, the package ca-certificates), or pass a file";
                return Some(Hint::from(install).with(Setting::Authority));
            }
            Self::TooManyRequests { .. } => "try again later; many registries allow more requests after a login",
            error if error.is_transient() => "try again later; if it persists, check the network",
            _ => return None,
        };
        Some(text.into())
    }
}

fn proxy_variable(name: &str, scheme: Option<&str>) -> String {
    match scheme {
        Some(scheme) => format!("{name} names a proxy of the scheme {scheme}, which is not supported"),
        None => format!("the value of {name} is not the URL of a proxy"),
    }
}

fn unauthorized(
    registry: &str,
    repository: &str,
    credentials: Option<&Path>,
    helper: Option<&CredentialHelper>,
    problem: &str,
) -> String {
    let problem = after_colon(problem);
    if let Some(file) = credentials {
        if file.as_os_str().is_empty() {
            return format!("{registry} denies access to {repository} with the given credentials{problem}");
        }
        let file = file.display();
        return format!("{registry} denies access to {repository} with the credentials in {file}{problem}");
    }
    let helper = helper.map(|helper| format!("; {helper}")).unwrap_or_default();
    format!(
        "{registry} denies access to {repository} (unauthorized): it does not exist, or is private and no credentials were found{problem}{helper}"
    )
}

/// Returns the missing image or blob in the form of a reference.
fn missing_name(repository: &str, path: &str) -> String {
    match path.split_once('/') {
        Some(("manifests", digest)) if digest.contains(':') => format!("image {repository}@{digest}"),
        Some(("manifests", tag)) => format!("image {repository}:{tag}"),
        Some((_, digest)) => format!("blob {digest} of {repository}"),
        None => repository.to_owned(),
    }
}

fn describe_challenge(challenge: &str) -> String {
    if challenge.is_empty() {
        "sends no challenge (WWW-Authenticate)".to_owned()
    } else {
        format!("its challenge is not supported: {challenge}")
    }
}

fn with_title(title: &str) -> String {
    if title.is_empty() {
        String::new()
    } else {
        format!(" with the title \"{title}\"")
    }
}

fn after_colon(problem: &str) -> String {
    if problem.is_empty() {
        String::new()
    } else {
        format!(": {problem}")
    }
}
