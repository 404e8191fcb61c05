//! Attacks on stages, and on the directory where mke2fs works.

use std::path::Path;
use std::process::Command;

use super::attacker::{Put, Scene, names};

const PUTS: [(&str, Put); 3] = [
    ("symlink", Scene::put_symlink),
    ("directory of symlinks", Scene::put_directory),
    ("directory where files become symlinks", Scene::put_trap),
];

#[test]
fn a_stage_that_is_swapped_after_mkdir_harms_nobody() {
    for (attack, put) in PUTS {
        for slow in ["mkdir,mkdirat", "fchownat", "renameat2"] {
            let Some(scene) = Scene::new() else { return };
            let output = scene.build(slow, &["--keep-stage"], |scene| scene.swap(put));
            scene.assert_harmless(&format!("{attack} after {slow}"), &output);
            if slow == "mkdir,mkdirat" {
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{attack}: {said}");
                assert!(said.contains("could not make a directory"), "{attack}: {said}");
                assert!(!names(&scene.directory()).iter().any(|name| name == "image.ext4"));
            }
        }
    }
}

#[test]
fn mke2fs_writes_to_the_file_that_was_made_for_it() {
    let Some(mke2fs) = ["/usr/sbin/mke2fs", "/sbin/mke2fs"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return;
    };
    let mut puts = PUTS.to_vec();
    puts.push(("symlink to a file", Scene::put_symlink_to_file));
    for (attack, put) in puts {
        // The last one, before each program starts.
        for slow in ["mkdir,mkdirat", "ftruncate", "chdir"] {
            let Some(scene) = Scene::new() else { return };
            let output = scene.build(slow, &["--mke2fs", mke2fs], |scene| scene.swap(put));
            scene.assert_harmless(&format!("{attack} after {slow}"), &output);
            if output.status.success() {
                let checked = Command::new("e2fsck").arg("-fn").arg(scene.output()).output().unwrap();
                assert!(checked.status.success(), "{attack} after {slow}: {checked:?}");
            }
        }
    }
}
