//! Random operations on a tree, applied to the image and to its model.

use ext4::{Device, Directory, FormatError, InodeId, Kind, MAX_NAME_LEN, MAX_TARGET_LEN, Metadata, Output, TreeError};

use super::content::Content;
use super::model::{Build, Model, Node};

/// An operation on a tree. A number selects one of the paths, or directories, of the moment: modulo
/// their count, so any number is valid.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Adds an inode to a directory, and replaces an entry of that name.
    Put(usize, Vec<u8>, Metadata, Node),
    /// Adds a hard link to an inode, unless that is a directory or the name exists.
    Link(usize, usize, Vec<u8>),
    /// Renames an inode, unless that is a directory or the name exists.
    Rename(usize, usize, Vec<u8>),
    /// Replaces the metadata of an inode.
    SetMetadata(usize, Metadata),
    Remove(usize),
    /// Writes content that never becomes part of the tree. Frees it, or forgets it if the flag is
    /// set.
    WriteUnused(Content, bool),
    /// Writes content from a reader that ends one byte early.
    WriteTooLittle(Content),
    /// Makes calls that every tree must refuse.
    CallInvalidly(usize, usize),
}

/// Applies an operation, or does nothing if it is not possible in the tree.
///
/// # Errors
///
/// Errors of the formatter, for the content or the output.
pub fn apply<O: Output>(build: &mut Build<O>, operation: Operation) -> Result<(), FormatError> {
    match operation {
        Operation::Put(at, name, metadata, node) => {
            let path = path_in_nth_directory(&build.model, at, &name);
            if build.model.paths.contains_key(&path) {
                build.remove(&path);
            }
            build.put(&path, metadata, node)?;
        }
        Operation::Link(inode, at, name) => {
            link(build, inode, at, &name);
        }
        Operation::Rename(inode, at, name) => {
            if let Some(existing) = link(build, inode, at, &name) {
                build.remove(existing);
            }
        }
        Operation::SetMetadata(inode, metadata) => {
            let path = nth_path(&build.model, inode);
            build.set_metadata(&path, metadata);
        }
        Operation::Remove(index) => {
            let path = nth_path(&build.model, index);
            if !path.is_empty() {
                build.remove(&path);
            }
        }
        Operation::WriteUnused(content, forgotten) => {
            let data = build
                .formatter
                .write_sparse(content.reader(), content.len, &content.ranges)?;
            if !forgotten {
                build.formatter.free(data);
            }
        }
        Operation::WriteTooLittle(content) => {
            let result = build.formatter.write_data(&content.bytes()[..], content.len + 1);
            match result.expect_err("a byte is missing") {
                FormatError::ContentTooShort { actual, .. } => assert_eq!(actual, content.len),
                error => return Err(error),
            }
        }
        Operation::CallInvalidly(first, second) => assert_invalid_calls_fail(build, first, second),
    }
    Ok(())
}

/// Adds a hard link, and returns the path of the inode that was linked. Returns `None` if the inode
/// is a directory or the name exists.
fn link<O: Output>(build: &mut Build<O>, inode: usize, at: usize, name: &[u8]) -> Option<Vec<u8>> {
    let existing = nth_path(&build.model, inode);
    let path = path_in_nth_directory(&build.model, at, name);
    let is_directory = matches!(build.model.node_at(&existing), Node::Directory);
    if is_directory || build.model.paths.contains_key(&path) {
        return None;
    }
    build.link(&path, &existing);
    Some(existing)
}

/// Returns one of the model's paths.
fn nth_path(model: &Model, index: usize) -> Vec<u8> {
    let nth = index % model.paths.len();
    model.paths.keys().nth(nth).expect("the root at least").clone()
}

/// Returns the path of a name in one of the model's directories.
fn path_in_nth_directory(model: &Model, index: usize, name: &[u8]) -> Vec<u8> {
    let directories: Vec<_> = model
        .paths
        .keys()
        .filter(|path| matches!(model.node_at(path), Node::Directory))
        .collect();
    let directory = directories[index % directories.len()];
    let separator = if directory.is_empty() { "" } else { "/" };
    [directory, separator.as_bytes(), name].concat()
}

/// Asserts that invalid calls fail, and change nothing.
fn assert_invalid_calls_fail<O: Output>(build: &mut Build<O>, first: usize, second: usize) {
    let (first, second) = (nth_path(&build.model, first), nth_path(&build.model, second));
    let (at, other) = (build.inode_id(&first), build.inode_id(&second));
    let is_directory = matches!(build.model.node_at(&first), Node::Directory);
    let mut insert =
        |at: InodeId, name: &[u8], kind: Kind| build.tree.insert(at, name, Metadata::default(), kind).unwrap_err();
    let invalid: [&[u8]; 6] = [b"", b".", b"..", b"a/b", b"a\0b", &[b'x'; MAX_NAME_LEN + 1]];
    for name in invalid {
        assert_eq!(
            insert(at, name, Kind::Fifo),
            TreeError::InvalidName { name: name.to_vec() }
        );
    }
    for target in [vec![], vec![b't'; MAX_TARGET_LEN + 1], b"a\0b".to_vec()] {
        let len = target.len();
        assert_eq!(
            insert(at, b"new name", Kind::Symlink(target.into())),
            TreeError::InvalidTarget { len }
        );
    }
    for (major, minor) in [(1 << 12, 0), (0, 1 << 20)] {
        let error = insert(at, b"new name", Kind::CharDevice(Device { major, minor }));
        assert_eq!(error, TreeError::InvalidDevice { major, minor });
    }
    if is_directory {
        assert_eq!(
            build.tree.link(at, b"new name", InodeId::ROOT),
            Err(TreeError::LinkToDirectory)
        );
        assert_eq!(build.tree.remove(at, b"new name").unwrap_err(), TreeError::NotFound);
        if let Some(name) = build
            .tree
            .inode(at)
            .directory()
            .and_then(|directory| Some(directory.entries().next()?.0.to_vec()))
        {
            let error = build
                .tree
                .insert(at, &name, Metadata::default(), Kind::Directory(Directory::new()));
            assert_eq!(error.unwrap_err(), TreeError::AlreadyExists);
        }
    } else {
        assert_eq!(insert(at, b"new name", Kind::Fifo), TreeError::NotADirectory);
        assert_eq!(
            build.tree.remove(at, b"new name").unwrap_err(),
            TreeError::NotADirectory
        );
    }
    assert_eq!(build.tree.lookup(at, b"new name"), None);
    assert!(build.tree.contains(other));
}
