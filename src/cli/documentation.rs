//! `microagent completion` and `microagent manual`, generated from the definitions of the
//! arguments.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use microagent::inspect::CopyError;

use super::arguments::Arguments;
use super::failure::CommandError;
use super::report;

const PROGRAM: &str = "microagent";

/// Prints the completion script for a shell on standard output.
///
/// # Errors
///
/// Errors of standard output, other than a closed pipe.
pub(super) fn print_completion(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), PROGRAM, &mut script);
    report::write_stdout(&script)
}

/// Writes a manual page for the program and one for each command to a directory, which is created
/// if it is missing.
///
/// # Errors
///
/// [`CommandError::Copy`] if the directory or a page cannot be written.
pub(super) fn write_manual(directory: &Path) -> Result<(), CommandError> {
    let write = || {
        fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Arguments::command().name(PROGRAM), directory)
    };
    write().map_err(|source| {
        CommandError::Copy(CopyError::Write {
            path: directory.to_owned(),
            source,
        })
    })
}
