//! Tests of the image-spec's `layer.md` (v1.1.1), sentence by sentence.

use crate::layers::{cases, check};

cases! {
    /// "Populate Initial Filesystem".
    an_initial_layer_is_extracted: ["./ ./etc/ ./etc/my-app-config=c ./bin/ ./bin/my-app-binary=b ./bin/my-app-tools=t"]
        => "./ etc/ etc/my-app-config=c bin/ bin/my-app-binary=b bin/my-app-tools=t";

    /// "Representing Changes".
    additions_modifications_and_removals_are_applied: [
        "./ ./etc/ ./etc/my-app-config=c ./bin/ ./bin/my-app-binary=b ./bin/my-app-tools=t",
        "./etc/my-app.d/ ./etc/my-app.d/default.cfg=d ./bin/my-app-tools=new ./etc/.wh.my-app-config",
    ] => "./ etc/ etc/my-app.d/ etc/my-app.d/default.cfg=d bin/ bin/my-app-binary=b bin/my-app-tools=new";

    /// "In the absence of any whiteout files in a layer changeset, the archive is extracted like a
    /// regular tar archive."
    layers_add_up: ["a/ a/b=1", "a/c=2", "d=3"] => "a/ a/b=1 a/c=2 d=3";

    /// "File Types". Tar has no sockets.
    all_types_of_files_are_kept: ["f=x d/ l->f c!5:1 b!!8:17 p|"] => "f=x d/ l->f c!5:1 b!!8:17 p|";

    /// "File Attributes".
    all_attributes_are_kept: [
        "f=x(4755,1000:2000,@1234567890.123456789,user.a=b,security.capability=\\x01\\x00\\x00\\x02) d/(1777,1:2,@-5,user.d=)",
    ] => "f=x(4755,1000:2000,@1234567890.123456789,security.capability=\\x01\\x00\\x00\\x02,user.a=b) d/(1777,1:2,@-5,user.d=)";

    /// "Hardlinks are possible with all file types except directories."
    all_types_except_directories_can_be_linked: ["f=x s->f c!5:1 b!!8:0 p| zf==f zs==s zc==c zb==b zp==p"]
        => "f=x s->f c!5:1 b!!8:0 p| zf==f zs==s zc==c zb==b zp==p";
    a_directory_cannot_be_linked: ["d/ z==d"] => "error: z d directory";

    /// "If the entry and the existing path are both directories, then the existing path's
    /// attributes MUST be replaced by those of the entry in the changeset." containerd keeps old
    /// extended attributes. umoci replaces them as well.
    a_directory_over_a_directory_replaces_attributes: [
        "d/(700,1:1,@5,user.old=1,user.both=1) d/f=x",
        "d/(1750,2:3,@9,user.new=2,user.both=2)",
    ] => "d/(1750,2:3,@9,user.both=2,user.new=2) d/f=x";

    /// "In all other cases, the implementation MUST do the semantic equivalent of … removing the
    /// file path … recreating …".
    a_file_over_a_file_replaces_attributes: ["f=old(4755,1:1,user.old=1)", "f=new"] => "f=new";

    /// "A whiteout filename consists of the prefix .wh. plus the basename of the path to be
    /// deleted."
    whiteouts_remove: ["file1=1 a/ a/file2=2 b/ c/ c/file3=3", ".wh.file1 a/.wh.file2 .wh.b file4=4"]
        => "a/ c/ c/file3=3 file4=4";

    /// "A .wh. file, without a basename to delete, is invalid and implementations SHOULD return an
    /// error".
    a_whiteout_without_a_name_is_an_error: ["d/ d/f=x", "d/.wh."] => "error: entry 1 d/.wh. whiteout";

    /// "it is not possible to create a filesystem which has a file or directory with a name
    /// beginning with .wh."
    whiteouts_are_never_files: ["a=1", ".wh.a(4755) .wh.b=text .wh.c/ .wh.d->a .wh.e!5:1 .wh.f|"] => "";

    /// "Whiteout files MUST only apply to resources in lower/parent layers."
    a_whiteout_spares_its_own_layer: ["a=1", ".wh.a a=2"] => "a=2";
    a_whiteout_spares_its_own_layer_in_any_order: ["a=1", "a=2 .wh.a"] => "a=2";

    /// "Files that are present in the same layer as a whiteout file can only be hidden by whiteout
    /// files in subsequent layers."
    a_later_whiteout_hides_what_an_earlier_one_spared: ["a=1", "a=2 .wh.a", ".wh.a"] => "";

    /// "This is called opaque whiteout format."
    an_opaque_marker_removes_all_children: [
        "etc/ etc/my-app-config=c bin/ bin/my-app-binary=b bin/my-app-tools=t bin/tools/ bin/tools/my-app-tool-one=1",
        "bin/ bin/.wh..wh..opq",
    ] => "etc/ etc/my-app-config=c bin/";
    explicit_whiteouts_are_equivalent: [
        "etc/ etc/my-app-config=c bin/ bin/my-app-binary=b bin/my-app-tools=t bin/tools/ bin/tools/my-app-tool-one=1",
        "bin/ bin/.wh.my-app-binary bin/.wh.my-app-tools bin/.wh.tools",
    ] => "etc/ etc/my-app-config=c bin/";

    /// "the original a/b directory is deleted and recreated with a/b/c/foo"
    an_opaque_marker_comes_first: ["a/ a/b/ a/b/c/ a/b/c/bar=1", "a/ a/.wh..wh..opq a/b/ a/b/c/ a/b/c/foo=2"]
        => "a/ a/b/ a/b/c/ a/b/c/foo=2";

    /// "a/.wh..wh..opq is applied first … regardless of the ordering"
    an_opaque_marker_comes_first_even_if_it_is_last: ["a/ a/b/ a/b/c/ a/b/c/bar=1", "a/ a/b/ a/b/c/ a/b/c/foo=2 a/.wh..wh..opq"]
        => "a/ a/b/ a/b/c/ a/b/c/foo=2";

    /// "MUST NOT include duplicate entries", but containerd and umoci use the last one.
    the_last_of_duplicate_files_counts: ["a=1(600) a=2 a=3(640)"] => "a=3(640)";
    a_directory_listed_twice_keeps_its_children: ["d/(700) d/f=x d/(750,user.a=b)"] => "d/(750,user.a=b) d/f=x";
}

/// "In all other cases …": each type replaces each other, between layers and within one.
#[test]
fn every_type_replaces_every_other() {
    let kinds = ["x=text", "x/", "x->t", "x==t", "x!5:1", "x!!8:1", "x|"];
    for old in kinds {
        for new in kinds {
            let child = if old == "x/" { "x/child=c" } else { "" };
            let kept = if (old, new) == ("x/", "x/") { child } else { "" };
            let expected = format!("t=t {new} {kept}");
            check(&[&format!("t=t {old} {child}"), new], &expected);
            check(&[&format!("t=t {old} {child} {new}")], &expected);
        }
    }
}
