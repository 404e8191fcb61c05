//! Presentation of results and errors. Flags decide first, then environment variables, then whether
//! standard output is a terminal.
//!
//! A new JSON field needs no change here: see `report` for builds, `inspect::DiskSummary`,
//! `verify::Verdict` and `diff::Difference` for the other commands. A new way to print results is a
//! variant of [`Format`] or [`Mode`], an arm in each command that matches on it, a word in the help
//! texts below, and a row in README.md's table of flags.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::error::ErrorKind;
use clap::{ArgAction, Args, ValueEnum};

use super::verbose;

const MODE_VARIABLE: &str = "MICROAGENT_MODE";
const OUTPUT_VARIABLE: &str = "MICROAGENT_OUTPUT";

/// Flags of all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct PresentationArguments {
    /// Print the result as JSON, like --output json
    #[arg(long, global = true)]
    json: bool,

    /// Print the result as text, like --output text
    #[arg(long, global = true)]
    text: bool,

    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true,
        help = "Format of the result: json or text [env: MICROAGENT_OUTPUT] [default: text on a terminal, json elsewhere]"
    )]
    output: Option<Format>,

    #[arg(
        long,
        global = true,
        value_name = "MODE",
        hide_possible_values = true,
        help = "Audience: ux for people; ax for programs, with errors as JSON, and results as JSON by default \
                [env: MICROAGENT_MODE] [default: ux]"
    )]
    mode: Option<Mode>,

    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        help = "Show decisions and timings on standard error; -vv also shows requests [env: RUST_LOG, without -v]"
    )]
    verbose: u8,
}

/// Presentation of results and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presentation {
    pub(super) mode: Mode,
    pub(super) format: Format,
}

/// Format of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Json,
    Text,
}

/// Audience of the output: people (`ux`) or programs (`ax`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Ux,
    Ax,
}

impl PresentationArguments {
    /// Starts to print events, if the flags or the environment select any.
    ///
    /// # Errors
    ///
    /// An environment variable with an invalid value.
    pub(super) fn start_events(&self) -> Result<(), clap::Error> {
        verbose::start(self.verbose)
    }

    /// Returns the presentation that the flags and the environment select.
    ///
    /// # Errors
    ///
    /// Flags that contradict each other, or an environment variable with an invalid value.
    pub(super) fn resolve(&self) -> Result<Presentation, clap::Error> {
        let flag = self.format()?;
        let mode = match self.mode {
            Some(mode) => mode,
            None => variable(MODE_VARIABLE)?.unwrap_or(Mode::Ux),
        };
        let format = match flag {
            Some(format) => format,
            None => variable(OUTPUT_VARIABLE)?.unwrap_or_else(|| default_format(mode)),
        };
        Ok(Presentation { mode, format })
    }

    // clap does not detect a conflict between a flag before the subcommand and one after it.
    fn format(&self) -> Result<Option<Format>, clap::Error> {
        let json = self.json.then_some(Format::Json);
        let text = self.text.then_some(Format::Text);
        let mut asked = [json, text, self.output].into_iter().flatten();
        let format = asked.next();
        if asked.any(|other| Some(other) != format) {
            return Err(clap::Error::raw(
                ErrorKind::ArgumentConflict,
                "--json, --text and --output contradict each other",
            ));
        }
        Ok(format)
    }
}

impl Mode {
    /// Returns the mode for arguments that cannot be parsed: from `--mode` if it is found, or from
    /// the environment.
    pub(super) fn from_raw_arguments(arguments: &[OsString]) -> Self {
        let mut value = None;
        let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--mode") {
                Some("") => value = arguments.next(),
                Some(rest) => value = rest.strip_prefix('=').or(value),
                None => {}
            }
        }
        let mode = value.and_then(|value| Self::from_str(value, false).ok());
        mode.or_else(|| variable(MODE_VARIABLE).ok().flatten())
            .unwrap_or(Self::Ux)
    }
}

fn default_format(mode: Mode) -> Format {
    if mode == Mode::Ux && io::stdout().is_terminal() {
        Format::Text
    } else {
        Format::Json
    }
}

/// Returns the value of an environment variable, or `None` if it is not set or empty.
fn variable<T: ValueEnum>(name: &str) -> Result<Option<T>, clap::Error> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy();
    T::from_str(&value, false).map(Some).map_err(|_| {
        let possible: Vec<_> = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .collect();
        let possible: Vec<_> = possible.iter().map(clap::builder::PossibleValue::get_name).collect();
        let message = format!("{name} is {value:?}: it must be {}", possible.join(" or "));
        clap::Error::raw(ErrorKind::InvalidValue, message)
    })
}
