//! What the arguments say of themselves, for shells and for man(1).

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::scene::{microagent, names, stderr, stdout};
use support::skip::skip;

fn completion(shell: &str) -> String {
    let output = microagent().args(["completion", shell]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output).to_owned()
}

#[test]
fn every_shell_learns_all_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = completion(shell);
        for word in ["rootfs", "inspect", "stage-snapshot", "password-stdin", "prune"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_completes_what_it_learned() {
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
fn every_command_has_a_page_of_the_manual() {
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

/// A package is made on one machine for all.
#[test]
fn the_manual_names_no_architecture_as_the_default() {
    let output = microagent().args(["rootfs", "build", "--help"]).output().unwrap();
    assert!(!stdout(&output).contains("[default: amd64]"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("[default: arm64]"), "{}", stdout(&output));
}
