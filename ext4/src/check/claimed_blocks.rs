//! [`ClaimedBlocks`]: the used blocks of an image, each of which may belong to one structure only.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

/// Number of blocks of a part. Numbers within a part have 16 bits.
const PART_BLOCKS: u64 = 1 << 15;
/// Maximum number of runs of a part. With more, a bit for each block takes less memory.
const MAX_RUNS: usize = 512;

/// Use of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BlockRole {
    /// Block bitmap of a group.
    BlockBitmap,
    /// Inode bitmap of a group.
    InodeBitmap,
    /// Inode table of a group.
    InodeTable,
    /// Block for multiple-mount protection.
    Mmp,
    /// Content, extent tree, block map or attributes of an inode.
    Inode,
}

impl BlockRole {
    /// Describes a block that has the role.
    pub(super) fn of_block(self, block: u64) -> String {
        match self {
            Self::Inode => format!("block {block}"),
            Self::Mmp => format!("block {block} for multiple-mount protection"),
            _ => format!("block {block} of its {self}"),
        }
    }
}

impl fmt::Display for BlockRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlockBitmap => "block bitmap",
            Self::InodeBitmap => "inode bitmap",
            Self::InodeTable => "inode table",
            Self::Mmp => "block for multiple-mount protection",
            Self::Inode => "block",
        })
    }
}

/// Set of claimed blocks. Its memory is proportional to the claimed runs, or to the number of
/// blocks if there are many runs: an image of mostly holes may claim all of its blocks in a few
/// bytes.
pub(super) struct ClaimedBlocks {
    block_count: u64,
    /// By number. A part without a claimed block is missing.
    parts: BTreeMap<u64, Part>,
}

enum Part {
    /// First and last block of each run, ascending. No two runs touch.
    Runs(Vec<(u16, u16)>),
    Bits(Box<[u64; 1 << 9]>),
}

impl ClaimedBlocks {
    pub(super) fn new(block_count: u64) -> Self {
        Self {
            block_count,
            parts: BTreeMap::new(),
        }
    }

    /// Claims blocks. Blocks beyond the end of the image are ignored. Returns the first block that
    /// was claimed before.
    pub(super) fn claim(&mut self, start: u64, count: u64) -> Option<u64> {
        let end = start.saturating_add(count).min(self.block_count);
        let mut taken = None;
        for (number, blocks) in split_by_part(start, end) {
            let part = self.parts.entry(number).or_insert(Part::Runs(Vec::new()));
            let first = part.claim(blocks);
            taken = taken.or(first.map(|first| number * PART_BLOCKS + u64::from(first)));
        }
        taken
    }

    /// Returns a bit for each of `count` blocks, as in a block bitmap.
    pub(super) fn bitmap(&self, start: u64, count: u32) -> Vec<u8> {
        let end = start + u64::from(count);
        let mut bitmap = vec![0; (count as usize).div_ceil(8)];
        for (&number, part) in self.parts.range(start / PART_BLOCKS..end.div_ceil(PART_BLOCKS)) {
            part.for_each(|block| {
                let block = number * PART_BLOCKS + u64::from(block);
                if (start..end).contains(&block) {
                    set_bit(&mut bitmap, block - start);
                }
            });
        }
        bitmap
    }
}

impl Part {
    /// Claims blocks of the part. Returns the first block that was claimed before.
    fn claim(&mut self, blocks: RangeInclusive<u16>) -> Option<u16> {
        let (first, last) = blocks.into_inner();
        match self {
            Self::Runs(runs) => {
                // Merge with the runs that touch or overlap the claimed one.
                let from = runs.partition_point(|run| run.1 + 1 < first);
                let to = runs.partition_point(|run| run.0 <= last + 1);
                let touched = &runs[from..to];
                let mut overlaps = touched.iter().filter(|run| run.0 <= last && run.1 >= first);
                let taken = overlaps.next().map(|run| run.0.max(first));
                let merged = (
                    touched.first().map_or(first, |run| run.0.min(first)),
                    touched.last().map_or(last, |run| run.1.max(last)),
                );
                runs.splice(from..to, [merged]);
                if runs.len() > MAX_RUNS {
                    let mut bits = Self::Bits(Box::new([0; 1 << 9]));
                    for &(first, last) in &*runs {
                        bits.claim(first..=last);
                    }
                    *self = bits;
                }
                taken
            }
            Self::Bits(words) => {
                let mut taken = None;
                for index in first / 64..=last / 64 {
                    let low = first.max(index * 64) % 64;
                    let high = last.min(index * 64 + 63) % 64;
                    let mask = u64::MAX << low & u64::MAX >> (63 - high);
                    let word = &mut words[usize::from(index)];
                    if taken.is_none() && *word & mask != 0 {
                        let bit = u16::try_from((*word & mask).trailing_zeros()).expect("less than 64");
                        taken = Some(index * 64 + bit);
                    }
                    *word |= mask;
                }
                taken
            }
        }
    }

    fn for_each(&self, mut with: impl FnMut(u16)) {
        match self {
            Self::Runs(runs) => runs
                .iter()
                .for_each(|&(first, last)| (first..=last).for_each(&mut with)),
            Self::Bits(words) => {
                for (index, mut word) in (0..).zip(words.iter().copied()) {
                    while word != 0 {
                        let bit = u16::try_from(word.trailing_zeros()).expect("less than 64");
                        word &= word - 1;
                        with(index * 64 + bit);
                    }
                }
            }
        }
    }
}

/// Splits a range of blocks by part. Returns the number of each part, and the blocks within it.
fn split_by_part(start: u64, end: u64) -> impl Iterator<Item = (u64, RangeInclusive<u16>)> {
    let parts = if start < end {
        start / PART_BLOCKS..end.div_ceil(PART_BLOCKS)
    } else {
        0..0
    };
    parts.map(move |number| {
        let base = number * PART_BLOCKS;
        let within = |block: u64| u16::try_from(block - base).expect("less than a part");
        (
            number,
            within(start.max(base))..=within(end.min(base + PART_BLOCKS) - 1),
        )
    })
}

/// Sets a bit of a bitmap. An index beyond its end is ignored.
pub(super) fn set_bit(bitmap: &mut [u8], index: u64) {
    let byte = usize::try_from(index / 8).ok().and_then(|byte| bitmap.get_mut(byte));
    if let Some(byte) = byte {
        *byte |= 1 << (index % 8);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_claimed_blocks_are_taken() {
        const BLOCKS: u64 = 3 * PART_BLOCKS + 100;
        let mut seed = 1_u64;
        let mut random = |end: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        // Few long runs, and many short ones.
        for (claims, longest) in [(20, 20_000), (4000, 6)] {
            let mut claimed = ClaimedBlocks::new(BLOCKS);
            let mut expected = BTreeSet::new();
            for _ in 0..claims {
                let (start, count) = (random(BLOCKS), random(longest));
                let blocks = start..(start + count).min(BLOCKS);
                let taken = blocks.clone().find(|block| expected.contains(block));
                assert_eq!(claimed.claim(start, count), taken, "{count} blocks from {start}");
                expected.extend(blocks);
            }
            let has_bits = claimed.parts.values().any(|part| matches!(part, Part::Bits(_)));
            assert_eq!(has_bits, claims > 100);
            for (start, count) in [(0, 70_000), (40_000, 65), (PART_BLOCKS, 1 << 15)] {
                let bitmap = claimed.bitmap(start, count);
                let bit = |index: u32| bitmap[index as usize / 8] >> (index % 8) & 1 == 1;
                assert!((0..count).all(|index| bit(index) == expected.contains(&(start + u64::from(index)))));
            }
        }
    }

    #[test]
    fn a_long_claim_is_one_run_in_each_part() {
        let mut claimed = ClaimedBlocks::new(1 << 30);
        assert_eq!(claimed.claim(7, 1 << 25), None);
        assert_eq!(claimed.claim((1 << 25) + 6, 5), Some((1 << 25) + 6));
        assert_eq!(claimed.parts.len(), (1 << 10) + 1);
        let is_run = |part: &Part| matches!(part, Part::Runs(runs) if runs.len() == 1);
        assert!(claimed.parts.values().all(is_run));
    }
}
