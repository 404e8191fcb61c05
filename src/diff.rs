//! Why two disk images differ: options, provenance, names, metadata, contents, and at last where things are, down to bytes that
//! belong to nothing.
//!
//! Both are walked through side by side, one directory at a time. Whatever an image holds, the answer is a list of differences or
//! a [`DiffError`]: nothing is followed in circles, no content is compared twice for long, and what is a hole of both files is
//! not read.

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

use bytes::{Known, Reason};
use content::Budget;
use layout::Layout;
use side::Side;

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Whether each file is named whose inode or blocks are elsewhere, besides how many there are.
    pub every_place: bool,
}

/// Compares two disk images, and gives each difference as it is found, in the order of [`DiffSection`] and of paths. Returns whether
/// the files have the same bytes: then there is none, and else at least one.
///
/// # Errors
///
/// [`DiffError`] if one of them is no ext4 file system, a damaged or unknown one, or the
/// differences are not taken; [`DiffError::Cancelled`] once it is cancelled.
pub fn diff(
    a: impl AsRef<Path>,
    b: impl AsRef<Path>,
    options: DiffOptions,
    cancel: &Cancel,
    found: &mut dyn FnMut(&Difference) -> io::Result<()>,
) -> Result<bool, DiffError> {
    let mut compare = || {
        let (mut a, mut b) = (Side::open(a.as_ref(), cancel)?, Side::open(b.as_ref(), cancel)?);
        if bytes::are_same(&mut a, &mut b)? {
            return Ok(true);
        }
        let comparison = Comparison {
            a,
            b,
            options,
            found,
            layout: Layout::default(),
            budget: Budget::default(),
            known: Known::default(),
        };
        comparison.run()?;
        Ok(false)
    };
    compare().map_err(Cancelled::surface)
}

/// Two disk images on their way.
struct Comparison<'a> {
    a: Side,
    b: Side,
    options: DiffOptions,
    found: &'a mut dyn FnMut(&Difference) -> io::Result<()>,
    layout: Layout,
    budget: Budget,
    known: Known,
}

impl Comparison<'_> {
    fn run(mut self) -> Result<(), DiffError> {
        self.compare_superblocks()?;
        self.compare_provenance()?;
        self.compare_trees()?;
        for side in [&mut self.a, &mut self.b] {
            side.meet_reserved()?;
            side.owners.sort();
        }
        let mut layout = std::mem::take(&mut self.layout);
        layout.compare_tables(&self.a, &self.b);
        if !layout.is_same() {
            self.known.reasons.insert(Reason::Layout);
        }
        for difference in layout.into_differences() {
            self.report(&difference)?;
        }
        for difference in bytes::compare(&mut self.a, &mut self.b, &self.known)? {
            self.report(&difference)?;
        }
        Ok(())
    }

    fn report(&mut self, difference: &Difference) -> Result<(), DiffError> {
        let reason = match difference.section {
            DiffSection::Superblock => Some(Reason::Superblock),
            DiffSection::Provenance => Some(Reason::Provenance),
            DiffSection::Tree => Some(Reason::Tree),
            DiffSection::Layout | DiffSection::Bytes => None,
        };
        self.known.reasons.extend(reason);
        (self.found)(difference).map_err(DiffError::Report)
    }

    fn compare_superblocks(&mut self) -> Result<(), DiffError> {
        let fields = self.a.superblock_fields().into_iter().zip(self.b.superblock_fields());
        let mut differing: Vec<_> = fields.filter(|((_, a), (_, b))| a != b).collect();
        // The checksum follows from the others, unless it is all that differs.
        if differing.len() > 1 {
            differing.retain(|((field, _), _)| *field != "checksum");
        }
        for ((_, a), (_, b)) in &mut differing {
            (*a, *b) = (harmless(a), harmless(b));
        }
        for ((field, _), _) in &differing {
            if matches!(*field, "uuid" | "checksum_seed") {
                self.known.reasons.insert(Reason::Checksums);
            }
        }
        for ((field, a), (_, b)) in differing {
            self.report(&Difference::new(DiffSection::Superblock, field).values(a, b))?;
        }
        Ok(())
    }

    /// A boot area that holds no provenance is left to the comparison of bytes.
    fn compare_provenance(&mut self) -> Result<(), DiffError> {
        let (a, b) = (self.a.read(Reader::boot_area)?, self.b.read(Reader::boot_area)?);
        let (Some(a), Some(b)) = (provenance(&a), provenance(&b)) else {
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

/// What a boot area says, field by field: nothing if it is empty; none if it says something else.
fn provenance(area: &[u8; BOOT_AREA_LEN]) -> Option<Origin> {
    if area.iter().all(|byte| *byte == 0) {
        return Some(Origin::default());
    }
    let provenance = Provenance::decode(area).ok()??;
    let [digest, platform, version] = [Some(provenance.digest), provenance.platform, Some(provenance.version)]
        .map(|text| text.map(|text| printable(text.as_bytes())));
    Some(Origin {
        digest,
        platform,
        version,
    })
}

/// A provenance, or that there is none.
#[derive(Default)]
struct Origin {
    digest: Option<String>,
    platform: Option<String>,
    version: Option<String>,
}
