//! Tests of extended attributes that Linux stores for some files or for none, of ACLs, and of
//! metadata that hard links and whiteouts carry.

use crate::layers::{apply, check_tars};
use support::tar::{Entry, archive};

const NOBODY: u32 = u32::MAX;
/// `user::rw-,group::r--,other::---`
const MINIMAL: [(u16, u16, u32); 3] = [(0x01, 6, NOBODY), (0x04, 4, NOBODY), (0x20, 0, NOBODY)];

/// Returns an ACL as getxattr(2) shows it: tags, permissions and identifiers.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(tag, permissions, id)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    2u32.to_le_bytes().into_iter().chain(entries).collect()
}

fn access(entry: Entry, value: impl AsRef<[u8]>) -> Entry {
    entry.pax("SCHILY.xattr.system.posix_acl_access", value)
}

fn default(entry: Entry, value: impl AsRef<[u8]>) -> Entry {
    entry.pax("SCHILY.xattr.system.posix_acl_default", value)
}

/// File systems generate the other `system.` attributes on request, and `system.data` is the
/// content of a small file.
#[test]
fn system_attributes_other_than_acls_are_left_out() {
    let layer = ["data", "nfs4_acl", "richacl", "posix_acl", "posix_acl_accesses", "x"]
        .into_iter()
        .fold(Entry::file("f", "content"), |entry, name| {
            entry.pax(format!("SCHILY.xattr.system.{name}"), "value")
        });
    let layer = access(layer, acl(&MINIMAL)).pax("SCHILY.xattr.system.", "value");
    let (tree, summaries) = apply(&[archive(&[layer])]).unwrap();
    assert_eq!(
        tree,
        ["f=content(system.posix_acl_access=\\x02\\x00\\x00\\x00\
          \\x01\\x00\\x06\\x00\\xff\\xff\\xff\\xff\\x04\\x00\\x04\\x00\\xff\\xff\\xff\\xff\\x20\\x00\\x00\\x00\\xff\\xff\\xff\\xff)"]
    );
    assert_eq!(summaries[0].ignored_xattrs, 7);
}

/// acl(5): a symlink has no ACL, and only a directory has an ACL for new files.
#[test]
fn acls_of_symlinks_and_default_acls_of_files_are_left_out() {
    let layer = [
        access(Entry::symlink("s", "t"), acl(&MINIMAL)),
        default(Entry::symlink("t", "u"), "and no ACL either"),
        default(Entry::file("f", "x"), acl(&MINIMAL)),
        default(Entry::new(b'6', "p"), acl(&MINIMAL)),
    ];
    let (tree, summaries) = apply(&[archive(&layer)]).unwrap();
    assert_eq!(tree, ["f=x", "p|", "s->t", "t->u"]);
    assert_eq!(summaries[0].ignored_xattrs, 4);
}

#[test]
fn invalid_acls_are_errors() {
    let [owner, group, other] = MINIMAL;
    let (named_user, named_group) = ((0x02, 4, 1000), (0x08, 4, 1000));
    let mask = (0x10, 4, NOBODY);
    for (value, reason) in [
        (b"no".to_vec(), "version"),
        (acl(&MINIMAL)[..27].to_vec(), "cut off"),
        (acl(&[owner, group]), "missing"),
        (acl(&[owner, other]), "order"),
        (acl(&[group, owner, other]), "order"),
        (acl(&[owner, group, other, other]), "twice"),
        (acl(&[owner, group, named_user, mask, other]), "order"),
        (acl(&[owner, named_user, group, other]), "mask"),
        (acl(&[owner, group, named_group, other]), "mask"),
        (acl(&[owner, (0x02, 4, NOBODY), group, mask, other]), "user"),
        (acl(&[(0x01, 8, NOBODY), group, other]), "permissions"),
        (acl(&[owner, group, (0x40, 0, NOBODY), other]), "unknown"),
    ] {
        let layers = [
            access(Entry::file("f", ""), &value),
            default(Entry::directory("f/"), &value),
            access(Entry::new(b'3', "f"), &value),
        ];
        for layer in layers {
            check_tars(&[archive(&[layer])], &format!("error: entry 1 \"f ACL {reason}"));
        }
    }
}

/// setxattr(2) returns "not supported" for another version. An ACL without entries removes the ACL.
#[test]
fn acls_of_other_versions_are_left_out_and_empty_acls_set_none() {
    let other = [3, 0, 0, 0, 1];
    let empty = acl(&[]);
    let layer = [
        access(Entry::file("a", ""), other),
        default(access(Entry::directory("b/"), "none"), other),
        access(Entry::file("c", ""), ""),
        default(access(Entry::directory("d/"), &empty), &empty),
        default(Entry::file("e", ""), &empty),
    ];
    let (tree, summaries) = apply(&[archive(&layer)]).unwrap();
    assert_eq!(tree, ["a=", "b/", "c=", "d/", "e="]);
    assert_eq!(summaries[0].ignored_xattrs, 4);
}

/// overlayfs.rst. umoci leaves these out as well. Escaped names (`trusted.overlay.overlay.*`)
/// belong to an overlay inside another.
#[test]
fn attributes_of_overlayfs_are_counted_and_left_out() {
    let layer = crate::layers::notation::entries(
        "d/(trusted.overlay.opaque=y,trusted.overlay.origin=x,trusted.a=1) \
         f=x(trusted.overlay.metacopy=,trusted.overlay.redirect=/g,user.overlay.impure=y,user.b=2) \
         e/(trusted.overlay.overlay.opaque=y,user.overlay.=z,user.overlayfs=3) l->f(trusted.overlay.nlink=U+1)",
    );
    let (tree, summaries) = apply(&[archive(&layer)]).unwrap();
    assert_eq!(
        tree,
        ["d/(trusted.a=1)", "e/(user.overlayfs=3)", "f=x(user.b=2)", "l->f"]
    );
    assert_eq!((summaries[0].overlay_xattrs, summaries[0].ignored_xattrs), (8, 0));
}

/// Adds metadata that no file can have.
fn impossible(entry: Entry) -> Entry {
    access(entry, acl(&MINIMAL[..1]))
        .pax("uid", "-1")
        .pax("gid", "4294967295")
        .pax("mtime", "99999999999999")
        .pax("SCHILY.devmajor", "-1")
        .pax("SCHILY.xattr.", "without a name")
        .pax(format!("SCHILY.xattr.user.{}", "n".repeat(251)), "too long a name")
        .pax("SCHILY.xattr.user.value", vec![b'v'; 65_537])
        .pax("SCHILY.xattr.user.a\0b", "NUL")
        .pax("LIBARCHIVE.xattr.user.b", "!")
        .pax("SCHILY.acl.access", "user::rw-")
        .pax("SCHILY.xattr.com.apple.note", "foreign")
}

#[test]
fn metadata_of_hard_links_and_whiteouts_is_ignored() {
    let lower = archive(&[
        Entry::file("a", "1"),
        Entry::file("gone", ""),
        Entry::file("d/gone", ""),
    ]);
    let upper = [
        impossible(Entry::hard_link("b", "a")),
        impossible(Entry::file(".wh.gone", "content of a whiteout")),
        impossible(Entry::new(b'3', "d/.wh..wh..opq")),
    ];
    let (tree, summaries) = apply(&[lower.clone(), archive(&upper)]).unwrap();
    assert_eq!(tree, ["a=1", "b==a", "d/(@0)"]);
    assert_eq!((summaries[1].ignored_xattrs, summaries[1].ignored_acls), (0, 0));
    for other in [Entry::file("f", ""), Entry::directory("a"), Entry::symlink("s", "t")] {
        check_tars(&[lower.clone(), archive(&[impossible(other)])], "error: entry 1");
    }
}

/// A whiteout can hide a name of the maximum length.
#[test]
fn a_whiteout_can_hide_a_name_of_255_bytes_but_not_of_256() {
    let name = "n".repeat(255);
    let lower = archive(&[Entry::file(&name, "x")]);
    check_tars(&[lower.clone(), archive(&[Entry::file(format!(".wh.{name}"), "")])], "");
    check_tars(
        &[lower, archive(&[Entry::file(format!(".wh.n{name}"), "")])],
        "error: entry 1 256 bytes 255",
    );
}
