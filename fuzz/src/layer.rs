//! Target `layer`: decompression, tar, and the application of layers.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};

use ext4::{Device, FileType, Fit, Formatter, InodeId, Journal, Kind, Metadata, Options, Reader, Size};
use layer::{LayerOptions, RootfsBuilder, decode};

use crate::e2fsck;
use crate::memory::{CAPACITY, Memory};
use support::check::check;

/// Size of a block of a tar, in bytes.
const BLOCK: usize = 512;
/// Longest content that is compared, in bytes.
const MAX_COMPARED: u64 = 4 << 20;

/// Applies layers, makes the image, and reads it back.
///
/// Bits 0 and 1 of the first byte are the number of layers before the last, and bits 2 to 4 their
/// compression. Bit 5 keeps header checksums as they are; otherwise all are corrected, since random
/// bytes would never have correct ones. The next two bytes are the lengths of the first two layers,
/// in blocks.
pub fn run(bytes: &[u8]) {
    let [flags, first_len, second_len, tars @ ..] = bytes else {
        return;
    };
    let mut tars = tars.to_vec();
    if flags & 0x20 == 0 {
        seal_headers(&mut tars);
    }
    let mut rootfs = empty();
    for tar in split(&tars, flags & 3, [*first_len, *second_len]) {
        let blob = compress(tar, flags >> 2 & 7);
        let Ok(tar) = decode(&blob[..], "application/vnd.oci.image.layer.v1.tar") else {
            return;
        };
        if rootfs.apply(BufReader::new(tar), &LayerOptions::default()).is_err() {
            return;
        }
    }
    finish(rootfs);
}

/// Returns a file system without files.
pub(crate) fn empty() -> RootfsBuilder<Memory> {
    let options = Options {
        size: Size::Fit(Fit {
            free: 0,
            free_percent: 0,
            min: 0,
            max: CAPACITY,
        }),
        journal: Journal::None,
        growth: false,
        ..Options::new([7; 16])
    };
    RootfsBuilder::new(Formatter::new(Memory::default(), options).expect("the size is not fixed"))
}

/// Corrects the checksum of every block that may be a header of ustar, GNU tar or PAX.
fn seal_headers(tars: &mut [u8]) {
    let (blocks, _) = tars.as_chunks_mut::<BLOCK>();
    for block in blocks.iter_mut().filter(|block| &block[257..262] == b"ustar") {
        seal(block);
    }
}

/// Corrects the checksum of a header.
pub(crate) fn seal(header: &mut [u8; BLOCK]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Splits bytes into up to three tars, at block boundaries.
fn split(tars: &[u8], count: u8, lens: [u8; 2]) -> Vec<&[u8]> {
    let mut rest = tars;
    let mut split = Vec::new();
    for len in lens.into_iter().take(count.into()) {
        let len = (usize::from(len) * BLOCK).min(rest.len());
        let (first, others) = rest.split_at(len);
        split.push(first);
        rest = others;
    }
    split.push(rest);
    split
}

fn compress(tar: &[u8], format: u8) -> Vec<u8> {
    match format {
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).expect("memory takes it");
            encoder.finish().expect("memory takes it")
        }
        2 => zstd::encode_all(tar, 1).expect("memory takes it"),
        _ => tar.to_vec(),
    }
}

/// A file as the tree or the image has it.
#[derive(Debug, PartialEq)]
struct FileState {
    metadata: Metadata,
    file_type: FileType,
    device: Option<Device>,
    /// Target of a symlink, or content of a file of at most [`MAX_COMPARED`] bytes.
    content: Vec<u8>,
    size: Option<u64>,
    links: u32,
}

/// Finishes the image, and asserts that it is equal to the tree. Does nothing if it cannot be made.
pub(crate) fn finish(mut rootfs: RootfsBuilder<Memory>) {
    let expected = files_of_tree(&mut rootfs);
    let Ok((image, _)) = rootfs.formatter.finish(rootfs.tree) else {
        return;
    };
    check(&image.bytes);
    e2fsck::assert_clean(&image.bytes);
    let mut found = files_of_image(&image.bytes);
    if !expected.contains_key(&b"lost+found"[..]) {
        found.remove(&b"lost+found"[..]);
    }
    for (path, file) in &expected {
        assert_eq!(found.get(path), Some(file), "{}", path.escape_ascii());
    }
    assert_eq!(found.len(), expected.len(), "extra names: {:?}", found.keys());
}

/// Returns all files of a tree, by path.
fn files_of_tree(rootfs: &mut RootfsBuilder<Memory>) -> BTreeMap<Vec<u8>, FileState> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(Vec::new(), InodeId::ROOT)];
    while let Some((path, id)) = pending.pop() {
        let inode = rootfs.tree.inode(id);
        let mut content = Vec::new();
        let mut size = None;
        let mut number = None;
        match inode.kind() {
            Kind::Directory(directory) => {
                for (name, child) in directory.entries() {
                    pending.push((join(&path, name), child));
                }
            }
            Kind::File(data) => {
                size = Some(data.len());
                if data.len() <= MAX_COMPARED {
                    let mut reader = rootfs.formatter.read_data(data).expect("memory takes it");
                    reader.read_to_end(&mut content).expect("memory gives it");
                }
            }
            Kind::Symlink(target) => content = target.to_vec(),
            &Kind::CharDevice(device) | &Kind::BlockDevice(device) => number = Some(device),
            Kind::Fifo | Kind::Socket => {}
        }
        let file_type = inode.kind().file_type();
        let file = FileState {
            metadata: as_read_back(inode.metadata.clone()),
            file_type,
            device: number,
            content,
            size,
            links: if file_type == FileType::Directory {
                0
            } else {
                inode.links()
            },
        };
        found.insert(path, file);
    }
    found
}

/// Returns metadata as it reads back: ACL entries without a user or group lose their identifier.
fn as_read_back(mut metadata: Metadata) -> Metadata {
    const TAGS_WITH_IDS: [u8; 2] = [0x02, 0x08];
    for name in [&b"system.posix_acl_access"[..], b"system.posix_acl_default"] {
        let Some(mut acl) = metadata.xattrs.get(name).map(<[u8]>::to_vec) else {
            continue;
        };
        let (entries, _) = acl[4..].as_chunks_mut::<8>();
        for entry in entries.iter_mut().filter(|entry| !TAGS_WITH_IDS.contains(&entry[0])) {
            entry[4..].fill(0xFF);
        }
        metadata.xattrs.set(name, &acl).expect("the name was good");
    }
    metadata
}

/// Returns all files of an image, by path.
fn files_of_image(image: &[u8]) -> BTreeMap<Vec<u8>, FileState> {
    let reader = Reader::open(image).expect("it is an image");
    let mut found = BTreeMap::new();
    for entry in reader.walk() {
        let (path, inode) = entry.expect("it was written");
        let size = (inode.file_type == FileType::RegularFile).then_some(inode.size);
        let content = match inode.file_type {
            FileType::RegularFile if inode.size <= MAX_COMPARED => reader.read(&path).expect("it was written"),
            FileType::Symlink => reader.read_link(&inode).expect("a target"),
            _ => Vec::new(),
        };
        let file = FileState {
            metadata: Metadata {
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                accessed: inode.accessed,
                modified: inode.modified,
                changed: inode.changed,
                xattrs: reader.xattrs(&inode).expect("good attributes"),
            },
            file_type: inode.file_type,
            device: inode.device,
            content,
            size,
            links: if inode.is_directory() { 0 } else { inode.links.into() },
        };
        found.insert(path[1..].to_vec(), file);
    }
    found
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
    [path, separator, name].concat()
}
