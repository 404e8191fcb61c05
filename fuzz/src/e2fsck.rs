//! The word of e2fsck on images, which takes a process an image: only where `E2FSCK` says which program that is.

use std::process::Command;
use std::{env, fs, process};

/// The last second that e2fsck knows: a superblock may say any, and one in the future is a complaint.
const LATER: &str = "4294967295";

/// Has e2fsck look at an image, and panics if it says anything, with the image left in `TMPDIR`.
pub(crate) fn judge(image: &[u8]) {
    let Some(program) = env::var_os("E2FSCK") else {
        return;
    };
    let path = env::temp_dir().join(format!("fuzz-{}.ext4", process::id()));
    fs::write(&path, image).expect("TMPDIR takes it");
    let output = Command::new(program)
        .arg("-fn")
        .arg(&path)
        .env("E2FSCK_TIME", LATER)
        .env("LC_ALL", "C")
        .output()
        .expect("E2FSCK is a program");
    let said = String::from_utf8_lossy(&output.stdout);
    let is_usual = |line: &str| line.starts_with("Pass ") || (line.contains(" files (") && line.ends_with(" blocks"));
    assert!(
        output.status.success() && said.lines().filter(|line| !line.is_empty()).all(is_usual),
        "{}: {}\n{said}{}",
        path.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    fs::remove_file(&path).expect("it was made");
}
