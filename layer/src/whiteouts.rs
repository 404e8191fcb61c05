//! Applies the whiteouts of a layer to the tree that the lower layers left.
//!
//! A whiteout names an entry of the lower layers, and an opaque marker a directory. Whiteouts
//! without a symlink in their path are applied first. The others then follow the symlinks that are
//! left. A symlink that stays is followed, as containerd and umoci do when they unpack into a
//! directory.
//!
//! A whiteout hides nothing if its path leads through a symlink that an entry of the layer
//! replaces, or one in a directory that an entry replaces. Over `real/f` and `s -> real`, a layer
//! of `s/`, `s/new` and `s/.wh.f` leaves `real/f` alone: the layer has a directory `s` of its own,
//! so the whiteout cannot have meant `real/f`.
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

/// Part of the tree that a whiteout hides.
enum HiddenPart {
    /// One entry, by its directory and name.
    Entry(InodeId, Box<[u8]>),
    /// All entries of a directory.
    Contents(InodeId),
}

/// Removes what the whiteouts hide, and returns the contents that lost their last name.
///
/// `entries` are the layer's other entries: the position, the path, and whether it is a directory.
/// Symlink targets on the way are counted as metadata.
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

/// Returns the part of the tree that a whiteout hides, `None` if the lower layers have nothing
/// there, and the length in bytes of the targets of all symlinks on the way.
///
/// Only symlinks for which `follows` returns true are followed.
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

/// Removes the hidden parts, and returns the contents that lost their last name. A part that was
/// removed with another is skipped.
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

/// Returns the names in a directory. Empty if the directory was removed.
fn entry_names(directory: InodeId, tree: &Tree) -> Vec<Box<[u8]>> {
    let directory = tree.get(directory).and_then(Inode::directory);
    let entries = directory.into_iter().flat_map(Directory::entries);
    entries.map(|(name, _)| name.into()).collect()
}

/// Symlinks of the lower layers that entries of the layer replace.
struct ReplacedSymlinks {
    /// Names of replaced symlinks, by directory.
    symlinks: HashMap<InodeId, HashSet<Box<[u8]>>>,
    /// Directories that are replaced, and all directories below them.
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
            // A wrong path is reported when the entry is placed.
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
        // A list instead of recursion: a hostile tree may be deeper than the stack.
        let mut pending = vec![directory];
        while let Some(id) = pending.pop() {
            if let Some(directory) = tree.inode(id).directory()
                && self.directories.insert(id)
            {
                pending.extend(directory.entries().map(|(_, child)| child));
            }
        }
    }

    /// Returns whether an entry of the layer replaces the symlink `name` in `directory`, or
    /// replaces `directory` or a directory above it.
    fn contains(&self, directory: InodeId, name: &[u8]) -> bool {
        let names = self.symlinks.get(&directory);
        self.directories.contains(&directory) || names.is_some_and(|names| names.contains(name))
    }
}
