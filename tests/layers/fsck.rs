//! What e2fsck says of the images.

use std::io::{ErrorKind, Write};
use std::process::Command;

/// Checks an image with `e2fsck -fn`, if it is installed; it must be where `REQUIRE_ORACLES=1`.
pub(crate) fn check(image: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    match Command::new("e2fsck").arg("-fn").arg(file.path()).output() {
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert_ne!(
                std::env::var_os("REQUIRE_ORACLES"),
                Some("1".into()),
                "e2fsck is not installed"
            );
        }
        Err(error) => panic!("e2fsck: {error}"),
    }
}
