//! What to run and how, as the builder of the image wrote it.

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

/// The configuration. Its addresses point into the segment that it is the beginning of; all strings end with a NUL, all lists of
/// strings with a null.
#[repr(C)]
pub(crate) struct Configuration {
    arguments: *const *const c_char,
    environment: *const *const c_char,
    groups: *const u32,
    group_count: u64,
    directories: *const Directory,
    directory_count: u64,
    working_directory: *const c_char,
    hostname: *const c_char,
    /// The user that the command runs as.
    pub(crate) user: u32,
    /// The user's first group.
    pub(crate) group: u32,
    /// What asks the command to stop.
    pub(crate) stop_signal: u32,
    reserved: u32,
}

/// A directory that has to be made in a file system in memory.
#[repr(C)]
pub(crate) struct Directory {
    path: *const c_char,
    /// Its permissions.
    pub(crate) mode: u32,
    /// Its owner.
    pub(crate) user: u32,
    /// Its group.
    pub(crate) group: u32,
    /// Whether it is where such a file system is mounted: [`MOUNT`], [`MOUNT_IF_READ_ONLY`], or 0 for a directory in it.
    pub(crate) mount: u32,
}

/// A file system in memory is mounted here.
pub(crate) const MOUNT: u32 = 1;
/// One is mounted here if the root is read-only, and would otherwise hide what the image has here.
pub(crate) const MOUNT_IF_READ_ONLY: u32 = 2;

// SAFETY: nothing ever writes to it.
unsafe impl Sync for Configuration {}

/// The place for it, at the very end of the file; nothing runs a program that was not given one.
#[used]
#[unsafe(link_section = ".configuration")]
static CONFIGURATION: Configuration = Configuration {
    arguments: ptr::null(),
    environment: ptr::null(),
    groups: ptr::null(),
    group_count: 0,
    directories: ptr::null(),
    directory_count: 0,
    working_directory: ptr::null(),
    hostname: ptr::null(),
    user: 0,
    group: 0,
    stop_signal: 0,
    reserved: 0,
};

impl Configuration {
    /// The configuration of this image. A program that was not given one ends here.
    pub(crate) fn get() -> &'static Self {
        // The compiler must not take it for what it is in the source.
        let configuration = core::hint::black_box(&CONFIGURATION);
        assert!(!configuration.arguments.is_null());
        configuration
    }

    /// The command and its arguments, for `execve`.
    pub(crate) fn arguments(&self) -> *const *const c_char {
        self.arguments
    }

    /// The environment, for `execve`.
    pub(crate) fn environment(&self) -> *const *const c_char {
        self.environment
    }

    /// The command.
    pub(crate) fn command(&self) -> &CStr {
        // SAFETY: the builder wrote at least one argument.
        unsafe { CStr::from_ptr(*self.arguments) }
    }

    /// The value of a variable of the environment, whose name is given with the `=`.
    pub(crate) fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let mut next = self.environment;
        loop {
            // SAFETY: the list ends with a null, at which this returns.
            let entry = unsafe { *next };
            if entry.is_null() {
                return None;
            }
            // SAFETY: the builder wrote strings.
            if let Some(value) = unsafe { CStr::from_ptr(entry) }.to_bytes().strip_prefix(name) {
                return Some(value);
            }
            // SAFETY: this was not the last.
            next = unsafe { next.add(1) };
        }
    }

    /// All groups of the user.
    pub(crate) fn groups(&self) -> &[u32] {
        // SAFETY: the builder wrote so many.
        unsafe { list(self.groups, self.group_count) }
    }

    /// Directories of file systems in memory, each after the one that it is in.
    pub(crate) fn directories(&self) -> &[Directory] {
        // SAFETY: the builder wrote so many.
        unsafe { list(self.directories, self.directory_count) }
    }

    /// The directory that the command starts in.
    pub(crate) fn working_directory(&self) -> &CStr {
        // SAFETY: the builder wrote a string.
        unsafe { CStr::from_ptr(self.working_directory) }
    }

    /// The name of the machine.
    pub(crate) fn hostname(&self) -> &CStr {
        // SAFETY: the builder wrote a string.
        unsafe { CStr::from_ptr(self.hostname) }
    }
}

impl Directory {
    /// Its path.
    pub(crate) fn path(&self) -> &CStr {
        // SAFETY: the builder wrote a string.
        unsafe { CStr::from_ptr(self.path) }
    }
}

/// The elements at an address.
///
/// # Safety
///
/// There must be so many.
unsafe fn list<'a, T>(start: *const T, count: u64) -> &'a [T] {
    // SAFETY: as promised; all addresses have 64 bits here.
    unsafe { slice::from_raw_parts(start, usize::try_from(count).unwrap_or(0)) }
}
