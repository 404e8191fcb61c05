//! Attacks on stages, and on the directory and file that mke2fs writes to.

use std::path::Path;
use std::process::Command;

use super::attacker::{Attack, Context, names};

const ATTACKS: [(&str, Attack); 3] = [
    ("symlink", Context::create_symlink),
    ("directory of symlinks", Context::create_directory_of_symlinks),
    ("directory where files become symlinks", Context::create_trap),
];

#[test]
fn swapped_stage_changes_no_file_of_root() {
    for (name, attack) in ATTACKS {
        for delayed in ["mkdir,mkdirat", "fchownat", "renameat2"] {
            let Some(context) = Context::new() else { return };
            let output = context.build(delayed, &["--keep-stage"], |context| context.swap(attack));
            context.assert_harmless(&format!("{name} after {delayed}"), &output);
            if delayed == "mkdir,mkdirat" {
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
                assert!(
                    stderr.contains("could not create a temporary file or directory beside"),
                    "{name}: {stderr}"
                );
                assert!(!names(&context.directory()).iter().any(|name| name == "image.ext4"));
            }
        }
    }
}

#[test]
fn mke2fs_does_not_write_to_swapped_files() {
    let Some(mke2fs) = ["/usr/sbin/mke2fs", "/sbin/mke2fs"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return;
    };
    let mut attacks = ATTACKS.to_vec();
    attacks.push(("symlink to a file", Context::create_symlink_to_file));
    for (name, attack) in attacks {
        // `chdir` is the last call before each program of e2fsprogs starts.
        for delayed in ["mkdir,mkdirat", "ftruncate", "chdir"] {
            let Some(context) = Context::new() else { return };
            let output = context.build(delayed, &["--mke2fs", mke2fs], |context| context.swap(attack));
            context.assert_harmless(&format!("{name} after {delayed}"), &output);
            if output.status.success() {
                let checked = Command::new("e2fsck")
                    .arg("-fn")
                    .arg(context.output())
                    .output()
                    .unwrap();
                assert!(checked.status.success(), "{name} after {delayed}: {checked:?}");
            }
        }
    }
}
