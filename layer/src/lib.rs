//! Applies the layers of an image to one tree, whose contents go straight into the image.
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
//! // Compressed or not; the media type is not asked.
//! let tar = decode(&blob[..], "")?;
//! rootfs.apply(std::io::BufReader::new(tar), &LayerOptions::default())?;
//! let (image, _) = rootfs.formatter.finish(rootfs.tree)?;
//! assert_eq!(Reader::open(image)?.read(b"/etc/hostname")?, b"microvm\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The way of a layer: [`decode()`] undoes the compression, and [`RootfsBuilder::apply`] reads the tar entry by entry, finds out what
//! each changes, and changes the tree. Nothing of a layer ever touches the file system of the host.
//!
//! # Whiteouts
//!
//! A whiteout or an opaque marker hides entries of the layers below its own, wherever in its layer
//! it stands (image-spec `layer.md`, "Whiteouts"). Its path is resolved in the tree that the lower
//! layers left, and a symlink on the way is followed unless an entry of the layer replaces it, or a
//! whiteout of the layer hides it. All other entries land where they would if all whiteouts of
//! their layer had come first, in the order of the tar. So no result depends on the place of a
//! whiteout.
//!
//! # Modules
//!
//! [`cancel`] has the flag that ends work on other threads, and readers and writers that ask it.
//! [`events`] carries reports of progress to a listener.
//! [`failure`] has the trait of all errors of this project: what kind one is, and a hint for the
//! user. [`pax`] reads the extended headers of tars, [`text`] makes foreign text harmless.
//!
//! # Errors
//!
//! [`LayerError`] names the entry and its offset, and why it cannot be applied; [`DecodeError`]
//! says what is wrong with the compressed bytes. A function panics only if it says so.
//!
//! # Limits
//!
//! Layers are untrusted: [`Limits`] bounds what all layers of an image cost in bytes, entries and
//! memory, [`MAX_WINDOW`] the memory of a zstd decoder.

/// The example of the README, which must hold.
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

/// The file system of an image, as far as its layers were applied.
pub struct RootfsBuilder<O> {
    /// Names, inodes and metadata.
    pub tree: Tree,
    /// The contents of the files in the tree.
    pub formatter: Formatter<O>,
    budget: Budget,
}

impl<O> fmt::Debug for RootfsBuilder<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RootfsBuilder");
        shown.field("formatter", &self.formatter).finish_non_exhaustive()
    }
}

/// How a layer shall be applied.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LayerOptions {
    /// Newest time that a file can have (`SOURCE_DATE_EPOCH`); later ones become this one.
    pub max_time: Option<Timestamp>,
    /// Ends the work with [`LayerErrorKind::Cancelled`] when it is set. The default is never set.
    pub cancel: Cancel,
}

/// What a layer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerSummary {
    /// Entries, whiteouts included.
    pub entry_count: u64,
    /// Extended attributes that were left out, since Linux lets no such file have them: those in `user.` of symlinks, devices and
    /// pipes, those in `system.` but ACLs where there can be some, and those outside of its namespaces, such as `com.apple.*`.
    pub ignored_xattrs: u64,
    /// Extended attributes that were left out, since overlayfs writes them for itself
    /// (`trusted.overlay.*`, `user.overlay.*`): with them, an overlay on top of the image fails.
    pub overlay_xattrs: u64,
    /// ACLs in textual form (`SCHILY.acl.*`) that were left out: no container engine applies them, and they name users by names
    /// that mean something only where the layer was made.
    pub ignored_acls: u64,
    /// Whether anything but zeros follows the end of the archive; it was ignored.
    pub data_after_end: bool,
}

impl<O: Output> RootfsBuilder<O> {
    /// A file system of nothing but the root directory, for layers within the default [`Limits`].
    #[must_use]
    pub fn new(formatter: Formatter<O>) -> Self {
        Self::with_limits(formatter, Limits::default())
    }

    /// A file system of nothing but the root directory, for layers within these limits, all of them together.
    #[must_use]
    pub fn with_limits(formatter: Formatter<O>, limits: Limits) -> Self {
        Self {
            tree: Tree::default(),
            formatter,
            budget: Budget::new(limits),
        }
    }

    /// Applies a layer, given as a tar, and reads it to its very end, behind the end of the archive too.
    ///
    /// # Errors
    ///
    /// [`LayerError`] says where in the layer and what. The tree is then in between, and of no more use.
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
