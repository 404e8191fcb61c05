//! What can go wrong with a registry.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proxies::ProxyRefusal;
use super::redirect::RedirectError;
use super::tls::TlsError;
use crate::helper::Helper;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// A registry that does not give what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The threads that speak to the network could not be started.
    #[error("could not prepare for the network")]
    Runtime(#[source] io::Error),
    /// TLS could not be set up, which is mostly a system without root certificates.
    #[error("could not set up TLS: are the system's CA certificates installed?")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
    /// No connection, which may be for want of an address.
    #[error("could not connect to {registry}")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A variable for a proxy whose value is not the URL of one.
    #[error("{}", proxy_variable(name, scheme.as_deref()))]
    ProxyVariable {
        /// The variable. Its value may hold a password.
        name: String,
        /// The scheme of the URL, if that is not supported.
        scheme: Option<String>,
    },
    /// No connection to or through a proxy.
    #[error("could not connect to {registry} through the proxy {proxy}")]
    ProxyUnreachable {
        /// Host and port.
        registry: String,
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names the proxy.
        variable: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A proxy that does not connect.
    #[error("the proxy {proxy} does not connect to {registry}: {reason}")]
    ProxyRefused {
        /// Host and port.
        registry: String,
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names the proxy.
        variable: String,
        /// Why not.
        reason: ProxyRefusal,
    },
    /// A proxy that does not speak TLS, or whose certificate is not trusted.
    #[error("could not make a secure connection to the proxy {proxy}")]
    ProxyTls {
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names the proxy.
        variable: String,
        /// Why not.
        #[source]
        source: Box<TlsError>,
    },
    /// A connection that cannot be trusted, or a server that speaks another TLS.
    #[error("could not make a secure connection to {registry}")]
    Tls {
        /// Host and port.
        registry: String,
        /// Why not.
        #[source]
        source: TlsError,
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
        source: io::Error,
    },
    /// A body that ended before all of it came, in one that has no length of its own or is a part.
    #[error("{registry} sent {received} of {expected} bytes")]
    Incomplete {
        /// Host and port.
        registry: String,
        /// Bytes of the blob that are there.
        received: u64,
        /// Bytes of the blob.
        expected: u64,
    },
    /// A body in a content coding that was not asked for, and cannot be decoded.
    #[error("{registry} sent the content coding {coding}, which it was not asked for")]
    Coding {
        /// Host and port.
        registry: String,
        /// The `Content-Encoding`.
        coding: String,
    },
    /// A web page in place of what was asked for: the page of a captive portal or of a proxy, or a
    /// server that is not a registry.
    #[error(
        "{registry} answered with a web page{}, and not as a registry does",
        with_title(title)
    )]
    WebPage {
        /// Host and port.
        registry: String,
        /// Title of the page; may be empty.
        title: String,
    },
    /// The registry wants other credentials than it got.
    #[error("{}", unauthorized(registry, repository, credentials.as_deref(), helper.as_deref(), problem))]
    Unauthorized {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// The repository.
        repository: String,
        /// The file with the credentials that it got, if there were any; an empty path for those of
        /// [`RegistryOptions::credentials`](crate::RegistryOptions::credentials).
        credentials: Option<PathBuf>,
        /// The helper that would have had to be asked for some.
        helper: Option<Box<Helper>>,
        /// Words of the registry about it; may be empty.
        problem: String,
    },
    /// The registry, or its token server, wants to know who asks, but names no way that this
    /// program knows.
    #[error("{registry} asks for authentication, but {}", describe_challenge(challenge))]
    NoChallenge {
        /// Host and port.
        registry: String,
        /// The `WWW-Authenticate`; may be empty.
        challenge: String,
    },
    /// The registry refused a login for another reason than the user and the password.
    #[error(
        "{registry} refused the login, and does not say that the user or the password is wrong{}",
        after_colon(problem)
    )]
    LoginUndecided {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// Words of the registry about it; may be empty.
        problem: String,
    },
    /// The registry does not accept a user with a password.
    #[error("{registry} does not accept this user with this password{}", after_colon(problem))]
    LoginRefused {
        /// Host and port; `docker.io` for Docker Hub.
        registry: String,
        /// Words of the registry about it; may be empty.
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
    /// A file with certificates of authorities that is too large to be one.
    #[error("{} is larger than the {max} bytes that a file with certificates may have", .path.display())]
    CaTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
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
    /// Another server that the registry leaves something to, its blobs or its tokens, does not do
    /// that.
    #[error("{registry} leaves this to {host}")]
    OtherHost {
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
    Redirect {
        /// Host and port.
        registry: String,
        /// Why it is not followed.
        #[source]
        source: RedirectError,
    },
    /// The registry does not have it.
    #[error("{registry} has no {}{}", missing_name(repository, path), after_colon(problem))]
    NotFound {
        /// Host and port.
        registry: String,
        /// The repository.
        repository: String,
        /// `manifests/` or `blobs/`, and which.
        path: String,
        /// Words of the registry about it; may be empty.
        problem: String,
    },
    /// Too many requests in a short time.
    #[error("{registry} refuses more requests for now{}", after_colon(problem))]
    TooManyRequests {
        /// Host and port.
        registry: String,
        /// How long to wait, if the registry says so.
        retry_after: Option<Duration>,
        /// Words of the registry about it; may be empty.
        problem: String,
    },
    /// The registry has a problem of its own: status 408 or 5xx.
    #[error("{registry} failed with status {status}{}", after_colon(problem))]
    Server {
        /// Host and port.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// How long to wait, if the registry says so.
        retry_after: Option<Duration>,
        /// Words of the registry about it; may be empty.
        problem: String,
    },
    /// A status that has no meaning here.
    #[error("{registry} answered with status {status}{}", after_colon(problem))]
    UnexpectedStatus {
        /// Host and port.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// Words of the registry about it; may be empty.
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
    /// A token server whose answer holds no token.
    #[error("{realm} gave no token")]
    NoToken {
        /// The URL of the token server.
        realm: String,
    },
    /// A token server to which credentials could only go unprotected, or whose URL is none.
    #[error("{registry} leaves authentication to {realm:?}, which is not the URL of a server that speaks TLS")]
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

    /// Returns whether a server refused a request with a status that may mean a part of it, such as
    /// its range. Too many requests, and failures of the network, mean the request itself.
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

    /// Returns host and port of the server that may do better later; empty if it is not
    /// [transient](Self::is_transient).
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

    /// How long to wait before the next attempt, if the registry says so.
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
            // Threads or descriptors are used up.
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
                "check the host; of the ways to log in, this program knows user and password (Basic) and tokens (Bearer)"
            }
            Self::LoginUndecided { .. } => {
                "check the host, and what the registry says; the user and the password may be right"
            }
            Self::WebPage { .. } => {
                "check the host and the port; where a network has a sign-in page, sign in with a browser first"
            }
            Self::Coding { .. } => {
                "have whoever runs the registry, or the proxy before it, send what is asked for: Accept-Encoding: identity"
            }
            Self::InsecureRealm { .. } => {
                "have whoever runs the registry name its token server with https; credentials are never sent in the clear"
            }
            Self::LoginRefused { .. } => {
                "check the user and the password; many registries want an access token in place of the password"
            }
            Self::Runtime(_) => "allow more processes and threads (ulimit -u, pids.max), or end some",
            Self::NotFound { .. } => "check the repository, and the tag or digest",
            Self::Tls { source, .. } => return source.hint(),
            Self::SpeaksPlainHttp { .. } => {
                let accept = "check the host and the port; if that is how it is meant to be, accept";
                let risk = " that anyone between can read and change what is sent";
                return Some(Hint::from(accept).with(Setting::PlainHttp).and(risk));
            }
            // How to speak to other servers, and with which credentials, is not for the user to
            // say.
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
                     authority of your own, name that"
                );
                return Some(Hint::from(advice).with(Setting::Authority));
            }
            Self::SpeaksTls { .. } => {
                return Some(
                    Hint::default()
                        .about(Setting::PlainHttp, "say {}=false", "speak TLS")
                        .about(Setting::Authority, ", with {} for an authority of your own", ""),
                );
            }
            Self::CaFile { .. } | Self::CaFormat { .. } | Self::CaTooLarge { .. } => {
                "name a file with certificates in PEM form, which begin with -----BEGIN CERTIFICATE-----"
            }
            error if error.is_transient() => "try again later; check the network if it goes on",
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
    helper: Option<&Helper>,
    problem: &str,
) -> String {
    let problem = after_colon(problem);
    if let Some(file) = credentials {
        if file.as_os_str().is_empty() {
            return format!("{registry} does not give {repository} to whom the given credentials are for{problem}");
        }
        let file = file.display();
        return format!("{registry} does not give {repository} to whom the credentials in {file} are for{problem}");
    }
    let helper = helper.map(|helper| format!("; {helper}")).unwrap_or_default();
    format!(
        "{registry} does not give {repository} to everyone, if it exists, and there are no credentials for it{problem}{helper}"
    )
}

/// Names an image or blob as a reference does.
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
        "names no way to do it (no WWW-Authenticate)".to_owned()
    } else {
        format!("in no way that is supported: {challenge}")
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
