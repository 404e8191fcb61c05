//! Proxies from the environment variables `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
//!
//! Reqwest reads these variables too, but ignores a value that it cannot parse and connects without
//! a proxy, and its `NO_PROXY` does not support ports. So this module parses them, and reqwest gets
//! the proxy of each URL from [`Proxies::rule`].
//!
//! The texts of hyper-util's errors are compared here, since their types are private; tests show a
//! text that changes.

mod refusal;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::dns::{Name, Resolve};
use reqwest::{ClientBuilder, Method, StatusCode, Url, redirect};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::causes::{causes, io_error};
use super::resolver::SystemResolver;
use super::tls::unverified_config;
use super::{RegistryError, TlsError};
use crate::auth::Secret;
use crate::reference::is_loopback;

pub use refusal::ProxyRefusal;

/// Time limit on the second connection that finds out why a proxy failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The port of a SOCKS proxy whose URL has none.
const SOCKS_PORT: u16 = 1080;

/// Prefix of hyper-util's errors about a tunnel through an HTTP proxy.
const TUNNEL_PREFIX: &str = "tunnel error: ";

/// Text of hyper-util after [`TUNNEL_PREFIX`] for status 407.
const TUNNEL_CREDENTIALS: &str = "proxy authorization required";

/// Prefix of hyper-util's errors about a SOCKS proxy. They have no source.
const SOCKS_PREFIX: &str = "SOCKS error: ";

/// Text of hyper-util after [`SOCKS_PREFIX`] if no connection to the proxy was made.
const SOCKS_UNCONNECTED: &str = "failed to create underlying connection";

/// Texts of hyper-util after [`SOCKS_PREFIX`] if the connection to the proxy breaks.
const SOCKS_BROKEN: [&str; 2] = ["io error during SOCKS handshake", "failed parsing server response"];

/// Texts of hyper-util after [`SOCKS_PREFIX`] if the proxy refuses the credentials, or requires
/// some and got none.
const SOCKS_CREDENTIALS: [&str; 3] = [
    "server does not support user/pass authentication",
    "server implements authentication incorrectly",
    "credentials not accepted",
];

/// Proxy settings, which decide for each URL whether it is requested through a proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies(Arc<ProxySettings>);

/// The proxy variables of the environment, parsed.
#[derive(Debug, Default)]
struct ProxySettings {
    http: Option<Result<Proxy, InvalidVariable>>,
    https: Option<Result<Proxy, InvalidVariable>>,
    exempt: Vec<Exemption>,
}

/// A proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Name of the variable with its URL.
    variable: String,
    /// URL, with user and password.
    url: Url,
    /// Host and port.
    name: String,
}

impl fmt::Debug for Proxy {
    /// Shows host and port only, since the URL may have a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Proxy").field(&self.name).finish()
    }
}

/// A variable whose value is not the URL of a supported proxy.
#[derive(Debug, Clone)]
struct InvalidVariable {
    name: String,
    /// Scheme of the URL, if the scheme is not supported.
    scheme: Option<String>,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
struct Exemption {
    hosts: ExemptHosts,
    /// The only exempt port; `None` exempts all ports.
    port: Option<u16>,
}

/// Hosts of an entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum ExemptHosts {
    All,
    /// A domain and its subdomains, in lower case.
    Domain(String),
    /// Addresses whose first `bits` bits equal those of `address`.
    Network {
        address: IpAddr,
        bits: u8,
    },
}

/// Fault of a proxy in a failed request.
enum ProxyFault {
    Unreachable(io::Error),
    Refused(ProxyRefusal),
    Tls(rustls::Error),
    /// The proxy refused to connect, with a status that hyper-util does not report.
    UnknownStatus,
    /// No connection to the proxy was made, for a reason that hyper-util does not report.
    NoConnection,
}

impl Proxies {
    /// Reads the environment variables.
    pub(super) fn from_env() -> Self {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // An empty variable counts as unset, as in Go's net/http, which docker and skopeo use.
        let first = |names: &[&'static str]| {
            let mut values = names.iter().filter_map(|name| Some((*name, variable(name)?)));
            values.find(|(_, value)| !value.is_empty())
        };
        let proxy = |names: &[&'static str]| {
            let (name, value) = first(names).or_else(|| first(&["ALL_PROXY", "all_proxy"]))?;
            Some(Proxy::parse(name, &value))
        };
        // In a CGI program, HTTP_PROXY has the value of the client's header `Proxy`, so it is
        // ignored.
        let http: &[_] = match variable("REQUEST_METHOD") {
            Some(_) => &["http_proxy"],
            None => &["HTTP_PROXY", "http_proxy"],
        };
        let exempt = first(&["NO_PROXY", "no_proxy"]).map(|(_, value)| value.to_string_lossy().into_owned());
        let exempt = exempt.unwrap_or_default();
        let entries = exempt.split(|character: char| character == ',' || character.is_whitespace());
        Self(Arc::new(ProxySettings {
            http: proxy(http),
            https: proxy(&["HTTPS_PROXY", "https_proxy"]),
            exempt: entries.filter_map(Exemption::parse).collect(),
        }))
    }

    /// Returns the proxy for a URL; `None` for a direct connection. Hosts on this machine have no
    /// proxy.
    ///
    /// # Errors
    ///
    /// [`RegistryError::ProxyVariable`] if the variable for the URL does not name a supported
    /// proxy.
    pub(super) fn for_url(&self, url: &Url) -> Result<Option<&Proxy>, RegistryError> {
        let setting = match url.scheme() {
            "http" => self.0.http.as_ref(),
            "https" => self.0.https.as_ref(),
            _ => None,
        };
        let (Some(setting), Some(host)) = (setting, url.host_str()) else {
            return Ok(None);
        };
        let port = url.port_or_known_default();
        if is_loopback(host) || self.0.exempt.iter().any(|exemption| exemption.covers(host, port)) {
            return Ok(None);
        }
        match setting {
            Ok(proxy) => Ok(Some(proxy)),
            Err(InvalidVariable { name, scheme }) => Err(RegistryError::ProxyVariable {
                name: name.clone(),
                scheme: scheme.clone(),
            }),
        }
    }

    /// Returns the rule by which a client finds the proxy for each URL.
    pub(super) fn rule(&self) -> reqwest::Proxy {
        let proxies = self.clone();
        let nowhere = Url::parse("http://proxy.invalid").expect("this is a URL");
        reqwest::Proxy::custom(move |url| match proxies.for_url(url) {
            Ok(proxy) => proxy.map(|proxy| proxy.url.clone()),
            // `Server::send` has refused this URL already. This rule only makes sure that it is
            // never requested without a proxy.
            Err(_) => Some(nowhere.clone()),
        })
    }

    /// Returns the passwords of all proxies, which a proxy may repeat in its response.
    pub(super) fn secrets(&self) -> impl Iterator<Item = Secret> {
        let proxies = [&self.0.http, &self.0.https].into_iter().flatten().flatten();
        proxies.flat_map(Proxy::secrets)
    }
}

impl Proxy {
    fn parse(variable: &str, value: &OsString) -> Result<Self, InvalidVariable> {
        let invalid = |scheme| InvalidVariable {
            name: variable.to_owned(),
            scheme,
        };
        let value = value.to_str().ok_or_else(|| invalid(None))?.trim();
        let url = if value.contains("://") {
            Url::parse(value)
        } else {
            Url::parse(&format!("http://{value}"))
        };
        let mut url = url.map_err(|_| invalid(None))?;
        match url.scheme() {
            "http" | "https" | "socks4" | "socks4a" | "socks5h" => {}
            // The proxy resolves the host, as with programs in Go: the name may be unknown on this
            // machine.
            "socks5" => url.set_scheme("socks5h").map_err(|()| invalid(None))?,
            scheme => return Err(invalid(Some(scheme.to_owned()))),
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| invalid(None))?.to_owned();
        let port = url.port_or_known_default().unwrap_or(SOCKS_PORT);
        url.set_port(Some(port)).map_err(|()| invalid(None))?;
        Ok(Self {
            variable: variable.to_owned(),
            url,
            name: format!("{host}:{port}"),
        })
    }

    /// Returns host and port of the proxy.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn is_socks(&self) -> bool {
        self.url.scheme().starts_with("socks")
    }

    fn has_credentials(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    /// Returns the password as it is in the variable, decoded, and as it is sent.
    fn secrets(&self) -> Vec<Secret> {
        let Some(password) = self.url.password() else {
            return Vec::new();
        };
        let [user, decoded] = [self.url.username(), password].map(|text| percent_decode_str(text).collect::<Vec<_>>());
        let pair = STANDARD.encode([user, b":".to_vec(), decoded.clone()].concat());
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        [password.to_owned(), decoded, pair].map(Secret::new).into()
    }

    /// Returns the error of a response with status 407 to a request in plain HTTP, which the proxy
    /// itself sent; `None` for any other response.
    pub(super) fn refusal(&self, registry: &str, url: &Url, status: StatusCode) -> Option<RegistryError> {
        let is_its_own = status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && url.scheme() == "http";
        (is_its_own && !self.is_socks()).then(|| self.refused(registry, self.credentials_refusal()))
    }

    /// Returns the error of a failed request if the proxy is at fault; `None` if it is not.
    pub(super) async fn failure(&self, registry: &str, url: &Url, error: &reqwest::Error) -> Option<RegistryError> {
        Some(match self.fault(url, error)? {
            ProxyFault::Unreachable(source) => self.unreachable(registry, source),
            ProxyFault::Refused(reason) => self.refused(registry, reason),
            ProxyFault::Tls(source) => RegistryError::ProxyTls {
                proxy: self.name.clone(),
                variable: self.variable.clone(),
                source: Box::new(TlsError::from_rustls(&source)),
            },
            ProxyFault::UnknownStatus => self.repeat_connect(registry, url).await,
            ProxyFault::NoConnection => {
                let source = self.connect_error().await;
                self.unreachable(
                    registry,
                    source.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()),
                )
            }
        })
    }

    /// Returns the fault of this proxy in a failed request; `None` if it is not at fault.
    fn fault(&self, url: &Url, error: &reqwest::Error) -> Option<ProxyFault> {
        if !error.is_connect() {
            return None;
        }
        let causes = causes(error);
        let after = |prefix: &str| {
            let mut texts = causes.iter().map(ToString::to_string);
            texts.find_map(|text| text.strip_prefix(prefix).map(str::to_owned))
        };
        let (tunnel, socks) = (after(TUNNEL_PREFIX), after(SOCKS_PREFIX));
        let tls = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>());
        if let Some(error) = tls {
            // The handshake is the proxy's only until the tunnel exists; later it is the
            // registry's.
            let is_its_own = self.url.scheme() == "https" && (tunnel.is_some() || url.scheme() == "http");
            return is_its_own.then(|| ProxyFault::Tls(error.clone()));
        }
        if let Some(text) = socks {
            return Some(match text.as_str() {
                SOCKS_UNCONNECTED => ProxyFault::NoConnection,
                text if SOCKS_BROKEN.contains(&text) => ProxyFault::Unreachable(io::Error::other(text.to_owned())),
                text if SOCKS_CREDENTIALS.contains(&text) => ProxyFault::Refused(self.credentials_refusal()),
                _ => ProxyFault::Refused(ProxyRefusal::Socks(text)),
            });
        }
        if error.is_timeout() {
            return Some(ProxyFault::Unreachable(io::ErrorKind::TimedOut.into()));
        }
        // Without an address for the registry's name, the proxy was not contacted.
        if self.is_socks() {
            return None;
        }
        let has_io = causes.iter().any(|cause| cause.is::<io::Error>());
        Some(match tunnel.as_deref() {
            Some(TUNNEL_CREDENTIALS) => ProxyFault::Refused(self.credentials_refusal()),
            Some(_) if !has_io && self.url.scheme() == "http" => ProxyFault::UnknownStatus,
            Some(_) if !has_io => ProxyFault::Refused(ProxyRefusal::Unknown),
            _ => ProxyFault::Unreachable(io_error(&causes)),
        })
    }

    /// Asks an HTTP proxy again to connect, and returns the error with its status, which hyper-util
    /// does not report.
    async fn repeat_connect(&self, registry: &str, url: &Url) -> RegistryError {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
        let target = format!("http://{host}:{}", port.unwrap_or_default());
        let answer = async {
            // This request uses plain HTTP, so certificates do not matter.
            let client = ClientBuilder::new()
                .tls_backend_preconfigured(unverified_config())
                .dns_resolver(SystemResolver)
                .redirect(redirect::Policy::none())
                .timeout(PROBE_TIMEOUT)
                .proxy(reqwest::Proxy::all(self.url.clone())?)
                .build()?;
            client.request(Method::CONNECT, target).send().await
        };
        match answer.await.map(|response| response.status()) {
            Ok(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => self.refused(registry, self.credentials_refusal()),
            Ok(status) if status.is_success() => {
                let text = "it refused to connect, and did so when asked again";
                self.unreachable(registry, io::Error::other(text))
            }
            Ok(status) => self.refused(registry, ProxyRefusal::Status(status.as_u16())),
            Err(error) => self.unreachable(registry, io_error(&causes(&error))),
        }
    }

    /// Connects to a SOCKS proxy again, and returns the error, which hyper-util does not report.
    async fn connect_error(&self) -> Option<io::Error> {
        let host = self.url.host_str()?.trim_matches(['[', ']']);
        let connect = async {
            let mut result = Err(io::ErrorKind::NotFound.into());
            let name = host.parse::<Name>().map_err(io::Error::other)?;
            for address in SystemResolver.resolve(name).await.map_err(io::Error::other)? {
                let port = self.url.port().unwrap_or(SOCKS_PORT);
                result = TcpStream::connect((address.ip(), port)).await.map(drop);
                if result.is_ok() {
                    break;
                }
            }
            result
        };
        timeout(PROBE_TIMEOUT, connect).await.ok()?.err()
    }

    /// Returns the refusal of a proxy that requires credentials, or other ones.
    fn credentials_refusal(&self) -> ProxyRefusal {
        if self.has_credentials() {
            ProxyRefusal::CredentialsRefused
        } else {
            ProxyRefusal::CredentialsWanted
        }
    }

    fn refused(&self, registry: &str, reason: ProxyRefusal) -> RegistryError {
        RegistryError::ProxyRefused {
            registry: registry.to_owned(),
            proxy: self.name.clone(),
            variable: self.variable.clone(),
            reason,
        }
    }

    fn unreachable(&self, registry: &str, source: io::Error) -> RegistryError {
        RegistryError::ProxyUnreachable {
            registry: registry.to_owned(),
            proxy: self.name.clone(),
            variable: self.variable.clone(),
            source,
        }
    }
}

impl Exemption {
    /// Parses an entry of `NO_PROXY`, as curl and Go do: `*`, a domain with or without a leading
    /// dot, an address, or a network. All but a network may have a port.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.to_ascii_lowercase();
        let all_ports = |hosts| Some(Self { hosts, port: None });
        if let Some(network) = ExemptHosts::network(&entry) {
            return all_ports(network);
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => (host, Some(port.parse().ok()?)),
            _ => (entry.as_str(), None),
        };
        let hosts = match host {
            "*" => ExemptHosts::All,
            host => ExemptHosts::network(host).or_else(|| ExemptHosts::domain(host))?,
        };
        Some(Self { hosts, port })
    }

    /// Returns whether the entry exempts a host and port from proxies.
    fn covers(&self, host: &str, port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        match (&self.hosts, address) {
            (ExemptHosts::All, _) => true,
            (ExemptHosts::Network { address, bits }, Some(host)) => is_in_network(host, *address, *bits),
            (ExemptHosts::Domain(domain), None) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str());
                below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            (ExemptHosts::Network { .. }, None) | (ExemptHosts::Domain(_), Some(_)) => false,
        }
    }
}

impl ExemptHosts {
    fn network(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(address);
        let address: IpAddr = address.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(max), |bits| bits.parse().ok().filter(|bits| *bits <= max))?;
        Some(Self::Network { address, bits })
    }

    fn domain(text: &str) -> Option<Self> {
        let domain = text.strip_prefix('*').unwrap_or(text);
        let domain = domain.strip_prefix('.').unwrap_or(domain).trim_end_matches('.');
        (!domain.is_empty()).then(|| Self::Domain(domain.to_owned()))
    }
}

fn is_in_network(host: IpAddr, network: IpAddr, bits: u8) -> bool {
    let differs = match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => (host.to_bits() ^ network.to_bits()).leading_zeros(),
        (IpAddr::V6(host), IpAddr::V6(network)) => (host.to_bits() ^ network.to_bits()).leading_zeros(),
        _ => return false,
    };
    differs >= u32::from(bits)
}

#[cfg(test)]
mod tests;
