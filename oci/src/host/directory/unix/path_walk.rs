//! Opening the directory at the end of a path without following another user's symlinks.

use std::io;
#[cfg(target_os = "linux")]
use std::mem;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags};

/// Opens a directory, walking its path name by name. Follows only symlinks of this user and of
/// root. Creates missing directories with mode 0700 if `create` is set.
#[cfg(target_os = "linux")]
pub(super) fn open(path: &Path, create: bool) -> io::Result<OwnedFd> {
    use super::{EntryKind, Errno, entry_kind};

    let (at, _) = walk(path, create, false)?;
    if entry_kind(&fs::fstat(&at)?) != EntryKind::Directory {
        return Err(Errno::NOTDIR.into());
    }
    Ok(at)
}

/// Opens the directory that contains the last name of a path, and returns it with the path after
/// all symlinks, including a symlink in place of the last name.
#[cfg(target_os = "linux")]
pub(super) fn open_parent(path: &Path, create: bool) -> io::Result<(OwnedFd, PathBuf)> {
    walk(path, create, true)
}

/// Walks to the end of a path, or with `to_parent` to the directory that contains its last name.
/// Returns a descriptor, and the path after all symlinks.
#[cfg(target_os = "linux")]
fn walk(path: &Path, create: bool, to_parent: bool) -> io::Result<(OwnedFd, PathBuf)> {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStringExt;
    use std::path::Component;

    use super::{EntryKind, Errno, OPEN_FLAGS, check_trusted, entry_kind};
    use crate::host::Untrusted;

    /// Limit on symlinks that are followed, as in the kernel (`MAXSYMLINKS`).
    const MAX_LINKS: usize = 40;

    /// Pushes the names of a path on the stack of names to walk, the first one on top.
    fn push(pending: &mut Vec<OsString>, path: &Path) {
        let names = path.components().rev().filter_map(|component| match component {
            Component::Prefix(_) | Component::CurDir => None,
            Component::RootDir => Some(OsString::from("/")),
            Component::ParentDir => Some(OsString::from("..")),
            Component::Normal(name) => Some(name.to_owned()),
        });
        pending.extend(names);
    }

    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT.into());
    }
    let user = rustix::process::geteuid().as_raw();
    let open_start = |name: &str| fs::open(name, OPEN_FLAGS | OFlags::DIRECTORY, Mode::empty());
    let mut at = open_start(".")?;
    let mut walked = PathBuf::new();
    let mut pending = Vec::new();
    let mut links = 0;
    let mut at_root = false;
    push(&mut pending, path);
    while let Some(name) = pending.pop() {
        walked.push(&name);
        if name == "/" {
            at = open_start("/")?;
            at_root = true;
            continue;
        }
        let is_last = to_parent && pending.is_empty() && name != "..";
        // Under QEMU's user-mode emulation, "/" opens another directory. So the first name after
        // it is opened as an absolute path.
        let name = if mem::take(&mut at_root) {
            Path::new("/").join(name).into()
        } else {
            name
        };
        let open_entry = |name: &OsStr| fs::openat(&at, name, OPEN_FLAGS | OFlags::NOFOLLOW, Mode::empty());
        let mut created = false;
        let next = match open_entry(&name) {
            Err(Errno::NOENT) if is_last => return Ok((at, walked)),
            Err(Errno::NOENT) if create => {
                match fs::mkdirat(&at, &name, Mode::RWXU) {
                    Ok(()) => created = true,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open_entry(&name)?
            }
            next => next?,
        };
        let stat = fs::fstat(&next)?;
        if created {
            check_trusted(&stat)?;
        }
        if entry_kind(&stat) != EntryKind::Symlink {
            if is_last {
                return Ok((at, walked));
            }
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if stat.st_uid != user && stat.st_uid != 0 {
            let owner = stat.st_uid;
            return Err(Untrusted::Link { link: walked, owner }.into());
        }
        let target = fs::readlinkat(&next, "", Vec::new())?;
        walked.pop();
        push(&mut pending, Path::new(&OsString::from_vec(target.into_bytes())));
    }
    if to_parent {
        return Err(Errno::ISDIR.into());
    }
    Ok((at, walked))
}

/// Opens a directory, and follows every symlink: this system has no descriptors of symlinks by
/// which to check their owner.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(path: &Path, create: bool) -> io::Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;

    if create {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    Ok(fs::open(path, super::OPEN_FLAGS | OFlags::DIRECTORY, Mode::empty())?)
}

/// Opens the directory that contains the last name of a path, and returns it with the path after
/// all symlinks, including a symlink in place of the last name.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_parent(path: &Path, create: bool) -> io::Result<(OwnedFd, PathBuf)> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = open(crate::host::parent_of(&path), create)?;
    Ok((directory, path))
}
