//! The journal after a power cut.

use std::fs::{self, File};

use ext4::{BlockSize, Journal};

use crate::judge::{self, MIB, Setup, image_file};
use crate::shapes;
use crate::support::kernel::{self, Mount};
use crate::support::tools;

/// What an image would be, had the power failed: a copy of it while it is mounted, with transactions in its journal only.
#[test]
fn a_journal_is_replayed_after_a_power_cut() {
    if tools::are_missing(&["e2fsck", "dumpe2fs"]) || kernel::is_missing() {
        return;
    }
    let setups = [
        Setup::small("default journal", |_| {}),
        Setup::small("1 KiB blocks", |options| options.block_size = BlockSize::Kib1),
        Setup::small("large journal", |options| options.journal = Journal::Bytes(40 * MIB)),
    ];
    for setup in setups {
        let image = image_file();
        let (_, model) = judge::build(&image, &setup, shapes::churn).unwrap();
        let mount = Mount::new(&image);
        kernel::exercise(&model, mount.path());
        fs::create_dir(mount.path().join("last")).unwrap();
        for number in 0..50 {
            fs::write(mount.path().join(format!("last/{number}")), [number; 3000]).unwrap();
        }
        // What is synced has to survive; it is in the journal, and nowhere else for certain.
        rustix::fs::syncfs(File::open(mount.path()).unwrap()).unwrap();
        let for_kernel = tools::copy_of(&image);
        let for_e2fsck = tools::copy_of(&image);
        mount.unmount();
        let features = tools::superblock_field(&for_kernel, "Filesystem features");
        assert!(features.contains("needs_recovery"), "nothing to replay: {features}");

        let mount = Mount::new(&for_kernel);
        for number in 0..50 {
            assert_eq!(
                fs::read(mount.path().join(format!("last/{number}"))).unwrap(),
                [number; 3000]
            );
        }
        mount.unmount();
        tools::assert_clean_after_use(&for_kernel, setup.name);

        let replayed = tools::run("e2fsck", &["-fy"], &for_e2fsck);
        assert!(
            tools::text(&replayed).contains("recovering journal"),
            "{}",
            tools::text(&replayed)
        );
        tools::assert_clean_after_use(&for_e2fsck, setup.name);
    }
}
