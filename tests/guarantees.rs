//! Checks that each cell of README's table of guarantees names tests that exist.
//!
//! After a test in [`GUARANTEES`] is renamed or moved, change its entry there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;

use support::program::repository;

/// Headings of the table's columns.
const ADVERSARIES: [&str; 4] = [
    "the image",
    "the registry, and the way to it",
    "other users of the host",
    "`kill -9`, a power cut",
];

/// Rows of the table: a guarantee, and tests as `file::function`, one list for each of
/// [`ADVERSARIES`]. An empty list is an empty cell.
const GUARANTEES: [(&str, [&[&str]; 4]); 5] = [
    (
        "Verified",
        [
            &["tests/cli/failures.rs::a_damaged_blob_is_named_with_both_digests"],
            &[
                "tests/sources/faults.rs::wrong_content_is_not_retried_or_kept",
                "tests/sources/faults.rs::a_pinned_image_must_have_its_digest",
            ],
            &[
                "tests/sources/other_users.rs::store_files_of_another_user_are_refused",
                "tests/sources/store.rs::corrupt_cached_tar_is_unpacked_again",
            ],
            &["tests/sources/store.rs::corrupt_cached_tar_is_unpacked_again"],
        ],
    ),
    (
        "All or nothing",
        [
            &["tests/cli/failures.rs::a_damaged_image_leaves_nothing"],
            &["tests/sources/faults.rs::transient_errors_are_retried"],
            &[
                "tests/hostile_users/output.rs::file_that_appears_at_the_output_during_a_build_is_kept",
                "tests/hostile_users/output.rs::swapped_temporary_file_is_not_published",
            ],
            &[
                "tests/durability.rs::image_is_synced_before_it_is_published",
                "tests/cli/signals.rs::a_killed_build_leaves_nothing_where_files_can_be_unnamed",
            ],
        ],
    ),
    (
        "Contained",
        [
            &[
                "tests/copies/stage.rs::as_root_a_stage_of_a_hostile_tree_equals_the_image",
                "src/stage/confined/unix.rs::symlinks_are_not_followed",
            ],
            &["oci/src/digest.rs::only_exact_digests_parse"],
            &[
                "tests/hostile_users/stage.rs::swapped_stage_changes_no_file_of_root",
                "tests/hostile_users/stage.rs::mke2fs_does_not_write_to_swapped_files",
                "tests/hostile_users/output.rs::output_path_through_a_symlink_of_another_user_is_refused",
                "tests/sources/other_users.rs::state_directory_of_another_user_is_refused_with_its_owner_and_mode",
                "tests/sources/other_users.rs::state_directory_that_others_can_change_is_refused_with_its_owner_and_mode",
                "tests/sources/other_users.rs::special_files_in_the_store_are_not_followed_and_do_not_block",
                "tests/sources/other_users.rs::special_files_in_place_of_credentials_or_their_lock_are_not_changed",
            ],
            &["tests/sources/store.rs::killed_builds_leave_a_store_that_the_next_one_resumes_from"],
        ],
    ),
    (
        "Bounded",
        [
            &[
                "tests/layers/limits.rs::compression_bombs_are_refused",
                "tests/cli/limits.rs::each_limit_names_the_layer_the_entry_and_the_flag_that_raises_it",
                "ext4/src/encode/xattrs.rs::many_attributes_of_a_file_are_refused_in_linear_time",
                "src/guest/command.rs::a_million_variables_take_linear_time",
                "tests/cli/signals.rs::a_signal_ends_every_command_that_waits",
                "tests/resources.rs::zstd_window_larger_than_memory_is_an_error",
            ],
            &[
                "oci/src/registry.rs::slow_document_times_out",
                "oci/src/registry/download.rs::slow_blob_times_out",
                "tests/sources/redirects.rs::redirect_loops_and_invalid_targets_are_errors",
            ],
            &[
                "oci/src/host.rs::a_fifo_or_device_is_refused_at_once",
                "tests/sources/other_users.rs::wait_for_the_lock_of_another_build_is_noted",
                "tests/sources/other_users.rs::login_notes_that_it_waits_for_a_lock_and_can_be_interrupted",
            ],
            &[],
        ],
    ),
    (
        "Discreet",
        [
            &[],
            &[
                "tests/sources/redirects.rs::credentials_stay_with_the_registry_across_redirects",
                "tests/sources/secrets.rs::registry_error_that_echoes_credentials_is_redacted",
                "tests/sources/secrets.rs::userinfo_in_a_realm_is_neither_sent_nor_shown",
            ],
            &[
                "oci/src/auth/file/tests.rs::only_the_owner_can_read_the_file",
                "tests/sources/file_modes.rs::state_directory_is_private",
            ],
            &["tests/durability.rs::login_is_synced_before_it_is_published"],
        ],
    ),
];

/// Returns the rows of README's table, each as its trimmed cells.
fn table_rows() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let precedes_table = |line: &&str| !line.starts_with(&format!("| | {} |", ADVERSARIES[0]));
    let table = readme
        .lines()
        .skip_while(precedes_table)
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let line = line.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    table.map(cells).collect()
}

#[test]
fn each_cell_of_the_table_has_tests() {
    let rows = table_rows();
    assert_eq!(rows[0][1..], ADVERSARIES);
    assert_eq!(rows.len(), 2 + GUARANTEES.len());
    for (row, (guarantee, tests)) in rows[2..].iter().zip(GUARANTEES) {
        assert!(row[0].starts_with(&format!("**{guarantee}**: ")), "{}", row[0]);
        for ((cell, tests), adversary) in row[1..].iter().zip(tests).zip(ADVERSARIES) {
            assert_eq!(cell.is_empty(), tests.is_empty(), "{guarantee}, {adversary}");
        }
    }
}

#[test]
fn each_named_test_exists() {
    for test in GUARANTEES.iter().flat_map(|(_, cells)| cells.iter().copied().flatten()) {
        let (path, name) = test.split_once("::").unwrap();
        let source = fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(source.contains(&format!("fn {name}()")), "{test}");
    }
}
