//! Log events of requests and downloads: retries, resumed downloads, and blobs in the store.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sources::faults::{CONTENT, layer_digest, one_image};
use crate::sources::rootfs_build;
use support::server::{Reply, Request, Server};
use tempfile::TempDir;

/// Runs a build with `-vv` of an image at a server, and returns its standard error. The build fails
/// after the download, since the layer is not a tar.
fn build_log(server: &Server, state: &TempDir) -> String {
    let out = state.path().join("out");
    let mut build = rootfs_build(&server.reference(""), &out, &state.path().join("state"));
    let output = build.args(["--allow-mutable", "-vv"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("the layer is not a tar archive"), "{log}");
    log
}

/// Runs a build from a server with these replies to requests for the layer, and returns its
/// standard error. The argument of `reply` is the first byte of the requested range.
fn log_with_layer_replies(reply: impl Fn(Option<usize>) -> Option<Reply> + Send + Sync + 'static) -> String {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, move |request, _| {
        let is_layer = request.path.ends_with(&layer_digest());
        is_layer.then(|| reply(request.range_start())).flatten()
    });
    build_log(&server, &TempDir::new().unwrap())
}

/// Returns the first four bytes of the layer, and closes the connection.
fn cut() -> Reply {
    Reply::Cut {
        announced: CONTENT.len(),
        body: CONTENT.as_bytes()[..4].to_vec(),
    }
}

#[track_caller]
fn assert_events(log: &str, events: &[&str]) {
    for event in events {
        assert!(log.contains(event), "{event}: {log}");
    }
}

#[test]
fn pause_before_a_retry_is_logged_with_its_reason() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |_, before| (before == 0).then(|| Reply::status(503)));
    let log = build_log(&server, &TempDir::new().unwrap());
    let pause = format!("pauses before another attempt host={} why=\"", server.address);
    assert_events(&log, &["status=503", &pause, " wait_ms=", " attempt=2 of=5\n"]);
}

#[test]
fn resumed_download_is_logged() {
    let log = log_with_layer_replies(|start| match start {
        None => Some(cut()),
        Some(start) => Some(Reply::Part {
            start,
            body: CONTENT.as_bytes()[start..].to_vec(),
            all: CONTENT.len(),
        }),
    });
    let resumed = format!(
        " INFO oci::registry::download: resumes the download digest={}",
        layer_digest()
    );
    assert_events(
        &log,
        &[&resumed, " from=4 size=20", " from=4 authorization=none", "status=206"],
    );
}

#[test]
fn server_that_ignores_ranges_is_logged() {
    let log = log_with_layer_replies(|start| Some(start.map_or_else(cut, |_| Reply::body(CONTENT))));
    let event = "INFO oci::registry::http: the server knows no ranges, and sends the whole blob";
    assert_events(&log, &[event, " from=4\n"]);
}

#[test]
fn server_that_refuses_ranges_is_logged() {
    let was_refused = AtomicBool::new(false);
    let log = log_with_layer_replies(move |start| match start {
        Some(_) => {
            was_refused.store(true, Ordering::Relaxed);
            Some(Reply::status(416))
        }
        None => (!was_refused.load(Ordering::Relaxed)).then(cut),
    });
    assert_events(
        &log,
        &[
            "the server refused the range, and is asked for the whole blob",
            "status=416",
        ],
    );
}

#[test]
fn state_of_a_blob_in_the_store_is_logged() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |_, _| None);
    let state = TempDir::new().unwrap();
    let digest = layer_digest();
    let first = build_log(&server, &state);
    let lacks = format!("the store lacks the blob digest={digest}");
    assert_events(
        &first,
        &[
            &lacks,
            &format!("downloaded digest={digest} size=20"),
            "lacks the document",
        ],
    );

    let manifest = image["digest"].as_str().unwrap().replace(':', "/");
    let manifest = state.path().join("state/blobs").join(manifest);
    let good = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, good.replace("layers", "lavers")).unwrap();
    let second = build_log(&server, &state);
    let damaged = " INFO oci::blobs::download: the document in the store was damaged, and is removed digest=";
    assert_events(&second, &[damaged, &format!("the store has the blob digest={digest}")]);
    assert!(!second.contains(&lacks), "{second}");
    let of_layer = |request: &&Request| request.path.ends_with(&digest);
    assert_eq!(server.requests().iter().filter(of_layer).count(), 1);
}
