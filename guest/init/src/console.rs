//! Messages on the console: lines that begin with the name of the program, each written in one
//! piece.

use crate::syscall::{self, Errno, STDERR};

const NAME: &[u8] = b"microagent-init: ";
const MAX_LINE_LEN: usize = 1024;

/// A line under construction. What exceeds its length is cut off.
pub(crate) struct Line {
    bytes: [u8; MAX_LINE_LEN],
    len: usize,
}

impl Line {
    /// Creates a line that begins with the name of the program.
    pub(crate) fn new() -> Self {
        let mut line = Self {
            bytes: [0; MAX_LINE_LEN],
            len: 0,
        };
        line.push(NAME);
        line
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // One byte is left for the newline.
        for &byte in bytes.iter().take(MAX_LINE_LEN - 1 - self.len) {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
    }

    /// Appends a number of up to 10 digits.
    pub(crate) fn push_number(&mut self, mut number: u32) {
        let mut digits = [0; 10];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.push(&digits[start..]);
            }
        }
    }

    /// Writes the line. Errors are ignored: there is nowhere to report them.
    pub(crate) fn print(mut self) {
        self.bytes[self.len] = b'\n';
        let _ = syscall::write(STDERR, &self.bytes[..=self.len]);
    }
}

/// Prints a line.
pub(crate) fn print_line(parts: &[&[u8]]) {
    let mut line = Line::new();
    for part in parts {
        line.push(part);
    }
    line.print();
}

/// Prints what failed, and the error.
pub(crate) fn warn(parts: &[&[u8]], error: Errno) {
    let mut line = Line::new();
    for part in parts {
        line.push(part);
    }
    line.push(b": ");
    if let Some(message) = error.message() {
        line.push(message);
    } else {
        line.push(b"error ");
        line.push_number(error.0.into());
    }
    line.print();
}
