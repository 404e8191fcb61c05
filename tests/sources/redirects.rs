//! Registries that redirect to other hosts, or name a token server on another host: which host an
//! error names, and which hosts receive credentials.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use layer::failure::{ErrorKind, Failure as _};
use oci::{ImageError, RedirectError, RegistryError};
use tempfile::TempDir;

use crate::sources::faults::{CONTENT, answer, layer_digest, one_image, pull, registry_error};
use crate::sources::tokens::{PAIR, credentials};
use crate::sources::{State, chain};
use support::registry::{has_tools, make_certificates};
use support::server::{Reply, Request, Server};
use support::wait::eventually;

fn redirect(to: impl Into<String>) -> Reply {
    Reply::status(307).with("Location", to)
}

/// Pulls a layer that is redirected to another host, which sends this reply. Returns the error, and
/// the other host.
fn pull_from_another_host(reply: fn() -> Reply) -> (ImageError, Server) {
    let store = Server::start(move |_, _| reply());
    let (layout, image) = one_image();
    let elsewhere = format!("http://{}/signed?secret=f00d", store.address);
    let server = Server::of(&layout, &image, move |request, _| {
        let is_layer = request.path.ends_with(&layer_digest());
        is_layer.then(|| redirect(elsewhere.clone()))
    });
    let error = pull(&State::new(), &server.reference("")).unwrap_err();
    let shown = format!("{} {error:?}", chain(&error));
    assert!(!shown.contains("f00d"), "the signature is shown: {shown}");
    let refers = format!("{} refers to {}: ", server.address, store.address);
    assert!(chain(&error).contains(&refers), "{}", chain(&error));
    (error, store)
}

/// Returns the error that names the other host as its cause.
fn error_of_host(error: ImageError, store: &Server) -> RegistryError {
    match registry_error(error) {
        RegistryError::OtherHost { host, source, .. } if host == store.address.to_string() => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn error_of_a_blob_host_is_not_attributed_to_the_registry() {
    for status in [401, 403, 404, 410] {
        let reply: fn() -> Reply = match status {
            401 => || Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""),
            403 => || Reply::status(403),
            404 => || Reply::status(404),
            _ => || Reply::status(410),
        };
        let (error, store) = pull_from_another_host(reply);
        assert!(error.hint().is_none(), "{:?}", error.hint());
        let error = error_of_host(error, &store);
        assert!(
            matches!(error, RegistryError::UnexpectedStatus { status: found, .. } if found == status),
            "{error:?}"
        );
        assert_eq!(store.requests().len(), 1);
    }
    let (error, store) = pull_from_another_host(|| Reply::status(503));
    assert_eq!(store.requests().len(), 5, "503 is retried");
    assert!(matches!(
        error_of_host(error, &store),
        RegistryError::Server { status: 503, .. }
    ));
    let (error, store) = pull_from_another_host(|| Reply::status(429).with("Retry-After", "120"));
    let error = error_of_host(error, &store);
    assert!(
        error.retry_after().is_some_and(|wait| wait.as_secs() == 120),
        "{error:?}"
    );
    let (error, store) = pull_from_another_host(|| Reply::Cut {
        announced: CONTENT.len(),
        body: b"what".to_vec(),
    });
    assert!(matches!(error_of_host(error, &store), RegistryError::Broken { .. }));
}

/// Some registries redirect every request.
#[test]
fn a_404_after_a_redirect_of_every_request_means_no_such_image() {
    let other = Server::start(|_, _| Reply::status(404));
    let to = format!("http://{}", other.address);
    let server = Server::start(move |request, _| redirect(format!("{to}{}", request.path)));
    let error = pull(&State::new(), &server.reference("")).unwrap_err();
    let not_there = format!("{} has no image team/app:latest", other.address);
    assert!(chain(&error).ends_with(&not_there), "{}", chain(&error));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().is_some());
    assert!(matches!(error_of_host(error, &other), RegistryError::NotFound { .. }));
}

/// Some servers do not percent-encode the names of objects.
#[test]
fn redirect_location_may_be_utf8() {
    let (layout, image) = one_image();
    let store = Server::start(|request, _| {
        let is_escaped = request.path == "/bl%C3%B6b/x?sig=%C3%A9";
        if is_escaped {
            Reply::body(CONTENT).without_length()
        } else {
            Reply::status(404)
        }
    });
    let to = format!("http://{}/blöb/x?sig=é", store.address);
    let server = Server::of(&layout, &image, move |request, _| {
        request.path.ends_with(&layer_digest()).then(|| redirect(to.clone()))
    });
    let pulled = pull(&State::new(), &server.reference("")).unwrap();
    assert_eq!(pulled, CONTENT.as_bytes());
}

#[test]
fn unreachable_redirect_target_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, move |_, _| {
        Some(redirect(format!("http://{address}/")))
    });
    let error = registry_error(pull(&State::new(), &server.reference("")).unwrap_err());
    assert!(error.is_transient());
    let RegistryError::OtherHost { host, source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(host, address.to_string());
    assert!(matches!(*source, RegistryError::Unreachable { registry, .. } if registry == host));
}

#[test]
fn failing_token_server_on_another_host_is_named() {
    let tokens = Server::start(|_, _| Reply::status(502));
    let (layout, image) = one_image();
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address);
    let server = Server::of(&layout, &image, move |_, _| {
        Some(Reply::status(401).with("WWW-Authenticate", challenge.clone()))
    });
    let error = pull(&State::new(), &server.reference("")).unwrap_err();
    assert!(matches!(
        error_of_host(error, &tokens),
        RegistryError::Server { status: 502, .. }
    ));
}

#[test]
fn redirect_loops_and_invalid_targets_are_errors() {
    let fail = |reply: fn(&Request) -> Reply| {
        let (layout, image) = one_image();
        let server = Server::of(&layout, &image, move |request, _| Some(reply(request)));
        let error = registry_error(pull(&State::new(), &server.reference("")).unwrap_err());
        let RegistryError::Redirect { source, .. } = error else {
            panic!("{error:?}")
        };
        (source, server.requests().len())
    };
    let (error, count) = fail(|request| redirect(request.path.clone()));
    assert_eq!((error, count), (RedirectError::TooMany { max: 10 }, 11));
    let (error, count) = fail(|_| Reply::status(302));
    assert_eq!((error, count), (RedirectError::NoLocation, 1));
    let (error, count) = fail(|_| redirect("file:///etc/passwd"));
    let scheme = "file".to_owned();
    assert_eq!((error, count), (RedirectError::Insecure { scheme }, 1));
}

#[test]
fn credentials_stay_with_the_registry_across_redirects() {
    let (layout, image) = one_image();
    let back = Server::start(|request, _| {
        let registry = request.path.trim_start_matches('/');
        redirect(format!("http://{registry}/found"))
    });
    let away = back.address;
    let server = Server::of(&layout, &image, move |request, _| match &*request.path {
        "/found" => Some(answer(CONTENT)),
        _ if request.authorization().is_none() => {
            Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""))
        }
        // A redirect within the registry keeps the credentials.
        path if path.ends_with(&layer_digest()) => Some(redirect("/moved")),
        "/moved" => {
            assert!(request.authorization().is_some());
            Some(redirect(format!("http://{away}/{}", request.headers["host"])))
        }
        _ => None,
    });
    let (_file, state) = credentials(&server, &serde_json::json!({"auth": PAIR}));
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    let seen = |path: &str| {
        let requests = server.requests();
        let request = requests.iter().find(|request| request.path == path).unwrap();
        request.authorization().map(str::to_owned)
    };
    assert!(seen("/moved").is_some());
    assert_eq!(seen("/found"), None);
    assert!(back.requests().iter().all(|request| request.authorization().is_none()));
}

/// An openssl process that serves a directory over TLS, until this is dropped. Each file is a whole
/// HTTP response, at its path.
struct TlsServer {
    process: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl TlsServer {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_certificates(directory.path());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("openssl")
            .args([
                "s_server",
                "-HTTP",
                "-quiet",
                "-cert",
                "server.pem",
                "-key",
                "server.key",
                "-accept",
            ])
            .arg(address.to_string())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            address,
            directory,
        };
        let answers = || TcpStream::connect(address).is_ok();
        assert!(eventually(answers), "openssl s_server does not accept connections");
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn redirect_from_https_to_http_is_refused() {
    if !has_tools() {
        return;
    }
    let attacker = Server::start(|_, _| Reply::status(200));
    let server = TlsServer::start();
    let manifests = server.directory.path().join("v2/team/app/manifests");
    fs::create_dir_all(&manifests).unwrap();
    let location = format!("http://{}/v2/team/app/manifests/latest", attacker.address);
    let redirect = format!("HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    fs::write(manifests.join("latest"), redirect).unwrap();
    let mut state = State::new();
    state.registry.tls_ca = Some(server.directory.path().join("authority.pem"));
    let error = pull(&state, &format!("{}/team/app", server.address)).unwrap_err();
    let scheme = "http".to_owned();
    assert!(
        matches!(registry_error(error), RegistryError::Redirect { source, .. } if source == RedirectError::Insecure { scheme })
    );
    assert!(attacker.requests().is_empty());
}

#[test]
fn redirect_to_localhost_by_another_name_drops_credentials() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, move |request, _| {
        let port = request.headers["host"].rsplit(':').next().unwrap();
        match request.authorization() {
            _ if request.path == "/other" => Some(answer(CONTENT)),
            None => Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\"")),
            Some(_) if request.path.ends_with(&layer_digest()) => {
                Some(redirect(format!("http://localhost:{port}/other")))
            }
            Some(_) => None,
        }
    });
    let (_file, state) = credentials(&server, &serde_json::json!({"auth": PAIR}));
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    let requests = server.requests();
    let other = requests.iter().find(|request| request.path == "/other").unwrap();
    assert_eq!(other.authorization(), None);
}

#[test]
fn plain_http_to_a_tls_port_has_a_hint() {
    for page in [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>",
        "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ] {
        let server = Server::start(move |_, _| Reply::Answer {
            status: 400,
            headers: Vec::new(),
            body: page.into(),
        });
        let error = pull(&State::new(), &server.reference("")).unwrap_err();
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains("speak TLS"), "{hint}");
        assert!(
            matches!(registry_error(error), RegistryError::SpeaksTls { .. }),
            "{page}"
        );
    }
    let server = Server::start(|_, _| Reply::status(400));
    let error = registry_error(pull(&State::new(), &server.reference("")).unwrap_err());
    assert!(matches!(error, RegistryError::UnexpectedStatus { status: 400, .. }));
}

#[test]
fn tls_to_a_plain_http_port_has_a_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("{}/x", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut state = State::new();
    state.registry.plain_http = Some(false);
    // Otherwise, the error would depend on the certificates of this machine.
    state.registry.accept_any_certificate = true;
    let error = pull(&state, &reference).unwrap_err();
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains("anyone on the network path can then read"), "{hint}");
    assert!(matches!(registry_error(error), RegistryError::SpeaksPlainHttp { .. }));
}
