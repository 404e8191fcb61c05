//! The kernel as a judge: it mounts an image, is compared with the model, and uses the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{SeekFrom, XattrFlags, lgetxattr, llistxattr, lsetxattr, seek};

use super::content::Content;
use super::model::{Entry, Id, Model, Node, parent};
use super::skip::{skip, skip_on_this_machine};
use super::tools::{command, output, text, within};
use super::wait::is_soon;

/// Whether this machine cannot mount images; says so.
pub fn is_missing() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let is_missing = !is_root || !Path::new("/dev/loop-control").exists();
    if is_missing {
        skip("only root can mount images, with loop devices");
    }
    is_missing
}

/// Whether the kernel would not let this process grow a mounted file system (containers often lack `CAP_SYS_RESOURCE`);
/// says so.
pub fn cannot_grow() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let cannot = u64::from_str_radix(effective.trim(), 16).unwrap() & SYS_RESOURCE == 0;
    if cannot {
        skip_on_this_machine("what is mounted can only grow with CAP_SYS_RESOURCE");
    }
    cannot
}

/// An image that is mounted, until this is dropped.
pub struct Mount {
    device: String,
    directory: tempfile::TempDir,
}

impl Mount {
    pub fn new(image: &Path) -> Self {
        Self::with_options(image, "noatime")
    }

    pub fn read_only(image: &Path) -> Self {
        Self::with_options(image, "ro")
    }

    /// With options of `mount -o`.
    pub fn with_options(image: &Path, options: &str) -> Self {
        let device = succeed(command("losetup").args(["--find", "--show"]).arg(image));
        let directory = tempfile::tempdir().unwrap();
        let mount = Self {
            device: device.trim().to_owned(),
            directory,
        };
        succeed(
            command("mount")
                .args(["-t", "ext4", "-o", options, &mount.device])
                .arg(mount.path()),
        );
        mount
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes the loop device as large as the image has become, and the file system with it, while it is mounted.
    pub fn grow(&self) {
        succeed(command("losetup").args(["--set-capacity", &self.device]));
        succeed(command("resize2fs").arg(&self.device));
    }

    /// Has all that was written reach the image.
    pub fn sync(&self) {
        sync(self.path());
    }

    /// Ends the use of the image; the kernel must have found nothing wrong with it.
    pub fn unmount(self) {
        self.sync();
        let name = self.device.trim_start_matches("/dev/");
        let errors = fs::read_to_string(format!("/sys/fs/ext4/{name}/errors_count")).unwrap();
        assert_eq!(errors.trim(), "0", "the kernel met errors");
        // Children that other tests have just made may hold what was open here until they become other programs.
        let unmount = || output(command("umount").arg(self.path())).status.success();
        assert!(is_soon(unmount), "{} stays busy", self.path().display());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Does nothing after `unmount`; after a failure, the device must be free again.
        let soon = Duration::from_secs(10);
        let _ = within(command("umount").arg(self.path()), soon);
        let _ = within(command("losetup").args(["--detach", &self.device]), soon);
    }
}

/// Has all that was written to a file system reach its device: by a program, which may hang where a test must not.
pub fn sync(mounted: &Path) {
    succeed(command("sync").arg("--file-system").arg(mounted));
}

/// Runs a command that must not fail, and returns what it prints.
fn succeed(command: &mut std::process::Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that a mounted tree is the model's: every name found by looking it up, no other name listed.
pub fn assert_equal(model: &Model, mounted: &Path, block_size: u64) {
    let mut inodes = BTreeMap::<Id, u64>::new();
    for (path, (id, expected)) in model.entries() {
        let at = join(mounted, path);
        let (ino, found) = entry(&at);
        assert_eq!(found, expected, "{}", at.display());
        let is_first = match inodes.insert(id, ino) {
            Some(other) => {
                assert_eq!(ino, other, "{} and its other names are one inode", at.display());
                false
            }
            None => true,
        };
        match model.node(id) {
            Node::File(content) if is_first => assert_content(content, &at, block_size),
            Node::Directory => assert_listing(model, path, &at),
            _ => {}
        }
    }
    let distinct: BTreeSet<_> = inodes.values().collect();
    assert_eq!(distinct.len(), inodes.len(), "no two inodes of the model are one");
}

/// All that the kernel says of a name, and its inode number.
fn entry(path: &Path) -> (u64, Entry) {
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let time = |seconds, nanoseconds: i64| (seconds, u32::try_from(nanoseconds).unwrap());
    let file_type = found.file_type();
    let is_device = file_type.is_char_device() || file_type.is_block_device();
    let entry = Entry {
        mode: found.mode(),
        uid: found.uid(),
        gid: found.gid(),
        links: found.nlink(),
        size: (!found.is_dir()).then_some(found.len()),
        accessed: time(found.atime(), found.atime_nsec()),
        modified: time(found.mtime(), found.mtime_nsec()),
        changed: time(found.ctime(), found.ctime_nsec()),
        device: is_device.then(|| (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))),
        target: found
            .is_symlink()
            .then(|| fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()),
        xattrs: xattrs(path),
    };
    (found.ino(), entry)
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let len = llistxattr(path, &mut names).unwrap();
    names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let len = lgetxattr(path, name, &mut value)
                .unwrap_or_else(|error| panic!("{} of {}: {error}", name.escape_ascii(), path.display()));
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}

/// Asserts that a file has data where its content has, to whole blocks, and holes elsewhere.
fn assert_content(content: &Content, path: &Path, block_size: u64) {
    let file = File::open(path).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let mut expected = bytes.clone();
    let mut data_blocks = 0;
    let mut at = 0;
    while at < content.len {
        let Ok(start) = seek(&file, SeekFrom::Data(at)) else {
            break;
        };
        let end = seek(&file, SeekFrom::Hole(start)).unwrap();
        data_blocks += end.div_ceil(block_size) - start / block_size;
        at = start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len());
            file.read_exact_at(&mut bytes[..len], at).unwrap();
            content.fill(at, &mut expected[..len]);
            assert!(bytes[..len] == expected[..len], "{} at byte {at}", path.display());
            at += len as u64;
        }
    }
    let mut last = 0;
    let blocks = content.ranges.iter().filter(|range| !range.is_empty()).map(|range| {
        let (first, end) = (last.max(range.start / block_size), range.end.div_ceil(block_size));
        last = end;
        end.saturating_sub(first)
    });
    assert_eq!(data_blocks, blocks.sum::<u64>(), "blocks of data in {}", path.display());
}

fn assert_listing(model: &Model, path: &[u8], directory: &Path) {
    let listed: BTreeSet<Vec<u8>> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect();
    let prefix = if path.is_empty() {
        Vec::new()
    } else {
        [path, b"/"].concat()
    };
    let expected: BTreeSet<Vec<u8>> = model
        .paths
        .range(prefix.clone()..)
        .take_while(|(other, _)| other.starts_with(&prefix))
        .filter(|(other, _)| !other.is_empty() && parent(other).0 == path)
        .map(|(other, _)| parent(other).1.to_vec())
        .collect();
    assert_eq!(listed, expected, "names in {}", directory.display());
}

/// Uses the file system as a guest would: every kind of change, in old and new files and directories.
pub fn exercise(model: &Model, mounted: &Path) {
    let free = rustix::fs::statvfs(mounted).unwrap();
    // A full file system can still lose names, which e2fsck then finds in order.
    let has_room = free.f_bavail * free.f_frsize >= 4 << 20 && free.f_favail >= 200;
    if has_room {
        let new = mounted.join("new");
        fs::create_dir(&new).unwrap();
        for number in 0..100 {
            let path = new.join(format!("file {number}"));
            fs::write(&path, vec![number; 64 * usize::from(number)]).unwrap();
            lsetxattr(&path, "user.note", &[number; 200], XattrFlags::CREATE).unwrap();
        }
        fs::rename(new.join("file 1"), mounted.join("renamed")).unwrap();
        std::os::unix::fs::symlink("x".repeat(100), new.join("link")).unwrap();
        fs::remove_file(new.join("file 2")).unwrap();
        for path in some_directories(model) {
            add_names(&join(mounted, path));
        }
        for path in some_files(model, 20) {
            change_file(&join(mounted, path));
        }
    }
    for path in some_files(model, 200).into_iter().step_by(2) {
        fs::remove_file(join(mounted, path)).unwrap();
    }
}

/// The first directories, and those with the most names.
fn some_directories(model: &Model) -> BTreeSet<&[u8]> {
    let mut counts = BTreeMap::<&[u8], usize>::new();
    for path in model.paths.keys().filter(|path| !path.is_empty()) {
        *counts.entry(parent(path).0).or_default() += 1;
    }
    let mut largest: Vec<_> = counts.iter().map(|(&path, &count)| (count, path)).collect();
    largest.sort_unstable();
    let first = counts.keys().take(5).copied();
    largest
        .iter()
        .rev()
        .take(3)
        .map(|&(_, path)| path)
        .chain(first)
        .collect()
}

/// The first regular files whose attributes leave room for one more, each by one of its names.
fn some_files(model: &Model, count: usize) -> Vec<&[u8]> {
    let mut seen = BTreeSet::new();
    model
        .paths
        .iter()
        .filter(|&(_, &id)| matches!(model.node(id), Node::File(_)) && model.xattrs_len(id) < 600 && seen.insert(id))
        .map(|(path, _)| &path[..])
        .take(count)
        .collect()
}

/// Adds names to a directory, takes some away, and finds the others again.
fn add_names(directory: &Path) {
    let name = |number| directory.join(format!("{number:0>200}"));
    for number in 0..30 {
        fs::write(name(number), b"new").unwrap();
    }
    for number in (0..30).step_by(3) {
        fs::remove_file(name(number)).unwrap();
    }
    fs::create_dir(directory.join("new directory")).unwrap();
    for number in (1..30).step_by(3) {
        assert_eq!(fs::read(name(number)).unwrap(), b"new");
    }
}

/// Adds to a file, writes into it, cuts it, and gives it an attribute.
fn change_file(path: &Path) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(&[0xA5; 10_000]).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0x5A; 3_000], file.metadata().unwrap().len() / 2)
        .unwrap();
    file.set_len(file.metadata().unwrap().len() - 1_234).unwrap();
    lsetxattr(path, "user.added", &[7; 150], XattrFlags::CREATE).unwrap();
    lsetxattr(path, "user.added", &[8; 20], XattrFlags::REPLACE).unwrap();
}

fn join(mounted: &Path, path: &[u8]) -> PathBuf {
    mounted.join(std::ffi::OsStr::from_bytes(path))
}
