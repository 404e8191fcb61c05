//! Check of images with e2fsck, if the variable `E2FSCK` is set to its path. It takes a process for
//! each image.

use std::process::Command;
use std::{env, fs, process};

/// Clock of e2fsck, in seconds, in 2378. e2fsck calls a superblock's time that is in the future a
/// problem, and compares only the low 32 bits, which are all set here. Before 2242, it also takes
/// years from 2310 to 2378 for wrongly encoded years before 1970.
const CLOCK: &str = "12884901887";

/// Asserts that e2fsck prints nothing but its progress. On failure, the image is left in `TMPDIR`.
pub(crate) fn assert_clean(image: &[u8]) {
    let Some(program) = env::var_os("E2FSCK") else {
        return;
    };
    let path = env::temp_dir().join(format!("fuzz-{}.ext4", process::id()));
    fs::write(&path, image).expect("TMPDIR takes it");
    let output = Command::new(program)
        .arg("-fn")
        .arg(&path)
        .env("E2FSCK_TIME", CLOCK)
        .env("LC_ALL", "C")
        .output()
        .expect("E2FSCK is a program");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let is_progress =
        |line: &str| line.starts_with("Pass ") || (line.contains(" files (") && line.ends_with(" blocks"));
    assert!(
        output.status.success() && stdout.lines().filter(|line| !line.is_empty()).all(is_progress),
        "{}: {}\n{stdout}{}",
        path.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    fs::remove_file(&path).expect("it was made");
}
