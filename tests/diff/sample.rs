//! Small disk images, each with a change that a test chooses.

use std::fs::File;

use ext4::{BlockSize, Device, Directory, Formatter, InodeId, Inodes, Journal, Kind, Metadata, Options, Size, Tree};
use tempfile::NamedTempFile;

/// A disk image that is being built.
pub(crate) struct Sample {
    pub(crate) formatter: Option<Formatter<File>>,
    tree: Tree,
    file: NamedTempFile,
}

impl Sample {
    pub(crate) fn new(options: Options) -> Self {
        let file = NamedTempFile::new().unwrap();
        let formatter = Formatter::new(file.reopen().unwrap(), options).unwrap();
        Self {
            formatter: Some(formatter),
            tree: Tree::new(permissions(0o755)),
            file,
        }
    }

    /// Adds a file of any type.
    pub(crate) fn put(&mut self, path: &str, metadata: Metadata, kind: Kind) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.find(directory);
        self.tree.insert(directory, name.as_bytes(), metadata, kind).unwrap();
    }

    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        let formatter = self.formatter.as_mut().unwrap();
        let data = formatter.write_data(content, content.len() as u64).unwrap();
        self.put(path, permissions(0o644), Kind::File(data));
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.put(path, permissions(0o755), Kind::Directory(Directory::new()));
    }

    /// Returns the inode at a path.
    fn find(&self, path: &str) -> InodeId {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(InodeId::ROOT, |directory, name| {
            self.tree.lookup(directory, name.as_bytes()).unwrap()
        })
    }

    pub(crate) fn metadata(&mut self, path: &str) -> &mut Metadata {
        let id = self.find(path);
        self.tree.metadata_mut(id)
    }

    pub(crate) fn remove(&mut self, path: &str) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.find(directory);
        drop(self.tree.remove(directory, name.as_bytes()).unwrap());
    }

    pub(crate) fn link(&mut self, path: &str, existing: &str) {
        let existing = self.find(existing);
        self.tree.link(InodeId::ROOT, path.as_bytes(), existing).unwrap();
    }

    pub(crate) fn finish(mut self) -> NamedTempFile {
        let formatter = self.formatter.take().unwrap();
        formatter.finish(self.tree).unwrap();
        self.file
    }
}

pub(crate) fn permissions(mode: u16) -> Metadata {
    Metadata {
        mode,
        ..Metadata::default()
    }
}

/// Returns the options of a small image with backup superblocks.
pub(crate) fn options() -> Options {
    Options {
        block_size: BlockSize::Kib1,
        size: Size::Fixed(16 << 20),
        journal: Journal::None,
        inodes: Inodes::AtLeast(100),
        ..Options::new([7; 16])
    }
}

/// Returns an image with two files, a directory, a symlink and a device.
pub(crate) fn sample(options: Options) -> Sample {
    let mut sample = Sample::new(options);
    sample.directory("etc");
    sample.file("etc/motd", b"welcome\nto this\nmachine\n");
    sample.file("binary", &[0, 1, 2, 3].repeat(3000));
    sample.put("link", permissions(0o777), Kind::Symlink(b"etc/motd"[..].into()));
    let null = Device { major: 1, minor: 3 };
    sample.put("null", permissions(0o666), Kind::CharDevice(null));
    sample
}

/// Changes the sample.
pub(crate) type Change = fn(&mut Sample);

/// Returns the image of the sample with a change.
pub(crate) fn changed(change: Change) -> NamedTempFile {
    let mut sample = sample(options());
    change(&mut sample);
    sample.finish()
}
