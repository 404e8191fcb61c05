//! Errors of reading and applying a layer.

use std::fmt;
use std::io;

use ext4::{FormatError, TreeError};

use super::decode::{DAMAGED_HINT, DecodeError};
use super::text::Printable;
use crate::cancel::Cancelled;
use crate::failure::{ErrorKind, Failure, Hint, Setting};

/// Error of a layer that could not be applied, with its position in the layer.
#[derive(Debug, thiserror::Error)]
#[error("{position}")]
pub struct LayerError {
    /// Position in the layer.
    pub position: Position,
    /// Fault at this position.
    #[source]
    pub kind: LayerErrorKind,
}

/// Position of an entry in a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the entry, counted from 1; 0 before the first.
    pub entry: u64,
    /// Offset of the header in bytes from the start of the tar.
    pub offset: u64,
    /// Name of the entry as in the tar; `None` if it was not read.
    pub name: Option<Vec<u8>>,
}

impl Position {
    /// Returns an error at this position.
    pub(super) fn error(&self, kind: LayerErrorKind) -> LayerError {
        LayerError {
            position: self.clone(),
            kind,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}", self.entry)?;
        if let Some(name) = &self.name {
            write!(f, " \"{}\"", Printable(name))?;
        }
        write!(f, ", at byte {} of the tar", self.offset)
    }
}

/// Fault of a layer, or of applying it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerErrorKind {
    /// The layer could not be read or decompressed.
    #[error("could not read the layer")]
    Read(#[source] io::Error),
    /// The work was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
    /// The tar ends early.
    #[error("the tar ends {missing} bytes early, inside {what}: the layer is truncated")]
    Truncated {
        /// Part of the tar in which it ends.
        what: &'static str,
        /// Number of missing bytes.
        missing: u64,
    },
    /// The layer does not begin with a tar header.
    #[error("the layer is not a tar archive (plain, gzip or zstd)")]
    NotATar,
    /// The checksum of a header is wrong.
    #[error("wrong checksum of a tar header: the layer is damaged")]
    Checksum,
    /// A single block of zeros between entries.
    #[error("a block of zeros followed by something else: the end of the archive is damaged")]
    LoneZeroBlock,
    /// A field of a header, or a value of an extended header, that is not a number.
    #[error("the {field} \"{}\" is not a number", Printable(.value))]
    NotANumber {
        /// The field or keyword.
        field: &'static str,
        /// The value as in the tar.
        value: Vec<u8>,
    },
    /// A number beyond what an inode can hold.
    #[error("the {field} {value} is not between 0 and {max}")]
    OutOfRange {
        /// The field or keyword.
        field: &'static str,
        /// The value.
        value: i64,
        /// Largest possible value.
        max: u64,
    },
    /// An entry of a type that layers do not have.
    #[error("unsupported tar entry type '{}' ({name})", char::from(*.flag).escape_default())]
    UnsupportedType {
        /// Type as in the header (`typeflag`).
        flag: u8,
        /// Name of the type.
        name: &'static str,
    },
    /// A later volume of a multi-volume archive, which begins inside of a file.
    #[error(
        "the tar continues \"{}\" from an earlier volume (tar --multi-volume): a layer is a whole archive",
        Printable(.file)
    )]
    OtherVolume {
        /// The file that the volume continues.
        file: Vec<u8>,
    },
    /// An extended header, a long name or a sparse map that is too long.
    #[error("{what} of {len} bytes or more: at most {max} are read")]
    ExtensionTooLong {
        /// The extended header, long name or sparse map.
        what: &'static str,
        /// Length in bytes, or the part of it that was read.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// An extended header (PAX) that cannot be parsed.
    #[error("broken PAX header: {reason}")]
    InvalidExtension {
        /// Fault in the header.
        reason: &'static str,
    },
    /// A global extended header (PAX) that would give every entry the same name, size or
    /// attributes.
    #[error("a global PAX header sets \"{}\", which is different for every entry", Printable(.keyword))]
    GlobalKeyword {
        /// The keyword.
        keyword: Vec<u8>,
    },
    /// The archive ends after an extended header or a long name.
    #[error("the archive ends after an extended header, before the entry that it describes")]
    NoEntryForExtension,
    /// A sparse file with an invalid map.
    #[error("broken sparse file: {reason}")]
    InvalidSparseMap {
        /// Fault in the map.
        reason: &'static str,
    },
    /// Layers with more unpacked bytes than allowed ([`Limits::size`](super::Limits::size)).
    #[error("the layers unpack to at least {len} bytes: at most {max} are allowed")]
    TooLarge {
        /// Bytes of all layers so far, including the content of the entry.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Layers with more entries than allowed ([`Limits::entries`](super::Limits::entries)).
    #[error(
        "the layers have at least {count} entries, counting directories that no entry describes: at most {max} are allowed"
    )]
    TooManyEntries {
        /// Entries of all layers so far.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// Layers with more metadata than allowed ([`Limits::metadata`](super::Limits::metadata)).
    #[error(
        "the paths, link targets and extended attributes of the layers take at least {len} bytes: at most {max} are allowed"
    )]
    TooMuchMetadata {
        /// Bytes of metadata in all layers so far.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// An extended attribute with a larger value than Linux allows (`XATTR_SIZE_MAX`).
    #[error("the extended attribute \"{}\" has {len} bytes: a value can have {max} at most", Printable(.name))]
    XattrTooLong {
        /// Name of the attribute.
        name: Vec<u8>,
        /// Length of its value in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A name or link target with a NUL.
    #[error("a path with a NUL: \"{}\"", Printable(.path))]
    NulInPath {
        /// The path as in the tar.
        path: Vec<u8>,
    },
    /// A name in a path that is longer than any file system allows.
    #[error("\"{}\" has {} bytes: a name can have {max} at most", Printable(.name), .name.len())]
    NameTooLong {
        /// The name.
        name: Vec<u8>,
        /// The limit in bytes.
        max: usize,
    },
    /// A path that is longer than a system call takes, or that symlinks make 16 times as long.
    #[error("the path has {len} bytes after symlinks are resolved: at most {max} are allowed")]
    PathTooLong {
        /// Length in bytes, without `.`, `..` and superfluous slashes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A whiteout without a name to hide, or of its own or the parent directory.
    #[error("the whiteout \"{}\" does not name a file to hide", Printable(.name))]
    InvalidWhiteout {
        /// Name of the whiteout file.
        name: Vec<u8>,
    },
    /// An entry for the root that is not a directory.
    #[error("the entry would replace the root with something that is not a directory")]
    RootNotADirectory,
    /// A path with too many symlinks, which may form a loop.
    #[error("more than {max} symlinks on the path of the entry: they may form a loop")]
    SymlinkLoop {
        /// The limit.
        max: u32,
    },
    /// The system has no memory for the list of the layer's entries.
    #[error("out of memory: the list of the layer's entries takes {len} bytes")]
    OutOfMemory {
        /// Size of the list in bytes, with this entry.
        len: usize,
    },
    /// A hard link to a file that does not exist.
    #[error("hard link to \"{}\", which does not exist at this point", Printable(.target))]
    LinkTargetMissing {
        /// The target as in the tar.
        target: Vec<u8>,
    },
    /// A hard link to a directory.
    #[error("hard link to \"{}\", which is a directory", Printable(.target))]
    LinkToDirectory {
        /// The target as in the tar.
        target: Vec<u8>,
    },
    /// A hard link to a file that is gone once the link has replaced what was there.
    #[error("hard link to \"{}\", which the link itself replaces", Printable(.target))]
    LinkReplacesTarget {
        /// The target as in the tar.
        target: Vec<u8>,
    },
    /// A change that the tree cannot hold, such as too many hard links, or a device number above 32
    /// bits.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Metadata that an inode of the file system has no room for, such as too many extended
    /// attributes.
    #[error(transparent)]
    Unfit(FormatError),
    /// The image could not take the content of the file.
    #[error("could not write the content into the image")]
    Image(#[source] FormatError),
}

impl Failure for LayerError {
    fn kind(&self) -> ErrorKind {
        self.kind.kind()
    }

    fn hint(&self) -> Option<Hint> {
        self.kind.hint()
    }
}

impl Failure for LayerErrorKind {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(source) => source.kind().into(),
            Self::Image(error) | Self::Unfit(error) => error.kind(),
            Self::Tree(error) => error.kind(),
            Self::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            Self::TooLarge { .. } | Self::TooManyEntries { .. } | Self::TooMuchMetadata { .. } => {
                ErrorKind::LimitExceeded
            }
            Self::UnsupportedType { .. } | Self::OtherVolume { .. } => ErrorKind::Unsupported,
            Self::Cancelled(_) => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Image(error) | Self::Unfit(error) => return error.hint(),
            Self::Tree(error) => return error.hint(),
            Self::Read(source) => return DecodeError::find_in(source)?.hint(),
            Self::Truncated { .. } | Self::Checksum | Self::LoneZeroBlock | Self::NoEntryForExtension => DAMAGED_HINT,
            Self::NotATar => "build the image again with layers that are tar archives, in gzip, zstd or neither",
            Self::UnsupportedType { flag: b'D', .. } => "make the layer without tar's --listed-incremental",
            Self::UnsupportedType { flag: b'M', .. } | Self::OtherVolume { .. } => {
                "make the layer without tar's --multi-volume"
            }
            Self::UnsupportedType { flag: b'S', .. } => "make the layer without star's -sparse, or with GNU tar",
            Self::UnsupportedType { .. }
            | Self::NotANumber { .. }
            | Self::OutOfRange { .. }
            | Self::ExtensionTooLong { .. }
            | Self::InvalidExtension { .. }
            | Self::GlobalKeyword { .. }
            | Self::InvalidSparseMap { .. }
            | Self::NulInPath { .. } => {
                "build the image again with another tool: the one that made this layer wrote an entry that cannot be read"
            }
            Self::NameTooLong { .. } | Self::PathTooLong { .. } => {
                "build the image with shorter names and symlinks: Linux could not open this path either"
            }
            Self::InvalidWhiteout { .. } => "omit the entry from the layer, or name it .wh.<name of the file to hide>",
            Self::RootNotADirectory | Self::LinkReplacesTarget { .. } => "omit the entry from the layer",
            Self::SymlinkLoop { .. } => "build the image without the loop, or omit the entry",
            Self::LinkTargetMissing { .. } => {
                "build the image again with the file before its links, in the same layer or one below"
            }
            Self::LinkToDirectory { .. } => "build the image with a symlink instead",
            Self::OutOfMemory { .. } => "free some memory, or raise its limit (ulimit -v)",
            Self::TooLarge { len, .. } => return Some(Hint::raise_to(Setting::MaxSize, *len)),
            Self::TooManyEntries { count, .. } => {
                let raise = Hint::raise(Setting::MaxEntries);
                return Some(raise.and(format!(", to at least {count}")));
            }
            Self::TooMuchMetadata { len, .. } => return Some(Hint::raise_to(Setting::MaxMetadata, *len)),
            Self::Cancelled(_) => return Some(Hint::again()),
            Self::XattrTooLong { .. } => "shorten or omit the attribute",
        };
        Some(text.into())
    }
}
