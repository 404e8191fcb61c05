//! Registries that are reached through an HTTP or SOCKS proxy, and proxies that refuse.
//!
//! Registries on this machine bypass the proxy, so these tests use a name that only the test's
//! proxy resolves.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::sources::faults::one_image;
use crate::sources::rootfs_build;
use support::server::{Reply, Server};

/// Environment variables that the choice of a proxy depends on.
const VARIABLES: [&str; 9] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUEST_METHOD",
];

const PASSWORD: &str = "pa55: w0rd";

/// `someone:` and [`PASSWORD`], percent-encoded for a URL.
const USERINFO: &str = "someone:pa55%3A%20w0rd@";

/// `someone:` and [`PASSWORD`] in base64.
const PAIR: &str = "c29tZW9uZTpwYTU1OiB3MHJk";

/// Builds an image of a registry with these environment variables.
fn build(registry: &str, plain: bool, variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let [out, state] = ["out", "state"].map(|name| directory.path().join(name));
    let mut build = rootfs_build(&format!("{registry}/team/app"), &out, &state);
    build.args(["--allow-mutable", "--mode", "ax", &format!("--plain-http={plain}")]);
    for variable in VARIABLES.into_iter().chain(["REGISTRY_AUTH_FILE", "MICROAGENT_MODE"]) {
        build.env_remove(variable);
    }
    build.env("HOME", directory.path()).envs(variables.iter().copied());
    build.output().unwrap()
}

/// Asserts that a build through a proxy downloads the layer.
fn assert_downloads(registry: &str, variables: &[(&str, &str)]) {
    let output = build(registry, true, variables);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The layer is not a tar, so a build that downloads it fails.
    assert!(stderr.contains("tar archive"), "{stderr}");
}

/// Returns the error of a build. Asserts that it contains no user and no password.
fn build_error(plain: bool, variables: &[(&str, &str)]) -> Value {
    let output = build("registry.example", plain, variables);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for secret in ["pa55", "w0rd", PAIR, "someone"] {
        assert!(!stderr.contains(secret), "{stderr}");
    }
    let last = stderr.lines().last().unwrap();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{stderr}"));
    error["error"].clone()
}

/// Asserts the kind of an error, and parts of its message and hint.
fn assert_error(error: &Value, kind: &str, message: &[&str], hint: &[&str]) {
    assert_eq!(error["kind"], kind, "{error}");
    for (field, parts) in [("message", message), ("remediation", hint)] {
        let text = error[field].as_str().unwrap();
        for part in parts {
            assert!(text.contains(part), "{part}: {error}");
        }
    }
}

/// A proxy on its own loopback port. It runs until the test process ends.
struct TestProxy {
    address: SocketAddr,
    /// Requests, or the reasons why they were refused.
    log: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// Starts a proxy that serves each connection with a function, whose second argument adds to
    /// the log and returns its length.
    fn start(
        serve: impl Fn(TcpStream, &mut dyn FnMut(String) -> usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (serve, entries) = (Arc::new(serve), Arc::clone(&log));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, entries, stream) = (Arc::clone(&serve), Arc::clone(&entries), stream.unwrap());
                thread::spawn(move || {
                    let mut log = |entry| {
                        let mut entries = entries.lock().unwrap();
                        entries.push(entry);
                        entries.len()
                    };
                    // The client may have closed the connection.
                    let _ = serve(stream, &mut log);
                });
            }
        });
        Self { address, log }
    }

    /// Starts an HTTP proxy that refuses a number of requests with a status, and then connects
    /// every client to one server.
    fn connecting(to: SocketAddr, refusals: usize, status: u16) -> Self {
        Self::start(move |mut stream, log| {
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
            if log(head) <= refusals {
                return write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            }
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            tunnel(stream, to)
        })
    }

    /// Starts a SOCKS 5 proxy that connects every client to one server, or replies with an error
    /// code. It asks for a user and this password, or for neither (RFC 1928, RFC 1929).
    fn socks(to: SocketAddr, password: Option<&'static str>, code: u8) -> Self {
        Self::start(move |mut stream, log| {
            let method = if password.is_some() { 2 } else { 0 };
            let [_, count] = read_array::<2>(&mut stream)?;
            if !read_bytes(&mut stream, count)?.contains(&method) {
                log("no method".to_owned());
                return stream.write_all(&[5, 0xff]);
            }
            stream.write_all(&[5, method])?;
            if let Some(password) = password {
                let [_, len] = read_array::<2>(&mut stream)?;
                read_bytes(&mut stream, len)?;
                let [len] = read_array::<1>(&mut stream)?;
                let is_accepted = read_bytes(&mut stream, len)? == password.as_bytes();
                stream.write_all(&[1, u8::from(!is_accepted)])?;
                if !is_accepted {
                    log("wrong password".to_owned());
                    return Ok(());
                }
            }
            let [5, 1, 0, 3, len] = read_array::<5>(&mut stream)? else {
                log("no name".to_owned());
                return Ok(());
            };
            let host = String::from_utf8(read_bytes(&mut stream, len)?).unwrap();
            log(format!("{host}:{}", u16::from_be_bytes(read_array(&mut stream)?)));
            stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])?;
            if code == 0 { tunnel(stream, to) } else { Ok(()) }
        })
    }

    fn url(&self, scheme: &str, userinfo: &str) -> String {
        format!("{scheme}://{userinfo}{}", self.address)
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// Reads a fixed number of bytes.
fn read_array<const LEN: usize>(stream: &mut TcpStream) -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a number of bytes.
fn read_bytes(stream: &mut TcpStream, len: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Copies data in both directions.
fn tunnel(client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let back = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || copy(back.0, back.1));
    copy(client, server);
    Ok(())
}

/// Starts a registry of an image with one layer.
fn registry() -> Server {
    let (layout, image) = one_image();
    let blobs = layout.path().join("blobs/sha256");
    let latest = support::layout::digest(&image).to_owned();
    Server::start(move |request, _| {
        let _layout = &layout;
        support::server::stored_reply(&blobs, &latest, request)
    })
}

/// Starts a server that replies to anything in plain HTTP, as one without TLS does.
fn plain_server() -> SocketAddr {
    let plain = TestProxy::start(|mut stream, _| {
        read_array::<1>(&mut stream)?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        stream.shutdown(Shutdown::Write)?;
        // Unread data would reset the connection before the client reads the reply.
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    plain.address
}

/// Returns an address at which no server listens.
fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn socks_proxy_resolves_the_registry_name() {
    let server = registry();
    for (scheme, password, userinfo) in [("socks5", None, ""), ("socks5h", Some(PASSWORD), USERINFO)] {
        let proxy = TestProxy::socks(server.address, password, 0);
        assert_downloads("registry.example", &[("ALL_PROXY", &proxy.url(scheme, userinfo))]);
        let log = proxy.log();
        assert!(
            !log.is_empty() && log.iter().all(|to| to == "registry.example:80"),
            "{log:?}"
        );
    }
}

#[test]
fn refusal_of_a_socks_proxy_names_the_proxy() {
    for (password, userinfo, code, entry, reason, hint) in [
        (
            Some(PASSWORD),
            "",
            0,
            "no method",
            "asks for a user",
            "<user>:<password>@",
        ),
        (
            Some("other"),
            USERINFO,
            0,
            "wrong password",
            "does not accept",
            "<user>:<password>@",
        ),
        (None, "", 2, "registry.example:80", "connection not allowed", "NO_PROXY"),
    ] {
        let proxy = TestProxy::socks(unused_address(), password, code);
        let error = build_error(true, &[("http_proxy", &proxy.url("socks5h", userinfo))]);
        let name = proxy.address.to_string();
        assert_error(&error, "policy_denied", &[&name, "registry.example", reason], &[hint]);
        assert_eq!(proxy.log(), [entry], "one attempt");
    }
}

#[test]
fn http_proxy_receives_user_and_password() {
    let proxy = TestProxy::connecting(plain_server(), 0, 0);
    let error = build_error(false, &[("HTTPS_PROXY", &proxy.url("http", USERINFO))]);
    // The registry's reply to the TLS handshake has passed the proxy.
    assert_error(&error, "permanent", &["registry.example speaks plain HTTP"], &[]);
    let [head] = &proxy.log()[..] else {
        panic!("{:?}", proxy.log())
    };
    assert!(head.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{head}");
    let authorization = format!("proxy-authorization: basic {}", PAIR.to_lowercase());
    assert!(head.to_lowercase().contains(&authorization), "{head}");
}

#[test]
fn http_proxy_503_is_retried() {
    // The first attempt sends two requests: one to connect, and one for the reason of the refusal.
    let proxy = TestProxy::connecting(plain_server(), 2, 503);
    let error = build_error(false, &[("HTTPS_PROXY", &proxy.url("http", ""))]);
    assert_error(&error, "permanent", &["registry.example speaks plain HTTP"], &[]);
    assert_eq!(proxy.log().len(), 3);
}

#[test]
fn refusal_of_an_http_proxy_names_the_proxy() {
    for (status, userinfo, requests, reason, hint) in [
        (
            407,
            "",
            1,
            "asks for a user and a password",
            "into HTTPS_PROXY, percent-encoded: <user>:<password>@",
        ),
        (
            407,
            USERINFO,
            1,
            "does not accept the user and the password",
            "<user>:<password>@",
        ),
        (403, "", 2, "answered with status 403", "add it to NO_PROXY"),
    ] {
        let proxy = TestProxy::connecting(unused_address(), usize::MAX, status);
        let error = build_error(false, &[("HTTPS_PROXY", &proxy.url("http", userinfo))]);
        let name = proxy.address.to_string();
        assert_error(&error, "policy_denied", &[&name, "registry.example", reason], &[hint]);
        assert_eq!(proxy.log().len(), requests, "{:?}", proxy.log());
    }
}

#[test]
fn plain_http_proxy_that_wants_a_password_is_named() {
    let proxy = Server::start(|_, _| Reply::status(407));
    let url = format!("http://{}", proxy.address);
    let error = build_error(true, &[("HTTP_PROXY", &url)]);
    let name = proxy.address.to_string();
    let hint = ["into HTTP_PROXY", "<user>:<password>@"];
    assert_error(
        &error,
        "policy_denied",
        &[&name, "asks for a user and a password"],
        &hint,
    );
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn invalid_proxy_variable_is_an_error_and_not_ignored() {
    for (value, reason) in [
        (
            format!("ftp://{USERINFO}proxy.example"),
            "of the scheme ftp, which is not supported",
        ),
        (
            "http://someone:pa55#w0rd@proxy.example".to_owned(),
            "is not the URL of a proxy",
        ),
    ] {
        let error = build_error(true, &[("ALL_PROXY", &value)]);
        assert_error(
            &error,
            "permanent",
            &["ALL_PROXY", reason],
            &["set ALL_PROXY to http://", "%23"],
        );
    }
    // A registry on this machine needs no proxy.
    let server = registry();
    assert_downloads(&server.address.to_string(), &[("ALL_PROXY", "ftp://proxy.example")]);
}

#[cfg(unix)]
#[test]
fn no_proxy_entry_with_a_port_matches_only_that_port() {
    let server = registry();
    let proxy = TestProxy::socks(server.address, None, 0);
    let url = proxy.url("socks5", "");
    let port = server.address.port();
    // This address leads to the server, but is not a loopback address.
    let (here, other) = (format!("0.0.0.0:{port}"), format!("0.0.0.0:{}", port ^ 1));
    assert_downloads(&here, &[("ALL_PROXY", &url), ("NO_PROXY", &here)]);
    assert_eq!(proxy.log(), [""; 0]);
    assert_downloads("registry.example", &[("ALL_PROXY", &url), ("NO_PROXY", &other)]);
    let error = build(&here, true, &[("ALL_PROXY", &url), ("NO_PROXY", &other)]);
    assert!(!error.status.success());
    assert!(proxy.log().contains(&"no name".to_owned()), "{:?}", proxy.log());
}
