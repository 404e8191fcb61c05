//! Comparison of the layout: inode numbers and the locations of blocks and tables. Differences are
//! counted by kind, and the first of each kind are shown.

use ext4::BlockNr;
use ext4::read::{FileExtent, InodeBlocks};

use super::difference::{DiffSection, Difference};
use super::owners::{GroupTable, GroupTableKind};
use super::side::DiffSide;

/// Maximum number of differences of each kind that are shown.
const MAX_SHOWN: usize = 10;
/// Maximum number of extents of a file that are shown.
const MAX_SHOWN_EXTENTS: usize = 8;

/// Count of differences of one kind, and lines that show the first of them.
#[derive(Default)]
pub(super) struct SampledCount {
    count: u64,
    /// Lines that show the first differences: up to two for each.
    shown: Vec<String>,
}

impl SampledCount {
    pub(super) fn add(&mut self, count: u64, lines: impl FnOnce() -> Vec<String>) {
        if self.shown.len() < 2 * MAX_SHOWN {
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

/// Differences between the layouts of the two images.
#[derive(Default)]
pub(super) struct LayoutDifferences {
    inode_numbers: SampledCount,
    extents: SampledCount,
    extent_nodes: SampledCount,
    xattr_blocks: SampledCount,
    group_tables: SampledCount,
}

/// A relocated part of a file: the field, and its location in each image.
pub(super) type Relocation = (&'static str, String, String);

/// Compares the numbers of two inodes and the locations of their blocks.
pub(super) fn relocations((a_ino, a): (u32, &InodeBlocks), (b_ino, b): (u32, &InodeBlocks)) -> Vec<Relocation> {
    let mut relocations = Vec::new();
    if a_ino != b_ino {
        relocations.push(("inode", a_ino.to_string(), b_ino.to_string()));
    }
    if a.extents != b.extents {
        let same = a.extents.iter().zip(&b.extents).take_while(|(a, b)| a == b).count();
        relocations.push((
            "extents",
            extents_text(&a.extents, same),
            extents_text(&b.extents, same),
        ));
    }
    if a.nodes != b.nodes {
        relocations.push(("extent nodes", blocks_text(&a.nodes), blocks_text(&b.nodes)));
    }
    if a.xattr_block != b.xattr_block {
        let block = |block: Option<BlockNr>| block.map_or("none".to_owned(), |block| block.get().to_string());
        relocations.push(("xattr block", block(a.xattr_block), block(b.xattr_block)));
    }
    relocations
}

/// Formats the extents from index `from` on, each as `logical+count@start`: its first block in the
/// file, its number of blocks, and its first block in the image.
fn extents_text(extents: &[FileExtent], from: usize) -> String {
    let shown = extents[from..].iter().take(MAX_SHOWN_EXTENTS).map(|extent| {
        let unwritten = if extent.unwritten { " unwritten" } else { "" };
        format!(
            "{}+{}@{}{unwritten}",
            extent.logical,
            extent.blocks.count,
            extent.blocks.start.get()
        )
    });
    join_shown(shown.collect(), extents.len() - from)
}

fn blocks_text(blocks: &[BlockNr]) -> String {
    let shown = blocks
        .iter()
        .take(MAX_SHOWN_EXTENTS)
        .map(|block| block.get().to_string());
    join_shown(shown.collect(), blocks.len())
}

fn join_shown(mut shown: Vec<String>, count: usize) -> String {
    if shown.is_empty() {
        return "none".to_owned();
    }
    if count > shown.len() {
        shown.push(format!("… {} more", count - shown.len()));
    }
    shown.join(" ")
}

impl LayoutDifferences {
    pub(super) fn add(&mut self, path: &str, relocations: &[Relocation]) {
        for (field, a, b) in relocations {
            let tally = match *field {
                "inode" => &mut self.inode_numbers,
                "extents" => &mut self.extents,
                "extent nodes" => &mut self.extent_nodes,
                _ => &mut self.xattr_blocks,
            };
            tally.add(1, || vec![format!("-{path}: {a}"), format!("+{path}: {b}")]);
        }
    }

    /// Compares the locations of the tables of all groups.
    pub(super) fn compare_tables(&mut self, a: &DiffSide, b: &DiffSide) {
        let key = |table: &GroupTable| (table.group, table.kind);
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
                let line = |sign, table: Option<&GroupTable>| {
                    let blocks = table?.blocks;
                    Some(format!(
                        "{sign}{} of group {}: {}+{}",
                        kind_name(next.1),
                        next.0,
                        blocks.start.get(),
                        blocks.count
                    ))
                };
                self.group_tables
                    .add(1, || [line('-', a), line('+', b)].into_iter().flatten().collect());
            }
        }
    }

    /// Returns whether both images have the same layout.
    pub(super) fn is_empty(&self) -> bool {
        [
            &self.inode_numbers,
            &self.extents,
            &self.extent_nodes,
            &self.xattr_blocks,
            &self.group_tables,
        ]
        .into_iter()
        .all(SampledCount::is_empty)
    }

    pub(super) fn into_differences(self) -> impl Iterator<Item = Difference> {
        let fields = [
            ("inode numbers", self.inode_numbers),
            ("extents", self.extents),
            ("extent nodes", self.extent_nodes),
            ("xattr blocks", self.xattr_blocks),
            ("group tables", self.group_tables),
        ];
        let fields = fields.into_iter();
        fields.filter_map(|(field, tally)| tally.into_difference(DiffSection::Layout, field))
    }
}

fn kind_name(kind: GroupTableKind) -> &'static str {
    match kind {
        GroupTableKind::Superblock => "superblock",
        GroupTableKind::Descriptors => "descriptors",
        GroupTableKind::BlockBitmap => "block bitmap",
        GroupTableKind::InodeBitmap => "inode bitmap",
        GroupTableKind::InodeTable => "inode table",
    }
}
