//! Comparison of the bytes of the two files, grouped by what the bytes belong to.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use super::difference::{DiffSection, Difference};
use super::error::DiffError;
use super::excerpt::{self, ROW_LEN};
use super::holes::SparseFile;
use super::owners::{Owner, OwnerKind};
use super::side::DiffSide;

/// Bytes read at once from each file.
const CHUNK: u64 = 1 << 20;
/// Bytes for which one owner is looked up: the size of the smallest structure, a classic inode.
const OWNER_UNIT: usize = 128;
/// Maximum number of owners of each kind whose bytes are shown.
const MAX_SHOWN_OWNERS: usize = 3;

/// Calls `visit` with each chunk that differs and its position, until `visit` returns `false`.
///
/// Chunks that are holes in both files are not read. Bytes past the end of a file count as zeros.
pub(super) fn for_each_difference(
    a: &mut DiffSide,
    b: &mut DiffSide,
    mut visit: impl FnMut(&DiffSide, &DiffSide, u64, &[u8], &[u8]) -> bool,
) -> Result<(), DiffError> {
    let [mut left, mut right] = [(); 2].map(|()| vec![0; usize::try_from(CHUNK).expect("a MiB fits")]);
    let mut at = 0;
    loop {
        a.check_cancelled()?;
        let data = [next_data(a, at)?, next_data(b, at)?];
        let Some(start) = data.into_iter().flatten().min() else {
            return Ok(());
        };
        // Aligned chunks do not split structures.
        let start = start / CHUNK * CHUNK;
        let len = usize::try_from(CHUNK.min(a.file.len().max(b.file.len()) - start)).expect("a MiB fits");
        let (left, right) = (&mut left[..len], &mut right[..len]);
        read(a, start, left)?;
        read(b, start, right)?;
        if left != right && !visit(a, b, start, left, right) {
            return Ok(());
        }
        at = start + CHUNK;
    }
}

fn next_data(side: &mut DiffSide, at: u64) -> Result<Option<u64>, DiffError> {
    let next = |file: &mut SparseFile| Ok(file.next_data(at)?.map(|data| data.start));
    next(&mut side.file).map_err(|error: io::Error| side.error(error))
}

fn read(side: &mut DiffSide, at: u64, buffer: &mut [u8]) -> Result<(), DiffError> {
    side.file.read_at(at, buffer).map_err(|error| side.error(error))
}

/// Returns whether the two files have the same size and the same bytes.
pub(super) fn have_same_bytes(a: &mut DiffSide, b: &mut DiffSide) -> Result<bool, DiffError> {
    let mut same = a.file.len() == b.file.len();
    if same {
        for_each_difference(a, b, |_, _, _, _, _| {
            same = false;
            false
        })?;
    }
    Ok(same)
}

/// Differences that earlier sections have reported, and that explain differing bytes.
#[derive(Default)]
pub(super) struct Explained {
    pub(super) causes: BTreeSet<Cause>,
    /// Inodes of the first image whose metadata or content differs.
    pub(super) inodes: HashSet<u32>,
    /// Inodes of the first image whose content differs.
    pub(super) contents: HashSet<u32>,
}

/// A reported difference that makes other bytes differ too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The superblocks differ.
    Superblock,
    /// The UUID or the checksum seed differs, and with it the checksum of all metadata.
    Checksums,
    /// The provenance differs.
    Provenance,
    /// The trees differ.
    Tree,
    /// An inode, a block of a file or a table of a group is at another number.
    Layout,
}

impl Explained {
    fn has(&self, cause: Cause) -> bool {
        self.causes.contains(&cause)
    }
}

/// Count of differing bytes with owners of one kind, and lines that show the first of them.
#[derive(Default)]
struct DifferingBytes {
    count: u64,
    excerpt: Vec<String>,
    last_owner: Option<Owner>,
    shown_owners: usize,
}

impl DifferingBytes {
    fn add(&mut self, owner: Owner, position: u64, a: &[u8], b: &[u8]) {
        let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
        self.count += differing as u64;
        if self.last_owner == Some(owner) || self.shown_owners == MAX_SHOWN_OWNERS {
            return;
        }
        self.last_owner = Some(owner);
        self.shown_owners += 1;
        let first = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
        let row = first / 16 * 16;
        let end = a.len().min(row + usize::try_from(ROW_LEN).expect("16 fits"));
        self.excerpt.push(format!("@ {owner}"));
        let rows = excerpt::of_bytes(position + row as u64, &a[row..end], &b[row..end]);
        self.excerpt.extend(rows);
    }
}

/// Returns a difference for each kind of owner with differing bytes that nothing explains.
///
/// Bytes that follow from another difference, such as backups and bitmaps, are counted but not
/// shown. If files were relocated, their blocks are not compared by position, which would only be
/// noise.
pub(super) fn compare(a: &mut DiffSide, b: &mut DiffSide, explained: &Explained) -> Result<Vec<Difference>, DiffError> {
    let mut found: BTreeMap<OwnerKind, DifferingBytes> = BTreeMap::new();
    for_each_difference(a, b, |a, b, start, left, right| {
        for (index, (left, right)) in left.chunks(OWNER_UNIT).zip(right.chunks(OWNER_UNIT)).enumerate() {
            if left == right {
                continue;
            }
            let position = start + (index * OWNER_UNIT) as u64;
            if let Some(owner) = owner_if_unexplained(a, b, position, left, right, explained) {
                found.entry(owner.kind).or_default().add(owner, position, left, right);
            }
        }
        true
    })?;
    let is_relocated = explained.has(Cause::Tree) || explained.has(Cause::Layout);
    let descriptors_differ = found.contains_key(&OwnerKind::Descriptors);
    let differences = found.into_iter().map(|(kind, found)| {
        let is_derived = match kind {
            OwnerKind::BackupSuperblock => explained.has(Cause::Superblock),
            OwnerKind::BackupDescriptors => descriptors_differ,
            OwnerKind::BlockBitmap | OwnerKind::InodeBitmap | OwnerKind::Journal | OwnerKind::ReservedInode => {
                is_relocated
            }
            OwnerKind::Descriptors
            | OwnerKind::Inode
            | OwnerKind::Directory
            | OwnerKind::ExtentNode
            | OwnerKind::XattrBlock => is_relocated || explained.has(Cause::Checksums),
            _ => false,
        };
        let mut difference = Difference::new(DiffSection::Bytes, kind.to_string());
        difference.count = Some(found.count);
        if !is_derived {
            difference.excerpt = found.excerpt;
        }
        difference
    });
    let mut differences: Vec<_> = differences.collect();
    if a.file.len() != b.file.len() {
        let sizes = [a.file.len(), b.file.len()].map(|len| Some(len.to_string()));
        let [a, b] = sizes;
        differences.insert(0, Difference::new(DiffSection::Bytes, "file size").values(a, b));
    }
    Ok(differences)
}

/// Returns the owner of differing bytes, or `None` if an earlier section explains them.
///
/// Data in blocks that are free in one image, or past the end of its file system, is always
/// reported for that image: nothing else would show it.
fn owner_if_unexplained(
    a: &DiffSide,
    b: &DiffSide,
    position: u64,
    left: &[u8],
    right: &[u8],
    explained: &Explained,
) -> Option<Owner> {
    let (a_owner, b_owner) = (a.owners.owner_of(position), b.owners.owner_of(position));
    let is_unused = |owner: Owner| matches!(owner.kind, OwnerKind::Free | OwnerKind::AfterEnd);
    let has_data = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    let owner = match (a_owner, b_owner) {
        (owner, _) if is_unused(owner) && has_data(left) => owner,
        (_, owner) if is_unused(owner) && has_data(right) => owner,
        (owner, _) if owner.kind == OwnerKind::BootArea => owner,
        _ if explained.has(Cause::Layout) && !(a_owner == b_owner && a_owner.is_fixed()) => return None,
        (owner, _) => owner,
    };
    let is_explained = match owner.kind {
        OwnerKind::BootArea => explained.has(Cause::Provenance),
        OwnerKind::Superblock => explained.has(Cause::Superblock) && position < 2048,
        OwnerKind::Inode => explained.inodes.contains(&owner.number),
        OwnerKind::File => explained.contents.contains(&owner.number),
        _ => false,
    };
    (!is_explained).then_some(owner)
}
