//! What is said when a disk image is built.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use layer::Compression;
use layer::text::harmless;
use microagent::guest::InitPath;
use microagent::rootfs::{AppliedLayer, Builder, Report};
use oci::Platform;
use serde::Serialize;

use super::presentation::Format;

/// The form of a [`Report`] for programs.
#[derive(Serialize)]
struct Json<'a> {
    image_ref: &'a str,
    resolved_ref: &'a str,
    digest: String,
    platform: JsonPlatform<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_platform: Option<&'a str>,
    output_path: String,
    output_digest: Option<String>,
    format: &'static str,
    uuid: String,
    size_bytes: u64,
    used_bytes: u64,
    inode_count: u32,
    builder: &'static str,
    builder_phase: &'static str,
    layer_digests: Vec<String>,
    init_path: Option<&'a str>,
    stage_dir: Option<String>,
    stage_snapshot: Option<String>,
}

#[derive(Serialize)]
struct JsonPlatform<'a> {
    os: &'a str,
    architecture: &'a str,
    variant: Option<&'a str>,
}

/// Prints the report of an image, which was asked for as `image_ref`, on standard output.
///
/// # Errors
///
/// Those of standard output, besides that nobody reads it.
pub(super) fn print(report: &Report, image_ref: &str, format: Format) -> io::Result<()> {
    let text = match format {
        Format::Json => json(report, image_ref)?,
        Format::Text => text(report),
    };
    write(text.as_bytes())
}

/// Writes all to standard output.
///
/// # Errors
///
/// Those of standard output, besides that nobody reads it.
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Says on standard error what of the image is not in the disk image, and what else went other than one may think.
///
/// # Errors
///
/// Those of standard error.
pub(super) fn warn(report: &Report, wanted: &Platform) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    let platform = &report.platform;
    if platform.architecture != wanted.architecture {
        writeln!(
            stderr,
            "warning: there is no image for {wanted}, so this is the one for {}: boot it with a kernel that runs \
             32-bit programs",
            harmless(&platform.to_string())
        )?;
    }
    if wanted.architecture == "amd64" && wanted.variant.is_none() && platform.variant.as_deref() == Some("v2") {
        writeln!(
            stderr,
            "warning: there is no image for {wanted}, so this is the one for {platform}: boot it on a processor of that level \
             (SSE4.2, POPCNT), such as QEMU's -cpu host"
        )?;
    }
    if let Some(named) = &report.config_platform {
        writeln!(
            stderr,
            "warning: the index lists this image for {}, but its config says {}: it was taken for {0}",
            harmless(&platform.to_string()),
            harmless(named)
        )?;
    }
    if let Some(helper) = &report.unasked_helper {
        writeln!(stderr, "warning: {helper}: the registry was asked anonymously")?;
    }
    if !report.has_holes {
        writeln!(
            stderr,
            "warning: {} takes all of its size on this disk: it could not be made a sparse file, which NTFS knows and FAT \
             does not",
            output_path(report).display()
        )?;
    }
    for layer in &report.layers {
        let AppliedLayer {
            digest,
            media_type,
            compression,
            summary,
            ..
        } = layer;
        if Compression::announced(media_type).is_some_and(|announced| announced != *compression) {
            writeln!(
                stderr,
                "warning: layer {digest}: is {compression}, though its media type is {}",
                harmless(media_type)
            )?;
        }
        if summary.ignored_xattrs > 0 {
            let count = summary.ignored_xattrs;
            writeln!(
                stderr,
                "warning: layer {digest}: left out {count} extended attributes that Linux lets no such file have: user.* of \
                 symlinks, devices or pipes, system.* but ACLs, or such as com.apple.*"
            )?;
        }
        if summary.overlay_xattrs > 0 {
            let count = summary.overlay_xattrs;
            writeln!(
                stderr,
                "warning: layer {digest}: left out {count} extended attributes of overlayfs itself (trusted.overlay.*, \
                 user.overlay.*)"
            )?;
        }
        if summary.ignored_acls > 0 {
            let count = summary.ignored_acls;
            writeln!(
                stderr,
                "warning: layer {digest}: left out {count} ACLs in textual form (SCHILY.acl.*)"
            )?;
        }
        if summary.data_after_end {
            writeln!(
                stderr,
                "warning: layer {digest}: ignored what follows the end of the archive"
            )?;
        }
    }
    Ok(())
}

fn json(report: &Report, image_ref: &str) -> io::Result<String> {
    let json = Json {
        image_ref,
        resolved_ref: &report.resolved_ref,
        digest: report.digest.to_string(),
        platform: JsonPlatform {
            os: &report.platform.os,
            architecture: &report.platform.architecture,
            variant: report.platform.variant.as_deref(),
        },
        config_platform: report.config_platform.as_deref(),
        output_path: text_of(output_path(report)),
        output_digest: report.output_digest.as_ref().map(ToString::to_string),
        format: "ext4",
        uuid: report.uuid.to_string(),
        size_bytes: report.size_bytes,
        used_bytes: report.used_bytes,
        inode_count: report.inode_count,
        builder: match report.builder {
            Builder::Mke2fs => "mke2fs",
            _ => "native",
        },
        builder_phase: "complete",
        layer_digests: report.layers.iter().map(|layer| layer.digest.to_string()).collect(),
        init_path: report.init_path.as_ref().map(InitPath::as_str),
        stage_dir: report.stage_dir.as_deref().map(text_of),
        stage_snapshot: report.stage_snapshot.as_deref().map(text_of),
    };
    Ok(serde_json::to_string(&json)? + "\n")
}

/// The file that was written.
fn output_path(report: &Report) -> &Path {
    report.output_path.as_deref().expect("the command builds files")
}

fn text(report: &Report) -> String {
    let layers = report.layers.len();
    let mut text = format!("built {}\n", output_path(report).display());
    for (name, value) in [
        ("image", report.resolved_ref.clone()),
        (
            "platform",
            format!(
                "{}, {layers} layer{}",
                harmless(&report.platform.to_string()),
                if layers == 1 { "" } else { "s" }
            ),
        ),
        (
            "size",
            format!(
                "{}, {} used",
                mebibytes(report.size_bytes),
                mebibytes(report.used_bytes)
            ),
        ),
        ("inodes", report.inode_count.to_string()),
        (
            "init",
            report.init_path.as_ref().map_or("none".to_owned(), ToString::to_string),
        ),
        ("uuid", report.uuid.to_string()),
    ] {
        writeln!(text, "  {name:<9} {value}").expect("memory takes it");
    }
    if let Some(digest) = &report.output_digest {
        writeln!(text, "  digest    {digest}").expect("memory takes it");
    }
    for stage in [&report.stage_dir, &report.stage_snapshot].into_iter().flatten() {
        writeln!(text, "  stage     {0}, {0}.mtree", stage.display()).expect("memory takes it");
    }
    text
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whole MiB, rounded up.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
