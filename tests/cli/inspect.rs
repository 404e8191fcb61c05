//! Tests of `rootfs inspect`: the summary, `ls`, `cat` and `cp`.

use std::fs;
#[cfg(unix)]
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use microagent::inspect::DiskImage;

use super::context::{Context, failure, json, microagent, names, stderr, stdout};

/// Returns the command `microagent rootfs inspect` for the output of the context.
fn inspect(context: &Context, arguments: &[&str]) -> Command {
    let mut command = microagent();
    command
        .args(["rootfs", "inspect"])
        .arg(context.output())
        .args(arguments);
    command
}

/// Builds a disk image of 16 MiB with the label `disk`.
fn built(context: &Context, image: &str) -> Output {
    let mut build = context.build(image);
    let output = build
        .args(["--json", "--size-mib", "16", "--label", "disk"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

/// Builds an image of the tar entries that a function appends.
fn build_entries(entries: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Context {
    let context = Context::new();
    let mut tar = tar::Builder::new(Vec::new());
    entries(&mut tar);
    let layer = context.layout.gzip_layer(&tar.into_inner().unwrap());
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    built(&context, &image);
    context
}

fn link(tar: &mut tar::Builder<Vec<u8>>, name: &str, target: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    tar.append_link(&mut header, name, target).unwrap();
}

fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, content).unwrap();
}

#[test]
fn summary_has_facts_and_provenance() {
    let (context, image) = Context::with_image();
    let report = json(stdout(&built(&context, &image)));
    let output = inspect(&context, &["--json"]).output().unwrap();
    let facts = json(stdout(&output));
    for key in ["uuid", "size_bytes", "used_bytes", "inode_count", "format"] {
        assert_eq!(facts[key], report[key], "{key}");
    }
    assert_eq!(facts["label"], "disk");
    let free = facts["free_bytes"].as_u64().unwrap();
    assert_eq!(facts["used_bytes"].as_u64().unwrap() + free, 16 << 20);
    assert!(facts["features"].as_array().unwrap().contains(&"metadata_csum".into()));
    assert_eq!(
        facts["provenance"],
        serde_json::json!({
            "digest": report["digest"],
            "platform": "linux/amd64",
            "version": env!("CARGO_PKG_VERSION"),
        })
    );

    let output = inspect(&context, &["--text"]).output().unwrap();
    for part in [
        report["digest"].as_str().unwrap(),
        "linux/amd64",
        "16 MiB",
        "disk",
        "extent 64bit",
    ] {
        assert!(stdout(&output).contains(part), "{part} is not in\n{}", stdout(&output));
    }
}

#[test]
fn library_and_command_write_the_same_json() {
    let context = build_entries(|tar| {
        file(tar, "etc/motd", 0o640, b"welcome\n");
        link(tar, "etc/link", "motd");
    });
    let disk = DiskImage::open(context.output()).unwrap();
    let printed = |arguments: &[&str]| stdout(&inspect(&context, arguments).output().unwrap()).to_owned();
    let summary = serde_json::to_string(&disk.summary().unwrap()).unwrap();
    assert_eq!(printed(&["--json"]), summary + "\n");
    let listed = disk.list(b"/etc").unwrap();
    let entries = serde_json::to_string(&listed).unwrap();
    let expected = format!("{{\"path\":\"/etc\",\"entries\":{entries}}}\n");
    assert_eq!(printed(&["--json", "ls", "/etc"]), expected);
    let motd = listed.iter().find(|entry| entry.name == b"motd").unwrap();
    assert_eq!(
        serde_json::to_string(motd).unwrap(),
        r#"{"name":"motd","type":"file","mode":"0640","uid":0,"gid":0,"size_bytes":8,"mtime":"0.000000000","target":null}"#
    );
}

#[test]
fn provenance_may_be_missing_but_not_damaged() {
    let (context, image) = Context::with_image();
    built(&context, &image);
    let mut bytes = fs::read(context.output()).unwrap();
    bytes[..1024].fill(0);
    fs::write(context.output(), &bytes).unwrap();
    let output = inspect(&context, &["--json"]).output().unwrap();
    assert!(json(stdout(&output))["provenance"].is_null());

    bytes[..24].copy_from_slice(b"microagent/ext4\n\xff\xff\xff\xff\0\0\0\0");
    fs::write(context.output(), &bytes).unwrap();
    let output = inspect(&context, &["--mode", "ax"]).output().unwrap();
    let message = failure(&output)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("the record is damaged"), "{message}");
}

/// 2^48 blocks of 64 KiB have 2^64 bytes, one more than 64 bits count.
#[test]
fn a_size_beyond_64_bits_is_an_error() {
    let (context, image) = Context::with_image();
    built(&context, &image);
    let mut bytes = fs::read(context.output()).unwrap();
    let superblock = &mut bytes[1024..2048];
    // `s_blocks_count`, `s_log_block_size`, and the feature `metadata_csum`
    superblock[0x4..0x8].fill(0);
    superblock[0x150..0x154].copy_from_slice(&0x1_0000_u32.to_le_bytes());
    superblock[0x18] = 6;
    superblock[0x65] &= !4;
    fs::write(context.output(), &bytes).unwrap();
    let output = inspect(&context, &["--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("the block count is too large"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn cat_and_cp_follow_symlinks_inside_the_image() {
    let context = build_entries(|tar| {
        file(tar, "etc/motd", 0o640, b"welcome\n");
        link(tar, "out", "../../../etc/motd");
        link(tar, "conf", "/etc");
    });
    for path in ["/etc/motd", "etc/motd", "/out", "conf/motd", "/etc/../conf/./motd"] {
        let output = inspect(&context, &["cat", path]).output().unwrap();
        assert_eq!(stdout(&output), "welcome\n", "{path}: {}", stderr(&output));
    }
    let copy = context.outputs().join("motd");
    let output = inspect(&context, &["--json", "cp", "/out", copy.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(json(stdout(&output))["size_bytes"], 8);
    assert_eq!(fs::read(&copy).unwrap(), b"welcome\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o640);
    }
    assert_eq!(names(&context.outputs()), ["motd", "rootfs.ext4"]);
}

/// Appends a PAX sparse file of 1 TiB with data at both ends and in the middle.
#[cfg(target_os = "linux")]
fn huge(tar: &mut tar::Builder<Vec<u8>>) {
    let records = [
        ("GNU.sparse.size", &b"1099511627776"[..]),
        ("GNU.sparse.map", b"0,5,549755813888,4096,1099511627771,5"),
    ];
    tar.append_pax_extensions(records).unwrap();
    let content = [&b"start"[..], &[0; 4096], b"finis"].concat();
    file(tar, "huge", 0o644, &content);
}

/// Linux only: elsewhere, file systems may store holes as zeros.
#[cfg(target_os = "linux")]
#[test]
fn copies_keep_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let small: Vec<u8> = [0, 1, 0].into_iter().flat_map(|byte| vec![byte; 8192]).collect();
    let context = build_entries(|tar| {
        huge(tar);
        file(tar, "small", 0o644, &small);
        file(tar, "empty", 0o644, b"");
    });
    let copy = |name: &str| {
        let to = context.outputs().join(name);
        let output = inspect(&context, &["cp", name, to.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::File::open(to).unwrap()
    };
    let huge = copy("huge");
    let metadata = huge.metadata().unwrap();
    assert_eq!(metadata.len(), 1 << 40);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    for (offset, expected) in [(0, b"start\0"), ((1 << 40) - 6, b"\0finis")] {
        let mut found = [0; 6];
        huge.read_exact_at(&mut found, offset).unwrap();
        assert_eq!(&found, expected);
    }
    drop(copy("small"));
    assert_eq!(fs::read(context.outputs().join("small")).unwrap(), small);
    assert_eq!(copy("empty").metadata().unwrap().len(), 0);
}

#[test]
fn each_failure_of_a_copy_has_a_hint() {
    let context = build_entries(|tar| {
        file(tar, "etc/motd", 0o640, b"welcome\n");
        file(tar, "long", 0o640, &b"all of it is there. ".repeat(1000));
        link(tar, "loop", "loop");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Fifo);
        header.set_size(0);
        tar.append_data(&mut header, "fifo", &b""[..]).unwrap();
    });
    let outputs = context.outputs();
    let (file, missing, below) = (outputs.join("file"), outputs.join("a/b"), outputs.join("rootfs.ext4/b"));
    for (path, to, message, hint) in [
        ("/etc", &file, "it is a directory", "ls"),
        ("/nothing", &file, "no such file", "ls"),
        ("/etc/motd/x", &file, "not a directory", "ls"),
        ("/loop", &file, "too many symlinks", "ls"),
        ("/fifo", &file, "not a regular file", "ls"),
        ("/long", &missing, "could not write", "mkdir -p"),
        ("/long", &outputs, "is a directory", "choose a file in that directory"),
        ("/long", &below, "could not write", "choose a file in a directory"),
    ] {
        let output = inspect(&context, &["cp", path, to.to_str().unwrap()])
            .args(["--mode", "ax"])
            .output()
            .unwrap();
        let error = failure(&output);
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
        assert!(error["remediation"].as_str().unwrap().contains(hint), "{error}");
    }
    // An error of the image is reported as one of the image, and not of the copy.
    let image = fs::File::options().write(true).open(context.output()).unwrap();
    let bytes = fs::read(context.output()).unwrap();
    let offset = bytes.windows(9).position(|bytes| bytes == b"all of it").unwrap();
    image.set_len(offset as u64 + 4096).unwrap();
    for arguments in [&["cat", "/long"][..], &["cp", "/long", file.to_str().unwrap()]] {
        let output = inspect(&context, arguments).args(["--mode", "ax"]).output().unwrap();
        let error = failure(&output);
        assert!(
            error["message"].as_str().unwrap().contains("could not inspect"),
            "{error}"
        );
        assert!(error["remediation"].as_str().is_some(), "{error}");
    }
    assert_eq!(names(&outputs), ["rootfs.ext4"]);
}

/// A file in place of a FIFO or symlink would cut off its other readers and writers.
#[cfg(unix)]
#[test]
fn copy_replaces_regular_files_only() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let context = build_entries(|tar| file(tar, "motd", 0o644, b"welcome\n"));
    let [file, pipe, link] = ["file", "pipe", "link"].map(|name| context.root.path().join(name));
    fs::write(&file, "before").unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    symlink(&file, &link).unwrap();
    let copy = |to: &Path| {
        let mut command = inspect(&context, &["--mode", "ax", "cp", "/motd"]);
        command.arg(to).output().unwrap()
    };
    for (to, found) in [(&pipe, "FIFO"), (&link, "symlink")] {
        let output = copy(to);
        let error = failure(&output);
        assert_eq!(error["kind"], "conflict");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("{} is a {found}", to.display())), "{message}");
    }
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_to_string(&link).unwrap(), "before");
    assert_eq!(copy(&file).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&link).unwrap(), "welcome\n");
}

#[test]
fn listing_escapes_control_characters() {
    let context = build_entries(|tar| {
        file(tar, "etc/motd", 0o4755, b"welcome\n");
        file(tar, "etc/\u{1b}[31mred\n", 0o644, b"");
        link(tar, "etc/broken", "nowhere");
        link(tar, "etc/\u{202e}txt", "\u{2066}exe\u{61c}");
    });
    let output = inspect(&context, &["--json", "ls", "/etc"]).output().unwrap();
    let listing = json(stdout(&output));
    let entries = listing["entries"].as_array().unwrap();
    let found: Vec<_> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(found, ["\u{1b}[31mred\n", "broken", "motd", "\u{202e}txt"]);
    assert_eq!(entries[3]["target"], "\u{2066}exe\u{61c}");
    assert_eq!(entries[1]["target"], "nowhere");
    assert_eq!(entries[1]["type"], "symlink");
    assert_eq!(entries[2]["mode"], "4755");
    assert_eq!(entries[2]["size_bytes"], 8);

    let output = inspect(&context, &["--text", "ls", "/etc"]).output().unwrap();
    assert!(stdout(&output).contains("\\u{1b}[31mred\\n"), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("\\u{202e}txt -> \\u{2066}exe\\u{61c}\n"),
        "{}",
        stdout(&output)
    );
    assert_eq!(stdout(&output).lines().count(), 4);
    let output = inspect(&context, &["--json", "ls", "/etc/broken"]).output().unwrap();
    assert_eq!(json(stdout(&output))["entries"][0]["name"], "broken");
}

#[test]
fn inline_files_have_contents_and_times_before_1970_and_after_2038() {
    let context = Context::new();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mtime) in [("new", 5_000_000_000), ("later", 3_000_000_000_u64)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(8);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        tar.append_data(&mut header, name, &b"welcome\n"[..]).unwrap();
    }
    // Only a PAX header has times before 1970.
    tar.append_pax_extensions([("mtime", &b"-1.5"[..])]).unwrap();
    file(&mut tar, "old", 0o644, b"welcome\n");
    let layer = context.layout.gzip_layer(&tar.into_inner().unwrap());
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let mut build = context.build(&image);
    let output = build.args(["--inline-data", "--size-mib", "16"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (path, mtime) in [
        ("/new", "5000000000.000000000"),
        ("/later", "3000000000.000000000"),
        ("/old", "-2.500000000"),
    ] {
        let output = inspect(&context, &["cat", path]).output().unwrap();
        assert_eq!(stdout(&output), "welcome\n", "{path}: {}", stderr(&output));
        let output = inspect(&context, &["--json", "ls", path]).output().unwrap();
        assert_eq!(json(stdout(&output))["entries"][0]["mtime"], mtime, "{path}");
    }
}

#[test]
fn path_lookup_has_the_limits_of_linux() {
    let context = build_entries(|tar| {
        file(tar, "etc/motd", 0o640, b"welcome\n");
        link(tar, "loop", "loop");
        link(tar, "file", "etc/motd");
        link(tar, "links/0", "../etc/motd");
        for number in 1..=40 {
            link(tar, &format!("links/{number}"), &format!("{}", number - 1));
        }
    });
    let output = inspect(&context, &["cat", "/links/39"]).output().unwrap();
    assert_eq!(stdout(&output), "welcome\n", "40 symlinks: {}", stderr(&output));
    for (path, message) in [
        ("/links/40", "too many symlinks"),
        ("/loop", "too many symlinks"),
        ("/etc/motd/", "not a directory"),
        ("/file/", "not a directory"),
        ("/etc/motd/..", "not a directory"),
        ("/etc", "is a directory"),
        ("/dev/null", "no such file"),
    ] {
        let output = inspect(&context, &["cat", path]).output().unwrap();
        assert!(stderr(&output).contains(message), "{path}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(1), "{path}");
    }
}

/// Each of 20,000 steps would read 200 blocks again.
#[test]
fn repeated_lookups_in_a_large_directory_are_fast() {
    let context = build_entries(|tar| {
        for number in 0..4000 {
            link(tar, &format!("large/{number:0200}"), "x");
        }
        file(tar, "large/sub/file", 0o644, b"");
        let steps = "sub/../".repeat(570);
        for number in 0..38 {
            link(
                tar,
                &format!("large/step-{number}"),
                &format!("{steps}step-{}", number + 1),
            );
        }
        file(tar, "large/step-38", 0o644, b"the end");
    });
    let begin = Instant::now();
    let output = inspect(&context, &["cat", "/large/step-0"]).output().unwrap();
    assert_eq!(stdout(&output), "the end", "{}", stderr(&output));
    assert!(begin.elapsed() < Duration::from_mins(2), "{:?}", begin.elapsed());
}

#[test]
fn a_damaged_directory_is_not_reported_as_not_found() {
    let context = build_entries(|tar| file(tar, "etc/motd", 0o644, b"welcome\n"));
    let mut bytes = fs::read(context.output()).unwrap();
    let name = bytes.windows(4).position(|name| name == b"motd").unwrap();
    bytes[name] = b'M';
    fs::write(context.output(), &bytes).unwrap();
    let output = inspect(&context, &["cat", "/etc/motd"]).output().unwrap();
    assert!(
        stderr(&output).contains("the checksum of the entries of directory"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("microagent rootfs verify"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn each_failure_of_inspect_has_its_kind() {
    let context = build_entries(|tar| file(tar, "etc/motd", 0o644, b"welcome\n"));
    for (arguments, kind) in [
        (&["cat", "/nothing"][..], "not_found"),
        (&["ls", "/nothing/here"], "not_found"),
        (&["cat", "/etc"], "permanent"),
        (&["cp", "/etc/motd", "/nowhere/at/all"], "not_found"),
    ] {
        let output = inspect(&context, arguments).args(["--mode", "ax"]).output().unwrap();
        assert_eq!(failure(&output)["kind"], kind, "{arguments:?}");
    }
    fs::write(context.output(), "nothing of the kind").unwrap();
    let output = inspect(&context, &["--mode", "ax"]).output().unwrap();
    let message = failure(&output)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("not an ext2, ext3 or ext4 file system"), "{message}");
    fs::remove_file(context.output()).unwrap();
    let output = inspect(&context, &["--mode", "ax"]).output().unwrap();
    assert_eq!(failure(&output)["kind"], "not_found");
}
