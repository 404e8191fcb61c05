//! Platforms of images: missing ones, tags for several platforms, lists of platforms, and variants
//! of an architecture.

use std::fs;
use std::process::{Command, Stdio};

use oci::{DockerArchiveError, Image, ImageError, LayoutError, ListedImage, ManifestError, Platform};
use serde_json::{Value, json};

use crate::sources::archives::archive;
use crate::sources::store::{Builds, tar};
use crate::sources::{State, chain, linux, resolve};
use support::layout::{CONFIG, LAYER, MANIFEST, TestLayout, config, digest, for_platform, manifest, named};
use support::server::Server;

/// Creates an image with these platform fields in its config.
fn image_with_platform_fields(layout: &TestLayout, name: &str, fields: &Value) -> Value {
    let layers = [layout.blob(LAYER, tar(name, 10).as_bytes())];
    let mut config = config("linux/amd64", &layers);
    for key in ["os", "architecture", "variant"] {
        config[key] = fields[key].clone();
    }
    let config = layout.document(CONFIG, &config);
    layout.document(MANIFEST, &manifest(&config, &layers))
}

/// Creates an image for a platform. Its content differs from that for other platforms.
fn image_for(layout: &TestLayout, platform: &str) -> Value {
    layout.image(platform, &[&tar(&platform.replace('/', "-"), 10)])
}

#[track_caller]
fn assert_image(found: &Result<Image, ImageError>, image: &Value, platform: &str) {
    let found = found.as_ref().unwrap();
    assert_eq!(found.digest.to_string(), digest(image));
    assert_eq!(found.platform, linux(platform));
}

#[track_caller]
fn assert_no_image(found: Result<Image, ImageError>, available: &str) {
    let error = chain(&found.unwrap_err());
    assert!(error.ends_with(&format!("; available: {available}")), "{error}");
}

#[test]
fn config_without_platform_takes_the_requested_one() {
    for fields in [json!({}), json!({"os": "", "architecture": ""}), json!({"os": "linux"})] {
        let layout = TestLayout::new();
        let image = image_with_platform_fields(&layout, "a", &fields);
        layout.publish(&[named(image.clone(), "latest")]);
        let server = Server::of(&layout, &image, |_, _| None);
        let pinned = format!("@{}", digest(&image));
        for reference in [
            layout.reference(""),
            layout.reference(&pinned),
            server.reference(":latest"),
            server.reference(&pinned),
        ] {
            for architecture in ["amd64", "arm/v6"] {
                assert_image(&resolve(&reference, architecture), &image, architecture);
            }
        }
    }
}

#[test]
fn the_platforms_of_a_reference_are_listed_in_one_request() {
    let layout = TestLayout::new();
    let images =
        ["linux/amd64", "linux/arm/v6", "linux/arm64"].map(|platform| (platform, image_for(&layout, platform)));
    let mut entries: Vec<_> = images
        .iter()
        .map(|(platform, image)| for_platform(image.clone(), platform))
        .collect();
    entries.push(for_platform(image_for(&layout, "linux/s390x"), "unknown/unknown"));
    let index = layout.index(&entries);
    layout.publish(&[named(index.clone(), "latest"), named(images[1].1.clone(), "single")]);
    let server = Server::of(&layout, &index, |_, _| None);
    let state = State::new();
    let source = state.open(&server.reference(":latest")).unwrap();
    let listed = source.platforms().unwrap();
    let expected: Vec<_> = images
        .iter()
        .map(|(platform, image)| {
            (
                Some(platform.parse().unwrap()),
                digest(image).to_owned(),
                image["size"].as_u64().unwrap(),
            )
        })
        .collect();
    let found = |listed: &[ListedImage]| -> Vec<_> {
        let one = |image: &ListedImage| (image.platform.clone(), image.digest.to_string(), image.size);
        listed.iter().map(one).collect()
    };
    assert_eq!(found(&listed), expected);
    assert_eq!(server.requests().len(), 1);
    for image in &listed {
        let resolved = source.resolve(image.platform.as_ref().unwrap()).unwrap();
        assert_eq!(resolved.digest, image.digest);
    }
    assert_eq!(server.count("/manifests/latest"), 1, "a tag can move");

    let local = |tag| state.open(&layout.reference(tag)).unwrap().platforms().unwrap();
    assert_eq!(found(&local(":latest")), expected);
    // Only the config names this platform.
    assert_eq!(found(&local(":single")), expected[1..2]);
}

/// Lists the images of a source, and resolves each of them.
#[track_caller]
fn resolve_each_listed(reference: &str) -> Vec<Image> {
    let source = State::new().open(reference).unwrap();
    let listed = source.platforms().unwrap();
    let resolve = |listed: &ListedImage| {
        let image = source.resolve_listed(listed).unwrap();
        assert_eq!(image.digest, listed.digest);
        if let Some(platform) = &listed.platform {
            assert_eq!(image.platform, *platform);
        }
        image
    };
    listed.iter().map(resolve).collect()
}

#[test]
fn resolve_listed_requests_only_that_manifest_and_config() {
    let layout = TestLayout::new();
    // `resolve` would find the first of two images for the same platform.
    let images = ["first", "second"].map(|name| layout.image("linux/amd64", &[&tar(name, 10)]));
    let index = layout.index(&images.clone().map(|image| for_platform(image, "linux/amd64")));
    let server = Server::of(&layout, &index, |_, _| None);
    let state = State::new();
    let source = state.open(&server.reference(":latest")).unwrap();
    let listed = source.platforms().unwrap();
    assert_eq!(server.requests().len(), 1);
    let image = source.resolve_listed(&listed[1]).unwrap();
    assert_eq!(image.digest.to_string(), digest(&images[1]));
    assert!(
        image.resolved_ref.ends_with(digest(&images[1])),
        "{}",
        image.resolved_ref
    );
    assert_eq!(server.requests().len(), 3, "{:?}", server.requests());
    assert_eq!(server.count("/manifests/latest"), 1, "a tag can move");
    assert_eq!(server.count(&format!("/manifests/{}", digest(&images[1]))), 1);

    // An image without an index was read when it was listed.
    let server = Server::of(&layout, &images[0], |_, _| None);
    let source = State::new().open(&server.reference(":latest")).unwrap();
    let listed = source.platforms().unwrap();
    let before = server.requests().len();
    assert_eq!(source.resolve_listed(&listed[0]).unwrap().digest, listed[0].digest);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn listed_images_of_layouts_and_archives_are_resolved() {
    let layout = TestLayout::new();
    let [arm64, s390x] = ["linux/arm64", "linux/s390x"].map(|platform| image_for(&layout, platform));
    let without_platform = image_with_platform_fields(&layout, "without_platform", &json!({}));
    let directory = tempfile::tempdir().unwrap();
    // Neither index nor config names the last one's platform.
    let platforms = [linux("arm64"), linux("s390x"), Platform::host()];
    let entries = [for_platform(arm64, "linux/arm64"), s390x, without_platform];
    let index = layout.index(&entries);
    for published in [vec![index], entries.map(|entry| named(entry, "latest")).to_vec()] {
        layout.publish(&published);
        let packed = directory.path().join("packed.tar");
        let mut builder = tar::Builder::new(fs::File::create(&packed).unwrap());
        builder.append_dir_all(".", layout.path()).unwrap();
        builder.into_inner().unwrap();
        for reference in [layout.reference(""), format!("oci-archive:{}", packed.display())] {
            let found = resolve_each_listed(&reference);
            let found: Vec<_> = found.into_iter().map(|image| image.platform).collect();
            assert_eq!(found, platforms, "{reference}");
        }
    }

    let rootfs = directory.path().join("rootfs.tar");
    fs::write(&rootfs, tar("rootfs", 10)).unwrap();
    let found = resolve_each_listed(&format!("tar:{}", rootfs.display()));
    assert_eq!(found[0].platform, Platform::host());
    assert_eq!(found[0].layers.len(), 1);
}

#[test]
fn resolve_listed_refuses_an_image_that_is_not_listed() {
    let layout = TestLayout::new();
    let [amd64, arm64, riscv64] =
        ["linux/amd64", "linux/arm64", "linux/riscv64"].map(|platform| image_for(&layout, platform));
    let listed = |layout: &TestLayout| {
        let source = State::new().open(&layout.reference("")).unwrap();
        source.platforms().unwrap()
    };
    layout.publish(&[layout.index(&[for_platform(amd64.clone(), "linux/amd64")])]);
    let elsewhere = listed(&layout).remove(0);
    for published in [
        arm64.clone(),
        layout.index(&[for_platform(arm64.clone(), "linux/arm64")]),
        // The same manifest, listed for another platform.
        layout.index(&[for_platform(amd64, "linux/amd64/v2")]),
    ] {
        layout.publish(&[published]);
        let source = State::new().open(&layout.reference("")).unwrap();
        let error = source.resolve_listed(&elsewhere).unwrap_err();
        assert!(
            matches!(&error, ImageError::NotListed { digest } if *digest == elsewhere.digest),
            "{error:?}"
        );
    }

    let inner = layout.index(&[for_platform(riscv64, "linux/riscv64")]);
    layout.publish(&[layout.index(&[for_platform(arm64, "linux/arm64"), inner])]);
    let source = State::new().open(&layout.reference("")).unwrap();
    let error = source.resolve_listed(&listed(&layout)[1]).unwrap_err();
    assert!(
        matches!(
            &error,
            ImageError::Document {
                source: ManifestError::IndexInIndex,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn config_without_platform_takes_that_of_the_index() {
    let layout = TestLayout::new();
    let image = image_with_platform_fields(&layout, "a", &json!({}));
    let listed = for_platform(image.clone(), "linux/arm/v6");
    let index = layout.index(std::slice::from_ref(&listed));
    let server = Server::of(&layout, &index, |_, _| None);
    let references = |layout: &TestLayout| [layout.reference(":latest"), server.reference(":latest")];
    // Nested, and in index.json alone.
    for entry in [&index, &listed] {
        layout.publish(&[named(entry.clone(), "latest")]);
        for reference in references(&layout) {
            assert_image(&resolve(&reference, "arm/v7"), &image, "arm/v6");
            assert_no_image(resolve(&reference, "amd64"), "linux/arm/v6");
        }
    }
    let pinned = layout.reference(&format!("@{}", digest(&image)));
    assert_image(&resolve(&pinned, "arm/v7"), &image, "arm/v6");
    assert_no_image(resolve(&pinned, "amd64"), "linux/arm/v6");
}

/// In an index without platforms, the nearest platform of the configs wins. A config without a
/// platform comes last.
#[test]
fn index_entries_without_platform_resolve_to_the_nearest_config() {
    let layout = TestLayout::new();
    let without_platform = image_with_platform_fields(&layout, "a", &json!({}));
    let [x86, v2, amd64, arm64] =
        ["linux/386", "linux/amd64/v2", "linux/amd64", "linux/arm64"].map(|platform| image_for(&layout, platform));
    for (entries, architecture, expected) in [
        (
            vec![&without_platform, &arm64, &amd64],
            "amd64",
            Some((&amd64, "amd64")),
        ),
        (
            vec![&without_platform, &v2, &x86, &amd64],
            "amd64",
            Some((&amd64, "amd64")),
        ),
        (vec![&without_platform, &v2, &x86], "amd64", Some((&x86, "386"))),
        (vec![&without_platform, &v2], "amd64", Some((&v2, "amd64/v2"))),
        (vec![&amd64, &v2], "amd64/v2", Some((&v2, "amd64/v2"))),
        (
            vec![&without_platform, &arm64],
            "amd64",
            Some((&without_platform, "amd64")),
        ),
        (vec![&arm64, &v2], "386", None),
    ] {
        let entries: Vec<_> = entries.into_iter().cloned().collect();
        let index = layout.index(&entries);
        let server = Server::of(&layout, &index, |_, _| None);
        layout.publish(&[index]);
        for reference in [layout.reference(""), server.reference(":latest")] {
            let found = resolve(&reference, architecture);
            match expected {
                Some((image, platform)) => assert_image(&found, image, platform),
                None => assert_no_image(found, "linux/arm64, linux/amd64/v2"),
            }
        }
    }
}

#[test]
fn duplicate_tag_is_resolved_by_platform() {
    let layout = TestLayout::new();
    let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|platform| image_for(&layout, platform));
    let other = image_for(&layout, "linux/riscv64");
    let listed = |platforms: bool| {
        [("linux/arm64", &arm64), ("linux/amd64", &amd64)].map(|(platform, image)| {
            let image = named(image.clone(), "latest");
            if platforms {
                for_platform(image, platform)
            } else {
                image
            }
        })
    };
    let directory = tempfile::tempdir().unwrap();
    for with_platforms in [true, false] {
        let [first, second] = listed(with_platforms);
        layout.publish(&[first.clone(), named(other.clone(), "other"), second.clone()]);
        let packed = directory.path().join("packed.tar");
        let mut builder = tar::Builder::new(fs::File::create(&packed).unwrap());
        builder.append_dir_all(".", layout.path()).unwrap();
        builder.into_inner().unwrap();
        for reference in [
            layout.reference(":latest"),
            format!("oci-archive:{}:latest", packed.display()),
        ] {
            assert_image(&resolve(&reference, "amd64"), &amd64, "amd64");
            assert_image(&resolve(&reference, "arm64"), &arm64, "arm64");
            assert_no_image(resolve(&reference, "riscv64"), "linux/arm64, linux/amd64");
        }
        // Without a tag, the third image is a candidate as well.
        let several = resolve(&layout.reference(""), "amd64").unwrap_err();
        assert!(matches!(several, ImageError::Layout(LayoutError::Ambiguous { images }) if images.len() == 3));
        layout.publish(&[first, second]);
        assert_image(&resolve(&layout.reference(""), "arm64"), &arm64, "arm64");
    }
}

#[test]
fn duplicate_tag_for_one_platform_is_ambiguous() {
    let layout = TestLayout::new();
    let images = ["1", "2"].map(|name| layout.image("linux/amd64", &[name]));
    let without_platform = ["3", "4"].map(|name| image_with_platform_fields(&layout, name, &json!({})));
    for [one, two] in [images, without_platform] {
        for platform in [None, Some("linux/amd64")] {
            let entry = |image: &Value| {
                let image = named(image.clone(), "latest");
                platform.map_or(image.clone(), |platform| for_platform(image, platform))
            };
            layout.publish(&[entry(&one), entry(&two)]);
            let error = resolve(&layout.reference(":latest"), "amd64").unwrap_err();
            assert!(
                matches!(&error, ImageError::Layout(LayoutError::Ambiguous { images }) if images.len() == 2),
                "{error:?}"
            );
        }
    }
}

#[test]
fn docker_archive_tag_may_name_several_platforms() {
    let layout = TestLayout::new();
    let layer = tar("one", 100);
    let layers = [layout.blob(LAYER, layer.as_bytes())];
    let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|platform| config(platform, &layers).to_string());
    let image = |config: &str, tags: &[&str]| json!({"Config": config, "RepoTags": tags, "Layers": ["l.tar"]});
    let directory = tempfile::tempdir().unwrap();
    let saved = |images: &[Value]| {
        let manifest = json!(images).to_string();
        let members: [(&str, &[u8]); 4] = [
            ("l.tar", layer.as_bytes()),
            ("amd64.json", amd64.as_bytes()),
            ("arm64.json", arm64.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ];
        format!("docker-archive:{}", archive(&directory, &members).display())
    };
    let both = saved(&[image("amd64.json", &["app:1"]), image("arm64.json", &["app:1"])]);
    for reference in [both.clone(), format!("{both}:app:1")] {
        let found = resolve_each_listed(&reference);
        let found: Vec<_> = found.into_iter().map(|image| image.platform).collect();
        assert_eq!(found, [linux("amd64"), linux("arm64")]);
        for architecture in ["amd64", "arm64"] {
            let found = resolve(&reference, architecture).unwrap();
            assert_eq!(found.platform, linux(architecture));
            assert_eq!(found.config.architecture, architecture);
            let again = resolve(&found.resolved_ref, architecture).unwrap();
            assert_eq!(again.digest, found.digest);
        }
        assert_no_image(resolve(&reference, "riscv64"), "linux/amd64, linux/arm64");
    }
    for tags in [&["app:2"][..], &[]] {
        let reference = saved(&[image("amd64.json", tags), image("arm64.json", &["app:1"])]);
        let error = resolve(&reference, "amd64").unwrap_err();
        assert!(
            matches!(error, ImageError::DockerArchive(DockerArchiveError::Ambiguous { .. })),
            "{error:?}"
        );
    }
}

/// Builds for amd64. Returns standard error, and the platforms in the report and in the disk image.
fn build(reference: &str) -> (String, Value) {
    let builds = Builds::new();
    let mut command = builds.build(reference, "out");
    let command = command.args(["--allow-mutable", "--json"]).stdout(Stdio::piped());
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_microagent"));
    inspect.args(["--json", "rootfs", "inspect"]).arg(builds.output("out"));
    let inspected = inspect.output().unwrap().stdout;
    let inspected: Value = serde_json::from_slice(&inspected).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    (stderr, json!([report["platform"], inspected["provenance"]["platform"]]))
}

#[test]
fn amd64_v2_image_is_used_for_amd64_with_a_warning() {
    let layout = TestLayout::new();
    let v2 = image_for(&layout, "linux/amd64/v2");
    let platform = json!({"os": "linux", "architecture": "amd64", "variant": "v2"});
    for entry in [v2.clone(), layout.index(&[for_platform(v2, "linux/amd64/v2")])] {
        layout.publish(&[entry]);
        let (stderr, platforms) = build(&layout.reference(""));
        assert_eq!(platforms, json!([platform, "linux/amd64/v2"]));
        let warning = "warning: no image for linux/amd64 was found, so the one for linux/amd64/v2 is used";
        assert!(stderr.contains(warning), "{stderr}");
    }
    // Higher variants are not used, since many machines do not support them.
    for level in ["linux/amd64/v3", "linux/amd64/v4"] {
        layout.publish(&[image_for(&layout, level)]);
        assert_no_image(resolve(&layout.reference(""), "amd64"), level);
    }
}

#[test]
fn assumed_platform_is_reported() {
    let layout = TestLayout::new();
    let image = image_with_platform_fields(&layout, "a", &json!({}));
    let platform = json!({"os": "linux", "architecture": "amd64", "variant": null});
    for entry in [image.clone(), for_platform(image, "linux/amd64")] {
        layout.publish(&[entry]);
        let (stderr, platforms) = build(&layout.reference(""));
        assert_eq!(platforms, json!([platform, "linux/amd64"]));
        assert_eq!(stderr, "");
    }
}
