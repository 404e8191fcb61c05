//! Faults as they come: each build gives the same bytes or says why not, and spoils nothing for the next.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sources::store::{Builds, image, succeed};
use support::layout::{TestLayout, digest};
use support::server::{Reply, Request, Server, stored_reply};

/// What comes next of numbers that look random and are the same each time.
pub(crate) fn next(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What becomes of a good answer; often, nothing happens to it.
fn spoil(good: Reply, luck: u64, elsewhere: &str, request: &Request) -> Reply {
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
    match luck % 24 {
        0 => Reply::status(500),
        1 => Reply::status(503).with("Retry-After", "0"),
        2 => Reply::status(429).with("Retry-After", "0"),
        3 | 4 if part.is_none() => Reply::Cut {
            announced: body.len(),
            body: body[..middle].to_vec(),
        },
        3 | 4 => good(body[..middle].to_vec()),
        5 if luck.is_multiple_of(5) => good(body.iter().map(|byte| byte ^ 1).collect()),
        6 if luck.is_multiple_of(5) => Reply::body([&body[..], b"more"].concat()).without_length(),
        7 => Reply::body(body).without_length(),
        8 => Reply::status(307).with("Location", format!("http://{elsewhere}{}", request.path)),
        9 => Reply::Slow {
            reply: Box::new(good(body)),
            pause: Duration::from_millis(5),
        },
        10 if luck.is_multiple_of(7) => Reply::status(404),
        _ => good(body),
    }
}

/// Builds four times from a registry of which `run` decides the faults; returns how many succeed.
fn build_through_faults(run: u64, layout: &TestLayout, image: &Value, expected: &[u8]) -> usize {
    let version = format!("@{}", digest(image));
    let (blobs, elsewhere_blobs) = (layout.path().join("blobs/sha256"), layout.path().join("blobs/sha256"));
    let elsewhere = Server::start(move |request, _| stored_reply(&elsewhere_blobs, "", request));
    let is_fair = Arc::new(AtomicBool::new(false));
    let fair = Arc::clone(&is_fair);
    let address = elsewhere.address.to_string();
    let server = Server::start(move |request, before| {
        let good = stored_reply(&blobs, "", request);
        if fair.load(Ordering::Relaxed) {
            return good;
        }
        spoil(good, next(run << 32 | before as u64), &address, request)
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
            is_fair.store(true, Ordering::Relaxed);
            succeed(&mut builds.build(&reference, "out"));
            is_fair.store(false, Ordering::Relaxed);
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

    // Builds mostly wait between their attempts.
    let successes: usize = thread::scope(|scope| {
        let runs = [0, 1, 2, 3].map(|run| {
            let (layout, image, expected) = (&layout, &image, &expected);
            scope.spawn(move || build_through_faults(run, layout, image, expected))
        });
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert!(successes > 0);
}
