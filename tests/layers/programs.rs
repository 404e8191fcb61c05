//! Tars as GNU tar and bsdtar write them, in all their formats.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::skip::skip;
use crate::{apply, compare};

/// What a format can say; each can say what those before it can.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Ability {
    V7,
    /// Pipes.
    Ustar,
    /// Names of any length.
    LongNames,
    /// Times before 1970.
    Gnu,
    /// Nanoseconds, extended attributes.
    Pax,
}
use Ability::{Gnu, LongNames, Pax, Ustar, V7};

#[test]
fn tars_of_gnu_tar() {
    let options = ["--numeric-owner", "--owner=70000", "--group=5", "--sort=name"];
    let posix = ["--format=posix", "--xattrs"];
    for (ability, format) in [
        (V7, &["--format=v7"][..]),
        (Ustar, &["--format=ustar"]),
        (Gnu, &["--format=oldgnu"]),
        (Gnu, &["--format=gnu"]),
        (Gnu, &["--format=gnu", "--sparse"]),
    ] {
        check_program(Command::new("tar").args(options).args(format), ability);
    }
    for format in [
        &[][..],
        &["--sparse-version=0.0"],
        &["--sparse-version=0.1"],
        &["--sparse-version=1.0"],
    ] {
        check_program(Command::new("tar").args(options).args(posix).args(format), Pax);
    }
}

#[test]
fn tars_of_bsdtar() {
    let options = ["--uid=70000", "--gid=5", "--uname=", "--gname="];
    for (ability, format) in [
        (V7, &["--format=v7"][..]),
        (Ustar, &["--format=ustar"]),
        (LongNames, &["--format=gnutar"]),
        (Pax, &["--format=pax", "--xattrs"]),
    ] {
        check_program(Command::new("bsdtar").args(options).args(format), ability);
    }
}

fn check_program(command: &mut Command, ability: Ability) {
    let directory = tempfile::tempdir().unwrap();
    let has_xattrs = make_tree(directory.path(), ability);
    let command = command.args(["-cf", "-", "-C"]).arg(directory.path()).arg(".");
    let Ok(output) = command.output() else {
        return skip(&format!("{} is not installed", command.get_program().display()));
    };
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {messages}");
    let (tree, _) = apply(&[output.stdout]).unwrap();
    let tree: Vec<String> = tree.iter().map(|word| without_today(word)).collect();
    compare(&tree, &expected(ability, has_xattrs));
}

/// Takes the times of access and change away, which are those of the test where a format has them at all.
fn without_today(word: &str) -> String {
    let Some((start, rest)) = word.split_once(",a@") else {
        return word.to_owned();
    };
    let end = rest.find(",user.").unwrap_or(rest.len() - 1);
    start.to_owned() + &rest[end..]
}

/// Makes files that a format can describe, and says whether one has extended attributes.
fn make_tree(root: &Path, ability: Ability) -> bool {
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-euc", script]).current_dir(root).status();
        assert!(status.unwrap().success(), "{script}");
    };
    shell("umask 022; mkdir -p deep/deep; printf content > file; ln file link; ln -s target symlink");
    // More ranges than the header of an old sparse file has room for, and a hole at the end.
    shell(
        "truncate -s 160k sparse; for i in 1 4 8 10 22 38; do printf $i | dd of=sparse bs=4k seek=$i conv=notrunc status=none; done",
    );
    if ability >= Ustar {
        shell("mkfifo -m 644 pipe");
    }
    if ability >= LongNames {
        shell(&format!("mkdir -p {}; ln -s {0} longlink", long_name()));
    }
    if ability >= Gnu {
        shell("touch old");
    }
    let attribute = rustix::fs::setxattr(
        root.join("file"),
        "user.note",
        b"a\nb=\0",
        rustix::fs::XattrFlags::empty(),
    );
    shell("find . -exec touch -h -d @5.123456789 {} +");
    if ability >= Gnu {
        // Without a fraction, which bsdtar adds in the wrong direction.
        shell("touch -d @-6 old");
    }
    ability >= Pax && attribute.is_ok()
}

fn expected(ability: Ability, has_xattrs: bool) -> String {
    let fraction = if ability >= Pax { ".123456789" } else { "" };
    let attributes = format!("70000:5,@5{fraction}");
    let plain = |word: &str| format!("{word}({attributes})");
    let mut words = vec![
        plain("./"),
        plain("deep/"),
        plain("deep/deep/"),
        plain("symlink->target"),
        "link==file".into(),
    ];
    words.push(plain(&format!("sparse={}", sparse_content())));
    let xattr = if has_xattrs { ",user.note=a\\x0ab=\\x00" } else { "" };
    words.push(format!("file=content({attributes}{xattr})"));
    if ability >= Ustar {
        words.push(plain("pipe|"));
    }
    if ability >= Gnu {
        words.push("old=(70000:5,@-6)".to_owned());
    }
    if ability >= LongNames {
        words.push(plain(&format!("longlink->{}", long_name())));
        let name = long_name();
        let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
        words.extend(ends.map(|end| plain(&format!("{}/", &name[..end]))));
    }
    words.join(" ")
}

/// A path for which ustar has no room.
fn long_name() -> String {
    ["long"; 60].join("/")
}

fn sparse_content() -> String {
    let mut content = vec!["\\x00"; 160 << 10];
    for (block, digits) in [(1, "1"), (4, "4"), (8, "8"), (10, "10"), (22, "22"), (38, "38")] {
        for index in 0..digits.len() {
            content[block * 4096 + index] = &digits[index..=index];
        }
    }
    content.concat()
}
