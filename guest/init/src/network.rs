//! Sets up the network that every process expects.

use core::ffi::CStr;

use crate::console;
use crate::syscall;

/// Settings of container engines that let users send echo requests and listen on any port without
/// root's rights (moby/moby#41030).
const SETTINGS: [(&CStr, &[u8]); 2] = [
    (c"/proc/sys/net/ipv4/ping_group_range", b"0 2147483647"),
    (c"/proc/sys/net/ipv4/ip_unprivileged_port_start", b"0"),
];

/// Brings up the loopback interface, which gets its addresses from the kernel, and applies the
/// settings.
pub(crate) fn set_up() {
    if let Err(error) = syscall::bring_up_interface(*b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0") {
        console::warn(&[b"could not bring up the loopback interface"], error);
    }
    for (name, value) in SETTINGS {
        // A kernel without IPv4 does not have them.
        if let Ok(file) = syscall::open_or_make(name) {
            if let Err(error) = syscall::write(file, value) {
                console::warn(&[b"could not write ", name.to_bytes()], error);
            }
            syscall::close(file);
        }
    }
}
