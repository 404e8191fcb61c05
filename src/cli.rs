//! The command line: parses arguments and environment, runs a command, prints text or JSON, and
//! returns an exit status.

mod arguments;
mod cache;
mod core_dump;
mod diff;
mod documentation;
mod failure;
mod file_system;
mod hints;
mod inspect;
mod limits;
mod presentation;
mod progress;
mod registry;
mod report;
mod signals;
mod state;
mod verbose;
mod verify;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Build, Command, RootfsCommand};
use failure::CommandError;
use presentation::{Mode, Presentation};
use progress::ProgressDisplay;
use signals::Signals;

/// Runs the command in `arguments`, which begin with the name of the program.
///
/// Results go to standard output, errors to standard error. The exit status is 0 on success, 1 on
/// failure, 2 on wrong usage (arguments or environment), and 128 plus the number of the signal that
/// ended the command. A comparison returns 0 for the same bytes, 1 for different bytes, and 2 on
/// failure.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    core_dump::disable();
    let outcome = match Arguments::try_parse_from(arguments) {
        Ok(Arguments { presentation, command }) => {
            match presentation.start_events().and_then(|()| presentation.resolve()) {
                Ok(presentation) => execute(command, presentation).map_err(|failure| (failure, presentation.mode)),
                Err(error) => Err((
                    with_usage(CommandError::Usage(error)),
                    Mode::from_raw_arguments(arguments),
                )),
            }
        }
        // clap returns the output of `--help` and `--version` as an error.
        Err(error) if !error.use_stderr() => return failure::print_help(&error),
        Err(error) => Err((CommandError::Usage(error), Mode::from_raw_arguments(arguments))),
    };
    match outcome {
        Ok(status) => status,
        Err((failure, mode)) => failure.print(mode, &Arguments::command(), arguments),
    }
}

fn execute(command: Command, presentation: Presentation) -> Result<ExitCode, CommandError> {
    let done = match command {
        Command::Rootfs {
            command: RootfsCommand::Build(build),
        } => build_rootfs(&build, presentation).map_err(with_usage),
        Command::Rootfs {
            command: RootfsCommand::Inspect(inspect),
        } => inspect.run(presentation.format),
        Command::Rootfs {
            command: RootfsCommand::Verify(verify),
        } => verify.run(presentation.format),
        Command::Rootfs {
            command: RootfsCommand::Diff(diff),
        } => return diff.run(presentation.format),
        Command::Registry { command } => command.run(presentation.format),
        Command::Cache(cache) => cache.run(presentation.format).map_err(with_usage),
        Command::Version => version::print(presentation.format).map_err(CommandError::Report),
        Command::Completion { shell } => documentation::print_completion(shell).map_err(CommandError::Report),
        Command::Manual { directory } => documentation::write_manual(&directory),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Formats a usage error that clap did not find itself like its own, with the usage of `rootfs
/// build`.
fn with_usage(failure: CommandError) -> CommandError {
    let CommandError::Usage(error) = failure else {
        return failure;
    };
    let mut command = Arguments::command();
    command.build();
    let build = command
        .find_subcommand_mut("rootfs")
        .and_then(|rootfs| rootfs.find_subcommand_mut("build"));
    CommandError::Usage(error.format(build.expect("the build command exists")))
}

fn build_rootfs(arguments: &Build, presentation: Presentation) -> Result<(), CommandError> {
    let mut options = arguments.options().map_err(CommandError::Usage)?;
    let signals = Signals::listen().map_err(CommandError::SignalSetup)?;
    let display = ProgressDisplay::start(arguments.progress, presentation.mode);
    options.events = display.events();
    let result = microagent::rootfs::build(&options, &arguments.out, signals.cancel());
    let report = result.map_err(|error| CommandError::Build {
        error,
        signal_status: signals.exit_status(),
    })?;
    display.finish();
    report::print(&report, &arguments.image, presentation.format).map_err(CommandError::Report)
}
