//! Writes ext4 file systems.
