//! A single difference, and the sections that differences belong to.
//!
//! A new kind of difference within a section is a new `field` text: report it in the module that
//! compares that section (`metadata`, `content`, `layout`, `bytes`), and list it in README.md under
//! "Comparing images". If it makes other bytes differ, add a `Cause` in `bytes`. A new section is a
//! variant and a name here, a step in `Comparison::run`, an arm in `Comparison::report`, and a word
//! in README.md's description of the JSON. `cli::diff` prints any field without a change.

use serde::{Serialize, Serializer};

use layer::text::printable;

/// A difference between two disk images.
///
/// Serializes to an item of `differences` in the JSON of `microagent rootfs diff`: the fields by
/// their names, with `null` for `None`. Bytes of the path that are not UTF-8 become U+FFFD:
///
/// ```json
/// {"section":"tree","path":"/etc/hostname","field":"mode","a":"0644","b":"0600","offset":null,"count":null,"excerpt":[]}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Section of the comparison that found the difference.
    pub section: DiffSection,
    /// Absolute path in the images; `None` for a difference that does not belong to a file.
    #[serde(serialize_with = "as_text")]
    pub path: Option<Vec<u8>>,
    /// Name of the field that differs. Fields of on-disk structures have the kernel's names.
    pub field: String,
    /// Value in the first image, as text without control characters. `None` if the image lacks it,
    /// or if the excerpt shows it.
    pub a: Option<String>,
    /// Value in the second image.
    pub b: Option<String>,
    /// Offset in bytes of the first difference in the content of a file.
    pub offset: Option<u64>,
    /// Number of differences that this one stands for, in bytes in the section
    /// [`Bytes`](DiffSection::Bytes). For a directory that only one image has, the number of names
    /// below it.
    pub count: Option<u64>,
    /// Lines that show the difference in the format of `diff -u`. Each begins with `-`, `+`, `@`, a
    /// space, or a backslash (for a text without a newline at its end). They hold no control
    /// characters other than tabs.
    pub excerpt: Vec<String>,
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_text<S: Serializer>(path: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(String::from_utf8_lossy).serialize(serializer)
}

/// A section of a comparison. In JSON, it is its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiffSection {
    /// Options, counts and times in the superblock.
    Superblock,
    /// Provenance: the container image that the disk image was built from.
    Provenance,
    /// Names, metadata and contents of files.
    Tree,
    /// Numbers of inodes, and locations of blocks and tables.
    Layout,
    /// Bytes that no earlier section explains.
    Bytes,
}

impl DiffSection {
    /// Returns the name: `superblock`, `provenance`, `tree`, `layout` or `bytes`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::Provenance => "provenance",
            Self::Tree => "tree",
            Self::Layout => "layout",
            Self::Bytes => "bytes",
        }
    }
}

impl Difference {
    /// Creates a difference in a field, without path or values.
    pub(super) fn new(section: DiffSection, field: impl Into<String>) -> Self {
        Self {
            section,
            path: None,
            field: field.into(),
            a: None,
            b: None,
            offset: None,
            count: None,
            excerpt: Vec::new(),
        }
    }

    /// Returns the path as text without terminal control characters. Different paths give different
    /// texts.
    #[must_use]
    pub fn printable_path(&self) -> Option<String> {
        self.path.as_deref().map(printable)
    }

    pub(super) fn values(mut self, a: impl Into<Option<String>>, b: impl Into<Option<String>>) -> Self {
        self.a = a.into();
        self.b = b.into();
        self
    }

    pub(super) fn at(mut self, path: Vec<u8>) -> Self {
        self.path = Some(path);
        self
    }
}
