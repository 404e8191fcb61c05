//! Tests of shell completions, manual pages and help texts.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::context::{microagent, names, stderr, stdout};
use support::skip::skip;

fn completion(shell: &str) -> String {
    let output = microagent().args(["completion", shell]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output).to_owned()
}

#[test]
fn completions_have_commands_and_flags_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = completion(shell);
        for word in ["rootfs", "inspect", "stage-snapshot", "password-stdin", "prune"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_completes_a_subcommand() {
    let directory = TempDir::new().unwrap();
    let script = directory.path().join("microagent.bash");
    fs::write(&script, completion("bash")).unwrap();
    let complete = "source \"$0\" && COMP_WORDS=(microagent rootfs b) COMP_CWORD=2 && \
                    _microagent microagent b rootfs && echo \"${COMPREPLY[@]}\"";
    let Ok(output) = Command::new("bash").args(["-c", complete]).arg(&script).output() else {
        return skip("bash is not installed");
    };
    assert_eq!(stdout(&output).trim(), "build", "{}", stderr(&output));
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = TempDir::new().unwrap();
    let pages = directory.path().join("man");
    let output = microagent().arg("manual").arg(&pages).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    let found = names(&pages);
    for page in ["microagent.1", "microagent-rootfs-build.1", "microagent-cache-prune.1"] {
        assert!(found.iter().any(|name| name == page), "{page} is not in {found:?}");
    }
    let build = fs::read_to_string(pages.join("microagent-rootfs-build.1")).unwrap();
    assert!(build.contains("stage\\-snapshot"), "{build}");
}

/// A package that is built on one machine has the manual pages for all architectures.
#[test]
fn help_names_no_default_architecture() {
    let output = microagent().args(["rootfs", "build", "--help"]).output().unwrap();
    assert!(!stdout(&output).contains("[default: amd64]"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("[default: arm64]"), "{}", stdout(&output));
}
