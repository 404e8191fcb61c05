//! Tests of the `microagent` command: what it prints, its exit status, and the files it leaves.
//!
//! Places for a new case:
//!
//! - `arguments`: flags and environment variables of all commands, and the values that are wrong
//!   usage;
//! - `report`: what a successful build prints, and the flags that end up in the disk image;
//! - `failures`: message, kind, hint and exit status of a build that fails;
//! - `layers`: messages for tar entries that cannot be read or applied; `limits`: the `--max-*`
//!   flags;
//! - `outputs`: paths that `--out` accepts, file permissions, full disks;
//! - `stage`: `--keep-stage`, `--stage-snapshot` and `--mke2fs`; `guest`: `--init` and `--exec`;
//! - `inspect`, `diff`, `verify`: the command of that name below `rootfs`;
//! - `signals`: SIGINT, SIGTERM and SIGHUP during each command (Linux only);
//! - `verbose`: `-v` and `RUST_LOG`; `documentation`: help, completions and manual pages.
//!
//! `context` has an image layout and a directory for outputs, and runs the command on them. Cases
//! of the commands below `registry` and `cache` belong in `tests/sources`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod arguments;
mod context;
mod diff;
mod documentation;
mod failures;
mod guest;
mod inspect;
mod layers;
mod limits;
mod outputs;
mod report;
#[cfg(target_os = "linux")]
mod signals;
mod stage;
mod verbose;
mod verify;
