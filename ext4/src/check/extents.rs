//! Contents: extent trees and block maps, the blocks that they take, and whether the size of the file fits them.

use super::inodes::Checked;
use super::{Check, found};
use crate::disk::inode::{BLOCK_LEN, InodeFlags, file_type};
use crate::read::extents::{Fault, Node, Root, Visitor, walk};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::tree::MAX_TARGET_LEN;
use crate::units::Extent;

/// What the blocks of an inode are.
#[derive(Default)]
pub(super) struct Blocks {
    /// All of them, with those that hold numbers of others.
    pub(super) count: u64,
    /// The block of the file behind its last one.
    end: u64,
    /// The same without those that were never written to.
    written_end: u64,
    /// Whether some were never written to.
    has_unwritten: bool,
    /// Where the content is, ascending.
    pub(super) extents: Vec<Extent>,
}

impl<R: ReadAt> Check<R> {
    /// Takes the blocks of an inode, and returns how many they are.
    pub(super) fn content(&mut self, checked: &Checked) -> Result<u64, ReadError> {
        if checked.flags.contains(InodeFlags::INLINE_DATA) {
            self.inline_content(checked)?;
            return Ok(0);
        }
        if checked.is_fast_symlink() {
            self.fast_symlink(checked);
            return Ok(0);
        }
        let blocks = self.blocks_of(checked, true)?;
        self.size(checked, &blocks)?;
        Ok(blocks.count)
    }

    /// The blocks of an inode; `first` says that they were not taken yet, and that what is wrong is a finding. If not, those are
    /// left out that were looked at before.
    pub(super) fn blocks_of(&mut self, checked: &Checked, first: bool) -> Result<Blocks, ReadError> {
        let is_tree = checked.flags.contains(InodeFlags::EXTENTS);
        let seed = self.reader.sums().seed().filter(|_| first);
        let root = Root {
            bytes: &checked.inode.block,
            is_tree,
            block_size: self.reader.block_size(),
            seed: seed.map(|seed| seed.of_inode(checked.ino, checked.inode.generation.get())),
        };
        let mut claiming = Claiming {
            check: self,
            checked,
            is_tree,
            first,
            blocks: Blocks::default(),
        };
        walk(&root, &mut claiming)?;
        Ok(claiming.blocks)
    }

    /// Content in the inode: `i_block`, and the value of an attribute.
    fn inline_content(&mut self, checked: &Checked) -> Result<(), ReadError> {
        let structure = checked.structure();
        let rest = self
            .reader
            .read_inode(checked.ino)
            .and_then(|inode| inode.inline_rest());
        let Some(rest) = found(rest, structure, &mut self.findings)? else {
            return Ok(());
        };
        let Some((_, len)) = rest else {
            self.find(
                structure,
                "its content lies in it, without an attribute for the rest of it",
            );
            return Ok(());
        };
        let (size, room) = (checked.size, BLOCK_LEN as u64 + len);
        // A file may end before its attribute does, where a write came to less than there was to be.
        let is_right = match checked.file_type() {
            file_type::REGULAR => size <= room,
            _ => size == room,
        };
        self.findings.expect(is_right, structure, || {
            format!("its content lies in it, has {size} bytes, and room for {room}")
        });
        Ok(())
    }

    fn fast_symlink(&mut self, checked: &Checked) {
        let structure = checked.structure();
        let len = usize::try_from(checked.size).unwrap_or(usize::MAX);
        let end = checked.inode.block.iter().position(|&byte| byte == 0);
        self.findings.expect(len > 0 && end == Some(len), structure, || {
            format!("a symlink whose target has not {len} bytes")
        });
    }

    /// Whether the size of a file is possible with its blocks (`check_blocks` of e2fsck).
    fn size(&mut self, checked: &Checked, blocks: &Blocks) -> Result<(), ReadError> {
        let structure = checked.structure();
        let block_size = self.reader.block_size() as u64;
        let size = checked.size;
        match checked.file_type() {
            file_type::DIRECTORY => {
                let is_right = size > 0 && size == blocks.end.saturating_mul(block_size);
                self.findings.expect(is_right, structure, || {
                    format!("a directory of {size} bytes that ends with its block {}", blocks.end)
                });
                let held: u64 = blocks.extents.iter().map(|extent| u64::from(extent.count)).sum();
                self.findings
                    .expect(held == blocks.end, structure, || "a directory with holes".to_owned());
                self.findings.expect(!blocks.has_unwritten, structure, || {
                    "a directory with blocks that were never written".to_owned()
                });
            }
            file_type::SYMLINK => {
                let is_right = (1..=MAX_TARGET_LEN as u64).contains(&size) && size < block_size && blocks.end == 1;
                self.findings.expect(is_right, structure, || {
                    format!("a symlink whose target has {size} bytes")
                });
                if let Some(extent) = blocks.extents.first().filter(|_| is_right) {
                    let target = self.filled_block(structure, extent.start.get())?.unwrap_or_default();
                    let end = target.iter().position(|&byte| byte == 0);
                    self.findings
                        .expect(end.map(|end| end as u64) == Some(size), structure, || {
                            format!("a symlink whose target has not {size} bytes")
                        });
                }
            }
            _ => {
                let has_more = checked.flags.contains(InodeFlags::VERITY);
                let least = blocks.written_end.saturating_sub(1).saturating_mul(block_size);
                let most = self.most_bytes(checked);
                self.findings
                    .expect((has_more || size >= least) && size <= most, structure, || {
                        format!(
                            "a file of {size} bytes whose last block is {}",
                            blocks.end.saturating_sub(1)
                        )
                    });
            }
        }
        Ok(())
    }

    /// Bytes that extents or a map reach.
    pub(super) fn most_bytes(&self, checked: &Checked) -> u64 {
        let block_size = self.reader.block_size() as u64;
        if checked.flags.contains(InodeFlags::EXTENTS) {
            block_size << 32
        } else {
            self.most_mapped() * block_size
        }
    }

    /// Blocks that a map reaches.
    fn most_mapped(&self) -> u64 {
        let numbers = self.reader.block_size() as u64 / 4;
        12 + numbers + numbers.pow(2) + numbers.pow(3)
    }
}

/// Takes the blocks of an inode, and makes any fault a finding; or leaves out what was taken before, in silence.
struct Claiming<'a, R> {
    check: &'a mut Check<R>,
    checked: &'a Checked,
    is_tree: bool,
    first: bool,
    blocks: Blocks,
}

impl<R: ReadAt> Claiming<'_, R> {
    fn structure(&self, node: Option<&Node>) -> Structure {
        node.map_or(self.checked.structure(), |node| node.structure(self.checked.ino))
    }
}

impl<R: ReadAt> Visitor for Claiming<'_, R> {
    fn node(&mut self, node: &Node) -> Result<Option<Vec<u8>>, ReadError> {
        let structure = node.structure(self.checked.ino);
        let check = &mut *self.check;
        if self.first {
            // One that belongs to something else is not looked into, which also ends circles.
            let before = check.findings.count();
            if !check.own(structure, node.block, 1) || check.findings.count() > before {
                return Ok(None);
            }
            self.blocks.count += 1;
        } else if check.walked.claim(node.block.get(), 1).is_some() {
            return Ok(None);
        }
        check.filled_block(structure, node.block.get())
    }

    fn extent(&mut self, node: Option<&Node>, extent: Extent, is_written: bool) -> Result<(), ReadError> {
        let structure = self.structure(node);
        let (check, blocks) = (&mut *self.check, &mut self.blocks);
        let (start, count) = (extent.start.get(), u64::from(extent.count));
        let is_taken = if self.first {
            check.own(structure, extent.start, count)
        } else {
            start != 0 && start + count <= check.block_count && check.walked.claim(start, count).is_none()
        };
        // A tree reaches as far as it says, even with blocks that cannot be.
        if self.is_tree || is_taken {
            blocks.end = u64::from(extent.logical) + count;
            if is_written {
                blocks.written_end = blocks.end;
            } else {
                blocks.has_unwritten = true;
            }
        }
        if !is_taken {
            return Ok(());
        }
        blocks.count += if self.first { count } else { 0 };
        match blocks.extents.last_mut() {
            Some(last) if !self.is_tree && last.continues_with(extent) => last.count += extent.count,
            _ => blocks.extents.push(extent),
        }
        Ok(())
    }

    fn fault(&mut self, node: Option<&Node>, fault: Fault) -> Result<(), ReadError> {
        if !self.first {
            return Ok(());
        }
        let structure = self.structure(node);
        let problem = match fault {
            Fault::Header => "the header of a node of its extent tree makes no sense".to_owned(),
            Fault::Checksum => {
                self.check.findings.wrong_checksum(structure);
                return Ok(());
            }
            Fault::Order { logical } => {
                format!("block {logical} of the file is not where it belongs in its extent tree")
            }
            Fault::Extent { logical, count } => format!("the extent of {count} blocks at block {logical} of the file"),
            Fault::TooFar { logical } => format!("block {logical} of the file is too far away"),
        };
        self.check.find(structure, problem);
        Ok(())
    }
}
