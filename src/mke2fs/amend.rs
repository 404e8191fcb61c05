//! What debugfs puts right in the image that mke2fs made.
//!
//! Commands name inodes by number. Where they have to name anything else, it stands in quotes, which end at no byte but a quote;
//! and as the lines of a script end at a line break, a command with one gets a run of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;

use ext4::read::Inode;
use ext4::{FileType, Ino, Reader, Xattrs};

use super::IMAGE;
use super::error::Mke2fsError;
use super::pair::{Image, Missing, Paired, Pairing, pair};
use super::program::Workshop;

/// Longest entry of a directory in bytes, and its checksum.
const ENTRY_LEN: u64 = 8 + 256 + 12;

/// Makes the image that mke2fs made like the native one, and returns what debugfs said, which fails at nothing.
pub(super) fn amend(workshop: &Workshop<'_>, native: &Image<'_>, image: &File) -> Result<String, Mke2fsError> {
    let mut made = Reader::open(image)?;
    let Pairing { mut inodes, missing } = pair(native, &made)?;
    let mut script = Script::default();
    let nursery = nursery(&made)?;
    let newborn = plan(&inodes, &missing, nursery, &made)?;
    script.cd(nursery);
    for name in newborn.values().map(|(name, _)| name) {
        script.push(format!("mknod {name} p"));
    }
    let mut said = Vec::new();
    if !newborn.is_empty() {
        said.push(script.run(workshop)?);
    }

    made = Reader::open(image)?;
    let mut script = Script::default();
    script.cd(nursery);
    let directory = made.inode(nursery)?;
    let found: BTreeMap<_, _> = made
        .read_dir(&directory)?
        .into_iter()
        .map(|entry| (entry.name, entry.ino))
        .collect();
    for (ino, (name, missing)) in newborn {
        let Some(&made_ino) = found.get(name.as_bytes()) else {
            let error = Mke2fsError::different(&missing.path, "it could not be made");
            return Err(error.explained_by(&said.join("; ")));
        };
        script.push(format!("unlink {name}"));
        let path = missing.path.clone();
        inodes.insert(ino, Paired { ino: made_ino, path });
    }
    let mut values = Values::default();
    for (&ino, paired) in &inodes {
        let inode = native.inode(ino)?;
        describe(&mut script, &inode, paired.ino);
        let present = made.inode(paired.ino).and_then(|inode| made.xattrs(&inode))?;
        let wanted = native.xattrs(&inode)?;
        set_xattrs(&mut script, &mut values, workshop, paired.ino, &present, &wanted)?;
    }
    // Only now, as a name says of what kind it is, and debugfs looks that up.
    script.link_all(&inodes, &missing);
    said.push(script.run(workshop)?);
    let linked = pair(native, &made).map_err(|error| error.explained_by(&said.join("; ")));
    let missing = linked?.missing;
    said.push(make_room(workshop, &inodes, &missing, made.info().block_size)?);
    said.retain(|said| !said.is_empty());
    Ok(said.join("; "))
}

/// Gives the names that found no room in their directories some, as debugfs does not by itself.
fn make_room(
    workshop: &Workshop<'_>,
    inodes: &BTreeMap<Ino, Paired>,
    missing: &[Missing],
    block_size: u64,
) -> Result<String, Mke2fsError> {
    let mut lengths: BTreeMap<Ino, u64> = BTreeMap::new();
    for missing in missing {
        *lengths.entry(missing.directory).or_default() += ENTRY_LEN;
    }
    let mut script = Script::default();
    for (directory, len) in lengths {
        // The end of each block may be too short for an entry.
        for _ in 0..=len / (block_size - ENTRY_LEN) {
            script.push(format!("expand_dir <{}>", directory.get()));
        }
    }
    script.link_all(inodes, missing);
    if missing.is_empty() {
        return Ok(String::new());
    }
    script.run(workshop)
}

/// Where inodes get a name for a while: `lost+found`, which has room, or else the root.
fn nursery(made: &Image<'_>) -> Result<Ino, Mke2fsError> {
    let root = made.root()?;
    let entries = made.read_dir(&root)?;
    let found = entries.iter().find(|entry| *entry.name == *b"lost+found");
    Ok(match found {
        Some(entry) if made.inode(entry.ino)?.file_type == FileType::Directory => entry.ino,
        _ => root.ino,
    })
}

/// The inodes that the other image lacks, each with a name that no entry has.
fn plan<'a>(
    inodes: &BTreeMap<Ino, Paired>,
    missing: &'a [Missing],
    nursery: Ino,
    made: &Image<'_>,
) -> Result<BTreeMap<Ino, (String, &'a Missing)>, Mke2fsError> {
    let directory = made.inode(nursery)?;
    let present = made.read_dir(&directory)?.into_iter().map(|entry| entry.name);
    let to_be = missing.iter().filter(|missing| missing.directory == nursery);
    let taken: BTreeSet<_> = present.chain(to_be.map(|missing| missing.name.clone())).collect();
    let mut names = (0..)
        .map(|number| format!("microagent-{number}"))
        .filter(|name| !taken.contains(name.as_bytes()));
    let mut newborn = BTreeMap::new();
    for missing in missing {
        let inode = &missing.native;
        if inodes.contains_key(&inode.ino) || newborn.contains_key(&inode.ino) {
            continue;
        }
        if matches!(
            inode.file_type,
            FileType::Directory | FileType::RegularFile | FileType::Symlink
        ) {
            return Err(Mke2fsError::different(&missing.path, "it is missing"));
        }
        let name = names.next().expect("there are more numbers than names");
        newborn.insert(inode.ino, (name, missing));
    }
    Ok(newborn)
}

/// Sets all that an inode says of itself.
fn describe(script: &mut Script, inode: &Inode, made: Ino) {
    let type_bits = inode.file_type.mode_bits();
    script.set(made, "mode", u32::from(type_bits | inode.mode));
    script.set(made, "uid", inode.uid);
    script.set(made, "gid", inode.gid);
    if inode.file_type != FileType::Directory {
        script.set(made, "links_count", u32::from(inode.links));
    }
    if let Some(device) = inode.device {
        let [old, new] = device.encode();
        script.set(made, "block[0]", old);
        script.set(made, "block[1]", new);
    }
    for (field, time) in [
        ("atime", inode.accessed),
        ("mtime", inode.modified),
        ("ctime", inode.changed),
        ("crtime", inode.modified),
    ] {
        let (seconds, extra) = time.encode();
        script.push(format!("sif <{}> {field} @{seconds}", made.get()));
        script.set(made, &format!("{field}_extra"), extra);
    }
}

/// Values of attributes as files, each content once.
#[derive(Default)]
struct Values(BTreeMap<Box<[u8]>, String>);

impl Values {
    fn file(&mut self, workshop: &Workshop<'_>, value: &[u8]) -> Result<String, Mke2fsError> {
        if let Some(name) = self.0.get(value) {
            return Ok(name.clone());
        }
        let name = format!("value-{}", self.0.len());
        workshop.write(&name, value)?;
        self.0.insert(value.into(), name.clone());
        Ok(name)
    }
}

/// Takes away what the files of the host brought along, and sets what the image has.
fn set_xattrs(
    script: &mut Script,
    values: &mut Values,
    workshop: &Workshop<'_>,
    ino: Ino,
    present: &Xattrs,
    wanted: &Xattrs,
) -> Result<(), Mke2fsError> {
    for (name, _) in present.iter().filter(|(name, _)| wanted.get(name).is_none()) {
        script.push([format!("ea_rm <{}> ", ino.get()).as_bytes(), &quoted(name)].concat());
    }
    for (name, value) in wanted.iter().filter(|(name, value)| present.get(name) != Some(value)) {
        let file = values.file(workshop, value)?;
        script.push([format!("ea_set -f {file} <{}> ", ino.get()).as_bytes(), &quoted(name)].concat());
    }
    Ok(())
}

/// A word for debugfs, whatever it holds: a quote is two quotes (e2fsprogs, `lib/ss/parse.c`).
fn quoted(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &byte in word {
        if byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}

/// Commands for debugfs.
#[derive(Default)]
struct Script {
    lines: Vec<u8>,
    /// Those with a line break.
    others: Vec<Vec<u8>>,
}

impl Script {
    fn push(&mut self, command: impl Into<Vec<u8>>) {
        let command = command.into();
        if command.iter().any(|byte| b"\r\n".contains(byte)) {
            self.others.push(command);
        } else {
            self.lines.extend(command);
            self.lines.push(b'\n');
        }
    }

    fn cd(&mut self, directory: Ino) {
        self.push(format!("cd <{}>", directory.get()));
    }

    fn set(&mut self, ino: Ino, field: &str, value: u32) {
        let mut command = String::new();
        write!(command, "sif <{}> {field} {value}", ino.get()).expect("memory takes it");
        self.push(command);
    }

    /// Gives inodes the names that they lack, which they do not count.
    fn link_all(&mut self, inodes: &BTreeMap<Ino, Paired>, missing: &[Missing]) {
        for Missing {
            directory,
            name,
            native,
            ..
        } in missing
        {
            if let Some(paired) = inodes.get(&native.ino) {
                let path = [format!("<{}>/", directory.get()).as_bytes(), name].concat();
                self.push([format!("link <{}> ", paired.ino.get()).as_bytes(), &quoted(&path)].concat());
            }
        }
    }

    fn run(self, workshop: &Workshop<'_>) -> Result<String, Mke2fsError> {
        const SCRIPT: &str = "script";
        workshop.write(SCRIPT, &self.lines)?;
        let mut command = workshop.command(&workshop.programs.debugfs);
        command.args(["-w", "-f", SCRIPT, IMAGE]);
        let mut said = vec![workshop.succeed(&mut command, false)?];
        for other in self.others {
            let mut command = workshop.command(&workshop.programs.debugfs);
            command.args(["-w", "-R"]).arg(argument(&other)).arg(IMAGE);
            said.push(workshop.succeed(&mut command, false)?);
        }
        said.retain(|said| !said.is_empty());
        Ok(said.join("; "))
    }
}

#[cfg(unix)]
fn argument(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// Never used: nothing is built where arguments are no bytes.
#[cfg(not(unix))]
fn argument(_bytes: &[u8]) -> &OsStr {
    OsStr::new("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_in_quotes() {
        assert_eq!(quoted(b"two words \"x\"\n"), b"\"two words \"\"x\"\"\n\"");
    }
}
