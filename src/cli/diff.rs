//! `microagent rootfs diff`.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use layer::cancel::Cancel;
use microagent::diff::{DiffError, DiffOptions, DiffSection, Difference, diff};

use super::failure::CommandError;
use super::presentation::Format;

/// Exit status if the files have different bytes.
const DIFFERENT: u8 = 1;

/// Arguments of `rootfs diff`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Diff {
    /// First disk image
    a: PathBuf,

    /// Second disk image
    b: PathBuf,

    /// Show each file whose inode number or blocks differ, not only their count
    #[arg(long)]
    layout: bool,
}

const HELP: &str = "\
Shows the differences between the file systems: options, the container image that they were built from, names, \
metadata, contents, layout, and any other bytes. Text output is empty if the files have the same bytes.

Examples:
  microagent rootfs diff one.ext4 two.ext4
  microagent rootfs diff --json one.ext4 two.ext4

Exit status: 0 same bytes, 1 different bytes, 2 wrong usage or a disk image that cannot be read.";

impl Diff {
    /// Compares the disk images, prints the differences, and returns the exit status. The command
    /// leaves nothing to clean up, so signals keep their default action.
    pub(super) fn run(&self, format: Format) -> Result<ExitCode, CommandError> {
        let mut options = DiffOptions::default();
        options.list_moved_files = self.layout;
        let stdout = BufWriter::new(io::stdout().lock());
        let result = match format {
            Format::Json => self.print_json(stdout, options),
            Format::Text => self.print_text(stdout, options),
        };
        match result {
            Ok(true) => Ok(ExitCode::SUCCESS),
            Ok(false) => Ok(ExitCode::from(DIFFERENT)),
            // A closed pipe means that the reader has seen enough; a difference was found.
            Err(DiffError::Report(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::from(DIFFERENT)),
            Err(error) => Err(CommandError::Diff(error)),
        }
    }

    fn print_json(&self, mut out: impl Write, options: DiffOptions) -> Result<bool, DiffError> {
        let path = |path: &Path| serde_json::to_string(&path.to_string_lossy()).map_err(io::Error::from);
        let begin = |out: &mut dyn Write| {
            let (a, b) = (path(&self.a)?, path(&self.b)?);
            write!(out, "{{\"a\":{a},\"b\":{b},\"differences\":[")
        };
        // Nothing is printed before both disk images are open.
        let mut begun = false;
        let same = diff(&self.a, &self.b, options, &Cancel::new(), &mut |difference| {
            if begun {
                out.write_all(b",")?;
            } else {
                begin(&mut out)?;
                begun = true;
            }
            serde_json::to_writer(&mut out, difference)?;
            Ok(())
        })?;
        let mut end = || {
            if !begun {
                begin(&mut out)?;
            }
            writeln!(out, "],\"same\":{same}}}")?;
            out.flush()
        };
        end().map_err(DiffError::Report)?;
        Ok(same)
    }

    fn print_text(&self, out: impl Write, options: DiffOptions) -> Result<bool, DiffError> {
        let mut text = DiffText {
            out,
            names: [&self.a, &self.b].map(|path| path.display().to_string()),
            last_heading: None,
        };
        let same = diff(&self.a, &self.b, options, &Cancel::new(), &mut |difference| {
            text.print(difference)
        })?;
        text.out.flush().map_err(DiffError::Report)?;
        Ok(same)
    }
}

/// Printer of differences as text, in the style of diffoscope.
struct DiffText<W> {
    out: W,
    /// Paths of the two disk images.
    names: [String; 2],
    /// Section and path in the images of the last heading.
    last_heading: Option<(DiffSection, Option<Vec<u8>>)>,
}

impl<W: Write> DiffText<W> {
    fn print(&mut self, difference: &Difference) -> io::Result<()> {
        if self.last_heading.is_none() {
            writeln!(self.out, "--- {}\n+++ {}", self.names[0], self.names[1])?;
        }
        let is_alone = difference.field == "type" && difference.a.is_some() != difference.b.is_some();
        // Differences of one path share a heading, even across sections.
        let is_there = self.last_heading.as_ref().is_some_and(|(section, path)| {
            *path == difference.path && (path.is_some() || *section == difference.section)
        });
        if !is_there {
            match difference.printable_path() {
                Some(path) => write!(self.out, "├── {path}")?,
                None => write!(self.out, "├── {}", difference.section.name())?,
            }
            if is_alone {
                self.print_alone(difference)?;
            }
            writeln!(self.out)?;
            self.last_heading = Some((difference.section, difference.path.clone()));
        }
        if !is_alone {
            self.print_field(difference)?;
        }
        Ok(())
    }

    /// Prints the image that has a name that the other lacks, and the type of the file.
    fn print_alone(&mut self, difference: &Difference) -> io::Result<()> {
        let (name, kind) = match (&difference.a, &difference.b) {
            (Some(kind), _) => (&self.names[0], kind),
            (_, kind) => (&self.names[1], kind.as_ref().unwrap_or(&self.names[1])),
        };
        write!(self.out, " (only in {name}: {kind}")?;
        if let Some(count) = difference.count {
            write!(self.out, ", {count} below")?;
        }
        write!(self.out, ")")
    }

    fn print_field(&mut self, difference: &Difference) -> io::Result<()> {
        let field = &difference.field;
        if difference.excerpt.is_empty() {
            for (sign, value) in [('-', &difference.a), ('+', &difference.b)] {
                if let Some(value) = value {
                    writeln!(self.out, "│ {sign}{field}: {value}")?;
                }
            }
            return match difference.count {
                Some(count) => writeln!(self.out, "│ {field}: {}", count_text(difference.section, count)),
                None => Ok(()),
            };
        }
        let count = difference.count;
        let count = count.map(|count| format!(": {}", count_text(difference.section, count)));
        let offset = difference.offset.map(|offset| format!(", from byte {offset} on"));
        writeln!(
            self.out,
            "│ ├── {field}{}{}",
            count.unwrap_or_default(),
            offset.unwrap_or_default()
        )?;
        for (sign, value) in [('-', &difference.a), ('+', &difference.b)] {
            if let Some(value) = value {
                writeln!(self.out, "│ │ {sign}{value}")?;
            }
        }
        for line in &difference.excerpt {
            writeln!(self.out, "│ │ {line}")?;
        }
        Ok(())
    }
}

/// Formats the count of a difference with its unit.
fn count_text(section: DiffSection, count: u64) -> String {
    let unit = match (section, count) {
        (DiffSection::Bytes, 1) => "byte",
        (DiffSection::Bytes, _) => "bytes",
        (_, 1) => "differs",
        _ => "differ",
    };
    format!("{count} {unit}")
}
