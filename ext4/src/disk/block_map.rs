//! Block maps, which ext2 and ext3 have instead of extent trees ("Direct/Indirect Block
//! Addressing" in the kernel's documentation).

use crate::units::as_chunks;

/// Length in bytes of a block number. Number zero is a hole.
const NUMBER_LEN: usize = 4;
/// Block numbers in `i_block`.
pub(crate) const ROOT_NUMBERS: usize = 15;
/// Length of `i_block` in bytes.
pub(crate) const ROOT_LEN: usize = ROOT_NUMBERS * NUMBER_LEN;
/// Block numbers in `i_block` that name blocks of content (`EXT4_NDIR_BLOCKS`). The next three
/// name indirect blocks of one to three levels.
pub(crate) const DIRECT: usize = 12;
/// Index in `i_block` of the double-indirect block (`EXT4_DIND_BLOCK`).
pub(crate) const DOUBLE_INDIRECT: usize = DIRECT + 1;

/// Returns how many block numbers fit in a block.
pub(crate) const fn numbers_per_block(block_len: usize) -> usize {
    block_len / NUMBER_LEN
}

/// Returns how many blocks of a file a map with `levels` levels of indirect blocks reaches.
/// `levels` is 0 to 3.
pub(crate) fn reachable_blocks(levels: u32, block_len: usize) -> u64 {
    let per_block = numbers_per_block(block_len) as u64;
    DIRECT as u64 + (1..=levels).map(|level| per_block.pow(level)).sum::<u64>()
}

/// Returns the block numbers in an indirect block or in `i_block`.
pub(crate) fn numbers(block: &[u8]) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator {
    let (numbers, _) = as_chunks::<NUMBER_LEN>(block);
    numbers.iter().map(|number| u32::from_le_bytes(*number))
}

/// Encodes block numbers as in an indirect block.
pub(crate) fn encode(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Returns the `i_block` of a map with only a double-indirect block, as the resize inode has it.
pub(crate) fn double_indirect_root(block: u32) -> [u8; ROOT_LEN] {
    let mut root = [0; ROOT_LEN];
    root[DOUBLE_INDIRECT * NUMBER_LEN..][..NUMBER_LEN].copy_from_slice(&block.to_le_bytes());
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
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
    fn three_levels_of_4_kib_blocks_reach_4_tib() {
        assert_eq!(reachable_blocks(0, 4096), 12);
        assert_eq!(reachable_blocks(2, 1024), 12 + 256 + 256 * 256);
        assert_eq!(reachable_blocks(3, 4096), 12 + 1024 + (1 << 20) + (1 << 30));
    }
}
