//! Tests of messages for layers that cannot be applied: they name the layer, the entry, the fault
//! and a remedy.

use super::context::{Context, failure};
use support::single_image::{digest, gzip};
use support::tar::{BLOCK, Entry, Header, archive};

/// Builds an image with a bad second layer, and checks the message, the kind and the remedy.
fn check(tar: &[u8], blob: &[u8], kind: &str, message: &str, remedy: &str) {
    let context = Context::new();
    let good = context.layout.gzip_layer(&archive(&[Entry::file("etc/hostname", "x")]));
    let named = digest(blob);
    let bad = context.layout.layer(blob, digest(tar));
    let image = context.layout.pinned(&context.layout.image(&[good, bad]));
    let error = failure(
        &context
            .build(&image)
            .args(["--mode", "ax", "--init=none"])
            .output()
            .unwrap(),
    );
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    let layer = format!("could not apply layer 2 of 2, {named}: ");
    assert!(text("message").starts_with(&layer), "{error}");
    assert!(text("message").contains(message), "{message:?} is missing in {error}");
    assert!(text("remediation").contains(remedy), "{remedy:?} is missing in {error}");
    assert_eq!(error["kind"], kind, "{error}");
}

fn file(name: &str) -> Entry {
    Entry::file(name, "x")
}

#[test]
fn entries_that_cannot_be_applied_are_named_with_a_reason_and_a_remedy() {
    for (entries, kind, message, remedy) in [
        (
            vec![file("a"), Entry::hard_link("usr/b", "usr/a")],
            "permanent",
            "entry 2 \"usr/b\", at byte 1024 of the tar: hard link to \"usr/a\", which does not exist",
            "the file before its links",
        ),
        (
            vec![Entry::directory("d"), Entry::hard_link("b", "d")],
            "permanent",
            "entry 2 \"b\", at byte 512 of the tar: hard link to \"d\", which is a directory",
            "a symlink",
        ),
        (
            vec![file("d/a"), Entry::hard_link("d", "d/a")],
            "permanent",
            "entry 2 \"d\", at byte 1024 of the tar: hard link to \"d/a\", which the link itself replaces",
            "omit the entry",
        ),
        (
            vec![file("d/.wh.")],
            "permanent",
            "entry 1 \"d/.wh.\", at byte 0 of the tar: the whiteout \".wh.\" does not name a file to hide",
            ".wh.<name",
        ),
        (
            vec![Entry::symlink("./", "/etc")],
            "permanent",
            "entry 1 \"./\", at byte 0 of the tar: the entry would replace the root",
            "omit the entry",
        ),
        (
            vec![Entry::symlink("a", "a"), file("a/f")],
            "permanent",
            "entry 2 \"a/f\", at byte 512 of the tar: more than 255 symlinks",
            "loop",
        ),
        (
            vec![file(&"n".repeat(300))],
            "permanent",
            "has 300 bytes: a name can have 255",
            "shorter names",
        ),
        (
            vec![Entry {
                device: (5000, 1),
                ..Entry::new(b'3', "dev/x")
            }],
            "unsupported",
            "entry 1 \"dev/x\", at byte 0 of the tar: invalid device 5000:1",
            "change or omit the entry",
        ),
        (
            vec![Entry::symlink("l", "")],
            "unsupported",
            "entry 1 \"l\", at byte 0 of the tar: invalid symlink target of 0 bytes",
            "change or omit the entry",
        ),
    ] {
        let tar = archive(&entries);
        check(&tar, &gzip(&tar), kind, message, remedy);
    }
}

#[test]
fn entries_that_cannot_be_read_are_named_with_a_reason_and_a_remedy() {
    let header = |flag| vec![Entry::new(flag, "f")];
    let pax = |keyword: &str, value: &str| vec![file("f").pax(keyword, value)];
    for (entries, kind, message, remedy) in [
        (
            header(b'D'),
            "unsupported",
            "entry 1 \"f\", at byte 0 of the tar: unsupported tar entry type 'D' (directory of a GNU incremental backup)",
            "--listed-incremental",
        ),
        (
            header(b'M'),
            "unsupported",
            "entry 1 \"f\", at byte 0 of the tar: unsupported tar entry type 'M' (continuation",
            "--multi-volume",
        ),
        (
            pax("GNU.volume.filename", "big"),
            "unsupported",
            "entry 1 \"f\", at byte 1024 of the tar: the tar continues \"big\"",
            "--multi-volume",
        ),
        (header(b'S'), "unsupported", "entry 1 \"f\"", "star"),
        (header(b'Z'), "unsupported", "type 'Z' (unknown)", "another tool"),
        (
            pax("uid", "abc"),
            "permanent",
            "entry 1 \"f\", at byte 1024 of the tar: the uid \"abc\" is not a number",
            "another tool",
        ),
        (
            pax("gid", "4294967295"),
            "permanent",
            "entry 1 \"f\", at byte 1024 of the tar: the gid 4294967295 is not between 0 and 4294967294",
            "another tool",
        ),
        (
            pax("path", "a\0b"),
            "permanent",
            "entry 1 \"f\", at byte 1024 of the tar: a path with a NUL: \"a\\0b\"",
            "another tool",
        ),
        (
            [pax("GNU.sparse.map", "0,9"), pax("GNU.sparse.size", "1")].concat(),
            "permanent",
            "entry 1 \"f\", at byte 1024 of the tar: broken sparse file: no size",
            "another tool",
        ),
        (
            pax("comment", &"x".repeat(1 << 20)),
            "permanent",
            "a PAX header of",
            "another tool",
        ),
    ] {
        let tar = archive(&entries);
        check(&tar, &gzip(&tar), kind, message, remedy);
    }
}

#[test]
fn damaged_layers_are_named_with_a_reason_and_a_remedy() {
    let tar = archive(&[Entry::file("a", vec![b'x'; 2000]), Entry::file("b", "y")]);
    let mut checksum = tar.clone();
    checksum[5 * BLOCK] ^= 1;
    let lone = [&tar[..5 * BLOCK], &[0; BLOCK], &tar[5 * BLOCK..]].concat();
    let huge = [&Header::new(b'0', b"f", 1 << 50).seal()[..], &[0; BLOCK]].concat();
    for (tar, kind, message, remedy) in [
        (
            &tar[..1500],
            "permanent",
            "entry 1 \"a\", at byte 0 of the tar: the tar ends 1012 bytes early, inside the content",
            "damaged before",
        ),
        (
            &tar[..3000],
            "permanent",
            "entry 2, at byte 2560 of the tar: the tar ends 72 bytes early, inside a header",
            "damaged before",
        ),
        (
            &checksum,
            "permanent",
            "entry 2, at byte 2560 of the tar: wrong checksum of a tar header",
            "damaged before",
        ),
        (
            &lone,
            "permanent",
            "entry 2, at byte 2560 of the tar: a block of zeros",
            "damaged before",
        ),
        (
            b"<html>404 not found</html>",
            "permanent",
            "not a tar archive",
            "tar archives",
        ),
        (&huge, "policy_denied", "entry 1 \"f\"", "--max-size-mib"),
    ] {
        check(tar, &gzip(tar), kind, message, remedy);
    }
    let cut = gzip(&tar)[..60].to_vec();
    check(&tar, &cut, "permanent", "could not read the layer", "damaged before");
    let longer = [gzip(&tar), b"xx".to_vec()].concat();
    check(
        &tar,
        &longer,
        "permanent",
        "the gzip stream is followed by other data",
        "something was appended",
    );
    let xz = b"\xfd7zXZ\0\0\x04";
    check(&tar, xz, "unsupported", "compressed with xz", "gzip or zstd");
    check(&tar, &gzip(b""), "permanent", "diff_id", "contradict each other");
}
