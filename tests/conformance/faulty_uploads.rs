//! Drivers that do one thing wrong with uploads.

use std::sync::Arc;

use docker_registry_driver_conformance::{Outcome, cases};
use libtest_mimic::{Failed, Trial};

use crate::{
    faulty::{Fault, Faulty, fault},
    own_uploads::{OwnUploads, UploadFault},
    run,
};

/// A fault of [`OwnUploads`].
macro_rules! uploads {
    ($($fault:ident, $name:literal, $case:literal, $promise:literal;)+) => {
        vec![$(fault($name, $case, $promise, |inner| OwnUploads::shared(inner, UploadFault::$fault))),+]
    };
}

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    let mut faults = [appends(), bodies(), commits(), ends(), listings()].concat();
    // Only a call that does not return shows this one.
    if cfg!(feature = "long") {
        faults.extend(uploads! {
            HangingAppendIsWaitedFor, "a_hanging_append_is_waited_for",
                "fencing/a_hanging_append_is_taken_over", "and never waits for it";
        });
    }
    faults
}

/// The same driver without a fault passes every case about uploads.
pub(crate) fn without_a_fault() -> impl Iterator<Item = Trial> {
    let groups = ["uploads/", "appending/", "fencing/", "pending_uploads/", "conditions/", "cancellation/"];
    let about_uploads = move |name: &str| groups.iter().any(|group| name.starts_with(group));
    let cases = cases().filter(move |case| about_uploads(case.name()));
    cases.map(|case| {
        Trial::test(format!("own_uploads::{}", case.name()), move || {
            let make = |inner| OwnUploads::shared(inner, UploadFault::Nothing);
            match run(case, Arc::new(Faulty::new(make))) {
                Outcome::Passed | Outcome::Skipped(_) => Ok(()),
                Outcome::Failed(finding) => Err(Failed::from(finding)),
            }
        })
    })
}

fn appends() -> Vec<Fault> {
    uploads! {
        OffsetIgnored, "an_append_at_a_wrong_offset_is_accepted",
            "appending/another_offset_is_a_conflict", "for a stale state or another offset";
        StaleAppendAccepted, "an_append_with_a_stale_state_is_accepted",
            "appending/a_stale_state_is_a_conflict", "for a stale state or another offset";
        StaleCommitAccepted, "a_commit_with_a_stale_state_is_accepted",
            "appending/a_stale_state_is_a_conflict", "`Conflict` for a stale state";
        StaleIsInternal, "a_stale_state_is_an_internal_error",
            "appending/a_stale_state_is_a_conflict", "for a stale state or another offset";
        EmptyAppendKeepsState, "an_append_of_nothing_hands_back_the_same_state",
            "appending/an_append_of_nothing_makes_the_state_stale", "at most one of them gets an `Ok`";
        SecondCheckMissing, "two_that_append_both_succeed",
            "fencing/of_two_that_append_one_wins", "at most one of them gets an `Ok`";
        SecondCheckMissing, "an_append_that_was_taken_over_succeeds",
            "fencing/a_hanging_append_is_taken_over", "at most one of them gets an `Ok`";
        LargeAppendLosesItsEnd, "a_large_append_loses_its_last_byte",
            "uploads/one_large_append_is_streamed", "Adds the stream's bytes";
        ChunksInWrongOrder, "chunks_are_joined_in_another_order",
            "uploads/many_small_chunks_are_streamed", "Adds the stream's bytes";
        ForeignStateIsAnyones, "a_foreign_state_stands_for_somebody_elses_upload",
            "appending/foreign_states_are_refused", "never taken for another upload's";
        StatesStayInTheProcess, "states_are_good_in_one_process_only",
            "resuming/small_appends_go_on_elsewhere", "all that another process needs to go on";
    }
}

fn bodies() -> Vec<Fault> {
    uploads! {
        FailedBodyIsKept, "the_bytes_of_a_failed_body_stay",
            "appending/a_failed_body_leaves_an_empty_upload_empty", "the upload stays as it was";
        FailedBodyEndsUpload, "a_failed_body_ends_the_upload",
            "appending/a_failed_body_leaves_the_upload_as_it_was", "Adds the stream's bytes";
        FailedBodyIsUnavailable, "a_failed_body_is_taken_for_a_failed_storage",
            "appending/a_failed_body_leaves_the_upload_as_it_was", "when the stream failed";
        FailedBodySaysNothing, "the_error_of_a_body_is_swallowed",
            "appending/a_failed_body_leaves_the_upload_as_it_was", "its own error is the source";
        FailedBodyIsKept, "the_bytes_of_a_failed_body_count_as_progress",
            "pending_uploads/a_failed_body_is_no_progress", "Number of durable bytes";
        DroppedBodyIsKept, "the_bytes_of_a_dropped_append_stay",
            "cancellation/an_append_dropped_in_the_middle_did_not_happen",
            "when the call is dropped before the stream has ended";
    }
}

fn commits() -> Vec<Fault> {
    uploads! {
        VisibleAtTheHint, "an_upload_shows_at_its_hint_before_commit",
            "uploads/nothing_is_visible_before_commit", "Nothing is visible at any path";
        VisibleInAFolder, "an_upload_shows_in_a_folder_of_the_storage_root",
            "uploads/nothing_is_visible_before_commit", "Nothing is visible at any path";
        CommitByHalf, "a_commit_replaces_by_half",
            "concurrency/readers_of_commits_see_one_version_or_the_other", "never between";
        CommitByHalf, "a_dropped_commit_leaves_half",
            "cancellation/a_dropped_commit_happened_or_not", "never by half";
        CommitDeletesFirst, "a_commit_deletes_what_it_replaces_first",
            "concurrency/readers_of_commits_see_one_version_or_the_other", "never between";
        CommitTakesTheUploadFirst, "a_dropped_commit_loses_the_content",
            "cancellation/a_dropped_commit_happened_or_not", "never by half";
        CommitLeavesAnObject, "a_commit_leaves_an_object_beside",
            "uploads/a_commit_replaces_what_is_there", "Makes the upload an object at `final_path`";
        CommitOfNothingFails, "an_upload_without_bytes_cannot_be_committed",
            "uploads/an_upload_without_bytes_is_an_empty_object", "Makes the upload an object";
        CommitKeepsTheTail, "a_commit_over_a_longer_object_keeps_its_tail",
            "uploads/a_commit_replaces_what_is_there", "Makes the upload an object";
        CommitKeepsTheUpload, "a_committed_upload_stays_open",
            "uploads/a_committed_upload_is_gone", "when the upload was aborted or committed";
        CommitKeepsTheUpload, "two_that_commit_both_succeed",
            "fencing/of_two_that_commit_one_wins", "at most one of them gets an `Ok`";
        FailedCommitEndsUpload, "a_commit_whose_condition_fails_ends_the_upload",
            "conditions/if_absent_leaves_what_is_there", "`ConditionFailed` when `condition` does not hold";
        IfAbsentIgnored, "a_commit_ignores_if_absent",
            "conditions/if_absent_leaves_what_is_there", "Only when nothing is there";
        IfAbsentIgnored, "many_commits_with_if_absent_succeed",
            "conditions/of_many_commits_one_wins", "exactly one succeeds";
        IfMatchIgnored, "a_commit_ignores_if_match",
            "conditions/if_match_leaves_another_version", "still has this tag";
        SizeOfHintEnforced, "a_hint_of_the_size_is_taken_at_its_word",
            "uploads/a_wrong_hint_does_no_harm", "Adds the stream's bytes";
    }
}

fn ends() -> Vec<Fault> {
    uploads! {
        AbortKeepsTheUpload, "an_abort_keeps_the_upload",
            "uploads/an_aborted_upload_is_gone", "when the upload was aborted or committed";
        AbortKeepsTheUpload, "an_aborted_upload_is_listed",
            "pending_uploads/every_pending_upload_is_found", "neither committed nor aborted";
        AbortKeepsTheUpload, "an_abort_leaves_what_only_the_clearing_up_sees",
            "pending_uploads/a_failed_body_is_no_progress", "neither committed nor aborted";
        AbortIsForgotten, "an_aborted_upload_can_be_committed",
            "uploads/an_aborted_upload_is_gone", "`NotFound` when the upload";
        AbortOfStaleStateFails, "a_stale_state_does_not_abort",
            "uploads/an_aborted_upload_is_gone", "stale ones included";
        AbortTwiceFails, "a_second_abort_fails",
            "uploads/an_aborted_upload_is_gone", "one that is gone already is `Ok`";
    }
}

fn listings() -> Vec<Fault> {
    uploads! {
        ListForgetsOne, "a_pending_upload_is_not_listed",
            "pending_uploads/every_pending_upload_is_found", "finds every pending upload";
        ListRepeatsAtPages, "a_pending_upload_is_listed_twice",
            "pending_uploads/pages_hold_each_upload_once", "`list_uploads`";
        ListIgnoresLimit, "a_page_of_uploads_is_too_long",
            "pending_uploads/pages_hold_each_upload_once", "at most `limit` of them";
        ListIgnoresTime, "new_uploads_are_listed_among_old_ones",
            "pending_uploads/only_older_ones_are_wanted", "last touched before `older_than`";
        ListIgnoresCapability, "uploads_are_listed_without_the_capability",
            "pending_uploads/without_the_capability_it_is_unsupported", "`Unsupported` without";
        ListedSizeIsOld, "the_listed_size_is_that_of_the_first_append",
            "pending_uploads/only_older_ones_are_wanted", "Number of durable bytes";
        ListedStateAbortsNothing, "a_listed_state_aborts_nothing",
            "pending_uploads/what_is_listed_can_be_aborted", "A state that `abort` accepts";
    }
}
