//! Writes journals of every format, as the kernel does, into images with an empty one.

/// Block size of the images here, in bytes.
pub(crate) const BLOCK: usize = 1024;
const MAGIC: [u8; 4] = 0xC03B_3998_u32.to_be_bytes();
const UUID: [u8; 16] = *b"of the journal!!";

/// Checksums of a journal (`JBD2_FEATURE_COMPAT_CHECKSUM`, `JBD2_FEATURE_INCOMPAT_CSUM_V2` and
/// `_V3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalChecksums {
    None,
    V1,
    V2,
    V3,
}

/// A transaction: new contents of blocks, and blocks whose older contents are revoked.
#[derive(Default)]
pub(crate) struct Transaction<'a> {
    pub(crate) contents: &'a [(u32, Vec<u8>)],
    pub(crate) revoked: &'a [u32],
    pub(crate) incomplete: bool,
}

/// A journal that is being written.
pub(crate) struct JournalWriter {
    image: Vec<u8>,
    /// Offset of the journal in the image, in bytes.
    start: usize,
    len: u32,
    checksums: JournalChecksums,
    with_64bit: bool,
    first: u32,
    next: u32,
    sequence: u32,
    v1_checksum: u32,
    /// Time of the next commit, in seconds.
    pub(crate) time: u64,
    /// Number of blocks at the end that are reserved for fast commits.
    fast_commit_blocks: u32,
}

impl JournalWriter {
    /// Starts a journal at block `first`, with transaction number `sequence`.
    pub(crate) fn new(image: &[u8], checksums: JournalChecksums, with_64bit: bool, first: u32, sequence: u32) -> Self {
        let mut image = image.to_vec();
        let head = [MAGIC, 4u32.to_be_bytes()].concat();
        let start = image
            .chunks(BLOCK)
            .position(|block| block.starts_with(&head))
            .expect("a journal")
            * BLOCK;
        let len = u32::from_be_bytes(image[start + 16..start + 20].try_into().expect("four bytes"));
        // `needs_recovery`, and the superblock's checksum.
        image[1024 + 0x60] |= 4;
        let sum = !crc32c::crc32c(&image[1024..2048 - 4]);
        image[2048 - 4..2048].copy_from_slice(&sum.to_le_bytes());
        Self {
            image,
            start,
            len,
            checksums,
            with_64bit,
            first,
            next: first,
            sequence,
            v1_checksum: !0,
            time: 1_000_000,
            fast_commit_blocks: 0,
        }
    }

    /// Reserves `blocks` blocks at the end for fast commits, and writes the head of one into block
    /// `block` of them.
    pub(crate) fn add_fast_commit(&mut self, blocks: u32, block: u32, transaction: u32) {
        self.fast_commit_blocks = blocks;
        self.len -= blocks;
        // Tag and length, features, and transaction number.
        let head = [8 << 16 | 9, 0, transaction].map(u32::to_le_bytes).concat();
        let at = self.len + block;
        self.block(at)[..head.len()].copy_from_slice(&head);
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Bytes of a block of the journal.
    pub(crate) fn block(&mut self, block: u32) -> &mut [u8] {
        let at = self.start + block as usize * BLOCK;
        &mut self.image[at..at + BLOCK]
    }

    /// Returns the superblock of the file system.
    pub(crate) fn superblock(&self) -> Vec<u8> {
        self.image[1024..2048].to_vec()
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    fn seed() -> u32 {
        crc(!0, &UUID)
    }

    fn has_block_checksums(&self) -> bool {
        matches!(self.checksums, JournalChecksums::V2 | JournalChecksums::V3)
    }

    fn append(&mut self, content: &[u8]) {
        let next = self.next;
        self.block(next)[..content.len()].copy_from_slice(content);
        self.block(next)[content.len()..].fill(0);
        self.next = if next + 1 < self.len { next + 1 } else { 1 };
    }

    fn header(&self, block_type: u32) -> Vec<u8> {
        [MAGIC, block_type.to_be_bytes(), self.sequence.to_be_bytes()].concat()
    }

    /// Appends a descriptor block or revoke block, with its checksum.
    fn append_with_checksum(&mut self, mut content: Vec<u8>) {
        content.resize(BLOCK, 0);
        if self.has_block_checksums() {
            let sum = crc(Self::seed(), &content);
            content[BLOCK - 4..].copy_from_slice(&sum.to_be_bytes());
        }
        if content[7] == 1 {
            self.v1_checksum = crc32_be(self.v1_checksum, &content);
        }
        self.append(&content);
    }

    pub(crate) fn transaction(&mut self, transaction: &Transaction<'_>) {
        self.v1_checksum = !0;
        if !transaction.contents.is_empty() {
            let mut tags = self.header(1);
            let contents: Vec<_> = transaction
                .contents
                .iter()
                .map(|(_, content)| escape(content))
                .collect();
            for (index, ((block, _), (content, escaped))) in transaction.contents.iter().zip(&contents).enumerate() {
                let is_last = index + 1 == transaction.contents.len();
                let flags = u32::from(*escaped) | if index > 0 { 2 } else { 0 } | if is_last { 8 } else { 0 };
                let sum = crc(crc(Self::seed(), &self.sequence.to_be_bytes()), content);
                self.push_tag(&mut tags, *block, flags, sum);
                if index == 0 {
                    tags.extend(UUID);
                }
            }
            self.append_with_checksum(tags);
            for (content, _) in contents {
                self.v1_checksum = crc32_be(self.v1_checksum, &content);
                self.append(&content);
            }
        }
        if !transaction.revoked.is_empty() {
            let width = if self.with_64bit { 8 } else { 4 };
            let len = u32::try_from(16 + transaction.revoked.len() * width).expect("a few");
            let mut content = [self.header(5), len.to_be_bytes().to_vec()].concat();
            for block in transaction.revoked {
                content.extend(&u64::from(*block).to_be_bytes()[8 - width..]);
            }
            self.append_with_checksum(content);
        }
        if !transaction.incomplete {
            self.commit();
        }
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn push_tag(&self, tags: &mut Vec<u8>, block: u32, flags: u32, sum: u32) {
        tags.extend(block.to_be_bytes());
        if self.checksums == JournalChecksums::V3 {
            tags.extend(flags.to_be_bytes());
            tags.extend([0; 4]);
            tags.extend(sum.to_be_bytes());
            return;
        }
        let short = if self.checksums == JournalChecksums::V2 {
            &sum.to_be_bytes()[2..]
        } else {
            &[0; 2]
        };
        tags.extend(short);
        tags.extend(&flags.to_be_bytes()[2..]);
        if self.with_64bit {
            tags.extend([0; 4]);
        }
        if self.checksums == JournalChecksums::V2 {
            tags.extend([0; 2]);
        }
    }

    fn commit(&mut self) {
        let mut content = self.header(2);
        content.resize(BLOCK, 0);
        content[48..56].copy_from_slice(&self.time.to_be_bytes());
        match self.checksums {
            JournalChecksums::None => {}
            JournalChecksums::V1 => {
                content[12..14].copy_from_slice(&[1, 4]);
                content[16..20].copy_from_slice(&self.v1_checksum.to_be_bytes());
            }
            JournalChecksums::V2 | JournalChecksums::V3 => {
                let sum = crc(Self::seed(), &content);
                content[16..20].copy_from_slice(&sum.to_be_bytes());
            }
        }
        self.append(&content);
    }

    /// Writes the journal's superblock, which names the first transaction, and returns the image.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let (compat, incompat) = match self.checksums {
            JournalChecksums::None => (0, 1),
            JournalChecksums::V1 => (1, 1),
            JournalChecksums::V2 => (0, 1 | 8),
            JournalChecksums::V3 => (0, 1 | 16),
        };
        let fast_commit_blocks = self.fast_commit_blocks;
        let incompat: u32 =
            incompat | if self.with_64bit { 2 } else { 0 } | if fast_commit_blocks > 0 { 32 } else { 0 };
        let (first, has_sums) = (self.first, self.has_block_checksums());
        let superblock = self.block(0);
        superblock[0x18..0x1C].copy_from_slice(&sequence.to_be_bytes());
        superblock[0x1C..0x20].copy_from_slice(&first.to_be_bytes());
        superblock[0x24..0x28].copy_from_slice(&u32::to_be_bytes(compat));
        superblock[0x28..0x2C].copy_from_slice(&incompat.to_be_bytes());
        superblock[0x30..0x40].copy_from_slice(&UUID);
        superblock[0x54..0x58].copy_from_slice(&fast_commit_blocks.to_be_bytes());
        if has_sums {
            superblock[0x50] = 4;
            let sum = crc(!0, superblock);
            superblock[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
        }
        self.image
    }
}

/// Escapes the content of a block, which must not begin with the journal's magic number.
fn escape(content: &[u8]) -> (Vec<u8>, bool) {
    let mut content = content.to_vec();
    let escaped = content.starts_with(&MAGIC);
    if escaped {
        content[..4].fill(0);
    }
    (content, escaped)
}

/// CRC32C without the final inversion.
fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| {
            sum << 1 ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}
