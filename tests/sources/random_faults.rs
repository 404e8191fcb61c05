//! Builds from a registry with pseudo-random faults: each results in the same disk image or in an
//! error, and the next build succeeds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sources::store::{Builds, image, succeed};
use support::layout::{TestLayout, digest};
use support::server::{Reply, Request, Server, stored_reply};

/// Returns a pseudo-random number that depends only on `state`, by the mixing
/// function of `SplitMix64`.
pub(crate) fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Returns a good reply with a fault that `random` chooses, in about a third of the cases.
fn add_fault(good: Reply, random: u64, other_host: &str, request: &Request) -> Reply {
    let (status, headers, body, part) = match good {
        Reply::Answer { status, headers, body } => (status, headers, body, None),
        Reply::Part { start, body, all } => (206, Vec::new(), body, Some((start, all))),
        _ => unreachable!("a registry without faults answers"),
    };
    let good = |body: Vec<u8>| match part {
        Some((start, all)) => Reply::Part { start, body, all },
        None => Reply::Answer {
            status,
            headers: headers.clone(),
            body,
        },
    };
    let middle = body.len() / 2;
    match random % 24 {
        0 => Reply::status(500),
        1 => Reply::status(503).with("Retry-After", "0"),
        2 => Reply::status(429).with("Retry-After", "0"),
        3 | 4 if part.is_none() => Reply::Cut {
            announced: body.len(),
            body: body[..middle].to_vec(),
        },
        3 | 4 => good(body[..middle].to_vec()),
        5 if random.is_multiple_of(5) => good(body.iter().map(|byte| byte ^ 1).collect()),
        6 if random.is_multiple_of(5) => Reply::body([&body[..], b"more"].concat()).without_length(),
        7 => Reply::body(body).without_length(),
        8 => Reply::status(307).with("Location", format!("http://{other_host}{}", request.path)),
        9 => Reply::Slow {
            reply: Box::new(good(body)),
            pause: Duration::from_millis(5),
        },
        10 if random.is_multiple_of(7) => Reply::status(404),
        _ => good(body),
    }
}

/// Builds four times from a registry whose faults depend on `run`. Returns how many builds succeed.
fn build_through_faults(run: u64, layout: &TestLayout, image: &Value, expected: &[u8]) -> usize {
    let version = format!("@{}", digest(image));
    let (blobs, other_blobs) = (layout.path().join("blobs/sha256"), layout.path().join("blobs/sha256"));
    let other_host = Server::start(move |request, _| stored_reply(&other_blobs, "", request));
    let faultless = Arc::new(AtomicBool::new(false));
    let is_faultless = Arc::clone(&faultless);
    let address = other_host.address.to_string();
    let server = Server::start(move |request, before| {
        let good = stored_reply(&blobs, "", request);
        if is_faultless.load(Ordering::Relaxed) {
            return good;
        }
        add_fault(good, mix(run << 32 | before as u64), &address, request)
    });
    let reference = server.reference(&version);

    let mut successes = 0;
    for _ in 0..4 {
        let builds = Builds::new();
        let start = Instant::now();
        let output = builds.build(&reference, "out").output().unwrap();
        assert!(start.elapsed() < Duration::from_mins(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            successes += 1;
        } else {
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.starts_with("error: could not "), "{stderr}");
            assert!(!builds.output("out").exists());
            faultless.store(true, Ordering::Relaxed);
            succeed(&mut builds.build(&reference, "out"));
            faultless.store(false, Ordering::Relaxed);
        }
        assert!(fs::read(builds.output("out")).unwrap() == expected);
    }
    successes
}

#[test]
fn random_faults_end_in_the_same_image_or_an_error() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two", "three"]);
    let original = Builds::new();
    succeed(&mut original.build(&layout.reference(&format!("@{}", digest(&image))), "out"));
    let expected = fs::read(original.output("out")).unwrap();

    // In parallel, since builds mostly pause between attempts.
    let successes: usize = thread::scope(|scope| {
        let runs = [0, 1, 2, 3].map(|run| {
            let (layout, image, expected) = (&layout, &image, &expected);
            scope.spawn(move || build_through_faults(run, layout, image, expected))
        });
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert!(successes > 0);
}
