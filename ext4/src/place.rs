//! Where things go: numbers only, no input or output.

pub(crate) mod compact;
pub(crate) mod cursor;
pub(crate) mod freed;
pub(crate) mod geometry;
pub(crate) mod inodes;
pub(crate) mod layout;
pub(crate) mod size;
pub(crate) mod usage;
