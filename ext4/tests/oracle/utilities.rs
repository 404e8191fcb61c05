//! Programs that people run on disks: each has the same effect on our image and on mke2fs's of the
//! same tree.

use std::fs::{self, File};
use std::path::Path;
use std::thread;

use ext4::{BlockSize, Journal, Options, Size};

use crate::setup::{self, MIB, Setup, image_file};
use crate::shapes;
use support::content::Content;
use support::kernel::{self, Mount};
use support::listing::tree_of;
use support::model::{Build, Node, permissions};
use support::skip::print_uncaptured;
use support::tools;

/// Names and scripts for `sh -e`. `$image` is a copy of the image, `$tree` a copy of its tree,
/// `$out` a path for any file, and `$mnt` an empty directory.
const CASES: &[(&str, &str)] = &[
    ("tune2fs -L", "tune2fs -L other $image"),
    ("tune2fs -U", "tune2fs -U random $image"),
    (
        "tune2fs -U, and another time with the old checksums",
        "tune2fs -O metadata_csum_seed $image; tune2fs -U random $image; tune2fs -O ^metadata_csum_seed $image",
    ),
    (
        "tune2fs -m, -r, -c, -e",
        "tune2fs -m 5 -c 20 -e remount-ro $image; tune2fs -r 100 $image",
    ),
    (
        "tune2fs -E",
        "tune2fs -E hash_alg=tea,stride=16,mount_opts=noatime $image",
    ),
    ("tune2fs -o", "tune2fs -o acl,user_xattr,journal_data $image"),
    ("tune2fs -j", "tune2fs -O has_journal $image"),
    ("tune2fs -O ^has_journal", "tune2fs -O ^has_journal $image"),
    (
        "tune2fs -O ^has_journal and back",
        "tune2fs -O ^has_journal $image; e2fsck -fy $image; tune2fs -j $image",
    ),
    ("tune2fs -O ^dir_index", "tune2fs -O ^dir_index $image"),
    (
        "tune2fs -O ^dir_index and back",
        "tune2fs -O ^dir_index $image; e2fsck -fy $image || test $? = 1; tune2fs -O dir_index $image",
    ),
    ("tune2fs -O ^metadata_csum", "tune2fs -O ^metadata_csum $image"),
    (
        "tune2fs -O ^metadata_csum and back",
        "tune2fs -O ^metadata_csum $image; tune2fs -O metadata_csum $image",
    ),
    (
        "tune2fs -O ^metadata_csum,uninit_bg",
        "tune2fs -O ^metadata_csum,uninit_bg $image",
    ),
    (
        "tune2fs -O ^resize_inode",
        "tune2fs -O ^resize_inode $image; e2fsck -fy $image || test $? = 1",
    ),
    ("tune2fs -O ^large_file", "tune2fs -O ^large_file $image"),
    ("tune2fs -O ^huge_file", "tune2fs -O ^huge_file $image"),
    ("tune2fs -O ^dir_nlink", "tune2fs -O ^dir_nlink $image"),
    ("tune2fs -O ^extra_isize", "tune2fs -O ^extra_isize $image"),
    ("tune2fs -O ^flex_bg", "tune2fs -O ^flex_bg $image"),
    ("tune2fs -O ^64bit", "tune2fs -O ^64bit $image"),
    ("tune2fs -O large_dir,ea_inode", "tune2fs -O large_dir,ea_inode $image"),
    (
        "tune2fs -O verity,stable_inodes",
        "tune2fs -O verity,stable_inodes $image",
    ),
    ("tune2fs -O fast_commit", "tune2fs -O fast_commit $image"),
    (
        "tune2fs -O fast_commit and back",
        "tune2fs -O fast_commit $image; tune2fs -O ^fast_commit $image",
    ),
    ("tune2fs -O mmp", "tune2fs -O mmp $image"),
    ("tune2fs -O quota", "tune2fs -O quota $image"),
    (
        "tune2fs -O quota and back",
        "tune2fs -O quota $image; tune2fs -O ^quota $image",
    ),
    ("tune2fs -O project,quota", "tune2fs -O project,quota $image"),
    (
        "resize2fs, twice the size",
        "truncate -s $((2 * $(stat -c %s $image))) $image; resize2fs $image",
    ),
    (
        "resize2fs, 17 times the size",
        "truncate -s $((17 * $(stat -c %s $image))) $image; resize2fs $image",
    ),
    (
        "resize2fs, 4 MiB less",
        "resize2fs $image $(($(stat -c %s $image) / 1024 - 4096))K",
    ),
    ("resize2fs -M", "resize2fs -M $image"),
    (
        "resize2fs -M and back",
        "size=$(stat -c %s $image); resize2fs -M $image; truncate -s $size $image; e2fsck -fy $image; resize2fs $image",
    ),
    ("resize2fs -s", "resize2fs -s $image"),
    (
        "resize2fs -s and back",
        "resize2fs -s $image; e2fsck -fy $image; resize2fs -b $image",
    ),
    ("e2fsck -fyD", "e2fsck -fyD $image || test $? = 1"),
    (
        "e2fsck -b",
        "e2fsck -fn -b $(($(dumpe2fs -h $image | sed -n 's/^Blocks per group: *//p') + \
      $(dumpe2fs -h $image | sed -n 's/^First block: *//p'))) -B $(dumpe2fs -h $image | sed -n 's/^Block size: *//p') $image",
    ),
    ("e2image -r", "e2image -ra $image $out; mv $out $image"),
    (
        "e2image, and all from it",
        "e2image $image $out; e2image -I $image $out",
    ),
    (
        "e2image -Q",
        "e2image -Q $image $out; e2image -r $out $out.raw; e2fsck -fn $out.raw",
    ),
    ("e2image -Qa", "e2image -Qa $image $out; e2image -ra $out $image"),
    (
        "e2undo",
        "E2FSPROGS_UNDO_DIR=$mnt e2fsck -fyD -z $out $image || test $? = 1; e2undo $out $image",
    ),
    (
        "e2freefrag, filefrag",
        "e2freefrag $image; mount -o loop,ro $image $mnt; filefrag $mnt/churn/*; umount $mnt",
    ),
    ("fstrim", "mount -o loop $image $mnt; fstrim $mnt; umount $mnt"),
    (
        "chattr",
        "mount -o loop $image $mnt; chattr -R +AdS $mnt/churn; chattr +ai $mnt/churn/*; \
         ! rm -f $mnt/churn/0; chattr -ai $mnt/churn/*; lsattr -R $mnt >$out; umount $mnt",
    ),
    (
        "quotas of a user",
        "tune2fs -O quota $image; mount -o loop,usrquota $image $mnt; cp -r $mnt/churn $mnt/more; \
         chown -R 7 $mnt/more; rm -r $mnt/more; umount $mnt",
    ),
    (
        "e4defrag",
        "mount -o loop $image $mnt; e4defrag $mnt/churn $mnt/extents; umount $mnt",
    ),
    (
        "names in a large directory",
        "mount -o loop $image $mnt; (cd $mnt/large; for i in $(seq 500); do : >new-name-$i; done; rm new-name-*); umount $mnt",
    ),
    (
        "debugfs rdump",
        "mkdir $out; debugfs -R \"rdump / $out\" $image; diff -r --no-dereference --exclude lost+found $tree $out",
    ),
    (
        "debugfs write",
        "debugfs -w -R \"write $tree/churn/1 written\" $image; debugfs -w -R 'rm written' $image",
    ),
    (
        "grub-fstest",
        "grub-fstest $image ls /churn/; grub-fstest $image cmp /churn/1 $tree/churn/1; \
         grub-fstest $image cmp /extents $tree/extents; grub-fstest $image cat /link >$out; cmp $out $tree/churn/1",
    ),
    (
        "7z",
        "7z x -snld -o$out $image; rm -rf $out/lost+found $out/'[SYS]'; diff -r --no-dereference $tree $out",
    ),
    (
        "fls, icat",
        "fls -rp $image >$out; icat $image $(sed -n 's,^.* \\([0-9]*\\):\\tchurn/1$,\\1,p' $out) | cmp - $tree/churn/1; fsstat $image",
    ),
    (
        "fuse2fs",
        "fuse2fs -o ro,fakeroot $image $mnt; diff -r --no-dereference --exclude lost+found $tree $mnt; umount $mnt",
    ),
];

/// Outcome of a script.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    exit_code: Option<i32>,
    /// Exit code of `e2fsck -fn` after the script.
    e2fsck: Option<i32>,
    /// Set if the files and their contents did not change.
    same_tree: bool,
}

/// The ideal outcome, which passes whatever the script does to the other image.
const GOOD: Outcome = Outcome {
    exit_code: Some(0),
    e2fsck: Some(0),
    same_tree: true,
};

fn setups() -> Vec<Setup> {
    let setup = |name, block_size, journal| {
        Setup::small(name, move |options: &mut Options| {
            options.block_size = block_size;
            options.size = Size::Fixed(48 * MIB);
            options.journal = journal;
        })
    };
    vec![
        setup("1 KiB", BlockSize::Kib1, Journal::Bytes(4 * MIB)),
        setup("1 KiB, no journal", BlockSize::Kib1, Journal::None),
        setup("4 KiB", BlockSize::Kib4, Journal::Bytes(4 * MIB)),
        setup("4 KiB, no journal", BlockSize::Kib4, Journal::None),
    ]
}

/// Files of many sizes, a file of many extents, gaps, a symlink, and large directories.
fn tree(build: &mut Build<File>, block_size: u64) {
    build.add_directory("churn");
    for number in 0..40 {
        build.add_file(
            format!("churn/{number}"),
            Content::dense(number, (number * 7_919) % 90_000),
        );
    }
    build.add_file("extents", Content::in_extents(1, 300, block_size));
    build.add_file("passes", Content::dense(7, 3_000_000));
    build.add_file("stays", Content::dense(8, 3_000_000));
    build.remove("passes");
    let target = Node::Symlink(b"churn/1".to_vec());
    build.put("link", permissions(0o777), target).unwrap();
    build.add_directory("large");
    build.add_file("large/file", Content::dense(9, 10));
    // With blocks of 1 KiB, more leaves than the root of an index has room for.
    for number in 0..(block_size - 40) / 8 * (block_size / 264) {
        if number < 1_000 {
            build.link(format!("large/{number:x>255}"), "large/file");
        }
    }
    shapes::nested_directories(build, block_size);
}

/// Makes an image of a tree with mke2fs, with the size, inodes, UUID and features of another image.
fn mke2fs(like: &Path, tree: &Path, setup: &Setup) -> tempfile::TempPath {
    let image = image_file();
    let fields = tools::superblock_fields(like);
    let features = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,\
                    dir_nlink,extra_isize,metadata_csum";
    let mut command = tools::command("mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-I", "256", "-m", "0", "-O", features])
        .args(["-b", &setup.block_size().to_string(), "-N", &fields["Inode count"]])
        .args(["-U", &fields["Filesystem UUID"], "-d"])
        .arg(tree);
    if let Journal::Bytes(bytes) = setup.options.journal {
        command.args(["-O", "has_journal", "-J", &format!("size={}", bytes / MIB)]);
    }
    let output = tools::output(command.arg(&image).arg(&fields["Block count"]));
    assert!(output.status.success(), "mke2fs: {}", tools::text(&output));
    image
}

fn outcome(image: &Path, tree: &Path, script: &str) -> (Outcome, String) {
    let copy = tools::copy_of(image);
    let before = tree_of(&copy);
    assert!(before.is_some());
    let scratch = tempfile::tempdir().unwrap();
    let mount = scratch.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let mut command = tools::command("sh");
    command
        .args(["-e", "-c", script])
        .env("image", copy.as_os_str())
        .env("tree", tree)
        .env("out", scratch.path().join("out"))
        .env("mnt", &mount);
    let output = tools::output(&mut command);
    // A script that failed may leave it mounted.
    tools::output(tools::command("umount").arg("-q").arg(&mount));
    let e2fsck = tools::run("e2fsck", &["-fn"], &copy);
    let outcome = Outcome {
        exit_code: output.status.code(),
        e2fsck: e2fsck.status.code(),
        same_tree: tree_of(&copy) == before,
    };
    (outcome, format!("{}\n{}", tools::text(&output), tools::text(&e2fsck)))
}

fn compare(setup: &Setup) -> Vec<String> {
    let ours = image_file();
    setup::build(&ours, setup, tree).unwrap();
    let mount = Mount::read_only(&ours);
    let copied = tempfile::tempdir().unwrap();
    let copy = tools::output(
        tools::command("cp")
            .arg("-a")
            .arg(mount.path().join("."))
            .arg(copied.path()),
    );
    assert!(copy.status.success(), "{}", tools::text(&copy));
    let theirs = mke2fs(&ours, copied.path(), setup);
    mount.unmount();
    fs::remove_dir(copied.path().join("lost+found")).unwrap();

    let mut differences = Vec::new();
    for (name, script) in CASES {
        let (our_outcome, our_text) = outcome(&ours, copied.path(), script);
        let (their_outcome, their_text) = outcome(&theirs, copied.path(), script);
        if our_outcome != GOOD || their_outcome != GOOD {
            print_uncaptured(&format!(
                "{}: {name}: ours {our_outcome:?}, mke2fs's {their_outcome:?}\n",
                setup.name
            ));
        }
        if our_outcome != their_outcome && our_outcome != GOOD {
            differences.push(format!(
                "{}: {name}: ours {our_outcome:?}, mke2fs's {their_outcome:?}\n{our_text}\n--\n{their_text}",
                setup.name
            ));
        }
    }
    differences
}

#[test]
fn programs_do_the_same_to_our_images_and_to_those_of_mke2fs() {
    let programs = ["mke2fs", "tune2fs", "resize2fs", "grub-fstest", "7z", "fls", "fuse2fs"];
    if tools::are_missing(&programs) || kernel::cannot_mount() {
        return;
    }
    let setups = setups();
    let differences: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = setups.iter().map(|setup| scope.spawn(|| compare(setup))).collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
