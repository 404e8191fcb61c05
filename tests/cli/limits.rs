//! Tests of the limits on images: the `--max-*` flags, and limits that no flag raises.

use serde_json::Value;

use super::context::{Context, failure, tar};
use support::single_image::{digest, gzip};
use support::tar::{Entry, archive};

#[test]
fn each_limit_names_the_layer_the_entry_and_the_flag_that_raises_it() {
    let context = Context::new();
    let lower = context.layout.gzip_layer(&tar(&[("etc/hostname", b"lower\n")]));
    let zeros = vec![0; 3 << 20];
    let upper = tar(&[("etc/motd", b"welcome\n"), ("zeros", &zeros)]);
    let upper = context.layout.layer(&gzip(&upper), digest(&upper));
    let reference = context.layout.pinned(&context.layout.image(&[lower, upper]));
    let run = |arguments: &[&str]| {
        let mut command = context.build(&reference);
        command
            .args(["--free-mib=0", "--no-journal", "--mode=ax"])
            .args(arguments);
        command.output().unwrap()
    };
    for (flag, limit, enough, words) in [
        (
            "--max-size-mib",
            "3",
            "8",
            "layer 2 of 2 entry 2 \"zeros\" bytes 3145728",
        ),
        ("--max-entries", "3", "4", "layer 2 of 2 entry 2 \"zeros\" entries 3"),
    ] {
        let error = failure(&run(&[flag, limit]));
        assert_eq!(error["kind"], "policy_denied", "{error}");
        let message = error["message"].as_str().unwrap();
        for word in words.split_whitespace() {
            assert!(message.contains(word), "{word:?} is missing in {message:?}");
        }
        assert!(error["remediation"].as_str().unwrap().contains(flag), "{error}");
        assert!(context.output_names().is_empty());
        let output = run(&[flag, enough]);
        assert!(output.status.success(), "{flag} {enough}: {output:?}");
        std::fs::remove_file(context.output()).unwrap();
    }
}

/// Returns the error of building an image of two layers. The upper layer has an entry `first`, and
/// then these.
fn refused(entries: &[Entry], arguments: &[&str]) -> Value {
    let context = Context::new();
    let lower = context.layout.gzip_layer(&archive(&[Entry::file("lower", "")]));
    let upper = archive(&[&[Entry::file("first", "")], entries].concat());
    let upper = context.layout.gzip_layer(&upper);
    let reference = context.layout.pinned(&context.layout.image(&[lower, upper]));
    let mut command = context.build(&reference);
    let error = failure(&command.arg("--mode=ax").args(arguments).output().unwrap());
    assert!(context.output_names().is_empty());
    error
}

/// Asserts that a message has each of the words.
fn assert_message(error: &Value, words: &str) {
    let message = error["message"].as_str().unwrap();
    for word in words.split_whitespace() {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
}

#[test]
fn the_metadata_limit_names_the_layer_the_entry_and_the_flag() {
    let file = |index| Entry::file(format!("file-{index}"), "").pax("SCHILY.xattr.user.a", vec![b'v'; 60_000]);
    let entries: Vec<_> = (1..=9).map(file).collect();
    let error = refused(&entries, &["--max-metadata-mib=1"]);
    assert_eq!(error["kind"], "policy_denied", "{error}");
    assert_message(&error, "layer 2 of 2 entry 10 \"file-9\" 1082476 bytes 1048576 allowed");
    let remediation = error["remediation"].as_str().unwrap();
    assert!(remediation.ends_with("--max-metadata-mib, to at least 2"), "{error}");
}

/// No flag raises these limits: they come from Linux or ext4, or are far above real images.
#[test]
fn limits_without_a_flag_name_the_layer_the_entry_and_the_value() {
    let sparse = Entry::file("huge", "")
        .pax("GNU.sparse.major", "0")
        .pax("GNU.sparse.minor", "1")
        .pax("GNU.sparse.size", "1125899906842624")
        .pax("GNU.sparse.map", "0,0");
    let many = (0..60).fold(Entry::file("many", ""), |file, index| {
        file.pax(format!("SCHILY.xattr.user.{index:0249}"), "")
    });
    let circle = [Entry::symlink("one", "two"), Entry::symlink("two", "one")];
    let symlink = |len: usize| Entry::symlink("link", "t".repeat(len));
    for (entries, words) in [
        (vec![Entry::file("n".repeat(256), "")], "entry 2 256 bytes 255"),
        (
            vec![Entry::file("n/".repeat(2048) + "n", "")],
            "entry 2 4097 bytes 4095",
        ),
        (vec![symlink(4096)], "entry 2 \"link\" 4096 bytes 4095"),
        (
            vec![Entry::file("f", "").pax("SCHILY.xattr.user.a", vec![b'v'; 65_537])],
            "entry 2 \"f\" user.a 65537 bytes 65536",
        ),
        (vec![many], "entry 2 \"many\" bytes 4060 user.0"),
        (
            vec![Entry::file("f", "").pax("comment", vec![b'c'; 1 << 20])],
            "entry 2 PAX 1048593 bytes 1048576",
        ),
        (vec![sparse], "entry 2 \"huge\" 1125899906842624 bytes 17592186040320"),
        (
            [&circle[..], &[Entry::file("one/f", "")]].concat(),
            "entry 4 \"one/f\" 255 symlinks",
        ),
        (
            vec![Entry::file("f", "").pax("uid", "4294967296")],
            "entry 2 \"f\" uid 4294967296 4294967294",
        ),
    ] {
        let error = refused(&entries, &[]);
        assert_message(&error, "layer 2 of 2");
        assert_message(&error, words);
        assert_ne!(error["remediation"], "", "{error}");
    }
    let error = refused(&[symlink(1024)], &["--block-size=1024"]);
    assert_message(&error, "layer 2 of 2 entry 2 \"link\" 1024 bytes 1023");
    assert!(
        error["remediation"].as_str().unwrap().contains("--block-size"),
        "{error}"
    );
}

/// The layers are small, but the disk image needs room for the journal.
#[test]
fn max_size_limits_a_fitted_disk_but_not_an_explicit_size() {
    let (context, reference) = Context::with_image();
    let run = |arguments: &[&str]| {
        let mut command = context.build(&reference);
        command.args(["--mode=ax", "--max-size-mib=8"]).args(arguments);
        command.output().unwrap()
    };
    let error = failure(&run(&["--free-mib=100"]));
    assert_eq!(error["kind"], "policy_denied");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("the disk image needs") && message.contains("8388608"),
        "{message}"
    );
    assert!(
        error["remediation"].as_str().unwrap().contains("--max-size-mib"),
        "{error}"
    );
    assert!(run(&["--size-mib=100"]).status.success());
}

#[test]
fn max_size_limits_a_decompressed_archive() {
    let context = Context::new();
    let archive = context.root.path().join("zeros.gz");
    std::fs::write(&archive, gzip(&vec![0; 16 << 20]).repeat(5)).unwrap();
    let mut command = context.build(&format!("oci-archive:{}", archive.display()));
    command.args(["--allow-mutable", "--mode=ax", "--max-size-mib=1"]);
    let error = failure(&command.output().unwrap());
    assert_eq!(error["kind"], "policy_denied", "{error}");
    let remediation = error["remediation"].as_str().unwrap();
    assert!(remediation.contains("raise the limit with --max-size-mib"), "{error}");
    assert!(super::context::names(&context.root.path().join("state/tmp")).is_empty());
}
