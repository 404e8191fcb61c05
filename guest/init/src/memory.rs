//! Functions that the compiler expects of a C library. Every loop has a volatile access, or the
//! compiler would turn it into a call of itself.

use core::ffi::c_char;

/// memcpy(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for index in 0..len {
        // SAFETY: both have `len` bytes.
        unsafe { to.add(index).write_volatile(*from.add(index)) };
    }
    to
}

/// memset(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    for index in 0..len {
        // SAFETY: it has `len` bytes.
        unsafe { to.add(index).write_volatile(byte.to_le_bytes()[0]) };
    }
    to
}

/// memcmp(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    for index in 0..len {
        // SAFETY: both have `len` bytes.
        let (one, other) = unsafe { (one.add(index).read_volatile(), *other.add(index)) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// bcmp(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { memcmp(one, other, len) }
}

/// strlen(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const c_char) -> usize {
    let mut len = 0;
    // SAFETY: the string ends with a NUL, at which this ends.
    while unsafe { string.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}
