//! The bytes of the two files, whatever they mean.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use super::difference::{DiffSection, Difference};
use super::error::DiffError;
use super::excerpt::{self, ROW};
use super::holes::Holes;
use super::owners::{Owner, OwnerKind};
use super::side::Side;

/// Bytes that are read at once.
const CHUNK: u64 = 1 << 20;
/// Bytes whose owner is asked for: no structure is smaller but old inodes, of 128 bytes.
const UNIT: usize = 128;
/// How many places of each kind are shown.
const SHOWN: usize = 3;

/// Goes through all parts of two files that any of them has bytes in, holes left out, and gives those that differ, with their
/// position, until one is enough.
pub(super) fn for_each_difference(
    a: &mut Side,
    b: &mut Side,
    mut look: impl FnMut(&Side, &Side, u64, &[u8], &[u8]) -> bool,
) -> Result<(), DiffError> {
    let [mut left, mut right] = [(); 2].map(|()| vec![0; usize::try_from(CHUNK).expect("a MiB")]);
    let mut at = 0;
    loop {
        a.check()?;
        let data = [next_data(a, at)?, next_data(b, at)?];
        let Some(start) = data.into_iter().flatten().min() else {
            return Ok(());
        };
        // Whole chunks keep structures in one piece.
        let start = start / CHUNK * CHUNK;
        let len = usize::try_from(CHUNK.min(a.holes.len().max(b.holes.len()) - start)).expect("a MiB");
        let (left, right) = (&mut left[..len], &mut right[..len]);
        read(a, start, left)?;
        read(b, start, right)?;
        if left != right && !look(a, b, start, left, right) {
            return Ok(());
        }
        at = start + CHUNK;
    }
}

fn next_data(side: &mut Side, at: u64) -> Result<Option<u64>, DiffError> {
    let next = |holes: &mut Holes| Ok(holes.next_data(at)?.map(|data| data.start));
    next(&mut side.holes).map_err(|error: io::Error| side.failed(error))
}

fn read(side: &mut Side, at: u64, buffer: &mut [u8]) -> Result<(), DiffError> {
    side.holes.read_at(at, buffer).map_err(|error| side.failed(error))
}

/// Whether two files have the same bytes.
pub(super) fn are_same(a: &mut Side, b: &mut Side) -> Result<bool, DiffError> {
    let mut same = a.holes.len() == b.holes.len();
    if same {
        for_each_difference(a, b, |_, _, _, _, _| {
            same = false;
            false
        })?;
    }
    Ok(same)
}

/// What was found out before bytes are looked at.
#[derive(Default)]
pub(super) struct Known {
    pub(super) reasons: BTreeSet<Reason>,
    /// Inodes of the first image that differ.
    pub(super) inodes: HashSet<u32>,
    /// Those whose content does.
    pub(super) contents: HashSet<u32>,
}

/// Why bytes may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The superblocks differ.
    Superblock,
    /// All checksums of metadata do, because they begin with the UUID.
    Checksums,
    /// The provenance differs.
    Provenance,
    /// The trees differ.
    Tree,
    /// Something is not where it is on the other side.
    Layout,
}

impl Known {
    fn has(&self, reason: Reason) -> bool {
        self.reasons.contains(&reason)
    }
}

/// Differing bytes that have the same kind of owner.
#[derive(Default)]
struct Found {
    bytes: u64,
    shown: Vec<String>,
    last: Option<Owner>,
    places: usize,
}

impl Found {
    fn add(&mut self, owner: Owner, position: u64, a: &[u8], b: &[u8]) {
        let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
        self.bytes += differing as u64;
        if self.last == Some(owner) || self.places == SHOWN {
            return;
        }
        self.last = Some(owner);
        self.places += 1;
        let first = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
        let row = first / 16 * 16;
        let end = a.len().min(row + usize::try_from(ROW).expect("it is 16"));
        self.shown.push(format!("@ {owner}"));
        let rows = excerpt::of_bytes(position + row as u64, &a[row..end], &b[row..end]);
        self.shown.extend(rows);
    }
}

/// Names what differs of the bytes that nothing else explains, and shows it where it does not follow from something else.
///
/// Where files lie elsewhere, their bytes are not compared by their place in the image, which would be noise.
pub(super) fn compare(a: &mut Side, b: &mut Side, known: &Known) -> Result<Vec<Difference>, DiffError> {
    let mut found: BTreeMap<OwnerKind, Found> = BTreeMap::new();
    for_each_difference(a, b, |a, b, start, left, right| {
        for (index, (left, right)) in left.chunks(UNIT).zip(right.chunks(UNIT)).enumerate() {
            if left == right {
                continue;
            }
            let position = start + (index * UNIT) as u64;
            if let Some(owner) = unexplained(a, b, position, left, right, known) {
                found.entry(owner.kind).or_default().add(owner, position, left, right);
            }
        }
        true
    })?;
    let is_moved = known.has(Reason::Tree) || known.has(Reason::Layout);
    let descriptors_differ = found.contains_key(&OwnerKind::Descriptors);
    let differences = found.into_iter().map(|(kind, found)| {
        let is_derived = match kind {
            OwnerKind::SuperblockCopy => known.has(Reason::Superblock),
            OwnerKind::DescriptorsCopy => descriptors_differ,
            OwnerKind::BlockBitmap | OwnerKind::InodeBitmap | OwnerKind::Journal | OwnerKind::Reserved => is_moved,
            OwnerKind::Descriptors | OwnerKind::Inode | OwnerKind::Directory | OwnerKind::Node | OwnerKind::Xattrs => {
                is_moved || known.has(Reason::Checksums)
            }
            _ => false,
        };
        let mut difference = Difference::new(DiffSection::Bytes, kind.to_string());
        difference.count = Some(found.bytes);
        if !is_derived {
            difference.excerpt = found.shown;
        }
        difference
    });
    let mut differences: Vec<_> = differences.collect();
    if a.holes.len() != b.holes.len() {
        let sizes = [a.holes.len(), b.holes.len()].map(|len| Some(len.to_string()));
        let [a, b] = sizes;
        differences.insert(0, Difference::new(DiffSection::Bytes, "file size").values(a, b));
    }
    Ok(differences)
}

/// What bytes belong to that differ for no reason that is known yet.
fn unexplained(a: &Side, b: &Side, position: u64, left: &[u8], right: &[u8], known: &Known) -> Option<Owner> {
    let (a_owner, b_owner) = (a.owners.of(position), b.owners.of(position));
    let is_nothing = |owner: Owner| matches!(owner.kind, OwnerKind::Free | OwnerKind::Behind);
    let holds = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    let owner = match (a_owner, b_owner) {
        (owner, _) if is_nothing(owner) && holds(left) => owner,
        (_, owner) if is_nothing(owner) && holds(right) => owner,
        (owner, _) if owner.kind == OwnerKind::BootArea => owner,
        _ if known.has(Reason::Layout) && !(a_owner == b_owner && a_owner.is_fixed()) => return None,
        (owner, _) => owner,
    };
    let is_known = match owner.kind {
        OwnerKind::BootArea => known.has(Reason::Provenance),
        OwnerKind::Superblock => known.has(Reason::Superblock) && position < 2048,
        OwnerKind::Inode => known.inodes.contains(&owner.number),
        OwnerKind::File => known.contents.contains(&owner.number),
        _ => false,
    };
    (!is_known).then_some(owner)
}
