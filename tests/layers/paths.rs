//! Tests of names and symlink targets: how they are cleaned, which bytes they may have, and how
//! long they may be.

use crate::layers::{apply, cases, check_tars, message};
use support::tar::{Entry, archive};

cases! {
    /// Other ext4 builders store literal `..` and `.` names in the image. containerd and umoci
    /// clean names as strings.
    names_are_cleaned: ["a/../b=1 ./c/./d=2 /e=3 f//g=4 ../h=5 ../../i/../j=6 /../k=7 l/m/../../n=8"]
        => "b=1 c/(@0) c/d=2 e=3 f/(@0) f/g=4 h=5 j=6 k=7 n=8";
    /// umoci, TestUnpackEntrySanitiseScoping. moby refuses these names
    /// (TestApplyLayerInvalidFilenames).
    names_do_not_lead_out_of_the_root: ["/../file=1 ../../victim/dotdot=2"] => "file=1 victim/(@0) victim/dotdot=2";
    a_step_up_in_a_name_follows_no_symlink: ["d/e/ l->d/e", "l/../f=x"] => "d/(@0) d/e/ l->d/e f=x";
    directories_need_no_slash_and_files_may_have_one: ["f//=x d/"] => "f=x d/";
    names_need_not_be_utf8: ["\\xff\\xfe/ \\xff\\xfe/\\xe9=x caf\\xc3\\xa9=y l->\\x80"] => "\\xff\\xfe/ \\xff\\xfe/\\xe9=x café=y l->\\x80";
    names_may_have_any_byte: ["a\\x0ab=1 c\\x20d=2 \\x01\\x7f=3 e\\\\f=4"] => "a\\x0ab=1 c\\x20d=2 \\x01\u{7f}=3 e\\\\f=4";
    names_with_dots_dashes_and_colons: [".../ ..a=1 .b=2 a.=3 -=4 ~=5 com1=6 a:b=7"] => ".../ ..a=1 .b=2 a.=3 -=4 ~=5 com1=6 a:b=7";
    /// bsdtar on macOS writes a file of this kind before each file that has attributes. All engines
    /// keep it.
    names_of_apple_double_files_are_ordinary: ["._f=meta f=x d/._f=meta"] => "._f=meta f=x d/(@0) d/._f=meta";
    symlinks_are_kept_as_they_are: ["a->/../x//y/./z/ b->. c->.. d->/ e->../../../../../../etc/shadow"]
        => "a->/../x//y/./z/ b->. c->.. d->/ e->../../../../../../etc/shadow";
    a_symlink_with_an_empty_target_is_an_error: ["a->"] => "error: entry 1 symlink";
    names_differ_by_case: ["A=1 a=2"] => "A=1 a=2";
}

#[test]
fn names_may_have_255_bytes_and_paths_4095() {
    let name = "n".repeat(255);
    let path = [&name[..]; 15].join("/") + "/" + &"m".repeat(255);
    let tree = apply(&[archive(&[Entry::file(&path, "x")])]).unwrap().0;
    assert_eq!(tree.len(), 16);
    assert_eq!(tree[15], format!("{path}=x"));

    let error = apply(&[archive(&[Entry::file("n".repeat(256), "x")])]).unwrap_err();
    assert!(
        message(&error).ends_with("has 256 bytes: a name can have 255 at most"),
        "{}",
        message(&error)
    );
    let error = apply(&[archive(&[Entry::file(format!("{path}/n"), "x")])]).unwrap_err();
    assert!(
        message(&error).ends_with("the path has 4097 bytes after symlinks are resolved: at most 4095 are allowed"),
        "{}",
        message(&error)
    );
}

#[test]
fn symlinks_may_have_4095_bytes() {
    for len in [1, 59, 60, 100, 101, 4095] {
        let target = "t".repeat(len);
        check_tars(&[archive(&[Entry::symlink("l", &target)])], &format!("l->{target}"));
    }
    check_tars(
        &[archive(&[Entry::symlink("l", "t".repeat(4096))])],
        "error: entry 1 4096 4095",
    );
}

#[test]
fn a_tree_may_be_deeper_than_any_path() {
    let step = ["d"; 500].join("/");
    let mut entries = vec![Entry::directory(&step)];
    for level in 1..50 {
        // Each symlink leads 500 directories further down.
        let from = if level == 1 {
            step.clone()
        } else {
            format!("l{}/{step}", level - 1)
        };
        entries.push(Entry::symlink(format!("l{level}"), from));
        entries.push(Entry::directory(format!("l{level}/{step}")));
    }
    let mut rootfs = crate::layers::empty();
    let options = layer::LayerOptions::default();
    rootfs.apply(&archive(&entries)[..], &options).unwrap();
    rootfs
        .apply(
            &archive(&[Entry::file(".wh.d", ""), Entry::file("l3/new", "x")])[..],
            &options,
        )
        .unwrap();
    rootfs
        .apply(&archive(&[Entry::file(".wh..wh..opq", "")])[..], &options)
        .unwrap();
    assert_eq!(crate::layers::notation::show(rootfs), [] as [&str; 0]);
}

/// A few bytes of a tar must not cost hours, nor create an unlimited number of directories.
#[test]
fn symlinks_cannot_make_a_path_endless() {
    let detour = "d/../".repeat(800);
    let slow = (0..100).map(|level| Entry::symlink(format!("l{level}"), format!("{detour}l{}", level + 1)));
    let layer: Vec<Entry> = slow.chain([Entry::directory("d"), Entry::file("l0/f", "")]).collect();
    check_tars(&[archive(&layer)], "error: entry 102 l0/f 65520 symlinks");

    let steps = "d/".repeat(900);
    let deep = (0..100).map(|level| Entry::symlink(format!("l{level}"), format!("l{}/{steps}", level + 1)));
    let layer: Vec<Entry> = deep.chain([Entry::file("l97/f", "")]).collect();
    check_tars(&[archive(&layer)], "error: entry 101 l97/f 4095 symlinks");
}
