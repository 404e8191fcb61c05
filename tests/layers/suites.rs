//! Tests from the suites of other projects, with their steps as layers, and cases from bugs that
//! other projects had.

use crate::layers::cases;
use crate::layers::{check, check_tars};
use support::tar::{BLOCK, Entry, Header, archive};

/// continuity, fs/fstest/testsuite.go, which containerd applies in `TestDiffApply` and
/// `TestOverlayApply`: the changes of each step, as containerd writes them into a layer.
const HOSTS: &str = "etc/ etc/hosts=127 etc/hosts.allow==etc/hosts usr/ usr/local/ usr/local/lib/ \
    usr/local/lib/libnothing.so=\\x00\\x00(755) usr/local/lib/libnothing.so.2->libnothing.so home/ home/derek/(700)";
const USR: &str = "usr/ usr/local/ usr/local/lib/ usr/local/lib/libnothing.so=\\x00\\x00(755) usr/local/lib/libnothing.so.2->libnothing.so";

#[test]
fn containerd_basic() {
    let steps = [
        HOSTS,
        "etc/ etc/badfile=(666) etc/fstab=sda1(600) etc/hosts=128 etc/hosts.allow==etc/hosts home/ home/derek/(700) \
         home/derek/.zshrc=zsh(640)",
        "etc/ etc/.wh.badfile home/ home/.wh.derek home/notderek/(700) home/notderek/.zshrc=zsh(640)",
        "etc/ etc/.wh.hosts.allow .wh.usr",
        "etc/ etc/hosts=128 etc/hosts.allow==etc/hosts home/ home/derek/(700) home/derek/.bashrc=bash(640) \
         home/.wh.notderek",
    ];
    let etc = "etc/ etc/fstab=sda1(600) etc/hosts=128";
    check(
        &steps[..2],
        &format!(
            "{etc} etc/badfile=(666) etc/hosts.allow==etc/hosts home/ home/derek/(700) home/derek/.zshrc=zsh(640) {USR}"
        ),
    );
    let notderek = "home/ home/notderek/(700) home/notderek/.zshrc=zsh(640)";
    check(
        &steps[..3],
        &format!("{etc} etc/hosts.allow==etc/hosts {notderek} {USR}"),
    );
    check(&steps[..4], &format!("{etc} {notderek}"));
    check(
        &steps,
        &format!("{etc} etc/hosts.allow==etc/hosts home/ home/derek/(700) home/derek/.bashrc=bash(640)"),
    );
}

#[test]
fn containerd_hardlinks() {
    let modified = "etc/ etc/hosts=128 etc/hosts.allow==etc/hosts";
    let rest = format!("home/ home/derek/(700) {USR}");
    // "HardlinkUnmodified": the file comes again with its new name.
    check(
        &[
            HOSTS,
            modified,
            "etc/ etc/hosts=128 etc/hosts.allow==etc/hosts etc/hosts.deny==etc/hosts",
        ],
        &format!("etc/ etc/hosts=128 etc/hosts.allow==etc/hosts etc/hosts.deny==etc/hosts {rest}"),
    );
    // "HardlinkBeforeUnmodified": the new name comes first, and the old ones become links to it.
    check(
        &[
            HOSTS,
            modified,
            "etc/ etc/before-hosts=128 etc/hosts==etc/before-hosts etc/hosts.allow==etc/before-hosts",
        ],
        &format!("etc/ etc/before-hosts=128 etc/hosts==etc/before-hosts etc/hosts.allow==etc/before-hosts {rest}"),
    );
    // "HardlinkBeforeModified": of three names, one keeps the old file.
    check(
        &[HOSTS, modified, "etc/ etc/before-hosts=127 etc/hosts==etc/before-hosts"],
        &format!("etc/ etc/before-hosts=127 etc/hosts==etc/before-hosts etc/hosts.allow=128 {rest}"),
    );
}

cases! {
    containerd_deletion: [
        "lib/(700) lib/hidden= test/ test/somedir/",
        "lib/(700) lib/.wh.hidden lib/not-hidden= test/ test/a= test/b= test/otherdir/ test/otherdir/.empty=",
        "lib/(700) lib/newfile= test/ test/.wh.a test/.wh.b test/.wh.otherdir",
    ] => "lib/(700) lib/newfile= lib/not-hidden= test/ test/somedir/";
    containerd_update: [
        "d1/ d1/f1=some d1/f2=else d1/f3=entirely d2/(700)",
        "d1/ d1/f1=different(664) d1/f2=else(766) d1/f3=updated(664) d2/(777)",
    ] => "d1/ d1/f1=different(664) d1/f2=else(766) d1/f3=updated(664) d2/(777)";
    containerd_directory_permission: [
        "d1/(700) d2/(751) d3/(777)",
        "d1/d/(700) d1/d/f=x d1/f=x d2/f=x d3/f=x",
    ] => "d1/(700) d1/d/(700) d1/d/f=x d1/f=x d2/(751) d2/f=x d3/(777) d3/f=x";
    containerd_parent_directory_permission: [
        "d1/(700) d1/a/(700) d1/a/b/(700) d1/a/b/c/(700) d1/a/b/f=1 d2/(751) d2/a/ d2/a/b/(751) d2/a/b/c/(751) d2/a/b/f=1",
        "d1/a/b/f=1 d2/a/b/f=2",
    ] => "d1/(700) d1/a/(700) d1/a/b/(700) d1/a/b/c/(700) d1/a/b/f=1 d2/(751) d2/a/ d2/a/b/(751) d2/a/b/c/(751) d2/a/b/f=2";

    /// containerd, TestSymlinks.
    containerd_symlinks_to_a_file: [
        "bin/ bin/superbinary=x(755) bin/other1->../bin/superbinary",
        "bin/ bin/other1->/bin/superbinary bin/other2->../bin/superbinary bin/other3->superbinary",
    ] => "bin/ bin/superbinary=x(755) bin/other1->/bin/superbinary bin/other2->../bin/superbinary bin/other3->superbinary";
    containerd_symlinks_to_an_absolute_symlink: [
        "bin/ sbin/ sbin/superbinary=x(755) bin/superbinary->/sbin/superbinary bin/other1->../bin/superbinary",
        "bin/ bin/other1->/bin/superbinary bin/other2->superbinary",
    ] => "bin/ sbin/ sbin/superbinary=x(755) bin/superbinary->/sbin/superbinary bin/other1->/bin/superbinary bin/other2->superbinary";
    containerd_a_directory_in_place_of_a_symlink: ["bin/ bin/actualbinary=x(755) bin/myapp->actualbinary", "bin/ bin/myapp/"]
        => "bin/ bin/actualbinary=x(755) bin/myapp/";

    /// containerd, TestDiffTar "HardlinkParentInclusion", "HardlinkUpdatedParent",
    /// "WhiteoutIncludesParents": the tars, applied.
    containerd_hardlinks_include_parents: [
        "d1/ d1/f1=l d2/ d2/f1=l d3/ d4/ d4/f1=l d5/ d5/f1=l d6/ d6/l1==d1/f1 d6/l2==d5/f1",
        "d2/ d2/l1=l d1/ d1/f1==d2/l1 d3/ d3/l1=l d4/ d4/f1==d3/l1 d6/ d6/.wh.l1 d6/.wh.l2",
    ] => "d1/ d1/f1=l d2/ d2/f1=l d2/l1==d1/f1 d3/ d3/l1=l d4/ d4/f1==d3/l1 d5/ d5/f1=l d6/";
    containerd_hardlinks_with_updated_parents: [
        "d1/ d1/f1=l d2/ d2/f1=l d3/ d3/f1=l d4/",
        "d1/(777) d2/ d2/l1=l d1/f1==d2/l1 d4/(777) d4/l1=l d3/ d3/f1==d4/l1",
    ] => "d1/(777) d1/f1=l d2/ d2/f1=l d2/l1==d1/f1 d3/ d3/f1=l d4/(777) d4/l1==d3/f1";
    containerd_whiteouts_include_parents: [
        "d1/ d1/f1=c d2/ d2/f1=c d2/f2=c d3/ d3/f1=c d4/ d4/f1=c d5/ d5/f1=c",
        "d1/ d1/.wh.f1 d2/ d2/.wh.f1 d2/f2=c(777) d3/ d3/.wh.f1 d3/f2=c d4/ d4/f0=c d4/.wh.f1 .wh.d5",
    ] => "d1/ d2/ d2/f2=c(777) d3/ d3/f2=c d4/ d4/f0=c";

    /// moby, TestApplyLayerWhiteouts, the last case.
    moby_a_marker_at_the_root: [".bay bar/ bar/bax foo/ foo/.abc", ".abc .wh..wh..opq foobar"] => ".abc= foobar=";
    /// moby, TestUnpackLayerCreatesImpliedDirectoriesThroughLowerLayerSymlink,
    /// TestUntarThroughAbsoluteSymlink.
    moby_directories_are_implied_behind_a_lower_symlink: ["usr/ usr/lib/ lib->usr/lib", "lib/systemd/system/unit=x"]
        => "usr/ usr/lib/ usr/lib/systemd/(@0) usr/lib/systemd/system/(@0) usr/lib/systemd/system/unit=x lib->usr/lib";
    moby_an_absolute_symlink_may_lead_nowhere_yet: ["var/ var/run->/run", "var/run/source=x"]
        => "var/ var/run->/run run/(@0) run/source=x";
    /// moby, TestHardlinkSourceThroughAbsoluteSymlink.
    moby_a_links_source_behind_an_absolute_symlink: ["var/ var/run->/run", "var/run/source=x var/run/link==var/run/source"]
        => "var/ var/run->/run run/(@0) run/link=x run/source==run/link";
    /// moby, TestUnpackRejectsRelativeEscapeBeforeAbsoluteSymlink: moby refuses each path that
    /// leads out of the root. Here, as in containerd and umoci, the path ends at the root, as the
    /// kernel resolves it for a process with that root.
    moby_an_escape_ends_at_the_root: ["target/ escape->.. absolute->/target", "escape/absolute/file=x"]
        => "target/ target/file=x escape->.. absolute->/target";
    /// moby, TestUntarSymlinkBreakout.
    moby_a_symlink_made_behind_a_symlink: ["inner/ inner/go_up->.. inner/go_up/escape->../victim escape/hello=x"]
        => "inner/ inner/go_up->.. escape->../victim victim/(@0) victim/hello=x";
    /// moby, TestApplyLayerInvalidHardlink and TestApplyLayerInvalidSymlink: there are no files
    /// outside of the image to break out to.
    moby_a_link_to_a_victim_outside: ["dotdot==../victim/hello"] => "error: entry 1 dotdot victim/hello exist";
    moby_a_link_to_a_victim_outside_by_an_absolute_path: ["dotdot==/../victim/hello"] => "error: entry 1 dotdot victim/hello exist";
    moby_a_link_to_a_victim_inside: ["victim/ victim/hello=in", "dotdot==../victim/hello"]
        => "victim/ victim/hello==dotdot dotdot=in";
    moby_a_link_to_a_directory_outside: ["victim/", "loophole-victim==../victim"] => "error: entry 1 loophole-victim victim directory";
    moby_a_link_through_a_symlink_to_a_victim: ["loophole-victim->../victim hardlink==loophole-victim/hello"]
        => "error: entry 2 hardlink loophole-victim/hello exist";
    moby_a_file_behind_a_symlink_to_a_victim: ["loophole-victim->../victim loophole-victim/file=x"]
        => "loophole-victim->../victim victim/(@0) victim/file=x";
    moby_a_file_in_place_of_a_symlink_to_a_victim: ["victim/ victim/hello=in loophole-victim->../victim", "loophole-victim=x"]
        => "victim/ victim/hello=in loophole-victim=x";
    /// moby, TestChrootApplyDotDotFile.
    moby_a_name_may_begin_with_two_dots: ["..gitme=x d/..data/ d/..data/f=y"] => "..gitme=x d/(@0) d/..data/ d/..data/f=y";
    /// moby, diff.go: hard links into AUFS's own directory. containerd and umoci do not know this
    /// directory, and keep the files.
    aufs_links_lead_into_a_directory_that_is_kept: [".wh..wh.plnk/ .wh..wh.plnk/97.1=x a==.wh..wh.plnk/97.1"]
        => ".wh..wh.plnk/(@0) .wh..wh.plnk/97.1=x a==.wh..wh.plnk/97.1";

    /// umoci, TestUnpackEntry_OverlayfsRootfs_Whiteout_MissingDirs and _Nested, as seen through the
    /// mount.
    umoci_markers_without_parents: ["a=1", "opaque/a/b/c/.wh..wh..opq whiteout/a/b/.wh.c"] => "a=1";
    umoci_whiteouts_around_a_marker: [
        "d/ d/foo/ d/foo/bar/ d/foo/bar/before=1 d/a/ d/a/after=1 d/old=1",
        "d/foo/bar/.wh.before d/regfile=2 d/.wh..wh..opq d/a/b/.wh.after d/a/c/regfile=2",
    ] => "d/ d/regfile=2 d/a/(@0) d/a/c/(@0) d/a/c/regfile=2";
    umoci_a_hidden_directory_becomes_one_without_the_old: [
        "d/(700) d/before=1",
        ".wh.d d/foo/bar=2 d/abc/def=2",
    ] => "d/(@0) d/foo/(@0) d/foo/bar=2 d/abc/(@0) d/abc/def=2";

    /// Found by tests/differential: containerd sets the times of directories at the end, by name.
    /// It sets the time of a file that replaced the directory, or of the target of a symlink that
    /// did. A symlink to nothing makes it fail.
    a_file_in_place_of_a_directory_keeps_its_own_time: ["f/(@5) f=x(@7)"] => "f=x(@7)";
    a_symlink_in_place_of_a_directory_changes_no_times: ["e/(@5) d/(@7) d->e"] => "e/(@5) d->e";
    a_symlink_to_itself_in_place_of_a_directory: ["a/b/(@5) a->a"] => "a->a";
    a_symlink_to_nothing_in_place_of_a_directory: ["a/b/(@5) a->nowhere"] => "a->nowhere";
    /// Found by tests/differential: with containerd, directories without an entry get the setgid
    /// bit and the group of their parent from the kernel.
    an_implied_directory_inherits_nothing: ["d/(2775,0:50)", "d/a/b=x"] => "d/(2775,0:50) d/a/(@0) d/a/b=x";
    /// containerd leaves these out, and umoci keeps them.
    trusted_attributes_are_kept: ["f=x(trusted.b=1) d/(trusted.overlays=y)"] => "f=x(trusted.b=1) d/(trusted.overlays=y)";

    /// smol-machines/smolvm#401: the layers of cmssw/el9 have whiteouts that are hard links to a
    /// file of a lower layer.
    whiteouts_may_be_hard_links: ["tmp/ tmp/CERN.repo=x tmp/KEY=y", "tmp/.wh.KEY==tmp/CERN.repo"] => "tmp/ tmp/CERN.repo=x";
    whiteouts_may_be_hard_links_to_nothing: ["tmp/ tmp/KEY=y", "tmp/.wh.KEY==tmp/.wh.other tmp/.wh..wh..opq==nowhere"] => "tmp/";
    /// google/go-containerregistry#1897: children of a directory that an opaque marker hides
    /// remained.
    a_marker_hides_directories_with_all_below: ["a/ a/b/ a/b/foo=1", "a/ a/.wh..wh..opq"] => "a/";
    /// moby/moby#17819: files with names before `.wh.` were removed with the marker.
    a_marker_spares_names_that_come_before_it: ["d/ d/-old=1", "d/ d/-new=2 d/.a/ d/.a/f=2 d/.wh..wh..opq d/z=2"]
        => "d/ d/-new=2 d/.a/ d/.a/f=2 d/z=2";
    /// GoogleContainerTools/kaniko#326: a symlink in place of a file with a whiteout after it, and
    /// in place of a file of a lower layer.
    a_symlink_in_place_of_a_file_whose_whiteout_follows: ["f=1 g=1", "f->g .wh.f g->x"] => "f->g g->x";
    /// kernel/hypeman#94: whiteouts were applied after all layers.
    a_file_may_come_again_after_its_whiteout: ["f=1 d/ d/f=1", ".wh.f d/.wh..wh..opq", "f=3 d/f=3"] => "f=3 d/ d/f=3";
}

/// moby, TestXGlobalNoParent.
#[test]
fn moby_a_global_header_makes_no_directories() {
    let header = Header::new(b'g', b"foo/bar", 0).seal();
    check_tars(&[[&header[..], &[0; 2 * BLOCK]].concat()], "");
}

/// image-spec, layer.md, "File Attributes": "User Name (`uname`) should be ignored on platforms
/// that support User ID".
#[test]
fn names_of_users_and_groups_are_ignored() {
    let mut header = Header::new(b'0', b"f", 0);
    header.octal(108..116, 5);
    header.octal(116..124, 6);
    header.text(265..297, b"root");
    header.text(297..329, b"nogroup");
    check_tars(&[[&header.seal()[..], &[0; 2 * BLOCK]].concat()], "f=(5:6)");
}

/// layer.md, "Platform-specific attributes": Linux ignores those of Windows.
#[test]
fn attributes_of_windows_are_ignored() {
    let file = Entry::file("f", "x")
        .pax("MSWINDOWS.fileattr", "32")
        .pax("MSWINDOWS.rawsd", "AQAEgA==")
        .pax("MSWINDOWS.mountpoint", "1")
        .pax("LIBARCHIVE.creationtime", "1.5")
        .pax("SCHILY.fflags", "nodump")
        .pax("SCHILY.ino", "7")
        .pax("SCHILY.nlink", "2")
        .pax("RHT.security.selinux", "unconfined_u:object_r:default_t:s0");
    check_tars(&[archive(&[file])], "f=x");
}
