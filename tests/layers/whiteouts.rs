//! Whiteouts and opaque markers in every position.
//!
//! The rule: a layer's whiteouts have the effect of coming before everything else in it. containerd deletes its own layer's files
//! where a whiteout follows them, and below an opaque marker those whose directory has no entry; umoci keeps the metadata of a
//! lower directory that is hidden and written into. overlayfs, on which containerd runs, has the effect that is expected here.

use crate::layers::cases;

cases! {
    /// FINDINGS: own entries deleted; marker ignored.
    a_marker_at_the_root_spares_its_own_layer: ["a=1 d/ d/e=2", "b=3 .wh..wh..opq c/"] => "b=3 c/";
    a_marker_at_the_root_does_not_touch_the_root: ["./(700,user.a=b) a=1", ".wh..wh..opq"] => "./(700,user.a=b)";
    a_marker_spares_what_its_own_layer_wrote_before: ["d/ d/old=1", "d/new=2 d/.wh..wh..opq"] => "d/ d/new=2";
    a_marker_spares_what_its_own_layer_writes_after: ["d/ d/old=1", "d/.wh..wh..opq d/new=2"] => "d/ d/new=2";
    a_marker_keeps_the_metadata_of_its_directory: ["d/(700,1:2,user.a=b) d/old=1", "d/.wh..wh..opq"] => "d/(700,1:2,user.a=b)";
    a_marker_hides_the_old_file_of_a_name_that_is_new: ["d/ d/f=old(600)", "d/f=new d/.wh..wh..opq"] => "d/ d/f=new";

    /// umoci, TestUnpackOpaqueWhiteout "MissingUpperAncestor": containerd deletes the new file here.
    a_marker_spares_files_whose_directories_have_no_entry: [
        "d/ d/a/(700) d/a/b/(700) d/a/b/old=1 d/c/ d/c/old=2",
        "d/a/b/new=3 d/.wh..wh..opq",
    ] => "d/ d/a/(@0) d/a/b/(@0) d/a/b/new=3";
    the_same_with_the_marker_first: [
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

    /// image-spec: "Whiteout files MUST only apply to resources in lower/parent layers", in either order.
    a_hidden_directory_and_a_new_one_of_its_name: ["x/(700,user.a=1) x/old=1", ".wh.x x/ x/new=2"] => "x/ x/new=2";
    the_same_with_the_whiteout_last: ["x/(700,user.a=1) x/old=1", "x/ x/new=2 .wh.x"] => "x/ x/new=2";
    the_same_with_the_whiteout_between: ["x/(700,user.a=1) x/old=1", "x/ .wh.x x/new=2"] => "x/ x/new=2";
    a_hidden_directory_and_a_new_file_below_it: ["x/(700,user.a=1) x/old=1", ".wh.x x/new=2"] => "x/(@0) x/new=2";
    that_too_with_the_whiteout_last: ["x/(700,user.a=1) x/old=1", "x/new=2 .wh.x"] => "x/(@0) x/new=2";
    a_hidden_directory_with_lower_ones_on_the_way: [
        "x/(700) x/y/(700) x/y/old=1 x/z/ x/z/old=1",
        "x/y/new=2 x/z/ .wh.x",
    ] => "x/(@0) x/y/(@0) x/y/new=2 x/z/";
    a_hidden_directory_and_a_new_file_of_its_name: ["x/ x/old=1", ".wh.x x=2"] => "x=2";
    a_new_file_in_place_of_a_directory_and_then_its_whiteout: ["x/ x/old=1", "x=2 .wh.x"] => "x=2";
    a_hidden_file_and_a_new_directory_of_its_name: ["x=1", ".wh.x x/ x/new=2"] => "x/ x/new=2";
    a_new_directory_in_place_of_a_file_and_then_its_whiteout: ["x=1", "x/ x/new=2 .wh.x"] => "x/ x/new=2";
    a_hidden_symlink_and_a_new_directory_of_its_name: ["t/ x->t", ".wh.x x/ x/new=2"] => "t/ x/ x/new=2";
    the_same_whiteout_twice: ["x/ x/old=1 y=1", ".wh.x x/new=2 .wh.x .wh.y .wh.y"] => "x/(@0) x/new=2";
    a_whiteout_below_a_hidden_directory: ["x/ x/a=1 x/b/ x/b/c=1", ".wh.x x/.wh.a x/b/.wh.c"] => "";
    that_too_in_the_other_order: ["x/ x/a=1 x/b/ x/b/c=1", "x/b/.wh.c x/.wh.a .wh.x"] => "";

    /// A whiteout removes a name, not a file (FINDINGS: inode freed whatever its link count).
    a_whiteout_of_one_of_two_links_leaves_the_other: ["a=1 b==a", ".wh.a"] => "b=1";
    a_marker_over_one_of_two_links_leaves_the_other: ["d/ d/a=1 b==d/a", "d/.wh..wh..opq"] => "d/ b=1";
    a_whiteout_of_a_directory_leaves_links_from_elsewhere: ["d/ d/e/ d/e/a=1 b==d/e/a c==b", ".wh.d"] => "b=1 c==b";
    a_whiteout_spares_links_to_lower_files: ["a=1 b=old", "b==a .wh.b"] => "a=1 b==a";
    a_marker_spares_links_to_lower_files: ["a=1 d/ d/old=1", "d/l==a d/.wh..wh..opq"] => "a=1 d/ d/l==a";
    a_link_in_place_of_a_hidden_file_is_spared: ["a=1 d/ d/l=old d/e/ d/e/l=old", "d/.wh.l d/l==a d/e/l==a d/.wh.e"]
        => "a=1 d/ d/e/(@0) d/e/l==a d/l==a";

    /// containerd, TestBreakouts "WhiteoutSymlink": the symlink goes, what it leads to stays.
    a_whiteout_does_not_follow_a_symlink: ["etc/ etc/passwd=users localetc->/etc", ".wh.localetc"] => "etc/ etc/passwd=users";
    /// "WhiteoutSymlinkPath".
    a_whiteout_follows_symlinks_to_its_directory: [
        "etc/ etc/passwd=users etc/whitedout=x localetc->/etc",
        "localetc/.wh.whitedout",
    ] => "etc/ etc/passwd=users localetc->/etc";
    /// "WhiteoutDirectoryName": only the last component is a whiteout.
    a_directory_of_a_whiteouts_name_is_none: ["etc/ etc/passwd=users", ".wh.etc/somefile=non-empty"]
        => "etc/ etc/passwd=users .wh.etc/(@0) .wh.etc/somefile=non-empty";
    /// "WhiteoutDeadSymlinkParent": containerd makes the directory `dne`; umoci and we make nothing of a whiteout.
    a_whiteout_behind_a_dead_symlink_does_nothing: ["etc/ etc/passwd=users localetc->/dne", "localetc/.wh.etc"]
        => "etc/ etc/passwd=users localetc->/dne";
    /// "WhiteoutRelativePath".
    a_whiteouts_path_is_cleaned_first: ["etc/ etc/passwd=users localetc->/dne", "dne/../.wh.etc"] => "localetc->/dne";
    /// "WhiteoutRootParent", "WhiteoutParent", "WhiteoutRoot", "WhiteoutCurrentDirectory": these would wipe out a directory.
    a_whiteout_of_the_parent_of_the_root_is_an_error: ["etc/ etc/passwd=x", ".wh..."] => "error: .wh... whiteout";
    a_whiteout_of_a_parent_is_an_error: ["etc/ etc/passwd=x", "etc/.wh..."] => "error: etc/.wh... whiteout";
    a_whiteout_of_the_root_is_an_error: ["etc/ etc/passwd=x", ".wh.."] => "error: .wh.. whiteout";
    a_whiteout_of_its_directory_is_an_error: ["etc/ etc/passwd=x", "etc/.wh.."] => "error: etc/.wh.. whiteout";

    /// umoci, TestUnpackEntryWhiteout "EmptyWhiteoutName-Root" and "HiddenFileInRoot".
    a_whiteout_of_nothing_at_the_root_is_an_error: [".wh."] => "error: .wh. whiteout";
    hidden_files_can_be_hidden: [".hidden=1 d/ d/.hidden=1 d/.dir/ d/.dir/f=1", ".wh..hidden d/.wh..hidden d/.wh..dir"] => "d/";
    a_whiteout_of_nothing_that_exists_is_none: ["a=1", ".wh.b d/.wh.c a/.wh.d d/e/f/.wh.g"] => "a=1";
    a_whiteout_keeps_the_metadata_of_its_directory: ["d/(700,1:2,@5) d/f=1", "d/.wh.f"] => "d/(700,1:2,@5)";

    /// moby, TestApplyLayerWhiteouts, whose tree is carried from case to case.
    whiteouts_as_moby_tests_them: [
        ".baz bar/ bar/bax bar/bay/ baz foo/ foo/.abc foo/.bcd/ foo/.bcd/a foo/cde/ foo/cde/def foo/cde/efg foo/fgh foobar",
        ".bay .wh.baz foo/ foo/.bce foo/.wh..wh..opq foo/cde/ foo/cde/efg",
    ] => ".bay= .baz= bar/ bar/bax= bar/bay/ foo/ foo/.bce= foo/cde/ foo/cde/efg= foobar=";
    whiteouts_of_hidden_files_as_moby_tests_them: [
        ".bay .baz bar/ bar/bax bar/bay/ foo/ foo/.bce foo/cde/ foo/cde/efg foobar",
        ".bay .wh..baz .wh.foobar foo/ foo/.abc foo/.wh.cde bar/",
        ] => ".bay= bar/ bar/bax= bar/bay/ foo/ foo/.abc= foo/.bce=";

    /// AUFS left its own files in old layers. containerd and umoci take them as whiteouts of `.wh.aufs` and the like.
    names_of_aufs_remove_nothing: ["aufs=1 plnk/ orph/", ".wh..wh.aufs .wh..wh.orph/ .wh..wh.plnk/"] => "aufs=1 plnk/ orph/";
}
