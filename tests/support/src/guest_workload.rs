//! Changes that guests make to a file system.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::program::succeed;

/// Creates, extends, links, renames and deletes files, and sets attributes; also of the image's own
/// files. The tree needs `/etc/passwd`, `/etc/group` and `/usr/share`.
pub fn modify_files(tree: &Path) {
    let new = tree.join("new");
    fs::create_dir(&new).expect("the image has a free inode");
    for index in 0..2000 {
        fs::write(
            new.join(format!("a file with a name that fills directory blocks {index}")),
            [b'x'; 100],
        )
        .expect("the image has room");
    }
    for index in (0..2000).step_by(3) {
        fs::remove_file(new.join(format!("a file with a name that fills directory blocks {index}")))
            .expect("it was just written");
    }
    let large = new.join("large");
    File::create(&large)
        .and_then(|mut file| file.write_all(&vec![b'y'; 5 << 20]))
        .expect("the image has room");
    fs::hard_link(&large, tree.join("linked")).expect("files link");
    symlink("x".repeat(200), new.join("symlink")).expect("a symlink needs but a block");
    fs::rename(&large, new.join("renamed")).expect("the directory is writable");
    File::options()
        .append(true)
        .open(tree.join("etc/passwd"))
        .and_then(|mut file| file.write_all(&[b'#'; 10_000]))
        .expect("every image of the tests has an /etc/passwd");
    for file in [tree.join("etc/group"), new.join("renamed")] {
        succeed(
            Command::new("setfattr")
                .args(["-n", "user.modified", "-v"])
                .arg("z".repeat(3000))
                .arg(file),
        );
    }
    fs::remove_dir_all(tree.join("usr/share")).expect("every image of the tests has a /usr/share");
}

/// Fills the file system completely, then frees the space and writes again.
pub fn fill(tree: &Path) {
    let path = tree.join("filler");
    let mut filler = File::create(&path).expect("the image has a free inode");
    while filler.write_all(&[b'f'; 4096]).is_ok() {}
    let error = File::create(tree.join("last")).and_then(|mut file| file.write_all(&vec![b'l'; 1 << 20]));
    assert!(error.is_err(), "a full file system takes no more");
    drop(filler);
    fs::remove_file(path).expect("it was just written");
    fs::write(tree.join("again"), [b'a'; 4096]).expect("there is room again");
}
