//! Outputs that are not empty at first, or that do not allow writes at an offset.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use ext4::{DeviceOutput, FormatError, Formatter, Journal, Options, Output, Size, Tree};

use support::content::Content;
use support::model::Build;

/// One MiB in bytes.
const MIB: u64 = 1 << 20;

fn options() -> Options {
    Options {
        size: Size::Fixed(16 * MIB),
        ..Options::new([7; 16])
    }
}

/// Makes an image with one file, after another was removed.
fn make<O: Output>(output: O, options: Options) -> O {
    let mut build = Build::new(output, options).unwrap();
    build.add_file("passes", Content::dense(1, 300_000));
    build.add_file(
        "stays",
        Content::sparse(2, 3_000_000, vec![5_000..9_000, 2_000_000..2_100_000]),
    );
    build.remove("passes");
    build.finish().unwrap().0
}

fn expected() -> Vec<u8> {
    let image = make(Vec::new(), options());
    support::check::check(&image);
    image
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Earlier contents of an output: a few bytes, more bytes than the image, another image, and the
/// same image.
fn contents() -> Vec<Vec<u8>> {
    let other = Options {
        size: Size::Fixed(40 * MIB),
        journal: Journal::None,
        ..Options::new([9; 16])
    };
    vec![vec![0xFF; 5], vec![0xFF; 20 << 20], make(Vec::new(), other), expected()]
}

#[test]
fn memory_that_holds_something_is_emptied() {
    let expected = expected();
    for content in contents() {
        let len = content.len();
        assert!(make(content, options()) == expected, "{len} bytes before");
    }
}

#[test]
fn a_file_that_holds_something_is_emptied_wherever_its_position_is() {
    let expected = expected();
    for content in contents() {
        for position in [
            SeekFrom::Start(0),
            SeekFrom::Start(12_345),
            SeekFrom::End(0),
            SeekFrom::End(99),
        ] {
            let image = tempfile::NamedTempFile::new().unwrap();
            fs::write(image.path(), &content).unwrap();
            let mut file = open(image.path());
            file.seek(position).unwrap();
            make(file, options());
            let found = fs::read(image.path()).unwrap();
            assert!(found == expected, "{} bytes before, at {position:?}", content.len());
        }
    }
}

#[test]
fn a_device_that_holds_something_is_cleared() {
    let expected = expected();
    let device = tempfile::NamedTempFile::new().unwrap();
    fs::write(device.path(), vec![0xFF; 20 << 20]).unwrap();
    let mut file = open(device.path());
    file.seek(SeekFrom::Start(777)).unwrap();
    let output = make(DeviceOutput::new(file).unwrap(), options());
    let assert_image = |case| {
        let found = fs::read(device.path()).unwrap();
        assert!(found[..expected.len()] == expected, "{case}");
        assert!(found[expected.len()..].iter().all(|&byte| byte == 0), "{case}");
    };
    assert_image("new");

    // Passes the output of one image to the formatter of the next.
    let other = Options {
        size: Size::Fixed(20 * MIB),
        ..Options::new([9; 16])
    };
    let output = make(output, other);
    make(output, options());
    assert_image("used again");
}

#[test]
fn an_output_is_left_as_it_is_if_no_file_system_can_have_the_size() {
    let image = tempfile::NamedTempFile::new().unwrap();
    fs::write(image.path(), "before").unwrap();
    let options = Options {
        size: Size::Fixed(u64::MAX),
        ..options()
    };
    let error = Formatter::new(open(image.path()), options).err().unwrap();
    assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
    assert_eq!(fs::read(image.path()).unwrap(), b"before");
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_open_for_appending_is_refused() {
    let image = tempfile::NamedTempFile::new().unwrap();
    fs::write(image.path(), b"before").unwrap();
    let file = File::options().read(true).append(true).open(image.path()).unwrap();
    let error = Formatter::new(file, options()).err().unwrap();
    assert!(matches!(error, FormatError::Image { offset: 0, .. }), "{error}");
    let file = File::options().read(true).append(true).open(image.path()).unwrap();
    assert_eq!(DeviceOutput::new(file).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(fs::read(image.path()).unwrap(), b"before");
}

#[test]
fn a_device_keeps_its_size_when_the_content_does_not_fit() {
    let device = tempfile::NamedTempFile::new().unwrap();
    device.as_file().set_len(9 * MIB).unwrap();
    let output = DeviceOutput::new(open(device.path())).unwrap();
    let options = Options {
        size: Size::Fixed(output.capacity()),
        ..options()
    };
    let mut formatter = Formatter::new(output, options).unwrap();
    formatter.write_data(io::repeat(1), 14 * MIB).unwrap();
    let finished = formatter.finish(Tree::default()).map(drop);
    assert!(
        matches!(finished, Err(FormatError::NoSpace { needed, available }) if needed > available && available == 9 * MIB),
        "{finished:?}"
    );
    assert_eq!(device.as_file().metadata().unwrap().len(), 9 * MIB);
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_truncated_is_refused_at_once() {
    let read_only = tempfile::NamedTempFile::new().unwrap();
    for output in [open(Path::new("/dev/null")), File::open(read_only.path()).unwrap()] {
        let error = Formatter::new(output, options()).err().unwrap();
        assert!(
            matches!(
                error,
                FormatError::Image {
                    action: ext4::ImageAction::Resize,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_block_device_opened_as_a_file_is_refused_as_a_device() {
    let devices = fs::read_dir("/dev").unwrap();
    let is_device = |entry: &fs::DirEntry| {
        use std::os::unix::fs::FileTypeExt;
        entry.file_type().unwrap().is_block_device()
    };
    let mut devices = devices.flatten().filter(is_device);
    // A resize of a file opened for reading fails as well, so the device is not changed.
    let Some(device) = devices.find_map(|device| File::open(device.path()).ok()) else {
        support::skip::skip_on_this_machine("there is no block device that can be opened");
        return;
    };
    let error = Formatter::new(device, options()).err().unwrap();
    assert!(matches!(error, FormatError::IsDevice), "{error:?}");
}

#[test]
fn content_of_a_dropped_formatter_is_gone() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let mut formatter = Formatter::new(open(image.path()), options()).unwrap();
    formatter.write_data(io::repeat(0xAA), 9 * MIB).unwrap();
    drop(formatter);
    make(open(image.path()), options());
    assert!(fs::read(image.path()).unwrap() == expected());
    let (empty, _) = Formatter::new(open(image.path()), options())
        .unwrap()
        .finish(Tree::default())
        .unwrap();
    drop(empty);
    support::check::check(&fs::read(image.path()).unwrap());
}
