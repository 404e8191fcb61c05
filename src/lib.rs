//! Turns an OCI container image into a bootable ext4 disk image: in pure Rust, without root, mounts
//! or `mke2fs`. The same image and options always give the same bytes.
//!
//! ```
//! use microagent::Cancel;
//! use microagent::ext4::{Reader, Size};
//! use microagent::rootfs::{BuildOptions, build_into};
//!
//! let mut options = BuildOptions::new("oci:examples/hello:latest".parse()?);
//! options.allow_mutable = true;
//! options.platform = "linux/amd64".parse()?;
//! options.file_system.size = Size::Fixed(16 << 20);
//! let mut disk = Vec::new();
//! let report = build_into(&options, &mut disk, &Cancel::new())?;
//! assert_eq!(report.size_bytes, disk.len() as u64);
//!
//! let reader = Reader::open(disk)?;
//! assert!(!reader.read(b"/etc/motd")?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`rootfs::build`] writes a file instead, which appears when it is whole, and
//! [`rootfs::build_async`] does so on a thread of its own. The programs in `examples/` show
//! progress and cancellation (`build.rs`), a block device (`into_device.rs`), and looking into an
//! image (`inspect.rs`).
//!
//! # Modules
//!
//! | module | |
//! |---|---|
//! | [`rootfs`] | builds a disk image: options, report, the identity of the file system |
//! | [`guest`] | the init that makes an image bootable |
//! | [`provenance`] | the record in a disk image of what it was built from |
//! | [`inspect`], [`verify`], [`diff`] | look into disk images, check and compare them |
//! | [`stage`] | exports the tree of a disk image to files |
//! | [`mke2fs`] | builds with the mke2fs of e2fsprogs |
//! | [`oci`], [`layer`], [`mod@ext4`] | the crates below: image sources; layers, cancellation and kinds of errors; the file system |
//!
//! # Errors
//!
//! Each function has an error of its own, such as [`BuildError`](error::BuildError), with the facts
//! in its variants and the causes in `source()`. All implement
//! [`Failure`]: `kind()` is for programs, `hint()` for users.
//!
//! # Threads and runtimes
//!
//! Functions block their thread, and work inside of an asynchronous runtime: call
//! [`rootfs::build_async`] there, and the others with `spawn_blocking` or the like. A
//! [`Cancel`] ends them within moments, and [`BuildOptions::events`](rootfs::BuildOptions::events)
//! reports phases, progress and warnings. No
//! function handles signals or writes to standard output or error. The environment names proxies
//! and, by [`BuildOptions::new`](rootfs::BuildOptions::new), the home directory.
//!
//! # Events
//!
//! The crates emit [`tracing`](https://docs.rs/tracing) events, with no secrets in them, and set
//! no subscriber: decisions and timings at level info, requests at debug, pieces of downloads at
//! trace.
//!
//! # Speed of development builds
//!
//! Hashes and decompression take some 15 times longer without optimisation, and the profiles of a
//! dependency do not reach the programs that use it. In the `Cargo.toml` of the program:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 2
//! ```
//!
//! # Limits
//!
//! Layers are untrusted, and limited by [`layer::Limits`]. The init runs on `amd64` and `arm64`;
//! without it ([`BuildOptions::init`](rootfs::BuildOptions::init)), any platform is built.

pub mod diff;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod guest;
pub mod inspect;
pub mod mke2fs;
pub mod provenance;
pub mod rootfs;
pub mod stage;
pub mod verify;

pub use layer::cancel::{Cancel, Cancelled};
pub use layer::events::Events;
pub use layer::failure::{ErrorKind, Failure, Hint};
// In the version that the types of this crate are of.
pub use {ext4, layer, oci, uuid};
