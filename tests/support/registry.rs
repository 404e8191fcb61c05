//! A registry on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::oracles::succeed;

/// Debian's docker-registry, ended when dropped.
pub(crate) struct Registry {
    directory: PathBuf,
    port: u16,
}

impl Registry {
    /// Starts a registry that keeps its data in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        // Free now; nothing on a test machine hurries to take it before the registry does.
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("the listener is bound").port();
        drop(listener);
        let registry = Self {
            directory: directory.to_owned(),
            port,
        };
        succeed(&mut registry.script("start"));
        registry
    }

    /// Copies every platform of a layout's `latest`, and returns the repository's name.
    pub(crate) fn push(&self, layout: &Path, name: &str) -> String {
        let repository = format!("127.0.0.1:{}/{name}", self.port);
        succeed(
            Command::new("skopeo")
                .args([
                    "copy",
                    "--all",
                    "--preserve-digests",
                    "--dest-tls-verify=false",
                ])
                .arg(format!("oci:{}:latest", layout.display()))
                .arg(format!("docker://{repository}:latest")),
        );
        repository
    }

    fn script(&self, verb: &str) -> Command {
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/start-registry.sh"));
        command
            .arg(verb)
            .arg(self.port.to_string())
            .env("RIG", &self.directory);
        command
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have died on its own, which the test that needs it has noticed.
        let _ = self.script("stop").output();
    }
}
