//! Events that a build reports: phases, progress, pauses and warnings.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use layer::cancel::Cancel;
use layer::events::Events;
use microagent::error::BuildError;
use microagent::rootfs::{BuildOptions, Event, Phase, Warning, build, build_into};
use oci::{Reference, WaitReason};

use crate::sources::linux;
use crate::sources::store::{image, tar};
use support::layout::{TestLayout, digest};
use support::server::{Reply, Server};

/// An event, without the fields that change from run to run.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Phase(Phase),
    /// Size, downloaded and applied bytes.
    Progress([u64; 3]),
    Waiting,
    Warning(Warning),
}

/// Returns options of a build, and the list that its events are added to.
fn options(reference: &str, directory: &Path) -> (BuildOptions, Arc<Mutex<Vec<Seen>>>) {
    let mut options = BuildOptions::new(Reference::parse(reference).unwrap());
    options.platform = linux("amd64");
    options.allow_mutable = true;
    options.state_dir = directory.join("state");
    options.init = None;
    let seen = Arc::new(Mutex::new(Vec::new()));
    options.events = Events::new({
        let seen = Arc::clone(&seen);
        move |event| {
            let event = match event {
                Event::Phase(phase) => Seen::Phase(phase),
                Event::Progress(progress) => {
                    Seen::Progress([progress.size(), progress.downloaded(), progress.applied()])
                }
                Event::Waiting(wait) => {
                    assert!(matches!(wait.reason(), WaitReason::Attempt { number: 2, of: 5, .. }));
                    Seen::Waiting
                }
                Event::Warning(warning) => Seen::Warning(warning),
                other => panic!("{other:?}"),
            };
            seen.lock().unwrap().push(event);
        }
    });
    (options, seen)
}

/// Returns the phases among events.
fn phases(seen: &[Seen]) -> Vec<Phase> {
    let phase = |seen: &Seen| match seen {
        Seen::Phase(phase) => Some(*phase),
        _ => None,
    };
    seen.iter().filter_map(phase).collect()
}

#[test]
fn only_enabled_phases_are_reported_and_in_order() {
    let layout = TestLayout::new();
    layout.publish(&[image(&layout, &["one", "two"])]);
    let directory = tempfile::tempdir().unwrap();
    let (mut options, seen) = options(&layout.reference(""), directory.path());
    let output = directory.path().join("out.ext4");
    let build = |options: &BuildOptions| {
        seen.lock().unwrap().clear();
        build(options, &output, &Cancel::new()).unwrap();
        phases(&seen.lock().unwrap())
    };
    let all = [
        Phase::Resolve,
        Phase::Layers,
        Phase::Metadata,
        Phase::Sync,
        Phase::Digest,
        Phase::Export,
    ];
    options.sync = false;
    assert_eq!(build(&options), all[..3]);
    options.sync = true;
    options.digest = true;
    options.keep_stage = true;
    assert_eq!(build(&options), all);

    seen.lock().unwrap().clear();
    build_into(&options, &mut Vec::new(), &Cancel::new()).unwrap();
    assert_eq!(phases(&seen.lock().unwrap()), all[..3]);
}

#[test]
fn progress_grows_to_the_size_of_all_layers() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two", "three"]);
    layout.publish(std::slice::from_ref(&image));
    let server = Server::of(&layout, &image, |_, _| None);
    for reference in [layout.reference(""), server.reference(":latest")] {
        let directory = tempfile::tempdir().unwrap();
        let (options, seen) = options(&reference, directory.path());
        build(&options, directory.path().join("out.ext4"), &Cancel::new()).unwrap();
        let seen = seen.lock().unwrap();
        let counts: Vec<_> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Progress(counts) => Some(*counts),
                _ => None,
            })
            .collect();
        assert!(counts.len() > 3, "{counts:?}");
        let size = counts[0][0];
        assert!(size > 0);
        assert_eq!(counts.last(), Some(&[size; 3]), "{reference}");
        for pair in counts.windows(2) {
            assert!((0..3).all(|count| pair[0][count] <= pair[1][count]), "{counts:?}");
        }
    }
}

#[test]
fn restarted_build_repeats_phases_but_not_warnings() {
    let layout = TestLayout::new();
    let with_trailing_data = tar("one", 10) + &"x".repeat(512);
    let image = layout.image("linux/amd64", &[&with_trailing_data, &tar("two", 100_000)]);
    let server = Server::of(&layout, &image, |_, _| None);
    let directory = tempfile::tempdir().unwrap();
    let (options, seen) = options(&server.reference(":latest"), directory.path());
    let output = directory.path().join("out.ext4");
    let expected = build(&options, &output, &Cancel::new()).unwrap();
    assert!(
        matches!(expected.warnings[..], [Warning::DataAfterEnd { .. }]),
        "{expected:?}"
    );

    // The second layer in the store gets a wrong byte. Its size stays right.
    let damaged = options
        .state_dir
        .join("blobs/sha256")
        .join(expected.layers[1].digest.hex());
    let mut content = fs::read(&damaged).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&damaged, content).unwrap();
    seen.lock().unwrap().clear();
    let report = build(&options, &output, &Cancel::new()).unwrap();
    assert_eq!(report, expected);
    let seen = seen.lock().unwrap();
    let (resolve, layers) = (Phase::Resolve, Phase::Layers);
    assert_eq!(phases(&seen)[..5], [resolve, layers, resolve, layers, Phase::Metadata]);
    let warnings: Vec<_> = seen.iter().filter(|seen| matches!(seen, Seen::Warning(_))).collect();
    assert_eq!(warnings, [&Seen::Warning(expected.warnings[0].clone())]);
}

#[test]
fn pause_before_a_retry_is_reported_when_it_begins() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one"]);
    let server = Server::of(&layout, &image, |_, before| {
        (before == 0).then(|| Reply::status(429).with("Retry-After", "1"))
    });
    let directory = tempfile::tempdir().unwrap();
    let (options, seen) = options(&server.reference(&format!("@{}", digest(&image))), directory.path());
    build(&options, directory.path().join("out.ext4"), &Cancel::new()).unwrap();
    let seen = seen.lock().unwrap();
    let nothing = Seen::Progress([0; 3]);
    let waited = [Seen::Phase(Phase::Resolve), Seen::Waiting, nothing];
    assert_eq!(seen[..3], waited);
}

#[test]
fn a_listener_can_cancel_the_build() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two"]);
    layout.publish(std::slice::from_ref(&image));
    let server = Server::of(&layout, &image, |_, _| None);
    for reference in [layout.reference(""), server.reference(":latest")] {
        let directory = tempfile::tempdir().unwrap();
        let (mut options, _) = options(&reference, directory.path());
        let cancel = Cancel::new();
        options.events = Events::new({
            let cancel = cancel.clone();
            move |event| match event {
                Event::Progress(progress) if progress.applied() > 0 => cancel.cancel(),
                _ => {}
            }
        });
        let output = directory.path().join("out.ext4");
        let error = build(&options, &output, &cancel).unwrap_err();
        assert!(matches!(error, BuildError::Cancelled(_)), "{error:?}");
        assert!(!output.exists());
    }
}
