//! Corrects the image that mke2fs made, with commands for debugfs.
//!
//! Commands refer to inodes by number. A name from the image appears only in a command that adds a
//! directory entry, or sets or removes an attribute. It is quoted, and any byte may occur in
//! quotes, where a quote is doubled. A script has one command a line, so a command whose name
//! contains a line break is run on its own, with `-R`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;

use ext4::read::Inode;
use ext4::{FileType, Ino, Reader, Xattrs};

use super::IMAGE_NAME;
use super::error::Mke2fsError;
use super::match_inodes::{ImageReader, InodeMatches, MatchedInode, MissingName, match_inodes};
use super::tools::Tools;

/// Length in bytes of the longest directory entry, with the checksum at the end of the block.
const ENTRY_LEN: u64 = 8 + 256 + 12;

/// Gives the image that mke2fs made the special files, names and metadata of the native image.
///
/// Returns what debugfs printed on standard error. debugfs exits with 0 even if a command fails, so
/// the caller must compare both images.
pub(super) fn correct_image(tools: &Tools<'_>, native: &ImageReader<'_>, image: &File) -> Result<String, Mke2fsError> {
    let mut made = Reader::open(image)?;
    let InodeMatches { mut inodes, missing } = match_inodes(native, &made)?;
    let mut script = Script::default();
    let staging_dir = staging_dir(&made)?;
    let new_inodes = name_new_inodes(&inodes, &missing, staging_dir, &made)?;
    script.change_directory(staging_dir);
    for name in new_inodes.values().map(|(name, _)| name) {
        script.add_command(format!("mknod {name} p"));
    }
    let mut stderr = Vec::new();
    if !new_inodes.is_empty() {
        stderr.push(script.run(tools)?);
    }

    made = Reader::open(image)?;
    let mut script = Script::default();
    script.change_directory(staging_dir);
    let directory = made.inode(staging_dir)?;
    let found: BTreeMap<_, _> = made
        .read_dir(&directory)?
        .into_iter()
        .map(|entry| (entry.name, entry.ino))
        .collect();
    for (ino, (name, missing)) in new_inodes {
        let Some(&made_ino) = found.get(name.as_bytes()) else {
            let error = Mke2fsError::different(&missing.path, "it could not be created");
            return Err(error.with_stderr(&stderr.join("; ")));
        };
        script.add_command(format!("unlink {name}"));
        let path = missing.path.clone();
        inodes.insert(ino, MatchedInode { ino: made_ino, path });
    }
    let mut values = ValueFiles::default();
    for (&ino, matched) in &inodes {
        let inode = native.inode(ino)?;
        set_inode_fields(&mut script, &inode, matched.ino);
        let present = made.inode(matched.ino).and_then(|inode| made.xattrs(&inode))?;
        let wanted = native.xattrs(&inode)?;
        set_xattrs(&mut script, &mut values, tools, matched.ino, &present, &wanted)?;
    }
    // After the modes: debugfs copies the file type of the inode to the directory entry.
    script.link_missing_names(&inodes, &missing);
    stderr.push(script.run(tools)?);
    let linked = match_inodes(native, &made).map_err(|error| error.with_stderr(&stderr.join("; ")));
    let missing = linked?.missing;
    stderr.push(expand_directories(tools, &inodes, &missing, made.info().block_size)?);
    stderr.retain(|line| !line.is_empty());
    Ok(stderr.join("; "))
}

/// Expands full directories, which debugfs does not do by itself, and links the names that did not
/// fit.
fn expand_directories(
    tools: &Tools<'_>,
    inodes: &BTreeMap<Ino, MatchedInode>,
    missing: &[MissingName],
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
            script.add_command(format!("expand_dir <{}>", directory.get()));
        }
    }
    script.link_missing_names(inodes, missing);
    if missing.is_empty() {
        return Ok(String::new());
    }
    script.run(tools)
}

/// Returns the directory where new inodes get a temporary name: `lost+found`, which has space, or
/// else the root.
fn staging_dir(made: &ImageReader<'_>) -> Result<Ino, Mke2fsError> {
    let root = made.root()?;
    let entries = made.read_dir(&root)?;
    let found = entries.iter().find(|entry| *entry.name == *b"lost+found");
    Ok(match found {
        Some(entry) if made.inode(entry.ino)?.file_type == FileType::Directory => entry.ino,
        _ => root.ino,
    })
}

/// Returns the inodes that the image lacks, by number in the native image, each with a temporary
/// name that is free in the staging directory.
fn name_new_inodes<'a>(
    inodes: &BTreeMap<Ino, MatchedInode>,
    missing: &'a [MissingName],
    staging_dir: Ino,
    made: &ImageReader<'_>,
) -> Result<BTreeMap<Ino, (String, &'a MissingName)>, Mke2fsError> {
    let directory = made.inode(staging_dir)?;
    let present = made.read_dir(&directory)?.into_iter().map(|entry| entry.name);
    let future = missing.iter().filter(|missing| missing.directory == staging_dir);
    let taken: BTreeSet<_> = present.chain(future.map(|missing| missing.name.clone())).collect();
    let mut names = (0..)
        .map(|number| format!("microagent-{number}"))
        .filter(|name| !taken.contains(name.as_bytes()));
    let mut new_inodes = BTreeMap::new();
    for missing in missing {
        let inode = &missing.native;
        if inodes.contains_key(&inode.ino) || new_inodes.contains_key(&inode.ino) {
            continue;
        }
        if matches!(
            inode.file_type,
            FileType::Directory | FileType::RegularFile | FileType::Symlink
        ) {
            return Err(Mke2fsError::different(&missing.path, "it is missing"));
        }
        let name = names.next().expect("there are more numbers than names");
        new_inodes.insert(inode.ino, (name, missing));
    }
    Ok(new_inodes)
}

/// Adds commands that set mode, owner, link count, device numbers and times of an inode.
fn set_inode_fields(script: &mut Script, inode: &Inode, made: Ino) {
    let type_bits = inode.file_type.mode_bits();
    script.set_field(made, "mode", u32::from(type_bits | inode.mode));
    script.set_field(made, "uid", inode.uid);
    script.set_field(made, "gid", inode.gid);
    if inode.file_type != FileType::Directory {
        script.set_field(made, "links_count", u32::from(inode.links));
    }
    if let Some(device) = inode.device {
        let [old, new] = device.encode();
        script.set_field(made, "block[0]", old);
        script.set_field(made, "block[1]", new);
    }
    for (field, time) in [
        ("atime", inode.accessed),
        ("mtime", inode.modified),
        ("ctime", inode.changed),
        ("crtime", inode.modified),
    ] {
        let (seconds, extra) = time.encode();
        script.add_command(format!("sif <{}> {field} @{seconds}", made.get()));
        script.set_field(made, &format!("{field}_extra"), extra);
    }
}

/// Files with values of extended attributes, one for each distinct value.
#[derive(Default)]
struct ValueFiles(BTreeMap<Box<[u8]>, String>);

impl ValueFiles {
    /// Returns the name of the file with a value, which is written the first time.
    fn ensure_file(&mut self, tools: &Tools<'_>, value: &[u8]) -> Result<String, Mke2fsError> {
        if let Some(name) = self.0.get(value) {
            return Ok(name.clone());
        }
        let name = format!("value-{}", self.0.len());
        tools.write(&name, value)?;
        self.0.insert(value.into(), name.clone());
        Ok(name)
    }
}

/// Adds commands that remove the attributes of the exported file that the image lacks, and set
/// those of the image.
fn set_xattrs(
    script: &mut Script,
    values: &mut ValueFiles,
    tools: &Tools<'_>,
    ino: Ino,
    present: &Xattrs,
    wanted: &Xattrs,
) -> Result<(), Mke2fsError> {
    for (name, _) in present.iter().filter(|(name, _)| wanted.get(name).is_none()) {
        script.add_command([format!("ea_rm <{}> ", ino.get()).as_bytes(), &quoted(name)].concat());
    }
    for (name, value) in wanted.iter().filter(|(name, value)| present.get(name) != Some(value)) {
        let file = values.ensure_file(tools, value)?;
        script.add_command([format!("ea_set -f {file} <{}> ", ino.get()).as_bytes(), &quoted(name)].concat());
    }
    Ok(())
}

/// Quotes any bytes as one argument for debugfs, where a quote is two quotes (e2fsprogs,
/// `lib/ss/parse.c`).
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
    /// Commands with a line break.
    multiline: Vec<Vec<u8>>,
}

impl Script {
    fn add_command(&mut self, command: impl Into<Vec<u8>>) {
        let command = command.into();
        if command.iter().any(|byte| b"\r\n".contains(byte)) {
            self.multiline.push(command);
        } else {
            self.lines.extend(command);
            self.lines.push(b'\n');
        }
    }

    fn change_directory(&mut self, directory: Ino) {
        self.add_command(format!("cd <{}>", directory.get()));
    }

    fn set_field(&mut self, ino: Ino, field: &str, value: u32) {
        let mut command = String::new();
        write!(command, "sif <{}> {field} {value}", ino.get()).expect("memory takes it");
        self.add_command(command);
    }

    /// Adds commands that link the missing names. `link` does not change the link counts of inodes,
    /// which [`set_inode_fields`] sets.
    fn link_missing_names(&mut self, inodes: &BTreeMap<Ino, MatchedInode>, missing: &[MissingName]) {
        for MissingName {
            directory,
            name,
            native,
            ..
        } in missing
        {
            if let Some(matched) = inodes.get(&native.ino) {
                let path = [format!("<{}>/", directory.get()).as_bytes(), name].concat();
                self.add_command([format!("link <{}> ", matched.ino.get()).as_bytes(), &quoted(&path)].concat());
            }
        }
    }

    fn run(self, tools: &Tools<'_>) -> Result<String, Mke2fsError> {
        const SCRIPT: &str = "script";
        tools.write(SCRIPT, &self.lines)?;
        let mut command = tools.command(&tools.programs.debugfs);
        command.args(["-w", "-f", SCRIPT, IMAGE_NAME]);
        let mut stderr = vec![tools.run(&mut command, false)?];
        for other in self.multiline {
            let mut command = tools.command(&tools.programs.debugfs);
            command.args(["-w", "-R"]).arg(os_str(&other)).arg(IMAGE_NAME);
            stderr.push(tools.run(&mut command, false)?);
        }
        stderr.retain(|line| !line.is_empty());
        Ok(stderr.join("; "))
    }
}

#[cfg(unix)]
fn os_str(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// Never called: [`Programs::find`](super::Programs::find) fails on systems whose arguments are not
/// bytes.
#[cfg(not(unix))]
fn os_str(_bytes: &[u8]) -> &OsStr {
    OsStr::new("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quoted(b"two words \"x\"\n"), b"\"two words \"\"x\"\"\n\"");
    }
}
