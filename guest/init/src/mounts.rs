//! The file systems that every process expects.

use core::ffi::CStr;

use guest_configuration::{DEV, MOUNT, MOUNT_IF_READ_ONLY, PROC, SYS};

use crate::configuration::{Configuration, path_of};
use crate::console;
use crate::files;
use crate::syscall::{self, Errno, MS_NODEV, MS_NOEXEC, MS_NOSUID, STDERR, STDIN, STDOUT};

/// Mounts everything, and gives standard input, output and error to the console.
pub(crate) fn mount(configuration: &Configuration) {
    attach(c"proc", PROC, MS_NOSUID | MS_NODEV | MS_NOEXEC, c"");
    make_root_writable();
    attach(c"sysfs", SYS, MS_NOSUID | MS_NODEV | MS_NOEXEC, c"");
    attach(c"devtmpfs", DEV, MS_NOSUID, c"mode=0755");
    open_console();
    attach(
        c"devpts",
        c"/dev/pts",
        MS_NOSUID | MS_NOEXEC,
        c"gid=5,mode=0620,ptmxmode=0666",
    );
    attach(c"tmpfs", c"/dev/shm", MS_NOSUID | MS_NODEV, c"mode=1777");
    for (name, target) in [
        (c"/dev/fd", c"/proc/self/fd"),
        (c"/dev/stdin", c"/proc/self/fd/0"),
        (c"/dev/stdout", c"/proc/self/fd/1"),
        (c"/dev/stderr", c"/proc/self/fd/2"),
    ] {
        // Who mounted /dev before may have made it.
        let _ = syscall::make_symlink(name, target);
    }
    make_volatile(configuration);
}

/// Mounts a file system of the kernel's. One that is there already will do.
fn attach(kind: &CStr, target: &CStr, flags: usize, options: &CStr) -> bool {
    // It is missing only below /dev: the image has the others.
    let _ = syscall::make_directory(target, 0o755);
    match syscall::mount(kind, target, flags, options) {
        Ok(()) | Err(Errno::BUSY) => true,
        Err(error) => {
            console::warn(&[b"could not mount ", target.to_bytes()], error);
            false
        }
    }
}

/// The kernel mounts the root read-only if it is not told otherwise. That is taken for a wish only if it says so.
fn make_root_writable() {
    if syscall::is_writable(c"/") || files::kernel_command_line_has(b"ro") {
        return;
    }
    // A disk that is read-only stays so, which is what whoever attached it wanted.
    let _ = syscall::remount_root(0);
}

/// What the kernel opened is the console of its first moments, if that.
fn open_console() {
    let Ok(console) = syscall::open_terminal(c"/dev/console").or_else(|_| syscall::open_terminal(c"/dev/null")) else {
        return;
    };
    for fd in [STDIN, STDOUT, STDERR] {
        syscall::duplicate(console, fd);
    }
    // It is one of the three if they were closed before.
    if !console.is_standard() {
        syscall::close(console);
    }
}

/// Mounts file systems in memory on /run and /tmp, with the directories that the image has there.
fn make_volatile(configuration: &Configuration) {
    let read_only = !syscall::is_writable(c"/");
    let mut mounted = false;
    for directory in configuration.directories() {
        let path = path_of(directory);
        match directory.mount {
            MOUNT => mounted = attach(c"tmpfs", path, MS_NOSUID | MS_NODEV, c"mode=0755"),
            MOUNT_IF_READ_ONLY => {
                mounted = read_only && attach(c"tmpfs", path, MS_NOSUID | MS_NODEV, c"mode=0755");
            }
            _ if mounted => {
                let _ = syscall::make_directory(path, 0o755);
            }
            _ => {}
        }
        if mounted {
            let made = syscall::set_owner(path, directory.user, directory.group)
                .and_then(|()| syscall::set_mode(path, directory.mode));
            if let Err(error) = made {
                console::warn(&[b"could not make ", path.to_bytes()], error);
            }
        }
    }
}
