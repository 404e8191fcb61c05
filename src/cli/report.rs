//! Report of a build, on standard output.
//!
//! A new JSON field is a field of `BuildReport` and of its JSON form, both in `rootfs::report`; the
//! build fills it in. Print it in [`text`] if people need it, list it in README.md under "For
//! programs", and check it in `tests/cli/report.rs`. Only fields that the command alone knows, such
//! as `image_ref`, are added here.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use layer::text::harmless;
use microagent::rootfs::BuildReport;
use serde::Serialize;

use super::presentation::Format;

/// JSON form of a [`BuildReport`].
#[derive(Serialize)]
struct JsonBuildReport<'a> {
    /// The image as given on the command line.
    image_ref: &'a str,
    #[serde(flatten)]
    report: &'a BuildReport,
}

/// Prints a report on standard output. `image_ref` is the image as given on the command line.
///
/// # Errors
///
/// Errors of standard output, other than a closed pipe.
pub(super) fn print(report: &BuildReport, image_ref: &str, format: Format) -> io::Result<()> {
    let text = match format {
        Format::Json => json(report, image_ref)?,
        Format::Text => text(report),
    };
    write_stdout(text.as_bytes())
}

/// Writes bytes to standard output.
///
/// # Errors
///
/// Errors of standard output, other than a closed pipe.
pub(super) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn json(report: &BuildReport, image_ref: &str) -> io::Result<String> {
    Ok(serde_json::to_string(&JsonBuildReport { image_ref, report })? + "\n")
}

/// Returns the path of the disk image.
fn output_path(report: &BuildReport) -> &Path {
    report.output_path.as_deref().expect("the command builds files")
}

fn text(report: &BuildReport) -> String {
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
        writeln!(text, "  {name:<9} {value}").expect("writing to a string does not fail");
    }
    if let Some(digest) = &report.output_digest {
        writeln!(text, "  digest    {digest}").expect("writing to a string does not fail");
    }
    for stage in [&report.stage_dir, &report.stage_snapshot].into_iter().flatten() {
        writeln!(text, "  stage     {0}, {0}.mtree", stage.display()).expect("writing to a string does not fail");
    }
    text
}

/// Formats a size in whole MiB, rounded up.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
