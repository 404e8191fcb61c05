//! Options of test images, and the main test: build an image, check it, mount it, use it, check it
//! again.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use ext4::{BlockSize, Fit, FormatError, Inodes, Journal, Options, Size, Summary};

use support::kernel::{self, Mount};
use support::model::{Build, Model};
use support::tools;

/// One MiB in bytes.
pub(crate) const MIB: u64 = 1 << 20;

/// Smallest journal of images with `inline_data` that the kernel writes to, in bytes. With a
/// smaller one, Linux 6.18 can wait for room in the journal forever, which blocks every sync and
/// unmount.
const SAFE_JOURNAL: u64 = 64 * MIB;

/// Named options of an image.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) options: Options,
}

impl Setup {
    /// Default options with changes, for a size of the content and 16 MiB.
    pub(crate) fn small(name: &'static str, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            size: Size::Fit(Fit {
                free: 16 * MIB,
                free_percent: 0,
                min: MIB,
                max: 1 << 40,
            }),
            ..Options::new(*b"oracle of images")
        };
        change(&mut options);
        Self { name, options }
    }

    /// Returns setups that together cover the options.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self {
                name: "all defaults",
                options: Options::new(*b"default of all i"),
            },
            Self::small("blocks of 1 KiB", |options| options.block_size = BlockSize::Kib1),
            Self::small("blocks of 2 KiB", |options| options.block_size = BlockSize::Kib2),
            Self::small("blocks of 64 KiB", |options| options.block_size = BlockSize::Kib64),
            Self::small("no journal and no growth", |options| {
                options.journal = Journal::None;
                options.growth = false;
            }),
            Self::small("a journal of 5 MiB", |options| {
                options.journal = Journal::Bytes(5 * MIB);
            }),
            Self::small("content in inodes", |options| {
                options.inline_data = true;
                options.journal = Journal::Bytes(SAFE_JOURNAL);
            }),
            Self::small("content in inodes, blocks of 1 KiB", |options| {
                options.inline_data = true;
                options.journal = Journal::Bytes(SAFE_JOURNAL);
                options.block_size = BlockSize::Kib1;
            }),
            Self::small("more inodes than by the ratio", |options| {
                options.inodes = Inodes::AtLeast(70_001);
                options.reserved_percent = 5;
            }),
            Self::small("300 MiB of 1 KiB blocks", |options| {
                options.block_size = BlockSize::Kib1;
                options.size = Size::Fixed(300 * MIB + 1024);
            }),
        ]
    }

    /// Returns whether a kernel can write to the image without the risk of [`SAFE_JOURNAL`].
    fn is_safe_to_use(&self) -> bool {
        let Options {
            inline_data, journal, ..
        } = &self.options;
        !inline_data || matches!(journal, Journal::Bytes(bytes) if *bytes >= SAFE_JOURNAL)
    }

    pub(crate) fn block_size(&self) -> u64 {
        u64::from(self.options.block_size.bytes())
    }
}

/// Makes an image in a file. `shape` gets the builder and the block size in bytes.
pub(crate) fn build(
    image: &Path,
    setup: &Setup,
    shape: impl Fn(&mut Build<File>, u64),
) -> Result<(Summary, Model), FormatError> {
    let output = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(image)
        .unwrap();
    let mut build = Build::new(output, setup.options.clone())?;
    shape(&mut build, setup.block_size());
    let (_, summary, model) = build.finish()?;
    assert_eq!(image.metadata().unwrap().len(), summary.size_bytes);
    Ok((summary, model))
}

/// Creates an empty file for an image.
pub(crate) fn image_file() -> tempfile::TempPath {
    tempfile::NamedTempFile::new().unwrap().into_temp_path()
}

/// Makes an image with each setup, and asserts that e2fsck and the kernel find no problem in it,
/// before and after the kernel changes files.
pub(crate) fn assert_clean_and_usable(setups: &[Setup], shape: impl Fn(&mut Build<File>, u64)) {
    if tools::are_missing(&["e2fsck"]) {
        return;
    }
    let can_mount = !kernel::cannot_mount();
    for setup in setups {
        let image = image_file();
        let (_, model) = build(&image, setup, &shape).unwrap();
        tools::assert_clean(&image, setup.name);
        tools::assert_optimizable(&image, setup.name);
        // Kernels before 6.15 do not mount blocks larger than a page.
        if can_mount && setup.options.block_size != BlockSize::Kib64 {
            assert!(setup.is_safe_to_use(), "{}: the kernel may hang", setup.name);
            let mount = Mount::new(&image);
            kernel::assert_equal(&model, mount.path(), setup.block_size());
            kernel::exercise(&model, mount.path());
            mount.unmount();
            tools::assert_clean_after_use(&image, setup.name);
        }
    }
}

#[test]
fn a_tool_that_hangs_is_not_waited_for() {
    let sleep = |seconds: &str, limit| tools::output_within(tools::command("sleep").arg(seconds), limit).unwrap();
    assert!(sleep("60", Duration::from_millis(200)).is_none());
    assert!(sleep("0", Duration::from_mins(1)).is_some());
}
