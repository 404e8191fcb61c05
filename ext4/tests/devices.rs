//! Outputs of a fixed size: an image that fits is that of a growing output, and an error names the
//! size that suffices.

use std::io::{self, Read as _};

use ext4::{BlockSize, DeviceOutput, Fit, FormatError, Formatter, Journal, Options, Output, Size, Tree};
use proptest::collection::vec;
use proptest::prelude::*;

use super::exact_sizes::{File, build_into, file, options};

/// One MiB in bytes.
const MIB: u64 = 1 << 20;

/// Memory of a fixed size. An access beyond it panics.
struct FixedMemory {
    bytes: Vec<u8>,
    capacity: u64,
}

impl FixedMemory {
    fn new(capacity: u64) -> Self {
        let bytes = Vec::new();
        Self { bytes, capacity }
    }

    fn assert_within(&self, offset: u64, len: u64) {
        assert!(offset + len <= self.capacity, "{offset} + {len}");
    }
}

impl Output for FixedMemory {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.assert_within(offset, buffer.len() as u64);
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.assert_within(offset, bytes.len() as u64);
        self.bytes.write_at(bytes, offset)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.assert_within(offset, len);
        Output::discard(&mut self.bytes, offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.assert_within(0, len);
        Output::set_len(&mut self.bytes, len)
    }

    fn max_len(&self) -> Option<u64> {
        Some(self.capacity)
    }
}

/// An image, or the bytes needed and available.
type Built = Result<Vec<u8>, (u64, u64)>;

fn result_of<O>(result: Result<(O, ext4::Summary), FormatError>, bytes: impl FnOnce(O) -> Vec<u8>) -> Built {
    match result {
        Ok((output, _)) => Ok(bytes(output)),
        Err(FormatError::NoSpace { needed, available }) => Err((needed, available)),
        Err(error) => panic!("{error}"),
    }
}

fn build_in_vec(size: Size, options: &Options, files: &[File]) -> Built {
    let options = Options {
        size,
        ..options.clone()
    };
    result_of(build_into(Vec::new(), options, files, true), |bytes| bytes)
}

/// Builds in memory of a fixed size, through each kind of pointer to it.
fn build_in_memory(capacity: u64, size: Size, options: &Options, files: &[File]) -> Built {
    let options = Options {
        size,
        ..options.clone()
    };
    let memory: Box<dyn Output> = Box::new(FixedMemory::new(capacity));
    assert_eq!(memory.max_len(), Some(capacity));
    let mut memory = FixedMemory::new(capacity);
    result_of(build_into(Box::new(&mut memory), options, files, true), |memory| {
        memory.bytes.clone()
    })
}

fn build_fixed(capacity: u64, options: &Options, files: &[File]) -> Built {
    build_in_memory(capacity, Size::Fixed(capacity), options, files)
}

/// Asserts that a device of a size gets the same image, or the same error, as a `Vec`. Returns the
/// size that suffices.
fn assert_like_vec(capacity: u64, options: &Options, files: &[File]) -> u64 {
    let expected = build_in_vec(Size::Fixed(capacity), options, files);
    let found = build_fixed(capacity, options, files);
    let freed = files.iter().any(|file| file.freed);
    match (expected, found) {
        (Ok(expected), Ok(found)) => {
            assert!(found == expected, "{capacity} bytes");
            capacity
        }
        (expected, Err((needed, available))) => {
            assert_eq!(available, capacity);
            assert!(needed > capacity && needed % MIB == 0, "{needed} of {capacity}");
            match expected {
                Err((least, _)) if freed => assert!(needed >= least, "{needed}, not {least}"),
                Err((least, _)) => assert_eq!(needed, least),
                Ok(_) => assert!(freed, "{capacity} bytes"),
            }
            needed
        }
        (Err(expected), Ok(_)) => panic!("{capacity} bytes suffice, but a Vec gives {expected:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_device_gets_the_image_of_memory_or_names_the_smallest_size(
        options in options(),
        files in vec(file(), 0..10),
        odd in 0..MIB,
    ) {
        let enough = assert_like_vec(0, &options, &files);
        for part in 1..8 {
            let capacity = enough / 8 * part + odd;
            let needed = assert_like_vec(capacity, &options, &files);
            prop_assert!(needed >= capacity);
        }
        // The largest size that an error names: its group descriptors may take more room.
        let enough = assert_like_vec(enough - MIB, &options, &files);
        prop_assert_eq!(build_fixed(enough, &options, &files), build_in_vec(Size::Fixed(enough), &options, &files));
        prop_assert!(build_fixed(enough, &options, &files).is_ok());
        prop_assert_eq!(build_fixed(enough - MIB, &options, &files), Err((enough, enough - MIB)));
        assert_like_vec(enough + odd, &options, &files);
    }
}

fn small() -> Options {
    Options {
        block_size: BlockSize::Kib4,
        journal: Journal::None,
        ..Options::new([3; 16])
    }
}

fn kept(len: u64) -> File {
    let (sparse, freed) = (false, false);
    File { len, sparse, freed }
}

fn freed(len: u64) -> File {
    let freed = true;
    File { freed, ..kept(len) }
}

#[test]
fn content_that_is_freed_later_must_fit_into_the_device() {
    let files = [freed(20 * MIB), kept(20 * MIB)];
    let (needed, _) = build_fixed(30 * MIB, &small(), &files).unwrap_err();
    assert!((40 * MIB..44 * MIB).contains(&needed), "{needed}");
    assert!(build_in_vec(Size::Fixed(30 * MIB), &small(), &files).is_ok());
    assert!(build_fixed(needed, &small(), &files).is_ok());
}

#[test]
fn content_beyond_the_device_cannot_be_read_back() {
    let mut formatter = Formatter::new(
        FixedMemory::new(10 * MIB),
        Options {
            size: Size::Fixed(10 * MIB),
            ..small()
        },
    )
    .unwrap();
    let first = formatter.write_data(io::repeat(1), MIB).unwrap();
    let lost = formatter.write_data(io::repeat(2), 10 * MIB).unwrap();
    let zeros = formatter.write_data(io::repeat(0), 5).unwrap();
    for (data, lost) in [(&first, false), (&lost, true), (&zeros, true), (&first, false)] {
        match formatter.read_data(data) {
            Ok(mut content) => {
                assert!(!lost);
                let mut read = Vec::new();
                content.read_to_end(&mut read).unwrap();
                assert!(read == vec![1; 1 << 20]);
            }
            Err(FormatError::NoSpace { needed, available }) => {
                assert!(lost);
                assert_eq!(available, 10 * MIB);
                assert!((11 * MIB..=14 * MIB).contains(&needed), "{needed}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(
        formatter.finish(Tree::default()),
        Err(FormatError::NoSpace { .. })
    ));
}

#[test]
fn a_fitted_size_is_limited_by_the_device() {
    let files = [kept(3 * MIB), kept(MIB)];
    let fit = |free, min, max| {
        let free_percent = 0;
        Size::Fit(Fit {
            free,
            free_percent,
            min,
            max,
        })
    };
    let cases = [
        ("default", Size::Fit(Fit::default()), 64 * MIB, Some(1024 * MIB)),
        ("it fits", fit(MIB, 0, 1 << 40), 64 * MIB, None),
        ("free space", fit(100 * MIB, 0, 1 << 40), 64 * MIB, Some(0)),
        ("a smallest size", fit(0, 100 * MIB, 1 << 40), 64 * MIB, Some(100 * MIB)),
        (
            "a smallest size that is cut off",
            fit(0, 100 * MIB, 64 * MIB),
            64 * MIB,
            None,
        ),
        ("content", fit(0, 0, 1 << 40), 4 * MIB, Some(0)),
        ("its own largest size", fit(0, 0, 4 * MIB), 64 * MIB, Some(0)),
    ];
    for (case, size, capacity, min_needed) in cases {
        let found = build_in_memory(capacity, size, &small(), &files);
        let Size::Fit(wanted) = size else { unreachable!() };
        match min_needed {
            None => assert!(found == build_in_vec(size, &small(), &files), "{case}"),
            Some(least) => {
                let (needed, available) = found.unwrap_err();
                assert_eq!(available, capacity.min(wanted.max), "{case}");
                assert!(needed > available && needed >= least, "{case}: {needed}");
                let wider = Size::Fit(Fit { max: 1 << 40, ..wanted });
                let image = build_in_memory(needed, wider, &small(), &files).unwrap();
                assert_eq!(image.len() as u64, needed, "{case}");
                assert!(
                    build_in_memory(needed - MIB, wider, &small(), &files).is_err(),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn a_fixed_size_beyond_the_device_is_refused_at_once() {
    let device = tempfile::NamedTempFile::new().unwrap();
    device.as_file().set_len(9 * MIB).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(device.path())
        .unwrap();
    let output = DeviceOutput::new(file).unwrap();
    let options = Options {
        size: Size::Fixed(9 * MIB + 1),
        ..small()
    };
    let error = Formatter::new(output, options).err().unwrap();
    assert!(
        matches!(error, FormatError::OutputTooSmall { size, available } if size == available + 1),
        "{error:?}"
    );
}
