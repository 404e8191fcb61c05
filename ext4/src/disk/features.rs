//! Feature sets, named as `mke2fs -O` prints them.

use bitflags::bitflags;

bitflags! {
    /// Features that a kernel may ignore (`s_feature_compat`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Compat: u32 {
        const HAS_JOURNAL = 0x4;
        const EXT_ATTR = 0x8;
        const RESIZE_INODE = 0x10;
        const DIR_INDEX = 0x20;
        const SPARSE_SUPER2 = 0x200;
    }

    /// Features that a kernel must know to mount at all (`s_feature_incompat`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Incompat: u32 {
        const FILETYPE = 0x2;
        const EXTENT = 0x40;
        const BIT64 = 0x80;
        const FLEX_BG = 0x200;
        const EA_INODE = 0x400;
        const LARGE_DIR = 0x4000;
        const INLINE_DATA = 0x8000;
    }

    /// Features that a kernel must know to mount for writing (`s_feature_ro_compat`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RoCompat: u32 {
        const SPARSE_SUPER = 0x1;
        const LARGE_FILE = 0x2;
        const HUGE_FILE = 0x8;
        const DIR_NLINK = 0x20;
        const EXTRA_ISIZE = 0x40;
        const METADATA_CSUM = 0x400;
    }
}
