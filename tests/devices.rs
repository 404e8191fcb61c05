//! Builds into devices: simulated ones of a fixed size, and a real one that is passed as a file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::num::NonZeroUsize;

use ext4::{DeviceOutput, Fit, Output, Size};
use layer::cancel::Cancel;
use layer::failure::{ErrorKind, Failure as _};
use microagent::error::BuildError;
use microagent::guest::Init;
use microagent::rootfs::{BuildOptions, build_into};
use support::single_image::Layout;
use support::tar::{Entry, archive};

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// Creates an image of 30 MiB in a layout, and returns the options for its build. The accounts come
/// in a second layer, after the large file.
fn image(directory: &tempfile::TempDir) -> BuildOptions {
    let layout = Layout::create(directory.path().join("layout"));
    let layer = |entries: &[Entry]| layout.gzip_layer(&archive(entries));
    let digest = layout.image(&[
        layer(&[Entry::file("large", vec![1; 30 << 20])]),
        layer(&[
            Entry::directory("etc"),
            Entry::file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ]),
    ]);
    let reference = format!("oci:{}@{digest}", layout.path().display());
    let mut options = BuildOptions::new(reference.parse().unwrap());
    options.platform = "linux/amd64".parse().unwrap();
    options
}

/// Returns a device of a fixed size, which is simulated by a file.
fn device(capacity: u64) -> DeviceOutput {
    let file = tempfile::tempfile().unwrap();
    file.set_len(capacity).unwrap();
    DeviceOutput::new(file).unwrap()
}

fn build(options: &BuildOptions, output: &mut (impl Output + Send)) -> Result<(), BuildError> {
    build_into(options, output, &Cancel::new()).map(drop)
}

#[test]
fn error_of_a_device_that_is_too_small_names_the_needed_size() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = image(&directory);
    for init in [None, Some(Init::default())] {
        options.init = init;
        for threads in [1, 4] {
            options.threads = NonZeroUsize::new(threads).unwrap();
            options.file_system.size = Size::Fixed(8 * MIB);
            let expected = build(&options, &mut Vec::new()).unwrap_err();
            let error = build(&options, &mut device(8 * MIB)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ImageTooSmall, "{error:?}");
            assert_eq!(error.image_too_small(), expected.image_too_small());
            assert_eq!(error.to_string(), expected.to_string());
            assert_eq!(
                error.hint().map(|hint| hint.to_string()),
                expected.hint().map(|hint| hint.to_string())
            );
            let (needed, available) = error.image_too_small().unwrap();
            assert_eq!(available, 8 * MIB);

            options.file_system.size = Size::Fixed(needed);
            let mut memory = Vec::new();
            build(&options, &mut memory).unwrap();
            let mut output = device(needed);
            build(&options, &mut output).unwrap();
            let mut found = vec![0; memory.len()];
            output.read_at(&mut found, 0).unwrap();
            assert!(found == memory);
        }
    }
}

#[test]
fn fitted_size_beyond_the_device_or_the_limit_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = image(&directory);
    options.init = None;
    // The default leaves 256 MiB free, and has a minimum of 1 GiB.
    let error = build(&options, &mut device(64 * MIB)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ImageTooSmall, "{error:?}");
    assert_eq!(error.image_too_small(), Some((1024 * MIB, 64 * MIB)));

    // If the limit in the options is exceeded, the error is another one, on a device as well.
    let (free, free_percent, min) = (0, 0, 0);
    let max = 8 * MIB;
    options.file_system.size = Size::Fit(Fit {
        free,
        free_percent,
        min,
        max,
    });
    let error = build(&options, &mut device(64 * MIB)).unwrap_err();
    assert!(
        matches!(error, BuildError::DiskTooLarge { max, .. } if max == 8 * MIB),
        "{error:?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn block_device_opened_as_a_file_has_a_hint() {
    use std::fs::File;
    use std::os::unix::fs::FileTypeExt;
    let devices = std::fs::read_dir("/dev").unwrap().flatten();
    let mut devices = devices.filter(|entry| entry.file_type().unwrap().is_block_device());
    // Opened read-only, so that the device cannot change.
    let Some(mut device) = devices.find_map(|device| File::open(device.path()).ok()) else {
        support::skip::skip_on_this_machine("no block device can be opened");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let error = build(&image(&directory), &mut device).unwrap_err();
    assert!(
        matches!(error, BuildError::Format(ext4::FormatError::IsDevice)),
        "{error:?}"
    );
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains("DeviceOutput"), "{hint}");
}
