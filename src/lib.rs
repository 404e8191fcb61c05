//! Builds bootable ext4 disk images from OCI container images, in Rust, without root, mounts or
//! `mke2fs`. The same image and options always give the same bytes.
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
//! [`rootfs::build`] writes a file, which appears when it is complete. [`rootfs::build_async`] does
//! the same on a new thread. The programs in `examples/` show progress and cancellation
//! (`build.rs`), a block device (`into_device.rs`), and how to inspect an image (`inspect.rs`).
//!
//! # Modules
//!
//! | module | |
//! |---|---|
//! | [`rootfs`] | builds a disk image: options, report, the identity of the file system |
//! | [`guest`] | the init that makes an image bootable |
//! | [`provenance`] | the record in a disk image that names the OCI image it was built from |
//! | [`inspect`], [`verify`], [`diff`] | read, check and compare disk images |
//! | [`stage`] | exports the tree of a disk image to files |
//! | [`mke2fs`] | errors of builds with the mke2fs of e2fsprogs |
//! | [`oci`], [`layer`], [`mod@ext4`] | the crates below: image sources; layers, cancellation and kinds of errors; the file system |
//!
//! # Errors
//!
//! Each function returns an error type of its own, such as [`BuildError`](error::BuildError), with
//! the facts in its variants and the cause in `source()`. All of them implement [`Failure`]:
//! `kind()` is for programs, `hint()` for users.
//!
//! # Threads and runtimes
//!
//! Functions block the calling thread. In an asynchronous runtime, call [`rootfs::build_async`],
//! and the other functions with `spawn_blocking` or the like. A [`Cancel`] ends a function within
//! moments. [`BuildOptions::events`](rootfs::BuildOptions::events) reports phases, progress and
//! warnings. No function handles signals, or writes to standard output or error. The environment
//! configures proxies and, for [`BuildOptions::new`](rootfs::BuildOptions::new), the home
//! directory.
//!
//! # Events
//!
//! The crates emit [`tracing`](https://docs.rs/tracing) events, without secrets, and set no
//! subscriber. Decisions and timings have the level info, requests debug, and parts of downloads
//! trace.
//!
//! # Speed of development builds
//!
//! Hashing and decompression take some 15 times longer without optimisation, and a program that
//! uses this crate does not inherit its profiles. Add to the `Cargo.toml` of the program:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 2
//! ```
//!
//! # Limits
//!
//! Layers are untrusted, and limited by [`layer::Limits`]. The init runs on `amd64` and `arm64`.
//! Without an init ([`BuildOptions::init`](rootfs::BuildOptions::init)), images for any platform
//! can be built.

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
// Dependencies whose types are part of this crate's API.
pub use {ext4, layer, oci, uuid};
