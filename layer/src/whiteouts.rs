//! Hides entries of lower layers, as the whiteouts of a layer say.
//!
//! A whiteout names an entry of the layers below, and an opaque marker a directory: both are
//! resolved in the tree that those left. Whiteouts without a symlink on their way come first. The
//! others follow the symlinks that are then still there, except those that an entry of the layer
//! replaces, or which are in a directory that one replaces: over `real/f` and `s -> real`, a layer
//! of `s/`, `s/new` and `s/.wh.f` leaves `real/f` alone.
//!
//! So the result depends neither on the order of the whiteouts nor on their place in the tar.

use std::collections::{HashMap, HashSet};

use ext4::{Directory, FileData, Inode, InodeId, Kind, Tree};

use super::error::{LayerError, LayerErrorKind, Position};
use super::limits::Budget;
use super::path::RelativePath;
use super::path_resolution::{ResolvedPath, resolve_path, resolve_path_where};
use crate::cancel::Cancel;

/// A whiteout or an opaque marker.
#[derive(Debug)]
pub(super) enum Whiteout {
    /// Hides the entry that lower layers have at the path.
    Entry(RelativePath),
    /// Hides the entries that lower layers have in the directory.
    Contents(RelativePath),
}

/// The part of a tree that a whiteout hides.
enum HiddenPart {
    Entry(InodeId, Box<[u8]>),
    Contents(InodeId),
}

/// Hides what whiteouts name, and returns the contents that no name leads to any more.
///
/// `entries` are the layer's other entries: position, path, and whether it is a directory. What
/// symlinks make of paths counts as metadata.
pub(super) fn apply<'a>(
    whiteouts: &[(Position, Whiteout)],
    entries: impl Iterator<Item = (&'a Position, RelativePath, bool)>,
    tree: &mut Tree,
    budget: &mut Budget,
    cancel: &Cancel,
) -> Result<Vec<FileData>, LayerError> {
    let mut hidden = Vec::new();
    let mut behind_symlinks = Vec::new();
    for (position, whiteout) in whiteouts {
        let found = find_hidden(whiteout, tree, |_, _| true).and_then(|(found, symlink_bytes)| {
            cancel.check()?;
            budget.count_metadata(symlink_bytes)?;
            Ok((found, symlink_bytes))
        });
        match found {
            Ok((found, 0)) => hidden.extend(found),
            Ok(_) => behind_symlinks.push((position, whiteout)),
            Err(kind) => return Err(position.error(kind)),
        }
    }
    let mut unreachable = remove_hidden(hidden, tree);
    if !behind_symlinks.is_empty() {
        let replaced = ReplacedSymlinks::new(entries, tree, budget, cancel)?;
        let mut hidden = Vec::new();
        for (position, whiteout) in behind_symlinks {
            let found = cancel
                .check()
                .map_err(LayerErrorKind::from)
                .and_then(|()| find_hidden(whiteout, tree, |directory, name| !replaced.contains(directory, name)));
            hidden.extend(found.map_err(|kind| position.error(kind))?.0);
        }
        unreachable.extend(remove_hidden(hidden, tree));
    }
    Ok(unreachable)
}

/// Finds what a whiteout hides, `None` if lower layers have nothing there, and returns the length
/// of the targets of all symlinks on the way too.
fn find_hidden(
    whiteout: &Whiteout,
    tree: &Tree,
    follows: impl Fn(InodeId, &[u8]) -> bool,
) -> Result<(Option<HiddenPart>, usize), LayerErrorKind> {
    let (path, name) = match whiteout {
        Whiteout::Entry(path) => match path.split() {
            Some((parent, name)) => (parent, Some(name)),
            None => return Ok((None, 0)),
        },
        Whiteout::Contents(path) => (path.as_bytes(), None),
    };
    let ResolvedPath {
        directory,
        missing,
        symlink_bytes,
        ..
    } = resolve_path_where(tree, path, follows)?;
    let found = match name {
        _ if !missing.is_empty() => None,
        Some(name) => tree
            .lookup(directory, name)
            .map(|_| HiddenPart::Entry(directory, name.into())),
        None => Some(HiddenPart::Contents(directory)),
    };
    Ok((found, symlink_bytes))
}

/// Removes what whiteouts hide. One may have removed what another hides too.
fn remove_hidden(hidden: Vec<HiddenPart>, tree: &mut Tree) -> Vec<FileData> {
    let mut unreachable = Vec::new();
    for hidden in hidden {
        let (directory, names) = match hidden {
            HiddenPart::Entry(directory, name) => (directory, vec![name]),
            HiddenPart::Contents(directory) => (directory, entry_names(directory, tree)),
        };
        let removed = names.iter().filter_map(|name| tree.remove(directory, name).ok());
        unreachable.extend(removed.flatten());
    }
    unreachable
}

/// The names of a directory; none if it is gone.
fn entry_names(directory: InodeId, tree: &Tree) -> Vec<Box<[u8]>> {
    let directory = tree.get(directory).and_then(Inode::directory);
    let entries = directory.into_iter().flat_map(Directory::entries);
    entries.map(|(name, _)| name.into()).collect()
}

/// Symlinks of lower layers that entries of a layer replace.
struct ReplacedSymlinks {
    /// Their names, by directory.
    symlinks: HashMap<InodeId, HashSet<Box<[u8]>>>,
    /// Directories that are replaced, and all below.
    directories: HashSet<InodeId>,
}

impl ReplacedSymlinks {
    fn new<'a>(
        entries: impl Iterator<Item = (&'a Position, RelativePath, bool)>,
        tree: &Tree,
        budget: &mut Budget,
        cancel: &Cancel,
    ) -> Result<Self, LayerError> {
        let mut replaced = Self {
            symlinks: HashMap::new(),
            directories: HashSet::new(),
        };
        for (position, path, is_directory) in entries {
            // A path that is wrong is an error when the entry is placed.
            let Some((parent, name)) = path.split() else { continue };
            let Ok(ResolvedPath {
                directory,
                missing,
                symlink_bytes,
                ..
            }) = resolve_path(tree, parent)
            else {
                continue;
            };
            let counted = cancel
                .check()
                .map_err(LayerErrorKind::from)
                .and_then(|()| budget.count_metadata(symlink_bytes));
            counted.map_err(|kind| position.error(kind))?;
            if missing.is_empty()
                && let Some(id) = tree.lookup(directory, name)
            {
                match tree.inode(id).kind() {
                    Kind::Symlink(_) => {
                        replaced.symlinks.entry(directory).or_default().insert(name.into());
                    }
                    Kind::Directory(_) if !is_directory => replaced.add_directories(id, tree),
                    _ => {}
                }
            }
        }
        Ok(replaced)
    }

    fn add_directories(&mut self, directory: InodeId, tree: &Tree) {
        // A list, not recursion: a hostile tree may be deeper than the stack.
        let mut pending = vec![directory];
        while let Some(id) = pending.pop() {
            if let Some(directory) = tree.inode(id).directory()
                && self.directories.insert(id)
            {
                pending.extend(directory.entries().map(|(_, child)| child));
            }
        }
    }

    fn contains(&self, directory: InodeId, name: &[u8]) -> bool {
        let names = self.symlinks.get(&directory);
        self.directories.contains(&directory) || names.is_some_and(|names| names.contains(name))
    }
}
