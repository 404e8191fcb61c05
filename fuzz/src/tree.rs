//! Target `tree`: sequences of operations on a tree.

use arbitrary::{Arbitrary, Unstructured};
use ext4::{
    BlockSize, Fit, FormatError, Inodes, Journal, Label, MAX_NAME_LEN, Metadata, Options, Size, Summary, Timestamp,
    Xattrs,
};

use crate::e2fsck;
use crate::memory::{CAPACITY, Memory};
use support::content::Content;
use support::model::{Build, Model, Node};
use support::operations::{Operation, apply};
use support::readback::{assert_read_back, assert_read_by_crate, assert_read_by_ext4_view, is_readable_by_ext4_view};

/// Largest number of operations.
const MAX_OPERATIONS: usize = 60;
/// Limit on the content of all files together, in bytes.
const MAX_CONTENT_LEN: u64 = 8 << 20;
/// One MiB in bytes.
const MIB: u64 = 1 << 20;

/// Options and operations for an image.
#[derive(Debug)]
pub struct Input {
    options: Options,
    operations: Vec<Operation>,
    /// Number of calls after which the output fails.
    calls: Option<u32>,
}

/// Makes the image, and reads it back.
pub fn run(input: Input) {
    let Input {
        options,
        operations,
        calls,
    } = input;
    let inline_data = options.inline_data;
    let output = calls.map_or_else(Memory::default, Memory::failing_after);
    match make(output, options.clone(), &operations) {
        Ok((image, _, model)) => {
            assert_read_back(&image, &model);
            if !inline_data {
                assert_read_by_crate(&image, &model);
                if is_readable_by_ext4_view(&model) && !has_value_inodes(&image) {
                    assert_read_by_ext4_view(&image, &model);
                }
            }
        }
        Err(FormatError::NoSpace { needed, available }) => {
            assert!(needed > available, "{needed} is not more than {available}");
            if matches!(options.size, Size::Fixed(_)) && needed <= CAPACITY {
                let fixed = |size| Options {
                    size: Size::Fixed(size),
                    ..options.clone()
                };
                let (image, summary, model) =
                    make(Memory::default(), fixed(needed), &operations).expect("the needed size suffices");
                assert_eq!(summary.size_bytes, needed);
                assert_read_back(&image, &model);
                if needed > MIB {
                    make(Memory::default(), fixed(needed - MIB), &operations)
                        .expect_err("one MiB less does not suffice");
                }
            }
        }
        Err(_) => {}
    }
}

fn make(output: Memory, options: Options, operations: &[Operation]) -> Result<(Vec<u8>, Summary, Model), FormatError> {
    let mut build = Build::new(output, options)?;
    for operation in operations {
        apply(&mut build, operation.clone())?;
    }
    let (output, summary, model) = build.finish()?;
    assert_eq!(output.bytes.len() as u64, summary.size_bytes, "the size of the image");
    e2fsck::assert_clean(&output.bytes);
    Ok((output.bytes, summary, model))
}

/// Returns whether the image has the feature `ea_inode`, which ext4-view does not support.
fn has_value_inodes(image: &[u8]) -> bool {
    image[1024 + 0x61] & 0x04 != 0
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let options = options(bytes)?;
        let calls = if bytes.ratio(1, 16)? {
            Some(bytes.int_in_range(0..=200)?)
        } else {
            None
        };
        let mut operations = Vec::new();
        let mut room = MAX_CONTENT_LEN;
        while operations.len() < MAX_OPERATIONS && !bytes.is_empty() {
            push_operation(bytes, &mut room, &mut operations)?;
        }
        Ok(Self {
            options,
            operations,
            calls,
        })
    }
}

/// Returns a number from a range that is quick to build with, and rarely any number: others may
/// take a second.
fn number(bytes: &mut Unstructured<'_>, sensible: std::ops::RangeInclusive<u64>) -> arbitrary::Result<u64> {
    if bytes.ratio(1, 64)? {
        bytes.arbitrary()
    } else {
        bytes.int_in_range(sensible)
    }
}

fn options(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Options> {
    let block_size = *bytes.choose(&[
        BlockSize::Kib1,
        BlockSize::Kib1,
        BlockSize::Kib2,
        BlockSize::Kib4,
        BlockSize::Kib4,
        BlockSize::Kib64,
    ])?;
    let size = if bytes.arbitrary()? {
        Size::Fixed(number(bytes, 0..=CAPACITY / 8)?)
    } else {
        Size::Fit(Fit {
            free: number(bytes, 0..=4 * MIB)?,
            free_percent: u32::try_from(number(bytes, 0..=100)? & 0xFFFF_FFFF).expect("32 bits"),
            min: number(bytes, 0..=2 * MIB)?,
            max: number(bytes, CAPACITY / 4..=CAPACITY)?,
        })
    };
    let journal = match bytes.int_in_range(0..=3)? {
        0 => Journal::Auto,
        1 => Journal::Bytes(number(bytes, 0..=8 * MIB)?),
        _ => Journal::None,
    };
    let count = u32::try_from(number(bytes, 0..=2_000)? & 0xFFFF_FFFF).expect("32 bits");
    let inodes = if bytes.arbitrary()? {
        Inodes::AtLeast(count)
    } else {
        Inodes::PerBytes(count.saturating_mul(16))
    };
    let uuid: [u8; 16] = bytes.arbitrary()?;
    Ok(Options {
        hash_seed: bytes.arbitrary()?,
        label: Label::new(<&str>::arbitrary(bytes)?).unwrap_or_default(),
        block_size,
        size,
        inodes,
        journal,
        growth: bytes.arbitrary()?,
        large_xattrs: bytes.arbitrary()?,
        inline_data: bytes.ratio(1, 4)?,
        reserved_percent: bytes.int_in_range(0..=50)?,
        created: bytes.arbitrary()?,
        ..Options::new(uuid)
    })
}

/// Adds one operation, or many of one kind.
fn push_operation(
    bytes: &mut Unstructured<'_>,
    room: &mut u64,
    operations: &mut Vec<Operation>,
) -> arbitrary::Result<()> {
    let at = |bytes: &mut Unstructured<'_>| bytes.arbitrary::<u8>().map(usize::from);
    operations.push(match bytes.int_in_range(0..=15)? {
        0..=6 => Operation::Put(at(bytes)?, name(bytes)?, metadata(bytes)?, node(bytes, room)?),
        7 => Operation::Link(at(bytes)?, at(bytes)?, name(bytes)?),
        8 => Operation::Rename(at(bytes)?, at(bytes)?, name(bytes)?),
        9 => Operation::SetMetadata(at(bytes)?, metadata(bytes)?),
        10 | 11 => Operation::Remove(at(bytes)?),
        12 => Operation::WriteUnused(content(bytes, room)?, bytes.arbitrary()?),
        13 => Operation::WriteTooLittle(content(bytes, room)?),
        14 => Operation::CallInvalidly(at(bytes)?, at(bytes)?),
        // Many files in one directory, so that it gets an index.
        _ => {
            let directory = at(bytes)?;
            let len = *bytes.choose(&[8, 60, MAX_NAME_LEN])?;
            let count = bytes.int_in_range(0..=150)?;
            for index in 0..count {
                let name = format!("{index:0len$}").into_bytes();
                operations.push(Operation::Put(directory, name, Metadata::default(), Node::Fifo));
            }
            return Ok(());
        }
    });
    Ok(())
}

/// Few short names, so that they collide, and some long ones, so that directories take several
/// blocks.
fn name(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    if bytes.ratio(2, 3)? {
        return Ok(vec![bytes.int_in_range(b'a'..=b'e')?]);
    }
    let mut name: Vec<u8> = bytes.arbitrary()?;
    name.truncate(MAX_NAME_LEN);
    for byte in &mut name {
        if matches!(byte, 0 | b'/') {
            *byte = b'_';
        }
    }
    if matches!(&name[..], b"" | b"." | b"..") {
        name = b"lost+found".to_vec();
    }
    Ok(name)
}

fn metadata(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Metadata> {
    let mut metadata = Metadata {
        mode: bytes.int_in_range(0..=0o7777)?,
        ..Metadata::default()
    };
    if bytes.arbitrary()? {
        metadata.uid = bytes.arbitrary()?;
        metadata.gid = bytes.arbitrary()?;
        for time in [&mut metadata.accessed, &mut metadata.modified, &mut metadata.changed] {
            *time = Timestamp::saturating(bytes.arbitrary()?, bytes.arbitrary()?);
        }
    }
    if bytes.ratio(1, 3)? {
        metadata.xattrs = xattrs(bytes)?;
    }
    Ok(metadata)
}

fn xattrs(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Xattrs> {
    let mut xattrs = Xattrs::default();
    for _ in 0..bytes.int_in_range(1..=6)? {
        let namespace = *bytes.choose(&["user.", "trusted.", "security.", "system.", ""])?;
        let rest: &[u8] = bytes.arbitrary()?;
        let name = [namespace.as_bytes(), rest].concat();
        let value = if bytes.ratio(1, 4)? {
            vec![bytes.arbitrary()?; bytes.int_in_range(0..=70_000)?]
        } else {
            bytes.arbitrary()?
        };
        // Invalid names are refused. The others are kept.
        let _ = xattrs.set(&name, &value);
    }
    Ok(xattrs)
}

fn node(bytes: &mut Unstructured<'_>, room: &mut u64) -> arbitrary::Result<Node> {
    Ok(match bytes.int_in_range(0..=11)? {
        0..=3 => Node::Directory,
        4..=7 => Node::File(content(bytes, room)?),
        8 => {
            let len = bytes.int_in_range(1..=300)?;
            let mut target = vec![bytes.arbitrary::<u8>()?.max(1); len];
            // ext4-view does not read a target that contains a longer name.
            if let Some(byte) = target.get_mut(200) {
                *byte = b'/';
            }
            Node::Symlink(target)
        }
        9 => Node::CharDevice(bytes.int_in_range(0..=4095)?, bytes.int_in_range(0..=0xF_FFFF)?),
        10 => Node::BlockDevice(bytes.int_in_range(0..=4095)?, bytes.int_in_range(0..=0xF_FFFF)?),
        _ => Node::Socket,
    })
}

/// Returns content within the room that is left.
fn content(bytes: &mut Unstructured<'_>, room: &mut u64) -> arbitrary::Result<Content> {
    let seed = bytes.arbitrary()?;
    let content = match bytes.int_in_range(0..=3)? {
        0 => Content::dense(seed, bytes.int_in_range(0..=200)?),
        1 => Content::dense(seed, bytes.int_in_range(0..=60_000)?),
        2 => {
            let block_size = *bytes.choose(&[1024, 2048, 4096])?;
            Content::in_extents(seed, bytes.int_in_range(0..=400)?, block_size)
        }
        _ => {
            let mut end = 0;
            let mut ranges = Vec::new();
            for _ in 0..bytes.int_in_range(0..=8)? {
                let start = end + u64::from(bytes.arbitrary::<u16>()?);
                end = start + u64::from(bytes.arbitrary::<u16>()?);
                ranges.push(start..end);
            }
            Content::sparse(seed, end + u64::from(bytes.arbitrary::<u16>()?), ranges)
        }
    };
    match room.checked_sub(content.len) {
        Some(rest) => {
            *room = rest;
            Ok(content)
        }
        None => Ok(Content::dense(seed, 1)),
    }
}
