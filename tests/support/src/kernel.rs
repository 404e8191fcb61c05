//! Mounts images in the kernel, compares them with the model of their tree, and changes files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{SeekFrom, XattrFlags, lgetxattr, llistxattr, lsetxattr, seek};

use super::content::Content;
use super::model::{Model, Node, NodeId, Stat, split_path};
use super::skip::{skip, skip_on_this_machine};
use super::tools::{command, output, output_within, text};
use super::wait::eventually;

/// Returns whether this process cannot mount images, and reports the test as skipped if so.
pub fn cannot_mount() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let is_missing = !is_root || !Path::new("/dev/loop-control").exists();
    if is_missing {
        skip("only root can mount images, with loop devices");
    }
    is_missing
}

/// Returns whether this process may not grow a mounted file system, and reports the test as skipped
/// if so. Containers often lack the `CAP_SYS_RESOURCE` that it takes.
pub fn cannot_grow() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let cannot = u64::from_str_radix(effective.trim(), 16).unwrap() & SYS_RESOURCE == 0;
    if cannot {
        skip_on_this_machine("growing a mounted file system needs CAP_SYS_RESOURCE");
    }
    cannot
}

/// A mounted image. Dropping this unmounts it.
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

    /// Mounts an image with options of `mount -o`.
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

    /// Grows the loop device to the current size of the image file, and the mounted file system
    /// with it.
    pub fn grow(&self) {
        succeed(command("losetup").args(["--set-capacity", &self.device]));
        succeed(command("resize2fs").arg(&self.device));
    }

    /// Flushes all writes to the image.
    pub fn sync(&self) {
        sync(self.path());
    }

    /// Unmounts the image, and asserts that the kernel found no error in it.
    pub fn unmount(self) {
        self.sync();
        let name = self.device.trim_start_matches("/dev/");
        let errors = fs::read_to_string(format!("/sys/fs/ext4/{name}/errors_count")).unwrap();
        assert_eq!(errors.trim(), "0", "the kernel found errors");
        // A process that another test has just forked may hold files open here until its exec.
        let unmount = || output(command("umount").arg(self.path())).status.success();
        assert!(eventually(unmount), "{} is still busy", self.path().display());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Does nothing after `unmount`. After a failure, it frees the device.
        let soon = Duration::from_secs(10);
        let _ = output_within(command("umount").arg(self.path()), soon);
        let _ = output_within(command("losetup").args(["--detach", &self.device]), soon);
    }
}

/// Flushes a file system to its device. Runs a program, since the system call may hang, which would
/// hang the test.
pub fn sync(mounted: &Path) {
    succeed(command("sync").arg("--file-system").arg(mounted));
}

/// Runs a command that must succeed, and returns its standard output.
fn succeed(command: &mut std::process::Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that a mounted tree is equal to the model's. Looks up every path, and lists every
/// directory.
pub fn assert_equal(model: &Model, mounted: &Path, block_size: u64) {
    let mut inodes = BTreeMap::<NodeId, u64>::new();
    for (path, (id, expected)) in model.stats() {
        let at = join(mounted, path);
        let (ino, found) = stat(&at);
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

/// Returns the number and the metadata of the inode at a path.
fn stat(path: &Path) -> (u64, Stat) {
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let time = |seconds, nanoseconds: i64| (seconds, u32::try_from(nanoseconds).unwrap());
    let file_type = found.file_type();
    let is_device = file_type.is_char_device() || file_type.is_block_device();
    let entry = Stat {
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

/// Asserts that a file has data in the blocks that its content has data in, and holes elsewhere.
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
        .filter(|(other, _)| !other.is_empty() && split_path(other).0 == path)
        .map(|(other, _)| split_path(other).1.to_vec())
        .collect();
    assert_eq!(listed, expected, "names in {}", directory.display());
}

/// Makes every kind of change that a guest makes, in old and new files and directories.
pub fn exercise(model: &Model, mounted: &Path) {
    let free = rustix::fs::statvfs(mounted).unwrap();
    // In a full file system, files can still be removed.
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

/// Returns the first five directories, and the three with the most entries.
fn some_directories(model: &Model) -> BTreeSet<&[u8]> {
    let mut counts = BTreeMap::<&[u8], usize>::new();
    for path in model.paths.keys().filter(|path| !path.is_empty()) {
        *counts.entry(split_path(path).0).or_default() += 1;
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

/// Returns one path of each of the first regular files whose attributes leave room for one more.
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

/// Adds files to a directory, removes some, and reads the others.
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

/// Appends to a file, writes into its middle, truncates it, and sets an attribute.
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
