//! The word of e2fsck on images, which takes a process an image: only where `E2FSCK` says which program that is.

use std::process::Command;
use std::{env, fs, process};

/// When e2fsck thinks it is: a superblock may say any second of 32 bits, and one in the future is a complaint, of which e2fsck compares
/// the low half; before 2242, it also takes years from 2310 to 2378 for wrong ones from before 1970.
const LATER: &str = "12884901887";

/// Has e2fsck look at an image, and panics if it says anything, with the image left in `TMPDIR`.
pub(crate) fn assert_clean(image: &[u8]) {
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
