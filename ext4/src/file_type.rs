//! [`FileType`]: the seven types of inodes.

use std::fmt;

/// Type of an inode. `Display` prints `file`, `directory`, `symlink`, `character device`, `block
/// device`, `fifo` or `socket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// A regular file.
    RegularFile,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileType {
    /// All types.
    pub(crate) const ALL: [Self; 7] = [
        Self::RegularFile,
        Self::Directory,
        Self::Symlink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Fifo,
        Self::Socket,
    ];
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RegularFile => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        })
    }
}
