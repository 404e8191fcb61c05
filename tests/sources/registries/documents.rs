//! Unusual manifests, indexes and configs.

use serde_json::{Value, json};

use super::{Expected, NotAnImage, Pulled, Variant, check};
use crate::sources::faults::CONTENT;
use support::layout::{CONFIG, INDEX, LAYER, MANIFEST, TestLayout, config, for_platform, manifest};

/// Starts a registry of an image with an edited config and manifest, and with a media type for the
/// config.
fn image(
    name: impl Into<String>,
    expected: Expected,
    config_type: &str,
    edit_config: impl Fn(&mut Value),
    edit_manifest: impl Fn(&mut Value),
) -> Variant {
    let layout = TestLayout::new();
    let image = edited_image(&layout, config_type, edit_config, edit_manifest);
    Variant::of(name, expected, layout, &image, |_, _| None)
}

/// Creates an image with an edited config and manifest.
fn edited_image(
    layout: &TestLayout,
    config_type: &str,
    edit_config: impl Fn(&mut Value),
    edit_manifest: impl Fn(&mut Value),
) -> Value {
    let layer = layout.blob(LAYER, CONTENT.as_bytes());
    let mut config = config("linux/amd64", std::slice::from_ref(&layer));
    edit_config(&mut config);
    let config = layout.document(config_type, &config);
    let mut manifest = manifest(&config, &[layer]);
    edit_manifest(&mut manifest);
    layout.document(MANIFEST, &manifest)
}

/// Starts a registry of an index with a good image for linux/amd64 between two other entries.
fn index(name: &str, before: &Value, after: &Value) -> Variant {
    let layout = TestLayout::new();
    let image = edited_image(&layout, CONFIG, |_| {}, |_| {});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [before, for_platform(image, "linux/amd64"), after],
    });
    let index = layout.document(INDEX, &index);
    Variant::of(name, Pulled, layout, &index, |_, _| None)
}

#[test]
fn generic_media_types_are_pulled() {
    let mut variants = Vec::new();
    for media_type in [
        "application/octet-stream",
        "text/html",
        "application/json",
        "text/plain; charset=utf-8",
        "",
    ] {
        variants.push(image(
            format!("config of type {media_type:?}"),
            Pulled,
            media_type,
            |_| {},
            |_| {},
        ));
    }
    let manifest = |name, edit: fn(&mut Value)| image(name, Pulled, CONFIG, |_| {}, edit);
    variants.push(manifest("config without a media type", |manifest| {
        drop(manifest["config"].as_object_mut().unwrap().remove("mediaType"));
    }));
    variants.push(manifest("layer without a media type", |manifest| {
        drop(manifest["layers"][0].as_object_mut().unwrap().remove("mediaType"));
    }));
    variants.push(manifest("layer with an empty media type", |manifest| {
        manifest["layers"][0]["mediaType"] = "".into();
    }));
    variants.push(manifest("annotations and urls that are null", |manifest| {
        manifest["annotations"] = Value::Null;
        manifest["layers"][0]["annotations"] = json!({"a": null});
        manifest["layers"][0]["urls"] = Value::Null;
    }));
    let artifact = "application/vnd.cncf.helm.config.v1+json";
    let refused = NotAnImage("not a container image");
    variants.push(image(
        "a Helm chart",
        refused,
        artifact,
        |config| *config = json!({"name": "chart"}),
        |_| {},
    ));
    check(&variants);
}

#[test]
fn unusual_configs_are_pulled() {
    let config = |name, edit: fn(&mut Value)| image(name, Pulled, CONFIG, edit, |_| {});
    check(&[
        config("without os and architecture", |config| {
            config.as_object_mut().unwrap().remove("os");
            config.as_object_mut().unwrap().remove("architecture");
        }),
        config("empty os and architecture", |config| {
            config["os"] = "".into();
            config["architecture"] = "".into();
        }),
        config("Entrypoint and Cmd as strings", |config| {
            config["config"]["Entrypoint"] = "/bin/sh".into();
            config["config"]["Cmd"] = "-l".into();
        }),
        config("null in optional fields", |config| {
            config["config"] = json!({"Env": null, "Labels": null, "Cmd": null, "ExposedPorts": null, "Volumes": null});
            config["history"] = Value::Null;
            config["variant"] = Value::Null;
        }),
        config("a number as created", |config| config["created"] = 1_700_000_000.into()),
        config("unknown fields", |config| {
            config["config"]["Healthcheck"] = json!({"Test": "x", "Interval": "soon"});
            config["moby.buildkit.cache.v0"] = json!([1]);
        }),
    ]);
}

#[test]
fn lists_in_place_of_objects_are_refused() {
    let list = |name, edit_config: fn(&mut Value), edit_manifest: fn(&mut Value)| {
        image(name, NotAnImage(""), CONFIG, edit_config, edit_manifest)
    };
    check(&[
        list(
            "a config that is a list",
            |config| *config = json!(["amd64", "linux"]),
            |_| {},
        ),
        list(
            "a config's config that is a list",
            |config| config["config"] = json!([null, ["/bin/sh"]]),
            |_| {},
        ),
        list(
            "a descriptor that is a list",
            |_| {},
            |manifest| {
                let config = manifest["config"].clone();
                manifest["config"] = json!([config["mediaType"], config["digest"], config["size"]]);
            },
        ),
        list(
            "a manifest that is a list",
            |_| {},
            |manifest| *manifest = json!([2, manifest.clone()]),
        ),
    ]);
}

#[test]
fn invalid_entries_for_other_platforms_are_ignored() {
    let platform = json!({"os": "linux", "architecture": "s390x"});
    let zeros = format!("sha256:{}", "0".repeat(64));
    check(&[
        index(
            "an unknown digest algorithm",
            &json!({"mediaType": MANIFEST, "digest": "crc32:00000000", "size": 1, "platform": platform}),
            &json!({"mediaType": MANIFEST, "digest": "blake3:00", "size": 1, "platform": platform}),
        ),
        index(
            "an attestation",
            &json!({"mediaType": MANIFEST, "digest": zeros, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
                "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}),
            &json!({"mediaType": MANIFEST, "digest": zeros, "size": 1, "artifactType": "application/vnd.in-toto+json"}),
        ),
        index(
            "empty names",
            &json!({"mediaType": MANIFEST, "digest": zeros, "size": 1, "platform": {"os": "", "architecture": ""}}),
            &json!({"mediaType": MANIFEST, "digest": zeros, "size": 1, "platform": {"os": "linux", "architecture": ""}}),
        ),
        index(
            "a missing and a negative size",
            &json!({"mediaType": MANIFEST, "digest": zeros, "platform": platform}),
            &json!({"mediaType": MANIFEST, "digest": zeros, "size": -1, "platform": platform}),
        ),
    ]);
}
