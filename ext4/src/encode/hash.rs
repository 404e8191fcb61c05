//! The hash by which an indexed directory finds names: half MD4 (`ext4fs_dirhash`, `half_md4_transform`).

/// Hash of a name: the first orders the index, the second breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameHash {
    /// Bit 0 is clear; the index uses it to say that the hash goes on in the next block.
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// A hash that stands for the end of a directory (`EXT4_HTREE_EOF_32BIT << 1`), so no name has it.
const END_OF_DIRECTORY: u32 = 0xFFFF_FFFE;

/// Half MD4 with a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameHasher {
    seed: [u32; 4],
    /// Whether the bytes of a name are taken as signed.
    is_signed: bool,
}

impl NameHasher {
    /// With the seed of the superblock (`s_hash_seed`), and bytes taken as signed; zeros stand for MD4's own start.
    pub(crate) fn new(seed: &[u8; 16]) -> Self {
        let (words, _) = seed.as_chunks::<4>();
        let seed = if *seed == [0; 16] {
            [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476]
        } else {
            std::array::from_fn(|index| u32::from_le_bytes(words[index]))
        };
        Self { seed, is_signed: true }
    }

    /// The same with bytes taken as unsigned, as on ARM.
    pub(crate) fn unsigned(self) -> Self {
        Self {
            is_signed: false,
            ..self
        }
    }

    /// Hash of a name of at most 255 bytes.
    pub(crate) fn hash(self, name: &[u8]) -> NameHash {
        let mut state = self.seed;
        let mut rest = name;
        while !rest.is_empty() {
            transform(&mut state, words(rest, self.is_signed));
            rest = &rest[rest.len().min(32)..];
        }
        let major = state[1] & !1;
        NameHash {
            major: if major == END_OF_DIRECTORY {
                END_OF_DIRECTORY - 2
            } else {
                major
            },
            minor: state[2],
        }
    }
}

/// Up to 32 bytes as 8 words, filled up with the length of what is left (`str2hashbuf_signed`, `str2hashbuf_unsigned`).
fn words(rest: &[u8], is_signed: bool) -> [u32; 8] {
    let len = u32::try_from(rest.len()).expect("a name has at most 255 bytes");
    let filler = len * 0x0101_0101;
    let mut words = [filler; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            let number = if is_signed {
                i32::from(byte.cast_signed()).cast_unsigned()
            } else {
                byte.into()
            };
            *word = (*word << 8).wrapping_add(number);
        }
    }
    words
}

/// Three rounds of eight steps.
fn transform(state: &mut [u32; 4], input: [u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5A82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ED9_EBA1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in ROUNDS {
        for (step, index) in order.into_iter().enumerate() {
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(input[index])
                .wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (word, mixed) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(mixed);
    }
}
