//! Architecture-dependent parts: the entry point, the system call instruction, and the numbers of
//! the system calls.

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{call, number};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{call, number};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::{asm, global_asm};

    global_asm!(
        ".globl _start",
        "_start:",
        "xor ebp, ebp",
        "and rsp, -16",
        "call {start}",
        "ud2",
        start = sym crate::start,
    );

    /// Calls the kernel.
    ///
    /// # Safety
    ///
    /// The memory that the call reads and writes must be valid for that.
    pub(crate) unsafe fn call(number: usize, arguments: [usize; 5]) -> isize {
        let [first, second, third, fourth, fifth] = arguments;
        let result;
        // SAFETY: as promised; the kernel changes rax, rcx and r11 alone (syscall(2)).
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number.cast_signed() => result,
                in("rdi") first, in("rsi") second, in("rdx") third, in("r10") fourth, in("r8") fifth,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    /// `arch/x86/entry/syscalls/syscall_64.tbl`
    #[rustfmt::skip]
    pub(crate) mod number {
        pub(crate) const CHDIR: usize = 80;
        pub(crate) const CLOCK_GETTIME: usize = 228;
        pub(crate) const CLONE: usize = 56;
        pub(crate) const CLOSE: usize = 3;
        pub(crate) const DUP3: usize = 292;
        pub(crate) const EXECVE: usize = 59;
        pub(crate) const EXIT_GROUP: usize = 231;
        pub(crate) const FACCESSAT: usize = 269;
        pub(crate) const FCHMODAT: usize = 268;
        pub(crate) const FCHOWN: usize = 93;
        pub(crate) const FCHOWNAT: usize = 260;
        pub(crate) const GETPID: usize = 39;
        pub(crate) const IOCTL: usize = 16;
        pub(crate) const KILL: usize = 62;
        pub(crate) const MKDIRAT: usize = 258;
        pub(crate) const MOUNT: usize = 165;
        pub(crate) const OPENAT: usize = 257;
        pub(crate) const READ: usize = 0;
        pub(crate) const REBOOT: usize = 169;
        pub(crate) const RT_SIGPROCMASK: usize = 14;
        pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
        pub(crate) const SETGID: usize = 106;
        pub(crate) const SETGROUPS: usize = 116;
        pub(crate) const SETHOSTNAME: usize = 170;
        pub(crate) const SETSID: usize = 112;
        pub(crate) const SETUID: usize = 105;
        pub(crate) const SOCKET: usize = 41;
        pub(crate) const SYMLINKAT: usize = 266;
        pub(crate) const SYNC: usize = 162;
        pub(crate) const UNAME: usize = 63;
        pub(crate) const WAIT4: usize = 61;
        pub(crate) const WRITE: usize = 1;
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use core::arch::{asm, global_asm};

    global_asm!(
        ".globl _start",
        "_start:",
        "mov x29, xzr",
        "mov x30, xzr",
        "bl {start}",
        "udf #0",
        start = sym crate::start,
    );

    /// Calls the kernel.
    ///
    /// # Safety
    ///
    /// The memory that the call reads and writes must be valid for that.
    pub(crate) unsafe fn call(number: usize, arguments: [usize; 5]) -> isize {
        let [first, second, third, fourth, fifth] = arguments;
        let result;
        // SAFETY: as promised; the kernel changes x0 alone (syscall(2)).
        unsafe {
            asm!(
                "svc #0",
                in("x8") number,
                inlateout("x0") first.cast_signed() => result,
                in("x1") second, in("x2") third, in("x3") fourth, in("x4") fifth,
                options(nostack),
            );
        }
        result
    }

    /// `include/uapi/asm-generic/unistd.h`
    #[rustfmt::skip]
    pub(crate) mod number {
        pub(crate) const CHDIR: usize = 49;
        pub(crate) const CLOCK_GETTIME: usize = 113;
        pub(crate) const CLONE: usize = 220;
        pub(crate) const CLOSE: usize = 57;
        pub(crate) const DUP3: usize = 24;
        pub(crate) const EXECVE: usize = 221;
        pub(crate) const EXIT_GROUP: usize = 94;
        pub(crate) const FACCESSAT: usize = 48;
        pub(crate) const FCHMODAT: usize = 53;
        pub(crate) const FCHOWN: usize = 55;
        pub(crate) const FCHOWNAT: usize = 54;
        pub(crate) const GETPID: usize = 172;
        pub(crate) const IOCTL: usize = 29;
        pub(crate) const KILL: usize = 129;
        pub(crate) const MKDIRAT: usize = 34;
        pub(crate) const MOUNT: usize = 40;
        pub(crate) const OPENAT: usize = 56;
        pub(crate) const READ: usize = 63;
        pub(crate) const REBOOT: usize = 142;
        pub(crate) const RT_SIGPROCMASK: usize = 135;
        pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
        pub(crate) const SETGID: usize = 144;
        pub(crate) const SETGROUPS: usize = 159;
        pub(crate) const SETHOSTNAME: usize = 161;
        pub(crate) const SETSID: usize = 157;
        pub(crate) const SETUID: usize = 146;
        pub(crate) const SOCKET: usize = 198;
        pub(crate) const SYMLINKAT: usize = 36;
        pub(crate) const SYNC: usize = 81;
        pub(crate) const UNAME: usize = 160;
        pub(crate) const WAIT4: usize = 260;
        pub(crate) const WRITE: usize = 64;
    }
}
