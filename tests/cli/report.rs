//! Tests of successful builds: the report, the warnings, and the bytes that flags and variables
//! change.

use std::fs;

use sha2::{Digest, Sha256};

use super::context::{Context, failure, json, microagent, stderr, stderr_lines, stdout, tar};
use support::single_image::{digest, gzip};

#[test]
fn json_report_has_all_keys() {
    let (context, image) = Context::with_image();
    let output = context.build(&image).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr_lines(&output).is_empty(), "{}", stderr(&output));

    let report = json(stdout(&output));
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "builder",
            "builder_phase",
            "digest",
            "format",
            "image_ref",
            "init_path",
            "inode_count",
            "layer_digests",
            "output_digest",
            "output_path",
            "platform",
            "resolved_ref",
            "size_bytes",
            "stage_dir",
            "stage_snapshot",
            "used_bytes",
            "uuid",
        ]
    );
    assert_eq!(report["image_ref"], image);
    assert_eq!(report["resolved_ref"], image);
    assert!(image.ends_with(report["digest"].as_str().unwrap()));
    assert_eq!(
        report["platform"],
        serde_json::json!({"os": "linux", "architecture": "amd64", "variant": null})
    );
    assert_eq!(report["output_path"], context.output().to_str().unwrap());
    assert!(report["output_digest"].is_null());
    assert_eq!(report["format"], "ext4");
    assert_eq!(report["init_path"], "/sbin/microagent-init");
    assert!(report["stage_dir"].is_null() && report["stage_snapshot"].is_null());
    assert_eq!(report["builder"], "native");
    assert_eq!(report["builder_phase"], "complete");
    assert_eq!(report["layer_digests"].as_array().unwrap().len(), 2);
    assert_eq!(report["size_bytes"], 1_u64 << 30);
    assert_eq!(report["size_bytes"], fs::metadata(context.output()).unwrap().len());
    assert!(report["used_bytes"].as_u64().unwrap() < 1 << 30);
    assert!(report["inode_count"].as_u64().unwrap() > 10);
    assert_eq!(context.output_names(), ["rootfs.ext4"]);
}

#[test]
fn data_after_the_end_of_a_tar_is_a_warning() {
    let context = Context::new();
    let mut layer = tar(&[("etc/motd", b"welcome\n")]);
    layer.extend([b'x'; 512]);
    let layer = context.layout.gzip_layer(&layer);
    let digest = layer.descriptor["digest"].as_str().unwrap().to_owned();
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let output = context.build(&image).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stderr_lines(&output),
        [format!(
            "warning: layer {digest}: ignored data after the end of the archive"
        )]
    );
    json(stdout(&output));
}

/// The bytes decide how a layer is decompressed. A media type that contradicts them is a warning.
#[test]
fn a_wrong_media_type_is_a_warning() {
    let tar = tar(&[("etc/motd", b"welcome\n")]);
    for (media_type, blob, found) in [
        (
            "application/vnd.oci.image.layer.v1.tar",
            gzip(&tar),
            "compressed with gzip",
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            gzip(&tar),
            "compressed with gzip",
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            tar.clone(),
            "not compressed",
        ),
    ] {
        let context = Context::new();
        let layer = context.layout.layer_of(media_type, &blob, digest(&tar));
        let image = context.layout.pinned(&context.layout.image(&[layer]));
        let output = context.build(&image).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let digest = digest(&blob);
        assert_eq!(
            stderr_lines(&output),
            [format!(
                "warning: layer {digest}: is {found}, although its media type is {media_type}"
            )]
        );
    }
}

/// layer.md, "Non-Distributable Layers": the media type changes nothing, nor do `urls`.
#[test]
fn nondistributable_layers_are_applied() {
    let tar = tar(&[("etc/motd", b"welcome\n")]);
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let context = Context::new();
        let mut layer = context.layout.layer_of(media_type, &gzip(&tar), digest(&tar));
        layer.descriptor["urls"] = serde_json::json!(["http://127.0.0.1:9/layer"]);
        let blob = context.layout.blob_path(&layer);
        let image = context.layout.pinned(&context.layout.image(&[layer]));
        let output = context.build(&image).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr_lines(&output).is_empty(), "{}", stderr(&output));

        fs::remove_file(blob).unwrap();
        let output = context.build(&image).args(["--mode", "ax"]).output().unwrap();
        assert_eq!(failure(&output)["kind"], "not_found");
    }
}

#[test]
fn a_tag_resolves_to_a_pinned_reference() {
    let (context, image) = Context::with_image();
    let output = context
        .build(&context.layout.tagged())
        .args(["--json", "--allow-mutable"])
        .output()
        .unwrap();
    let report = json(stdout(&output));
    assert_eq!(report["image_ref"], context.layout.tagged());
    assert_eq!(report["resolved_ref"], image);
}

#[test]
fn text_names_the_output() {
    let (context, image) = Context::with_image();
    let output = context.build(&image).arg("--text").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with(&format!("built {}\n", context.output().display())),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).contains("1024 MiB") && stdout(&output).contains("linux/amd64, 2 layers"));
}

/// Flags, `MICROAGENT_OUTPUT`, `MICROAGENT_MODE`, and true if the report is JSON.
type Row<'a> = (&'a [&'a str], &'a str, &'a str, bool);

#[test]
fn flags_override_variables_and_variables_the_default() {
    let (context, image) = Context::with_image();
    let table: &[Row] = &[
        (&[], "", "", true),
        (&[], "text", "", false),
        (&["--json"], "text", "", true),
        (&["--output", "text"], "json", "", false),
        (&["--output=json", "--json"], "", "", true),
        (&["--text"], "", "ax", false),
        (&["--mode", "ax"], "text", "", false),
        (&["--mode", "ux"], "", "ax", true),
        (&[], "", "ax", true),
    ];
    for (arguments, output_variable, mode_variable, is_json) in table {
        let output = context
            .build(&image)
            .args(*arguments)
            .env("MICROAGENT_OUTPUT", output_variable)
            .env("MICROAGENT_MODE", mode_variable)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(
            stdout(&output).starts_with('{'),
            *is_json,
            "{arguments:?} {output_variable:?} {mode_variable:?}"
        );
    }
}

#[test]
fn global_flags_before_the_command() {
    let (context, image) = Context::with_image();
    let output = microagent()
        .args([
            "--text",
            "rootfs",
            "--mode",
            "ax",
            "build",
            "--arch=amd64",
            "--image",
            &image,
            "--out",
        ])
        .arg(context.output())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("built "));
}

#[test]
fn flags_set_uuid_label_and_size() {
    let (context, image) = Context::with_image();
    let uuid = "6b8e2bd4-9d23-4c5a-9a37-0b5f1d2c3e4f";
    let output = context
        .build(&image)
        .args([
            "--json",
            "--uuid",
            uuid,
            "--label",
            "sixteen letters!",
            "--size-mib",
            "64",
        ])
        .output()
        .unwrap();
    let report = json(stdout(&output));
    assert_eq!(report["uuid"], uuid);
    assert_eq!(report["size_bytes"], 64 << 20);

    // s_uuid and s_volume_name of the superblock, which begins at byte 1024.
    let superblock = &fs::read(context.output()).unwrap()[1024..2048];
    assert_eq!(superblock[0x68..0x78], *uuid::Uuid::parse_str(uuid).unwrap().as_bytes());
    assert_eq!(superblock[0x78..0x88], *b"sixteen letters!");
}

#[test]
fn uuid_and_hash_seed_derive_from_the_digest() {
    let (context, image) = Context::with_image();
    let output = context
        .build(&image)
        .args(["--json", "--size-mib", "64"])
        .output()
        .unwrap();
    let report = json(stdout(&output));
    let hash = |purpose: &str| Sha256::digest(format!("{purpose}\0{}", report["digest"].as_str().unwrap()));
    let uuid = uuid::Builder::from_custom_bytes(hash("microagent rootfs uuid")[..16].try_into().unwrap()).into_uuid();
    assert_eq!(report["uuid"], uuid.to_string());

    // s_uuid and s_hash_seed of the superblock.
    let superblock = &fs::read(context.output()).unwrap()[1024..2048];
    assert_eq!(superblock[0x68..0x78], *uuid.as_bytes());
    assert_eq!(superblock[0xec..0xfc], hash("microagent rootfs hash seed")[..16]);
}

#[test]
fn bytes_do_not_depend_on_directory_time_zone_or_locale() {
    let (context, image) = Context::with_image();
    let small = ["--json", "--size-mib", "16"];
    context
        .build(&image)
        .args(small)
        .env("TZ", "Asia/Tokyo")
        .env("LANG", "tr_TR.UTF-8")
        .output()
        .unwrap();
    let first = fs::read(context.output()).unwrap();

    let (elsewhere, image) = Context::with_image();
    elsewhere
        .build(&image)
        .args(small)
        .env("TZ", "America/Lima")
        .env("HOME", "/nowhere")
        .output()
        .unwrap();
    assert!(first == fs::read(elsewhere.output()).unwrap());
}

#[test]
fn source_date_epoch_caps_newer_times() {
    let context = Context::new();
    let mut header = tar::Header::new_ustar();
    header.set_mtime(2_000_000_000);
    header.set_size(0);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "file", &b""[..]).unwrap();
    let layer = context.layout.gzip_layer(&tar.into_inner().unwrap());
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let built = |epoch: &str| {
        let mut build = context.build(&image);
        let output = build
            .args(["--json", "--size-mib", "16"])
            .env("SOURCE_DATE_EPOCH", epoch)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::read(context.output()).unwrap()
    };
    let unchanged = built("");
    assert!(unchanged == built("2000000000"));
    assert!(unchanged != built("1999999999"));
}

#[cfg(unix)]
#[test]
fn closed_stdout_is_not_a_failure() {
    let (context, image) = Context::with_image();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = context.build(&image).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_a_failure() {
    let (context, image) = Context::with_image();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = context
        .build(&image)
        .args(["--mode", "ax"])
        .stdout(full)
        .output()
        .unwrap();
    let error = failure(&output);
    assert_eq!(error["kind"], "resource_exhausted");
    assert_eq!(error["partial_output"], true);
}
