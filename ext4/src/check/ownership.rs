//! Which blocks belong to something.

/// Blocks of one part: a bit each.
const PART_BLOCKS: u64 = 1 << 15;

type Part = [u64; 1 << 9];

/// A bit for each block of the image, in parts that are only there where something is in use.
pub(super) struct Ownership {
    parts: Vec<Option<Box<Part>>>,
}

impl Ownership {
    pub(super) fn new(block_count: u64) -> Self {
        let parts = usize::try_from(block_count.div_ceil(PART_BLOCKS)).unwrap_or(usize::MAX);
        Self {
            parts: vec![None; parts],
        }
    }

    /// Takes blocks of the image that nothing has; says which is the first that something has already, if there is one.
    pub(super) fn claim(&mut self, start: u64, count: u64) -> Option<u64> {
        let mut taken = None;
        for block in start..start.saturating_add(count) {
            let (part, word, bit) = place(block);
            let Some(part) = self.parts.get_mut(part) else {
                return taken;
            };
            let word = &mut part.get_or_insert_with(|| Box::new([0; 1 << 9]))[word];
            if *word & bit != 0 && taken.is_none() {
                taken = Some(block);
            }
            *word |= bit;
        }
        taken
    }

    /// A bit for each of so many blocks, as a bitmap of blocks has it.
    pub(super) fn bitmap(&self, start: u64, count: u32) -> Vec<u8> {
        let end = start + u64::from(count);
        let mut bitmap = vec![0; (count as usize).div_ceil(8)];
        for number in start / PART_BLOCKS..end.div_ceil(PART_BLOCKS) {
            let part = usize::try_from(number)
                .ok()
                .and_then(|number| self.parts.get(number)?.as_ref());
            let words = (0..).zip(part.into_iter().flat_map(|part| part.iter().copied()));
            for (index, mut word) in words {
                let first: u64 = number * PART_BLOCKS + index * 64;
                while word != 0 {
                    let block = first + u64::from(word.trailing_zeros());
                    word &= word - 1;
                    if (start..end).contains(&block) {
                        set(&mut bitmap, block - start);
                    }
                }
            }
        }
        bitmap
    }
}

/// Sets a bit of a bitmap, if it has that.
pub(super) fn set(bitmap: &mut [u8], index: u64) {
    let byte = usize::try_from(index / 8).ok().and_then(|byte| bitmap.get_mut(byte));
    if let Some(byte) = byte {
        *byte |= 1 << (index % 8);
    }
}

fn place(block: u64) -> (usize, usize, u64) {
    let part = usize::try_from(block / PART_BLOCKS).unwrap_or(usize::MAX);
    let index = block % PART_BLOCKS;
    let word = usize::try_from(index / 64).expect("less than a part");
    (part, word, 1 << (index % 64))
}
