//! Comparison of two disk images: every difference, from the options of the file system down to
//! single bytes.
//!
//! The comparison goes through the sections of [`DiffSection`] in order. Options, provenance,
//! names, metadata and contents come first, then the location of inodes and blocks, and last the
//! bytes of the two files. It walks both trees side by side, one directory at a time.
//!
//! **The last section explains bytes.** It compares the files byte by byte, so images that differ
//! never seem the same. For each differing byte it looks up the owner: an inode, a bitmap, a free
//! block. A byte that an earlier section explains is omitted. A byte that follows from an earlier
//! difference (a checksum, a backup, a bitmap) is counted. All others are shown.
//!
//! **Hostile images cannot make a comparison long.** Any input ends with a list of differences or a
//! [`DiffError`]. Blocks that belong to two files, directories with two names, and similar ways to
//! make much content of few bytes end the comparison. Ranges that are holes in both files are not
//! read. Differences are reported as they are found, so memory holds one directory, the first names
//! of hard links, and three numbers for each extent.

mod bytes;
mod content;
mod difference;
mod error;
mod excerpt;
mod holes;
mod layout;
mod metadata;
mod owners;
mod side;
mod tree;

use std::io;
use std::path::Path;

use ext4::{BOOT_AREA_LEN, Reader};

use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancelled};
use layer::text::{harmless, printable};

pub use difference::{DiffSection, Difference};
pub use error::{DiffError, DiffReason};

use bytes::{Cause, Explained};
use content::ContentBudget;
use layout::LayoutDifferences;
use side::DiffSide;

/// Options of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Report each file whose inode or blocks are at other numbers, in addition to their count.
    pub list_moved_files: bool,
}

/// Compares two disk images, and passes each difference to `on_difference` as it is found.
///
/// Differences come in the order of [`DiffSection`], and within the tree one directory at a time,
/// in the order of names. Returns whether the files have the same bytes. If they do, nothing is
/// reported; if not, at least one difference is.
///
/// # Errors
///
/// - [`DiffError::Image`] if one of the files cannot be read or is not an ext4 file system, or if
///   its file system is damaged or has unsupported features.
/// - [`DiffError::Report`] if `on_difference` fails.
/// - [`DiffError::Cancelled`] once `cancel` is set.
pub fn diff(
    a: impl AsRef<Path>,
    b: impl AsRef<Path>,
    options: DiffOptions,
    cancel: &Cancel,
    on_difference: &mut dyn FnMut(&Difference) -> io::Result<()>,
) -> Result<bool, DiffError> {
    let mut compare = || {
        let (mut a, mut b) = (DiffSide::open(a.as_ref(), cancel)?, DiffSide::open(b.as_ref(), cancel)?);
        if bytes::have_same_bytes(&mut a, &mut b)? {
            return Ok(true);
        }
        let comparison = Comparison {
            a,
            b,
            options,
            on_difference,
            layout: LayoutDifferences::default(),
            budget: ContentBudget::default(),
            explained: Explained::default(),
        };
        comparison.run()?;
        Ok(false)
    };
    compare().map_err(Cancelled::surface)
}

/// A comparison in progress.
struct Comparison<'a> {
    a: DiffSide,
    b: DiffSide,
    options: DiffOptions,
    on_difference: &'a mut dyn FnMut(&Difference) -> io::Result<()>,
    layout: LayoutDifferences,
    budget: ContentBudget,
    explained: Explained,
}

impl Comparison<'_> {
    fn run(mut self) -> Result<(), DiffError> {
        self.compare_superblocks()?;
        self.compare_provenance()?;
        self.compare_trees()?;
        for side in [&mut self.a, &mut self.b] {
            side.visit_nameless_inodes()?;
            side.owners.sort();
        }
        let mut layout = std::mem::take(&mut self.layout);
        layout.compare_tables(&self.a, &self.b);
        if !layout.is_empty() {
            self.explained.causes.insert(Cause::Layout);
        }
        for difference in layout.into_differences() {
            self.report(&difference)?;
        }
        for difference in bytes::compare(&mut self.a, &mut self.b, &self.explained)? {
            self.report(&difference)?;
        }
        Ok(())
    }

    fn report(&mut self, difference: &Difference) -> Result<(), DiffError> {
        let cause = match difference.section {
            DiffSection::Superblock => Some(Cause::Superblock),
            DiffSection::Provenance => Some(Cause::Provenance),
            DiffSection::Tree => Some(Cause::Tree),
            DiffSection::Layout | DiffSection::Bytes => None,
        };
        self.explained.causes.extend(cause);
        (self.on_difference)(difference).map_err(DiffError::Report)
    }

    fn compare_superblocks(&mut self) -> Result<(), DiffError> {
        let fields = self.a.superblock_fields().into_iter().zip(self.b.superblock_fields());
        let mut differing: Vec<_> = fields.filter(|((_, a), (_, b))| a != b).collect();
        // The checksum follows from the other fields. It is shown only if it alone differs.
        if differing.len() > 1 {
            differing.retain(|((field, _), _)| *field != "checksum");
        }
        for ((_, a), (_, b)) in &mut differing {
            (*a, *b) = (harmless(a), harmless(b));
        }
        for ((field, _), _) in &differing {
            if matches!(*field, "uuid" | "checksum_seed") {
                self.explained.causes.insert(Cause::Checksums);
            }
        }
        for ((field, a), (_, b)) in differing {
            self.report(&Difference::new(DiffSection::Superblock, field).values(a, b))?;
        }
        Ok(())
    }

    /// Compares the provenance of the images. If a boot area holds anything else, the comparison of
    /// bytes shows it.
    fn compare_provenance(&mut self) -> Result<(), DiffError> {
        let (a, b) = (self.a.read(Reader::boot_area)?, self.b.read(Reader::boot_area)?);
        let (Some(a), Some(b)) = (provenance_fields(&a), provenance_fields(&b)) else {
            return Ok(());
        };
        for (field, a, b) in [
            ("digest", a.digest, b.digest),
            ("platform", a.platform, b.platform),
            ("version", a.version, b.version),
        ] {
            if a != b {
                self.report(&Difference::new(DiffSection::Provenance, field).values(a, b))?;
            }
        }
        Ok(())
    }
}

/// Decodes the provenance in a boot area. All fields are `None` if the area is empty. Returns
/// `None` if it holds something other than a provenance.
fn provenance_fields(area: &[u8; BOOT_AREA_LEN]) -> Option<ProvenanceFields> {
    if area.iter().all(|byte| *byte == 0) {
        return Some(ProvenanceFields::default());
    }
    let provenance = Provenance::decode(area).ok()??;
    let [digest, platform, version] = [Some(provenance.digest), provenance.platform, Some(provenance.version)]
        .map(|text| text.map(|text| printable(text.as_bytes())));
    Some(ProvenanceFields {
        digest,
        platform,
        version,
    })
}

/// Fields of a provenance; all `None` for an image without one.
#[derive(Default)]
struct ProvenanceFields {
    digest: Option<String>,
    platform: Option<String>,
    version: Option<String>,
}
