//! Tests of `rootfs verify`: the problems it prints, and its exit status.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::process::Output;

use layer::cancel::Cancel;
use oci::{Algorithm, Digest};

use super::context::{Context, failure, json, microagent, stderr, stdout};

fn verify(context: &Context, arguments: &[&str]) -> Output {
    let mut command = microagent();
    command.args(["rootfs", "verify"]).arg(context.output()).args(arguments);
    command.output().unwrap()
}

/// Returns a context with a disk image.
fn built() -> Context {
    let (context, image) = Context::with_image();
    let output = context.build(&image).args(["--size-mib", "16"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    context
}

#[test]
fn a_built_image_is_clean() {
    let context = built();
    let output = verify(&context, &["--text"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).ends_with(": clean\n"), "{}", stdout(&output));
    let output = verify(&context, &["--json"]);
    let verdict = json(stdout(&output));
    assert_eq!(verdict["clean"], true);
    assert_eq!(verdict["size_bytes"], 16 << 20);
    assert_eq!(verdict["problems"].as_array().unwrap().len(), 0);
}

#[test]
fn each_problem_is_a_line_and_the_command_fails() {
    let context = built();
    let mut file = File::options().write(true).open(context.output()).unwrap();
    // Changes the number of free blocks in the superblock.
    file.seek(SeekFrom::Start(1024 + 0xC)).unwrap();
    file.write_all(&[0xFF]).unwrap();
    let output = verify(&context, &["--text"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = stdout(&output).lines().collect();
    assert_eq!(lines[0], "the superblock: its checksum is wrong");
    assert!(
        lines[1].starts_with("the superblock: ") && lines[1].contains("free blocks"),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(stderr(&output).contains("found 2 problems in"), "{}", stderr(&output));

    let output = verify(&context, &["--mode", "ax"]);
    assert_eq!(json(stderr(&output))["error"]["kind"], "permanent");
    let verdict = microagent::verify::verify(context.output(), None, &Cancel::new()).unwrap();
    assert_eq!(stdout(&output), serde_json::to_string(&verdict).unwrap() + "\n");
    let problems = json(stdout(&output))["problems"].clone();
    let expected = serde_json::json!({
        "structure": "the superblock",
        "structure_kind": "superblock",
        "problem": "its checksum is wrong",
        "code": "checksum-wrong",
        "severity": "error",
    });
    assert_eq!(problems[0], expected);
    assert_eq!(problems[1]["code"], "free-blocks-wrong");
    assert_eq!(problems[1]["severity"], "warning");
}

#[test]
fn the_digest_covers_the_whole_file() {
    let context = built();
    let digest = Digest::of(Algorithm::Sha256, &fs::read(context.output()).unwrap());
    let output = verify(&context, &["--digest", &digest.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    // The first byte belongs to the boot area, which no check reads.
    let mut file = File::options().write(true).open(context.output()).unwrap();
    file.write_all(b"x").unwrap();
    let output = verify(&context, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = verify(&context, &["--text", "--digest", &digest.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).starts_with("the file: the digest is sha256:") && stdout(&output).contains(digest.hex()),
        "{}",
        stdout(&output)
    );
    let output = verify(&context, &["--json", "--digest", &digest.to_string()]);
    let problems = json(stdout(&output))["problems"].clone();
    let members = ["structure", "structure_kind", "code", "severity"].map(|member| problems[0][member].clone());
    assert_eq!(members, ["the file", "file", "digest-mismatch", "error"]);
    let verdict = microagent::verify::verify(context.output(), Some(&digest), &Cancel::new()).unwrap();
    assert_eq!(
        stdout(&output),
        serde_json::to_string(&verdict).unwrap() + "\n",
        "library and command write the same JSON"
    );
    let output = verify(&context, &["--digest", "sha256:x"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_file_that_is_not_a_file_system_is_a_failure() {
    let context = built();
    for bytes in [&b""[..], b"nothing of the kind", &[0; 4096]] {
        fs::write(context.output(), bytes).unwrap();
        let output = verify(&context, &["--mode", "ax"]);
        assert_eq!(output.status.code(), Some(1));
        let message = failure(&output)["message"].as_str().unwrap().to_owned();
        assert!(message.contains("not an ext2, ext3 or ext4 file system"), "{message}");
    }
    fs::remove_file(context.output()).unwrap();
    let output = verify(&context, &["--mode", "ax"]);
    assert_eq!(failure(&output)["kind"], "not_found");
}
