//! Holes in the output: ranges that are never written, and take up no disk space.

use std::path::Path;

/// Makes a file sparse, and returns whether it is.
///
/// Only Windows requires this. The call (`FSCTL_SET_SPARSE`) has no safe form in Rust, so
/// `fsutil.exe` of Windows makes it. NTFS has sparse files; FAT and exFAT do not.
#[cfg(windows)]
pub(super) fn make_sparse(path: &Path) -> bool {
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
    // The attributes below show whether it succeeded.
    let _ = program.status();
    fs::metadata(path).is_ok_and(|metadata| metadata.file_attributes() & FILE_ATTRIBUTE_SPARSE_FILE != 0)
}

/// Returns `true`: on other systems every file is sparse, if its file system supports that.
#[cfg(not(windows))]
pub(super) fn make_sparse(_path: &Path) -> bool {
    true
}
