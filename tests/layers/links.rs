//! Tests of hard links: to files of lower layers, to links, through symlinks, to files that are
//! replaced later, and to missing files.

use crate::layers::cases;

cases! {
    /// Other ext4 builders fail, change the inode of the root, or copy the file.
    a_link_to_a_link: ["a=1 b==a c==b"] => "a=1 b==a c==a";
    a_link_to_a_file_of_a_lower_layer: ["a=1(600,1:2,user.a=b)", "d/b==a"] => "a=1(600,1:2,user.a=b) d/(@0) d/b==a";
    a_link_to_a_link_of_a_lower_layer: ["a=1 b==a", "c==b"] => "a=1 b==a c==a";
    a_link_to_a_symlink_of_a_lower_layer: ["a->x", "b==a"] => "a->x b==a";
    a_link_to_a_device_of_a_lower_layer: ["a!5:1(666)", "b==a"] => "a!5:1(666) b==a";
    /// Other ext4 builders free the inode in spite of its link count: `b` dangles, and the data is
    /// lost.
    a_file_that_is_replaced_keeps_its_other_names: ["a=1 b==a", "a=2"] => "a=2 b=1";
    a_file_that_is_replaced_in_its_own_layer_keeps_its_other_names: ["a=1 b==a a=2"] => "a=2 b=1";
    a_file_that_is_replaced_by_a_directory_keeps_its_other_names: ["a=1 b==a", "a/ a/f=x"] => "a/ a/f=x b=1";
    a_link_after_its_target_was_replaced: ["a=1 b==a", "a=2 c==a"] => "a=2 b=1 c==a";
    a_link_replaces_what_was_there: ["a=1 b=2 d/ d/f=x", "b==a d==a"] => "a=1 b==a d==a";
    a_link_replaces_a_link_to_the_same_file: ["a=1 b==a", "b==a"] => "a=1 b==a";
    links_of_one_file_do_not_join_those_of_another: ["a=1 b=1 c==a d==b"] => "a=1 b=1 c==a d==b";

    /// umoci, TestUnpackHardlink: owner and mode in the entry of a link may be wrong. containerd
    /// applies them.
    the_metadata_of_a_link_is_not_applied: ["a=1(600,5:6,@7,user.a=b)", "b==a(4777,9:9,@9,user.c=d)"]
        => "a=1(600,5:6,@7,user.a=b) b==a";

    /// containerd, TestBreakouts "HardlinkRelative" to "HardlinkDirectAbsolute".
    a_links_target_goes_through_a_symlink: ["etc/(770) /etc/passwd=in breakouts/ breakouts/d1->../../etc breakouts/mine==/breakouts/d1/passwd"]
        => "etc/(770) etc/passwd==breakouts/mine breakouts/ breakouts/d1->../../etc breakouts/mine=in";
    a_links_target_goes_down_and_out: [
        "etc/ etc/passwd=in breakouts/ downandout/ breakouts/d1->../downandout/../../etc z==/breakouts/d1/passwd",
    ] => "etc/ etc/passwd=in breakouts/ downandout/ breakouts/d1->../downandout/../../etc z==etc/passwd";
    a_links_target_goes_through_an_absolute_symlink: ["etc/ etc/passwd=in localetc->/etc z==/localetc/passwd"]
        => "etc/ etc/passwd=in localetc->/etc z==etc/passwd";
    a_links_target_goes_far_up: ["etc/ etc/passwd=in localetc->../../../../../../../etc z==/localetc/passwd"]
        => "etc/ etc/passwd=in localetc->../../../../../../../etc z==etc/passwd";
    a_links_target_goes_up_and_out: ["etc/ etc/passwd=in localetc->upandout/../../../etc z==/localetc/passwd"]
        => "etc/ etc/passwd=in localetc->upandout/../../../etc z==etc/passwd";
    a_links_target_is_relative_to_the_root: ["etc/ etc/passwd=in d/z==../../../../../etc/passwd"]
        => "etc/ etc/passwd==d/z d/(@0) d/z=in";
    a_links_target_may_be_absolute: ["etc/ etc/passwd=in z==/etc/passwd"] => "etc/ etc/passwd=in z==etc/passwd";
    /// "SymlinkParentRelative", "SymlinkSlashEnded", "SymlinkOverrideDirectoryRelative",
    /// "DirectoryOverrideSymlinkAndHardlink".
    a_link_is_made_behind_a_symlink: ["etc/(770) etc/passwd=in localetc/sub/..->/etc/ /localetc/localpasswd==/etc/passwd"]
        => "etc/(770) etc/localpasswd=in etc/passwd==etc/localpasswd localetc->/etc/";
    a_link_is_made_in_a_directory: ["etc/ etc/passwd=in localetc/ /localetc/localpasswd==/etc/passwd"]
        => "etc/ etc/passwd=in localetc/ localetc/localpasswd==etc/passwd";
    a_link_is_made_behind_a_symlink_over_a_directory: ["etc/ etc/passwd=in localetc/", "localetc->../../etc /localetc/z==/etc/passwd"]
        => "etc/ etc/passwd=in etc/z==etc/passwd localetc->../../etc";
    a_link_disappears_with_its_symlinked_directory: [
        "etc/ etc/passwd=in localetc->etc localetc/localpasswd==/etc/passwd",
        "localetc/ localetc/localpasswd=different",
    ] => "etc/ etc/localpasswd=in etc/passwd==etc/localpasswd localetc/ localetc/localpasswd=different";
    /// "HardlinkSymlinkBeforeCreateTarget", "HardlinkSymlinkRelative", "HardlinkSymlinkAbsolute".
    a_link_to_a_symlink_links_the_symlink: ["etc/ localpasswd->/etc/passwd z==localpasswd etc/passwd=after"]
        => "etc/ localpasswd->/etc/passwd z==localpasswd etc/passwd=after";
    a_link_to_a_relative_symlink_links_the_symlink: ["etc/ etc/passwd=in passwdlink->../../../../../etc/passwd z==/passwdlink"]
        => "etc/ etc/passwd=in passwdlink->../../../../../etc/passwd z==passwdlink";
    /// "HardlinkSymlinkChmod".
    a_link_to_a_symlink_leaves_the_file_behind_it_alone: ["secret=x(400) l->/secret z==l(666)"] => "secret=x(400) l->/secret z==l";

    a_link_to_nothing_is_an_error: ["d/b==nowhere/a"] => "error: entry 1 d/b nowhere/a exist";
    a_link_to_something_that_comes_later_is_an_error: ["b==a a=1"] => "error: entry 1 \"b\" \"a\" exist";
    /// GNU tar writes these for operands that overlap (`tar -cf x.tar ./c .`). containerd and umoci
    /// fail.
    a_link_to_itself_changes_nothing: ["a=1(600) a==a"] => "a=1(600)";
    a_link_to_itself_in_a_lower_layer_changes_nothing: ["a=1(600) b==a", "a==a"] => "a=1(600) b==a";
    a_link_to_itself_by_another_path_changes_nothing: ["d/ d/a=1 l->d l/a==d/a d/a==l/../d/a"] => "d/ d/a=1 l->d";
    a_link_to_its_own_link_changes_nothing: ["a=1 b==a b==a a==b"] => "a=1 b==a";
    a_symlink_that_is_linked_to_itself_changes_nothing: ["l->x l==l"] => "l->x";
    a_link_to_itself_without_a_file_is_an_error: ["a==a"] => "error: entry 1 \"a\" exist";
    a_directory_that_is_linked_to_itself_is_an_error: ["d/ d==d"] => "error: entry 2 \"d\" directory";
    a_link_to_something_that_it_replaces_is_an_error: ["d/ d/a=1 d==d/a"] => "error: entry 3 d/a itself";
    a_link_to_a_name_that_it_replaces_is_an_error_even_if_the_file_has_others: ["d/ d/a=1 b==d/a d==d/a"] => "error: entry 4 d/a itself";
    a_link_in_place_of_the_symlink_to_its_target_is_an_error: ["d/ d/a=1 l->d l==l/a"] => "error: entry 4 l/a itself";
    /// `s` leads to `d/e` while `d` exists, and to another `e` after the link has replaced `d`.
    a_link_to_something_that_it_replaces_is_an_error_even_if_the_path_leads_elsewhere_then: [
        "d/k/k/ d/m->k/k d/e/a=1 e/a=2 s->d/m/../../e d==s/a",
    ] => "error: entry 6 \"d\" s/a itself";
    a_link_to_a_file_behind_what_it_replaces_is_an_error_even_if_the_path_leads_elsewhere_then: [
        "p/q/ l->p/q p/e/a=1 e/a=2 s->l/../e l==s/a",
    ] => "error: entry 6 \"l\" s/a itself";
    a_link_to_something_that_its_own_parent_replaces_is_an_error: ["a=1 b->a b/c==a"] => "error: entry 3 b/c directory";
    a_link_to_the_symlink_that_leads_to_it: ["a=1 b->a b/c==b"] => "a/(@0) a/c->a b==a/c";
    a_link_below_its_target_is_an_error: ["a=1 a/b==a"] => "error: entry 2 a/b directory";
    a_link_to_the_root_is_an_error: ["a==/"] => "error: entry 1 directory";
    a_link_to_a_symlinked_directory_links_the_symlink: ["d/ l->d z==l"] => "d/ l->d z==l";
    a_link_without_a_target_is_an_error: ["a=="] => "error: entry 1 directory";
    a_link_below_a_file_is_an_error: ["a=1 b==a/c"] => "error: entry 2 a/c exist";
}
