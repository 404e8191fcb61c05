//! [`Origin`]: which formatter wrote a content, and which tree an inode is in.

use std::sync::atomic::{AtomicU32, Ordering};

/// Number of a formatter or a tree, unique in the process; 0 stands for none.
///
/// It is compared and never written: no byte of an image depends on it. Four bytes, since a tree
/// holds one for each file: after 2^32 formatters and trees the numbers repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin(u32);

impl Origin {
    /// Origin of a value that belongs to no formatter or tree in particular.
    pub(crate) const NONE: Self = Self(0);

    /// A number that was not given out before.
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
