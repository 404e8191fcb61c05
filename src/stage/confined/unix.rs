//! Confinement by directory descriptors: openat(2) and related calls.

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

use super::{check_name, components, join};

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;

/// Number of names between two directories of a deep path that are kept open.
const STRIDE: usize = 256;
/// Maximum number of directories that are kept open.
const MAX_KEPT: usize = 128;

/// The directory that no operation leaves.
#[derive(Debug)]
pub(in crate::stage) struct ConfinedRoot {
    directory: OwnedFd,
    path_cache: RefCell<PathCache>,
}

/// Open ancestors of the last directory that was opened.
///
/// A nearby directory is opened from the closest of them. Opening each from the root would take
/// time quadratic in the depth of the tree.
#[derive(Debug, Default)]
struct PathCache {
    /// Path of the last directory, relative to the root.
    path: Vec<u8>,
    /// Its ancestors at every [`STRIDE`]th name, each with the length of its path.
    kept: Vec<(usize, OwnedFd)>,
}

impl PathCache {
    /// Closes directories that are not ancestors of `path`, and makes it the last path.
    fn retain_ancestors_of(&mut self, path: &[u8]) {
        let pairs = self.path.iter().zip(path);
        let common = pairs.take_while(|(one, other)| one == other).count();
        let is_ancestor = |len: usize| len <= common && path.get(len).is_none_or(|&byte| byte == b'/');
        self.kept.retain(|&(len, _)| is_ancestor(len));
        self.path = path.to_vec();
    }
}

/// An open directory inside the root.
pub(in crate::stage) struct ConfinedDirectory(OwnedFd);

impl ConfinedRoot {
    /// Opens a directory of the host as the root.
    pub(in crate::stage) fn open(directory: &oci::host::Directory) -> io::Result<Self> {
        Ok(Self {
            directory: directory.readable()?,
            path_cache: RefCell::default(),
        })
    }

    /// Opens a directory that was created inside the root.
    pub(in crate::stage) fn directory(&self, path: &[u8]) -> io::Result<ConfinedDirectory> {
        let mut cache = self.path_cache.borrow_mut();
        cache.retain_ancestors_of(path);
        let (mut len, start) = cache
            .kept
            .last()
            .map_or((0, &self.directory), |(len, kept)| (*len, kept));
        let mut directory = openat(start, c".", OPEN_DIRECTORY, Mode::empty())?;
        for (index, name) in components(&path[len..]).enumerate() {
            check_name(name)?;
            if index > 0 && index.is_multiple_of(STRIDE) && cache.kept.len() < MAX_KEPT {
                let kept = openat(&directory, c".", OPEN_DIRECTORY, Mode::empty())?;
                cache.kept.push((len, kept));
            }
            directory = openat(&directory, name, OPEN_DIRECTORY, Mode::empty())?;
            len += usize::from(len > 0) + name.len();
        }
        Ok(ConfinedDirectory(directory))
    }

    /// Removes everything in the root where possible, whatever the modes. Neither the stack nor the
    /// number of open files grows with the depth.
    pub(in crate::stage) fn remove_contents(&self) {
        // Errors are ignored: removing the root itself fails if something is left.
        let _ = fs::fchmod(&self.directory, PRIVATE_DIRECTORY);
        let mut pending = vec![Vec::new()];
        let mut emptied = Vec::new();
        while let Some(path) = pending.pop() {
            let directories = self.directory(&path).and_then(|directory| directory.remove_files());
            for name in directories.unwrap_or_default() {
                pending.push(join(&path, &name));
                emptied.push((path.clone(), name));
            }
        }
        for (path, name) in emptied.iter().rev() {
            let _ = self.directory(path).and_then(|directory| directory.remove_empty(name));
        }
    }
}

impl ConfinedDirectory {
    /// Creates a directory that only its owner can enter.
    pub(in crate::stage) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        check_name(name)?;
        mkdirat(&self.0, name, PRIVATE_DIRECTORY).map_err(to_io_error)
    }

    /// Removes all entries other than directories, makes the directories accessible, and returns
    /// their names.
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

    /// Makes a directory accessible to its owner. Does not follow a symlink: another user may own
    /// the parent by now, and may have replaced the directory with one.
    fn make_private(&self, name: &CStr) -> io::Result<()> {
        match openat(&self.0, name, OPEN_DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(fs::fchmod(directory, PRIVATE_DIRECTORY)?),
            Err(Errno::ACCESS) => self.set_mode(name, PRIVATE_DIRECTORY),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the mode of an entry that is not a symlink. chmod(2) would follow a symlink; an
    /// `O_PATH` descriptor does not, and needs no permission on the file.
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
        check_name(name)?;
        Ok(unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Creates an empty file that only its owner can read and write. Fails if the name exists.
    pub(in crate::stage) fn make_file(&self, name: &[u8]) -> io::Result<File> {
        check_name(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(
            openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR).map_err(to_io_error)?,
        ))
    }

    /// Creates a symlink. Returns whether the system supports them, which is always true here.
    pub(in crate::stage) fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<bool> {
        check_name(name)?;
        symlinkat(target, &self.0, name).map_err(to_io_error)?;
        Ok(true)
    }

    /// Creates a device, pipe or socket. Returns `false` if this user may not create it, or the
    /// file system does not support it.
    #[cfg(target_os = "linux")]
    pub(in crate::stage) fn make_special(
        &self,
        name: &[u8],
        file_type: ext4::FileType,
        device: Option<Device>,
    ) -> io::Result<bool> {
        use rustix::fs::{makedev, mknodat};
        check_name(name)?;
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
            result => result.map(|()| true).map_err(to_io_error),
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

    /// Creates a hard link `name` to `other_name` in `other`. If that is a symlink, links to the
    /// symlink itself.
    pub(in crate::stage) fn make_link(&self, name: &[u8], other: &Self, other_name: &[u8]) -> io::Result<()> {
        check_name(name)?;
        check_name(other_name)?;
        linkat(&other.0, other_name, &self.0, name, AtFlags::empty()).map_err(to_io_error)
    }

    /// Returns whether two names refer to the same file.
    pub(in crate::stage) fn is_same_entry(&self, one: &[u8], other: &[u8]) -> bool {
        let identity = |name| statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino));
        identity(one).is_ok_and(|one| identity(other).is_ok_and(|other| one == other))
    }

    /// Sets owner, extended attributes, times and mode of an entry, where this user can.
    ///
    /// The order matters: a change of owner clears setuid, and a mode may forbid setting anything
    /// more. If the owner cannot be set, setuid and setgid are not set either: they would lend the
    /// rights of the user who exports.
    pub(in crate::stage) fn set_metadata(&self, name: &[u8], inode: &Inode, xattrs: &Xattrs) -> io::Result<()> {
        check_name(name)?;
        self.set_attributes(name, inode, xattrs)
    }

    /// Sets the metadata of the directory itself, like [`ConfinedDirectory::set_metadata`].
    pub(in crate::stage) fn set_own_metadata(&self, inode: &Inode, xattrs: &Xattrs) -> io::Result<()> {
        self.set_attributes(b".", inode, xattrs)
    }

    fn set_attributes(&self, name: &[u8], inode: &Inode, xattrs: &Xattrs) -> io::Result<()> {
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
        // chown(2) takes this number for "do not change".
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

    /// Sets the extended attributes that this user may set and the file system supports.
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
        // setxattr(2) has no variant that takes a directory descriptor.
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

/// Converts an error. `EILSEQ` becomes `InvalidFilename`: some file systems return it for names
/// that are not UTF-8.
fn to_io_error(error: Errno) -> io::Error {
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

    fn open(path: &Path) -> ConfinedRoot {
        ConfinedRoot::open(&oci::host::Directory::open(path).unwrap()).unwrap()
    }

    #[test]
    fn symlinks_are_not_followed() {
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
                // On systems without special files, `make_special` succeeds without creating one.
                let kind = error.map_or(io::ErrorKind::AlreadyExists, |error| error.kind());
                assert_eq!(kind, io::ErrorKind::AlreadyExists);
            }
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_of_a_deep_tree_are_found_in_any_order() {
        let inside = TempDir::new().unwrap();
        let root = open(inside.path());
        let make = |names: &[&str]| {
            let mut path = String::new();
            for name in names {
                // It may exist from an earlier call.
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
        let inode = |root: &ConfinedRoot, path: &str| {
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
        assert_eq!(root.path_cache.borrow().kept.len(), 2);
    }

    #[test]
    fn a_deep_tree_with_locked_directories_is_removed_without_following_symlinks() {
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
        root.remove_contents();
        assert_eq!(std::fs::read_dir(inside.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(outside.path().join("file")).unwrap(), "kept");
    }

    /// The owner of the parent directory could place the symlink at any time.
    #[test]
    fn making_a_directory_private_follows_no_symlink() {
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
    fn paths_are_refused_as_names() {
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
    fn hard_links_are_the_same_entry() {
        let inside = TempDir::new().unwrap();
        let directory = open(inside.path()).directory(b"").unwrap();
        directory.make_file(b"one").unwrap();
        directory.make_file(b"two").unwrap();
        directory.make_link(b"ONE", &directory, b"one").unwrap();
        assert!(directory.is_same_entry(b"one", b"ONE"));
        assert!(!directory.is_same_entry(b"one", b"two"));
        assert!(!directory.is_same_entry(b"one", b"three"));
    }
}
