//! The library, which blocks, in the threads of asynchronous runtimes: all of it works there, and
//! nothing panics.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, mpsc};

use ext4::{Fit, Size};
use layer::cancel::Cancel;
use layer::events::Events;
use microagent::error::BuildError;
use microagent::rootfs::{BuildOptions, Event, Phase, build, build_async};
use oci::{LoginCheck, LoginTarget, Reference, RegistryOptions, Secret, check_login};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, block_in_place, spawn_blocking};

use crate::sources::store::{image, tar};
use crate::sources::{State, linux, read};
use support::layout::{LAYER, TestLayout, digest};
use support::server::{Reply, Server};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs an action in each kind of thread that belongs to a runtime, and in one that belongs to
/// none.
fn everywhere(act: fn(&Subject), subject: &Arc<Subject>) {
    act(subject);
    let run = || {
        let subject = Arc::clone(subject);
        move || act(&subject)
    };
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async { act(subject) });
        let run = (run(), run(), run());
        runtime.block_on(async { spawn_blocking(run.0).await.unwrap() });
        runtime.block_on(async { tokio::spawn(async move { run.1() }).await.unwrap() });
        LocalSet::new().block_on(&runtime, async move { run.2() });
        let _entered = runtime.enter();
        act(subject);
    }
    let run = run();
    multi_thread().block_on(async { tokio::spawn(async move { block_in_place(run) }).await.unwrap() });
}

/// An image in a registry, and in the layout that the registry serves.
struct Subject {
    layout: TestLayout,
    server: Server,
    image: Value,
}

impl Subject {
    fn new() -> Arc<Self> {
        let layout = TestLayout::new();
        let image = image(&layout, &["one", "two"]);
        layout.publish(std::slice::from_ref(&image));
        let server = Server::of(&layout, &image, |_, _| None);
        Arc::new(Self { layout, server, image })
    }

    /// An image in a registry that announces its layer, and sends nothing of it.
    fn stalled() -> Arc<Self> {
        let layout = TestLayout::new();
        let image = image(&layout, &["one"]);
        let layer = layout.blob(LAYER, tar("one", 100_000).as_bytes());
        let stalled = digest(&layer).to_owned();
        let server = Server::of(&layout, &image, move |request, _| {
            request.path.ends_with(&stalled).then(|| Reply::Stall {
                announced: 100,
                body: Vec::new(),
            })
        });
        Arc::new(Self { layout, server, image })
    }

    fn references(&self) -> [String; 2] {
        [self.layout.reference(""), self.server.reference(":latest")]
    }
}

#[test]
fn a_source_is_opened_resolved_read_and_dropped_anywhere() {
    let act = |subject: &Subject| {
        for reference in subject.references() {
            let state = State::new();
            let source = state.open(&reference).unwrap();
            let (image, layers) = source.pull(&linux("amd64")).unwrap();
            assert_eq!(image.digest.to_string(), digest(&subject.image));
            for layer in &layers {
                read(&source, layer).unwrap();
            }
            // An error is one.
            assert!(source.resolve(&linux("arm64")).is_err());
            drop(source);
            assert!(
                state
                    .open(&subject.server.reference(":missing"))
                    .unwrap()
                    .resolve(&linux("amd64"))
                    .is_err()
            );
        }
    };
    everywhere(act, &Subject::new());
}

#[test]
fn a_source_that_still_downloads_is_dropped_anywhere() {
    let subject = Subject::stalled();
    let act = |subject: &Subject| {
        let source = State::new().open(&subject.server.reference(":latest")).unwrap();
        source.pull(&linux("amd64")).unwrap();
    };
    everywhere(act, &subject);
}

#[test]
fn a_login_is_checked_anywhere() {
    let act = |subject: &Subject| {
        let target = LoginTarget::parse(&subject.server.address.to_string()).unwrap();
        let (password, options) = (Secret::new("x".to_owned()), RegistryOptions::default());
        let check = check_login(&target, "user", &password, &options, &Events::default(), &Cancel::new());
        assert!(matches!(check, Ok(LoginCheck::NotAsked)), "{check:?}");
    };
    let layout = TestLayout::new();
    let image = image(&layout, &["one"]);
    let server = Server::start(|_, _| Reply::status(200));
    everywhere(act, &Arc::new(Subject { layout, server, image }));
}

fn options(reference: &str, directory: &Path) -> BuildOptions {
    let mut options = BuildOptions::new(Reference::parse(reference).unwrap());
    options.platform = linux("amd64");
    options.allow_mutable = true;
    options.state_dir = directory.join("state");
    options.cache_limit = u64::MAX;
    options.file_system.size = Size::Fit(Fit {
        free: 0,
        free_percent: 0,
        min: 1 << 20,
        max: 1 << 30,
    });
    options.init = None;
    options.digest = true;
    options.threads = NonZeroUsize::new(3).unwrap();
    options.sync = false;
    options
}

#[test]
fn a_disk_image_is_built_anywhere() {
    let act = |subject: &Subject| {
        let directory = tempfile::tempdir().unwrap();
        let built = subject.references().map(|reference| {
            let report = build(
                &options(&reference, directory.path()),
                directory.path().join("out.ext4"),
                &Cancel::new(),
            )
            .unwrap();
            report.output_digest.unwrap()
        });
        assert_eq!(built[0], built[1]);
        let missing = options(&subject.server.reference(":missing"), directory.path());
        build(&missing, directory.path().join("none"), &Cancel::new()).unwrap_err();
    };
    everywhere(act, &Subject::new());
}

#[test]
fn a_future_builds_what_the_blocking_call_builds_on_any_runtime() {
    let subject = Subject::new();
    let directory = tempfile::tempdir().unwrap();
    let (options, path) = (
        options(&subject.references()[1], directory.path()),
        directory.path().join("out.ext4"),
    );
    let expected = build(&options, &path, &Cancel::new()).unwrap();
    for runtime in [current_thread(), multi_thread()] {
        let report = runtime.block_on(build_async(options.clone(), path.clone()));
        assert_eq!(report.unwrap(), expected);
    }
    let missing = directory.path().join("missing").join("out.ext4");
    let error = current_thread().block_on(build_async(options, missing)).unwrap_err();
    assert!(matches!(error, BuildError::NoDirectory { .. }), "{error:?}");
}

#[test]
fn a_future_that_is_dropped_cancels_its_build() {
    let Subject { server, .. } = &*Subject::stalled();
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&server.reference(":latest"), directory.path());
    let (begun, layers) = mpsc::channel();
    options.events = Events::new(move |event| {
        if let Event::Phase(phase) = event {
            // The receiver may be gone by then.
            let _ = begun.send(phase);
        }
    });
    let runtime = multi_thread();
    let building = runtime.spawn(build_async(options, directory.path().join("out.ext4")));
    assert_eq!(layers.iter().find(|phase| *phase == Phase::Layers), Some(Phase::Layers));
    building.abort();
    assert!(runtime.block_on(building).unwrap_err().is_cancelled());
    // The sender goes with the build, which the stalled server alone would never end.
    assert_eq!(layers.iter().count(), 0);
    let left = fs::read_dir(directory.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
}
