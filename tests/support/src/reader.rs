//! A reader of images in memory that shares no code with the crate. It uses the offsets of the
//! kernel's documentation.
//!
//! It trusts the image, which a test has just made, and panics if that is damaged.

use std::collections::BTreeMap;

use super::model::Stat;

/// Inode of the root directory (`EXT4_ROOT_INO`).
pub const ROOT: u32 = 2;
/// Inode of the blocks reserved for group descriptors (`EXT4_RESIZE_INO`). It has no name.
pub const RESIZE: u32 = 7;
/// Inode of the journal (`EXT4_JOURNAL_INO`). It has no name.
pub const JOURNAL: u32 = 8;

/// Prefixes of attribute names, by number (`EXT4_XATTR_INDEX_*`).
const NAMESPACES: [&[u8]; 8] = [
    b"",
    b"user.",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"trusted.",
    b"",
    b"security.",
    b"system.",
];

/// A reader of an image.
#[derive(Clone, Copy)]
pub struct Reader<'image>(&'image [u8]);

/// The fields of a group descriptor.
pub struct Group {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub free_blocks: u32,
    pub free_inodes: u32,
    pub directories: u32,
    pub unused_inodes: u32,
    pub inodes_uninit: bool,
    pub blocks_uninit: bool,
}

/// Contiguous blocks of a file: `count` from block `start` of the image on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub logical: u64,
    pub start: u64,
    pub count: u64,
}

/// Blocks of a file: extents of its content, and nodes of its extent tree.
#[derive(Debug, Default)]
pub struct FileBlocks {
    pub extents: Vec<Extent>,
    pub nodes: Vec<u64>,
}

/// An entry of a directory.
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: u32,
    pub file_type: u8,
}

impl<'image> Reader<'image> {
    pub fn new(image: &'image [u8]) -> Self {
        let reader = Self(image);
        assert_eq!(reader.u16_at(1024 + 0x38), 0xEF53, "the superblock's magic number");
        reader
    }

    pub fn block_size(&self) -> u64 {
        1024 << self.superblock_u32(0x18)
    }

    pub fn first_block(&self) -> u64 {
        self.superblock_u32(0x14).into()
    }

    pub fn block_count(&self) -> u64 {
        self.superblock_u64(0x4, 0x150)
    }

    pub fn free_block_count(&self) -> u64 {
        self.superblock_u64(0xC, 0x158)
    }

    pub fn inode_count(&self) -> u32 {
        self.superblock_u32(0x0)
    }

    pub fn free_inode_count(&self) -> u32 {
        self.superblock_u32(0x10)
    }

    pub fn blocks_per_group(&self) -> u64 {
        self.superblock_u32(0x20).into()
    }

    pub fn inodes_per_group(&self) -> u32 {
        self.superblock_u32(0x28)
    }

    /// Number of blocks of group descriptors after each copy of the superblock, and of the blocks
    /// reserved after them.
    pub fn descriptor_blocks(&self) -> (u64, u64) {
        let reserved = self.u16_at(1024 + 0xCE);
        ((64 * self.group_count()).div_ceil(self.block_size()), reserved.into())
    }

    pub fn group_count(&self) -> u64 {
        (self.block_count() - self.first_block()).div_ceil(self.blocks_per_group())
    }

    /// First block of a group.
    pub fn group_start(&self, group: u64) -> u64 {
        self.first_block() + group * self.blocks_per_group()
    }

    pub fn group(&self, group: u64) -> Group {
        let at = (self.first_block() + 1) * self.block_size() + 64 * group;
        let wide = |lo, hi| u64::from(self.u32_at(at + lo)) | u64::from(self.u32_at(at + hi)) << 32;
        let count = |lo, hi| u32::from(self.u16_at(at + lo)) | u32::from(self.u16_at(at + hi)) << 16;
        let flags = self.u16_at(at + 0x12);
        Group {
            block_bitmap: wide(0x0, 0x20),
            inode_bitmap: wide(0x4, 0x24),
            inode_table: wide(0x8, 0x28),
            free_blocks: count(0xC, 0x2C),
            free_inodes: count(0xE, 0x2E),
            directories: count(0x10, 0x30),
            unused_inodes: count(0x1C, 0x32),
            inodes_uninit: flags & 1 != 0,
            blocks_uninit: flags & 2 != 0,
        }
    }

    /// The bytes of a block.
    pub fn block(&self, nr: u64) -> &'image [u8] {
        let start = usize::try_from(nr * self.block_size()).unwrap();
        &self.0[start..start + usize::try_from(self.block_size()).unwrap()]
    }

    /// Offset of an inode in the image, in bytes.
    pub fn inode_offset(&self, ino: u32) -> u64 {
        let group = self.group(u64::from((ino - 1) / self.inodes_per_group()));
        group.inode_table * self.block_size() + u64::from((ino - 1) % self.inodes_per_group()) * 256
    }

    pub fn mode(&self, ino: u32) -> u16 {
        self.u16_at(self.inode_offset(ino))
    }

    pub fn is_directory(&self, ino: u32) -> bool {
        self.mode(ino) & 0o170_000 == 0o040_000
    }

    /// Returns whether an inode is a directory with an index (`EXT4_INDEX_FL`).
    pub fn is_indexed(&self, ino: u32) -> bool {
        self.flags(ino) & 0x1000 != 0
    }

    pub fn links(&self, ino: u32) -> u64 {
        self.u16_at(self.inode_offset(ino) + 0x1A).into()
    }

    pub fn size(&self, ino: u32) -> u64 {
        let at = self.inode_offset(ino);
        u64::from(self.u32_at(at + 0x4)) | u64::from(self.u32_at(at + 0x6C)) << 32
    }

    /// Returns whether the content is in the inode (`EXT4_INLINE_DATA_FL`).
    fn is_inline(&self, ino: u32) -> bool {
        self.flags(ino) & 0x1000_0000 != 0
    }

    /// Number of references to an attribute inode (`EXT4_EA_INODE_FL`), or `None` for another
    /// inode.
    pub fn value_references(&self, ino: u32) -> Option<u32> {
        (self.flags(ino) & 0x20_0000 != 0).then(|| self.u32_at(self.inode_offset(ino) + 0x24))
    }

    /// Number of blocks of an inode, in units of 512 bytes (`i_blocks`).
    pub fn sectors(&self, ino: u32) -> u64 {
        let at = self.inode_offset(ino);
        let count = u64::from(self.u32_at(at + 0x1C)) | u64::from(self.u16_at(at + 0x74)) << 32;
        match self.flags(ino) & 0x4_0000 {
            0 => count,
            _ => count * (self.block_size() / 512),
        }
    }

    fn flags(&self, ino: u32) -> u32 {
        self.u32_at(self.inode_offset(ino) + 0x20)
    }

    /// The external attribute block of an inode, 0 for none (`i_file_acl`).
    pub fn xattr_block(&self, ino: u32) -> u64 {
        let at = self.inode_offset(ino);
        u64::from(self.u32_at(at + 0x68)) | u64::from(self.u16_at(at + 0x76)) << 32
    }

    /// Number of inodes that share an external attribute block (`h_refcount`).
    pub fn xattr_references(&self, block: u64) -> u32 {
        self.u32_at(block * self.block_size() + 4)
    }

    /// Blocks of a file with an extent tree. Empty for any other inode.
    pub fn blocks(&self, ino: u32) -> FileBlocks {
        let mut blocks = FileBlocks::default();
        if self.flags(ino) & 0x8_0000 != 0 {
            self.add_node(self.inode_offset(ino) + 0x28, &mut blocks);
        }
        blocks
    }

    fn add_node(&self, at: u64, blocks: &mut FileBlocks) {
        assert_eq!(self.u16_at(at), 0xF30A, "magic number of an extent node");
        let depth = self.u16_at(at + 6);
        for entry in (at + 12..).step_by(12).take(self.u16_at(at + 2).into()) {
            if depth == 0 {
                blocks.extents.push(Extent {
                    logical: self.u32_at(entry).into(),
                    start: u64::from(self.u32_at(entry + 8)) | u64::from(self.u16_at(entry + 6)) << 32,
                    count: self.u16_at(entry + 4).into(),
                });
            } else {
                let child = u64::from(self.u32_at(entry + 4)) | u64::from(self.u16_at(entry + 8)) << 32;
                blocks.nodes.push(child);
                self.add_node(child * self.block_size(), blocks);
            }
        }
    }

    /// Content of a file, with an extent tree or in its inode.
    pub fn content(&self, ino: u32) -> Vec<u8> {
        let len = usize::try_from(self.size(ino)).unwrap();
        if self.is_inline(ino) {
            let at = usize::try_from(self.inode_offset(ino) + 0x28).unwrap();
            let rest = self
                .raw_xattrs(ino)
                .into_iter()
                .find(Xattr::is_inline_data)
                .unwrap()
                .value;
            return [&self.0[at..at + 60], &rest].concat()[..len].to_vec();
        }
        let mut content = vec![0; len];
        for extent in self.blocks(ino).extents {
            for index in 0..extent.count {
                let at = usize::try_from((extent.logical + index) * self.block_size()).unwrap();
                let block = self.block(extent.start + index);
                let part = block.len().min(len - at);
                content[at..at + part].copy_from_slice(&block[..part]);
            }
        }
        content
    }

    /// Entries of a directory, with `.` and `..`. Reads block by block; a node of an index looks
    /// like an unused entry.
    pub fn read_dir(&self, directory: u32) -> Vec<DirEntry> {
        let content = self.content(directory);
        let mut names = Vec::new();
        if self.is_inline(directory) {
            let parent = u32::from_le_bytes(content[..4].try_into().unwrap());
            for (name, ino) in [(&b"."[..], directory), (b"..", parent)] {
                names.push(DirEntry {
                    name: name.to_vec(),
                    ino,
                    file_type: 2,
                });
            }
            add_names(&content[4..60], &mut names);
            add_names(&content[60..], &mut names);
        } else {
            for block in content.chunks(usize::try_from(self.block_size()).unwrap()) {
                add_names(block, &mut names);
            }
        }
        names
    }

    /// Inode number of every path. The root's path is empty.
    pub fn paths(&self) -> BTreeMap<Vec<u8>, u32> {
        let mut paths = BTreeMap::from([(Vec::new(), ROOT)]);
        let mut pending = vec![(Vec::new(), ROOT)];
        while let Some((path, directory)) = pending.pop() {
            for DirEntry { name, ino, .. } in self.read_dir(directory) {
                if name == b"." || name == b".." {
                    continue;
                }
                let separator = if path.is_empty() { "" } else { "/" };
                let child = [&path[..], separator.as_bytes(), &name].concat();
                if self.is_directory(ino) {
                    pending.push((child.clone(), ino));
                }
                assert!(paths.insert(child, ino).is_none(), "two entries of one name");
            }
        }
        paths
    }

    /// Metadata of an inode.
    pub fn stat(&self, ino: u32) -> Stat {
        let at = self.inode_offset(ino);
        let mode = self.mode(ino);
        let id = |lo, hi| u32::from(self.u16_at(at + lo)) | u32::from(self.u16_at(at + hi)) << 16;
        let time = |seconds, extra| {
            let extra = self.u32_at(at + extra);
            let low = i64::from(self.u32_at(at + seconds).cast_signed());
            (low + (i64::from(extra & 3) << 32), extra >> 2)
        };
        Stat {
            mode: mode.into(),
            uid: id(0x2, 0x78),
            gid: id(0x18, 0x7A),
            links: self.links(ino),
            size: (!self.is_directory(ino)).then(|| self.size(ino)),
            accessed: time(0x8, 0x8C),
            modified: time(0x10, 0x88),
            changed: time(0xC, 0x84),
            device: matches!(mode & 0o170_000, 0o020_000 | 0o060_000).then(|| self.device(ino)),
            target: (mode & 0o170_000 == 0o120_000).then(|| self.target(ino)),
            xattrs: self.xattrs(ino),
        }
    }

    /// Major and minor number: `old_encode_dev` in the first word, or else `new_encode_dev` in the
    /// second.
    fn device(&self, ino: u32) -> (u32, u32) {
        let at = self.inode_offset(ino) + 0x28;
        match self.u32_at(at) {
            0 => {
                let device = self.u32_at(at + 4);
                ((device >> 8) & 0xFFF, device & 0xFF | (device >> 12) & 0xF_FF00)
            }
            device => (device >> 8, device & 0xFF),
        }
    }

    fn target(&self, ino: u32) -> Vec<u8> {
        if self.flags(ino) & 0x8_0000 != 0 {
            return self.content(ino);
        }
        let at = usize::try_from(self.inode_offset(ino) + 0x28).unwrap();
        self.0[at..at + usize::try_from(self.size(ino)).unwrap()].to_vec()
    }

    fn xattrs(&self, ino: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut xattrs = BTreeMap::new();
        for xattr in self.raw_xattrs(ino).into_iter().filter(|xattr| !xattr.is_inline_data()) {
            let value = match (xattr.value_inode, xattr.index) {
                (Some(inode), _) => self.content(inode),
                (None, 2 | 3) => acl(&xattr.value),
                (None, _) => xattr.value,
            };
            let name = [NAMESPACES[usize::from(xattr.index)], &xattr.name].concat();
            assert!(xattrs.insert(name, value).is_none(), "two attributes of one name");
        }
        xattrs
    }

    /// Attribute inodes that hold values of an inode's extended attributes.
    pub fn value_inodes(&self, ino: u32) -> Vec<u32> {
        let xattrs = self.raw_xattrs(ino).into_iter();
        xattrs.filter_map(|xattr| xattr.value_inode).collect()
    }

    fn raw_xattrs(&self, ino: u32) -> Vec<Xattr> {
        let at = self.inode_offset(ino);
        let fields = 128 + u64::from(self.u16_at(at + 0x80));
        let mut xattrs = Vec::new();
        if self.u32_at(at + fields) == 0xEA02_0000 {
            let start = usize::try_from(at + fields + 4).unwrap();
            let end = usize::try_from(at + 256).unwrap();
            add_xattrs(&self.0[start..end], 0, &mut xattrs);
        }
        match self.xattr_block(ino) {
            0 => {}
            block => add_xattrs(self.block(block), 32, &mut xattrs),
        }
        xattrs
    }

    fn superblock_u32(&self, offset: u64) -> u32 {
        self.u32_at(1024 + offset)
    }

    fn superblock_u64(&self, lo: u64, hi: u64) -> u64 {
        u64::from(self.superblock_u32(lo)) | u64::from(self.superblock_u32(hi)) << 32
    }

    pub fn u32_at(&self, offset: u64) -> u32 {
        u32::from(self.u16_at(offset)) | u32::from(self.u16_at(offset + 2)) << 16
    }

    fn u16_at(&self, offset: u64) -> u16 {
        let at = usize::try_from(offset).unwrap();
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }
}

/// An extended attribute as it is on disk.
struct Xattr {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
    value_inode: Option<u32>,
}

impl Xattr {
    /// Returns whether this is the rest of the inode's inline content (`system.data`).
    fn is_inline_data(&self) -> bool {
        self.index == 7 && self.name == b"data"
    }
}

/// Reads attribute entries from offset `first` on. Offsets of values count from the start of
/// `room`.
fn add_xattrs(room: &[u8], first: usize, xattrs: &mut Vec<Xattr>) {
    let mut at = first;
    while room[at..at + 4] != [0; 4] {
        let entry = &room[at..];
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
        let (name_len, offset) = (
            usize::from(entry[0]),
            usize::from(u16::from_le_bytes([entry[2], entry[3]])),
        );
        let (value_inode, len) = (word(4), word(8) as usize);
        xattrs.push(Xattr {
            index: entry[1],
            name: entry[16..16 + name_len].to_vec(),
            value: if value_inode == 0 {
                room[offset..offset + len].to_vec()
            } else {
                Vec::new()
            },
            value_inode: (value_inode != 0).then_some(value_inode),
        });
        at += 16 + name_len.next_multiple_of(4);
    }
}

/// Reads consecutive entries of a directory.
fn add_names(mut rest: &[u8], names: &mut Vec<DirEntry>) {
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let ino = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let len = u16::from_le_bytes([header[4], header[5]]);
        // 65,535 stands for 65,536.
        let len = usize::from(len) + usize::from(len == u16::MAX);
        if ino != 0 {
            names.push(DirEntry {
                name: after[..header[6].into()].to_vec(),
                ino,
                file_type: header[7],
            });
        }
        rest = &rest[len..];
    }
}

/// Converts an ACL from its form on disk to that of getxattr(2).
fn acl(disk: &[u8]) -> Vec<u8> {
    let (version, mut entries) = disk.split_first_chunk::<4>().unwrap();
    assert_eq!(*version, [1, 0, 0, 0], "version of an ACL on disk");
    let mut acl = vec![2, 0, 0, 0];
    while let Some((entry, rest)) = entries.split_first_chunk::<4>() {
        acl.extend_from_slice(entry);
        let (id, rest) = match entry[0] {
            0x02 | 0x08 => rest.split_first_chunk::<4>().unwrap(),
            _ => (&[0xFF; 4], rest),
        };
        acl.extend_from_slice(id);
        entries = rest;
    }
    acl
}
