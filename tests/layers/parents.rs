//! Tests of the parents of an entry: directories without an entry, symlinks, and files in their
//! place.

use crate::layers::cases;

cases! {
    /// containerd, TestApplyTar "DirectoryCreation". Mode 0755 as `mkparent` sets it, and the epoch
    /// as time, because the layer has no time for them.
    parents_without_an_entry_are_made: ["etc/", "/etc/subdir/ /etc/subdir2// /other/noparent-1/1/ other/f=x"]
        => "etc/ etc/subdir/ etc/subdir2/ other/(@0) other/noparent-1/(@0) other/noparent-1/1/ other/f=x";

    /// Other ext4 builders reset `/tmp` to 0755 and root.
    parents_without_an_entry_keep_the_metadata_of_lower_layers: ["tmp/(1777,1:2,@5,user.a=b)", "tmp/x=1 tmp/y/z=2"]
        => "tmp/(1777,1:2,@5,user.a=b) tmp/x=1 tmp/y/(@0) tmp/y/z=2";
    a_directory_entry_after_its_children_sets_the_metadata: ["d/e/f=x d/e/(700) d/(711,1:2,user.a=b)"]
        => "d/(711,1:2,user.a=b) d/e/(700) d/e/f=x";
    an_entry_in_a_later_layer_sets_the_metadata_of_an_implied_directory: ["d/e/f=x", "d/(700)"] => "d/(700) d/e/(@0) d/e/f=x";

    /// Other ext4 builders lose the file, or replace the symlink by a directory.
    a_parent_may_be_a_symlink: ["usr/ usr/lib/ lib->usr/lib", "lib/x=1"] => "usr/ usr/lib/ usr/lib/x=1 lib->usr/lib";
    a_parent_may_be_a_symlink_of_the_same_layer: ["lib->usr/lib usr/lib/ lib/x=1"] => "usr/(@0) usr/lib/ usr/lib/x=1 lib->usr/lib";
    a_symlink_may_lead_to_a_directory_that_does_not_exist: ["lib->usr/lib", "lib/x=1"]
        => "lib->usr/lib usr/(@0) usr/lib/(@0) usr/lib/x=1";
    symlinks_may_lead_to_symlinks: ["a/ b->a c->b d/ d/e->../c", "d/e/f=x"] => "a/ a/f=x b->a c->b d/ d/e->../c";
    a_directory_below_a_symlink_merges: ["a/ a/d/(700) a/d/f=x l->a", "l/d/(750)"] => "a/ a/d/(750) a/d/f=x l->a";

    /// containerd, TestBreakouts "SymlinkAbsolute" to "SymlinkEmptyFile".
    an_absolute_symlink_starts_at_the_root: ["etc/ localetc->/etc /localetc/unbroken=x"] => "etc/ etc/unbroken=x localetc->/etc";
    a_symlink_that_goes_up_and_out: ["etc/ dummy/ localetc->/dummy/../etc /localetc/unbroken=x"]
        => "etc/ etc/unbroken=x dummy/ localetc->/dummy/../etc";
    several_absolute_symlinks: ["etc/ dummy/ /dummy/etc->/etc localetc->/dummy/etc /dummy/etc/unbroken=x"]
        => "etc/ etc/unbroken=x dummy/ dummy/etc->/etc localetc->/dummy/etc";
    several_relative_symlinks: ["etc/ dummy/ /dummy/etc->/etc localetc->./dummy/etc /localetc/unbroken=x"]
        => "etc/ etc/unbroken=x dummy/ dummy/etc->/etc localetc->./dummy/etc";
    a_file_is_emptied_through_a_symlink: ["etc/ etc/emptied=notempty localetc->/etc /localetc/emptied="]
        => "etc/ etc/emptied= localetc->/etc";
    /// containerd, TestRelativeSymlinks, and umoci, TestUnpackEntrySymlinkScoping.
    symlinks_never_lead_out_of_the_root: [
        "home/derek/ home/derek/breakout->../../../../../out l->/../../.. m->/./.././../.",
        "home/derek/breakout/a=1 l/b=2 m/c=3",
    ] => "home/(@0) home/derek/ home/derek/breakout->../../../../../out out/(@0) out/a=1 l->/../../.. m->/./.././../. b=2 c=3";
    /// Linux resolves paths component by component: `..` leaves the directory that the symlink led
    /// to.
    a_step_up_behind_a_symlink_leaves_its_target: ["a/ a/b/ l->a/b m->l/../c", "m/f=x"]
        => "a/ a/b/ a/c/(@0) a/c/f=x l->a/b m->l/../c";
    a_step_up_from_what_does_not_exist: ["l->up/../../other", "l/f=x"] => "l->up/../../other other/(@0) other/f=x";
    a_symlink_to_the_root: ["l->/ d/", "l/d/f=x l/l/g=y"] => "l->/ d/ d/f=x g=y";
    a_circle_of_symlinks_is_an_error: ["a->b b->a a/f=x"] => "error: entry 3 a/f 255 symlinks";
    a_symlink_to_itself_is_an_error: ["a->a a/f=x"] => "error: entry 2 a/f 255 symlinks";
    a_circle_of_symlinks_that_no_path_follows: ["a->b b->a c->c"] => "a->b b->a c->c";

    /// containerd, TestBreakouts "SymlinkOverrideDirectory", "DirectoryOverrideSymlink".
    a_symlink_replaces_a_directory_and_leads_elsewhere: ["etc/ etc/passwd=in localetc/ localetc/gone=x", "localetc->/etc localetc/new=y"]
        => "etc/ etc/passwd=in etc/new=y localetc->/etc";
    a_directory_replaces_a_symlink: ["etc/ etc/passwd=in localetc->/etc", "/localetc/ /localetc/f=x"]
        => "etc/ etc/passwd=in localetc/ localetc/f=x";
    a_directory_replaces_a_dangling_symlink: ["l->nowhere", "l/"] => "l/";
    a_directory_replaces_a_symlink_within_a_layer: ["etc/ l->etc l/"] => "etc/ l/";
    /// "SymlinkOverridePath".
    paths_change_their_meaning_within_a_layer: [
        "foo/ foo/tmp/ foo/tmp/breakout=012 foo->/ foo/tmp/breakout=345 foo/ foo/tmp/ foo/tmp/breakout=678",
    ] => "foo/ foo/tmp/ foo/tmp/breakout=678 tmp/(@0) tmp/breakout=345";

    /// umoci, TestUnpackEntryNonDirParent. overlayfs shows the directory of the upper layer as
    /// well. containerd fails when it applies layers to a plain directory.
    a_file_in_place_of_a_parent_gives_way: ["nondir=x", "nondir/foo/bar/baz=y"]
        => "nondir/(@0) nondir/foo/(@0) nondir/foo/bar/(@0) nondir/foo/bar/baz=y";
    a_file_of_the_same_layer_in_place_of_a_parent_gives_way: ["nondir=x nondir/foo=y"] => "nondir/(@0) nondir/foo=y";
    a_device_in_place_of_a_parent_gives_way: ["d!5:1", "d/f=y"] => "d/(@0) d/f=y";
    a_file_behind_a_symlink_gives_way: ["f=x l->f", "l/g=y"] => "f/(@0) f/g=y l->f";
    a_file_that_gives_way_keeps_its_other_names: ["a=x b==a", "a/f=y"] => "a/(@0) a/f=y b=x";

    /// umoci sets the metadata of the root; containerd ignores entries for it.
    the_root_has_metadata: ["./(700,1:2,@5,user.a=b) f=x"] => "./(700,1:2,@5,user.a=b) f=x";
    a_later_layer_replaces_the_metadata_of_the_root: ["./(700,user.a=b) f=x", "/(711,user.c=d)"] => "./(711,user.c=d) f=x";
    the_root_by_other_names: [".(700)", "..(711)", "a/../(750)"] => "./(750)";
    /// umoci refuses them (CVE-2021-29136). containerd ignores the entry, also in its tests
    /// "SymlinkParentDirectory" and "SymlinkEmptyFilename". Here nothing is ignored silently.
    a_symlink_cannot_replace_the_root: ["etc/ ./->/etc"] => "error: entry 2 ./ root";
    a_file_cannot_replace_the_root: ["/="] => "error: entry 1 root";
    a_symlink_cannot_replace_the_root_by_going_up: ["etc/ ..->/etc/"] => "error: entry 2 .. root";
    a_hard_link_cannot_replace_the_root: ["f=x /==f"] => "error: entry 2 root";
}
