//! Confinement by directory descriptors (openat(2) and its like).

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use ext4::read::Inode;
use ext4::{Device, Timestamp, Xattrs};
#[cfg(not(target_os = "linux"))]
use rustix::fs::chmodat;
use rustix::fs::{
    self, AtFlags, Dir, DirEntry, FileType, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, Uid, chownat, linkat,
    mkdirat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{check, components, join};

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;

/// Names between two directories that are kept open on the way to a deep one.
const STRIDE: usize = 256;
/// Most directories that are kept open.
const MAX_KEPT: usize = 128;

/// The directory that nothing leads out of.
#[derive(Debug)]
pub(in crate::stage) struct Root {
    directory: OwnedFd,
    last: RefCell<Way>,
}

/// The way to the last directory that was opened, so that those near to it are not opened name by name from the root: in a deep
/// tree, that would take time with the square of its depth.
#[derive(Debug, Default)]
struct Way {
    path: Vec<u8>,
    /// Directories on it, at every [`STRIDE`]th name, and the lengths of their paths.
    kept: Vec<(usize, OwnedFd)>,
}

impl Way {
    /// Keeps what is on the way to another directory too.
    fn turn_to(&mut self, path: &[u8]) {
        let pairs = self.path.iter().zip(path);
        let common = pairs.take_while(|(one, other)| one == other).count();
        let is_on_it = |len: usize| len <= common && path.get(len).is_none_or(|&byte| byte == b'/');
        self.kept.retain(|&(len, _)| is_on_it(len));
        self.path = path.to_vec();
    }
}

/// A directory in it.
pub(in crate::stage) struct Directory(OwnedFd);

impl Root {
    /// Takes a directory of the host.
    pub(in crate::stage) fn open(directory: &oci::host::Directory) -> io::Result<Self> {
        Ok(Self {
            directory: directory.readable()?,
            last: RefCell::default(),
        })
    }

    /// Opens a directory that was made in it.
    pub(in crate::stage) fn directory(&self, path: &[u8]) -> io::Result<Directory> {
        let mut way = self.last.borrow_mut();
        way.turn_to(path);
        let (mut len, start) = way.kept.last().map_or((0, &self.directory), |(len, kept)| (*len, kept));
        let mut directory = openat(start, c".", OPEN_DIRECTORY, Mode::empty())?;
        for (index, name) in components(&path[len..]).enumerate() {
            check(name)?;
            if index > 0 && index.is_multiple_of(STRIDE) && way.kept.len() < MAX_KEPT {
                let kept = openat(&directory, c".", OPEN_DIRECTORY, Mode::empty())?;
                way.kept.push((len, kept));
            }
            directory = openat(&directory, name, OPEN_DIRECTORY, Mode::empty())?;
            len += usize::from(len > 0) + name.len();
        }
        Ok(Directory(directory))
    }

    /// Removes all that is in it, as far as that can be done, whatever its mode. Neither stack nor open files grow with its depth.
    pub(in crate::stage) fn clear(&self) {
        // What is left after a failure is found by whoever removes the directory itself.
        let _ = fs::fchmod(&self.directory, PRIVATE_DIRECTORY);
        let mut pending = vec![Vec::new()];
        let mut found = Vec::new();
        while let Some(path) = pending.pop() {
            let directories = self.directory(&path).and_then(|directory| directory.remove_files());
            for name in directories.unwrap_or_default() {
                pending.push(join(&path, &name));
                found.push((path.clone(), name));
            }
        }
        for (path, name) in found.iter().rev() {
            let _ = self.directory(path).and_then(|directory| directory.remove_empty(name));
        }
    }
}

impl Directory {
    /// Makes a directory that only its owner can enter.
    pub(in crate::stage) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        check(name)?;
        mkdirat(&self.0, name, PRIVATE_DIRECTORY).map_err(explain)
    }

    /// Removes all but directories, makes those accessible, and returns their names.
    fn remove_files(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut directories = Vec::new();
        let entries: Vec<_> = Dir::read_from(&self.0)?.collect::<Result<_, _>>()?;
        for name in entries.iter().map(DirEntry::file_name) {
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                self.make_private(name)?;
                directories.push(name.to_bytes().to_vec());
            } else {
                unlinkat(&self.0, name, AtFlags::empty())?;
            }
        }
        Ok(directories)
    }

    /// Makes a directory accessible to this user. Somebody else may own what is here by now, and put
    /// a symlink in its place, which is not followed.
    fn make_private(&self, name: &CStr) -> io::Result<()> {
        match openat(&self.0, name, OPEN_DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(fs::fchmod(directory, PRIVATE_DIRECTORY)?),
            Err(Errno::ACCESS) => self.set_mode(name, PRIVATE_DIRECTORY),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the mode of what is at a name, unless that is a symlink. The call that takes a name would
    /// follow one; a descriptor for the path alone needs no permission, and does not.
    #[cfg(target_os = "linux")]
    fn set_mode<P: rustix::path::Arg>(&self, name: P, mode: Mode) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&file)?.st_mode).is_symlink() {
            return Err(Errno::LOOP.into());
        }
        Ok(fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn set_mode<P: rustix::path::Arg>(&self, name: P, mode: Mode) -> io::Result<()> {
        Ok(chmodat(&self.0, name, mode, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn remove_empty(&self, name: &[u8]) -> io::Result<()> {
        check(name)?;
        Ok(unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes an empty file that only its owner can read and write.
    pub(in crate::stage) fn make_file(&self, name: &[u8]) -> io::Result<File> {
        check(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(
            openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR).map_err(explain)?,
        ))
    }

    /// Makes a symlink, and says whether this system has them.
    pub(in crate::stage) fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<bool> {
        check(name)?;
        symlinkat(target, &self.0, name).map_err(explain)?;
        Ok(true)
    }

    /// Makes a device, pipe or socket, and says whether that is allowed and possible here.
    #[cfg(target_os = "linux")]
    pub(in crate::stage) fn make_special(
        &self,
        name: &[u8],
        file_type: ext4::FileType,
        device: Option<Device>,
    ) -> io::Result<bool> {
        use rustix::fs::{makedev, mknodat};
        check(name)?;
        let file_type = match file_type {
            ext4::FileType::CharacterDevice => FileType::CharacterDevice,
            ext4::FileType::BlockDevice => FileType::BlockDevice,
            ext4::FileType::Fifo => FileType::Fifo,
            ext4::FileType::Socket => FileType::Socket,
            _ => return Ok(false),
        };
        let device = device.map_or(0, |device| makedev(device.major, device.minor));
        match mknodat(&self.0, name, file_type, Mode::RUSR | Mode::WUSR, device) {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => Ok(false),
            result => result.map(|()| true).map_err(explain),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "Linux has more to do")]
    pub(in crate::stage) fn make_special(
        &self,
        _name: &[u8],
        _file_type: ext4::FileType,
        _device: Option<Device>,
    ) -> io::Result<bool> {
        Ok(false)
    }

    /// Gives what is elsewhere another name here. A symlink gets the name itself, not what it leads to.
    pub(in crate::stage) fn make_link(&self, name: &[u8], other: &Self, other_name: &[u8]) -> io::Result<()> {
        check(name)?;
        check(other_name)?;
        linkat(&other.0, other_name, &self.0, name, AtFlags::empty()).map_err(explain)
    }

    /// Whether two names are the same here.
    pub(in crate::stage) fn are_same(&self, one: &[u8], other: &[u8]) -> bool {
        let identity = |name| statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino));
        identity(one).is_ok_and(|one| identity(other).is_ok_and(|other| one == other))
    }

    /// Sets what can be set of what is at a name, owner, attributes, times and mode, in this order: a new owner clears setuid,
    /// and what cannot be written to or searched takes nothing more.
    ///
    /// Without its owner nothing gets setuid or setgid: those would lend the rights of whoever exports.
    pub(in crate::stage) fn describe(&self, name: &[u8], inode: &Inode, xattrs: &Xattrs) -> io::Result<()> {
        check(name)?;
        self.set(name, inode, xattrs)
    }

    /// As [`Directory::describe`], of the directory itself.
    pub(in crate::stage) fn describe_itself(&self, inode: &Inode, xattrs: &Xattrs) -> io::Result<()> {
        self.set(b".", inode, xattrs)
    }

    fn set(&self, name: &[u8], inode: &Inode, xattrs: &Xattrs) -> io::Result<()> {
        let is_owned = self.set_owner(name, inode)?;
        #[cfg(target_os = "linux")]
        self.set_xattrs(name, xattrs)?;
        #[cfg(not(target_os = "linux"))]
        let _ = xattrs;
        let times = Timestamps {
            last_access: timespec(inode.accessed),
            last_modification: timespec(inode.modified),
        };
        utimensat(&self.0, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        if inode.file_type != ext4::FileType::Symlink {
            let allowed = if is_owned { 0o7777 } else { 0o1777 };
            let mode = Mode::from_raw_mode(RawMode::from(inode.mode & allowed));
            self.set_mode(name, mode)?;
        }
        Ok(())
    }

    fn set_owner(&self, name: &[u8], inode: &Inode) -> io::Result<bool> {
        // The system call takes these for "as it is".
        if inode.uid == u32::MAX || inode.gid == u32::MAX {
            return Ok(false);
        }
        let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
        match chownat(&self.0, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the attributes that this user may set, and this file system holds.
    #[cfg(target_os = "linux")]
    fn set_xattrs(&self, name: &[u8], xattrs: &Xattrs) -> io::Result<()> {
        use std::ffi::OsStr;
        use std::os::fd::AsRawFd as _;
        use std::os::unix::ffi::OsStrExt as _;
        use std::path::Path;

        use rustix::fs::{XattrFlags, lsetxattr};
        if xattrs.is_empty() {
            return Ok(());
        }
        // There is no call for attributes that takes a directory and a name.
        let mut path = format!("/proc/self/fd/{}/", self.0.as_raw_fd()).into_bytes();
        path.extend(name);
        let path = Path::new(OsStr::from_bytes(&path));
        for (name, value) in xattrs.iter() {
            match lsetxattr(path, name, value, XattrFlags::empty()) {
                Ok(())
                | Err(
                    Errno::PERM
                    | Errno::ACCESS
                    | Errno::OPNOTSUPP
                    | Errno::INVAL
                    | Errno::NOENT
                    | Errno::NOSPC
                    | Errno::RANGE
                    | Errno::TOOBIG,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.seconds(),
        tv_nsec: time.nanoseconds().into(),
    }
}

/// Some file systems refuse names that are not UTF-8, as a sequence that cannot be.
fn explain(error: Errno) -> io::Error {
    match error {
        Errno::ILSEQ => io::ErrorKind::InvalidFilename.into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn open(path: &Path) -> Root {
        Root::open(&oci::host::Directory::open(path).unwrap()).unwrap()
    }

    #[test]
    fn nothing_is_reached_through_a_symlink() {
        let (inside, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        std::fs::create_dir(outside.path().join("sub")).unwrap();
        symlink(outside.path(), inside.path().join("link")).unwrap();
        symlink(outside.path().join("new"), inside.path().join("dangling")).unwrap();
        let root = open(inside.path());
        for path in ["link", "link/sub", "..", "./link", "a/../link"] {
            assert!(root.directory(path.as_bytes()).is_err(), "{path}");
        }
        let directory = root.directory(b"").unwrap();
        for name in ["link", "dangling"] {
            let name = name.as_bytes();
            for error in [
                directory.make_file(name).err(),
                directory.make_directory(name).err(),
                directory.make_symlink(name, b"target").err(),
                directory.make_special(name, ext4::FileType::Fifo, None).err(),
            ] {
                // Where there are no special files, none is in the way.
                let kind = error.map_or(io::ErrorKind::AlreadyExists, |error| error.kind());
                assert_eq!(kind, io::ErrorKind::AlreadyExists);
            }
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn each_directory_of_a_deep_tree_is_found_after_each_other() {
        let inside = TempDir::new().unwrap();
        let root = open(inside.path());
        let make = |names: &[&str]| {
            let mut path = String::new();
            for name in names {
                // What is there already is found again.
                let _ = root.directory(path.as_bytes()).unwrap().make_directory(name.as_bytes());
                path += if path.is_empty() { "" } else { "/" };
                path += name;
            }
            path
        };
        let trunk = vec!["d"; 2 * STRIDE];
        let paths = [
            make(&[]),
            make(&["dd"]),
            make(&trunk[..STRIDE]),
            make(&[&trunk[..STRIDE], &["dd"]].concat()),
            make(&[&trunk[..STRIDE - 1], &["dd"; STRIDE]].concat()),
            make(&trunk),
            make(&[&trunk[..], &["e"; STRIDE + 1]].concat()),
            make(&[&trunk[..], &["ee"; STRIDE]].concat()),
        ];
        let inode = |root: &Root, path: &str| {
            let directory = root.directory(path.as_bytes()).unwrap();
            fs::fstat(&directory.0).unwrap().st_ino
        };
        let expected = paths.each_ref().map(|path| inode(&open(inside.path()), path));
        for (one, first) in paths.iter().zip(expected) {
            for (other, second) in paths.iter().zip(expected) {
                assert_eq!((inode(&root, one), inode(&root, other)), (first, second));
            }
        }
        assert!(root.directory(format!("{}/gone/d", paths[5]).as_bytes()).is_err());
        assert_eq!(inode(&root, &paths[5]), expected[5]);
        assert_eq!(root.last.borrow().kept.len(), 2);
    }

    #[test]
    fn a_deep_tree_is_removed_with_what_nobody_may_enter_and_nothing_that_it_leads_to() {
        let (inside, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        std::fs::write(outside.path().join("file"), "kept").unwrap();
        let root = open(inside.path());
        let mut path = Vec::new();
        for depth in 0..2 * STRIDE + 3 {
            let directory = root.directory(&path).unwrap();
            directory.make_directory(b"d").unwrap();
            directory.make_directory(b"empty").unwrap();
            directory.make_file(b"file").unwrap();
            let target = outside.path().as_os_str().as_encoded_bytes();
            directory.make_symlink(b"link", target).unwrap();
            if depth % 100 == 99 {
                directory.set_mode(c"empty", Mode::empty()).unwrap();
            }
            path = join(&path, b"d");
        }
        for path in [&path[..], &path[..1001], &path[..1], b""] {
            fs::fchmod(&root.directory(path).unwrap().0, Mode::empty()).unwrap();
        }
        root.clear();
        assert_eq!(std::fs::read_dir(inside.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(outside.path().join("file")).unwrap(), "kept");
    }

    /// As somebody might put it there whom the directory belongs to.
    #[test]
    fn no_symlink_is_followed_to_make_a_directory_private() {
        let (inside, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mode = |path: &Path| fs::stat(path).unwrap().st_mode & 0o7777;
        fs::chmod(outside.path(), Mode::from_raw_mode(0o755)).unwrap();
        symlink(outside.path(), inside.path().join("link")).unwrap();
        std::fs::create_dir(inside.path().join("directory")).unwrap();
        fs::chmod(inside.path().join("directory"), Mode::empty()).unwrap();
        let directory = open(inside.path()).directory(b"").unwrap();
        directory.make_private(c"link").unwrap_err();
        directory.set_mode(c"link", PRIVATE_DIRECTORY).unwrap_err();
        assert_eq!(mode(outside.path()), 0o755);
        directory.make_private(c"directory").unwrap();
        assert_eq!(mode(&inside.path().join("directory")), 0o700);
    }

    #[test]
    fn a_name_is_no_path() {
        let inside = TempDir::new().unwrap();
        let directory = open(inside.path()).directory(b"").unwrap();
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            directory.make_file(name).unwrap_err();
            directory.make_directory(name).unwrap_err();
            directory.make_symlink(name, b"target").unwrap_err();
            assert!(
                !directory
                    .make_special(name, ext4::FileType::Fifo, None)
                    .unwrap_or(false)
            );
        }
        assert_eq!(std::fs::read_dir(inside.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_names_of_one_file_are_the_same() {
        let inside = TempDir::new().unwrap();
        let directory = open(inside.path()).directory(b"").unwrap();
        directory.make_file(b"one").unwrap();
        directory.make_file(b"two").unwrap();
        directory.make_link(b"ONE", &directory, b"one").unwrap();
        assert!(directory.are_same(b"one", b"ONE"));
        assert!(!directory.are_same(b"one", b"two"));
        assert!(!directory.are_same(b"one", b"three"));
    }
}
