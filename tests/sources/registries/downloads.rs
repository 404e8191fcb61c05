//! Downloads that are interrupted, have a content coding, or are redirected.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Expected, Pulled, Refused, Variant, check};
use crate::sources::faults::{CONTENT, layer_digest};
use support::layout::{MANIFEST, TestLayout};
use support::server::{Reply, Request};

/// Starts a registry with unusual replies to requests for the layer. The second argument of `reply`
/// is the number of earlier requests for it.
fn layer_variant(
    name: impl Into<String>,
    expected: Expected,
    reply: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static,
) -> Variant {
    let layer = layer_digest();
    let asked = AtomicUsize::new(0);
    Variant::new(name, expected, move |request, _| {
        let is_layer = request.path.ends_with(&layer);
        is_layer
            .then(|| reply(request, asked.fetch_add(1, Ordering::Relaxed)))
            .flatten()
    })
}

/// Returns four bytes of the layer, and closes the connection.
fn cut() -> Reply {
    Reply::Cut {
        announced: CONTENT.len(),
        body: CONTENT.as_bytes()[..4].to_vec(),
    }
}

/// Starts a registry that interrupts a download once, and refuses to resume it.
fn refuses_ranges(status: u16) -> Variant {
    layer_variant(
        format!("interrupted once, {status} to a range"),
        Pulled,
        move |request, before| match request.range_start() {
            Some(_) => Some(Reply::status(status)),
            None => (before == 0).then(cut),
        },
    )
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Returns a reply with a content coding.
fn coded(coding: &str, body: Vec<u8>) -> Reply {
    Reply::body(body).with("Content-Encoding", coding)
}

#[test]
fn interrupted_downloads_are_resumed_or_restarted() {
    let parts = |len: usize| {
        layer_variant(
            format!("parts of {len} bytes"),
            Pulled,
            move |request, before| match request.range_start() {
                Some(start) => {
                    let body = CONTENT.as_bytes()[start..].iter().copied().take(len).collect();
                    Some(Reply::Part {
                        start,
                        body,
                        all: CONTENT.len(),
                    })
                }
                None => (before == 0).then(cut),
            },
        )
    };
    let mut variants: Vec<_> = [400, 401, 403, 404, 416, 500, 501, 503].map(refuses_ranges).into();
    variants.push(parts(7));
    variants.push(layer_variant("no length, ends early", Pulled, |request, _| {
        request
            .range_start()
            .is_none()
            .then(|| Reply::body(&CONTENT.as_bytes()[..4]).without_length())
    }));
    variants.push(layer_variant(
        "no length, ends early, no ranges",
        Pulled,
        |_, before| {
            let len = if before == 0 { 4 } else { CONTENT.len() };
            Some(Reply::body(&CONTENT.as_bytes()[..len]).without_length())
        },
    ));
    variants.push(layer_variant(
        "always ends early",
        Refused("sent 4 of 20 bytes"),
        |_, _| Some(Reply::body(&CONTENT.as_bytes()[..4]).without_length()),
    ));
    check(&variants);
}

/// Starts a registry that sends its manifest in gzip.
fn manifest_in_gzip() -> Variant {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &[CONTENT]);
    let manifest = gzip(&std::fs::read(layout.blob_path(&image)).unwrap());
    Variant::of("a manifest in gzip", Pulled, layout, &image, move |request, _| {
        let is_manifest = request.path.contains("/manifests/");
        is_manifest.then(|| coded("gzip", manifest.clone()).with("Content-Type", MANIFEST))
    })
}

#[test]
fn unrequested_content_codings_are_undone_ignored_or_refused() {
    let content = || CONTENT.as_bytes().to_vec();
    check(&[
        layer_variant("gzip, with a length", Pulled, |_, _| {
            Some(coded("gzip", gzip(CONTENT.as_bytes())))
        }),
        layer_variant("gzip, without a length", Pulled, |_, _| {
            Some(coded("gzip", gzip(CONTENT.as_bytes())).without_length())
        }),
        layer_variant("gzip, interrupted once", Pulled, |_, before| {
            let body = gzip(CONTENT.as_bytes());
            let len = if before == 0 { body.len() / 2 } else { body.len() };
            Some(coded("x-gzip", body[..len].to_vec()).without_length())
        }),
        layer_variant("a gzip label on uncompressed data", Pulled, move |_, _| {
            Some(coded("gzip", content()))
        }),
        layer_variant("a zstd label on uncompressed data", Pulled, move |_, _| {
            Some(coded("zstd", content()))
        }),
        layer_variant("aws-chunked, left over from an upload", Pulled, move |_, _| {
            Some(coded("aws-chunked", content()).without_length())
        }),
        layer_variant("br", Refused("sent the content coding br"), |_, _| {
            Some(coded("br", b"\x0b\x02\x80abc\x03".to_vec()))
        }),
        layer_variant("gzip of other data", Refused("sent the content coding gzip"), |_, _| {
            Some(coded("gzip", gzip(&[0; 999])))
        }),
        layer_variant(
            "a gzip label on other data",
            Refused("sent the content coding gzip"),
            |_, _| Some(coded("gzip", b"no gzip".to_vec())),
        ),
        manifest_in_gzip(),
        layer_variant(
            "a web page in place of a layer",
            Refused("with the title \"Sign in\""),
            |_, _| Some(Reply::body("<html><title>Sign in</title>")),
        ),
    ]);
}

#[test]
fn redirects_of_every_status_are_followed() {
    let redirects = [301, 302, 303, 307, 308].map(|status| {
        layer_variant(format!("{status} for a layer"), Pulled, move |request, _| {
            let location = format!("/store/{}", layer_digest());
            request
                .path
                .starts_with("/v2/")
                .then(|| Reply::status(status).with("Location", location))
        })
    });
    check(&redirects);
}

#[test]
fn busy_servers_are_asked_again() {
    let busy = |status: u16| {
        Variant::new(format!("{status} once"), Pulled, move |request, before| {
            let is_first = before == 0 && request.path.contains("/manifests/");
            is_first.then(|| Reply::status(status).with("Retry-After", "0"))
        })
    };
    check(&[429, 500, 502, 503, 504].map(busy));
}
