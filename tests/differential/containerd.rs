//! containerd as a reference: a daemon of the test that unpacks images into plain directories
//! (snapshotter `native`), or into a directory for each layer, which overlayfs merges.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use support::program::succeed;
use support::random_layers::is_whiteout;
use support::skip::skip;
use support::tar::Entry;
use support::wait::eventually;

/// Plugins that would change files outside of the directories of the daemon.
const DISABLED_PLUGINS: [&str; 3] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
];

/// A daemon, which is killed when this is dropped.
pub(crate) struct Containerd {
    daemon: Child,
    /// Directory of the socket, whose path must be short.
    sockets: TempDir,
    directory: PathBuf,
}

impl Containerd {
    /// Starts a daemon with all its state in a directory. Returns `None` if it is not installed.
    pub(crate) fn start(directory: &Path) -> Option<Self> {
        for program in ["containerd", "ctr"] {
            if Command::new(program).arg("--version").output().is_err() {
                skip(&format!("{program} is not installed"));
                return None;
            }
        }
        fs::create_dir(directory).unwrap();
        let sockets = TempDir::new().unwrap();
        let config = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = {DISABLED_PLUGINS:?}\n[grpc]\naddress = '{}'\n",
            directory.join("root").display(),
            directory.join("state").display(),
            sockets.path().join("sock").display(),
        );
        fs::write(directory.join("config.toml"), config).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        let daemon = Command::new("containerd")
            .arg("--config")
            .arg(directory.join("config.toml"))
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Self {
            daemon,
            sockets,
            directory: directory.to_owned(),
        };
        let answers = || containerd.ctr(&["version"]).output().unwrap().status.success();
        assert!(
            eventually(answers),
            "{}",
            fs::read_to_string(directory.join("log")).unwrap()
        );
        Some(containerd)
    }

    /// Unpacks the image of a layout. Returns the directory of its tree, or the message of
    /// containerd.
    pub(crate) fn unpack(&self, snapshotter: &str, layout: &Path, diff_ids: &[String]) -> Result<PathBuf, String> {
        let archive = self.directory.join("image.tar");
        succeed(
            Command::new("tar")
                .arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(layout)
                .arg("."),
        );
        let snapshotter = format!("--snapshotter={snapshotter}");
        let import = self
            .ctr(&["images", "import", &snapshotter, "--platform=linux/amd64"])
            .arg("--base-name=image")
            .arg(&archive)
            .output()
            .unwrap();
        if !import.status.success() {
            return Err(String::from_utf8_lossy(&import.stderr).into_owned());
        }
        let chain = chain_id(diff_ids);
        let view = format!("view of {chain}");
        let view = succeed(&mut self.ctr(&["snapshots", &snapshotter, "view", "--target=target", &view, &chain]));
        // The output is `mount -t bind <directory> target -o ro,rbind` for one directory, or
        // `mount -t overlay overlay target -o index=off,lowerdir=<directory>:<directory>`.
        let view = String::from_utf8(view.stdout).unwrap();
        let words: Vec<&str> = view.split_whitespace().collect();
        if words[2] == "bind" {
            return Ok(words[3].into());
        }
        let merged = self.directory.join("merged");
        fs::create_dir_all(&merged).unwrap();
        succeed(
            Command::new("mount")
                .args(["-t", "overlay", "overlay", "-o", words[6]])
                .arg(&merged),
        );
        let tree = layout.with_extension("tree");
        let copied = Command::new("cp").arg("-a").arg(&merged).arg(&tree).output().unwrap();
        succeed(Command::new("umount").arg(&merged));
        // overlayfs lists the name of a whiteout that hides nothing, although there is no file of
        // that name.
        let messages = String::from_utf8_lossy(&copied.stderr);
        let is_whiteout = |line: &str| line.contains("cannot stat") && line.ends_with("No such file or directory");
        assert!(messages.lines().all(is_whiteout), "{messages}");
        Ok(tree)
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.sockets.path().join("sock"));
        command.args(["--namespace", "test"]).args(arguments);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Returns the chain ID of layers (image-spec config.md, "Layer `ChainID`").
fn chain_id(diff_ids: &[String]) -> String {
    let mut ids = diff_ids.iter();
    let first = ids.next().unwrap().clone();
    ids.fold(first, |chain, diff_id| {
        let hash = Sha256::digest(format!("{chain} {diff_id}"));
        hash.iter()
            .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    })
}

/// Removes what containerd applies differently (see `tests/layers/README.md`): owners and modes in
/// the entries of hard links, extended attributes of directories, which outlive a new entry, and
/// `trusted.*` attributes. Sets all times to the same value, because a file in place of a directory
/// of its own layer gets the time of the directory.
pub(crate) fn restrict(layers: &mut [Vec<Entry>]) {
    for layer in layers {
        for entry in layer {
            entry.mtime = 3;
            if entry.flag == b'5' {
                entry.pax.clear();
            } else {
                entry.pax.retain(|(keyword, _)| keyword != b"SCHILY.xattr.trusted.b");
                (entry.mode, entry.uid, entry.gid) = (0o640, 1, 2);
            }
        }
    }
}

/// Removes entries that containerd cannot express with overlayfs, since it never reads a lower
/// layer: entries behind symlinks, hard links to files of lower layers, whiteouts of entries of the
/// same layer, files that a directory of the same layer replaces, and opaque markers of the root,
/// which overlayfs ignores. Removes whiteouts below a directory with an opaque marker as well,
/// because their directories come back.
pub(crate) fn restrict_for_overlayfs(layers: &mut [Vec<Entry>]) {
    for layer in layers {
        let others = layer.iter().filter(|entry| !is_whiteout(entry));
        let mut directories = Vec::new();
        let mut paths = Vec::new();
        for entry in others {
            let mut path = clean(&entry.name);
            paths.push(path.clone());
            if entry.flag == b'5' {
                directories.push(path.clone());
            }
            while path.pop().is_some() {
                directories.push(path.clone());
            }
        }
        let mut markers = Vec::new();
        for entry in layer.iter() {
            let mut path = clean(&entry.name);
            if path.pop().is_some_and(|base| base == OPAQUE) {
                markers.push(path);
            }
        }
        let mut files = HashSet::new();
        layer.retain(|entry| {
            let mut path = clean(&entry.name);
            let base = path.pop().unwrap_or_default();
            if path.iter().any(|name| is_symlink(name)) {
                return false;
            }
            if let Some(hidden) = base.strip_prefix(b".wh.") {
                let is_hidden = |marked: &Vec<_>| path.starts_with(marked) && path != *marked;
                if markers.iter().any(is_hidden) || base == OPAQUE && path.is_empty() {
                    return false;
                }
                path.push(hidden.to_vec());
                return !paths.iter().any(|other| other.starts_with(&path));
            }
            let may_stay = (entry.flag == b'2') == is_symlink(&base)
                && (entry.flag != b'1' || files.contains(&clean(&entry.link)));
            path.push(base);
            if entry.flag == b'5' {
                return may_stay;
            }
            let may_stay = may_stay && !directories.contains(&path);
            if may_stay {
                files.insert(path);
            }
            may_stay
        });
    }
}

/// Name of an opaque marker.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Returns whether the random layers use a name for symlinks, and for nothing else.
fn is_symlink(name: &[u8]) -> bool {
    matches!(name, b"l" | b"m")
}

/// Returns the names of a cleaned path.
fn clean(path: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name.to_vec()),
        }
    }
    names
}
