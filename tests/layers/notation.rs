//! Parser and printer of the notation for layers and trees, which `tests/layers.rs` defines.

use std::collections::BTreeMap;
use std::io::Write as _;

use ext4::{Directory, Inode, InodeId, Kind, Timestamp};
use ext4_view::{Ext4, PathBuf};
use layer::RootfsBuilder;

use support::tar::Entry;
use support::tools::assert_clean_where_installed;

/// Parses the entries of a layer.
pub(crate) fn entries(layer: &str) -> Vec<Entry> {
    layer.split_whitespace().map(entry).collect()
}

fn entry(word: &str) -> Entry {
    let (what, attributes) = match word.strip_suffix(')').and_then(|word| word.rsplit_once('(')) {
        Some((what, attributes)) => (what, attributes),
        None => (word, ""),
    };
    let mut entry = if let Some((name, target)) = what.split_once("->") {
        Entry::symlink(bytes(name), bytes(target))
    } else if let Some((name, target)) = what.split_once("==") {
        Entry::hard_link(bytes(name), bytes(target))
    } else if let Some((name, content)) = what.split_once('=') {
        Entry::file(bytes(name), bytes(content))
    } else if let Some((name, numbers)) = what.split_once("!!") {
        device(b'4', name, numbers)
    } else if let Some((name, numbers)) = what.split_once('!') {
        device(b'3', name, numbers)
    } else if let Some(name) = what.strip_suffix('|') {
        Entry::new(b'6', bytes(name))
    } else if what.ends_with('/') || what == "." || what == ".." {
        Entry::directory(bytes(what))
    } else {
        // Whiteouts and files that are replaced need no content.
        Entry::file(bytes(what), "")
    };
    for attribute in attributes.split(',').filter(|attribute| !attribute.is_empty()) {
        if let Some((name, value)) = attribute.split_once('=') {
            entry = entry.pax(format!("SCHILY.xattr.{name}"), bytes(value));
        } else if let Some(time) = attribute.strip_prefix('@') {
            entry = entry.pax("mtime", time);
        } else if let Some((uid, gid)) = attribute.split_once(':') {
            (entry.uid, entry.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
        } else {
            entry.mode = u32::from_str_radix(attribute, 8).unwrap();
        }
    }
    entry
}

fn device(flag: u8, name: &str, numbers: &str) -> Entry {
    let (major, minor) = numbers.split_once(':').unwrap();
    Entry {
        device: (major.parse().unwrap(), minor.parse().unwrap()),
        ..Entry::new(flag, bytes(name))
    }
}

/// Parses text in which `\xNN` is a byte.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// Formats bytes as text, with `\xNN` for blanks, ASCII control characters below 0x20 and
/// invalid UTF-8.
fn text(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .flat_map(|chunk| {
            let escaped = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            let valid = chunk.valid().chars().map(|char| match char {
                ' ' | '\n' | '\0'..='\x1f' => format!("\\x{:02x}", u32::from(char)),
                char => char.to_string(),
            });
            valid.chain(escaped).collect::<Vec<_>>()
        })
        .collect()
}

/// Writes the image, and returns its tree, sorted. Metadata are those of the tree before it is
/// written; contents are those that another reader finds in the image.
pub(crate) fn show(mut rootfs: RootfsBuilder<Vec<u8>>) -> Vec<String> {
    let mut paths = Vec::new();
    let mut pending = vec![(InodeId::ROOT, Vec::new())];
    while let Some((id, path)) = pending.pop() {
        let directory = rootfs.tree.inode(id).directory();
        for (name, child) in directory.into_iter().flat_map(Directory::entries) {
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            pending.push((child, [&path, separator, name].concat()));
        }
        paths.push((path, id));
    }
    paths.sort_unstable();
    let descriptions: Vec<_> = paths.iter().map(|&(_, id)| describe(rootfs.tree.inode(id))).collect();
    for &(_, id) in &paths {
        // The other reader treats times before 1970 as damage.
        let metadata = rootfs.tree.metadata_mut(id);
        (metadata.accessed, metadata.modified, metadata.changed) = Default::default();
    }
    let (image, _) = rootfs.formatter.finish(rootfs.tree).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&image).unwrap();
    assert_clean_where_installed(file.path(), "an image of layers");
    let image = Ext4::load(Box::new(image)).unwrap();

    let mut first_names = BTreeMap::new();
    let mut words = Vec::new();
    for ((path, id), (sign, attributes)) in paths.iter().zip(descriptions) {
        let first = *first_names.entry(*id).or_insert(path);
        if first != path {
            words.push(format!("{}=={}", text(path), text(first)));
        } else if sign == "=" {
            let content = image
                .read(&PathBuf::try_from([b"/", &path[..]].concat()).unwrap())
                .unwrap();
            words.push(format!("{}={}{attributes}", text(path), text(&content)));
        } else if !path.is_empty() {
            words.push(format!("{}{sign}{attributes}", text(path)));
        } else if attributes != "(@0)" {
            words.push(format!("./{attributes}"));
        }
    }
    words.sort_unstable();
    words
}

/// Returns the sign of the type of an inode, with target or device numbers, and its metadata in
/// parentheses, except for defaults. The default time is 1 s.
fn describe(inode: &Inode) -> (String, String) {
    let (sign, mode) = match inode.kind() {
        Kind::Directory(_) => ("/".to_owned(), 0o755),
        Kind::File(_) => ("=".to_owned(), 0o644),
        Kind::Symlink(target) => (format!("->{}", text(target)), 0o777),
        Kind::CharDevice(device) => (format!("!{}:{}", device.major, device.minor), 0o644),
        Kind::BlockDevice(device) => (format!("!!{}:{}", device.major, device.minor), 0o644),
        Kind::Fifo => ("|".to_owned(), 0o644),
        Kind::Socket => panic!("tars have no sockets"),
    };
    let metadata = &inode.metadata;
    let mut attributes = Vec::new();
    if metadata.mode != mode {
        attributes.push(format!("{:o}", metadata.mode));
    }
    if (metadata.uid, metadata.gid) != (0, 0) {
        attributes.push(format!("{}:{}", metadata.uid, metadata.gid));
    }
    if metadata.modified != Timestamp::saturating(1, 0) {
        attributes.push(format!("@{}", time(metadata.modified)));
    }
    if (metadata.accessed, metadata.changed) != (metadata.modified, metadata.modified) {
        attributes.push(format!("a@{}", time(metadata.accessed)));
        attributes.push(format!("c@{}", time(metadata.changed)));
    }
    attributes.extend(
        metadata
            .xattrs
            .iter()
            .map(|(name, value)| format!("{}={}", text(name), text(value))),
    );
    if attributes.is_empty() {
        (sign, String::new())
    } else {
        (sign, format!("({})", attributes.join(",")))
    }
}

/// Formats a time as seconds, rounded down, then `.` and nine digits of nanoseconds unless these
/// are zero.
fn time(time: Timestamp) -> String {
    match time.nanoseconds() {
        0 => time.seconds().to_string(),
        nanoseconds => format!("{}.{nanoseconds:09}", time.seconds()),
    }
}
