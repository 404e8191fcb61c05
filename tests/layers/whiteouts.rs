//! Tests of whiteouts and opaque markers in every position. A marker in the name of a case is an
//! opaque marker, `.wh..wh..opq`.
//!
//! The rule: whiteouts of a layer act as if they came before all its other entries. containerd
//! removes files of the same layer if a whiteout follows them, and files below an opaque marker if
//! their directory has no entry. umoci keeps the metadata of a lower directory that is hidden and
//! then written into. overlayfs, which containerd runs images on, shows the trees that are expected
//! here.

use crate::layers::cases;

cases! {
    /// Other ext4 builders remove entries of the same layer, or ignore the marker.
    a_marker_at_the_root_spares_its_own_layer: ["a=1 d/ d/e=2", "b=3 .wh..wh..opq c/"] => "b=3 c/";
    a_marker_at_the_root_does_not_touch_the_root: ["./(700,user.a=b) a=1", ".wh..wh..opq"] => "./(700,user.a=b)";
    a_marker_spares_what_its_own_layer_wrote_before: ["d/ d/old=1", "d/new=2 d/.wh..wh..opq"] => "d/ d/new=2";
    a_marker_spares_what_its_own_layer_writes_after: ["d/ d/old=1", "d/.wh..wh..opq d/new=2"] => "d/ d/new=2";
    a_marker_keeps_the_metadata_of_its_directory: ["d/(700,1:2,user.a=b) d/old=1", "d/.wh..wh..opq"] => "d/(700,1:2,user.a=b)";
    a_marker_hides_the_old_file_of_a_name_that_is_new: ["d/ d/f=old(600)", "d/f=new d/.wh..wh..opq"] => "d/ d/f=new";

    /// umoci, TestUnpackOpaqueWhiteout "MissingUpperAncestor". containerd removes the new file
    /// here.
    a_marker_after_files_whose_directories_have_no_entry: [
        "d/ d/a/(700) d/a/b/(700) d/a/b/old=1 d/c/ d/c/old=2",
        "d/a/b/new=3 d/.wh..wh..opq",
    ] => "d/ d/a/(@0) d/a/b/(@0) d/a/b/new=3";
    a_marker_before_files_whose_directories_have_no_entry: [
        "d/ d/a/(700) d/a/b/(700) d/a/b/old=1 d/c/ d/c/old=2",
        "d/.wh..wh..opq d/a/b/new=3",
    ] => "d/ d/a/(@0) d/a/b/(@0) d/a/b/new=3";
    a_marker_keeps_the_metadata_that_its_own_layer_gave: [
        "d/ d/a/(700,user.old=1) d/a/b/(700)",
        "d/a/(711) d/a/b/new=3 d/.wh..wh..opq",
    ] => "d/ d/a/(711) d/a/b/(@0) d/a/b/new=3";

    /// umoci, TestUnpackOpaqueWhiteout "OneLevel" to "MultiLevel".
    a_marker_works_on_all_types: [
        "d/ d/file=1 d/link->.. d/badlink->./nothing d/fifo| d/dev!1:3",
        "d/link->.. d/badlink->./nothing d/.wh..wh..opq",
    ] => "d/ d/link->.. d/badlink->./nothing";
    a_marker_works_at_all_depths: [
        "d/ d/1a/ d/1a/2file=1 d/1a/2a/ d/1a/2a/3=1 d/1a/2b/ d/1a/2b/3A=1 d/1a/2b/3B=1 d/1a/2b/3/ d/1a/2b/3/4/ d/1b/ d/1b/2=1",
        "d/1=2 d/1a/ d/1a/2link->../../../ d/1a/2b/ d/1a/2b/3A=2 d/.wh..wh..opq",
    ] => "d/ d/1=2 d/1a/ d/1a/2link->../../../ d/1a/2b/ d/1a/2b/3A=2";

    /// umoci, TestUnpackOpaqueWhiteout "UpperWhiteout" and "UpperDirWhiteout".
    whiteouts_and_a_marker_in_one_layer: [
        "d/ d/A=1 d/B=1 d/C=1 d/dir1/ d/dir1/link->x d/dir2/ d/dir2/link->x",
        "d/.wh.B d/A=2 d/B=2 d/.wh.A d/.wh.C d/.wh.dir2 d/dir1/ d/dir1/file=2 d/.wh.dir1 d/dir2/ d/dir2/file=2 d/.wh..wh..opq",
    ] => "d/ d/A=2 d/B=2 d/dir1/ d/dir1/file=2 d/dir2/ d/dir2/file=2";

    nested_markers_add_up: [
        "a/ a/b/ a/b/c/ a/b/c/old=1 a/b/old=1 a/old=1",
        "a/b/c/new=2 a/b/c/.wh..wh..opq a/.wh..wh..opq a/b/.wh..wh..opq a/.wh..wh..opq",
    ] => "a/ a/b/(@0) a/b/c/(@0) a/b/c/new=2";
    a_marker_in_a_directory_that_does_not_exist_makes_none: ["a=1", "d/e/.wh..wh..opq"] => "a=1";
    a_marker_in_a_directory_that_is_a_file_leaves_the_file: ["a=1", "a/.wh..wh..opq"] => "a=1";
    a_marker_follows_a_symlink_to_its_directory: ["real/ real/old=1 link->real", "link/.wh..wh..opq link/new=2"]
        => "real/ real/new=2 link->real";
    two_layers_with_markers: ["d/ d/a=1", "d/ d/.wh..wh..opq d/b=2", "d/ d/.wh..wh..opq d/c=3"] => "d/ d/c=3";
    a_marker_hides_only_what_is_below: ["d/ d/a=1 e/ e/a=1", "d/.wh..wh..opq"] => "d/ e/ e/a=1";

    /// image-spec: "Whiteout files MUST only apply to resources in lower/parent layers", in either
    /// order.
    whiteout_before_a_new_directory_of_its_name: ["x/(700,user.a=1) x/old=1", ".wh.x x/ x/new=2"] => "x/ x/new=2";
    whiteout_after_a_new_directory_of_its_name: ["x/(700,user.a=1) x/old=1", "x/ x/new=2 .wh.x"] => "x/ x/new=2";
    whiteout_between_a_new_directory_and_its_file: ["x/(700,user.a=1) x/old=1", "x/ .wh.x x/new=2"] => "x/ x/new=2";
    whiteout_of_a_directory_before_a_new_file_in_it: ["x/(700,user.a=1) x/old=1", ".wh.x x/new=2"] => "x/(@0) x/new=2";
    whiteout_of_a_directory_after_a_new_file_in_it: ["x/(700,user.a=1) x/old=1", "x/new=2 .wh.x"] => "x/(@0) x/new=2";
    whiteout_of_a_directory_after_new_files_below_lower_ones: [
        "x/(700) x/y/(700) x/y/old=1 x/z/ x/z/old=1",
        "x/y/new=2 x/z/ .wh.x",
    ] => "x/(@0) x/y/(@0) x/y/new=2 x/z/";
    whiteout_of_a_directory_before_a_new_file_of_its_name: ["x/ x/old=1", ".wh.x x=2"] => "x=2";
    whiteout_of_a_directory_after_a_new_file_of_its_name: ["x/ x/old=1", "x=2 .wh.x"] => "x=2";
    whiteout_of_a_file_before_a_new_directory_of_its_name: ["x=1", ".wh.x x/ x/new=2"] => "x/ x/new=2";
    whiteout_of_a_file_after_a_new_directory_of_its_name: ["x=1", "x/ x/new=2 .wh.x"] => "x/ x/new=2";
    whiteout_of_a_symlink_before_a_new_directory_of_its_name: ["t/ x->t", ".wh.x x/ x/new=2"] => "t/ x/ x/new=2";
    duplicate_whiteouts: ["x/ x/old=1 y=1", ".wh.x x/new=2 .wh.x .wh.y .wh.y"] => "x/(@0) x/new=2";
    whiteout_of_a_directory_before_whiteouts_in_it: ["x/ x/a=1 x/b/ x/b/c=1", ".wh.x x/.wh.a x/b/.wh.c"] => "";
    whiteout_of_a_directory_after_whiteouts_in_it: ["x/ x/a=1 x/b/ x/b/c=1", "x/b/.wh.c x/.wh.a .wh.x"] => "";

    /// A whiteout removes a name, not a file. Other ext4 builders free the inode in spite of its
    /// link count.
    a_whiteout_of_one_of_two_links_leaves_the_other: ["a=1 b==a", ".wh.a"] => "b=1";
    a_marker_over_one_of_two_links_leaves_the_other: ["d/ d/a=1 b==d/a", "d/.wh..wh..opq"] => "d/ b=1";
    a_whiteout_of_a_directory_leaves_links_from_elsewhere: ["d/ d/e/ d/e/a=1 b==d/e/a c==b", ".wh.d"] => "b=1 c==b";
    a_whiteout_spares_links_to_lower_files: ["a=1 b=old", "b==a .wh.b"] => "a=1 b==a";
    a_marker_spares_links_to_lower_files: ["a=1 d/ d/old=1", "d/l==a d/.wh..wh..opq"] => "a=1 d/ d/l==a";
    a_link_in_place_of_a_hidden_file_is_spared: ["a=1 d/ d/l=old d/e/ d/e/l=old", "d/.wh.l d/l==a d/e/l==a d/.wh.e"]
        => "a=1 d/ d/e/(@0) d/e/l==a d/l==a";

    /// A link names a file of the lower layers, hidden or not. containerd and umoci fail if the
    /// whiteout comes first.
    whiteout_after_a_link_to_the_file_it_hides: ["a=1(600,user.a=b)", "b==a .wh.a"] => "b=1(600,user.a=b)";
    whiteout_before_a_link_to_the_file_it_hides: ["a=1(600,user.a=b)", ".wh.a b==a"] => "b=1(600,user.a=b)";
    marker_and_links_to_the_files_it_hides: ["d/ d/a=1 d/l->x d/p|", ".wh..wh..opq b==d/a c==d/a l==d/l p==d/p"] => "b=1 c==b l->x p|";
    whiteout_of_a_directory_and_a_link_to_a_file_in_it: ["d/ d/e/ d/e/a=1", "d/a==d/e/a .wh.d"] => "d/(@0) d/a=1";
    whiteout_of_a_file_and_a_link_to_the_new_one: ["a=1", ".wh.a a=2 b==a"] => "a=2 b==a";
    whiteout_of_a_file_with_a_link_before_the_new_one: ["a=1", "b==a a=2 .wh.a"] => "a=2 b=1";
    whiteout_of_a_file_that_is_linked_to_itself: ["a=1", ".wh.a a==a"] => "error: entry 2 \"a\" exist";
    whiteout_of_a_file_and_a_link_over_its_directory: ["d/ d/a=1", "d==d/a d/.wh.a"] => "error: entry 1 \"d\" d/a exist";
    whiteout_beside_a_link_to_a_file_that_the_layer_replaces: ["d/ d/a=1 x=1", "d->e b==d/a .wh.x"] => "error: entry 2 \"b\" d/a exist";
    marker_over_a_link_target_behind_a_symlink_that_the_layer_replaces: ["c/ d/a=1", ".wh..wh..opq d->c b==d/a"]
        => "error: entry 3 \"b\" d/a exist";
    marker_over_a_link_target_behind_a_file_of_the_layer: ["d/a=1", ".wh..wh..opq d=2 b==d/a"] => "error: entry 3 \"b\" d/a exist";
    whiteout_of_a_link_target_behind_a_symlink: ["d/ d/a=1 l->d", "l/.wh.a b==l/a"] => "b=1 d/ l->d";
    whiteout_of_a_link_target_that_no_link_needs: ["a=1", "a=2 a==a .wh.a"] => "a=2";

    /// A symlink of a lower layer on the path of a whiteout. The layer replaces the symlink.
    /// containerd and umoci remove `real/f` if the whiteout comes first.
    whiteout_before_a_directory_over_a_symlink: ["real/ real/f=1 s->real", "s/.wh.f s/ s/new=2"] => "real/ real/f=1 s/ s/new=2";
    whiteout_after_a_directory_over_a_symlink: ["real/ real/f=1 s->real", "s/ s/new=2 s/.wh.f"] => "real/ real/f=1 s/ s/new=2";
    marker_before_a_directory_over_a_symlink: ["real/ real/f=1 s->real", "s/.wh..wh..opq s/ s/new=2"] => "real/ real/f=1 s/ s/new=2";
    marker_after_a_directory_over_a_symlink: ["real/ real/f=1 s->real", "s/ s/new=2 s/.wh..wh..opq"] => "real/ real/f=1 s/ s/new=2";
    whiteout_before_a_symlink_over_a_symlink: ["real/ real/f=1 other/ other/f=1 s->real", "s/.wh.f s->other"]
        => "real/ real/f=1 other/ other/f=1 s->other";
    whiteout_after_a_symlink_over_a_symlink: ["real/ real/f=1 other/ other/f=1 s->real", "s->other s/.wh.f"]
        => "real/ real/f=1 other/ other/f=1 s->other";
    whiteout_behind_a_symlink_over_a_directory: ["a/ a/x=old b/ b/x=1 b/y=1", "./ a->b b/ a/.wh.x"] => "./ a->b b/ b/x=1 b/y=1";
    whiteout_before_a_symlink_over_a_directory: ["a/ a/x=old b/ b/x=1 b/y=1", "a/.wh.x ./ a->b b/"] => "./ a->b b/ b/x=1 b/y=1";
    marker_behind_a_symlink_over_a_directory: ["a/ a/x=old b/ b/x=1", "a->b a/.wh..wh..opq"] => "a->b b/ b/x=1";
    whiteout_behind_a_new_symlink: ["d/ d/f=1", "s->d s/.wh.f"] => "d/ d/f=1 s->d";
    whiteout_behind_a_file_over_a_symlink: ["d/ d/f=1 s->d", "s=2 s/.wh.f"] => "d/ d/f=1 s=2";
    whiteout_behind_a_link_over_a_symlink: ["a=2 d/ d/f=1 s->d", "s/.wh.f s==a"] => "a=2 d/ d/f=1 s==a";
    /// The entry replaces the symlink by another path.
    whiteout_behind_a_symlink_that_is_replaced_through_another: ["d/ d/f=1 e/ e/s->../d l->e", "l/s/ e/s/.wh.f"]
        => "d/ d/f=1 e/ e/s/ l->e";
    /// `lib` becomes a symlink in the layer that merges `/usr`, as kaniko writes it.
    whiteouts_behind_directories_that_become_symlinks: [
        "lib/ lib/x=1 usr/ usr/lib/ usr/lib/x=1",
        "lib->usr/lib lib/.wh.x",
    ] => "lib->usr/lib usr/ usr/lib/ usr/lib/x=1";

    /// A symlink of a lower layer on the path of a whiteout. The layer hides the symlink.
    whiteout_of_a_symlink_and_one_behind_it: ["d/ d/f=1 s->d", ".wh.s s/.wh.f"] => "d/ d/f=1";
    whiteout_behind_a_symlink_and_one_of_it: ["d/ d/f=1 s->d", "s/.wh.f .wh.s"] => "d/ d/f=1";
    whiteout_behind_a_symlink_below_a_hidden_directory: ["d/ d/f=1 e/ e/s->../d", "e/s/.wh.f .wh.e"] => "d/ d/f=1";
    whiteout_behind_a_symlink_below_a_replaced_directory: ["d/ d/f=1 e/ e/s->../d", "e/s/.wh.f e=2"] => "d/ d/f=1 e=2";
    whiteout_behind_a_symlink_in_an_opaque_directory: ["d/ d/f=1 e/ e/s->../d", "e/s/.wh.f e/.wh..wh..opq"] => "d/ d/f=1 e/";
    whiteouts_behind_two_symlinks_that_hide_each_other: ["a->. b->. c=1", "a/.wh.b b/.wh.a b/.wh.c"] => "";
    whiteout_behind_the_symlink_that_it_hides: ["b/ b/l->../b b/f=1", "b/l/.wh.l"] => "b/ b/f=1";
    whiteout_behind_a_symlink_in_the_directory_that_it_hides: ["d/ d/l->/ e=1", "d/l/.wh.d"] => "e=1";
    /// A symlink that stays is followed, even if the metadata of its directory change.
    whiteout_behind_a_symlink_in_a_directory_with_an_entry: ["d/ d/f=1 e/(700) e/s->../d", "e/s/.wh.f e/(711) e/g=1"]
        => "d/ e/(711) e/g=1 e/s->../d";

    /// Files behind a symlink that the layer hides. They get a directory of their own: otherwise
    /// they would be in `zz`.
    whiteout_after_files_behind_the_symlink_it_hides: ["zz/ c->zz", "c/new=1 .wh.c"] => "c/(@0) c/new=1 zz/";
    whiteout_before_files_behind_the_symlink_it_hides: ["zz/ c->zz", ".wh.c c/new=1"] => "c/(@0) c/new=1 zz/";
    marker_after_files_behind_a_symlink_it_hides: ["zz/ d/ d/c->../zz", "d/c/new=1 d/.wh..wh..opq"] => "d/ d/c/(@0) d/c/new=1 zz/";
    whiteout_after_a_link_behind_the_symlink_it_hides: ["zz/ zz/f=1 c->zz", "n==c/f .wh.c"] => "n=1 zz/ zz/f==n";

    /// containerd, TestBreakouts "WhiteoutSymlink": the symlink is removed, and its target stays.
    a_whiteout_does_not_follow_a_symlink: ["etc/ etc/passwd=users localetc->/etc", ".wh.localetc"] => "etc/ etc/passwd=users";
    /// "WhiteoutSymlinkPath".
    a_whiteout_follows_symlinks_to_its_directory: [
        "etc/ etc/passwd=users etc/whitedout=x localetc->/etc",
        "localetc/.wh.whitedout",
    ] => "etc/ etc/passwd=users localetc->/etc";
    /// "WhiteoutDirectoryName": only the last component is a whiteout.
    a_parent_named_like_a_whiteout_is_a_directory: ["etc/ etc/passwd=users", ".wh.etc/somefile=non-empty"]
        => "etc/ etc/passwd=users .wh.etc/(@0) .wh.etc/somefile=non-empty";
    /// "WhiteoutDeadSymlinkParent": containerd makes the directory `dne`. Neither umoci nor this
    /// project makes directories for whiteouts.
    a_whiteout_behind_a_dead_symlink_does_nothing: ["etc/ etc/passwd=users localetc->/dne", "localetc/.wh.etc"]
        => "etc/ etc/passwd=users localetc->/dne";
    /// "WhiteoutRelativePath".
    a_whiteouts_path_is_cleaned_first: ["etc/ etc/passwd=users localetc->/dne", "dne/../.wh.etc"] => "localetc->/dne";
    /// "WhiteoutRootParent", "WhiteoutParent", "WhiteoutRoot", "WhiteoutCurrentDirectory": these
    /// would remove a whole directory.
    a_whiteout_of_the_parent_of_the_root_is_an_error: ["etc/ etc/passwd=x", ".wh..."] => "error: .wh... whiteout";
    a_whiteout_of_a_parent_is_an_error: ["etc/ etc/passwd=x", "etc/.wh..."] => "error: etc/.wh... whiteout";
    a_whiteout_of_the_root_is_an_error: ["etc/ etc/passwd=x", ".wh.."] => "error: .wh.. whiteout";
    a_whiteout_of_its_directory_is_an_error: ["etc/ etc/passwd=x", "etc/.wh.."] => "error: etc/.wh.. whiteout";

    /// umoci, TestUnpackEntryWhiteout "EmptyWhiteoutName-Root" and "HiddenFileInRoot".
    a_whiteout_without_a_name_at_the_root_is_an_error: [".wh."] => "error: .wh. whiteout";
    whiteouts_of_names_that_begin_with_a_dot: [".hidden=1 d/ d/.hidden=1 d/.dir/ d/.dir/f=1", ".wh..hidden d/.wh..hidden d/.wh..dir"] => "d/";
    whiteouts_of_missing_files_do_nothing: ["a=1", ".wh.b d/.wh.c a/.wh.d d/e/f/.wh.g"] => "a=1";
    a_whiteout_keeps_the_metadata_of_its_directory: ["d/(700,1:2,@5) d/f=1", "d/.wh.f"] => "d/(700,1:2,@5)";

    /// moby, TestApplyLayerWhiteouts: the tree of each case is the start of the next.
    whiteouts_as_moby_tests_them: [
        ".baz bar/ bar/bax bar/bay/ baz foo/ foo/.abc foo/.bcd/ foo/.bcd/a foo/cde/ foo/cde/def foo/cde/efg foo/fgh foobar",
        ".bay .wh.baz foo/ foo/.bce foo/.wh..wh..opq foo/cde/ foo/cde/efg",
    ] => ".bay= .baz= bar/ bar/bax= bar/bay/ foo/ foo/.bce= foo/cde/ foo/cde/efg= foobar=";
    whiteouts_of_hidden_files_as_moby_tests_them: [
        ".bay .baz bar/ bar/bax bar/bay/ foo/ foo/.bce foo/cde/ foo/cde/efg foobar",
        ".bay .wh..baz .wh.foobar foo/ foo/.abc foo/.wh.cde bar/",
        ] => ".bay= bar/ bar/bax= bar/bay/ foo/ foo/.abc= foo/.bce=";

    /// AUFS left its own files in old layers. containerd and umoci treat them as whiteouts of
    /// `.wh.aufs` and the like.
    whiteouts_of_aufs_metadata_remove_nothing: ["aufs=1 plnk/ orph/", ".wh..wh.aufs .wh..wh.orph/ .wh..wh.plnk/"] => "aufs=1 plnk/ orph/";
}
