//! Installs the init in the tree of an image, with the directories that it needs.

use std::ffi::CStr;
use std::io::Read;

use ext4::{Directory, InodeId, Kind, Metadata, Output, Tree};
use guest_configuration::{DEV, PROC, RUN, SYS, TMP};
use tracing::{debug, info};

use super::command::GuestCommand;
use super::error::GuestError;
use super::program::{Configuration, configured_program};
use super::{Guest, accounts, tmpfs};
use layer::text::printable;
use layer::{RootfsBuilder, resolve_path};

/// Largest passwd(5), group(5) or hostname(5) that is read, in bytes.
const MAX_FILE_LEN: u64 = 16 << 20;
/// Longest host name in bytes (`HOST_NAME_MAX`).
const MAX_HOSTNAME_LEN: usize = 64;
/// Host name of images without one.
const DEFAULT_HOSTNAME: &[u8] = b"microagent";
const DIRECTORY_MODE: u16 = 0o755;
const PROGRAM_MODE: u16 = 0o755;
/// Mount points of the init, with the mode of those that the image lacks.
const MOUNT_POINTS: [(&CStr, u16); 5] = [
    (PROC, DIRECTORY_MODE),
    (SYS, DIRECTORY_MODE),
    (DEV, DIRECTORY_MODE),
    (RUN, DIRECTORY_MODE),
    (TMP, 0o1777),
];

/// Installs the init in the file system of an image whose layers are applied.
pub(super) fn install<O: Output>(guest: &Guest<'_>, rootfs: &mut RootfsBuilder<O>) -> Result<(), GuestError> {
    if guest.init.exec.is_some()
        && !lookup_path(&rootfs.tree, b"bin/sh")?.is_some_and(|id| is_program(&rootfs.tree, id))
    {
        return Err(GuestError::NoShell);
    }
    let passwd = read_file(rootfs, "/etc/passwd")?;
    let group = read_file(rootfs, "/etc/group")?;
    let user = accounts::resolve_user(&guest.execution.user, &passwd, &group)?;
    let command = GuestCommand::new(guest.init, guest.execution, &user.home)?;
    let hostname = parse_hostname(&read_file(rootfs, "/etc/hostname")?);
    // Container engines make the mount points too. If the root is read-only, the guest cannot make
    // them.
    for (path, mode) in MOUNT_POINTS {
        ensure_directory(&mut rootfs.tree, &path.to_bytes()[1..], mode)?;
    }
    ensure_directory(&mut rootfs.tree, &command.working_directory, DIRECTORY_MODE)?;

    let program = configured_program(
        guest.program,
        &Configuration {
            command: &command,
            user: &user,
            hostname: &hostname,
            directories: &tmpfs::directories(&rootfs.tree),
        },
    );
    let init = insert_init(rootfs, guest, &program)?;
    let executable = &command.arguments[0];
    if executable.starts_with(b"/") && lookup_path(&rootfs.tree, executable)? == Some(init) {
        return Err(GuestError::RunsItself {
            path: guest.init.path.to_string(),
        });
    }
    // Only the numbers of arguments and variables are logged: they can hold passwords.
    info!(
        path = %guest.init.path,
        command = printable(executable),
        arguments = command.arguments.len() - 1,
        variables = command.environment.len(),
        user = user.uid,
        group = user.gid,
        working_directory = printable(&command.working_directory),
        "installed the init"
    );
    Ok(())
}

/// Adds the program at the path of the init. It replaces what is there, except for a directory.
fn insert_init<O: Output>(
    rootfs: &mut RootfsBuilder<O>,
    guest: &Guest<'_>,
    program: &[u8],
) -> Result<InodeId, GuestError> {
    let (parent, name) = guest.init.path.split();
    let parent = ensure_directory(&mut rootfs.tree, parent, DIRECTORY_MODE)?;
    if let Some(existing) = rootfs.tree.lookup(parent, name) {
        if rootfs.tree.inode(existing).directory().is_some() {
            return Err(GuestError::InitPathIsDirectory {
                path: guest.init.path.to_string(),
            });
        }
        debug!(path = %guest.init.path, "the init replaces what the image has there");
        for data in rootfs.tree.remove(parent, name)? {
            rootfs.formatter.free(data);
        }
    }
    let data = rootfs.formatter.write_data(program, program.len() as u64)?;
    let init = rootfs
        .tree
        .insert(parent, name, root_owned_metadata(PROGRAM_MODE), Kind::File(data))?;
    Ok(init)
}

/// Returns the directory at a path. Makes the missing ones on the way.
fn ensure_directory(tree: &mut Tree, path: &[u8], mode: u16) -> Result<InodeId, GuestError> {
    let resolved = resolve_path(tree, path).map_err(|source| GuestError::Path {
        path: path.to_vec(),
        source,
    })?;
    let mut directory = resolved.directory;
    for (index, name) in resolved.missing.iter().enumerate() {
        if tree.lookup(directory, name).is_some() {
            let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
            return Err(GuestError::NotADirectory { path });
        }
        let is_last = index + 1 == resolved.missing.len();
        let mode = if is_last { mode } else { DIRECTORY_MODE };
        debug!(
            path = printable(path),
            name = printable(name),
            "makes a directory that the image lacks"
        );
        directory = tree.insert(
            directory,
            name,
            root_owned_metadata(mode),
            Kind::Directory(Directory::new()),
        )?;
    }
    Ok(directory)
}

/// Returns the inode that a path leads to through symlinks, if it exists.
fn lookup_path(tree: &Tree, path: &[u8]) -> Result<Option<InodeId>, GuestError> {
    let resolved = resolve_path(tree, path).map_err(|source| GuestError::Path {
        path: path.to_vec(),
        source,
    })?;
    Ok(match &resolved.missing[..] {
        [] => Some(resolved.directory),
        [name] => tree.lookup(resolved.directory, name),
        _ => None,
    })
}

/// Returns whether an inode is an executable file.
fn is_program(tree: &Tree, id: InodeId) -> bool {
    let inode = tree.inode(id);
    matches!(inode.kind(), Kind::File(_)) && inode.metadata.mode & 0o111 != 0
}

/// Reads a file. Anything that is missing or not a regular file counts as empty.
fn read_file<O: Output>(rootfs: &mut RootfsBuilder<O>, path: &'static str) -> Result<Vec<u8>, GuestError> {
    let mut content = Vec::new();
    let Some(id) = lookup_path(&rootfs.tree, path.as_bytes())? else {
        return Ok(content);
    };
    if let Kind::File(data) = rootfs.tree.inode(id).kind() {
        if data.len() > MAX_FILE_LEN {
            return Err(GuestError::TooLarge {
                path,
                len: data.len(),
                max: MAX_FILE_LEN,
            });
        }
        let mut reader = rootfs.formatter.read_data(data)?;
        reader
            .read_to_end(&mut content)
            .map_err(|source| GuestError::Read { path, source })?;
    }
    Ok(content)
}

/// Returns the first line of hostname(5), or the default if it is not a valid name.
fn parse_hostname(file: &[u8]) -> Vec<u8> {
    let line = file
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = (1..=MAX_HOSTNAME_LEN).contains(&line.len()) && line.iter().all(is_legal);
    if is_name { line } else { DEFAULT_HOSTNAME }.to_vec()
}

/// Returns metadata of a file that no layer has: owned by root, with times at the epoch.
fn root_owned_metadata(mode: u16) -> Metadata {
    Metadata {
        mode,
        ..Metadata::default()
    }
}
