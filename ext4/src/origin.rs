//! [`Origin`]: which formatter wrote a content, and which tree an inode belongs to.

use std::sync::atomic::{AtomicU32, Ordering};

/// Number of a formatter or a tree, unique in the process; 0 means none.
///
/// It is only compared, never written: no byte of an image depends on it. It has four bytes
/// because a tree stores one for each file. The numbers repeat after 2^32 formatters and trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin(u32);

impl Origin {
    /// Origin of a value that belongs to no formatter or tree in particular.
    pub(crate) const NONE: Self = Self(0);

    /// Returns the next number.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        loop {
            let origin = Self(NEXT.fetch_add(1, Ordering::Relaxed));
            if origin != Self::NONE {
                return origin;
            }
        }
    }
}
