//! What the server could not write down: mended by a command, and at the next start.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use docker_registry_tests::server::Place;

use crate::support::{Folder, await_comparison, expect_found, found, lock, push_v1, push_v2, sql};

#[test]
fn a_rebuild_adds_what_is_missing_and_removes_what_is_gone() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    await_comparison(&server);
    let client = server.client();
    push_v1(&client, "team/one");
    push_v2(&client, "app", "1", Some("An application"), None);
    push_v2(&client, "app2", "1", None, Some("Another one"));
    expect_found(&client, "?q=app", &[("app", Some("An application")), ("app2", Some("Another one"))]);
    sql(
        &folder.database(),
        "DELETE FROM repository WHERE name IN ('team/one', 'app'); \
         INSERT INTO repository (name) VALUES ('team/ghost'), ('ghost'); \
         DELETE FROM docker_registry_repository WHERE name = 'app2'; \
         UPDATE repository SET description = 'old' WHERE name = 'app2'",
    );
    let ended = folder.rebuild(&server.place().storage());
    let output = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(
        output,
        "1 V1 and 2 V2 repositories in the storage; 2 added to the index, 1 changed, 2 removed\n"
    );
    let all = [("app", Some("An application")), ("app2", Some("Another one")), ("team/one", None)];
    expect_found(&client, "", &all);
    let again = folder.rebuild(&server.place().storage());
    assert!(String::from_utf8_lossy(&again.stdout).ends_with("0 added to the index, 0 changed, 0 removed\n"));
}

#[test]
fn a_rebuild_reads_the_description_of_the_tag_that_moved_last() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    await_comparison(&server);
    let client = server.client();
    push_v2(&client, "app", "z", Some("First"), None);
    push_v2(&client, "app", "a", Some("Second"), None);
    expect_found(&client, "", &[("app", Some("Second"))]);
    sql(&folder.database(), "DELETE FROM repository; DELETE FROM docker_registry_repository");
    assert_eq!(folder.rebuild(&server.place().storage()).status.code(), Some(0));
    expect_found(&client, "", &[("app", Some("Second"))]);
}

#[test]
fn a_rebuild_without_an_index_or_with_a_broken_one_says_so() {
    let place = Place::new();
    let ended = Folder::new().with_backend("").rebuild(&place.storage());
    assert_eq!(ended.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("has no search index"));
    let folder = Folder::new();
    std::fs::create_dir(folder.database()).expect("a folder");
    let ended = folder.rebuild(&place.storage());
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("Is a directory"));
}

#[test]
fn searches_beside_a_rebuild_find_everything_all_the_time() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    for number in 0..30 {
        push_v2(&client, &format!("kept/r{number}"), "1", None, None);
    }
    let names: Vec<String> = (0..30).map(|number| format!("kept/r{number}")).collect();
    let mut sorted: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    sorted.sort();
    expect_found(&client, "?q=kept", &sorted);
    let done = AtomicBool::new(false);
    let searches = thread::scope(|scope| {
        let searching = scope.spawn(|| {
            let mut searches = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(found(&client, "?q=kept").len(), 30);
                searches += 1;
            }
            searches
        });
        for _ in 0..3 {
            assert_eq!(folder.rebuild(&server.place().storage()).status.code(), Some(0));
        }
        done.store(true, Ordering::Relaxed);
        searching.join().expect("every search found everything")
    });
    assert!(searches > 0);
}

#[test]
fn what_a_killed_server_had_not_written_down_is_found_after_the_next_start() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/old");
    expect_found(&server.client(), "", &[("team/old", None)]);
    // Nothing can be written down, and then the server dies.
    let locked = lock(&folder, "EXCLUSIVE");
    push_v1(&server.client(), "team/one");
    push_v2(&server.client(), "app", "1", Some("An application"), None);
    server.client().send("DELETE", "/v1/repositories/team/old/", &[], b"").expect(200);
    server.client().get("/v1/search").expect(503);
    let server = server.kill_and_restart();
    locked.kill();
    expect_found(&server.client(), "", &[("app", Some("An application")), ("team/one", None)]);
}
