//! Attacks on the output and its temporary file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::attacker::{Attack, Context, give_away, names};

/// Creates something other than a regular file.
type Create = fn(&Path);

#[test]
fn file_that_appears_at_the_output_during_a_build_is_kept() {
    let cases: [(&str, Create); 3] = [
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
    for (attack, create) in cases {
        let Some(context) = Context::new() else { return };
        // Created after the build has checked the output: as soon as a temporary file exists.
        let output = context.build("mkdirat", &["--keep-stage"], |context| {
            let has_temporary = names(&context.directory())
                .iter()
                .any(|name| name.to_string_lossy().ends_with(".partial"));
            if has_temporary && fs::symlink_metadata(context.output()).is_err() {
                create(&context.output());
            }
        });
        context.assert_harmless(attack, &output);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{attack}: {stderr}");
        assert!(
            stderr.contains(&format!("is a {attack}, not a regular file")),
            "{attack}: {stderr}"
        );
        assert!(!fs::symlink_metadata(context.output()).unwrap().is_file(), "{attack}");
        assert_eq!(names(&context.directory()), ["image.ext4"], "{attack}");
    }
}

#[test]
fn output_path_through_a_symlink_of_another_user_is_refused() {
    let Some(context) = Context::new() else { return };
    fs::remove_dir(context.directory()).unwrap();
    context.create_symlink(&context.directory());
    for arguments in [&[][..], &["--keep-stage"]] {
        let output = context.build("mkdir,mkdirat", arguments, |_| {});
        context.assert_harmless("symlink", &output);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("of user 65534, which is not followed"), "{stderr}");
    }
}

#[test]
fn swapped_temporary_file_is_not_published() {
    let attacks: [(&str, Attack); 2] = [
        ("symlink to a file", Context::create_symlink_to_file),
        ("file", |_, path| {
            let _ = fs::write(path, "theirs");
            give_away(path);
        }),
    ];
    for (name, attack) in attacks {
        let Some(context) = Context::new() else { return };
        // A build that replaces a file has a named temporary file; others have none.
        fs::write(context.output(), "before").unwrap();
        give_away(&context.output());
        let output = context.build("linkat", &[], |context| context.swap(attack));
        context.assert_harmless(name, &output);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.contains("replaced by somebody else"), "{name}: {stderr}");
        assert_eq!(fs::read(context.output()).unwrap(), b"before", "{name}");
    }
}
