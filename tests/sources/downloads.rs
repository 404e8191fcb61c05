//! Downloads: resumed ones, several at once, reads during a download, and blobs that are not
//! downloaded again.

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use oci::{ImageError, RegistryError, StoreError};

use crate::sources::faults::{CONTENT, answer, layer_digest, one_image, pull};
use crate::sources::{State, linux, read, rootfs_build};
use support::layout::{CONFIG, LAYER, MANIFEST, TestLayout, config, digest, for_platform, manifest};
use support::server::{Reply, Request, Server};

/// Number of layers that are downloaded at once.
const AT_ONCE: usize = 4;

/// Returns the first byte of the range in each request for the layer; `None` without a range.
fn range_starts(server: &Server) -> Vec<Option<usize>> {
    let requests = server.requests();
    let of_layer = requests
        .iter()
        .filter(|request| request.path.ends_with(&layer_digest()));
    of_layer.map(Request::range_start).collect()
}

/// Returns a reply with up to four bytes from the start of the requested range.
fn four_bytes(request: &Request) -> Reply {
    let start = request.range_start().unwrap_or(0);
    let body = CONTENT.as_bytes()[start..].iter().copied().take(4).collect();
    match request.range_start() {
        Some(start) => Reply::Part {
            start,
            body,
            all: CONTENT.len(),
        },
        None => Reply::Cut {
            announced: CONTENT.len(),
            body,
        },
    }
}

#[test]
fn second_pull_of_a_pinned_image_sends_no_request() {
    let (layout, image) = one_image();
    let index = layout.index(&[for_platform(image, "linux/amd64")]);
    let server = Server::of(&layout, &index, |_, _| None);
    let state = State::new();
    let pinned = server.reference(&format!("@{}", digest(&index)));
    assert_eq!(pull(&state, &pinned).unwrap(), CONTENT.as_bytes());
    let before = server.requests().len();
    assert_eq!(before, 4, "index, manifest, config, layer");
    assert_eq!(pull(&state, &pinned).unwrap(), CONTENT.as_bytes());
    assert_eq!(server.requests().len(), before);

    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    let requests = server.requests();
    assert_eq!(requests.len(), before + 1);
    assert!(requests[before].path.ends_with("/manifests/latest"));
}

#[test]
fn corrupt_stored_manifest_is_fetched_again() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |_, _| None);
    let state = State::new();
    let pinned = server.reference(&format!("@{}", digest(&image)));
    pull(&state, &pinned).unwrap();
    let stored = state.stored(digest(&image));
    let good = fs::read_to_string(&stored).unwrap();
    fs::write(&stored, good.replace("layers", "lavers")).unwrap();
    pull(&state, &pinned).unwrap();
    assert_eq!(fs::read_to_string(&stored).unwrap(), good);
    assert_eq!(server.count("/manifests/"), 2);
}

#[test]
fn broken_download_is_resumed() {
    let (layout, image) = one_image();
    let layer = layer_digest();
    let server = Server::of(&layout, &image, move |request, _| {
        request.path.ends_with(&layer).then(|| four_bytes(request))
    });
    let start = Instant::now();
    assert_eq!(pull(&State::new(), &server.reference("")).unwrap(), CONTENT.as_bytes());
    let expected: Vec<_> = (0..CONTENT.len())
        .step_by(4)
        .map(|at| Some(at).filter(|at| *at > 0))
        .collect();
    assert_eq!(
        range_starts(&server),
        expected,
        "there are more than five attempts, as each makes progress"
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn partial_blob_is_resumed_by_the_next_process() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |_, _| None);
    let state = State::new();
    let partial = state.partial(&layer_digest());
    for (kept, asked) in [
        ("what", Some(4)),
        ("", None),
        (CONTENT, None),
        (&format!("{CONTENT}!"), None),
    ] {
        let before = range_starts(&server).len();
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, kept).unwrap();
        assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
        let expected = if kept == CONTENT { vec![] } else { vec![asked] };
        assert_eq!(range_starts(&server)[before..], expected, "{kept:?}");
        assert!(!partial.exists());
        fs::remove_file(state.stored(&layer_digest())).unwrap();
    }
}

/// Returns a reply with a range other than the one requested.
fn wrong_part(start: usize) -> Reply {
    Reply::Part {
        start: start + 1,
        body: b"x".to_vec(),
        all: CONTENT.len(),
    }
}

/// Returns the reply to a request for the layer; `None` for the right one.
type Answer = fn(&Request) -> Option<Reply>;

#[test]
fn server_without_ranges_restarts_the_download() {
    let (layout, image) = one_image();
    let layer = layer_digest();
    let answers: [Answer; 9] = [
        |_| Some(answer(CONTENT)),
        |request| request.range_start().map(|_| Reply::status(416)),
        |request| request.range_start().map(wrong_part),
        |request| request.range_start().map(|_| Reply::status(400)),
        |request| request.range_start().map(|_| Reply::status(403)),
        |request| request.range_start().map(|_| Reply::status(404)),
        |request| request.range_start().map(|_| Reply::status(501)),
        |request| request.range_start().map(|_| Reply::status(503)),
        |request| request.range_start().map(|_| Reply::status(401)),
    ];
    for answer in answers {
        let layer = layer.clone();
        let server = Server::of(&layout, &image, move |request, _| {
            request.path.ends_with(&layer).then(|| answer(request)).flatten()
        });
        let state = State::new();
        let partial = state.partial(&layer_digest());
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, "what").unwrap();
        assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
        assert_eq!(range_starts(&server)[0], Some(4));
    }
}

#[test]
fn corrupt_partial_blob_fails_once_and_is_removed() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |_, _| None);
    let state = State::new();
    let partial = state.partial(&layer_digest());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, "that").unwrap();
    let error = pull(&state, &server.reference("")).unwrap_err();
    assert!(
        matches!(error, ImageError::Store(StoreError::Damaged { .. })),
        "{error:?}"
    );
    assert!(!partial.exists() && !state.stored(&layer_digest()).exists());
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
}

#[test]
fn blob_is_read_during_its_download() {
    let (layout, image) = one_image();
    let layer = layer_digest();
    let server = Server::of(&layout, &image, move |request, _| {
        let stall = || Reply::Stall {
            announced: CONTENT.len(),
            body: CONTENT.as_bytes()[..4].to_vec(),
        };
        request.path.ends_with(&layer).then(stall)
    });
    let state = State::new();
    let source = state.open(&server.reference("")).unwrap();
    let layers = source.resolve(&linux("amd64")).unwrap().layers;
    let mut blob = source.blob(&layers[0]).unwrap();
    let mut first = [0; 4];
    blob.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"what");
    // Dropping the source ends the download, and so the read.
    drop(source);
    assert!(blob.read(&mut first).is_err());
}

#[test]
fn four_layers_download_at_once_in_order() {
    let layout = TestLayout::new();
    let contents: Vec<_> = (0..10).map(|nr| format!("layer {nr}")).collect();
    let image = layout.image("linux/amd64", &contents.iter().map(String::as_str).collect::<Vec<_>>());
    let blobs: Vec<_> = contents
        .iter()
        .map(|content| digest(&layout.blob("", content.as_bytes())).to_owned())
        .collect();
    let (asked, changed) = (Mutex::new(0), Condvar::new());
    let (now, peak) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&peak);
    let server = Server::of(&layout, &image, move |request, _| {
        if blobs.iter().any(|blob| request.path.ends_with(blob)) {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            changed.notify_all();
            let is_below_limit = |asked: &mut usize| *asked < AT_ONCE;
            let asked = changed.wait_timeout_while(asked, Duration::from_mins(1), is_below_limit);
            drop(asked.unwrap());
            // Leaves time for a fifth request, which would be an error.
            thread::sleep(Duration::from_millis(100));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        None
    });
    let state = State::new();
    let source = state.open(&server.reference("")).unwrap();
    let (_, layers) = source.pull(&linux("amd64")).unwrap();
    for (layer, content) in layers.iter().zip(&contents) {
        assert_eq!(read(&source, layer).unwrap(), content.as_bytes());
    }
    let progress = state.progress.lock().unwrap().clone();
    assert_eq!(progress.layers().len(), layers.len());
    for layer in progress.layers() {
        let counts = [layer.downloaded(), layer.applied()];
        assert!(counts == [layer.size(); 2] && layer.is_done(), "{layer:?}");
    }
    let size: u64 = layers.iter().map(|layer| layer.size).sum();
    assert_eq!([progress.size(), progress.downloaded(), progress.applied()], [size; 3]);
    assert_eq!(seen.load(Ordering::SeqCst), AT_ONCE);
    let requests = server.requests();
    assert_eq!(requests.len(), 2 + layers.len());
    let digests: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let asked_for = |request: &Request| digests.iter().position(|digest| request.path.ends_with(digest));
    // Only requests that run at the same time may change places.
    for (at, nr) in requests.iter().filter_map(asked_for).enumerate() {
        assert!(at + AT_ONCE > nr, "layer {nr} was the request {at} for a layer");
    }
}

/// Saves the time of a request. With cached tars, downloads have to wait for the config, since its
/// diff IDs are the keys of the cache.
#[test]
fn layers_download_before_the_config_has_arrived() {
    for keep_unpacked in [false, true] {
        let (layout, image) = one_image();
        let (sender, layer_asked) = mpsc::channel();
        let layer_asked = Mutex::new(layer_asked);
        let patience = if keep_unpacked {
            Duration::from_millis(300)
        } else {
            Duration::from_secs(10)
        };
        let server = Server::of(&layout, &image, move |request, _| {
            if request.path.ends_with(&layer_digest()) {
                sender.send(()).unwrap();
            } else if request.path.contains("/blobs/") {
                let was_asked = layer_asked.lock().unwrap().recv_timeout(patience).is_ok();
                return (was_asked == keep_unpacked).then(|| Reply::status(404));
            }
            None
        });
        let state = State {
            keep_unpacked,
            ..State::new()
        };
        let source = state.open(&server.reference("")).unwrap();
        let (image, layers) = source.pull(&linux("amd64")).unwrap();
        assert_eq!(image.layers, layers);
        assert_eq!(read(&source, &layers[0]).unwrap(), CONTENT.as_bytes());
    }
}

#[test]
fn concurrent_downloads_share_a_token() {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &["one", "two", "three", "four"]);
    let server = Server::of(&layout, &image, |request, _| {
        if request.path.starts_with("/token") {
            thread::sleep(Duration::from_millis(200));
            return Some(Reply::json(200, &serde_json::json!({"token": "t"})));
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
        let is_open = request.authorization().is_some() || !request.path.contains("/blobs/");
        (!is_open).then(|| Reply::status(401).with("WWW-Authenticate", challenge))
    });
    let state = State::new();
    let pinned = server.reference(&format!("@{}", digest(&image)));
    state.open(&pinned).unwrap().resolve(&linux("amd64")).unwrap();
    let before = server.count("/token");
    let source = state.open(&pinned).unwrap();
    let (_, layers) = source.pull(&linux("amd64")).unwrap();
    for layer in &layers {
        read(&source, layer).unwrap();
    }
    assert_eq!(server.count("/token"), before + 1);
}

#[test]
fn failed_layer_does_not_affect_the_others() {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &["good", "bad"]);
    let bad = digest(&layout.blob("", b"bad")).to_owned();
    let server = Server::of(&layout, &image, move |request, _| {
        request.path.ends_with(&bad).then(|| Reply::status(404))
    });
    let state = State::new();
    let source = state.open(&server.reference("")).unwrap();
    let (_, layers) = source.pull(&linux("amd64")).unwrap();
    assert_eq!(read(&source, &layers[0]).unwrap(), b"good");
    for _ in 0..2 {
        let error = read(&source, &layers[1]).unwrap_err();
        assert!(
            matches!(error, ImageError::Registry(RegistryError::NotFound { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn download_limit_counts_each_missing_blob_once() {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &["one", "one", "three", "fifth"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let mut state = State::new();
    let mut prefetch = |max| {
        state.max_download = max;
        let source = state.open(&server.reference("")).unwrap();
        let layers = source.resolve(&linux("amd64")).unwrap().layers;
        let before = server.requests().len();
        let error = source.prefetch(&layers).err();
        if error.is_some() {
            thread::sleep(Duration::from_millis(100));
            assert_eq!(server.requests().len(), before, "no layer is requested");
        } else {
            for layer in &layers {
                read(&source, layer).unwrap();
            }
        }
        error
    };
    // A repeated layer is downloaded once.
    let error = prefetch(12).unwrap();
    let third = layout.blob("", b"fifth");
    assert!(
        matches!(&error, ImageError::DownloadTooLarge { digest: named, size: 5, total: 13, max: 12 }
        if named.to_string() == digest(&third)),
        "{error:?}"
    );
    assert!(prefetch(13).is_none());
    assert!(prefetch(0).is_none(), "all layers are in the store");
}

#[test]
fn layer_above_the_download_limit_is_not_requested() {
    let layout = TestLayout::new();
    let mut layer = layout.blob(LAYER, CONTENT.as_bytes());
    let config = layout.document(CONFIG, &config("linux/amd64", &[layer.clone()]));
    layer["size"] = (1_u64 << 60).into();
    let image = layout.document(MANIFEST, &manifest(&config, &[layer]));
    let server = Server::of(&layout, &image, |_, _| None);
    let directory = tempfile::tempdir().unwrap();
    let reference = server.reference(&format!("@{}", digest(&image)));
    let mut build = rootfs_build(
        &reference,
        &directory.path().join("out"),
        &directory.path().join("state"),
    );
    let output = build.args(["--mode", "ax"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failure: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(failure["error"]["kind"], "policy_denied");
    let message = failure["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&layer_digest()) && message.contains("1152921504606846976"),
        "{message}"
    );
    let hint = failure["error"]["remediation"].as_str().unwrap();
    assert!(hint.contains("--max-size-mib, for example to 1099511627776"), "{hint}");
    assert_eq!(server.count(&layer_digest()), 0);
}
