//! `microagent version`.

use std::io;

use serde::Serialize;

use super::presentation::Format;
use super::report;

/// Identity of the program, in its JSON form.
#[derive(Serialize)]
struct Program {
    version: &'static str,
    /// `None` if the program was not built from a Git checkout.
    commit: Option<&'static str>,
    target: &'static str,
}

/// Prints version, commit and target on standard output.
///
/// # Errors
///
/// Errors of standard output, other than a closed pipe.
pub(super) fn print(format: Format) -> io::Result<()> {
    let program = Program {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("MICROAGENT_COMMIT"),
        target: env!("MICROAGENT_TARGET"),
    };
    let text = match format {
        Format::Json => serde_json::to_string(&program)?,
        Format::Text => {
            let commit = program.commit.unwrap_or("unknown");
            format!(
                "microagent {}\n  commit    {commit}\n  target    {}",
                program.version, program.target
            )
        }
    };
    report::write_stdout((text + "\n").as_bytes())
}
