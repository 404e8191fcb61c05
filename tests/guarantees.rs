//! Tests behind each cell of README's table of guarantees.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;

use support::program::repository;

const ADVERSARIES: [&str; 4] = [
    "the image",
    "the registry, and the way to it",
    "other users of the host",
    "`kill -9`, a power cut",
];

/// Tests as `file::function`, one list for each of the adversaries. An empty list is an empty cell.
const GUARANTEES: [(&str, [&[&str]; 4]); 5] = [
    (
        "Verified",
        [
            &["tests/cli/failures.rs::a_damaged_blob_is_named_with_both_digests"],
            &[
                "tests/sources/faults.rs::wrong_bytes_are_final_and_leave_nothing",
                "tests/sources/faults.rs::a_pinned_image_must_have_its_digest",
            ],
            &[
                "tests/sources/neighbours.rs::files_of_others_in_the_store_are_refused",
                "tests/sources/store.rs::a_layer_that_was_kept_and_is_damaged_is_unpacked_anew",
            ],
            &["tests/sources/store.rs::a_layer_that_was_kept_and_is_damaged_is_unpacked_anew"],
        ],
    ),
    (
        "All or nothing",
        [
            &["tests/cli/failures.rs::a_damaged_image_leaves_nothing"],
            &["tests/sources/faults.rs::what_breaks_once_is_tried_again"],
            &[
                "tests/neighbours/output.rs::what_appears_at_the_output_during_a_build_stays",
                "tests/neighbours/output.rs::a_hidden_file_that_is_swapped_is_not_published",
            ],
            &[
                "tests/durability.rs::an_image_is_on_the_disk_before_it_has_its_name",
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
                "tests/neighbours/stage.rs::a_stage_that_is_swapped_after_mkdir_harms_nobody",
                "tests/neighbours/stage.rs::mke2fs_writes_to_the_file_that_was_made_for_it",
                "tests/neighbours/output.rs::a_symlink_of_another_user_does_not_lead_to_the_output",
                "tests/sources/neighbours.rs::a_state_directory_of_another_user_is_refused_with_its_owner_and_mode",
                "tests/sources/neighbours.rs::a_state_directory_that_others_can_change_is_refused_with_its_owner_and_mode",
                "tests/sources/neighbours.rs::whatever_is_planted_in_the_store_is_neither_followed_nor_waited_for",
                "tests/sources/neighbours.rs::what_is_planted_for_credentials_or_their_lock_is_not_changed",
            ],
            &["tests/sources/store.rs::builds_that_are_killed_leave_what_the_next_one_goes_on_with"],
        ],
    ),
    (
        "Bounded",
        [
            &[
                "tests/layers/limits.rs::compression_bombs_are_refused",
                "tests/cli/limits.rs::each_limit_names_the_layer_the_entry_and_the_flag_that_raises_it",
                "ext4/src/encode/xattrs.rs::many_attributes_of_a_file_are_refused_in_linear_time",
                "src/guest/command.rs::a_million_variables_take_no_longer_each_than_one",
                "tests/cli/signals.rs::a_signal_ends_every_command_that_waits",
                "tests/resources.rs::a_window_that_memory_has_no_room_for_is_an_error",
            ],
            &[
                "oci/src/registry.rs::a_document_that_drips_times_out",
                "oci/src/registry/download.rs::a_blob_that_drips_is_given_up",
                "tests/sources/redirects.rs::redirects_that_lead_nowhere_are_not_followed",
            ],
            &[
                "oci/src/host.rs::a_fifo_or_device_is_refused_at_once",
                "tests/sources/neighbours.rs::a_lock_that_another_build_holds_is_waited_for_with_a_word",
                "tests/sources/neighbours.rs::a_login_waits_for_another_with_a_word_and_hears_an_interruption",
            ],
            &[],
        ],
    ),
    (
        "Discreet",
        [
            &[],
            &[
                "tests/sources/redirects.rs::credentials_stay_with_the_registry_and_do_not_come_back_from_elsewhere",
                "tests/sources/secrets.rs::the_error_of_a_registry_that_repeats_credentials",
                "tests/sources/secrets.rs::user_and_password_in_the_url_of_a_token_server_are_neither_sent_nor_shown",
            ],
            &[
                "oci/src/auth/file.rs::only_the_owner_can_read_the_file",
                "tests/sources/private.rs::nobody_else_enters_the_state_directory",
            ],
            &["tests/durability.rs::a_login_is_on_the_disk_before_it_has_its_name"],
        ],
    ),
];

/// Returns the cells of the rows of README's table, without their emphasis.
fn rows() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let begins = |line: &&str| !line.starts_with(&format!("| | {} |", ADVERSARIES[0]));
    let table = readme
        .lines()
        .skip_while(begins)
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let line = line.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    table.map(cells).collect()
}

#[test]
fn each_cell_of_the_table_has_tests() {
    let rows = rows();
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
