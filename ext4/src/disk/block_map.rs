//! Block maps, which ext2 and ext3 have instead of extent trees ("Direct/Indirect Block Addressing"
//! in the kernel's documentation).

use crate::units::as_chunks;

/// Length in bytes of the number of a block. Zero is a hole.
const NUMBER_LEN: usize = 4;
/// Numbers in `i_block`.
pub(crate) const ROOT_NUMBERS: usize = 15;
/// Bytes of `i_block`.
pub(crate) const ROOT_LEN: usize = ROOT_NUMBERS * NUMBER_LEN;
/// Numbers in `i_block` that name blocks of content (`EXT4_NDIR_BLOCKS`). The next three name
/// blocks of numbers, of one to three levels.
pub(crate) const DIRECT: usize = 12;
/// The number in `i_block` that names a block of two levels (`EXT4_DIND_BLOCK`).
pub(crate) const DOUBLE_INDIRECT: usize = DIRECT + 1;

/// Numbers that a block holds.
pub(crate) const fn numbers_per_block(block_len: usize) -> usize {
    block_len / NUMBER_LEN
}

/// Blocks of a file that a map of `levels` levels of blocks of numbers reaches, 0 to 3.
pub(crate) fn reach(levels: u32, block_len: usize) -> u64 {
    let per_block = numbers_per_block(block_len) as u64;
    DIRECT as u64 + (1..=levels).map(|level| per_block.pow(level)).sum::<u64>()
}

/// The numbers of a block, or of `i_block`.
pub(crate) fn numbers(block: &[u8]) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator {
    let (numbers, _) = as_chunks::<NUMBER_LEN>(block);
    numbers.iter().map(|number| u32::from_le_bytes(*number))
}

/// The start of a block that holds these numbers, or all of it.
pub(crate) fn encode(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// `i_block` of a map of one block of two levels, as the resize inode has it.
pub(crate) fn double_indirect_root(block: u32) -> [u8; ROOT_LEN] {
    let mut root = [0; ROOT_LEN];
    root[DOUBLE_INDIRECT * NUMBER_LEN..][..NUMBER_LEN].copy_from_slice(&block.to_le_bytes());
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let words: Vec<u32> = (0..256).map(|index| index * 0x0101_0101).collect();
        assert!(numbers(&encode(&words)).eq(words));
        let root = double_indirect_root(7);
        assert!(
            numbers(&root)
                .enumerate()
                .all(|(index, block)| (block == 7) == (index == 13))
        );
        assert_eq!(numbers(&root).len(), ROOT_NUMBERS);
    }

    #[test]
    fn three_levels_of_blocks_of_4_kib_reach_4_tib() {
        assert_eq!(reach(0, 4096), 12);
        assert_eq!(reach(2, 1024), 12 + 256 + 256 * 256);
        assert_eq!(reach(3, 4096), 12 + 1024 + (1 << 20) + (1 << 30));
    }
}
