//! The result of a build, on standard output.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use layer::text::harmless;
use microagent::rootfs::BuildReport;
use serde::Serialize;

use super::presentation::Format;

/// The form of a [`BuildReport`] for programs.
#[derive(Serialize)]
struct JsonBuildReport<'a> {
    /// The image as it was asked for.
    image_ref: &'a str,
    #[serde(flatten)]
    report: &'a BuildReport,
}

/// Prints the report of an image, which was asked for as `image_ref`, on standard output.
///
/// # Errors
///
/// Those of standard output, besides that nobody reads it.
pub(super) fn print(report: &BuildReport, image_ref: &str, format: Format) -> io::Result<()> {
    let text = match format {
        Format::Json => json(report, image_ref)?,
        Format::Text => text(report),
    };
    write_stdout(text.as_bytes())
}

/// Writes all to standard output.
///
/// # Errors
///
/// Those of standard output, besides that nobody reads it.
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

/// The file that was written.
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

/// Whole MiB, rounded up.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
