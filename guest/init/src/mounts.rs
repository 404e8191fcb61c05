//! Mounts the file systems that every process expects.
//!
//! To add a mount: the call in [`mount`] here, and the path in `guest/configuration` and
//! `MOUNT_POINTS` of `src/guest/install.rs`, unless it is below another mount. Then run `just init`
//! for the prebuilt programs. `tests/boot/process.rs` looks for the mounts in a machine, and
//! README.md lists them.

use core::ffi::CStr;

use guest_configuration::{DEV, MOUNT, MOUNT_IF_READ_ONLY, PROC, SYS};

use crate::configuration::{Configuration, path_of};
use crate::console;
use crate::files;
use crate::syscall::{self, Errno, MS_NODEV, MS_NOEXEC, MS_NOSUID, STDERR, STDIN, STDOUT};

/// Mounts all file systems, and opens the console as standard input, output and error.
pub(crate) fn mount(configuration: &Configuration) {
    mount_unless_mounted(c"proc", PROC, MS_NOSUID | MS_NODEV | MS_NOEXEC, c"");
    make_root_writable();
    mount_unless_mounted(c"sysfs", SYS, MS_NOSUID | MS_NODEV | MS_NOEXEC, c"");
    mount_unless_mounted(c"devtmpfs", DEV, MS_NOSUID, c"mode=0755");
    open_console();
    mount_unless_mounted(
        c"devpts",
        c"/dev/pts",
        MS_NOSUID | MS_NOEXEC,
        c"gid=5,mode=0620,ptmxmode=0666",
    );
    mount_unless_mounted(c"tmpfs", c"/dev/shm", MS_NOSUID | MS_NODEV, c"mode=1777");
    for (name, target) in [
        (c"/dev/fd", c"/proc/self/fd"),
        (c"/dev/stdin", c"/proc/self/fd/0"),
        (c"/dev/stdout", c"/proc/self/fd/1"),
        (c"/dev/stderr", c"/proc/self/fd/2"),
    ] {
        // It exists if /dev was mounted before.
        let _ = syscall::make_symlink(name, target);
    }
    mount_tmpfs(configuration);
}

/// Mounts a file system, unless one is mounted there. Returns whether one is.
fn mount_unless_mounted(kind: &CStr, target: &CStr, flags: usize, options: &CStr) -> bool {
    // Only a mount point below /dev can be missing: the image has the others.
    let _ = syscall::make_directory(target, 0o755);
    match syscall::mount(kind, target, flags, options) {
        Ok(()) | Err(Errno::BUSY) => true,
        Err(error) => {
            console::warn(&[b"could not mount ", target.to_bytes()], error);
            false
        }
    }
}

/// Remounts the root writable, unless the kernel command line has `ro`. Without a word for either,
/// the kernel mounts the root read-only.
fn make_root_writable() {
    if syscall::is_writable(c"/") || files::kernel_command_line_has(b"ro") {
        return;
    }
    // Fails for a read-only disk, which stays as it was attached.
    let _ = syscall::remount_root(0);
}

/// Opens the console as standard input, output and error. What the kernel opened is an early
/// console, or nothing.
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

/// Mounts a tmpfs on /run and /tmp, with the directories that the image has there.
fn mount_tmpfs(configuration: &Configuration) {
    let read_only = !syscall::is_writable(c"/");
    let mut mounted = false;
    for directory in configuration.directories() {
        let path = path_of(directory);
        match directory.mount {
            MOUNT => mounted = mount_unless_mounted(c"tmpfs", path, MS_NOSUID | MS_NODEV, c"mode=0755"),
            MOUNT_IF_READ_ONLY => {
                mounted = read_only && mount_unless_mounted(c"tmpfs", path, MS_NOSUID | MS_NODEV, c"mode=0755");
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
