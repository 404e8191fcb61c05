//! Tests of `rootfs diff`: what it prints as text and JSON, and its exit status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use layer::cancel::Cancel;
use microagent::diff::{DiffOptions, diff};

use super::context::{Context, failure_with, json, microagent, stderr, stdout, tar};

/// Two disk images, `one` and `two`, in the directory for outputs of a context.
struct Pair {
    context: Context,
    digests: [String; 2],
}

impl Pair {
    fn path(&self, name: &str) -> PathBuf {
        self.context.outputs().join(name)
    }

    /// Runs `microagent rootfs diff one two` in the directory of the images.
    fn diff(&self, arguments: &[&str]) -> Output {
        let mut command = microagent();
        command.current_dir(self.context.outputs());
        command.args(["rootfs", "diff", "one", "two"]).args(arguments);
        command.output().unwrap()
    }
}

/// Builds a disk image from each pair of files and arguments.
fn pair(one: (&[(&str, &[u8])], &[&str]), two: (&[(&str, &[u8])], &[&str])) -> Pair {
    let context = Context::new();
    let digests = [("one", one), ("two", two)].map(|(name, (files, arguments))| {
        let layer = context.layout.gzip_layer(&tar(files));
        let digest = context.layout.image(&[layer]);
        let mut build = context.build(&context.layout.pinned(&digest));
        let output = build
            .args(["--init", "none", "--free-mib", "1", "--no-journal"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::rename(context.output(), context.outputs().join(name)).unwrap();
        digest
    });
    Pair { context, digests }
}

const FILES: &[(&str, &[u8])] = &[("etc/hostname", b"one\n"), ("etc/motd", b"welcome\n"), ("old", b"")];

#[test]
fn equal_images_have_no_differences() {
    let pair = pair((FILES, &[]), (FILES, &[]));
    let output = pair.diff(&["--text"]);
    assert_eq!(
        (output.status.code(), stdout(&output), stderr(&output)),
        (Some(0), "", "")
    );
    let output = pair.diff(&["--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        "{\"a\":\"one\",\"b\":\"two\",\"differences\":[],\"same\":true}\n"
    );
}

#[test]
fn library_and_command_write_the_same_json() {
    let other: &[(&str, &[u8])] = &[("etc/hostname", b"two\n"), ("etc/motd", b"welcome\n")];
    let pair = pair((FILES, &[]), (other, &["--label", "root"]));
    let mut found = Vec::new();
    let same = diff(
        pair.path("one"),
        pair.path("two"),
        DiffOptions::default(),
        &Cancel::new(),
        &mut |difference| {
            found.push(difference.clone());
            Ok(())
        },
    );
    assert!(!same.unwrap());
    let differences = serde_json::to_string(&found).unwrap();
    assert_eq!(
        stdout(&pair.diff(&["--json"])),
        format!("{{\"a\":\"one\",\"b\":\"two\",\"differences\":{differences},\"same\":false}}\n")
    );
    for difference in &found {
        let json = serde_json::to_value(difference).unwrap();
        assert_eq!(json["section"], difference.section.name());
    }
    let label = found
        .iter()
        .find(|difference| difference.field == "volume_name")
        .unwrap();
    assert_eq!(
        serde_json::to_string(label).unwrap(),
        concat!(
            r#"{"section":"superblock","path":null,"field":"volume_name","a":"","b":"root","#,
            r#""offset":null,"count":null,"excerpt":[]}"#
        )
    );
}

#[test]
fn text_shows_differences_as_diffoscope_does() {
    let other: &[(&str, &[u8])] = &[("etc/hostname", b"two\n"), ("etc/motd", b"welcome\n"), ("new\n", b"")];
    let pair = pair((FILES, &[]), (other, &["--label", "root"]));
    let output = pair.diff(&["--text"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let [one, two] = &pair.digests;
    let found = stdout(&output);
    let (above, bytes) = found.split_once("├── bytes\n").unwrap();
    let derived = |line: &&str| line.starts_with("│ -uuid: ") || line.starts_with("│ +uuid: ");
    let seed = |line: &&str| line.starts_with("│ -hash_seed: ") || line.starts_with("│ +hash_seed: ");
    let lines: Vec<&str> = above.lines().filter(|line| !derived(line) && !seed(line)).collect();
    assert_eq!(
        above.lines().count(),
        lines.len() + 4,
        "two lines for the UUID and two for the seed, which derive from the digest"
    );
    let expected = format!(
        "\
--- one
+++ two
├── superblock
│ -volume_name: 
│ +volume_name: root
├── provenance
│ -digest: {one}
│ +digest: {two}
├── /new\\n (only in two: file)
├── /old (only in one: file)
├── /etc/hostname
│ ├── content, from byte 0 on
│ │ -sha256:2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806
│ │ +sha256:27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a
│ │ @@ -1 +1 @@
│ │ -one
│ │ +two"
    );
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(lines, expected);
    assert!(
        bytes
            .lines()
            .all(|line| line.starts_with("│ ") && line.ends_with(" bytes")),
        "{bytes}"
    );
}

#[test]
fn json_has_an_object_for_each_difference() {
    let other: &[(&str, &[u8])] = &[("etc/hostname", b"one!\n"), ("etc/motd", b"welcome\n"), ("old", b"")];
    let pair = pair((FILES, &[]), (other, &[]));
    let output = pair.diff(&["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let found = json(stdout(&output));
    assert_eq!(
        (&found["a"], &found["b"], &found["same"]),
        (&"one".into(), &"two".into(), &false.into())
    );
    let differences = found["differences"].as_array().unwrap();
    let of = |field: &str| {
        differences
            .iter()
            .find(|difference| difference["field"] == field)
            .unwrap()
    };
    assert_eq!(
        *of("size"),
        serde_json::json!({
            "section": "tree", "path": "/etc/hostname", "field": "size", "a": "4", "b": "5",
            "offset": null, "count": null, "excerpt": [],
        })
    );
    assert_eq!(of("content")["offset"], 3);
    assert_eq!(
        of("content")["excerpt"],
        serde_json::json!(["@@ -1 +1 @@", "-one", "+one!"])
    );
    assert_eq!(of("digest")["section"], "provenance");
    assert_eq!(of("digest")["a"], pair.digests[0]);
}

#[test]
fn moved_files_are_listed_with_layout() {
    let small: &[(&str, &[u8])] = &[("b", b"b"), ("a", b"a")];
    let swapped: &[(&str, &[u8])] = &[("a", b"a"), ("b", b"b")];
    let pair = pair((small, &[]), (swapped, &[]));
    let moved = |arguments: &[&str]| {
        let output = pair.diff(arguments);
        let found = json(stdout(&output));
        let differences = found["differences"].as_array().unwrap().clone();
        let moved = differences
            .into_iter()
            .filter(|difference| difference["section"] == "layout");
        moved.map(|difference| difference["path"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(moved(&["--json"]), [serde_json::Value::Null]);
    assert_eq!(
        moved(&["--json", "--layout"]),
        ["/a".into(), "/b".into(), serde_json::Value::Null]
    );
}

#[test]
fn images_that_cannot_be_compared_exit_with_2() {
    let pair = pair((FILES, &[]), (FILES, &[]));
    let fail = |two: &Path| {
        let mut command: Command = microagent();
        command
            .args(["rootfs", "diff", "--mode", "ax"])
            .arg(pair.path("one"))
            .arg(two);
        let output = command.output().unwrap();
        failure_with(&output, 2)
    };
    assert_eq!(fail(Path::new("/nowhere/at/all"))["kind"], "not_found");
    fs::write(pair.path("two"), "nothing of the kind").unwrap();
    let error = fail(&pair.path("two"));
    assert_eq!(error["kind"], "permanent");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("two: not an ext2, ext3 or ext4 file system"),
        "{message}"
    );
    let usage = microagent().args(["rootfs", "diff", "one"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn closed_stdout_keeps_the_exit_status() {
    let pair = pair((FILES, &[]), (FILES, &["--label", "other"]));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = microagent();
    command
        .args(["rootfs", "diff"])
        .arg(pair.path("one"))
        .arg(pair.path("two"));
    let output = command.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), ""));
}
