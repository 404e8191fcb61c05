//! How results and failures are shown: flags, then environment, then what standard output is.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::error::ErrorKind;
use clap::{ArgAction, Args, ValueEnum};

use super::verbose;

const MODE_VARIABLE: &str = "MICROAGENT_MODE";
const OUTPUT_VARIABLE: &str = "MICROAGENT_OUTPUT";

/// The flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct PresentationArguments {
    /// Print the result as JSON; short for --output json
    #[arg(long, global = true)]
    json: bool,

    /// Print the result as text; short for --output text
    #[arg(long, global = true)]
    text: bool,

    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true,
        help = "How to print the result, json or text [env: MICROAGENT_OUTPUT] [default: text on a terminal, json elsewhere]"
    )]
    output: Option<Format>,

    #[arg(
        long,
        global = true,
        value_name = "MODE",
        hide_possible_values = true,
        help = "For whom: ux is for people; ax is for programs, with failures as JSON, and results too unless told \
                otherwise [env: MICROAGENT_MODE] [default: ux]"
    )]
    mode: Option<Mode>,

    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        help = "Show decisions and timings on standard error; -vv shows requests too [env: RUST_LOG, unless -v is given]"
    )]
    verbose: u8,
}

/// How results and failures are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presentation {
    pub(super) mode: Mode,
    pub(super) format: Format,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Json,
    Text,
}

/// For whom failures are printed: people (`ux`) or programs (`ax`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Ux,
    Ax,
}

impl PresentationArguments {
    /// Begins to write the events that the flags and the environment ask for.
    ///
    /// # Errors
    ///
    /// A variable with a value that makes no sense.
    pub(super) fn start_events(&self) -> Result<(), clap::Error> {
        verbose::start(self.verbose)
    }

    /// What the flags and the environment ask for.
    ///
    /// # Errors
    ///
    /// Flags that contradict each other, a variable with an unknown value.
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

    // clap's own check for conflicts doesn't see one flag before the subcommand and another after it.
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
    /// The mode, as well as it can be told when the arguments make no sense.
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

/// The value of an environment variable; none if it is empty, as if it weren't there.
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
        let message = format!("{name} is {value:?}: it can be {}", possible.join(" or "));
        clap::Error::raw(ErrorKind::InvalidValue, message)
    })
}
