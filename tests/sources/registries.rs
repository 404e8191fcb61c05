//! A table of variants of registries, with the results of this program and of skopeo.
//!
//! This program must pull everything that skopeo pulls. skopeo runs only where it is installed.

mod challenges;
mod documents;
mod downloads;
mod tokens;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use oci::ImageError;
use serde_json::{Value, json};

use crate::sources::faults::{CONTENT, one_image};
use crate::sources::{State, chain, linux, read};
use support::layout::TestLayout;
use support::server::{Reply, Request, Server};
use support::skip::print_uncaptured;
use tempfile::TempDir;

/// `user:secret-f00d` in base64.
const PAIR: &str = "dXNlcjpzZWNyZXQtZjAwZA==";

/// A registry with an unusual behavior.
struct Variant {
    name: String,
    /// Keeps the files that the server sends.
    _layout: TestLayout,
    server: Server,
    /// Entry of the credentials file for the registry.
    entry: Option<Value>,
    expected: Expected,
}

/// Expected result of a pull by this program.
enum Expected {
    Pulled,
    /// Fails with an error that has these words.
    Refused(&'static str),
    /// Fails with an error that has these words. skopeo, which only copies, may succeed.
    NotAnImage(&'static str),
}

use Expected::{NotAnImage, Pulled, Refused};

impl Variant {
    /// Starts a registry of [`one_image`]. `fault` returns the replies that are unusual.
    fn new(
        name: impl Into<String>,
        expected: Expected,
        fault: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let (layout, image) = one_image();
        Self::of(name, expected, layout, &image, fault)
    }

    /// Starts a registry of an image.
    fn of(
        name: impl Into<String>,
        expected: Expected,
        layout: TestLayout,
        image: &Value,
        fault: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        // skopeo requests `/v2/` first.
        let server = Server::of(&layout, image, move |request, before| {
            let root = || (request.path == "/v2/").then(|| Reply::json(200, &json!({})));
            fault(request, before).or_else(root)
        });
        Self {
            name: name.into(),
            _layout: layout,
            server,
            entry: None,
            expected,
        }
    }

    /// Adds a user and a password.
    fn with_password(self) -> Self {
        self.with_entry(json!({"auth": PAIR}))
    }

    /// Adds an entry of the credentials file.
    fn with_entry(self, entry: Value) -> Self {
        Self {
            entry: Some(entry),
            ..self
        }
    }

    /// Pulls the image with this program, and compares its content.
    fn pull(&self) -> Result<(), ImageError> {
        let directory = tempfile::tempdir().unwrap();
        let state = match self.auth_file(&directory) {
            Some(file) => State::with_auth(file),
            None => State::new(),
        };
        let source = state.open(&self.server.reference(""))?;
        let image = source.resolve(&linux("amd64"))?;
        for layer in &image.layers {
            let content = read(&source, layer)?;
            assert_eq!(content, CONTENT.as_bytes(), "{}", self.name);
        }
        Ok(())
    }

    /// Returns whether skopeo pulls the image; `None` if skopeo is not installed.
    fn skopeo(&self) -> Option<bool> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("skopeo");
        command.args([
            "--insecure-policy",
            "--override-arch",
            "amd64",
            "--override-os",
            "linux",
        ]);
        command.args(["copy", "-q", "--src-tls-verify=false"]);
        command
            .env("HOME", directory.path())
            .env("XDG_RUNTIME_DIR", directory.path());
        if let Some(file) = self.auth_file(&directory) {
            command.arg("--src-authfile").arg(file);
        }
        command.arg(format!("docker://{}", self.server.reference("")));
        command.arg(format!("dir:{}", directory.path().join("image").display()));
        command.output().ok().map(|output| output.status.success())
    }

    /// Writes the credentials file, if the variant has an entry.
    fn auth_file(&self, directory: &TempDir) -> Option<PathBuf> {
        let file = directory.path().join("auth.json");
        let auths = json!({"auths": {self.server.address.to_string(): self.entry.as_ref()?}});
        fs::write(&file, auths.to_string()).unwrap();
        Some(file)
    }
}

/// Pulls from each registry, and prints the table. Panics if a result is not as expected, or if
/// skopeo pulls an image that this program does not.
fn check(variants: &[Variant]) {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for registry in variants {
        let ours = registry.pull().map_err(|error| chain(&error));
        let skopeo = registry.skopeo();
        let is_expected = match (&ours, &registry.expected) {
            (Ok(()), Pulled) => true,
            (Err(error), Refused(words) | NotAnImage(words)) => error.contains(words),
            _ => false,
        };
        let word = match skopeo {
            None => "-",
            Some(true) => "pulls",
            Some(false) => "refuses",
        };
        let text = match &ours {
            Ok(()) => "pulls".to_owned(),
            Err(error) => format!(
                "refuses: {}",
                error.replace(&registry.server.address.to_string(), "HOST")
            ),
        };
        let row = format!("{:64} | {word:7} | {text}\n", registry.name);
        let may_differ = ours.is_ok() || matches!(registry.expected, NotAnImage(_));
        if !is_expected || (skopeo == Some(true) && !may_differ) {
            wrong.push(row.clone());
        }
        table += &row;
    }
    print_uncaptured(&format!("{:64} | skopeo  | microagent\n{table}", "variant"));
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.concat());
}
