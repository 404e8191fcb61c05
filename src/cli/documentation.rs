//! `completion` and `manual`: what the arguments say of themselves, for shells and for man(1).

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

/// Prints the completions of a shell on standard output.
///
/// # Errors
///
/// Those of standard output, besides that nobody reads it.
pub(super) fn print_completion(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), PROGRAM, &mut script);
    report::write_stdout(&script)
}

/// Writes a manual page of the program, and one of each of its commands, into a directory, which is made.
///
/// # Errors
///
/// [`CommandError::Copy`].
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
