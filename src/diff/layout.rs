//! Where things are: counted, with the first few of each kind.

use ext4::BlockNr;
use ext4::read::{FileExtent, InodeBlocks};

use super::difference::{DiffSection, Difference};
use super::owners::{Table, TableKind};
use super::side::Side;

/// How many of each kind are shown.
const SHOWN: usize = 10;
/// Most extents of a file that are shown.
const SHOWN_EXTENTS: usize = 8;

/// Differences of one kind.
#[derive(Default)]
pub(super) struct Tally {
    count: u64,
    /// Lines that show the first of them.
    shown: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, count: u64, lines: impl FnOnce() -> Vec<String>) {
        self.add_shown(count, SHOWN, lines);
    }

    fn add_shown(&mut self, count: u64, most: usize, lines: impl FnOnce() -> Vec<String>) {
        if self.shown.len() < 2 * most {
            self.shown.extend(lines());
        }
        self.count += count;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn into_difference(self, section: DiffSection, field: &str) -> Option<Difference> {
        if self.is_empty() {
            return None;
        }
        let mut difference = Difference::new(section, field);
        difference.count = Some(self.count);
        difference.excerpt = self.shown;
        Some(difference)
    }
}

/// What lies elsewhere.
#[derive(Default)]
pub(super) struct Layout {
    numbers: Tally,
    extents: Tally,
    nodes: Tally,
    xattrs: Tally,
    tables: Tally,
}

/// What of one file lies elsewhere: the field, and where it is on each side.
pub(super) type Moved = (&'static str, String, String);

/// Compares where two inodes and what belongs to them are.
pub(super) fn moved((a_ino, a): (u32, &InodeBlocks), (b_ino, b): (u32, &InodeBlocks)) -> Vec<Moved> {
    let mut moved = Vec::new();
    if a_ino != b_ino {
        moved.push(("inode", a_ino.to_string(), b_ino.to_string()));
    }
    if a.extents != b.extents {
        let same = a.extents.iter().zip(&b.extents).take_while(|(a, b)| a == b).count();
        moved.push(("extents", extents(&a.extents, same), extents(&b.extents, same)));
    }
    if a.nodes != b.nodes {
        moved.push(("extent nodes", blocks(&a.nodes), blocks(&b.nodes)));
    }
    if a.xattr_block != b.xattr_block {
        let block = |block: Option<BlockNr>| block.map_or("none".to_owned(), |block| block.get().to_string());
        moved.push(("xattr block", block(a.xattr_block), block(b.xattr_block)));
    }
    moved
}

/// Extents from one on: the first block in the file, their number, and the first block in the image.
fn extents(extents: &[FileExtent], from: usize) -> String {
    let shown = extents[from..].iter().take(SHOWN_EXTENTS).map(|extent| {
        let unwritten = if extent.unwritten { " unwritten" } else { "" };
        format!(
            "{}+{}@{}{unwritten}",
            extent.logical,
            extent.blocks.count,
            extent.blocks.start.get()
        )
    });
    listed(shown.collect(), extents.len() - from)
}

fn blocks(blocks: &[BlockNr]) -> String {
    let shown = blocks.iter().take(SHOWN_EXTENTS).map(|block| block.get().to_string());
    listed(shown.collect(), blocks.len())
}

fn listed(mut shown: Vec<String>, count: usize) -> String {
    if shown.is_empty() {
        return "none".to_owned();
    }
    if count > shown.len() {
        shown.push(format!("… {} more", count - shown.len()));
    }
    shown.join(" ")
}

impl Layout {
    pub(super) fn add(&mut self, path: &str, moved: &[Moved]) {
        for (field, a, b) in moved {
            let tally = match *field {
                "inode" => &mut self.numbers,
                "extents" => &mut self.extents,
                "extent nodes" => &mut self.nodes,
                _ => &mut self.xattrs,
            };
            tally.add(1, || vec![format!("-{path}: {a}"), format!("+{path}: {b}")]);
        }
    }

    /// Compares where the tables of groups are.
    pub(super) fn compare_tables(&mut self, a: &Side, b: &Side) {
        let key = |table: &Table| (table.group, table.kind);
        let (mut left, mut right) = (a.tables.iter().peekable(), b.tables.iter().peekable());
        loop {
            let next = [left.peek(), right.peek()]
                .into_iter()
                .flatten()
                .map(|table| key(table))
                .min();
            let Some(next) = next else {
                return;
            };
            let a = left.next_if(|table| key(table) == next);
            let b = right.next_if(|table| key(table) == next);
            if a.map(|table| table.blocks) != b.map(|table| table.blocks) {
                let line = |sign, table: Option<&Table>| {
                    let blocks = table?.blocks;
                    Some(format!(
                        "{sign}{} of group {}: {}+{}",
                        kind_name(next.1),
                        next.0,
                        blocks.start.get(),
                        blocks.count
                    ))
                };
                self.tables
                    .add(1, || [line('-', a), line('+', b)].into_iter().flatten().collect());
            }
        }
    }

    /// Whether everything is where it is on the other side.
    pub(super) fn is_same(&self) -> bool {
        [&self.numbers, &self.extents, &self.nodes, &self.xattrs, &self.tables]
            .into_iter()
            .all(Tally::is_empty)
    }

    pub(super) fn into_differences(self) -> impl Iterator<Item = Difference> {
        let fields = [
            ("inode numbers", self.numbers),
            ("extents", self.extents),
            ("extent nodes", self.nodes),
            ("xattr blocks", self.xattrs),
            ("group tables", self.tables),
        ];
        let fields = fields.into_iter();
        fields.filter_map(|(field, tally)| tally.into_difference(DiffSection::Layout, field))
    }
}

fn kind_name(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Superblock => "superblock",
        TableKind::Descriptors => "descriptors",
        TableKind::BlockBitmap => "block bitmap",
        TableKind::InodeBitmap => "inode bitmap",
        TableKind::InodeTable => "inode table",
    }
}
