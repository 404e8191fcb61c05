//! Holes in the output: ranges that are never written, and take no room.

use std::path::Path;

/// Has the file system leave out of a file what is never written; says whether it will.
///
/// Windows alone must be asked to, by a call that Rust has no safe form of, so that a program of Windows does it. NTFS can, FAT
/// and exFAT cannot.
#[cfg(windows)]
pub(super) fn allow(path: &Path) -> bool {
    use std::env;
    use std::fs;
    use std::os::windows::fs::MetadataExt;
    use std::os::windows::process::CommandExt;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    const FILE_ATTRIBUTE_SPARSE_FILE: u32 = 0x200;

    let system = env::var_os("SystemRoot").map_or_else(|| PathBuf::from("C:\\Windows"), PathBuf::from);
    let mut program = Command::new(system.join("System32").join("fsutil.exe"));
    program.args(["sparse", "setflag"]).arg(path);
    program.creation_flags(CREATE_NO_WINDOW);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // What counts is what the file says afterwards.
    let _ = program.status();
    fs::metadata(path).is_ok_and(|metadata| metadata.file_attributes() & FILE_ATTRIBUTE_SPARSE_FILE != 0)
}

/// All other systems do so unasked, where the file system can.
#[cfg(not(windows))]
pub(super) fn allow(_path: &Path) -> bool {
    true
}
