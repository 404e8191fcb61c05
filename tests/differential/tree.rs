//! Comparison of two directory trees, entry by entry.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Time in seconds since 1970. Later times are those of the unpacking: all entries are older.
const TODAY: i64 = 1_500_000_000;

/// The program that made the tree to compare with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    Umoci,
    /// containerd with a plain directory.
    Containerd,
    /// containerd with a directory for each layer, which the kernel merges.
    Overlayfs,
}

impl Reference {
    /// Returns whether the reference may fail with this message while this project succeeds.
    pub(crate) fn may_fail(self, message: &str) -> bool {
        let reasons: &[&str] = match self {
            Self::Umoci => &["not a directory"],
            Self::Overlayfs => &[
                "not a directory",
                // A whiteout of a directory in which the layer has another whiteout.
                "file exists",
                // A link to a file that the layer made and replaced, or that a lower layer has.
                ": link /",
            ],
            Self::Containerd => &[
                "not a directory",
                "UtimesNanoAt",
                "too many levels of symbolic links",
                "too many links",
                // A link to a file that a whiteout of the same layer hides.
                ": link /",
            ],
        };
        reasons.iter().any(|reason| message.contains(reason))
    }
}

/// The file at a path.
struct File {
    kind: String,
    metadata: String,
    time: i64,
}

/// Compares our tree with that of a reference.
pub(crate) fn compare(reference: &Path, ours: &Path, maker: Reference) -> Result<(), String> {
    let mut ours = read(ours, maker);
    ours.remove(Path::new("lost+found"));
    for (path, reference) in read(reference, maker) {
        let path_shown = path.display();
        let Some(our) = ours.remove(&path) else {
            if maker != Reference::Umoci && reference.has_no_entry() {
                continue;
            }
            return Err(format!("{path_shown}, a {}, is missing", reference.kind));
        };
        if maker == Reference::Overlayfs && our.kind != "directory" && reference.has_no_entry() {
            continue;
        }
        if our.kind != reference.kind {
            return Err(format!("{path_shown} is a {}, not a {}", our.kind, reference.kind));
        }
        let is_directory = reference.kind == "directory";
        let is_implied = is_directory && our.time == 0;
        if our.metadata != reference.metadata && !is_implied {
            return Err(format!("{path_shown}: {}, not {}", our.metadata, reference.metadata));
        }
        let has_time = match maker {
            Reference::Umoci => !is_directory || reference.time <= TODAY,
            Reference::Containerd | Reference::Overlayfs => !is_directory,
        };
        if our.time != reference.time && !is_implied && has_time {
            return Err(format!("{path_shown}: time {}, not {}", our.time, reference.time));
        }
    }
    match ours.first_key_value() {
        Some((path, file)) => Err(format!("{}, a {}, is unexpected", path.display(), file.kind)),
        None => Ok(()),
    }
}

impl File {
    /// Returns whether this is a directory without an entry, even if it has the time of another.
    fn has_no_entry(&self) -> bool {
        self.kind == "directory" && (self.time > TODAY || self.metadata.starts_with("40755 0:0 "))
    }
}

/// Reads a tree, without its root, which umoci gives the current time.
fn read(root: &Path, maker: Reference) -> BTreeMap<PathBuf, File> {
    let mut tree = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut pending = children(root, Path::new(""));
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        let file_type = metadata.file_type();
        let first = first_names.entry(metadata.ino()).or_insert_with(|| path.clone());
        // The snapshotter of containerd copies lower layers, and keeps links of regular files only.
        let may_link = file_type.is_file() || (maker == Reference::Umoci && !file_type.is_dir());
        let kind = if file_type.is_dir() {
            pending.extend(children(root, &path));
            "directory".to_owned()
        } else if may_link && first != &path {
            format!("link to {}", first.display())
        } else if file_type.is_symlink() {
            format!("symlink to {}", fs::read_link(&full).unwrap().display())
        } else if file_type.is_file() {
            let content = fs::read(&full).unwrap();
            format!("file of {} times {:?}", content.len(), content.first())
        } else {
            format!("special file {:o} {:x}", metadata.mode() & 0o170_000, metadata.rdev())
        };
        let names = if may_link { metadata.nlink() } else { 1 };
        let owner = format!("{}:{}", metadata.uid(), metadata.gid());
        let xattrs = xattrs(&full).join(" ");
        let time = metadata.mtime();
        let metadata = format!("{:o} {owner} {names} names {xattrs}", metadata.mode());
        tree.insert(path, File { kind, metadata, time });
    }
    tree
}

/// Returns the entries of a directory in descending order, because the caller reads the last first.
fn children(root: &Path, directory: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(root.join(directory)).unwrap();
    let mut paths: Vec<_> = names.map(|child| directory.join(child.unwrap().file_name())).collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    paths
}

fn xattrs(path: &Path) -> Vec<String> {
    let mut list = [0; 4096];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut xattrs: Vec<String> = names
        .map(|name| {
            let mut value = [0; 256];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            format!("{}={}", name.escape_ascii(), value[..len].escape_ascii())
        })
        .collect();
    xattrs.sort_unstable();
    xattrs
}
