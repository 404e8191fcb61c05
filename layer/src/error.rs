//! What can go wrong while a layer is read and applied.

use std::fmt;
use std::io;

use ext4::{FormatError, TreeError};

use super::decode::{DAMAGED_HINT, DecodeError};
use super::text::Printable;
use crate::cancel::Cancelled;
use crate::failure::{ErrorKind, Failure, Hint, Setting};

/// A layer that could not be applied, and where in it.
#[derive(Debug, thiserror::Error)]
#[error("{position}")]
pub struct LayerError {
    /// Where in the layer.
    pub position: Position,
    /// What went wrong there.
    #[source]
    pub kind: LayerErrorKind,
}

/// A place in a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the entry, counted from 1; 0 before the first.
    pub entry: u64,
    /// Offset of the header in bytes from the start of the tar.
    pub offset: u64,
    /// Name of the entry as the tar gives it, if it was read.
    pub name: Option<Vec<u8>>,
}

impl Position {
    /// Returns the error that this is wrong here.
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

/// What is wrong with a layer, or could not be done with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerErrorKind {
    /// The layer could not be read, or not be decompressed.
    #[error("could not read the layer")]
    Read(#[source] io::Error),
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
    /// The tar ends too early.
    #[error("the tar ends {missing} bytes early, inside {what}: the layer is truncated")]
    Truncated {
        /// What it ends in.
        what: &'static str,
        /// Bytes that are missing.
        missing: u64,
    },
    /// The layer does not begin with a tar header.
    #[error("the layer is no tar archive, and neither gzip nor zstd")]
    NotATar,
    /// The checksum of a header is wrong.
    #[error("no tar header where one must be, as its checksum is wrong: the layer is damaged")]
    Checksum,
    /// A single block of zeros between entries.
    #[error("a block of zeros followed by something else: the end of the archive is damaged")]
    LoneZeroBlock,
    /// A field of a header, or a value of an extended header, that is no number.
    #[error("the {field} \"{}\" is no number", Printable(.value))]
    NotANumber {
        /// The field or keyword.
        field: &'static str,
        /// The value as it is.
        value: Vec<u8>,
    },
    /// A number beyond what an inode can hold.
    #[error("the {field} {value} is not between 0 and {max}")]
    OutOfRange {
        /// The field or keyword.
        field: &'static str,
        /// The value.
        value: i64,
        /// The largest possible.
        max: u64,
    },
    /// An entry of a type that has no place in a layer.
    #[error("entries of type '{}' ({name}) have no place in a layer", char::from(*.flag).escape_default())]
    UnsupportedType {
        /// The type as the header gives it.
        flag: u8,
        /// What it is called.
        name: &'static str,
    },
    /// A later volume of an archive of several, which begins amid a file.
    #[error(
        "the tar continues \"{}\" from an earlier volume (tar --multi-volume): a layer is a whole archive",
        Printable(.file)
    )]
    OtherVolume {
        /// The file that it continues.
        file: Vec<u8>,
    },
    /// An extended header, a long name or a sparse map that is too long.
    #[error("{what} of {len} bytes or more: at most {max} are read")]
    ExtensionTooLong {
        /// What it is.
        what: &'static str,
        /// Length in bytes, or as much of it as was read.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// An extended header (PAX) that cannot be read.
    #[error("broken PAX header: {reason}")]
    InvalidExtension {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A global extended header (PAX) that would give every entry the same name, size or attributes.
    #[error("a global PAX header sets \"{}\", which is different for every entry", Printable(.keyword))]
    GlobalKeyword {
        /// The keyword.
        keyword: Vec<u8>,
    },
    /// The archive ends after an extended header or a long name.
    #[error("the archive ends after an extended header, before the entry that it describes")]
    NoEntryForExtension,
    /// A sparse file whose map makes no sense.
    #[error("broken sparse file: {reason}")]
    InvalidSparseMap {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Layers with more bytes than are allowed when they are unpacked ([`Limits::size`](super::Limits::size)).
    #[error("the layers have {len} bytes or more when they are unpacked: at most {max} are allowed")]
    TooLarge {
        /// Bytes of all layers so far, and of the content of the entry.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Layers with more entries than are allowed ([`Limits::entries`](super::Limits::entries)).
    #[error("the layers have {count} entries or more, directories without one included: at most {max} are allowed")]
    TooManyEntries {
        /// Entries of all layers so far.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// Layers with more metadata than is allowed ([`Limits::metadata`](super::Limits::metadata)).
    #[error(
        "the paths, link targets and extended attributes of the layers take {len} bytes or more: at most {max} are allowed"
    )]
    TooMuchMetadata {
        /// Bytes in all layers so far.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A value of an extended attribute that is longer than Linux takes (`XATTR_SIZE_MAX`).
    #[error("the extended attribute \"{}\" has {len} bytes: a value can have {max} at most", Printable(.name))]
    XattrTooLong {
        /// Name of the attribute.
        name: Vec<u8>,
        /// Length of its value in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A name or link target with a NUL in it.
    #[error("a path with a NUL: \"{}\"", Printable(.path))]
    NulInPath {
        /// The path as given.
        path: Vec<u8>,
    },
    /// A component of a path that is longer than any file system takes.
    #[error("\"{}\" has {} bytes: a name can have {max} at most", Printable(.name), .name.len())]
    NameTooLong {
        /// The component.
        name: Vec<u8>,
        /// The limit in bytes.
        max: usize,
    },
    /// A path that no system call takes, or one that symlinks make longer than that many times over.
    #[error("a path of {len} bytes, symlinks on the way included: it can have {max} at most")]
    PathTooLong {
        /// Length in bytes, without `.`, `..` and superfluous slashes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A whiteout that names nothing to remove, or its own directory, or the one above.
    #[error("the whiteout \"{}\" names nothing that it could hide", Printable(.name))]
    InvalidWhiteout {
        /// Name of the whiteout file.
        name: Vec<u8>,
    },
    /// An entry for the root that is no directory.
    #[error("the entry would replace the root by something that is no directory")]
    RootNotADirectory,
    /// A path that runs through too many symlinks, in a circle perhaps.
    #[error("more than {max} symlinks on the way to the entry, which may be a circle")]
    SymlinkLoop {
        /// The limit.
        max: u32,
    },
    /// The system has no memory for a list of the layer's entries.
    #[error("no memory for {len} bytes, where the entries of the layer are kept until all are read")]
    OutOfMemory {
        /// Size of the list in bytes, with this entry.
        len: usize,
    },
    /// A hard link to something that is not there.
    #[error("hard link to \"{}\", which does not exist so far", Printable(.target))]
    LinkTargetMissing {
        /// The target as the tar gives it.
        target: Vec<u8>,
    },
    /// A hard link to a directory.
    #[error("hard link to \"{}\", which is a directory", Printable(.target))]
    LinkToDirectory {
        /// The target as the tar gives it.
        target: Vec<u8>,
    },
    /// A hard link to a file that is gone once the link has replaced what was there.
    #[error("hard link to \"{}\", which the link itself replaces", Printable(.target))]
    LinkReplacesTarget {
        /// The target as the tar gives it.
        target: Vec<u8>,
    },
    /// Something that no tree can hold, such as too many hard links, or a device number beyond 32 bits.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Something that an inode of this file system has no room for, such as too many extended attributes.
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
            Self::Read(source) => return DecodeError::from_io(source)?.hint(),
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
                "build the image again with another tool: what made this layer wrote an entry that cannot be read"
            }
            Self::NameTooLong { .. } | Self::PathTooLong { .. } => {
                "build the image with shorter names and symlinks: Linux could not open this path either"
            }
            Self::InvalidWhiteout { .. } => {
                "leave the entry out of the layer, or name it .wh.<name of the file that it hides>"
            }
            Self::RootNotADirectory | Self::LinkReplacesTarget { .. } => "leave the entry out of the layer",
            Self::SymlinkLoop { .. } => "build the image without the circle, or leave the entry out",
            Self::LinkTargetMissing { .. } => {
                "build the image again with the file before its links, in the same layer or one below"
            }
            Self::LinkToDirectory { .. } => "build the image with a symlink there",
            Self::OutOfMemory { .. } => "free some memory, or raise its limit (ulimit -v)",
            Self::TooLarge { len, .. } => return Some(Hint::raise_to(Setting::MaxSize, *len)),
            Self::TooManyEntries { count, .. } => {
                let raise = Hint::raise(Setting::MaxEntries);
                return Some(raise.and(format!(", to {count} at the least")));
            }
            Self::TooMuchMetadata { len, .. } => return Some(Hint::raise_to(Setting::MaxMetadata, *len)),
            Self::Cancelled(_) => return Some(Hint::again()),
            Self::XattrTooLong { .. } => "change or leave out the entry: no ext4 file system can hold it",
        };
        Some(text.into())
    }
}
