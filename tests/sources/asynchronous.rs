//! Calls of the library, which blocks, from all kinds of threads of an asynchronous runtime: they
//! work there and do not panic.

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

/// Runs an action in each kind of thread of a runtime, and in a thread outside of a runtime.
fn on_every_kind_of_thread(act: fn(&TestImage), test_image: &Arc<TestImage>) {
    act(test_image);
    let run = || {
        let test_image = Arc::clone(test_image);
        move || act(&test_image)
    };
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async { act(test_image) });
        let run = (run(), run(), run());
        runtime.block_on(async { spawn_blocking(run.0).await.unwrap() });
        runtime.block_on(async { tokio::spawn(async move { run.1() }).await.unwrap() });
        LocalSet::new().block_on(&runtime, async move { run.2() });
        let _entered = runtime.enter();
        act(test_image);
    }
    let run = run();
    multi_thread().block_on(async { tokio::spawn(async move { block_in_place(run) }).await.unwrap() });
}

/// An image in a layout, and the registry that serves this layout.
struct TestImage {
    layout: TestLayout,
    server: Server,
    image: Value,
}

impl TestImage {
    fn new() -> Arc<Self> {
        let layout = TestLayout::new();
        let image = image(&layout, &["one", "two"]);
        layout.publish(std::slice::from_ref(&image));
        let server = Server::of(&layout, &image, |_, _| None);
        Arc::new(Self { layout, server, image })
    }

    /// Creates an image with a registry that announces the length of the layer, and then sends
    /// nothing.
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
fn source_works_on_every_kind_of_runtime_thread() {
    let act = |test_image: &TestImage| {
        for reference in test_image.references() {
            let state = State::new();
            let source = state.open(&reference).unwrap();
            let (image, layers) = source.pull(&linux("amd64")).unwrap();
            assert_eq!(image.digest.to_string(), digest(&test_image.image));
            for layer in &layers {
                read(&source, layer).unwrap();
            }
            // Errors are returned as well.
            assert!(source.resolve(&linux("arm64")).is_err());
            drop(source);
            assert!(
                state
                    .open(&test_image.server.reference(":missing"))
                    .unwrap()
                    .resolve(&linux("amd64"))
                    .is_err()
            );
        }
    };
    on_every_kind_of_thread(act, &TestImage::new());
}

#[test]
fn source_with_running_downloads_is_dropped_on_every_kind_of_runtime_thread() {
    let test_image = TestImage::stalled();
    let act = |test_image: &TestImage| {
        let source = State::new().open(&test_image.server.reference(":latest")).unwrap();
        source.pull(&linux("amd64")).unwrap();
    };
    on_every_kind_of_thread(act, &test_image);
}

#[test]
fn login_check_works_on_every_kind_of_runtime_thread() {
    let act = |test_image: &TestImage| {
        let target = LoginTarget::parse(&test_image.server.address.to_string()).unwrap();
        let (password, options) = (Secret::new("x".to_owned()), RegistryOptions::default());
        let check = check_login(&target, "user", &password, &options, &Events::default(), &Cancel::new());
        assert!(matches!(check, Ok(LoginCheck::NotAsked)), "{check:?}");
    };
    let layout = TestLayout::new();
    let image = image(&layout, &["one"]);
    let server = Server::start(|_, _| Reply::status(200));
    on_every_kind_of_thread(act, &Arc::new(TestImage { layout, server, image }));
}

/// Returns the options of a small build.
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
fn build_works_on_every_kind_of_runtime_thread() {
    let act = |test_image: &TestImage| {
        let directory = tempfile::tempdir().unwrap();
        let built = test_image.references().map(|reference| {
            let report = build(
                &options(&reference, directory.path()),
                directory.path().join("out.ext4"),
                &Cancel::new(),
            )
            .unwrap();
            report.output_digest.unwrap()
        });
        assert_eq!(built[0], built[1]);
        let missing = options(&test_image.server.reference(":missing"), directory.path());
        build(&missing, directory.path().join("none"), &Cancel::new()).unwrap_err();
    };
    on_every_kind_of_thread(act, &TestImage::new());
}

#[test]
fn build_async_equals_the_blocking_build() {
    let test_image = TestImage::new();
    let directory = tempfile::tempdir().unwrap();
    let (options, path) = (
        options(&test_image.references()[1], directory.path()),
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
fn dropped_build_future_cancels_the_build() {
    let TestImage { server, .. } = &*TestImage::stalled();
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&server.reference(":latest"), directory.path());
    let (sender, phases) = mpsc::channel();
    options.events = Events::new(move |event| {
        if let Event::Phase(phase) = event {
            // The receiver may be dropped by then.
            let _ = sender.send(phase);
        }
    });
    let runtime = multi_thread();
    let building = runtime.spawn(build_async(options, directory.path().join("out.ext4")));
    assert_eq!(phases.iter().find(|phase| *phase == Phase::Layers), Some(Phase::Layers));
    building.abort();
    assert!(runtime.block_on(building).unwrap_err().is_cancelled());
    // The channel closes when the build ends. With the stalled server, only cancellation ends it.
    assert_eq!(phases.iter().count(), 0);
    let names = fs::read_dir(directory.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["state"]);
}
