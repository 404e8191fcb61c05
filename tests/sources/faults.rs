//! Errors of a registry, and of the data that it sends; and a pull without errors.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use oci::{DigestError, ImageError, RegistryError};
use serde_json::{Value, json};

use crate::sources::{State, chain, linux, read};
use support::layout::{MANIFEST, TestLayout, digest, for_platform};
use support::server::{Reply, Request, Server, stored_reply};
use support::wait::eventually;

/// Content of the layer of [`one_image`].
pub(crate) const CONTENT: &str = "what the layer holds";

/// Creates a layout with an image of one layer.
pub(crate) fn one_image() -> (TestLayout, Value) {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &[CONTENT]);
    (layout, image)
}

/// Pulls an image, and returns the content of its first layer.
pub(crate) fn pull(state: &State, reference: &str) -> Result<Vec<u8>, ImageError> {
    let source = state.open(reference)?;
    let image = source.resolve(&linux("amd64"))?;
    read(&source, &image.layers[0])
}

/// Pulls from a registry with a fault. Returns the error and the registry. Asserts that the store
/// does not keep the layer, and keeps a partial blob only after a transient error.
fn failure(fault: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static) -> (ImageError, Server) {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, fault);
    let state = State::new();
    let error = pull(&state, &server.reference("")).unwrap_err();
    assert!(!state.stored(&layer_digest()).exists());
    let can_resume = matches!(&error, ImageError::Registry(error) if error.is_transient());
    assert!(can_resume || !state.partial(&layer_digest()).exists());
    (error, server)
}

/// Returns a fault that affects only requests for the layer.
fn of_layer(fault: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&Request, usize) -> Option<Reply> {
    let layer = layer_digest();
    move |request, _| request.path.ends_with(&layer).then(&fault)
}

/// Returns the digest of [`CONTENT`].
pub(crate) fn layer_digest() -> String {
    digest(&TestLayout::new().blob("", CONTENT.as_bytes())).to_owned()
}

/// Returns a reply with status 200.
pub(crate) fn answer(body: &str) -> Reply {
    Reply::Answer {
        status: 200,
        headers: Vec::new(),
        body: body.into(),
    }
}

pub(crate) fn registry_error(error: ImageError) -> RegistryError {
    match error {
        ImageError::Registry(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_is_pulled_once_and_then_read_from_the_store() {
    let (layout, image) = one_image();
    let index = layout.index(&[for_platform(image.clone(), "linux/amd64")]);
    let server = Server::of(&layout, &index, |_, _| None);
    let state = State::new();
    let source = state.open(&server.reference(":latest")).unwrap();
    let found = source.resolve(&linux("amd64")).unwrap();
    assert_eq!(found.digest.to_string(), digest(&image));
    assert_eq!(found.resolved_ref, server.reference(&format!("@{}", digest(&image))));

    let layer = &found.layers[0];
    for _ in 0..2 {
        assert_eq!(read(&source, layer).unwrap(), CONTENT.as_bytes());
        assert_eq!(server.count(&layer_digest()), 1);
    }
    let stored = state.stored(&layer_digest());
    assert!(!state.partial(&layer_digest()).exists());

    fs::write(&stored, "what the disk made of").unwrap();
    assert_eq!(
        read(&source, layer).unwrap(),
        CONTENT.as_bytes(),
        "another size is fetched again"
    );
    fs::write(&stored, CONTENT.to_uppercase()).unwrap();
    source.evict(layer).unwrap();
    assert_eq!(read(&source, layer).unwrap(), CONTENT.as_bytes());
    assert_eq!(server.count(&layer_digest()), 3);
}

#[test]
fn several_threads_read_blobs_at_once() {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &["one", "two", "three"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let state = State::new();
    let source = state.open(&server.reference("")).unwrap();
    let layers = source.resolve(&linux("amd64")).unwrap().layers;
    let contents = thread::scope(|scope| {
        let readers: Vec<_> = layers
            .iter()
            .map(|layer| scope.spawn(|| read(&source, layer).unwrap()))
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(contents, [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_pinned_image_must_have_its_digest() {
    let (layout, image) = one_image();
    let other = layout.image("linux/amd64", &["other"]);
    let (blobs, latest) = (layout.path().join("blobs/sha256"), digest(&other).to_owned());
    let pinned = format!("@{}", digest(&image));
    let server = Server::start(move |request, _| {
        let is_manifest = request.path.contains("/manifests/");
        let path = if is_manifest {
            "/v2/team/app/manifests/latest"
        } else {
            &request.path
        };
        stored_reply(
            &blobs,
            &latest,
            &Request {
                path: path.to_owned(),
                ..request.clone()
            },
        )
    });
    let error = pull(&State::new(), &server.reference(&pinned)).unwrap_err();
    assert!(
        matches!(&error, ImageError::Content { digest: named, source: DigestError::DigestMismatch { .. } }
        if pinned.ends_with(&named.to_string())),
        "{error:?}"
    );
    assert_eq!(
        server.requests()[0].path,
        format!("/v2/team/app/manifests/{}", &pinned[1..])
    );
    assert_eq!(pull(&State::new(), &server.reference(":tag")).unwrap(), b"other");
}

#[test]
fn content_digest_header_is_ignored() {
    let (layout, image) = one_image();
    let hex = &digest(&image)["sha256:".len()..];
    let sha512 = "a".repeat(128);
    for name in [
        format!("sha256:{hex}"),
        format!("\"sha256:{hex}\""),
        format!("SHA256:{}", hex.to_uppercase()),
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        format!("sha512:{sha512}"),
        "crc32:00000000".to_owned(),
        String::new(),
    ] {
        let manifest = fs::read_to_string(layout.path().join("blobs/sha256").join(hex)).unwrap();
        let sent = name.clone();
        let server = Server::of(&layout, &image, move |request, _| {
            let is_manifest = request.path.contains("/manifests/");
            let reply = || {
                answer(&manifest)
                    .with("Docker-Content-Digest", &sent)
                    .with("Content-Type", MANIFEST)
            };
            is_manifest.then(reply)
        });
        let found = State::new()
            .open(&server.reference(""))
            .unwrap()
            .resolve(&linux("amd64"))
            .unwrap();
        assert_eq!(found.digest.to_string(), digest(&image), "{name}");
    }
}

#[test]
fn document_size_must_match_its_descriptor() {
    let (layout, mut image) = one_image();
    image["size"] = 5.into();
    let index = layout.index(&[for_platform(image, "linux/amd64")]);
    let server = Server::of(&layout, &index, |_, _| None);
    let error = pull(&State::new(), &server.reference("")).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Content {
                source: DigestError::SizeMismatch { expected: 5, .. },
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn wrong_content_is_not_retried_or_kept() {
    let wrong = CONTENT.replace("holds", "HOLDS");
    let (error, server) = failure(of_layer(move || answer(&wrong)));
    assert!(
        matches!(
            error,
            ImageError::Content {
                source: DigestError::DigestMismatch { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(server.count(&layer_digest()), 1);
}

#[test]
fn wrong_size_is_not_retried_or_kept() {
    let size = |error: ImageError| match error {
        ImageError::Content {
            source: DigestError::SizeMismatch { expected, actual },
            ..
        } => (expected, actual),
        other => panic!("{other:?}"),
    };
    let len = CONTENT.len() as u64;
    assert_eq!(size(failure(of_layer(|| answer("short"))).0), (len, 5));
    let (expected, actual) = size(failure(of_layer(|| Reply::body(vec![b'x'; 1 << 24]).without_length())).0);
    assert!(
        expected == len && actual > len && actual < 1 << 22,
        "{actual} bytes were read"
    );
}

#[test]
fn transient_errors_are_retried() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |_, before| match before {
        0 => Some(Reply::status(503)),
        1 => Some(Reply::status(429).with("Retry-After", "0")),
        4 => Some(Reply::Cut {
            announced: CONTENT.len(),
            body: b"what".to_vec(),
        }),
        _ => None,
    });
    assert_eq!(pull(&State::new(), &server.reference("")).unwrap(), CONTENT.as_bytes());
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn persistent_errors_end_after_five_attempts() {
    let (error, server) = failure(of_layer(|| Reply::Cut {
        announced: CONTENT.len(),
        body: b"what".to_vec(),
    }));
    assert!(matches!(registry_error(error), RegistryError::Broken { .. }));
    assert_eq!(server.count(&layer_digest()), 5);

    // If the server ignores ranges, each attempt requests the whole blob.
    let (error, server) = failure(of_layer(|| Reply::body(b"what".to_vec()).without_length()));
    assert!(
        matches!(registry_error(error), RegistryError::Incomplete { received: 4, expected, .. }
        if expected == CONTENT.len() as u64)
    );
    assert_eq!(server.count(&layer_digest()), 5);

    let (error, server) = failure(|_, _| Some(Reply::status(500)));
    let error = registry_error(error);
    assert!(
        matches!(error, RegistryError::Server { status: 500, .. }) && error.is_transient(),
        "{error:?}"
    );
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn long_retry_after_is_returned_to_the_caller() {
    let body = json!({"errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate limit\u{7}"}]});
    let (error, server) = failure(move |_, _| Some(Reply::json(429, &body).with("Retry-After", "120")));
    assert!(
        chain(&error).ends_with("(status 429): pull rate limit\\u{7}"),
        "{}",
        chain(&error)
    );
    let RegistryError::TooManyRequests { retry_after, .. } = registry_error(error) else {
        panic!("another error")
    };
    assert_eq!(retry_after, Some(Duration::from_mins(2)));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn missing_image_or_blob_is_not_found() {
    let (error, server) = failure(|_, _| Some(Reply::status(404)));
    assert!(
        chain(&error).ends_with("has no image team/app:latest"),
        "{}",
        chain(&error)
    );
    assert!(matches!(registry_error(error), RegistryError::NotFound { .. }));
    assert_eq!(server.requests().len(), 2, "the manifest, and `/v2/` for a challenge");
    let (error, _) = failure(of_layer(|| Reply::status(404)));
    assert!(matches!(registry_error(error), RegistryError::NotFound { path, .. } if path.ends_with(&layer_digest())));
}

#[test]
fn oversized_document_is_refused() {
    let (error, _) = failure(|_, _| Some(Reply::body(vec![b' '; (4 << 20) + 1]).without_length()));
    assert!(matches!(
        registry_error(error),
        RegistryError::TooLarge { max: 4_194_304, .. }
    ));
}

#[test]
fn closed_port_is_unreachable() {
    // The system does not give this port to tests.
    let error = registry_error(pull(&State::new(), "127.0.0.1:1/x").unwrap_err());
    assert!(matches!(&error, RegistryError::Unreachable { registry, .. } if registry == "127.0.0.1:1"));
    assert!(error.is_transient());
}

#[test]
fn loopback_registry_bypasses_the_proxy() {
    let pull = "sources::faults::an_image_is_pulled_once_and_then_read_from_the_store";
    let nowhere = "http://127.0.0.1:1";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", pull])
        .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, nowhere)))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[cfg(unix)]
#[test]
fn remote_registry_is_never_reached_over_plain_http() {
    use std::io::{Read as _, Write as _};

    if ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        println!("skipped: the environment names a proxy");
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // This address leads to the listener, but is not a loopback address.
    let elsewhere = format!("0.0.0.0:{}/x", listener.local_addr().unwrap().port());
    let first_byte = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Unread data would reset the connection before the client reads the reply.
        let _ = stream.read_to_end(&mut Vec::new());
        (byte[0], listener)
    });
    let error = registry_error(pull(&State::new(), &elsewhere).unwrap_err());
    assert!(!error.is_transient(), "{error:?}");
    match error {
        RegistryError::SpeaksPlainHttp { .. } => assert_eq!(first_byte.join().unwrap().0, 22, "a TLS handshake record"),
        // A machine without CA certificates does not even connect.
        error => assert!(matches!(error, RegistryError::Setup(_)), "{error:?}"),
    }
}

#[test]
fn cancelled_download_keeps_its_partial_blob() {
    let (layout, image) = one_image();
    let layer = layer_digest();
    let server = Server::of(&layout, &image, move |request, _| {
        let stall = || Reply::Stall {
            announced: CONTENT.len(),
            body: b"what".to_vec(),
        };
        request.path.ends_with(&layer).then(stall)
    });
    let state = State::new();
    let (cancel, partial) = (state.cancel.clone(), state.partial(&layer_digest()));
    let start = Instant::now();
    thread::spawn(move || {
        eventually(|| fs::metadata(&partial).is_ok_and(|partial| partial.len() == 4));
        cancel.cancel();
    });
    let error = pull(&state, &server.reference("")).unwrap_err();
    assert!(matches!(error, ImageError::Cancelled(_)), "{error:?}");
    // The server stalls for two minutes.
    assert!(start.elapsed() < Duration::from_mins(1), "{:?}", start.elapsed());
    assert_eq!(server.count(&layer_digest()), 1);
    assert_eq!(fs::read(state.partial(&layer_digest())).unwrap(), b"what");
}
