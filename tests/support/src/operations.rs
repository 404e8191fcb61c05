//! Sequences of operations on a tree, and what each does to the model of it.

use ext4::{Device, Directory, FormatError, InodeId, Kind, MAX_NAME_LEN, MAX_TARGET_LEN, Metadata, Output, TreeError};

use super::content::Content;
use super::model::{Build, Model, Node};

/// One step on the way to a tree. A number chooses among the paths that there are, however many these be.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Puts something below a directory, in the place of what has the name already.
    Put(usize, Vec<u8>, Metadata, Node),
    /// Gives an inode that is no directory one more name.
    Link(usize, usize, Vec<u8>),
    /// Gives an inode that is no directory another name.
    Rename(usize, usize, Vec<u8>),
    /// Gives an inode other metadata.
    Describe(usize, Metadata),
    Remove(usize),
    /// Writes content that never becomes a file, and gives it back or forgets it.
    Discard(Content, bool),
    /// Writes content that ends before it should.
    BreakOff(Content),
    /// Tries what no tree takes.
    Misuse(usize, usize),
}

/// Applies a step if the tree, as the model has it, can take it.
///
/// # Errors
///
/// What the formatter says of the content or of its output.
pub fn apply<O: Output>(build: &mut Build<O>, operation: Operation) -> Result<(), FormatError> {
    match operation {
        Operation::Put(at, name, metadata, node) => {
            let path = below(&build.model, at, &name);
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
        Operation::Describe(inode, metadata) => {
            let path = chosen(&build.model, inode);
            build.describe(&path, metadata);
        }
        Operation::Remove(index) => {
            let path = chosen(&build.model, index);
            if !path.is_empty() {
                build.remove(&path);
            }
        }
        Operation::Discard(content, is_forgotten) => {
            let data = build
                .formatter
                .write_sparse(content.reader(), content.len, &content.ranges)?;
            if !is_forgotten {
                build.formatter.free(data);
            }
        }
        Operation::BreakOff(content) => {
            let result = build.formatter.write_data(&content.bytes()[..], content.len + 1);
            match result.expect_err("a byte is missing") {
                FormatError::ContentTooShort { actual, .. } => assert_eq!(actual, content.len),
                error => return Err(error),
            }
        }
        Operation::Misuse(first, second) => misuse(build, first, second),
    }
    Ok(())
}

/// Links an inode if it can have the name, and says the path that it had.
fn link<O: Output>(build: &mut Build<O>, inode: usize, at: usize, name: &[u8]) -> Option<Vec<u8>> {
    let existing = chosen(&build.model, inode);
    let path = below(&build.model, at, name);
    let is_directory = matches!(build.model.node_at(&existing), Node::Directory);
    if is_directory || build.model.paths.contains_key(&path) {
        return None;
    }
    build.link(&path, &existing);
    Some(existing)
}

/// A path that there is.
fn chosen(model: &Model, index: usize) -> Vec<u8> {
    let nth = index % model.paths.len();
    model.paths.keys().nth(nth).expect("the root at least").clone()
}

/// The path of a name in a directory that there is.
fn below(model: &Model, index: usize, name: &[u8]) -> Vec<u8> {
    let directories: Vec<_> = model
        .paths
        .keys()
        .filter(|path| matches!(model.node_at(path), Node::Directory))
        .collect();
    let directory = directories[index % directories.len()];
    let separator = if directory.is_empty() { "" } else { "/" };
    [directory, separator.as_bytes(), name].concat()
}

/// What a tree must refuse, and refuses without a change.
fn misuse<O: Output>(build: &mut Build<O>, first: usize, second: usize) {
    let (first, second) = (chosen(&build.model, first), chosen(&build.model, second));
    let (at, other) = (build.id_of(&first), build.id_of(&second));
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
