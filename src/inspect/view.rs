//! A disk image in the eyes of ext4-view.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ext4_view::{Ext4, Ext4Error, Ext4Read};

/// Where the superblock begins, in bytes.
const SUPERBLOCK: u64 = 1024;

/// An image whose superblock names only features that ext4-view knows.
///
/// It refuses `ea_inode`, which changes nothing but the values of attributes, which it does not read.
struct Input {
    file: File,
    superblock: [u8; 1024],
}

pub(super) fn load(path: &Path, superblock: &[u8; 1024]) -> Result<Ext4, Ext4Error> {
    let file = File::open(path).map_err(|error| Ext4Error::Io(error.into()))?;
    Ext4::load(Box::new(Input {
        file,
        superblock: *superblock,
    }))
}

impl Ext4Read for Input {
    fn read(
        &mut self,
        start: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(buffer)?;
        if start == SUPERBLOCK && buffer.len() == self.superblock.len() {
            buffer.copy_from_slice(&self.superblock);
        }
        Ok(())
    }
}
