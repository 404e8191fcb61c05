//! Proxies, as the variables of the environment name them.
//!
//! Reqwest reads these variables too, but passes over a value that it does not understand and goes
//! without a proxy, and its `NO_PROXY` knows no ports. So they are read here, and reqwest asks here
//! for each URL.

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

/// Time for the question why a proxy refuses to connect.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The port of a SOCKS proxy whose URL has none.
const SOCKS_PORT: u16 = 1080;

/// Beginning of hyper-util's errors of a tunnel through an HTTP proxy. Their types are private.
const TUNNEL: &str = "tunnel error: ";

/// Text of hyper-util for status 407, after [`TUNNEL`].
const TUNNEL_CREDENTIALS: &str = "proxy authorization required";

/// Beginning of hyper-util's errors of a SOCKS proxy. Their types are private, and they have no
/// source.
const SOCKS: &str = "SOCKS error: ";

/// Text of hyper-util after [`SOCKS`] where there is no connection to the proxy.
const SOCKS_UNCONNECTED: &str = "failed to create underlying connection";

/// Texts of hyper-util after [`SOCKS`] where the connection to the proxy breaks.
const SOCKS_BROKEN: [&str; 2] = ["io error during SOCKS handshake", "failed parsing server response"];

/// Texts of hyper-util after [`SOCKS`] where a proxy wants other credentials, or none.
const SOCKS_CREDENTIALS: [&str; 3] = [
    "server does not support user/pass authentication",
    "server implements authentication incorrectly",
    "credentials not accepted",
];

/// The way to each registry: through a proxy, or straight.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies(Arc<Settings>);

#[derive(Debug, Default)]
struct Settings {
    http: Option<Result<Proxy, InvalidVariable>>,
    https: Option<Result<Proxy, InvalidVariable>>,
    exempt: Vec<Exemption>,
}

/// A proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    /// The variable that names it.
    variable: String,
    /// With user and password.
    url: Url,
    /// Host and port.
    name: String,
}

impl fmt::Debug for Proxy {
    /// Leaves out the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Proxy").field(&self.name).finish()
    }
}

/// A variable that names no proxy.
#[derive(Debug, Clone)]
struct InvalidVariable {
    name: String,
    /// The scheme, if it is that which is not supported.
    scheme: Option<String>,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
struct Exemption {
    hosts: Hosts,
    /// The only port that it holds for.
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A domain and what is below, in lower case.
    Domain(String),
    /// Addresses with the same first bits.
    Network {
        address: IpAddr,
        bits: u8,
    },
}

/// The part of a proxy in a failure.
enum Fault {
    Unreachable(io::Error),
    Refused(ProxyRefusal),
    Tls(rustls::Error),
    /// It refuses to connect, with a status that hyper-util does not tell.
    UnknownStatus,
    /// There is no connection to it, for a reason that hyper-util does not tell.
    NoConnection,
}

impl Proxies {
    /// Reads the environment.
    pub(super) fn from_env() -> Self {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // As Go's net/http, which docker and skopeo use, has it: an empty variable is as good as
        // none.
        let first = |names: &[&'static str]| {
            let mut values = names.iter().filter_map(|name| Some((*name, variable(name)?)));
            values.find(|(_, value)| !value.is_empty())
        };
        let proxy = |names: &[&'static str]| {
            let (name, value) = first(names).or_else(|| first(&["ALL_PROXY", "all_proxy"]))?;
            Some(Proxy::parse(name, &value))
        };
        // A web server hands a header named `Proxy` to a CGI program in this variable.
        let http: &[_] = match variable("REQUEST_METHOD") {
            Some(_) => &["http_proxy"],
            None => &["HTTP_PROXY", "http_proxy"],
        };
        let exempt = first(&["NO_PROXY", "no_proxy"]).map(|(_, value)| value.to_string_lossy().into_owned());
        let exempt = exempt.unwrap_or_default();
        let entries = exempt.split(|character: char| character == ',' || character.is_whitespace());
        Self(Arc::new(Settings {
            http: proxy(http),
            https: proxy(&["HTTPS_PROXY", "https_proxy"]),
            exempt: entries.filter_map(Exemption::parse).collect(),
        }))
    }

    /// Returns the proxy that leads to a URL, `None` for the straight way. Hosts on this machine
    /// have no proxy.
    ///
    /// # Errors
    ///
    /// [`RegistryError::ProxyVariable`] if the variable for it names no proxy.
    pub(super) fn of(&self, url: &Url) -> Result<Option<&Proxy>, RegistryError> {
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

    /// Returns the rule for a client.
    pub(super) fn rule(&self) -> reqwest::Proxy {
        let proxies = self.clone();
        let nowhere = Url::parse("http://proxy.invalid").expect("this is a URL");
        reqwest::Proxy::custom(move |url| match proxies.of(url) {
            Ok(proxy) => proxy.map(|proxy| proxy.url.clone()),
            // `Server::send` has refused such a URL already. In any case, nothing goes straight.
            Err(_) => Some(nowhere.clone()),
        })
    }

    /// Returns the passwords that proxies get, and may repeat.
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
            // The proxy looks up the host, as it does for programs in Go: here it may be unknown.
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

    /// Returns host and port, without user and password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn is_socks(&self) -> bool {
        self.url.scheme().starts_with("socks")
    }

    fn has_credentials(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    /// Returns the password, as the variable has it and as it is sent.
    fn secrets(&self) -> Vec<Secret> {
        let Some(password) = self.url.password() else {
            return Vec::new();
        };
        let [user, decoded] = [self.url.username(), password].map(|text| percent_decode_str(text).collect::<Vec<_>>());
        let pair = STANDARD.encode([user, b":".to_vec(), decoded.clone()].concat());
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        [password.to_owned(), decoded, pair].map(Secret::new).into()
    }

    /// Returns the error of an answer with status 407 to a request in plain HTTP, which is the
    /// proxy's own.
    pub(super) fn refusal(&self, registry: &str, url: &Url, status: StatusCode) -> Option<RegistryError> {
        let is_its_own = status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && url.scheme() == "http";
        (is_its_own && !self.is_socks()).then(|| self.refused(registry, self.credentials()))
    }

    /// Returns the error of a request for this URL that did not get through this proxy; `None` if
    /// it did, and the proxy has no part in the failure.
    pub(super) async fn failure(&self, registry: &str, url: &Url, error: &reqwest::Error) -> Option<RegistryError> {
        Some(match self.fault(url, error)? {
            Fault::Unreachable(source) => self.unreachable(registry, source),
            Fault::Refused(reason) => self.refused(registry, reason),
            Fault::Tls(source) => RegistryError::ProxyTls {
                proxy: self.name.clone(),
                variable: self.variable.clone(),
                source: Box::new(TlsError::of(&source)),
            },
            Fault::UnknownStatus => self.ask_why(registry, url).await,
            Fault::NoConnection => {
                let source = self.connect_error().await;
                self.unreachable(
                    registry,
                    source.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()),
                )
            }
        })
    }

    /// Returns the part of this proxy in the failure of a request.
    fn fault(&self, url: &Url, error: &reqwest::Error) -> Option<Fault> {
        if !error.is_connect() {
            return None;
        }
        let causes = causes(error);
        let after = |prefix: &str| {
            let mut texts = causes.iter().map(ToString::to_string);
            texts.find_map(|text| text.strip_prefix(prefix).map(str::to_owned))
        };
        let (tunnel, socks) = (after(TUNNEL), after(SOCKS));
        let tls = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>());
        if let Some(error) = tls {
            // Behind the proxy, it is the registry that speaks TLS.
            let is_its_own = self.url.scheme() == "https" && (tunnel.is_some() || url.scheme() == "http");
            return is_its_own.then(|| Fault::Tls(error.clone()));
        }
        if let Some(text) = socks {
            return Some(match text.as_str() {
                SOCKS_UNCONNECTED => Fault::NoConnection,
                text if SOCKS_BROKEN.contains(&text) => Fault::Unreachable(io::Error::other(text.to_owned())),
                text if SOCKS_CREDENTIALS.contains(&text) => Fault::Refused(self.credentials()),
                _ => Fault::Refused(ProxyRefusal::Socks(text)),
            });
        }
        if error.is_timeout() {
            return Some(Fault::Unreachable(io::ErrorKind::TimedOut.into()));
        }
        // The proxy was not asked yet where the name of the registry has no address.
        if self.is_socks() {
            return None;
        }
        let has_io = causes.iter().any(|cause| cause.is::<io::Error>());
        Some(match tunnel.as_deref() {
            Some(TUNNEL_CREDENTIALS) => Fault::Refused(self.credentials()),
            Some(_) if !has_io && self.url.scheme() == "http" => Fault::UnknownStatus,
            Some(_) if !has_io => Fault::Refused(ProxyRefusal::Unknown),
            _ => Fault::Unreachable(io_error(&causes)),
        })
    }

    /// Asks an HTTP proxy once more to connect, since hyper-util does not tell the status of its
    /// refusal.
    async fn ask_why(&self, registry: &str, url: &Url) -> RegistryError {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
        let target = format!("http://{host}:{}", port.unwrap_or_default());
        let answer = async {
            // Only plain HTTP is spoken.
            let client = ClientBuilder::new()
                .tls_backend_preconfigured(unverified_config())
                .dns_resolver(SystemResolver)
                .redirect(redirect::Policy::none())
                .timeout(QUESTION_TIMEOUT)
                .proxy(reqwest::Proxy::all(self.url.clone())?)
                .build()?;
            client.request(Method::CONNECT, target).send().await
        };
        match answer.await.map(|response| response.status()) {
            Ok(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => self.refused(registry, self.credentials()),
            Ok(status) if status.is_success() => {
                let text = "it refused to connect, and did so when asked again";
                self.unreachable(registry, io::Error::other(text))
            }
            Ok(status) => self.refused(registry, ProxyRefusal::Status(status.as_u16())),
            Err(error) => self.unreachable(registry, io_error(&causes(&error))),
        }
    }

    /// Returns why there is no connection to a SOCKS proxy, which hyper-util does not tell, by
    /// connecting once more.
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
        timeout(QUESTION_TIMEOUT, connect).await.ok()?.err()
    }

    fn credentials(&self) -> ProxyRefusal {
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
    /// Parses an entry of `NO_PROXY` as curl and Go have it: `*`, a domain with or without a dot
    /// before it, an address, or a network; all but a network with a port, if they want.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.to_ascii_lowercase();
        let all_ports = |hosts| Some(Self { hosts, port: None });
        if let Some(network) = Hosts::network(&entry) {
            return all_ports(network);
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => (host, Some(port.parse().ok()?)),
            _ => (entry.as_str(), None),
        };
        let hosts = match host {
            "*" => Hosts::All,
            host => Hosts::network(host).or_else(|| Hosts::domain(host))?,
        };
        Some(Self { hosts, port })
    }

    /// Returns whether a host of a URL, and its port, has no proxy.
    fn covers(&self, host: &str, port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        match (&self.hosts, address) {
            (Hosts::All, _) => true,
            (Hosts::Network { address, bits }, Some(host)) => is_in_network(host, *address, *bits),
            (Hosts::Domain(domain), None) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str());
                below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            (Hosts::Network { .. }, None) | (Hosts::Domain(_), Some(_)) => false,
        }
    }
}

impl Hosts {
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
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener};
    use std::thread;

    use super::super::runtime::Runtime;
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            let variable = variables.iter().find(|(known, _)| *known == name);
            variable.map(|(_, value)| OsString::from(value))
        })
    }

    /// Returns the URL of the proxy on the way to a URL.
    fn way(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = proxies(variables);
        let proxy = proxies.of(&Url::parse(url).unwrap()).unwrap();
        proxy.map(|proxy| proxy.url.to_string())
    }

    #[test]
    fn each_variable_is_for_its_scheme() {
        let all = [
            ("HTTPS_PROXY", "http://tls.example:3128"),
            ("http_proxy", "plain.example"),
            ("ALL_PROXY", "socks5h://all.example"),
        ];
        assert_eq!(way(&all, "https://r.example").unwrap(), "http://tls.example:3128/");
        assert_eq!(way(&all, "http://r.example:5000").unwrap(), "http://plain.example/");
        assert_eq!(
            way(&all[1..], "https://r.example").unwrap(),
            "socks5h://all.example:1080"
        );
        assert_eq!(way(&all[..1], "http://r.example"), None);
        assert_eq!(
            way(&[("HTTPS_PROXY", ""), all[2]], "https://r.example"),
            way(&all[2..], "https://r.example")
        );
        let both = [("HTTPS_PROXY", ""), ("https_proxy", "lower.example:1")];
        assert_eq!(way(&both, "https://r.example").unwrap(), "http://lower.example:1/");
    }

    #[test]
    fn a_request_to_a_cgi_program_names_no_proxy() {
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://stranger.example")];
        assert_eq!(way(&cgi, "http://r.example"), None);
        assert!(way(&cgi[1..], "http://r.example").is_some());
        let own = [cgi[0], ("http_proxy", "http://own.example")];
        assert!(way(&own, "http://r.example").is_some());
    }

    #[test]
    fn hosts_on_this_machine_have_no_proxy() {
        let all = [("ALL_PROXY", "proxy.example")];
        for host in ["localhost:5000", "127.0.0.1", "127.8.9.1:1", "[::1]:5000"] {
            assert_eq!(way(&all, &format!("http://{host}/v2/")), None, "{host}");
        }
        assert!(way(&all, "http://localhost.example").is_some());
    }

    #[test]
    fn a_value_that_names_no_proxy_is_an_error() {
        for (value, expected) in [
            ("ftp://proxy.example:21", Some("ftp")),
            ("quic://proxy.example", Some("quic")),
            ("http://someone:p#ss@proxy.example:3128", None),
            ("http://proxy.example:port", None),
            ("http://", None),
            ("socks5://:1080", None),
            ("://", None),
        ] {
            let proxies = proxies(&[("https_proxy", value)]);
            let error = proxies.of(&Url::parse("https://r.example").unwrap()).unwrap_err();
            let RegistryError::ProxyVariable { name, scheme } = error else {
                panic!("{value}: {error:?}")
            };
            assert_eq!((name.as_str(), scheme.as_deref()), ("https_proxy", expected), "{value}");
            for unused in ["http://r.example", "https://localhost"] {
                assert!(proxies.of(&Url::parse(unused).unwrap()).unwrap().is_none(), "{value}");
            }
        }
    }

    #[test]
    fn every_usual_way_to_write_a_proxy_is_one() {
        for (value, url) in [
            ("proxy.example", "http://proxy.example/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("  http://proxy:3128/ ", "http://proxy:3128/"),
            ("https://proxy", "https://proxy/"),
            ("me:p%40ss@proxy:3128", "http://me:p%40ss@proxy:3128/"),
            ("me:p@ss@proxy:3128", "http://me:p%40ss@proxy:3128/"),
            ("socks5://proxy", "socks5h://proxy:1080"),
            ("SOCKS5H://proxy:9050", "socks5h://proxy:9050"),
            ("socks4a://proxy", "socks4a://proxy:1080"),
            ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128/"),
        ] {
            assert_eq!(
                way(&[("ALL_PROXY", value)], "https://r.example").as_deref(),
                Some(url),
                "{value}"
            );
        }
    }

    #[test]
    fn a_proxy_is_shown_without_user_and_password() {
        let proxies = proxies(&[("ALL_PROXY", "http://someone:pa55%2Bf00d@proxy.example:3128")]);
        let proxy = proxies.of(&Url::parse("https://r.example").unwrap()).unwrap().unwrap();
        assert_eq!(proxy.name, "proxy.example:3128");
        for shown in [
            format!("{proxies:?}"),
            proxy.refused("r", proxy.credentials()).to_string(),
        ] {
            assert!(!shown.contains("someone") && !shown.contains("pa55"), "{shown}");
        }
        let secrets: Vec<_> = proxy
            .secrets()
            .iter()
            .map(|secret| secret.reveal().to_owned())
            .collect();
        assert_eq!(secrets, ["pa55%2Bf00d", "pa55+f00d", "c29tZW9uZTpwYTU1K2YwMGQ="]);
    }

    /// Returns the error of a request through a proxy at this address.
    fn failure(scheme: &str, address: SocketAddr, url: &str) -> RegistryError {
        let value = match scheme.split_once("://") {
            Some(_) => format!("{scheme}{address}"),
            None => format!("{scheme}://{address}"),
        };
        let (proxies, url) = (proxies(&[("ALL_PROXY", &value)]), Url::parse(url).unwrap());
        let client = ClientBuilder::new()
            .tls_backend_preconfigured(unverified_config())
            .proxy(proxies.rule())
            .build()
            .unwrap();
        let ask = async || {
            let error = client.get(url.clone()).send().await.unwrap_err();
            let proxy = proxies.of(&url).unwrap().unwrap();
            proxy.failure("r.example", &url, &error).await.unwrap()
        };
        Runtime::new(0).unwrap().block_on(ask).unwrap()
    }

    /// A server that answers the first bytes of each connection with these.
    fn serve(answer: impl AsRef<[u8]> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.write_all(answer.as_ref()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                // Closed with something unread, the connection would be reset.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        address
    }

    #[test]
    fn a_proxy_that_is_not_there_is_unreachable() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for scheme in ["http", "https", "socks4a", "socks5", "socks5h"] {
            for url in ["http://r.example", "https://r.example"] {
                let error = failure(scheme, nobody, url);
                let RegistryError::ProxyUnreachable { proxy, source, .. } = &error else {
                    panic!("{scheme} {url}: {error:?}")
                };
                assert_eq!(*proxy, nobody.to_string());
                assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused, "{scheme} {url}");
                assert!(error.is_transient());
            }
        }
    }

    #[test]
    fn a_proxy_that_answers_with_nothing_is_unreachable() {
        for (scheme, url) in [("http", "https://r.example"), ("socks5", "http://r.example")] {
            let error = failure(scheme, serve(""), url);
            let is_unreachable = matches!(&error, RegistryError::ProxyUnreachable { .. });
            assert!(is_unreachable, "{scheme}: {error:?}");
        }
    }

    #[test]
    fn a_status_of_an_http_proxy_that_may_pass_is_transient() {
        for (status, is_transient) in [(301, false), (403, false), (404, false), (407, false)]
            .into_iter()
            .chain([(500, true), (501, false), (502, true), (503, true), (504, true)])
        {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            let error = failure("http", serve(answer), "https://r.example");
            let RegistryError::ProxyRefused { reason, .. } = &error else {
                panic!("{status}: {error:?}")
            };
            let expected = match status {
                407 => ProxyRefusal::CredentialsWanted,
                status => ProxyRefusal::Status(status),
            };
            assert_eq!((reason, error.is_transient()), (&expected, is_transient), "{status}");
        }
    }

    /// Their texts are hyper-util's.
    #[test]
    fn every_reply_of_a_socks_proxy_is_known() {
        const END: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
        let refusal = |scheme: &str, reply: Vec<u8>| {
            let error = failure(scheme, serve(reply), "http://r.example");
            match error {
                RegistryError::ProxyRefused { reason, .. } => reason,
                error => panic!("{scheme}: {error:?}"),
            }
        };
        for (code, text, is_transient) in [
            (1, "general server failure", true),
            (2, "connection not allowed", false),
            (3, "network unreachable", true),
            (4, "host unreachable", true),
            (5, "connection refused", true),
            (6, "ttl expired", true),
            (7, "command not supported", false),
            (8, "address type not supported", false),
        ] {
            let reason = refusal("socks5", [&[5, 0, 5, code][..], &END].concat());
            assert_eq!(reason.is_transient(), is_transient, "{code}");
            assert_eq!(reason, ProxyRefusal::Socks(text.to_owned()));
        }
        assert_eq!(refusal("socks5", vec![5, 0xff]), ProxyRefusal::CredentialsWanted);
        assert_eq!(refusal("socks5", vec![5, 2]), ProxyRefusal::CredentialsWanted);
        assert_eq!(
            refusal("socks5://me:pass@", vec![5, 0xff]),
            ProxyRefusal::CredentialsRefused
        );
        assert_eq!(
            refusal("socks5://me:pass@", vec![5, 2, 1, 1]),
            ProxyRefusal::CredentialsRefused
        );
        let socks4 = refusal("socks4a", vec![0, 91, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            socks4,
            ProxyRefusal::Socks("server failed to execute command".to_owned())
        );
    }

    #[test]
    fn a_proxy_that_does_not_speak_tls_is_to_blame_for_it() {
        let plain = serve("HTTP/1.1 400 Bad Request\r\n\r\n");
        for url in ["http://r.example", "https://r.example"] {
            let error = failure("https", plain, url);
            assert!(matches!(error, RegistryError::ProxyTls { .. }), "{error:?}");
        }
    }

    #[test]
    fn no_proxy_has_domains_addresses_networks_and_ports() {
        let is_straight = |entries: &str, url: &str| {
            let variables = [("ALL_PROXY", "proxy.example"), ("no_proxy", entries)];
            way(&variables, url).is_none()
        };
        for (entries, url, expected) in [
            ("*", "https://r.example", true),
            ("r.example", "https://r.example", true),
            ("R.Example.", "https://r.example:5000", true),
            ("r.example", "https://eu.r.example", true),
            (".r.example", "https://r.example", true),
            ("*.r.example", "https://eu.r.example", true),
            ("r.example", "https://other.example", false),
            ("r.example", "https://not-r.example", false),
            ("r.example:5000", "https://r.example:5000", true),
            ("r.example:5000", "https://r.example:5001", false),
            ("r.example:443", "https://r.example", true),
            ("r.example:80", "https://r.example", false),
            ("r.example:", "https://r.example", false),
            ("*:5000", "https://r.example:5000", true),
            ("a.example, ,b.example c.example", "https://c.example", true),
            ("10.0.0.1", "http://10.0.0.1:5000", true),
            ("10.0.0.1:5000", "http://10.0.0.1:5000", true),
            ("10.0.0.1:5000", "http://10.0.0.1", false),
            ("10.0.0.0/8", "http://10.1.2.3:5000", true),
            ("10.0.0.0/8", "http://11.0.0.1", false),
            ("10.1.2.3/8", "http://10.9.9.9", true),
            ("0.0.0.0/0", "http://10.9.9.9", true),
            ("0.0.0.0/0", "http://[2001:db8::1]", false),
            ("10.0.0.0/33", "http://10.0.0.0", false),
            ("2001:db8::1", "http://[2001:db8::1]:5000", true),
            ("[2001:db8::1]", "http://[2001:db8::1]:5000", true),
            ("[2001:db8::1]:5000", "http://[2001:db8::1]:5000", true),
            ("[2001:db8::1]:5000", "http://[2001:db8::1]:5001", false),
            ("2001:db8::/32", "http://[2001:db8:1::1]", true),
            ("2001:db8::/32", "http://[2001:db9::1]", false),
            ("0.0.1", "http://10.0.0.1", false),
        ] {
            assert_eq!(is_straight(entries, url), expected, "{entries} {url}");
        }
    }
}
