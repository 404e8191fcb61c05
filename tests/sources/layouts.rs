//! Image layout directories: how an image in one is found, and errors of invalid layouts.

use std::fs;

use oci::{DigestError, FileError, Image, ImageError, LayoutError, ManifestError};
use serde_json::{Value, json};

use crate::sources::{State, chain, linux, read, resolve};
use support::layout::{CONFIG, INDEX, LAYER, MANIFEST, TestLayout, config, digest, for_platform, manifest, named};

/// Writes `entries` to `index.json`, and resolves the layout for linux/amd64.
fn resolve_entries(layout: &TestLayout, entries: &[Value]) -> Result<Image, ImageError> {
    layout.publish(entries);
    resolve(&layout.reference(""), "amd64")
}

fn document_error(result: Result<Image, ImageError>) -> ManifestError {
    match result {
        Err(ImageError::Document { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn layout_error(result: Result<Image, ImageError>) -> LayoutError {
    match result {
        Err(ImageError::Layout(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Creates an index with an image for each platform, and returns it with the images' digests.
fn index_for(layout: &TestLayout, platforms: &[&str]) -> (Value, Vec<String>) {
    let image = |platform: &&str| for_platform(layout.image(platform, &[platform]), platform);
    let images: Vec<_> = platforms.iter().map(image).collect();
    let digests = images.iter().map(|image| digest(image).to_owned()).collect();
    (layout.index(&images), digests)
}

#[test]
fn an_image_comes_with_its_config_and_its_layers_in_order() {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &["lower", "upper"]);
    layout.publish(&[named(image.clone(), "latest")]);
    let source = State::new().open(&layout.reference(":latest")).unwrap();
    let found = source.resolve(&linux("x86_64")).unwrap();
    assert_eq!(found.digest.to_string(), digest(&image));
    assert_eq!(found.resolved_ref, layout.reference(&format!("@{}", digest(&image))));
    assert_eq!(found.platform, linux("amd64"));
    assert_eq!(found.config.execution.env, ["A=b"]);
    assert_eq!(read(&source, &found.layers[0]).unwrap(), b"lower");
    assert_eq!(read(&source, &found.layers[1]).unwrap(), b"upper");
    assert_eq!(found.layers[1].diff_id, found.layers[1].digest);
    assert_eq!(found.layers[1].media_type, LAYER);

    let again = resolve(&found.resolved_ref, "amd64").unwrap();
    assert_eq!(again.digest, found.digest);
    assert_eq!(again.resolved_ref, found.resolved_ref);
}

#[test]
fn docker_media_types_are_accepted() {
    let layout = TestLayout::new();
    let layers = [layout.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", b"layer")];
    let config = config("linux/amd64", &layers);
    let config = layout.document("application/vnd.docker.container.image.v1+json", &config);
    let mut manifest = manifest(&config, &layers);
    manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
    let image = layout.document("application/vnd.docker.distribution.manifest.v2+json", &manifest);
    let list = json!({"schemaVersion": 2, "manifests": [for_platform(image.clone(), "linux/amd64")]});
    let list = layout.document("application/vnd.docker.distribution.manifest.list.v2+json", &list);
    assert_eq!(
        resolve_entries(&layout, &[list]).unwrap().digest.to_string(),
        digest(&image)
    );
}

#[test]
fn index_resolves_to_the_nearest_platform_then_the_first() {
    let layout = TestLayout::new();
    let platforms = [
        "linux/arm/v6",
        "linux/arm64/v8",
        "linux/amd64",
        "linux/amd64/v1",
        "linux/arm/v7",
        "linux/amd64/v2",
    ];
    let (index, digests) = index_for(&layout, &platforms);
    layout.publish(&[index]);
    for (wanted, nr) in [
        ("amd64", 2),
        ("amd64/v2", 5),
        ("amd64/v3", 5),
        ("arm64", 1),
        ("arm", 4),
        ("arm/v7", 4),
        ("arm/v6", 0),
        ("arm/v8", 4),
    ] {
        let found = resolve(&layout.reference(""), wanted).unwrap();
        assert_eq!(found.digest.to_string(), digests[nr], "{wanted}");
    }
    for wanted in ["arm/v5", "386", "riscv64", "arm64be"] {
        let error = resolve(&layout.reference(""), wanted).unwrap_err();
        let ImageError::NoPlatform { available, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(available.len(), 5, "linux/amd64/v1 is linux/amd64");
        let shown = chain(&error);
        let listed = "available: linux/arm/v6, linux/arm64, linux/amd64, linux/arm/v7, linux/amd64/v2";
        assert!(
            shown.contains(&linux(wanted).to_string()) && shown.ends_with(listed),
            "{shown}"
        );
    }
}

#[test]
fn attestations_are_not_images() {
    let layout = TestLayout::new();
    let attestation = |content: &str| layout.image("unknown/unknown", &[content]);
    let mut annotated = for_platform(attestation("sbom"), "linux/amd64");
    annotated["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let image = for_platform(layout.image("linux/amd64", &["image"]), "linux/amd64");
    let entries = [
        annotated,
        for_platform(attestation("provenance"), "unknown/unknown"),
        image.clone(),
    ];
    let index = layout.index(&entries);
    assert_eq!(
        resolve_entries(&layout, &[index]).unwrap().digest.to_string(),
        digest(&image)
    );

    let only_attestations = layout.index(&entries[..2]);
    let refused = resolve_entries(&layout, &[only_attestations]).unwrap_err();
    assert!(
        matches!(&refused, ImageError::NoPlatform { available, .. } if available.is_empty()),
        "{refused:?}"
    );
}

#[test]
fn image_without_an_index_must_match_the_platform() {
    let layout = TestLayout::new();
    let image = layout.image("linux/arm64", &[]);
    let refused = resolve_entries(&layout, &[image]).unwrap_err();
    assert_eq!(chain(&refused), "no image for linux/amd64; available: linux/arm64");
    assert!(resolve(&layout.reference(""), "arm64/v8").unwrap().layers.is_empty());
}

/// `config_platform` reports another platform in the config.
#[test]
fn index_platform_overrides_that_of_the_config() {
    let layout = TestLayout::new();
    for (listed, configured, reported) in [
        ("linux/amd64", "linux/arm64", Some("linux/arm64")),
        ("linux/amd64", "windows/amd64", Some("windows/amd64")),
        ("linux/amd64", "linux/amd64/v3", Some("linux/amd64/v3")),
        ("linux/amd64", "Linux/x86_64/v1", None),
        ("linux/arm/v6", "linux/arm", None),
        ("linux/arm/v6", "linux/arm/v7", Some("linux/arm/v7")),
    ] {
        let image = for_platform(layout.image(configured, &[]), listed);
        let wanted = listed.strip_prefix("linux/").unwrap();
        // In an index, and in index.json alone.
        for entry in [layout.index(std::slice::from_ref(&image)), image] {
            layout.publish(&[entry]);
            let found = resolve(&layout.reference(""), wanted).unwrap();
            assert_eq!(found.platform, linux(wanted));
            assert_eq!(found.config_platform.as_deref(), reported);
        }
    }
}

#[test]
fn nested_indexes_are_followed_within_limits() {
    let layout = TestLayout::new();
    let (arm, _) = index_for(&layout, &["linux/arm64"]);
    let (amd, digests) = index_for(&layout, &["linux/amd64"]);
    let nested = layout.index(&[arm, amd]);
    assert_eq!(
        resolve_entries(&layout, std::slice::from_ref(&nested))
            .unwrap()
            .digest
            .to_string(),
        digests[0]
    );
    let refused = resolve(&layout.reference(""), "386").unwrap_err();
    assert_eq!(
        chain(&refused),
        "no image for linux/386; available: linux/arm64, linux/amd64"
    );

    let deep = (0..5).fold(nested, |index, _| layout.index(&[index]));
    assert!(matches!(
        document_error(resolve_entries(&layout, &[deep])),
        ManifestError::TooDeep { .. }
    ));

    let empty = layout.index(&[]);
    let wide = (0..3).fold(empty, |index, _| layout.index(&vec![index; 20]));
    assert!(matches!(
        document_error(resolve_entries(&layout, &[wide])),
        ManifestError::TooManyDocuments { .. }
    ));
}

#[test]
fn index_entry_without_platform_takes_that_of_its_config() {
    let layout = TestLayout::new();
    let artifact = manifest(&layout.blob("application/vnd.example.config", b"{}"), &[]);
    let artifact = layout.document(MANIFEST, &artifact);
    let entries = [
        artifact.clone(),
        layout.image("linux/arm64", &["a"]),
        layout.image("linux/amd64", &["b"]),
    ];
    let index = layout.index(&entries);
    assert_eq!(
        resolve_entries(&layout, &[index]).unwrap().digest.to_string(),
        digest(&entries[2])
    );

    let refused = document_error(resolve_entries(&layout, &[artifact]));
    assert!(
        matches!(refused, ManifestError::NotAnImage { media_type } if media_type == "application/vnd.example.config")
    );
}

#[test]
fn ambiguous_layout_needs_a_tag_or_digest() {
    let layout = TestLayout::new();
    let (one, two) = (layout.image("linux/amd64", &["1"]), layout.image("linux/amd64", &["2"]));
    layout.publish(&[
        named(one.clone(), "v1"),
        named(two.clone(), "v2"),
        named(one.clone(), "stable"),
    ]);
    let found = |version: &str| resolve(&layout.reference(version), "amd64");
    assert_eq!(found(":v1").unwrap().digest.to_string(), digest(&one));
    assert_eq!(found(":v2").unwrap().digest.to_string(), digest(&two));
    assert_eq!(
        found(&format!("@{}", digest(&two))).unwrap().digest.to_string(),
        digest(&two)
    );
    let LayoutError::Ambiguous { images } = layout_error(found("")) else {
        panic!("not ambiguous")
    };
    assert_eq!(images.len(), 3);
    assert!(
        images[1].contains("v2") && images[1].contains(digest(&two)),
        "{images:?}"
    );
    let missing = found(":v3").unwrap_err();
    assert_eq!(chain(&missing), "no image is tagged \"v3\"; available: v1, v2, stable");

    layout.publish(&[named(one.clone(), "v1"), named(one.clone(), "stable")]);
    assert_eq!(
        found("").unwrap().digest.to_string(),
        digest(&one),
        "two names of one image"
    );
    layout.publish(&[]);
    assert!(matches!(layout_error(found("")), LayoutError::Empty));
}

#[test]
fn missing_or_corrupt_blob_is_named() {
    let layout = TestLayout::new();
    let layers = [layout.blob(LAYER, b"layer")];
    let config = layout.document(CONFIG, &config("linux/amd64", &layers));
    let image = layout.document(MANIFEST, &manifest(&config, &layers));
    layout.publish(std::slice::from_ref(&image));
    let source = State::new().open(&layout.reference("")).unwrap();
    let layer = source.resolve(&linux("amd64")).unwrap().layers.remove(0);

    fs::write(layout.blob_path(&layers[0]), b"laye").unwrap();
    let short = source.blob(&layer).unwrap_err();
    assert!(
        matches!(&short, ImageError::Content { digest, source: DigestError::SizeMismatch { expected: 5, actual: 4 } }
        if *digest == layer.digest)
    );
    fs::remove_file(layout.blob_path(&layers[0])).unwrap();
    let missing = chain(&source.blob(&layer).unwrap_err());
    let path = layout.blob_path(&layers[0]).display().to_string();
    assert!(
        missing.contains(&layer.digest.to_string()) && missing.contains(&path),
        "{missing}"
    );

    for descriptor in [&config, &image] {
        let path = layout.blob_path(descriptor);
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, good.replace("layers", "lavers")).unwrap();
        let error = source.resolve(&linux("amd64")).unwrap_err();
        assert!(
            matches!(&error, ImageError::Content { digest: named, source: DigestError::DigestMismatch { .. } }
            if named.to_string() == digest(descriptor)),
            "{error:?}"
        );
        fs::write(&path, good.clone() + " ").unwrap();
        let error = source.resolve(&linux("amd64")).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::Content {
                    source: DigestError::SizeMismatch { .. },
                    ..
                }
            ),
            "{error:?}"
        );
        fs::remove_file(&path).unwrap();
        let error = source.resolve(&linux("amd64")).unwrap_err();
        assert!(
            matches!(error, ImageError::Layout(LayoutError::MissingBlob { .. })),
            "{error:?}"
        );
        fs::write(&path, good).unwrap();
    }
    source.resolve(&linux("amd64")).unwrap();
}

#[test]
fn unusable_documents_are_refused_with_the_cause() {
    let layout = TestLayout::new();
    let layers = [layout.blob(LAYER, b"layer")];
    let config = layout.document(CONFIG, &config("linux/amd64", &layers));

    let counts = layout.document(MANIFEST, &manifest(&config, &[]));
    assert!(matches!(
        document_error(resolve_entries(&layout, &[counts])),
        ManifestError::LayerCount { layers: 0, diff_ids: 1 }
    ));
    let schema1 = layout.document("", &json!({"schemaVersion": 1, "fsLayers": []}));
    let advice = chain(&resolve_entries(&layout, &[schema1]).unwrap_err());
    assert!(advice.contains("push the image again"), "{advice}");
    let mut large = layout.image("linux/amd64", &[]);
    large["size"] = (5 << 20).into();
    assert!(matches!(
        document_error(resolve_entries(&layout, &[large])),
        ManifestError::TooLarge { len: 5_242_880 }
    ));
    let no_json = layout.blob(INDEX, b"not JSON");
    assert!(matches!(
        document_error(resolve_entries(&layout, &[no_json])),
        ManifestError::Json(_)
    ));
    let mut bad_digest = layout.image("linux/amd64", &[]);
    bad_digest["digest"] = "sha256:../../../etc/passwd".into();
    assert!(matches!(
        document_error(resolve_entries(&layout, &[bad_digest])),
        ManifestError::Json(_)
    ));
}

#[test]
fn directory_that_is_not_a_layout_is_refused() {
    let layout = TestLayout::new();
    let error = |result: Result<_, ImageError>| match result {
        Err(ImageError::Layout(error)) => error,
        other => panic!("{:?}", other.err()),
    };
    let open = || State::new().open(&layout.reference("")).map(drop);

    fs::write(layout.path().join("index.json"), " ".repeat((4 << 20) + 1)).unwrap();
    assert!(matches!(
        document_error(resolve(&layout.reference(""), "amd64")),
        ManifestError::TooLarge { .. }
    ));
    fs::remove_file(layout.path().join("index.json")).unwrap();
    assert!(matches!(
        resolve(&layout.reference(""), "amd64"),
        Err(ImageError::File(FileError::Read { .. }))
    ));
    fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion": "2.0.0"}"#).unwrap();
    assert!(matches!(error(open()), LayoutError::Version { version } if version == "2.0.0"));
    fs::remove_file(layout.path().join("oci-layout")).unwrap();
    assert!(matches!(error(open()), LayoutError::NoLayout { directory } if directory == layout.path()));
    let file = State::new().open(&format!("oci:{}", layout.path().join("index.json").display()));
    assert!(matches!(error(file.map(drop)), LayoutError::NoLayout { .. }));
    fs::create_dir(layout.path().join("oci-layout")).unwrap();
    assert!(matches!(open(), Err(ImageError::File(FileError::NotAFile { .. }))));
}

#[cfg(unix)]
#[test]
fn fifo_in_place_of_a_blob_does_not_hang() {
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &[]);
    fs::remove_file(layout.blob_path(&image)).unwrap();
    let status = std::process::Command::new("mkfifo")
        .arg(layout.blob_path(&image))
        .status()
        .unwrap();
    assert!(status.success());
    assert!(matches!(
        resolve_entries(&layout, &[image]),
        Err(ImageError::File(FileError::NotAFile { .. }))
    ));
}

#[test]
fn layer_sizes_near_u64_max_do_not_overflow() {
    let layout = TestLayout::new();
    let mut layer = layout.blob(LAYER, b"small");
    layer["size"] = u64::MAX.into();
    let config = layout.document(CONFIG, &config("linux/amd64", &[layer.clone(), layer.clone()]));
    let image = layout.document(MANIFEST, &manifest(&config, &[layer.clone(), layer]));
    let directory = tempfile::tempdir().unwrap();
    let reference = layout.reference(&format!("@{}", digest(&image)));
    let mut build = crate::sources::rootfs_build(
        &reference,
        &directory.path().join("out"),
        &directory.path().join("state"),
    );
    let output = build.args(["--progress", "plain"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("5 bytes instead of 18446744073709551615"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
