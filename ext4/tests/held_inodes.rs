//! Inodes that are held while their names are removed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ext4::{Directory, Formatter, InodeId, Kind, Metadata, Options, Size, Tree, TreeError};

use support::check::check;

const CONTENT: &[u8] = &[7; 5000];

fn formatter() -> Formatter<Vec<u8>> {
    let options = Options {
        size: Size::Fixed(16 << 20),
        ..Options::new([7; 16])
    };
    Formatter::new(Vec::new(), options).unwrap()
}

/// Makes a tree with a directory `d` and a file `d/a`.
fn tree(formatter: &mut Formatter<Vec<u8>>) -> (Tree, InodeId) {
    let mut tree = Tree::default();
    let mut insert = |directory, name: &[u8], kind| tree.insert(directory, name, Metadata::default(), kind).unwrap();
    let directory = insert(InodeId::ROOT, b"d", Kind::Directory(Directory::new()));
    let data = formatter.write_data(CONTENT, CONTENT.len() as u64).unwrap();
    let file = insert(directory, b"a", Kind::File(data));
    (tree, file)
}

#[test]
fn a_held_inode_outlives_its_names_and_can_be_linked_again() {
    let mut formatter = formatter();
    let (mut tree, file) = tree(&mut formatter);
    tree.hold(file).unwrap();
    assert!(tree.remove(InodeId::ROOT, b"d").unwrap().is_empty());
    assert_eq!(tree.inode(file).links(), 0);
    tree.link(InodeId::ROOT, b"b", file).unwrap();
    assert!(tree.release().is_empty());
    assert_eq!(
        (tree.lookup(InodeId::ROOT, b"b"), tree.inode(file).links()),
        (Some(file), 1)
    );
    let removed = tree.remove(InodeId::ROOT, b"b").unwrap();
    assert_eq!((removed.len(), tree.contains(file)), (1, false));
}

#[test]
fn release_returns_the_contents_of_inodes_without_a_name() {
    let mut formatter = formatter();
    let (mut tree, file) = tree(&mut formatter);
    tree.hold(file).unwrap();
    tree.remove(InodeId::ROOT, b"d").unwrap();
    let released = tree.release();
    assert_eq!((released[0].len(), released.len()), (CONTENT.len() as u64, 1));
    assert!(!tree.contains(file) && tree.release().is_empty());
    assert!(matches!(tree.hold(file), Err(TreeError::NoSuchInode { .. })));
    assert_eq!(tree.hold(InodeId::ROOT), Err(TreeError::LinkToDirectory));
}

#[test]
fn an_inode_that_is_only_held_is_not_in_the_image() {
    let image = |hold: bool| {
        let mut formatter = formatter();
        let (mut tree, file) = tree(&mut formatter);
        if hold {
            tree.hold(file).unwrap();
        }
        // Drops the content: `finish` frees what no file has.
        drop(tree.remove(InodeId::ROOT, b"d").unwrap());
        formatter.finish(tree).unwrap().0
    };
    let held = image(true);
    check(&held);
    assert!(held == image(false));
}
