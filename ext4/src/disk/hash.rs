//! Hashes of names in indexed directories (`ext4fs_dirhash`). The writer uses half MD4. Old or
//! tuned file systems have the others.

use crate::units::{as_chunks, sign_extend};

/// Hash of a name: `major` orders the index, `minor` breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameHash {
    /// Bit 0 is clear: in the index, it is set if names with the same hash continue in the next
    /// block.
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Hash that stands for the end of a directory, so no name has it (`EXT4_HTREE_EOF_32BIT << 1`).
const END_OF_DIRECTORY: u32 = 0xFFFF_FFFE;

/// Algorithm of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashVersion {
    /// `DX_HASH_LEGACY`, which has no seed.
    Legacy,
    /// `DX_HASH_HALF_MD4`.
    HalfMd4,
    /// `DX_HASH_TEA`.
    Tea,
}

impl HashVersion {
    /// Returns the algorithm with a number in the root of an index, or `None` for an unknown
    /// number.
    pub(crate) fn from_disk(number: u8) -> Option<Self> {
        [Self::Legacy, Self::HalfMd4, Self::Tea]
            .get(usize::from(number))
            .copied()
    }
}

/// Algorithm with a seed, and with the interpretation of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameHasher {
    version: HashVersion,
    seed: [u32; 4],
    /// Bytes of names are signed numbers.
    signed_bytes: bool,
}

impl NameHasher {
    /// Returns half MD4 with the seed of the superblock (`s_hash_seed`) and signed bytes. A seed
    /// of zeros stands for the initial state of MD4.
    pub(crate) fn new(seed: &[u8; 16]) -> Self {
        let (words, _) = as_chunks::<4>(seed);
        let seed = if *seed == [0; 16] {
            [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476]
        } else {
            std::array::from_fn(|index| u32::from_le_bytes(words[index]))
        };
        Self {
            version: HashVersion::HalfMd4,
            seed,
            signed_bytes: true,
        }
    }

    /// Replaces the algorithm.
    pub(crate) fn with_version(self, version: HashVersion) -> Self {
        Self { version, ..self }
    }

    /// Makes bytes unsigned numbers, as on ARM.
    pub(crate) fn with_unsigned_bytes(self) -> Self {
        Self {
            signed_bytes: false,
            ..self
        }
    }

    /// Returns the hash of a name of at most 255 bytes.
    pub(crate) fn hash(self, name: &[u8]) -> NameHash {
        let (major, minor) = match self.version {
            HashVersion::Legacy => (legacy(name, self.signed_bytes), 0),
            HashVersion::HalfMd4 => {
                let state = self.absorb(name, half_md4);
                (state[1], state[2])
            }
            HashVersion::Tea => {
                let state = self.absorb(name, tea);
                (state[0], state[1])
            }
        };
        let major = major & !1;
        NameHash {
            major: if major == END_OF_DIRECTORY {
                END_OF_DIRECTORY - 2
            } else {
                major
            },
            minor,
        }
    }

    /// Returns the state after all bytes of a name, which `transform` takes `WORDS` words at a
    /// time.
    fn absorb<const WORDS: usize>(self, name: &[u8], transform: fn(&mut [u32; 4], [u32; WORDS])) -> [u32; 4] {
        let mut state = self.seed;
        let mut rest = name;
        while !rest.is_empty() {
            transform(&mut state, pack_words(rest, self.signed_bytes));
            rest = &rest[rest.len().min(4 * WORDS)..];
        }
        state
    }
}

/// Widens a byte of a name to 32 bits.
fn widen(byte: u8, signed_bytes: bool) -> u32 {
    if signed_bytes { sign_extend(byte) } else { byte.into() }
}

/// Packs bytes of a name into words. The rest of the words is filled with the length of `rest`
/// (`str2hashbuf_signed`, `str2hashbuf_unsigned`).
fn pack_words<const WORDS: usize>(rest: &[u8], signed_bytes: bool) -> [u32; WORDS] {
    let len = u32::try_from(rest.len()).expect("a name has at most 255 bytes");
    let filler = len * 0x0101_0101;
    let mut words = [filler; WORDS];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add(widen(byte, signed_bytes));
        }
    }
    words
}

/// Mixes words into the state in three rounds of eight steps (`half_md4_transform`).
fn half_md4(state: &mut [u32; 4], input: [u32; 8]) {
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

/// Mixes words into the state in sixteen rounds (`TEA_transform`).
fn tea(state: &mut [u32; 4], [a, b, c, d]: [u32; 4]) {
    const DELTA: u32 = 0x9E37_79B9;
    let mix = |of: u32, sum: u32, first: u32, second: u32| {
        (of << 4).wrapping_add(first) ^ of.wrapping_add(sum) ^ (of >> 5).wrapping_add(second)
    };
    let [mut left, mut right, ..] = *state;
    let mut sum = 0_u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        left = left.wrapping_add(mix(right, sum, a, b));
        right = right.wrapping_add(mix(left, sum, c, d));
    }
    state[0] = state[0].wrapping_add(left);
    state[1] = state[1].wrapping_add(right);
}

/// Returns the hash of file systems from before there were seeds (`dx_hack_hash`).
fn legacy(name: &[u8], signed_bytes: bool) -> u32 {
    let (mut last, mut before) = (0x12A3_FE2D_u32, 0x37AB_E8F9_u32);
    for &byte in name {
        let mixed = last ^ widen(byte, signed_bytes).wrapping_mul(7_152_373);
        let mut hash = before.wrapping_add(mixed);
        if hash & 0x8000_0000 != 0 {
            hash = hash.wrapping_sub(0x7FFF_FFFF);
        }
        (last, before) = (hash, last);
    }
    last << 1
}
