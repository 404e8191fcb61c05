//! [`Features`]: the feature bits of the superblock, named as by `mke2fs -O` and `dumpe2fs`.
//!
//! A new feature takes its bit here, with [`Features::READABLE`] if the reader handles it and
//! [`Features::CHECKABLE`] if the check does. To write it, set it in `features()` of
//! `encode/superblock.rs` from a field of `options.rs`. Then test it: the sets of this module,
//! `ext4/tests/oracle` (with e2fsck and the kernel), and the list of features in `lib.rs`. Fields,
//! inode flags and hashes that come with a feature are in the other files of `disk/`.

use bitflags::{Flags, bitflags};

/// Bit positions of the three words of the superblock in the set.
const COMPAT: u32 = 0;
const INCOMPAT: u32 = 32;
const RO_COMPAT: u32 = 64;

bitflags! {
    /// Features of a file system: the bits of `s_feature_compat`, which a kernel may ignore, of
    /// `s_feature_incompat`, which it must know to mount the file system, and of
    /// `s_feature_ro_compat`, which it must know to mount it for writing.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Features: u128 {
        const DIR_PREALLOC = 0x1 << COMPAT;
        const IMAGIC_INODES = 0x2 << COMPAT;
        const HAS_JOURNAL = 0x4 << COMPAT;
        const EXT_ATTR = 0x8 << COMPAT;
        const RESIZE_INODE = 0x10 << COMPAT;
        const DIR_INDEX = 0x20 << COMPAT;
        const LAZY_BG = 0x40 << COMPAT;
        const SNAPSHOT_BITMAP = 0x100 << COMPAT;
        const SPARSE_SUPER2 = 0x200 << COMPAT;
        const FAST_COMMIT = 0x400 << COMPAT;
        const STABLE_INODES = 0x800 << COMPAT;
        const ORPHAN_FILE = 0x1000 << COMPAT;

        const COMPRESSION = 0x1 << INCOMPAT;
        const FILETYPE = 0x2 << INCOMPAT;
        const NEEDS_RECOVERY = 0x4 << INCOMPAT;
        const JOURNAL_DEV = 0x8 << INCOMPAT;
        const META_BG = 0x10 << INCOMPAT;
        const EXTENT = 0x40 << INCOMPAT;
        /// `64bit`
        const BIT64 = 0x80 << INCOMPAT;
        const MMP = 0x100 << INCOMPAT;
        const FLEX_BG = 0x200 << INCOMPAT;
        const EA_INODE = 0x400 << INCOMPAT;
        const DIRDATA = 0x1000 << INCOMPAT;
        const METADATA_CSUM_SEED = 0x2000 << INCOMPAT;
        const LARGE_DIR = 0x4000 << INCOMPAT;
        const INLINE_DATA = 0x8000 << INCOMPAT;
        const ENCRYPT = 0x1_0000 << INCOMPAT;
        const CASEFOLD = 0x2_0000 << INCOMPAT;

        const SPARSE_SUPER = 0x1 << RO_COMPAT;
        const LARGE_FILE = 0x2 << RO_COMPAT;
        const HUGE_FILE = 0x8 << RO_COMPAT;
        const UNINIT_BG = 0x10 << RO_COMPAT;
        const DIR_NLINK = 0x20 << RO_COMPAT;
        const EXTRA_ISIZE = 0x40 << RO_COMPAT;
        const QUOTA = 0x100 << RO_COMPAT;
        const BIGALLOC = 0x200 << RO_COMPAT;
        const METADATA_CSUM = 0x400 << RO_COMPAT;
        const REPLICA = 0x800 << RO_COMPAT;
        /// `read-only`
        const READ_ONLY = 0x1000 << RO_COMPAT;
        const PROJECT = 0x2000 << RO_COMPAT;
        const SHARED_BLOCKS = 0x4000 << RO_COMPAT;
        const VERITY = 0x8000 << RO_COMPAT;
        const ORPHAN_PRESENT = 0x1_0000 << RO_COMPAT;
    }
}

impl Features {
    /// Features of `s_feature_incompat` that the reader handles.
    pub(crate) const READABLE: Self = Self::FILETYPE
        .union(Self::NEEDS_RECOVERY)
        .union(Self::EXTENT)
        .union(Self::BIT64)
        .union(Self::MMP)
        .union(Self::FLEX_BG)
        .union(Self::EA_INODE)
        .union(Self::METADATA_CSUM_SEED)
        .union(Self::LARGE_DIR)
        .union(Self::INLINE_DATA);

    /// Features that the check handles: all that e2fsck knows and the reader handles, except
    /// `bigalloc` and `shared_blocks`.
    pub(crate) const CHECKABLE: Self = Self::READABLE
        .union(Self::DIR_PREALLOC)
        .union(Self::IMAGIC_INODES)
        .union(Self::HAS_JOURNAL)
        .union(Self::EXT_ATTR)
        .union(Self::RESIZE_INODE)
        .union(Self::DIR_INDEX)
        .union(Self::SPARSE_SUPER2)
        .union(Self::FAST_COMMIT)
        .union(Self::STABLE_INODES)
        .union(Self::ORPHAN_FILE)
        .union(Self::SPARSE_SUPER)
        .union(Self::LARGE_FILE)
        .union(Self::HUGE_FILE)
        .union(Self::UNINIT_BG)
        .union(Self::DIR_NLINK)
        .union(Self::EXTRA_ISIZE)
        .union(Self::QUOTA)
        .union(Self::METADATA_CSUM)
        .union(Self::READ_ONLY)
        .union(Self::PROJECT)
        .union(Self::VERITY)
        .union(Self::ORPHAN_PRESENT);

    /// All bits of `s_feature_compat`.
    pub(crate) const ALL_COMPAT: Self = Self::from_bits_retain((u32::MAX as u128) << COMPAT);
    /// All bits of `s_feature_incompat`.
    pub(crate) const ALL_INCOMPAT: Self = Self::from_bits_retain((u32::MAX as u128) << INCOMPAT);
    /// All bits of `s_feature_ro_compat`.
    pub(crate) const ALL_RO_COMPAT: Self = Self::from_bits_retain((u32::MAX as u128) << RO_COMPAT);

    /// Returns the features in the words `s_feature_compat`, `s_feature_incompat` and
    /// `s_feature_ro_compat`.
    pub(crate) fn from_words([compat, incompat, ro_compat]: [u32; 3]) -> Self {
        let words = [(compat, COMPAT), (incompat, INCOMPAT), (ro_compat, RO_COMPAT)];
        let bits = words.map(|(word, shift)| u128::from(word) << shift);
        Self::from_bits_retain(bits[0] | bits[1] | bits[2])
    }

    /// Returns the words `s_feature_compat`, `s_feature_incompat` and `s_feature_ro_compat`.
    #[expect(clippy::cast_possible_truncation, reason = "each word takes its 32 bits")]
    pub(crate) fn words(self) -> [u32; 3] {
        [COMPAT, INCOMPAT, RO_COMPAT].map(|shift| (self.bits() >> shift) as u32)
    }

    /// Returns the names of the features, in the order of `dumpe2fs`. As in e2fsprogs, the name of
    /// an unknown bit is `FEATURE_`, the letter of its word, and its position in the word.
    pub(crate) fn names(self) -> impl Iterator<Item = String> {
        (0..96).filter(move |bit| self.bits() >> bit & 1 == 1).map(|bit: u32| {
            match Self::FLAGS.iter().find(|flag| flag.value().bits() == 1 << bit) {
                Some(flag) => match flag.name() {
                    "BIT64" => "64bit".to_owned(),
                    "READ_ONLY" => "read-only".to_owned(),
                    name => name.to_ascii_lowercase(),
                },
                None => format!("FEATURE_{}{}", ["C", "I", "R"][bit as usize / 32], bit % 32),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the feature with a name.
    fn from_name(name: &str) -> Option<Features> {
        match name {
            "64bit" => Some(Features::BIT64),
            "read-only" => Some(Features::READ_ONLY),
            _ => Features::from_name(&name.to_ascii_uppercase()),
        }
    }

    #[test]
    fn names_of_bits_are_unique_and_round_trip() {
        let mut names = std::collections::BTreeSet::new();
        for bit in 0..96 {
            let feature = Features::from_bits_retain(1 << bit);
            let name: Vec<String> = feature.names().collect();
            assert_eq!(name.len(), 1, "{feature:?}");
            let position = name[0].strip_prefix("FEATURE_");
            match position {
                Some(position) => {
                    assert!(!Features::all().contains(feature));
                    let (word, bit) = position.split_at(1);
                    let word = "CIR".find(word).expect("a word's letter");
                    let bit: usize = bit.parse().expect("a position");
                    assert_eq!(feature.bits(), 1 << (32 * word + bit));
                }
                None => assert_eq!(from_name(&name[0]), Some(feature)),
            }
            names.extend(name);
        }
        assert_eq!(names.len(), 96);
    }

    #[test]
    fn names_are_in_the_order_of_dumpe2fs() {
        let features = Features::from_words([0x24, 0x8000_0082, 0x1001]);
        let names: Vec<_> = features.names().collect();
        let expected = [
            "has_journal",
            "dir_index",
            "filetype",
            "64bit",
            "FEATURE_I31",
            "sparse_super",
            "read-only",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn readable_and_checkable_features_have_the_expected_bits() {
        assert_eq!(Features::READABLE.words(), [0, 0xE7C6, 0]);
        assert_eq!(Features::CHECKABLE.words(), [0x1E3F, 0xE7C6, 0x1_B57B]);
    }

    proptest::proptest! {
        #[test]
        fn words_round_trip(words: [u32; 3]) {
            assert_eq!(Features::from_words(words).words(), words);
        }
    }
}
