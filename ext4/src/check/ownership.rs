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

    pub(super) fn is_owned(&self, block: u64) -> bool {
        let (part, word, bit) = place(block);
        let part = self.parts.get(part).and_then(Option::as_ref);
        part.is_some_and(|part| part[word] & bit != 0)
    }
}

fn place(block: u64) -> (usize, usize, u64) {
    let part = usize::try_from(block / PART_BLOCKS).unwrap_or(usize::MAX);
    let index = block % PART_BLOCKS;
    let word = usize::try_from(index / 64).expect("less than a part");
    (part, word, 1 << (index % 64))
}
