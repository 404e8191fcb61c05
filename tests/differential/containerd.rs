//! containerd as a reference: a daemon of the test's own, which unpacks images into plain directories (snapshotter `native`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use support::program::succeed;
use support::skip::skip;
use support::tar::Entry;
use support::wait::is_soon;

/// What of its plugins would reach for things outside its directories.
const DISABLED_PLUGINS: [&str; 3] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
];

/// A daemon that ends with the test.
pub(crate) struct Containerd {
    daemon: Child,
    /// Its socket, whose path must be short.
    sockets: TempDir,
    directory: PathBuf,
}

impl Containerd {
    /// Starts a daemon with all of its state in a directory; `None` if it is not installed.
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
            is_soon(answers),
            "{}",
            fs::read_to_string(directory.join("log")).unwrap()
        );
        Some(containerd)
    }

    /// Unpacks the image of a layout, and returns the directory where it is, or what containerd says.
    pub(crate) fn unpack(&self, layout: &Path, diff_ids: &[String]) -> Result<PathBuf, String> {
        let archive = self.directory.join("image.tar");
        succeed(
            Command::new("tar")
                .arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(layout)
                .arg("."),
        );
        let import = self
            .ctr(&["images", "import", "--snapshotter=native", "--platform=linux/amd64"])
            .arg("--base-name=image")
            .arg(&archive)
            .output()
            .unwrap();
        if !import.status.success() {
            return Err(String::from_utf8_lossy(&import.stderr).into_owned());
        }
        let chain = chain_id(diff_ids);
        let view = format!("view of {chain}");
        let arguments = [
            "snapshots",
            "--snapshotter=native",
            "view",
            "--target=target",
            &view,
            &chain,
        ];
        let mount = succeed(&mut self.ctr(&arguments));
        // `mount -t bind <directory> target -o ro,rbind`, where the directory is that of the chain itself
        let mount = String::from_utf8(mount.stdout).unwrap();
        Ok(mount.split(' ').nth(3).unwrap().into())
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

/// The name of the tree that layers make one above the other (image-spec config.md, "Layer `ChainID`").
fn chain_id(diff_ids: &[String]) -> String {
    let mut ids = diff_ids.iter();
    let first = ids.next().unwrap().clone();
    ids.fold(first, |chain, diff_id| {
        let hash = Sha256::digest(format!("{chain} {diff_id}"));
        hash.iter()
            .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    })
}

/// Takes away what containerd does otherwise (tests/layers/README.md says why): whiteouts that come after what their layer
/// wrote, owners and modes that hard links claim, attributes of a directory that outlive a new entry for it, `trusted.*`, and
/// times, of which a file in place of a directory of its own layer gets the directory's.
pub(crate) fn tame(layers: &mut [Vec<Entry>]) {
    for layer in layers {
        let is_whiteout = |entry: &Entry| {
            let base = entry.name.rsplit(|&byte| byte == b'/').next();
            base.is_some_and(|base| base.starts_with(b".wh."))
        };
        layer.sort_by_key(|entry| !is_whiteout(entry));
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
