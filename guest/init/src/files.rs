//! Writes the files that an engine writes into a container and the image lacks, and reads the
//! kernel command line.

use core::ffi::CStr;

use crate::configuration::Configuration;
use crate::console;
use crate::syscall::{self, Errno};

/// Sets the host name, and writes /etc/hosts and /etc/resolv.conf if they are missing or empty.
pub(crate) fn set_up(configuration: &Configuration) {
    // A host name on the kernel command line takes precedence.
    if syscall::hostname(&mut [0; 390]) == b"(none)"
        && let Err(error) = syscall::set_hostname(configuration.hostname())
    {
        console::warn(&[b"could not set the host name"], error);
    }
    if !syscall::is_writable(c"/") {
        return;
    }
    let _ = syscall::make_directory(c"/etc", 0o755);
    let hostname = configuration.hostname().to_bytes();
    fill(
        c"/etc/hosts",
        &[b"127.0.0.1\tlocalhost ", hostname, b"\n::1\tlocalhost\n"],
    );
    // What the kernel got from DHCP or `ip=`, in the form of resolv.conf(5).
    let mut servers = [0; 1024];
    if let Ok(servers) = read(c"/proc/net/pnp", &mut servers)
        && contains(servers, b"nameserver ")
    {
        fill(c"/etc/resolv.conf", &[servers]);
    }
}

/// Returns whether the kernel command line has a word.
pub(crate) fn kernel_command_line_has(word: &[u8]) -> bool {
    let mut line = [0; 4096];
    read(c"/proc/cmdline", &mut line).is_ok_and(|line| line.split(u8::is_ascii_whitespace).any(|other| other == word))
}

/// Writes a file if it is missing or empty.
fn fill(name: &CStr, parts: &[&[u8]]) {
    let written = syscall::open_or_make(name).and_then(|file| {
        let empty = syscall::read(file, &mut [0]) == Ok(0);
        let result = if empty {
            parts.iter().try_for_each(|part| syscall::write(file, part).map(drop))
        } else {
            Ok(())
        };
        syscall::close(file);
        result
    });
    if let Err(error) = written {
        console::warn(&[b"could not write ", name.to_bytes()], error);
    }
}

/// Returns the beginning of a file, up to the length of the buffer.
fn read<'a>(name: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = syscall::open(name)?;
    let len = syscall::read(file, buffer);
    syscall::close(file);
    len.map(|len| &buffer[..len])
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
