//! Fast commits: the kernel logs operations in the journal instead of blocks.

use std::fs::{self, File};
use std::io::Write;

use ext4::{ReadError, Reader};

use crate::setup::{MIB, image_file};
use support::kernel::{self, Mount};
use support::tools;

/// Names in the root directory, without `lost+found`.
fn names(image: &std::path::Path) -> Result<Vec<String>, ReadError> {
    let reader = Reader::open(File::open(image).unwrap())?;
    let root = reader.root()?;
    let entries = reader.read_dir(&root)?.into_iter();
    let names = entries.map(|entry| String::from_utf8(entry.name.into()).unwrap());
    Ok(names.filter(|name| name != "lost+found").collect())
}

#[test]
fn fast_commits_are_refused_until_a_transaction_or_a_mount_replaces_them() {
    if tools::are_missing(&["mke2fs", "e2fsck"]) || kernel::cannot_mount() {
        return;
    }
    for block_size in ["1024", "4096"] {
        let image = image_file();
        File::create(&image).unwrap().set_len(64 * MIB).unwrap();
        let arguments = ["-q", "-F", "-t", "ext4", "-b", block_size, "-O", "fast_commit"];
        tools::stdout("mke2fs", &arguments, &image);
        let mount = Mount::new(&image);
        fs::write(mount.path().join("first"), b"first").unwrap();
        // The first commit is a full transaction; fast commits follow it.
        mount.sync();
        let mut file = File::create(mount.path().join("second")).unwrap();
        file.write_all(b"second").unwrap();
        file.sync_all().unwrap();
        drop(file);
        let with_fast_commit = tools::copy_of(&image);
        fs::write(mount.path().join("third"), b"third").unwrap();
        mount.sync();
        let with_stale_one = tools::copy_of(&image);
        mount.unmount();

        let read = names(&with_fast_commit);
        assert!(matches!(read, Err(ReadError::FastCommits)), "{block_size}: {read:?}");
        let checked = ext4::check(File::open(&with_fast_commit).unwrap());
        assert!(
            matches!(checked, Err(ReadError::FastCommits)),
            "{block_size}: {checked:?}"
        );
        let mount = Mount::new(&with_fast_commit);
        assert_eq!(fs::read(mount.path().join("second")).unwrap(), b"second");
        mount.unmount();
        assert_eq!(names(&with_fast_commit).unwrap(), ["first", "second"]);
        tools::assert_clean_after_use(&with_fast_commit, block_size);

        assert_eq!(names(&with_stale_one).unwrap(), ["first", "second", "third"]);
        let report = ext4::check(File::open(&with_stale_one).unwrap()).unwrap();
        assert!(report.is_clean(), "{block_size}: {report:?}");
    }
}
