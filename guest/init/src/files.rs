//! Files that an engine writes into a container, as far as the image does not have them, and what the kernel was told.

use core::ffi::CStr;

use crate::configuration::Configuration;
use crate::console;
use crate::syscall::{self, Errno};

/// Sets the name of the machine, and writes /etc/hosts and /etc/resolv.conf if there are none.
pub(crate) fn complete(configuration: &Configuration) {
    // Whoever named it on the kernel's command line knows better.
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

/// Whether a word is on the kernel's command line.
pub(crate) fn kernel_command_line_has(word: &[u8]) -> bool {
    let mut line = [0; 4096];
    read(c"/proc/cmdline", &mut line).is_ok_and(|line| line.split(u8::is_ascii_whitespace).any(|other| other == word))
}

/// Writes a file unless there is something in it.
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

/// The beginning of a file.
fn read<'a>(name: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = syscall::open(name)?;
    let len = syscall::read(file, buffer);
    syscall::close(file);
    len.map(|len| &buffer[..len])
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
