//! Every shape with every setup.

use crate::judge::{Setup, judge};
use crate::shapes;

#[test]
fn an_empty_file_system_is_clean_and_usable() {
    judge(&Setup::all(), shapes::empty);
}

#[test]
fn a_file_system_with_one_file_is_clean_and_usable() {
    judge(&Setup::all(), shapes::one_file);
}

#[test]
fn every_kind_of_file_keeps_its_metadata() {
    judge(&Setup::all(), shapes::every_kind);
}

#[test]
fn symlinks_of_every_length_lead_to_their_targets() {
    judge(&Setup::all(), shapes::symlinks);
}

#[test]
fn hard_links_share_their_inode() {
    judge(&Setup::all(), shapes::hard_links);
}

#[test]
fn directories_around_one_full_block_have_all_names() {
    judge(&Setup::all(), shapes::full_directories);
}

#[test]
fn an_index_of_two_levels_finds_every_name() {
    judge(&Setup::all(), shapes::deep_index);
}

#[test]
fn nested_directories_count_their_links() {
    judge(&Setup::all(), shapes::nested_directories);
}

#[test]
fn extended_attributes_are_read_back_from_inode_and_block() {
    judge(&Setup::all(), shapes::xattrs);
}

#[test]
fn blocks_of_extended_attributes_are_shared_and_counted() {
    judge(&Setup::all(), shapes::shared_xattrs);
}

#[test]
fn large_values_of_extended_attributes_are_read_back_from_inodes() {
    judge(&Setup::all(), shapes::large_values);
}

#[test]
fn small_files_and_directories_are_read_back_wherever_they_lie() {
    judge(&Setup::all(), shapes::small_files);
}

#[test]
fn holes_stay_holes_and_data_is_where_it_was() {
    judge(&Setup::all(), shapes::sparse_files);
}

#[test]
fn extent_trees_hold_at_the_edges_of_their_nodes() {
    judge(&Setup::all(), shapes::many_extents);
}

#[test]
fn what_was_freed_leaves_the_rest_intact() {
    judge(&Setup::all(), shapes::churn);
}
