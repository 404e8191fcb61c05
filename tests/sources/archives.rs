//! Archives and directories as skopeo and docker write them, and plain tars.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use oci::{
    Algorithm, ArchiveError, Digest, DigestError, DockerArchiveError, FileError, Image, ImageError, LayoutError,
    ManifestError,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sources::store::tar;
use crate::sources::{State, linux, read, rootfs_build};
use support::layout::{TestLayout, config, digest, named};
use support::registry::{has_tools, skopeo};

/// Resolves an image, and reads its layers.
fn pull(reference: &str) -> Result<(Image, Vec<Vec<u8>>), ImageError> {
    let source = State::new().open(reference)?;
    let image = source.resolve(&linux("amd64"))?;
    let layers = image.layers.iter().map(|layer| read(&source, layer));
    let layers = layers.collect::<Result<_, _>>()?;
    Ok((image, layers))
}

fn diff_ids(image: &Image) -> Vec<Digest> {
    image.layers.iter().map(|layer| layer.diff_id.clone()).collect()
}

/// Creates a layout with an image of two layers, tagged `latest`. Returns the layout, the image's
/// descriptor, and the content of the layers.
fn two_layers() -> (TestLayout, Value, Vec<Vec<u8>>) {
    let layout = TestLayout::new();
    let layers = ["one", "two"].map(|name| tar(name, 3000));
    let image = layout.image("linux/amd64", &layers.each_ref().map(String::as_str));
    layout.publish(&[named(image.clone(), "latest")]);
    (layout, image, layers.map(String::into_bytes).to_vec())
}

/// Compresses a file, and returns the path of the result.
fn gzip(file: &Path) -> PathBuf {
    let compressed = file.with_extension("tar.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&compressed).unwrap(), Compression::fast());
    encoder.write_all(&fs::read(file).unwrap()).unwrap();
    encoder.finish().unwrap();
    compressed
}

/// Writes an archive with these members. Content that begins with `-> ` is a symlink's target.
pub(crate) fn archive(directory: &TempDir, members: &[(&str, &[u8])]) -> PathBuf {
    let path = directory.path().join("made.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        if let Some(target) = content.strip_prefix(b"-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder
                .append_link(&mut header, name, str::from_utf8(target).unwrap())
                .unwrap();
        } else {
            builder.append_data(&mut header, name, *content).unwrap();
        }
    }
    builder.into_inner().unwrap();
    path
}

#[test]
fn skopeo_archives_and_directories_hold_the_original_image() {
    if !has_tools() {
        return;
    }
    let (layout, image, layers) = two_layers();
    let expected: Vec<_> = layers
        .iter()
        .map(|layer| Digest::of(Algorithm::Sha256, layer))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for target in [
        format!("oci-archive:{}", path("oci.tar")),
        format!("dir:{}", path("dir")),
    ] {
        skopeo(&["copy", "-q", &layout.reference(":latest"), &target]);
        let (found, contents) = pull(&target).unwrap();
        // skopeo compresses layers in an archive.
        let is_original = contents == layers || target.starts_with("oci-archive:");
        assert!(is_original && diff_ids(&found) == expected, "{target}");
        assert_eq!(found.resolved_ref, format!("{target}@{}", found.digest));
        if target.starts_with("dir:") {
            assert_eq!(found.digest.to_string(), digest(&image));
        }
        assert_eq!(pull(&found.resolved_ref).unwrap().0.digest, found.digest);
    }
    let compressed = gzip(&directory.path().join("oci.tar"));
    let (found, _) = pull(&format!("oci-archive:{}", compressed.display())).unwrap();
    assert_eq!(diff_ids(&found), expected);

    let saved = format!("docker-archive:{}", path("docker.tar"));
    skopeo(&[
        "copy",
        "-q",
        &layout.reference(":latest"),
        &format!("{saved}:team/app:1"),
    ]);
    let (found, contents) = pull(&saved).unwrap();
    assert!(contents == layers);
    let raw = skopeo(&["inspect", "--raw", &saved]).stdout;
    assert_eq!(
        found.digest,
        Digest::of(Algorithm::Sha256, &raw),
        "the digest of skopeo's manifest"
    );
    let compressed = format!(
        "docker-archive:{}",
        gzip(&directory.path().join("docker.tar")).display()
    );
    for reference in [
        &found.resolved_ref,
        &format!("{saved}:team/app:1"),
        &format!("{saved}:docker.io/team/app:1"),
        &format!("{saved}:@0"),
        &compressed,
    ] {
        assert_eq!(pull(reference).unwrap().0.digest, found.digest, "{reference}");
    }
}

#[test]
fn dir_with_an_index_resolves_by_platform() {
    if !has_tools() {
        return;
    }
    let layout = TestLayout::new();
    let image = |platform: &str| {
        let image = layout.image(platform, &[&tar(platform, 100)]);
        support::layout::for_platform(image, platform)
    };
    let index = layout.index(&[image("linux/arm64"), image("linux/amd64")]);
    layout.publish(&[named(index.clone(), "latest")]);
    let directory = tempfile::tempdir().unwrap();
    let target = format!("dir:{}", directory.path().join("d").display());
    skopeo(&["copy", "-q", "--all", &layout.reference(":latest"), &target]);
    let (found, contents) = pull(&target).unwrap();
    assert_eq!(contents, [tar("linux/amd64", 100).into_bytes()]);
    for pinned in [digest(&index), &found.digest.to_string()] {
        assert_eq!(pull(&format!("{target}@{pinned}")).unwrap().1, contents);
    }
    let other = format!("{target}@sha256:{}", "0".repeat(64));
    let error = pull(&other).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Content {
                source: DigestError::DigestMismatch { .. },
                ..
            }
        ),
        "{error:?}"
    );
}

/// Returns the config of an image with these layers.
fn config_of(layout: &TestLayout, layers: &[&[u8]]) -> Vec<u8> {
    let layers: Vec<_> = layers.iter().map(|layer| layout.blob("", layer)).collect();
    config("linux/amd64", &layers).to_string().into_bytes()
}

#[test]
fn old_and_new_docker_save_formats_give_the_same_image() {
    let layout = TestLayout::new();
    let (one, two) = (tar("one", 2000), tar("two", 2000));
    let (one, two) = (one.as_bytes(), two.as_bytes());
    let config = config_of(&layout, &[one, two]);
    let manifest = |config: &str, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": ["app:1"], "Layers": layers}])
            .to_string()
            .into_bytes()
    };
    let directory = tempfile::tempdir().unwrap();
    let expected = [one.to_vec(), two.to_vec()];
    let mut digests = Vec::new();
    let mut check = |members: &[(&str, &[u8])]| {
        let reference = format!("docker-archive:{}", archive(&directory, members).display());
        let (image, contents) = pull(&reference).unwrap();
        assert!(contents == expected);
        digests.push(image.digest);
    };
    check(&[
        ("aa/layer.tar", one),
        ("bb/VERSION", b"1.0"),
        ("bb/layer.tar", two),
        ("c.json", &config),
        ("manifest.json", &manifest("c.json", &["aa/layer.tar", "bb/layer.tar"])),
    ]);
    check(&[
        ("aa/layer.tar", one),
        ("bb/layer.tar", b"-> ../cc/layer.tar"),
        ("cc/layer.tar", two),
        ("c.json", &config),
        ("manifest.json", &manifest("c.json", &["aa/layer.tar", "bb/layer.tar"])),
    ]);
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    compressed.write_all(two).unwrap();
    check(&[
        ("blobs/sha256/1", one),
        ("blobs/sha256/2", &compressed.finish().unwrap()),
        ("blobs/sha256/c", &config),
        (
            "manifest.json",
            &manifest("blobs/sha256/c", &["blobs/sha256/1", "blobs/sha256/2"]),
        ),
        ("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#),
    ]);
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn docker_archive_with_several_images_needs_a_name() {
    let layout = TestLayout::new();
    let (one, two) = (tar("one", 2000), tar("two", 2000));
    let configs = [&one, &two].map(|layer| config_of(&layout, &[layer.as_bytes()]));
    let manifest = json!([
        {"Config": "1.json", "RepoTags": ["app:1", "app:latest"], "Layers": ["1.tar"]},
        {"Config": "2.json", "RepoTags": null, "Layers": ["2.tar"]},
    ]);
    let directory = tempfile::tempdir().unwrap();
    let path = archive(
        &directory,
        &[
            ("manifest.json", manifest.to_string().as_bytes()),
            ("1.tar", one.as_bytes()),
            ("1.json", &configs[0]),
            ("2.tar", two.as_bytes()),
            ("2.json", &configs[1]),
        ],
    );
    let pull = |version: &str| pull(&format!("docker-archive:{}{version}", path.display()));
    for version in [":app:1", ":app", ":docker.io/library/app:latest", ":@0"] {
        assert_eq!(pull(version).unwrap().1, [one.clone().into_bytes()], "{version}");
    }
    let (second, _) = pull(":@1").unwrap();
    assert_eq!(
        pull(&format!("@{}", second.digest)).unwrap().1,
        [two.clone().into_bytes()]
    );

    let ambiguous = pull("").unwrap_err().to_string();
    assert!(ambiguous.contains("@0 (app:1, app:latest), @1"), "{ambiguous}");
    for version in [":app:2", ":@2", &format!("@sha256:{}", "0".repeat(64))] {
        let error = pull(version).unwrap_err();
        assert!(
            matches!(&error, ImageError::DockerArchive(DockerArchiveError::NoSuchImage { images, .. }) if images.len() == 2),
            "{version}: {error:?}"
        );
    }
}

#[test]
fn compressed_docker_archive_layers_count_once_against_the_download_limit() {
    let layout = TestLayout::new();
    let layer = tar("one", 200_000);
    let config = config_of(&layout, &[layer.as_bytes(), layer.as_bytes()]);
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    compressed.write_all(layer.as_bytes()).unwrap();
    let manifest = br#"[{"Config": "c", "Layers": ["l", "l"]}, {"Config": "c", "Layers": ["l", "l"]}]"#;
    let directory = tempfile::tempdir().unwrap();
    let members: [(&str, &[u8]); 3] = [
        ("manifest.json", manifest),
        ("c", &config),
        ("l", &compressed.finish().unwrap()),
    ];
    let reference = format!("docker-archive:{}", archive(&directory, &members).display());
    let mut state = State::new();
    state.max_download = layer.len() as u64;
    let image = state.open(&reference).unwrap().resolve(&linux("amd64")).unwrap();
    assert_eq!(image.layers[1].size, layer.len() as u64);
    state.max_download -= 1;
    assert!(matches!(
        state.open(&reference).err().unwrap(),
        ImageError::File(FileError::TooLarge { .. })
    ));
}

#[test]
fn archives_without_a_usable_image_are_refused_with_the_cause() {
    let layout = TestLayout::new();
    let layer = tar("one", 2000);
    let good = config_of(&layout, &[layer.as_bytes()]);
    let manifest = br#"[{"Config": "c", "Layers": ["l"]}]"#;
    let directory = tempfile::tempdir().unwrap();
    let error = |members: &[(&str, &[u8])]| {
        let path = archive(&directory, members);
        pull(&format!("docker-archive:{}", path.display())).unwrap_err()
    };
    let missing = |error: ImageError| match error {
        ImageError::Archive(ArchiveError::Missing { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(error(&[("repositories", b"{}")])), "manifest.json");
    assert_eq!(missing(error(&[("manifest.json", manifest)])), "c");
    assert_eq!(missing(error(&[("manifest.json", manifest), ("c", &good)])), "l");
    let no_layers = br#"[{"Config": "c", "Layers": []}]"#;
    assert!(matches!(
        error(&[("manifest.json", no_layers), ("c", &good)]),
        ImageError::Document {
            source: ManifestError::LayerCount { layers: 0, diff_ids: 1 },
            ..
        }
    ));
    let many = [&b"["[..], &[&manifest[1..manifest.len() - 1]; 1001].join(&b','), b"]"].concat();
    assert!(matches!(
        error(&[("manifest.json", &many), ("c", &good), ("l", b"")]),
        ImageError::DockerArchive(DockerArchiveError::TooManyImages { max: 1000, .. })
    ));
    let large = vec![b' '; (4 << 20) + 1];
    assert!(matches!(
        error(&[("manifest.json", &large)]),
        ImageError::Document {
            source: ManifestError::TooLarge { .. },
            ..
        }
    ));
    let oci = archive(&directory, &[("manifest.json", b"{}")]);
    assert!(matches!(
        pull(&format!("oci-archive:{}", oci.display())).unwrap_err(),
        ImageError::Layout(LayoutError::NoLayout { .. })
    ));
    fs::write(&oci, "no tar").unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        assert!(matches!(
            pull(&format!("{transport}:{}", oci.display())).unwrap_err(),
            ImageError::Archive(ArchiveError::Damaged { offset: 0, .. })
        ));
        assert!(matches!(
            pull(&format!("{transport}:{}", directory.path().display())).unwrap_err(),
            ImageError::File(FileError::NotAFile { .. })
        ));
    }
}

#[test]
fn a_plain_tar_is_an_image_of_one_layer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.tar");
    let content = tar("one", 5000).into_bytes();
    fs::write(&path, &content).unwrap();
    let (image, contents) = pull(&format!("tar:{}", path.display())).unwrap();
    assert_eq!(contents, std::slice::from_ref(&content));
    assert_eq!(image.digest, Digest::of(Algorithm::Sha256, &content));
    assert_eq!(image.layers[0].diff_id, image.digest);
    assert_eq!(pull(&image.resolved_ref).unwrap().0.digest, image.digest);

    let compressed = gzip(&path);
    let (image, _) = pull(&format!("tar:{}", compressed.display())).unwrap();
    assert_eq!(
        image.digest,
        Digest::of(Algorithm::Sha256, &fs::read(&compressed).unwrap())
    );
    assert_eq!(image.layers[0].diff_id, Digest::of(Algorithm::Sha256, &content));

    let other = format!("tar:{}@sha256:{}", path.display(), "0".repeat(64));
    assert!(matches!(pull(&other).unwrap_err(), ImageError::Content { .. }));
}

#[test]
fn tar_on_standard_input_must_be_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let content = tar("one", 5000);
    let pinned = format!("tar:-@{}", Digest::of(Algorithm::Sha256, content.as_bytes()));
    let build = |reference: &str, more: &[&str]| {
        let mut command = rootfs_build(
            reference,
            &directory.path().join("out"),
            &directory.path().join("state"),
        );
        command
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let refused = build("tar:-", &[]);
    assert_eq!(refused.status.code(), Some(1));
    let hint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(hint.contains(&format!("--image {pinned}")), "{hint}");

    let mut outputs = Vec::new();
    for (reference, more) in [(pinned.as_str(), &[][..]), ("tar:-", &["--allow-mutable"])] {
        let output = build(reference, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        outputs.push(fs::read(directory.path().join("out")).unwrap());
    }
    assert!(outputs[0] == outputs[1]);
    let remaining: Vec<_> = fs::read_dir(directory.path().join("state/tmp")).unwrap().collect();
    assert!(remaining.is_empty());
}

#[test]
fn cancelled_open_reports_the_cancellation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.tar");
    fs::write(&path, tar("one", 5000)).unwrap();
    let compressed = gzip(&path);
    let state = State::new();
    state.cancel.cancel();
    for reference in [
        format!("tar:{}", path.display()),
        format!("tar:{}", compressed.display()),
        format!("oci-archive:{}", compressed.display()),
        format!("docker-archive:{}", compressed.display()),
    ] {
        let error = state.open(&reference).err().unwrap();
        assert!(matches!(error, ImageError::Cancelled(_)), "{reference}: {error:?}");
    }
}

/// Runs a build of an image from a pipe.
fn build_of_input(directory: &TempDir, input: &[u8]) -> Output {
    let mut command = rootfs_build("tar:-", &directory.path().join("out"), &directory.path().join("state"));
    command.args(["--allow-mutable", "--keep-unpacked"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn tar_from_standard_input_survives_a_restart_of_the_build() {
    let directory = tempfile::tempdir().unwrap();
    let tar = tar("one", 200_000);
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    compressed.write_all(tar.as_bytes()).unwrap();
    let compressed = compressed.finish().unwrap();
    let build = || {
        let output = build_of_input(&directory, &compressed);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(directory.path().join("out")).unwrap()
    };
    let first = build();
    // Corrupts the cached tar, so that the build removes it, restarts, and writes it again.
    let diff_id = Digest::of(Algorithm::Sha256, tar.as_bytes());
    let cached = directory.path().join("state/blobs/sha256").join(diff_id.hex());
    fs::write(&cached, tar.replace('a', "b")).unwrap();
    assert!(build() == first);
    assert_eq!(fs::read(&cached).unwrap(), tar.as_bytes());
}

#[test]
fn empty_input_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output = build_of_input(&directory, b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard input is empty"), "{stderr}");
    assert!(!directory.path().join("out").exists());
    let path = directory.path().join("empty");
    for empty in [
        &b""[..],
        &GzEncoder::new(Vec::new(), Compression::fast()).finish().unwrap(),
    ] {
        fs::write(&path, empty).unwrap();
        let error = pull(&format!("tar:{}", path.display())).unwrap_err();
        assert!(
            matches!(error, ImageError::Archive(ArchiveError::Empty { .. })),
            "{error:?}"
        );
    }
}
