//! Every shape of a tree with every setup of an image.

use crate::setup::{Setup, assert_clean_and_usable};
use crate::shapes;

#[test]
fn an_empty_file_system_is_clean_and_usable() {
    assert_clean_and_usable(&Setup::all(), shapes::empty);
}

#[test]
fn a_file_system_with_one_file_is_clean_and_usable() {
    assert_clean_and_usable(&Setup::all(), shapes::one_file);
}

#[test]
fn every_kind_of_file_keeps_its_metadata() {
    assert_clean_and_usable(&Setup::all(), shapes::every_kind);
}

#[test]
fn symlinks_of_every_length_lead_to_their_targets() {
    assert_clean_and_usable(&Setup::all(), shapes::symlinks);
}

#[test]
fn hard_links_share_their_inode() {
    assert_clean_and_usable(&Setup::all(), shapes::hard_links);
}

#[test]
fn directories_around_one_full_block_have_all_names() {
    assert_clean_and_usable(&Setup::all(), shapes::full_directories);
}

#[test]
fn an_index_of_two_levels_finds_every_name() {
    assert_clean_and_usable(&Setup::all(), shapes::deep_index);
}

#[test]
fn nested_directories_count_their_links() {
    assert_clean_and_usable(&Setup::all(), shapes::nested_directories);
}

#[test]
fn extended_attributes_are_read_back_from_inode_and_block() {
    assert_clean_and_usable(&Setup::all(), shapes::xattrs);
}

#[test]
fn blocks_of_extended_attributes_are_shared_and_counted() {
    assert_clean_and_usable(&Setup::all(), shapes::shared_xattrs);
}

#[test]
fn large_values_of_extended_attributes_are_read_back_from_inodes() {
    assert_clean_and_usable(&Setup::all(), shapes::large_values);
}

#[test]
fn small_files_and_directories_are_read_back_from_inodes_and_blocks() {
    assert_clean_and_usable(&Setup::all(), shapes::small_files);
}

#[test]
fn holes_stay_holes_and_data_is_where_it_was() {
    assert_clean_and_usable(&Setup::all(), shapes::sparse_files);
}

#[test]
fn extent_trees_are_valid_around_the_capacity_of_their_nodes() {
    assert_clean_and_usable(&Setup::all(), shapes::many_extents);
}

#[test]
fn freed_content_leaves_the_rest_intact() {
    assert_clean_and_usable(&Setup::all(), shapes::churn);
}
