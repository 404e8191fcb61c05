//! Bits of the features by the words that they are in, as the check asks for them.

/// Features that a reader must know (`s_feature_incompat`, `EXT4_FEATURE_INCOMPAT_*`).
pub(crate) mod incompat {
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const EXTENT: u32 = 0x40;
    pub(crate) const BIT64: u32 = 0x80;
    pub(crate) const MMP: u32 = 0x100;
    pub(crate) const FLEX_BG: u32 = 0x200;
    pub(crate) const EA_INODE: u32 = 0x400;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGE_DIR: u32 = 0x4000;
    pub(crate) const INLINE_DATA: u32 = 0x8000;
}

/// Features that may be ignored (`s_feature_compat`, `EXT4_FEATURE_COMPAT_*`).
pub(crate) mod compat {
    pub(crate) const IMAGIC_INODES: u32 = 0x2;
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const EXT_ATTR: u32 = 0x8;
    pub(crate) const RESIZE_INODE: u32 = 0x10;
    pub(crate) const DIR_INDEX: u32 = 0x20;
    pub(crate) const ORPHAN_FILE: u32 = 0x1000;
}

/// Features that a writer must know (`s_feature_ro_compat`, `EXT4_FEATURE_RO_COMPAT_*`).
pub(crate) mod ro_compat {
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const QUOTA: u32 = 0x100;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x1_0000;
}
