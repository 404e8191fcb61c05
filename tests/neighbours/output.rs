//! Attacks on the output itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::attacker::{Put, Scene, give_away, names};

type Make = fn(&Path);

#[test]
fn what_appears_at_the_output_during_a_build_stays() {
    let makes: [(&str, Make); 3] = [
        ("symlink", |path| {
            let _ = symlink("elsewhere", path);
        }),
        ("FIFO", |path| {
            let _ = Command::new("mkfifo").arg(path).status();
        }),
        ("directory", |path| {
            let _ = fs::create_dir(path);
        }),
    ];
    for (attack, make) in makes {
        let Some(scene) = Scene::new() else { return };
        // It is made after the output was looked at, as soon as the state directory is there.
        let output = scene.build("mkdirat", &["--keep-stage"], |scene| {
            let begun = names(&scene.directory())
                .iter()
                .any(|name| name.to_string_lossy().ends_with(".partial"));
            if begun && fs::symlink_metadata(scene.output()).is_err() {
                make(&scene.output());
            }
        });
        scene.assert_harmless(attack, &output);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{attack}: {said}");
        assert!(
            said.contains(&format!("is a {attack}, not a regular file")),
            "{attack}: {said}"
        );
        assert!(!fs::symlink_metadata(scene.output()).unwrap().is_file(), "{attack}");
        assert_eq!(names(&scene.directory()), ["image.ext4"], "{attack}");
    }
}

#[test]
fn a_symlink_of_another_user_does_not_lead_to_the_output() {
    let Some(scene) = Scene::new() else { return };
    fs::remove_dir(scene.directory()).unwrap();
    scene.put_symlink(&scene.directory());
    for arguments in [&[][..], &["--keep-stage"]] {
        let output = scene.build("mkdir,mkdirat", arguments, |_| {});
        scene.assert_harmless("symlink", &output);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("of user 65534, which is not followed"), "{said}");
    }
}

#[test]
fn a_hidden_file_that_is_swapped_is_not_published() {
    let puts: [(&str, Put); 2] = [
        ("symlink to a file", Scene::put_symlink_to_file),
        ("file", |_, path| {
            let _ = fs::write(path, "theirs");
            give_away(path);
        }),
    ];
    for (attack, put) in puts {
        let Some(scene) = Scene::new() else { return };
        // A file that is replaced is the one case with a hidden name.
        fs::write(scene.output(), "before").unwrap();
        give_away(&scene.output());
        let output = scene.build("linkat", &[], |scene| scene.swap(put));
        scene.assert_harmless(attack, &output);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{attack}: {said}");
        assert!(said.contains("replaced by somebody else"), "{attack}: {said}");
        assert_eq!(fs::read(scene.output()).unwrap(), b"before", "{attack}");
    }
}
