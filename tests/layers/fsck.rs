//! What e2fsck, and our own check, say of the images.

use std::io::{Cursor, Write};
use std::process::Command;
use std::sync::LazyLock;

use support::skip::skip;

/// Whether e2fsck is there; said once if not, as it is asked for every image.
static INSTALLED: LazyLock<bool> = LazyLock::new(|| {
    let found = Command::new("e2fsck").arg("-V").output().is_ok();
    if !found {
        skip("e2fsck is not installed, so that no image is checked");
    }
    found
});

/// Checks an image, and with `e2fsck -fn` too, if it is installed; it must be where `REQUIRE_ORACLES=1`.
pub(crate) fn check(image: &[u8]) {
    let report = ext4::check(Cursor::new(image)).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    if !*INSTALLED {
        return;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    let output = Command::new("e2fsck").arg("-fn").arg(file.path()).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
