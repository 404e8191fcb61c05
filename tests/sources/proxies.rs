//! Registries that are reached through a proxy, and proxies that refuse.
//!
//! Registries on this machine have no proxy, so these have a name that only a proxy knows.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::sources::faults::one_image;
use crate::sources::rootfs_build;
use support::server::{Reply, Server};

/// The variables that name proxies.
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

/// `someone:` and [`PASSWORD`], as a URL has them.
const USERINFO: &str = "someone:pa55%3A%20w0rd@";

/// The same in base64.
const PAIR: &str = "c29tZW9uZTpwYTU1OiB3MHJk";

/// Builds an image of a registry in an environment with these variables.
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

fn build_succeeds(registry: &str, variables: &[(&str, &str)]) {
    let output = build(registry, true, variables);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The image is a text, not a tar: it came, and that is enough.
    assert!(stderr.contains("tar archive"), "{stderr}");
}

/// Returns the error of a build, which must show no password.
fn build_fails(plain: bool, variables: &[(&str, &str)]) -> Value {
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

/// Panics unless the message and the hint of an error hold these.
fn assert_says(error: &Value, kind: &str, message: &[&str], hint: &[&str]) {
    assert_eq!(error["kind"], kind, "{error}");
    for (field, parts) in [("message", message), ("remediation", hint)] {
        let text = error[field].as_str().unwrap();
        for part in parts {
            assert!(text.contains(part), "{part}: {error}");
        }
    }
}

/// A proxy on a loopback port of its own, until the test process ends.
struct TestProxy {
    address: SocketAddr,
    /// Requests that came.
    log: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
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
                    // A client that has heard enough may be gone.
                    let _ = serve(stream, &mut log);
                });
            }
        });
        Self { address, log }
    }

    /// An HTTP proxy that connects to a server, whatever it is asked for, once it has refused with
    /// a status so often.
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

    /// A SOCKS 5 proxy that connects to a server, whatever it is asked for, or answers with an
    /// error. It takes a user with a password, or none (RFC 1928, RFC 1929).
    fn socks(to: SocketAddr, password: Option<&'static str>, code: u8) -> Self {
        Self::start(move |mut stream, log| {
            let wanted = if password.is_some() { 2 } else { 0 };
            let [_, count] = take::<2>(&mut stream)?;
            if !some(&mut stream, count)?.contains(&wanted) {
                log("no method".to_owned());
                return stream.write_all(&[5, 0xff]);
            }
            stream.write_all(&[5, wanted])?;
            if let Some(password) = password {
                let [_, len] = take::<2>(&mut stream)?;
                some(&mut stream, len)?;
                let [len] = take::<1>(&mut stream)?;
                let is_right = some(&mut stream, len)? == password.as_bytes();
                stream.write_all(&[1, u8::from(!is_right)])?;
                if !is_right {
                    log("wrong password".to_owned());
                    return Ok(());
                }
            }
            let [5, 1, 0, 3, len] = take::<5>(&mut stream)? else {
                log("no name".to_owned());
                return Ok(());
            };
            let host = String::from_utf8(some(&mut stream, len)?).unwrap();
            log(format!("{host}:{}", u16::from_be_bytes(take(&mut stream)?)));
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

fn take<const LEN: usize>(stream: &mut TcpStream) -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn some(stream: &mut TcpStream, len: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Copies both ways.
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

fn registry() -> Server {
    let (layout, image) = one_image();
    let blobs = layout.path().join("blobs/sha256");
    let latest = support::layout::digest(&image).to_owned();
    Server::start(move |request, _| {
        let _kept = &layout;
        support::server::stored_reply(&blobs, &latest, request)
    })
}

/// A server that answers anything in plain HTTP, as one that does not speak TLS does.
fn plain_server() -> SocketAddr {
    let plain = TestProxy::start(|mut stream, _| {
        take::<1>(&mut stream)?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        stream.shutdown(Shutdown::Write)?;
        // Closed with something unread, the connection would be reset before the answer is seen.
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    plain.address
}

fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn socks_proxy_resolves_the_registry_name() {
    let server = registry();
    for (scheme, password, userinfo) in [("socks5", None, ""), ("socks5h", Some(PASSWORD), USERINFO)] {
        let proxy = TestProxy::socks(server.address, password, 0);
        build_succeeds("registry.example", &[("ALL_PROXY", &proxy.url(scheme, userinfo))]);
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
        let proxy = TestProxy::socks(nobody(), password, code);
        let error = build_fails(true, &[("http_proxy", &proxy.url("socks5h", userinfo))]);
        let name = proxy.address.to_string();
        assert_says(&error, "policy_denied", &[&name, "registry.example", reason], &[hint]);
        assert_eq!(proxy.log(), [entry], "it is asked once");
    }
}

#[test]
fn http_proxy_receives_user_and_password() {
    let proxy = TestProxy::connecting(plain_server(), 0, 0);
    let error = build_fails(false, &[("HTTPS_PROXY", &proxy.url("http", USERINFO))]);
    // The registry's answer to the handshake has come all the way.
    assert_says(&error, "permanent", &["registry.example speaks plain HTTP"], &[]);
    let [head] = &proxy.log()[..] else {
        panic!("{:?}", proxy.log())
    };
    assert!(head.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{head}");
    let authorization = format!("proxy-authorization: basic {}", PAIR.to_lowercase());
    assert!(head.to_lowercase().contains(&authorization), "{head}");
}

#[test]
fn http_proxy_503_is_retried() {
    // Once to connect, and once for its reason.
    let proxy = TestProxy::connecting(plain_server(), 2, 503);
    let error = build_fails(false, &[("HTTPS_PROXY", &proxy.url("http", ""))]);
    assert_says(&error, "permanent", &["registry.example speaks plain HTTP"], &[]);
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
        let proxy = TestProxy::connecting(nobody(), usize::MAX, status);
        let error = build_fails(false, &[("HTTPS_PROXY", &proxy.url("http", userinfo))]);
        let name = proxy.address.to_string();
        assert_says(&error, "policy_denied", &[&name, "registry.example", reason], &[hint]);
        assert_eq!(proxy.log().len(), requests, "{:?}", proxy.log());
    }
}

#[test]
fn plain_http_proxy_that_wants_a_password_is_named() {
    let proxy = Server::start(|_, _| Reply::status(407));
    let url = format!("http://{}", proxy.address);
    let error = build_fails(true, &[("HTTP_PROXY", &url)]);
    let name = proxy.address.to_string();
    let hint = ["into HTTP_PROXY", "<user>:<password>@"];
    assert_says(
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
        let error = build_fails(true, &[("ALL_PROXY", &value)]);
        assert_says(
            &error,
            "permanent",
            &["ALL_PROXY", reason],
            &["set ALL_PROXY to http://", "%23"],
        );
    }
    // A registry on this machine does not need it.
    let server = registry();
    build_succeeds(&server.address.to_string(), &[("ALL_PROXY", "ftp://proxy.example")]);
}

#[cfg(unix)]
#[test]
fn no_proxy_entry_with_a_port_matches_only_that_port() {
    let server = registry();
    let proxy = TestProxy::socks(server.address, None, 0);
    let url = proxy.url("socks5", "");
    let port = server.address.port();
    // The same place by an address that is not one of the loopback interface.
    let (here, other) = (format!("0.0.0.0:{port}"), format!("0.0.0.0:{}", port ^ 1));
    build_succeeds(&here, &[("ALL_PROXY", &url), ("NO_PROXY", &here)]);
    assert_eq!(proxy.log(), [""; 0]);
    build_succeeds("registry.example", &[("ALL_PROXY", &url), ("NO_PROXY", &other)]);
    let error = build(&here, true, &[("ALL_PROXY", &url), ("NO_PROXY", &other)]);
    assert!(!error.status.success());
    assert!(proxy.log().contains(&"no name".to_owned()), "{:?}", proxy.log());
}
