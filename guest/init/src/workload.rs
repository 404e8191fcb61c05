//! Starts the command of the image as a process.

use core::ffi::CStr;

use crate::configuration::Configuration;
use crate::console;
use crate::syscall::{self, Errno, STDERR, STDIN, STDOUT};

/// Exit status of a command that cannot be run, as in shells and container engines.
pub(crate) const CANNOT_RUN: u32 = 126;
/// Exit status of a command that does not exist.
const NOT_FOUND: u32 = 127;
/// Longest path in bytes, with its NUL (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// Starts the command, and returns the number of its process.
pub(crate) fn start(configuration: &Configuration) -> Result<usize, Errno> {
    match syscall::fork()? {
        0 => syscall::exit(run(configuration)),
        child => Ok(child),
    }
}

/// Becomes the command. Returns the exit status if that fails.
fn run(configuration: &Configuration) -> u32 {
    syscall::begin_session(STDIN);
    // Lets the user open /dev/stdout, as runc does (fixStdioPermissions).
    for fd in [STDIN, STDOUT, STDERR] {
        syscall::set_fd_owner(fd, configuration.user());
    }
    let directory = configuration.working_directory();
    if let Err(error) = syscall::change_directory(directory) {
        console::warn(&[b"could not change to ", directory.to_bytes()], error);
        return CANNOT_RUN;
    }
    if let Err(error) = syscall::become_user(configuration.user(), configuration.group(), configuration.groups()) {
        console::warn(&[b"could not become the user"], error);
        return CANNOT_RUN;
    }
    syscall::block_signals(false);
    let command = configuration.command();
    let error = execute(configuration, command);
    console::warn(&[b"could not run ", command.to_bytes()], error);
    match error {
        Errno::NO_ENTRY | Errno::NOT_A_DIRECTORY => NOT_FOUND,
        _ => CANNOT_RUN,
    }
}

/// Executes the command: a path directly, a name from the first directory of `PATH` where that
/// works, as execvp(3).
fn execute(configuration: &Configuration, command: &CStr) -> Errno {
    let execute = |program: &CStr| {
        let (arguments, environment) = (configuration.arguments(), configuration.environment());
        // SAFETY: the builder wrote such lists.
        unsafe { syscall::execute(program, arguments, environment) }
    };
    let name = command.to_bytes();
    if name.contains(&b'/') {
        return execute(command);
    }
    let mut result = Errno::NO_ENTRY;
    let directories = configuration.variable(b"PATH=").unwrap_or_default();
    for directory in directories.split(|&byte| byte == b':') {
        let mut buffer = [0; MAX_PATH];
        let error = match join(&mut buffer, directory, name) {
            Some(program) => execute(program),
            None => Errno::NAME_TOO_LONG,
        };
        match error {
            Errno::NO_ENTRY | Errno::NOT_A_DIRECTORY => {}
            Errno::ACCESS => result = error,
            _ => return error,
        }
    }
    result
}

/// Joins a directory and a name. An empty directory is the current one. Returns `None` if the path
/// is too long.
fn join<'a>(buffer: &'a mut [u8; MAX_PATH], directory: &[u8], name: &[u8]) -> Option<&'a CStr> {
    let directory = if directory.is_empty() { b"." } else { directory };
    let mut rest = &mut buffer[..];
    for part in [directory, b"/", name, b"\0"] {
        let (start, end) = rest.split_at_mut_checked(part.len())?;
        start.copy_from_slice(part);
        rest = end;
    }
    CStr::from_bytes_until_nul(buffer).ok()
}
