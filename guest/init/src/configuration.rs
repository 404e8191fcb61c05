//! The configuration: what to run and how, as the builder of the image wrote it.

use core::ffi::{CStr, c_char};
use core::{ptr, slice};

use guest_configuration::Directory;

/// The configuration. Its addresses are pointers, since the kernel maps it where the builder
/// expects.
#[repr(transparent)]
pub(crate) struct Configuration(guest_configuration::Configuration);

/// Placeholder at the end of the file, which the builder replaces. A program that still has it
/// panics: see [`Configuration::get`].
#[used]
#[unsafe(link_section = ".configuration")]
static CONFIGURATION: Configuration = Configuration(guest_configuration::Configuration {
    arguments: 0,
    environment: 0,
    groups: 0,
    group_count: 0,
    directories: 0,
    directory_count: 0,
    working_directory: 0,
    hostname: 0,
    user: 0,
    group: 0,
    stop_signal: 0,
    reserved: 0,
});

impl Configuration {
    /// Returns the configuration of this image. Panics in a program that was not given one.
    pub(crate) fn get() -> &'static Self {
        // The compiler must not assume that it still is what the source says.
        let configuration = core::hint::black_box(&CONFIGURATION);
        assert!(configuration.0.arguments != 0);
        configuration
    }

    /// Returns the command and its arguments, for `execve`.
    pub(crate) fn arguments(&self) -> *const *const c_char {
        pointer(self.0.arguments)
    }

    /// Returns the environment, for `execve`.
    pub(crate) fn environment(&self) -> *const *const c_char {
        pointer(self.0.environment)
    }

    /// Returns the command.
    pub(crate) fn command(&self) -> &CStr {
        // SAFETY: the builder wrote at least one argument.
        unsafe { CStr::from_ptr(*self.arguments()) }
    }

    /// Returns the value of a variable of the environment. `name` ends with `=`.
    pub(crate) fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let mut next = self.environment();
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

    /// Returns all groups of the user.
    pub(crate) fn groups(&self) -> &[u32] {
        // SAFETY: the builder wrote the number of elements that it counted.
        unsafe { list(self.0.groups, self.0.group_count) }
    }

    /// Returns the directories of all tmpfs, each after its parent.
    pub(crate) fn directories(&self) -> &[Directory] {
        // SAFETY: the builder wrote the number of elements that it counted.
        unsafe { list(self.0.directories, self.0.directory_count) }
    }

    /// Returns the working directory of the command.
    pub(crate) fn working_directory(&self) -> &CStr {
        // SAFETY: the builder wrote a string.
        unsafe { string(self.0.working_directory) }
    }

    /// Returns the host name.
    pub(crate) fn hostname(&self) -> &CStr {
        // SAFETY: the builder wrote a string.
        unsafe { string(self.0.hostname) }
    }

    /// Returns the uid of the command.
    pub(crate) fn user(&self) -> u32 {
        self.0.user
    }

    /// Returns the gid of the command.
    pub(crate) fn group(&self) -> u32 {
        self.0.group
    }

    /// Returns the signal that asks the command to stop.
    pub(crate) fn stop_signal(&self) -> u32 {
        self.0.stop_signal
    }
}

/// Returns the path of one of the [`Configuration::directories`].
pub(crate) fn path_of(directory: &Directory) -> &CStr {
    // SAFETY: the builder wrote a string.
    unsafe { string(directory.path) }
}

/// Returns the string at an address.
///
/// # Safety
///
/// The address must be that of a string.
unsafe fn string<'a>(address: u64) -> &'a CStr {
    // SAFETY: as promised.
    unsafe { CStr::from_ptr(pointer(address)) }
}

/// Returns the elements at an address.
///
/// # Safety
///
/// The address must be that of `count` elements.
unsafe fn list<'a, T>(address: u64, count: u64) -> &'a [T] {
    // SAFETY: as promised.
    unsafe { slice::from_raw_parts(pointer(address), usize::try_from(count).unwrap_or(0)) }
}

/// Returns an address as a pointer; both have 64 bits here.
fn pointer<T>(address: u64) -> *const T {
    ptr::with_exposed_provenance(usize::try_from(address).unwrap_or(0))
}
