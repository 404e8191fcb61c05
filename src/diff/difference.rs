//! What a comparison finds.

use serde::{Serialize, Serializer};

use layer::text::printable;

/// One thing in which two disk images differ.
///
/// Its JSON is an item of `differences` as the command `microagent rootfs diff` prints it: the
/// fields by their names, and `null` for what there is not. Bytes of the path that are not UTF-8
/// become U+FFFD:
///
/// ```json
/// {"section":"tree","path":"/etc/hostname","field":"mode","a":"0644","b":"0600","offset":null,"count":null,"excerpt":[]}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// What part of the images it is in.
    pub section: DiffSection,
    /// Absolute path in the images, for what belongs to a file.
    #[serde(serialize_with = "as_text")]
    pub path: Option<Vec<u8>>,
    /// What differs, in the kernel's words for fields of structures.
    pub field: String,
    /// What the first image has, as text without control characters; none where it has nothing, or nothing that is worth telling.
    pub a: Option<String>,
    /// What the second image has.
    pub b: Option<String>,
    /// Byte of a file or an image at which the first difference is.
    pub offset: Option<u64>,
    /// How many such differences there are, where this stands for many; or how many names are below a directory that only
    /// one image has.
    pub count: Option<u64>,
    /// Lines that show it, as `diff -u` does: the first character is `-`, `+`, `@`, a space, or a backslash where a text has no line
    /// end at its end. They hold no control characters but tabs.
    pub excerpt: Vec<String>,
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_text<S: Serializer>(path: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(String::from_utf8_lossy).serialize(serializer)
}

/// A part of disk images. JSON has its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiffSection {
    /// The options of the file system, and what it counts.
    Superblock,
    /// What an image says of where it comes from.
    Provenance,
    /// Names, and all that a system call can tell of what they lead to.
    Tree,
    /// Where things are.
    Layout,
    /// Bytes that nothing above explains.
    Bytes,
}

impl DiffSection {
    /// Its name: `superblock`, `provenance`, `tree`, `layout` or `bytes`.
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
    /// A field with another value.
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

    /// The path as text, without anything that a terminal would obey; different paths give different texts.
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
