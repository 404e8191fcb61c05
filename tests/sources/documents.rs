//! Manifests, configs and indexes: unusual ones of real tools and registries, and invalid ones.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use layer::failure::Failure as _;
use oci::{Image, ImageError};
use serde_json::{Value, json};

use crate::sources::archives::archive;
use crate::sources::store::{Builds, tar};
use crate::sources::{chain, linux, resolve};
use support::layout::{CONFIG, LAYER, MANIFEST, TestLayout, config, digest, for_platform, manifest};
use support::server::{Reply, Server, stored_reply};

/// Creates an image for linux/amd64 with one layer, and with an edited config and manifest.
fn edited_image(layout: &TestLayout, edit_config: impl Fn(&mut Value), edit: impl Fn(&mut Value)) -> Value {
    let layers = [layout.blob(LAYER, tar("a", 10).as_bytes())];
    let mut config = config("linux/amd64", &layers);
    edit_config(&mut config);
    let config = layout.document(CONFIG, &config);
    let mut manifest = manifest(&config, &layers);
    edit(&mut manifest);
    layout.document(MANIFEST, &manifest)
}

/// Resolves an image in a layout and in a registry. Asserts that the results are equal.
#[track_caller]
fn pull(layout: &TestLayout, image: &Value) -> Result<Image, String> {
    layout.publish(std::slice::from_ref(image));
    let server = Server::of(layout, image, |_, _| None);
    let pull = |reference: &str| resolve(reference, "amd64").map_err(|error| chain(&error));
    let local = pull(&layout.reference(""));
    let remote = pull(&server.reference(":latest"));
    match (&local, &remote) {
        (Ok(local), Ok(remote)) => assert_eq!(local.digest, remote.digest),
        (Err(local), Err(remote)) => assert_eq!(local, remote),
        _ => panic!("{local:?}, but {remote:?}"),
    }
    remote
}

#[track_caller]
fn assert_pulled(layout: &TestLayout, image: &Value, case: &str) -> Image {
    pull(layout, image).unwrap_or_else(|error| panic!("{case}: {error}"))
}

#[track_caller]
fn assert_refused(layout: &TestLayout, image: &Value, reason: &str) {
    let error = pull(layout, image).unwrap_err();
    assert!(error.contains(reason), "{error}, not {reason}");
}

#[test]
fn generic_or_missing_media_types_are_accepted() {
    let layout = TestLayout::new();
    let generic = [
        Value::Null,
        "".into(),
        "application/octet-stream".into(),
        "application/json".into(),
        "text/html".into(),
        "text/plain; charset=utf-8".into(),
    ];
    for media_type in generic {
        for place in ["/config/mediaType", "/layers/0/mediaType"] {
            let image = edited_image(
                &layout,
                |_| (),
                |manifest| *manifest.pointer_mut(place).unwrap() = media_type.clone(),
            );
            assert_pulled(&layout, &image, &format!("{place}: {media_type}"));
        }
        let image = edited_image(&layout, |_| (), |manifest| manifest["mediaType"] = media_type.clone());
        assert_pulled(&layout, &image, &format!("mediaType: {media_type}"));
    }
    let image = edited_image(
        &layout,
        |_| (),
        |manifest| {
            for place in ["/config", "/layers/0"] {
                let descriptor = manifest.pointer_mut(place).unwrap();
                descriptor.as_object_mut().unwrap().remove("mediaType");
            }
        },
    );
    assert_pulled(&layout, &image, "no media type");
}

#[test]
fn content_type_header_of_a_manifest_is_ignored() {
    let layout = TestLayout::new();
    let image = edited_image(&layout, |_| (), |_| ());
    let index = layout.index(&[for_platform(image.clone(), "linux/amd64")]);
    for content_type in ["text/plain", "application/json; charset=utf-8", "binary/octet-stream"] {
        for entry in [&image, &index] {
            let (blobs, latest) = (layout.path().join("blobs/sha256"), digest(entry).to_owned());
            let server = Server::start(move |request, _| match stored_reply(&blobs, &latest, request) {
                Reply::Answer { status, body, .. } => Reply::Answer {
                    status,
                    headers: vec![("Content-Type", content_type.to_owned())],
                    body,
                },
                other => other,
            });
            let found = resolve(&server.reference(":latest"), "amd64").unwrap();
            assert_eq!(found.digest.to_string(), digest(&image), "{content_type}");
        }
    }
}

#[test]
fn artifacts_are_not_container_images() {
    let layout = TestLayout::new();
    let artifact = |config_type: &str, config: &[u8], layer_type: &str| {
        let config = layout.blob(config_type, config);
        let layers = [layout.blob(layer_type, b"content")];
        layout.document(MANIFEST, &manifest(&config, &layers))
    };
    let no_layers = br#"{"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}"#;
    let plugin = br#"{"description": "a plugin", "rootfs": {"type": "layers", "diff_ids": []}}"#;
    for (config_type, config, layer_type) in [
        (
            "application/vnd.cncf.helm.config.v1+json",
            &br#"{"name": "chart", "version": "1.0.0"}"#[..],
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        ),
        ("application/vnd.oci.empty.v1+json", b"{}", LAYER),
        (CONFIG, no_layers, "application/vnd.dev.cosign.simplesigning.v1+json"),
        (CONFIG, no_layers, "application/vnd.in-toto+json"),
        (
            "application/vnd.wasm.config.v0+json",
            br#"{"architecture": "wasm", "os": "wasip1", "layerDigests": []}"#,
            "application/wasm",
        ),
        ("application/wasm", b"\0asm", "application/octet-stream"),
        ("application/spdx+json", br#"{"spdxVersion": "SPDX-2.3"}"#, ""),
        ("", b"{}", ""),
        ("application/octet-stream", b"[]", ""),
        ("application/vnd.docker.plugin.v1+json", plugin, LAYER),
    ] {
        let artifact = artifact(config_type, config, layer_type);
        assert_refused(&layout, &artifact, "not a container image");
        // In an index, an artifact without a platform is ignored.
        let image = edited_image(&layout, |_| (), |_| ());
        let index = layout.index(&[artifact, image.clone()]);
        let found = assert_pulled(&layout, &index, config_type);
        assert_eq!(found.digest.to_string(), digest(&image));
    }
}

#[test]
fn optional_fields_may_be_null() {
    let layout = TestLayout::new();
    let image = edited_image(
        &layout,
        |config| {
            for key in ["os", "architecture", "variant", "created", "author", "history"] {
                config[key] = Value::Null;
            }
            for key in [
                "User",
                "Cmd",
                "Entrypoint",
                "Labels",
                "ExposedPorts",
                "Volumes",
                "WorkingDir",
            ] {
                config["config"][key] = Value::Null;
            }
            config["config"]["Env"] = json!([null, "A=b"]);
            config["config"]["Labels"] = json!({"a": null});
        },
        |manifest| {
            manifest["annotations"] = json!({"a": null});
            manifest["subject"] = Value::Null;
            for place in ["/config", "/layers/0"] {
                let descriptor = manifest.pointer_mut(place).unwrap();
                descriptor["urls"] = Value::Null;
                descriptor["annotations"] = json!({"a": null});
            }
        },
    );
    let found = assert_pulled(&layout, &image, "null");
    assert_eq!(found.platform, linux("amd64"));
    assert_eq!(found.config.execution.env, ["A=b"]);
}

#[test]
fn unused_fields_may_have_any_value() {
    let layout = TestLayout::new();
    for value in [
        json!(5),
        json!(-1.5),
        json!("x"),
        json!([[1]]),
        json!({"a": [{}]}),
        json!(true),
    ] {
        let image = edited_image(
            &layout,
            |config| {
                config["author"] = value.clone();
                config["config"]["Healthcheck"] = value.clone();
            },
            |manifest| {
                manifest["unknown"] = value.clone();
                manifest["layers"][0]["urls"] = value.clone();
            },
        );
        assert_pulled(&layout, &image, &value.to_string());
    }
    let image = edited_image(
        &layout,
        |config| {
            config["created"] = json!(1_700_000_000);
            config["config"]["Entrypoint"] = "/bin/app".into();
            config["config"]["Cmd"] = "serve".into();
            config["rootfs"].as_object_mut().unwrap().remove("type");
        },
        |manifest| drop(manifest.as_object_mut().unwrap().remove("schemaVersion")),
    );
    let execution = assert_pulled(&layout, &image, "unusual fields").config.execution;
    assert_eq!(
        [execution.entrypoint, execution.cmd],
        [vec!["/bin/app".to_owned()], vec!["serve".to_owned()]]
    );
}

/// serde's derived code would accept a list of the fields' values in place of an object.
#[test]
fn a_list_in_place_of_an_object_is_refused() {
    let layout = TestLayout::new();
    for (in_config, place, reason) in [
        (false, "", "the document is a list, not an object"),
        (false, "/config", "config is a list, not an object"),
        (false, "/layers/0", "layers[0] is a list, not an object"),
        (false, "/annotations", "annotations is a list, not an object"),
        (true, "", "the document is a list, not an object"),
        (true, "/config", "config is a list, not an object"),
        (true, "/config/Labels", "config.Labels is a list, not an object"),
        (true, "/rootfs", "rootfs is a list, not an object"),
        (true, "/history/0", "history[0] is a list, not an object"),
    ] {
        let replace_by_list = |document: &mut Value, is_target: bool| {
            document["annotations"] = json!({"a": "b"});
            if is_target {
                let object = document.pointer_mut(place).unwrap();
                *object = object.as_object().unwrap().values().cloned().collect();
            }
        };
        let image = edited_image(
            &layout,
            |config| {
                config["config"]["Labels"] = json!({"a": "b"});
                config["history"] = json!([{"created_by": "RUN"}]);
                replace_by_list(config, in_config);
            },
            |manifest| replace_by_list(manifest, !in_config),
        );
        assert_refused(&layout, &image, reason);
    }

    let good = edited_image(&layout, |_| (), |_| ());
    let index_of = |entry: Value| layout.index(&[entry]);
    assert_refused(
        &layout,
        &index_of(json!([MANIFEST, digest(&good), good["size"]])),
        "manifests[0] is a list, not an object",
    );
    let mut platform = good.clone();
    platform["platform"] = json!(["linux", "amd64"]);
    assert_refused(
        &layout,
        &index_of(platform),
        "manifests[0].platform is a list, not an object",
    );

    fs::write(layout.path().join("oci-layout"), r#"["1.0.0"]"#).unwrap();
    let error = chain(&resolve(&layout.reference(""), "amd64").unwrap_err());
    assert!(error.contains("the document is a list, not an object"), "{error}");

    let directory = tempfile::tempdir().unwrap();
    let saved = archive(&directory, &[("manifest.json", br#"[["config.json", [], []]]"#)]);
    let error = resolve(&format!("docker-archive:{}", saved.display()), "amd64").unwrap_err();
    assert!(chain(&error).contains("[0] is a list, not an object"), "{error:?}");
}

/// Returns invalid entries of an index, each with a part of the error.
fn invalid_entries(image: &Value) -> Vec<(Value, &'static str)> {
    let with = |key: &str, value: Value| {
        let mut entry = image.clone();
        entry[key] = value;
        entry
    };
    vec![
        (json!(5), "is a number, not an object"),
        (json!("x"), "is a string, not an object"),
        (json!([]), "is a list, not an object"),
        (json!({}), "digest is missing"),
        (with("digest", "md5:00".into()), "\"md5\" is not supported"),
        (with("digest", "".into()), "is not a digest"),
        (with("digest", json!({})), "digest is an object, not a string"),
        (with("size", Value::Null), "size is missing"),
        (with("size", (-1).into()), "size is -1"),
        (with("size", "7".into()), "size is a string, not a number"),
        (with("annotations", json!([])), "annotations is a list, not an object"),
        (
            with("platform", json!({"os": "a b", "architecture": "c"})),
            "operating system",
        ),
        (
            with("platform", json!("linux/amd64")),
            "platform is a string, not an object",
        ),
    ]
}

#[test]
fn invalid_index_entry_fails_only_if_it_is_selected() {
    let layout = TestLayout::new();
    let image = edited_image(&layout, |_| (), |_| ());
    let good = for_platform(image.clone(), "linux/amd64");
    for (invalid, reason) in invalid_entries(&image) {
        for order in [[&invalid, &good], [&good, &invalid]] {
            let index = layout.index(&order.map(Clone::clone));
            let found = assert_pulled(&layout, &index, reason);
            assert_eq!(found.digest.to_string(), digest(&image), "{reason}");
        }
        assert_refused(&layout, &layout.index(std::slice::from_ref(&invalid)), reason);
        // In index.json.
        layout.publish(&[invalid.clone(), good.clone()]);
        let found = resolve(&layout.reference(""), "amd64").unwrap();
        assert_eq!(found.digest.to_string(), digest(&image), "{reason}");

        // An invalid entry for the platform is an error, even if another entry is for a similar
        // platform.
        if invalid.is_object() && invalid["platform"].is_null() {
            let near = for_platform(layout.image("linux/386", &["near"]), "linux/386");
            let needed = layout.index(&[near, for_platform(invalid.clone(), "linux/amd64")]);
            assert_refused(&layout, &needed, reason);
            let other = layout.index(&[for_platform(invalid, "linux/arm64"), good.clone()]);
            assert_pulled(&layout, &other, reason);
        }
    }
    for names in [
        json!({}),
        json!({"os": ""}),
        json!({"os": "", "architecture": ""}),
        json!({"os": "windows"}),
    ] {
        let mut unnamed = layout.image("windows/amd64", &["unnamed"]);
        unnamed["platform"] = names;
        let index = layout.index(&[unnamed, good.clone()]);
        assert_eq!(
            assert_pulled(&layout, &index, "names").digest.to_string(),
            digest(&image)
        );
    }
}

#[test]
fn a_config_that_contradicts_its_index_gets_a_warning() {
    let layout = TestLayout::new();
    let image = edited_image(&layout, |config| config["architecture"] = "arm64".into(), |_| ());
    let index = layout.index(&[for_platform(image.clone(), "linux/amd64")]);
    let server = Server::of(&layout, &index, |_, _| None);
    layout.publish(std::slice::from_ref(&index));
    for reference in [layout.reference(""), server.reference(":latest")] {
        let (stderr, report) = build(&reference);
        let expected = "warning: the index lists this image for linux/amd64, but its config is for linux/arm64: it is \
                        used as an image for linux/amd64\n";
        assert_eq!(stderr, expected);
        assert_eq!(report["platform"]["architecture"], "amd64");
        assert_eq!(report["config_platform"], "linux/arm64");
    }
    // Without an index, only the config names the platform.
    layout.publish(&[image]);
    let error = resolve(&layout.reference(""), "amd64").unwrap_err();
    assert_eq!(chain(&error), "no image for linux/amd64; available: linux/arm64");
    assert_eq!(
        error.hint().unwrap().to_string(),
        "if you want that one, use linux/arm64"
    );
    let found = resolve(&layout.reference(""), "arm64").unwrap();
    assert_eq!(found.config_platform, None);
}

/// Builds for amd64. Returns standard error, and the report.
fn build(reference: &str) -> (String, Value) {
    let builds = Builds::new();
    let mut command = builds.build(reference, "out");
    command.args(["--allow-mutable", "--json"]);
    let output = command.stdout(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    (stderr, serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn absent_media_type_causes_no_warning() {
    let layout = TestLayout::new();
    let directory = tempfile::tempdir().unwrap();
    let layer = tar("a", 10);
    let config = config("linux/amd64", &[layout.blob(LAYER, layer.as_bytes())]).to_string();
    let gzipped = support::single_image::gzip(layer.as_bytes());
    for blob in [layer.as_bytes(), &gzipped] {
        let members = [
            ("l.tar", blob),
            ("c.json", config.as_bytes()),
            (
                "manifest.json",
                br#"[{"Config": "c.json", "RepoTags": null, "Layers": ["l.tar"]}]"#,
            ),
        ];
        let saved = archive(&directory, &members);
        let plain = directory.path().join("layer");
        fs::write(&plain, blob).unwrap();
        for reference in [
            format!("docker-archive:{}", saved.display()),
            format!("tar:{}", plain.display()),
        ] {
            assert_eq!(build(&reference).0, "", "{reference}");
        }
        // A generic media type causes no warning either.
        for media_type in ["", "application/octet-stream"] {
            let described = [layout.blob(media_type, blob)];
            let config = layout.blob("", config.as_bytes());
            layout.publish(&[layout.document(MANIFEST, &manifest(&config, &described))]);
            assert_eq!(build(&layout.reference("")).0, "", "{media_type}");
        }
    }
}

#[test]
fn xz_archive_and_xz_layer_have_different_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar.xz");
    let whole =
        |path: &Path, transport: &str| resolve(&format!("{transport}:{}", path.display()), "amd64").unwrap_err();
    for (magic, name) in [(&b"\xfd7zXZ\0\0\x04"[..], "xz"), (b"BZh91AY&SY\x01\x02", "bzip2")] {
        fs::write(&path, magic).unwrap();
        for transport in ["oci-archive", "docker-archive", "tar"] {
            let error = whole(&path, transport);
            assert_eq!(
                chain(&error),
                format!(
                    "could not decompress the archive {}: it is compressed with {name}: only gzip and zstd are supported",
                    path.display()
                )
            );
            assert_eq!(
                error.hint().unwrap().to_string(),
                "decompress the archive first, or compress it with gzip or zstd"
            );
        }
    }
    let layout = TestLayout::new();
    let config = config("linux/amd64", &[layout.blob(LAYER, b"")]).to_string();
    let members: [(&str, &[u8]); 3] = [
        ("l.tar", b"\xfd7zXZ\0\0\x04"),
        ("c.json", config.as_bytes()),
        ("manifest.json", br#"[{"Config": "c.json", "Layers": ["l.tar"]}]"#),
    ];
    let error: ImageError = whole(&archive(&directory, &members), "docker-archive");
    assert!(
        chain(&error).starts_with("could not decompress the layer "),
        "{error:?}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("with layers in gzip or zstd")
    );
}
