//! Applies the layers of an image to one tree, and writes file contents straight into the disk
//! image.
//!
//! ```
//! use ext4::{Formatter, Options, Reader, Size};
//! use layer::{LayerOptions, RootfsBuilder, decode};
//!
//! let mut tar = tar::Builder::new(Vec::new());
//! let mut header = tar::Header::new_gnu();
//! header.set_size(8);
//! header.set_mode(0o644);
//! tar.append_data(&mut header, "etc/hostname", &b"microvm\n"[..])?;
//! let blob = tar.into_inner()?;
//!
//! let options = Options { size: Size::Fixed(16 << 20), ..Options::new([7; 16]) };
//! let mut rootfs = RootfsBuilder::new(Formatter::new(Vec::new(), options)?);
//! // The compression is detected from the bytes, so the media type may be empty.
//! let tar = decode(&blob[..], "")?;
//! rootfs.apply(std::io::BufReader::new(tar), &LayerOptions::default())?;
//! let (image, _) = rootfs.formatter.finish(rootfs.tree)?;
//! assert_eq!(Reader::open(image)?.read(b"/etc/hostname")?, b"microvm\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`decode()`] decompresses a layer. [`RootfsBuilder::apply`] reads the tar entry by entry, works
//! out what each entry changes, and changes the tree. A layer never touches the file system of the
//! host, so a hostile layer cannot escape into it.
//!
//! # Rules
//!
//! The rules are those of the image-spec's `layer.md`. Where it is silent, they are those of
//! containerd's applier. Where containerd contradicts the specification or overlayfs, which images
//! are made and run on, they are those of umoci. `tests/layers` has a case for each rule, and its
//! README a table of the references that disagree. The modules that implement a rule explain it:
//! `apply`, `whiteouts`, `change`, `pax`, `path`, `path_resolution`, `decode`.
//!
//! # Whiteouts
//!
//! A whiteout or an opaque marker hides entries of the layers below its own, wherever in its layer
//! it stands (image-spec `layer.md`, "Whiteouts"). Its path is resolved in the tree that the lower
//! layers left. A symlink on the way is followed unless an entry of the layer replaces it or a
//! whiteout of the layer hides it. All other entries are placed as if all whiteouts of their layer
//! had come first, in the order of the tar. So the result does not depend on where in the tar a
//! whiteout stands.
//!
//! # Modules
//!
//! [`cancel`] has the flag that cancels work on other threads, and readers and writers that check
//! it. [`events`] carries progress reports to a listener. [`failure`] has the trait that all errors
//! of this project implement: it returns the kind of an error and a hint for the user. [`pax`]
//! reads the extended headers of tars. [`text`] escapes untrusted text for terminals.
//!
//! # Errors
//!
//! [`LayerError`] names the entry, its offset in the tar, and why it cannot be applied.
//! [`DecodeError`] describes the fault in the compressed bytes. A function panics only if its
//! documentation has a section "Panics".
//!
//! # Limits
//!
//! Layers are untrusted. [`Limits`] bounds the bytes, entries and memory that all layers of an
//! image may use, and [`MAX_WINDOW`] the memory of a zstd decoder.

/// Compiles and runs the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod apply;
pub mod cancel;
mod change;
mod decimal;
mod decode;
mod error;
pub mod events;
pub mod failure;
mod header;
mod libarchive;
mod limits;
mod path;
mod path_resolution;
pub mod pax;
mod sparse;
mod tar;
pub mod text;
mod whiteouts;

use std::fmt;
use std::io::BufRead;

use ext4::{Formatter, Output, Timestamp, Tree};

pub use self::decode::{Checksum, DeclaredChecksum, MAX_WINDOW};
pub use self::decode::{Compression, DecodeError, Decoder, StreamFault, StreamPart, decode};
pub use self::error::{LayerError, LayerErrorKind, Position};
pub use self::limits::Limits;

pub use self::path_resolution::resolve_path;
pub use self::text::Printable;

use self::apply::Applier;
use self::change::Change;
use self::limits::Budget;
use self::tar::TarReader;
use crate::cancel::{Cancel, Cancellable, Cancelled};

/// A file system under construction, with the layers that were applied so far.
pub struct RootfsBuilder<O> {
    /// Names, inodes and metadata.
    pub tree: Tree,
    /// Writes the contents of the files in the tree.
    pub formatter: Formatter<O>,
    budget: Budget,
}

impl<O> fmt::Debug for RootfsBuilder<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RootfsBuilder");
        shown.field("formatter", &self.formatter).finish_non_exhaustive()
    }
}

/// Options for applying a layer.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LayerOptions {
    /// Latest time that a file may have (`SOURCE_DATE_EPOCH`). Later times become this one.
    pub max_time: Option<Timestamp>,
    /// Ends the work with [`LayerErrorKind::Cancelled`] when it is set. The default is never set.
    pub cancel: Cancel,
}

/// Counts and findings of one layer that was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerSummary {
    /// Number of entries, including whiteouts.
    pub entry_count: u64,
    /// Number of extended attributes that were left out because Linux does not allow them on the
    /// file: `user.*` on symlinks, devices and pipes, `system.*` except for ACLs on files that can
    /// have one, and any outside of Linux's namespaces, such as `com.apple.*`.
    pub ignored_xattrs: u64,
    /// Number of extended attributes that were left out because they are private to overlayfs
    /// (`trusted.overlay.*`, `user.overlay.*`). With them, an overlay mounted on top of the image
    /// fails.
    pub overlay_xattrs: u64,
    /// Number of ACLs in textual form (`SCHILY.acl.*`) that were left out. No container engine
    /// applies them, and they name users of the system on which the layer was made.
    pub ignored_acls: u64,
    /// Set if anything but zeros follows the end of the archive. It was ignored.
    pub data_after_end: bool,
}

impl<O: Output> RootfsBuilder<O> {
    /// Creates a file system with only a root directory, for layers within the default [`Limits`].
    #[must_use]
    pub fn new(formatter: Formatter<O>) -> Self {
        Self::with_limits(formatter, Limits::default())
    }

    /// Creates a file system with only a root directory. `limits` bounds all its layers together.
    #[must_use]
    pub fn with_limits(formatter: Formatter<O>, limits: Limits) -> Self {
        Self {
            tree: Tree::default(),
            formatter,
            budget: Budget::new(limits),
        }
    }

    /// Applies a layer, which is read as a tar up to the end of `tar`, past the end of the archive.
    ///
    /// # Errors
    ///
    /// [`LayerError`] names the place in the layer and the fault. The tree is then half-changed and
    /// must not be used any more.
    pub fn apply(&mut self, tar: impl BufRead, options: &LayerOptions) -> Result<LayerSummary, LayerError> {
        let meter = self.budget.size_meter();
        let mut archive = TarReader::new(meter.reader(Cancellable::new(tar, &options.cancel)));
        let mut summary = LayerSummary::default();
        let mut applier = Applier::new(self);
        let mut read_entries = || {
            while let Some(entry) = archive.next()? {
                let position = archive.position().clone();
                meter.check_entry(&entry, position.offset)?;
                let change = Change::new(entry, options, &mut summary)?;
                applier.add(position, change, archive.content())?;
                summary.entry_count += 1;
            }
            Ok(())
        };
        let result = read_entries();
        let position = archive.position().clone();
        let result = result.and_then(|()| archive.drain());
        let result = result.map_err(|kind| meter.check_read().err().unwrap_or(kind));
        let result = result.map_err(Cancelled::surface);
        summary.data_after_end = result.map_err(|kind| LayerError { position, kind })?;
        applier.finish(&options.cancel)?;
        self.budget.add_layer(&meter);
        Ok(summary)
    }
}
