//! Safe wrappers of system calls.

use core::ffi::{CStr, c_char};
use core::{mem, ptr};

use crate::machine::{call, number};

/// A file descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Fd(u32);

impl Fd {
    /// Returns whether it is standard input, output or error.
    pub(crate) fn is_standard(self) -> bool {
        self.0 <= STDERR.0
    }
}

pub(crate) const STDIN: Fd = Fd(0);
pub(crate) const STDOUT: Fd = Fd(1);
pub(crate) const STDERR: Fd = Fd(2);

const AT_FDCWD: usize = (-100_isize).cast_unsigned();
const O_RDWR: usize = 2;
const O_CREAT: usize = 0o100;
const O_NOCTTY: usize = 0o400;
const O_CLOEXEC: usize = 0o2_000_000;
const W_OK: usize = 2;
const SIGSET_LEN: usize = 8;
const CLOCK_MONOTONIC: usize = 1;
const AF_INET: usize = 2;
const SOCK_DGRAM: usize = 2;
const TCSBRK: usize = 0x5409;
const TIOCSCTTY: usize = 0x540e;
const SIOCGIFFLAGS: usize = 0x8913;
const SIOCSIFFLAGS: usize = 0x8914;
const IFF_UP: u16 = 1;
const WNOHANG: usize = 1;
const WALL: usize = 0x4000_0000;
const REBOOT_MAGIC: [usize; 2] = [0xfee1_dead, 672_274_793];

pub(crate) const MS_RDONLY: usize = 1;
pub(crate) const MS_NOSUID: usize = 2;
pub(crate) const MS_NODEV: usize = 4;
pub(crate) const MS_NOEXEC: usize = 8;
pub(crate) const MS_REMOUNT: usize = 32;

pub(crate) const SIGINT: u32 = 2;
pub(crate) const SIGKILL: u32 = 9;
pub(crate) const SIGTERM: u32 = 15;
pub(crate) const SIGCHLD: u32 = 17;
pub(crate) const SIGPWR: u32 = 30;

/// An error of the kernel: a number of errno(3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u16);

impl Errno {
    pub(crate) const NO_ENTRY: Self = Self(2);
    pub(crate) const ACCESS: Self = Self(13);
    pub(crate) const BUSY: Self = Self(16);
    pub(crate) const NOT_A_DIRECTORY: Self = Self(20);
    pub(crate) const NAME_TOO_LONG: Self = Self(36);

    /// Returns the text of errors that are likely here.
    pub(crate) fn message(self) -> Option<&'static [u8]> {
        Some(match self.0 {
            1 => b"operation not permitted",
            2 => b"no such file or directory",
            5 => b"input/output error",
            7 => b"argument list too long",
            8 => b"exec format error",
            12 => b"out of memory",
            13 => b"permission denied",
            16 => b"device or resource busy",
            19 => b"not supported by this kernel",
            20 => b"not a directory",
            21 => b"is a directory",
            22 => b"invalid argument",
            26 => b"text file busy",
            28 => b"no space left",
            30 => b"read-only file system",
            36 => b"name too long",
            40 => b"too many symbolic links",
            _ => return None,
        })
    }
}

/// Converts the result of a system call.
fn check(result: isize) -> Result<usize, Errno> {
    // The kernel's errors are -1 to -4095.
    u16::try_from(result.wrapping_neg())
        .ok()
        .filter(|error| (1..4096).contains(error))
        .map_or(Ok(result.cast_unsigned()), |error| Err(Errno(error)))
}

fn address<T: ?Sized>(value: &T) -> usize {
    ptr::from_ref(value).cast::<u8>() as usize
}

fn path(path: &CStr) -> usize {
    path.as_ptr() as usize
}

pub(crate) fn process_id() -> usize {
    // SAFETY: no memory is involved.
    unsafe { call(number::GETPID, [0; 5]) }.cast_unsigned()
}

pub(crate) fn exit(status: u32) -> ! {
    loop {
        // SAFETY: no memory is involved.
        unsafe { call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0]) };
    }
}

pub(crate) fn write(fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads the bytes of the slice.
    check(unsafe { call(number::WRITE, [fd.0 as usize, address(bytes), bytes.len(), 0, 0]) })
}

pub(crate) fn read(fd: Fd, bytes: &mut [u8]) -> Result<usize, Errno> {
    let start = bytes.as_mut_ptr() as usize;
    // SAFETY: the kernel writes to bytes that are borrowed for it.
    check(unsafe { call(number::READ, [fd.0 as usize, start, bytes.len(), 0, 0]) })
}

/// Opens a file for reading.
pub(crate) fn open(name: &CStr) -> Result<Fd, Errno> {
    open_with(name, O_CLOEXEC)
}

/// Opens a terminal, without making it the controlling one.
pub(crate) fn open_terminal(name: &CStr) -> Result<Fd, Errno> {
    open_with(name, O_RDWR | O_NOCTTY | O_CLOEXEC)
}

/// Opens a file for reading and writing. Creates it with mode 0644 if it is missing.
pub(crate) fn open_or_make(name: &CStr) -> Result<Fd, Errno> {
    open_with(name, O_RDWR | O_CREAT | O_CLOEXEC)
}

#[expect(clippy::cast_possible_truncation, reason = "a file descriptor fits")]
fn open_with(name: &CStr, flags: usize) -> Result<Fd, Errno> {
    // SAFETY: the kernel reads a string.
    let fd = unsafe { call(number::OPENAT, [AT_FDCWD, path(name), flags, 0o644, 0]) };
    check(fd).map(|fd| Fd(fd as u32))
}

pub(crate) fn close(fd: Fd) {
    // SAFETY: no memory is involved.
    unsafe { call(number::CLOSE, [fd.0 as usize, 0, 0, 0, 0]) };
}

/// Makes `new` a duplicate of `fd`.
pub(crate) fn duplicate(fd: Fd, new: Fd) {
    // SAFETY: no memory is involved.
    unsafe { call(number::DUP3, [fd.0 as usize, new.0 as usize, 0, 0, 0]) };
}

/// Returns whether the file system of a path can be written to.
pub(crate) fn is_writable(name: &CStr) -> bool {
    // SAFETY: the kernel reads a string.
    check(unsafe { call(number::FACCESSAT, [AT_FDCWD, path(name), W_OK, 0, 0]) }).is_ok()
}

pub(crate) fn make_directory(name: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: the kernel reads a string.
    check(unsafe { call(number::MKDIRAT, [AT_FDCWD, path(name), mode as usize, 0, 0]) }).map(drop)
}

pub(crate) fn make_symlink(name: &CStr, target: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads two strings.
    check(unsafe { call(number::SYMLINKAT, [path(target), AT_FDCWD, path(name), 0, 0]) }).map(drop)
}

pub(crate) fn set_owner(name: &CStr, user: u32, group: u32) -> Result<(), Errno> {
    let arguments = [AT_FDCWD, path(name), user as usize, group as usize, 0];
    // SAFETY: the kernel reads a string.
    check(unsafe { call(number::FCHOWNAT, arguments) }).map(drop)
}

/// Sets the owner of an open file, and keeps its group.
pub(crate) fn set_fd_owner(fd: Fd, user: u32) {
    // SAFETY: no memory is involved.
    unsafe { call(number::FCHOWN, [fd.0 as usize, user as usize, u32::MAX as usize, 0, 0]) };
}

pub(crate) fn set_mode(name: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: the kernel reads a string.
    check(unsafe { call(number::FCHMODAT, [AT_FDCWD, path(name), mode as usize, 0, 0]) }).map(drop)
}

pub(crate) fn change_directory(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads a string.
    check(unsafe { call(number::CHDIR, [path(name), 0, 0, 0, 0]) }).map(drop)
}

pub(crate) fn mount(kind: &CStr, target: &CStr, flags: usize, options: &CStr) -> Result<(), Errno> {
    let arguments = [path(kind), path(target), path(kind), flags, path(options)];
    // SAFETY: the kernel reads strings.
    check(unsafe { call(number::MOUNT, arguments) }).map(drop)
}

/// Remounts the root with other flags.
pub(crate) fn remount_root(flags: usize) -> Result<(), Errno> {
    let arguments = [path(c""), path(c"/"), 0, MS_REMOUNT | flags, 0];
    // SAFETY: the kernel reads strings.
    check(unsafe { call(number::MOUNT, arguments) }).map(drop)
}

pub(crate) fn sync() {
    // SAFETY: no memory is involved.
    unsafe { call(number::SYNC, [0; 5]) };
}

/// Returns the host name. The buffer is for all names of `uname`.
pub(crate) fn hostname(names: &mut [u8; 390]) -> &[u8] {
    // SAFETY: the kernel writes six strings of 65 bytes (struct new_utsname). The second is the
    // host name.
    unsafe { call(number::UNAME, [names.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    CStr::from_bytes_until_nul(&names[65..130]).map_or(&[], CStr::to_bytes)
}

pub(crate) fn set_hostname(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads the bytes of the string.
    check(unsafe { call(number::SETHOSTNAME, [path(name), name.count_bytes(), 0, 0, 0]) }).map(drop)
}

/// `struct ifreq` of netdevice(7), with flags.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Brings a network interface up.
pub(crate) fn bring_up_interface(name: [u8; 16]) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    let socket = check(unsafe { call(number::SOCKET, [AF_INET, SOCK_DGRAM, 0, 0, 0]) })?;
    let mut request = InterfaceFlags {
        name,
        flags: 0,
        rest: [0; 22],
    };
    let start = ptr::from_mut(&mut request) as usize;
    // SAFETY: the kernel reads and writes the structure that it expects.
    let mut result = check(unsafe { call(number::IOCTL, [socket, SIOCGIFFLAGS, start, 0, 0]) });
    if result.is_ok() {
        // SAFETY: as above; only the kernel has the address meanwhile.
        result = check(unsafe {
            (*ptr::from_mut(&mut request)).flags |= IFF_UP;
            call(number::IOCTL, [socket, SIOCSIFFLAGS, start, 0, 0])
        });
    }
    // SAFETY: no memory is involved.
    unsafe { call(number::CLOSE, [socket, 0, 0, 0, 0]) };
    result.map(drop)
}

/// Waits until the output of a terminal is transmitted.
pub(crate) fn drain(fd: Fd) {
    // SAFETY: no memory is involved.
    unsafe { call(number::IOCTL, [fd.0 as usize, TCSBRK, 1, 0, 0]) };
}

/// Starts a session, and makes `terminal` its controlling terminal if it is one.
pub(crate) fn begin_session(terminal: Fd) {
    // SAFETY: no memory is involved.
    unsafe {
        call(number::SETSID, [0; 5]);
        call(number::IOCTL, [terminal.0 as usize, TIOCSCTTY, 1, 0, 0]);
    }
}

/// Changes the user, group and groups of this process, for good.
pub(crate) fn become_user(user: u32, group: u32, groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the kernel reads the groups of the slice.
    check(unsafe { call(number::SETGROUPS, [groups.len(), address(groups), 0, 0, 0]) })?;
    // SAFETY: no memory is involved.
    check(unsafe { call(number::SETGID, [group as usize, 0, 0, 0, 0]) })?;
    // SAFETY: no memory is involved.
    check(unsafe { call(number::SETUID, [user as usize, 0, 0, 0, 0]) }).map(drop)
}

/// Forks this process. Returns 0 in the child, and the child's number here.
pub(crate) fn fork() -> Result<usize, Errno> {
    // SAFETY: the child has memory of its own.
    check(unsafe { call(number::CLONE, [SIGCHLD as usize, 0, 0, 0, 0]) })
}

/// Replaces this program by another. Returns only if that fails.
///
/// # Safety
///
/// The lists must hold strings and end with a null.
pub(crate) unsafe fn execute(
    program: &CStr,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> Errno {
    let arguments = [path(program), arguments as usize, environment as usize, 0, 0];
    // SAFETY: as promised.
    check(unsafe { call(number::EXECVE, arguments) })
        .err()
        .unwrap_or(Errno::ACCESS)
}

/// Reaps a child. Returns its number and status, `None` while all children live, and an
/// error without children.
pub(crate) fn reap() -> Result<Option<(usize, u32)>, Errno> {
    let mut status = 0_u32;
    let start = ptr::from_mut(&mut status) as usize;
    // SAFETY: the kernel writes a number of 32 bits.
    let child = check(unsafe { call(number::WAIT4, [usize::MAX, start, WNOHANG | WALL, 0, 0]) })?;
    // SAFETY: any bytes that the kernel wrote are a number.
    let status = unsafe { ptr::from_ref(&status).read_volatile() };
    Ok((child > 0).then_some((child, status)))
}

/// Sends a signal to a process.
pub(crate) fn signal(process: usize, signal: u32) {
    // SAFETY: no memory is involved.
    unsafe { call(number::KILL, [process, signal as usize, 0, 0, 0]) };
}

/// Sends a signal to all processes but this one.
pub(crate) fn signal_all(number: u32) {
    signal(usize::MAX, number);
}

/// Blocks all signals, which then wait for [`next_signal`], or unblocks all.
pub(crate) fn block_signals(block: bool) {
    const SIG_SETMASK: usize = 2;
    let signals: u64 = if block { u64::MAX } else { 0 };
    // SAFETY: the kernel reads a set of signals.
    unsafe {
        call(
            number::RT_SIGPROCMASK,
            [SIG_SETMASK, address(&signals), 0, SIGSET_LEN, 0],
        )
    };
}

/// Time of the kernel (`struct timespec`).
#[repr(C)]
struct Time {
    seconds: u64,
    nanoseconds: u64,
}

/// Waits for a signal. Returns `None` after `milliseconds`, if given.
pub(crate) fn next_signal(milliseconds: Option<u64>) -> Option<u32> {
    let signals = u64::MAX;
    let time = milliseconds.map(|milliseconds| Time {
        seconds: milliseconds / 1000,
        nanoseconds: milliseconds % 1000 * 1_000_000,
    });
    let time = time.as_ref().map_or(0, address);
    // SAFETY: the kernel reads a set of signals, and a time if it is given.
    let signal = check(unsafe { call(number::RT_SIGTIMEDWAIT, [address(&signals), 0, time, SIGSET_LEN, 0]) });
    signal.ok().and_then(|signal| u32::try_from(signal).ok())
}

/// Returns the milliseconds since the machine started.
pub(crate) fn uptime() -> u64 {
    let mut time = mem::MaybeUninit::<Time>::zeroed();
    // SAFETY: the kernel writes a time.
    unsafe {
        call(
            number::CLOCK_GETTIME,
            [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0, 0],
        )
    };
    // SAFETY: it was zeroed, and zeros are a valid time.
    let Time { seconds, nanoseconds } = unsafe { time.assume_init() };
    seconds * 1000 + nanoseconds / 1_000_000
}

/// Command of reboot(2).
#[derive(Clone, Copy)]
pub(crate) enum RebootCommand {
    /// Send SIGINT to this process on Ctrl-Alt-Del, instead of restarting at once.
    SignalOnCtrlAltDel = 0,
    Restart = 0x0123_4567,
    PowerOff = 0x4321_fedc,
}

/// Calls reboot(2). Does not return if the machine restarts or powers off.
pub(crate) fn power(command: RebootCommand) -> Result<(), Errno> {
    let [first, second] = REBOOT_MAGIC;
    // SAFETY: no memory is involved.
    check(unsafe { call(number::REBOOT, [first, second, command as usize, 0, 0]) }).map(drop)
}
