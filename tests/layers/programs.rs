//! Tests of tars as programs write them, in all their formats: GNU tar, bsdtar, Python, BusyBox,
//! pax, git.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::layers::{apply, compare};
use support::skip::skip;

/// The features of a format. Each variant includes those before it.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Ability {
    V7,
    /// Pipes.
    Ustar,
    /// Names of any length.
    LongNames,
    /// Times before 1970.
    Gnu,
    /// Nanoseconds.
    Pax,
    /// Extended attributes.
    Xattrs,
}
use Ability::{Gnu, LongNames, Pax, Ustar, V7, Xattrs};

/// The owner and group that programs write, by option.
const OWNER: (u32, u32) = (70_000, 5);

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
        check_program(
            Command::new("tar").args(options).args(format).args(WRITE),
            ability,
            OWNER,
        );
    }
    for format in [
        &[][..],
        &["--sparse-version=0.0"],
        &["--sparse-version=0.1"],
        &["--sparse-version=1.0"],
    ] {
        let mut command = Command::new("tar");
        check_program(
            command.args(options).args(posix).args(format).args(WRITE),
            Xattrs,
            OWNER,
        );
    }
}

#[test]
fn tars_of_bsdtar() {
    let options = ["--uid=70000", "--gid=5", "--uname=", "--gname="];
    for (ability, format) in [
        (V7, &["--format=v7"][..]),
        (Ustar, &["--format=ustar"]),
        (LongNames, &["--format=gnutar"]),
        (Xattrs, &["--format=pax", "--xattrs"]),
        (Xattrs, &["--format=pax", "--xattrs", "--options=xattrheader=SCHILY"]),
        (
            Xattrs,
            &["--format=pax", "--xattrs", "--options=xattrheader=LIBARCHIVE"],
        ),
    ] {
        let mut command = Command::new("bsdtar");
        check_program(command.args(options).args(format).args(WRITE), ability, OWNER);
    }
}

#[test]
fn tars_of_python() {
    let script = "
import sys, tarfile
def filter(member):
    member.uid, member.gid, member.uname, member.gname = 70000, 5, '', ''
    return member
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=getattr(tarfile, sys.argv[1])) as tar:
    tar.add('.', filter=filter)";
    for (ability, format) in [(Ustar, "USTAR_FORMAT"), (Gnu, "GNU_FORMAT"), (Pax, "PAX_FORMAT")] {
        check_program(Command::new("python3").args(["-c", script, format]), ability, OWNER);
    }
}

#[test]
fn tars_of_busybox() {
    check_program(Command::new("busybox").arg("tar").args(WRITE), LongNames, user());
}

#[test]
fn tars_of_pax() {
    for (ability, format) in [(V7, "tar"), (Ustar, "ustar")] {
        check_program(Command::new("pax").args(["-w", "-x", format, "."]), ability, user());
    }
}

/// A global header with the hash of the commit is not a file.
#[test]
fn tars_of_git() {
    let directory = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "tar.umask=022"]);
        git.args(arguments).current_dir(directory.path());
        git.env("GIT_COMMITTER_DATE", "@5 +0000").output()
    };
    if git(&["init", "--quiet"]).is_err() {
        return skip("git is not installed");
    }
    std::fs::write(directory.path().join("file"), "content").unwrap();
    git(&["add", "."]).unwrap();
    git(&["commit", "--quiet", "--message=x"]).unwrap();
    let archive = git(&["archive", "--prefix=project/", "HEAD"]).unwrap();
    let (tree, _) = apply(&[archive.stdout]).unwrap();
    compare(&tree, "project/(@5) project/file=content(@5)");
}

/// Neither is a layer: the first continues a file of another archive, the second lists files that
/// are gone.
#[test]
fn volumes_and_incremental_backups_of_gnu_tar_are_refused_by_name() {
    if Command::new("tar").arg("--version").output().is_err() {
        return skip("tar is not installed");
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("big"), vec![b'x'; 30_000]).unwrap();
    for (format, word) in [("gnu", "volume"), ("posix", "\"big\"")] {
        let script = format!("yes '' 2>&- | tar -c -M -L 20 --format={format} -f 1.tar -f 2.tar -f 3.tar big >&2");
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(directory.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let volume = |name| std::fs::read(directory.path().join(name)).unwrap();
        crate::layers::check_tars(&[volume("1.tar")], "error: entry 1 \"big\" truncated");
        crate::layers::check_tars(&[volume("2.tar")], &format!("error: entry 1 volume {word}"));
    }
    let mut tar = Command::new("tar");
    let tar = tar.args(["--format=gnu", "--listed-incremental=snapshot", "-cf", "-", "."]);
    let output = tar.current_dir(directory.path()).output().unwrap();
    crate::layers::check_tars(&[output.stdout], "error: entry 1 'D' incremental");
}

/// Extended attributes in ascending order. Programs escape some of the names in their own ways.
const XATTRS: [(&str, &[u8]); 6] = [
    ("user.%253D", b"1"),
    ("user.%3D", b"2"),
    ("user.100%", b"3"),
    ("user.a=b", b"4=5"),
    ("user.note", b"a\nb=\0"),
    ("user.\u{e9}%zz", b"6"),
];

/// Arguments that make a program like tar write the whole directory.
const WRITE: [&str; 3] = ["-cf", "-", "."];

/// Returns the user and group of this process, who own the files that it makes.
fn user() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

/// Runs a program in a directory of files that its format can describe, and checks the resulting
/// tree.
fn check_program(command: &mut Command, ability: Ability, owner: (u32, u32)) {
    let directory = tempfile::tempdir().unwrap();
    let has_xattrs = make_tree(directory.path(), ability);
    let command = command.current_dir(directory.path());
    let Ok(output) = command.output() else {
        return skip(&format!("{} is not installed", command.get_program().display()));
    };
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {messages}");
    let (tree, _) = apply(&[output.stdout]).unwrap();
    let tree: Vec<String> = tree.iter().map(|word| without_today(word)).collect();
    compare(&tree, &expected(ability, owner, has_xattrs));
}

/// Removes access and change times, which are those of the test run in formats that have them.
fn without_today(word: &str) -> String {
    let Some((start, rest)) = word.split_once(",a@") else {
        return word.to_owned();
    };
    let end = rest.find(",user.").unwrap_or(rest.len() - 1);
    start.to_owned() + &rest[end..]
}

/// Makes files that a format can describe. Returns whether one of them has extended attributes.
fn make_tree(root: &Path, ability: Ability) -> bool {
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-euc", script]).current_dir(root).status();
        assert!(status.unwrap().success(), "{script}");
    };
    shell("umask 022; mkdir -p deep/deep; printf content > file; ln file link; ln -s target symlink");
    // More ranges than fit in the header of an old GNU sparse file, and a hole at the end.
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
    let set = |(name, value): (&str, &[u8])| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.join("file"), name, value, flags).is_ok()
    };
    let has_xattrs = XATTRS.into_iter().all(set);
    shell("find . -exec touch -h -d @5.123456789 {} +");
    if ability >= Gnu {
        // Without a fraction, because bsdtar adds fractions of negative times in the wrong
        // direction.
        shell("touch -d @-6 old");
    }
    ability >= Xattrs && has_xattrs
}

fn expected(ability: Ability, (uid, gid): (u32, u32), has_xattrs: bool) -> String {
    let fraction = if ability >= Pax { ".123456789" } else { "" };
    let owner = if (uid, gid) == (0, 0) {
        String::new()
    } else {
        format!("{uid}:{gid},")
    };
    let attributes = format!("{owner}@5{fraction}");
    let plain = |word: &str| format!("{word}({attributes})");
    let mut words = vec![
        plain("./"),
        plain("deep/"),
        plain("deep/deep/"),
        plain("symlink->target"),
        "link==file".into(),
    ];
    words.push(plain(&format!("sparse={}", sparse_content())));
    let xattr = if has_xattrs {
        ",user.%253D=1,user.%3D=2,user.100%=3,user.a=b=4=5,user.note=a\\x0ab=\\x00,user.\u{e9}%zz=6"
    } else {
        ""
    };
    words.push(format!("file=content({attributes}{xattr})"));
    if ability >= Ustar {
        words.push(plain("pipe|"));
    }
    if ability >= Gnu {
        words.push(format!("old=({owner}@-6)"));
    }
    if ability >= LongNames {
        words.push(plain(&format!("longlink->{}", long_name())));
        let name = long_name();
        let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
        words.extend(ends.map(|end| plain(&format!("{}/", &name[..end]))));
    }
    words.join(" ")
}

/// Returns a path that is too long for ustar.
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
