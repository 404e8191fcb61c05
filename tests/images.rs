//! Real images: each disk image is checked by e2fsck, mounted, and compared entry by entry with the
//! tree that umoci unpacks. `tests/rig/make-images.sh` makes the images.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::guest_workload::{fill, modify_files};
use support::kernel::Mount;
use support::oracles::{Oracles, compare_trees, e2fsck};
use support::program::{latest, rig_image, rootfs_build, sample, sample_image, succeed};
use support::registry::Registry;
use support::skip::skip;

/// Builds the image of a layout. Checks it with e2fsck, compares its mount with umoci's tree, then
/// changes files through the kernel and checks it again.
fn check_image(oracles: &Oracles, layout: &Path, architecture: &str) {
    let image = oracles.scratch().join("image.ext4");
    succeed(&mut rootfs_build(&latest(layout), architecture, &image));
    assert_eq!(e2fsck(&image), Ok(()), "as built");

    let reference = oracles.unpack_with_umoci(layout, architecture);
    let mount = Mount::read_only(&image);
    assert_eq!(compare_trees(&reference, mount.path()), Ok(()));
    mount.unmount();

    let mount = Mount::new(&image);
    modify_files(mount.path());
    mount.unmount();
    assert_eq!(e2fsck(&image), Ok(()), "after use");
}

/// Checks an image of `tests/rig/make-images.sh`; skips the test if the image is missing.
fn check_real_image(name: &str) {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let layout = rig_image(name);
    if layout.is_dir() {
        check_image(&oracles, &layout, "amd64");
    } else {
        skip(&format!(
            "{} is missing: tests/rig/make-images.sh creates it",
            layout.display()
        ));
    }
}

#[test]
fn sample_image_is_exact_on_each_platform() {
    for architecture in ["amd64", "arm64"] {
        let Some(oracles) = Oracles::find() else {
            return;
        };
        check_image(&oracles, &sample(), architecture);
    }
}

#[test]
fn minimal_debian_is_exact() {
    check_real_image("base");
}

#[test]
fn layers_that_delete_and_replace_are_exact() {
    check_real_image("tools");
}

#[test]
fn layers_compressed_with_zstd_are_exact() {
    check_real_image("tools-zstd");
}

#[test]
fn tens_of_thousands_of_small_files_are_exact() {
    check_real_image("many");
}

#[test]
fn image_can_be_filled_to_the_last_block() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let image = sample_image(oracles.scratch());
    let mount = Mount::new(&image);
    fill(mount.path());
    mount.unmount();
    assert_eq!(e2fsck(&image), Ok(()));
}

#[test]
fn environment_does_not_change_the_image() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    // Other users have no access to the target directory, so the files that they need are copied to
    // a directory that is open to all.
    let open = tempfile::tempdir().expect("the temporary directory is writable");
    let layout = open.path().join("layout");
    let program = open.path().join("microagent");
    succeed(Command::new("cp").arg("-r").arg(sample()).arg(&layout));
    fs::copy(env!("CARGO_BIN_EXE_microagent"), &program).expect("the program can be copied");
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the directory belongs to this user");
    };
    set_mode(open.path(), 0o755);

    let environments = [
        ("same", "exec"),
        (
            "elsewhere",
            "export TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 HOME=/; exec",
        ),
        ("strict", "umask 0077; exec"),
        ("alone", "exec taskset --cpu-list 0"),
        ("nobody", "exec setpriv --reuid=65534 --regid=65534 --clear-groups"),
    ];
    let first = oracles.scratch().join("first.ext4");
    succeed(&mut rootfs_build(&latest(&layout), "amd64", &first));
    for (name, exec) in environments {
        // Times are stored in seconds: after more than one, a time from the clock would differ.
        thread::sleep(Duration::from_millis(1100));
        let directory = open.path().join(name);
        fs::create_dir(&directory).expect("the directory belongs to this user");
        set_mode(&directory, 0o777);
        let out = directory.join("image.ext4");
        let build = rootfs_build(&latest(&layout), "amd64", &out);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{exec} \"$@\"")).arg("sh");
        shell.arg(&program).args(build.get_args());
        succeed(shell.current_dir(&directory).env("TMPDIR", &directory));
        succeed(Command::new("cmp").arg(&first).arg(&out));
    }
}

#[test]
fn registry_and_layout_give_the_same_image() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let Some(registry) = Registry::start(false) else { return };
    registry.push(&latest(&sample()), "hello:latest", &["--all", "--preserve-digests"]);
    for architecture in ["amd64", "arm64"] {
        let from_layout = oracles.scratch().join("layout.ext4");
        let from_registry = oracles.scratch().join("registry.ext4");
        succeed(&mut rootfs_build(&latest(&sample()), architecture, &from_layout));
        let image = registry.reference("hello:latest");
        succeed(&mut rootfs_build(&image, architecture, &from_registry));
        succeed(Command::new("cmp").arg(&from_layout).arg(&from_registry));
    }
}

/// Bytes in a block of the sample's disk image.
const BLOCK_SIZE: u64 = 4096;

/// Flips one bit. A second call restores it.
fn flip(image: &Path, offset: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(image)
        .expect("the image can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .expect("the offset lies in the image");
    file.write_all_at(&[byte[0] ^ 1], offset)
        .expect("the image is writable");
}

/// Runs a program, and returns the number after the first `label` in its output.
fn number_after(label: &str, command: &mut Command) -> u64 {
    let printed = String::from_utf8_lossy(&succeed(command).stdout).into_owned();
    let (_, rest) = printed
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label:?} in {printed}"));
    let digits = rest
        .split(|character: char| !character.is_ascii_digit())
        .next()
        .expect("split yields one piece");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number after {label:?} in {printed}"))
}

#[test]
fn e2fsck_detects_one_flipped_bit_in_each_structure() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let image = sample_image(oracles.scratch());
    let dumpe2fs = |label| {
        let block = number_after(label, Command::new("dumpe2fs").arg(&image));
        block * BLOCK_SIZE
    };
    let debugfs = |request, label| {
        let block = number_after(label, Command::new("debugfs").args(["-R", request]).arg(&image));
        block * BLOCK_SIZE
    };
    let root_inode = debugfs("imap <2>", "located at block ") + 256;
    let structures = [
        ("superblock", 1024 + 0x68),
        ("group descriptors", BLOCK_SIZE + 0x0c),
        ("block bitmap", dumpe2fs("Block bitmap at ")),
        ("inode bitmap", dumpe2fs("Inode bitmap at ")),
        ("root's inode", root_inode + 0x10),
        ("root's directory block", debugfs("blocks <2>", "") + 0x09),
        ("attribute block", debugfs("stat /srv/shared/one", "File ACL: ") + 0x28),
    ];
    for (name, offset) in structures {
        flip(&image, offset);
        assert!(e2fsck(&image).is_err(), "e2fsck misses a flipped bit of the {name}");
        flip(&image, offset);
        assert_eq!(e2fsck(&image), Ok(()), "the {name} is restored");
    }
}

#[test]
fn tree_comparison_detects_every_kind_of_difference() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let image = sample_image(oracles.scratch());
    let reference = oracles.unpack_with_umoci(&sample(), "amd64");
    let changes = [
        (
            "content",
            "cd etc && touch -r hostname reference && echo jello >hostname && touch -r reference hostname",
        ),
        ("device", "rm dev/loop0 && mknod -m 0660 dev/loop0 b 7 1"),
        ("extra", "touch home/ana/.extra"),
        ("links", "cp -a --remove-destination usr/bin/welcome usr/bin/hi"),
        ("missing", "rm run/hello.fifo"),
        ("mode", "chmod 0777 tmp"),
        ("mtime", "touch -d 2026-01-01T00:00:00.000000002Z var/cache"),
        ("owner", "chgrp 1 etc"),
        ("size", "echo >>etc/motd"),
        ("target", "ln -sfn usr/sbin bin"),
        ("type", "rm etc/issue && mkdir etc/issue"),
        ("xattrs", "setfattr -x security.capability usr/bin/carry"),
    ];
    for (kind, change) in changes {
        let copy = oracles.copy(&image);
        let mount = Mount::new(&copy);
        assert_eq!(compare_trees(&reference, mount.path()), Ok(()));
        succeed(Command::new("sh").args(["-ec", change]).current_dir(mount.path()));
        let differences = compare_trees(&reference, mount.path()).expect_err(kind);
        assert!(
            differences.contains(&format!("{kind}: /")),
            "no {kind} among {differences}"
        );
        mount.unmount();
    }
}
