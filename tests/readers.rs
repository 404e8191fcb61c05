//! Disk images that are not files: in memory, in part of a file, or at the end of a network.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Mutex;
use std::thread;

use ext4::{ReadAt, Size};
use layer::cancel::{Cancel, Cancelled};
use layer::failure::{ErrorKind, Failure as _};
use microagent::inspect::{CopyError, DiskImage, InspectError, InspectReason};
use microagent::rootfs::{BuildOptions, build_into};
use microagent::verify::{verify, verify_reader};
use oci::{Algorithm, Digest};
use support::program::repository;

/// Builds a disk image of the repository's sample image, in memory.
fn hello() -> Vec<u8> {
    let layout = format!("oci:{}:latest", repository().join("examples/hello").display());
    let mut options = BuildOptions::new(layout.parse().unwrap());
    options.allow_mutable = true;
    options.platform = "linux/amd64".parse().unwrap();
    options.file_system.size = Size::Fixed(16 << 20);
    let mut image = Vec::new();
    build_into(&options, &mut image, &Cancel::new()).unwrap();
    image
}

/// A byte range of a file, such as a partition.
struct FilePart {
    file: File,
    start: u64,
    len: u64,
}

impl FilePart {
    /// Writes bytes to the end of a new file, and returns their range.
    fn of(bytes: &[u8]) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0xA5; 12_345]).unwrap();
        file.write_all(bytes).unwrap();
        Self {
            file,
            start: 12_345,
            len: bytes.len() as u64,
        }
    }
}

impl ReadAt for FilePart {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.start + offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// A remote disk, which is read in blocks of 4 KiB, and whose connection breaks after a number of
/// requests.
struct RemoteDisk<'a> {
    bytes: &'a [u8],
    /// Requests until the connection breaks.
    requests_left: Mutex<usize>,
}

impl ReadAt for RemoteDisk<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        for block in offset / 4096..end.div_ceil(4096) {
            let mut left = self.requests_left.lock().unwrap();
            *left = left.checked_sub(1).ok_or(io::ErrorKind::ConnectionReset)?;
            let start = offset.max(block * 4096);
            let end = end.min((block + 1) * 4096);
            let [from, to] = [start - offset, end - offset].map(|at| usize::try_from(at).unwrap());
            self.bytes.read_exact_at(&mut buffer[from..to], start)?;
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

fn remote_disk(bytes: &[u8], requests: usize) -> RemoteDisk<'_> {
    RemoteDisk {
        bytes,
        requests_left: Mutex::new(requests),
    }
}

/// Returns what a disk image reads as: its summary and the listing of a directory in JSON, then the
/// content of a file by both ways to read it.
fn read_all<R: ReadAt>(disk: &DiskImage<R>) -> (serde_json::Value, String, Vec<u8>, Vec<u8>) {
    let mut summary = serde_json::to_value(disk.summary().unwrap()).unwrap();
    summary.as_object_mut().unwrap().remove("path");
    let listed = serde_json::to_string(&disk.list(b"/etc").unwrap()).unwrap();
    let mut content = Vec::new();
    disk.content(b"/etc/motd").unwrap().read_to_end(&mut content).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    disk.copy(b"/etc/motd", &copy).unwrap();
    (summary, listed, content, fs::read(copy).unwrap())
}

#[test]
fn disk_image_reads_the_same_from_every_source() {
    let image = hello();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hello.ext4");
    fs::write(&path, &image).unwrap();
    let disk = DiskImage::open(&path).unwrap();
    assert_eq!(disk.summary().unwrap().path, Some(path));
    let expected = read_all(&disk);
    assert!(expected.1.contains(r#""name":"motd","type":"file""#), "{}", expected.1);
    assert!(!expected.2.is_empty());
    assert_eq!(expected.2, expected.3);
    assert_eq!(read_all(&DiskImage::new(&image).unwrap()), expected);
    assert_eq!(read_all(&DiskImage::new(FilePart::of(&image)).unwrap()), expected);
    assert_eq!(
        read_all(&DiskImage::new(remote_disk(&image, usize::MAX)).unwrap()),
        expected
    );
    let disk = DiskImage::new(image).unwrap();
    assert_eq!(read_all(&disk), expected);
    assert_eq!(disk.summary().unwrap().path, None);
}

#[test]
fn open_files_are_independent_and_outlive_their_disk_image() {
    let disk = DiskImage::new(hello()).unwrap();
    let read = |mut content: microagent::inspect::FileContent<Vec<u8>>| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map(|_| bytes).unwrap()
    };
    let expected = read(disk.content(b"/etc/motd").unwrap());
    let [mut first, second] = [(), ()].map(|()| disk.content(b"/etc/motd").unwrap());
    drop(disk);
    first.read_exact(&mut [0; 3]).unwrap();
    let second = thread::spawn(move || read(second)).join().unwrap();
    assert_eq!(second, expected);
    assert_eq!(first.stream_position().unwrap(), 3);
    first.seek(SeekFrom::End(-1)).unwrap();
    assert_eq!(read(first), expected[expected.len() - 1..]);
}

/// Returns the message of an error and of its causes.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[test]
fn error_of_an_image_without_a_path_names_none() {
    let text = |error: InspectError| {
        assert_eq!(error.image, None);
        chain(&error)
    };
    let empty = DiskImage::new(&[0_u8; 4096][..]).unwrap_err();
    assert_eq!(
        text(empty),
        "could not inspect the disk image: not an ext2, ext3 or ext4 file system"
    );
    let image = hello();
    let disk = DiskImage::new(&image).unwrap();
    assert_eq!(
        text(disk.list(b"/nothing").unwrap_err()),
        "could not inspect the disk image: could not read \"/nothing\": no such file or directory"
    );

    let lost = DiskImage::new(remote_disk(&image, 0)).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::from(io::ErrorKind::ConnectionReset));
    let expected = "could not inspect the disk image: could not read the image at byte 1024: connection reset";
    assert_eq!(text(lost), expected);
    // As many requests as opening the file takes, and none for its content.
    let requests = (1..1000).find(|&requests| {
        let opened = DiskImage::new(remote_disk(&image, requests)).map(|disk| disk.content(b"/etc/motd"));
        opened.is_ok_and(|content| content.is_ok())
    });
    let disk = DiskImage::new(remote_disk(&image, requests.unwrap())).unwrap();
    let error = disk.content(b"/etc/motd").unwrap().read(&mut [0]).unwrap_err();
    let error = error.downcast::<InspectError>().unwrap();
    assert!(matches!(error.reason, InspectReason::Path { .. }), "{error:?}");
    assert!(text(error).ends_with(": connection reset"));
    let directory = tempfile::tempdir().unwrap();
    let error = disk.copy(b"/etc/motd", directory.path().join("copy")).unwrap_err();
    assert!(matches!(error, CopyError::Inspect(_)), "{error:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn cancelled_disk_image_returns_errors() {
    let image = hello();
    let cancel = Cancel::new();
    let disk = DiskImage::new_until(&image, &cancel).unwrap();
    let mut content = disk.content(b"/etc/motd").unwrap();
    cancel.cancel();
    let error = content.read(&mut [0]).unwrap_err();
    assert!(Cancelled::caused(&error), "{error:?}");
    let digest = Digest::of(Algorithm::Sha256, &image);
    for error in [
        disk.list(b"/").unwrap_err(),
        DiskImage::new_until(&image, &cancel).unwrap_err(),
        verify_reader(&image, None, &cancel).unwrap_err(),
        verify_reader(&image, Some(&digest), &cancel).unwrap_err(),
    ] {
        assert!(matches!(error.reason, InspectReason::Cancelled(_)), "{error:?}");
    }
}

#[test]
fn verify_reader_equals_verify_of_a_file() {
    let mut image = hello();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hello.ext4");
    let right = Digest::of(Algorithm::Sha256, &image);
    let cancel = Cancel::new();
    let verdict = verify_reader(FilePart::of(&image), Some(&right), &cancel).unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.path, verdict.size_bytes), (None, 16 << 20));

    // The superblock counts one free block too many, or too few, and the digest differs.
    image[1024 + 0xC] ^= 1;
    fs::write(&path, &image).unwrap();
    for digest in [None, Some(&right)] {
        let verdict = verify_reader(FilePart::of(&image), digest, &cancel).unwrap();
        let mut expected = serde_json::to_value(verify(&path, digest, &cancel).unwrap()).unwrap();
        assert_eq!(
            expected["problems"].as_array().unwrap().len(),
            2 + usize::from(digest.is_some())
        );
        expected["path"].take();
        assert_eq!(serde_json::to_value(verdict).unwrap(), expected);
    }

    let error = verify_reader(remote_disk(&image, 1000), Some(&right), &cancel).unwrap_err();
    let expected = "could not inspect the disk image: could not read the image at byte ";
    assert!(chain(&error).starts_with(expected), "{}", chain(&error));
}
