//! Databases that cannot be used: the server starts, pushes succeed, searching is 503, and there is one warning.

use std::fs;

use docker_registry_tests::{
    process::{PATIENCE, wait_for},
    server::{Place, Server},
};

use crate::support::{Folder, expect_found, lock, push_v1, push_v2, sql, warnings};

/// Pushes, searches, and reads the warning.
fn expect_only_a_warning(server: &Server, words: &str) {
    let client = server.client();
    push_v1(&client, "team/centos");
    push_v2(&client, "app", "1", None, None);
    let answer = client.get("/v1/search?q=team").expect(503);
    assert_eq!(answer.text(), r#"{"error": "The search index is not available, retry later"}"#);
    assert!(answer.header("retry-after").is_some());
    client.get("/v1/search").expect(503);
    let warnings = warnings(server);
    let unusable: Vec<_> =
        warnings.iter().filter(|line| line.contains("cannot be used: searching")).collect();
    assert_eq!(unusable.len(), 1, "{warnings:?}");
    assert!(unusable[0].contains(words), "{words} is not in {unusable:?}");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = Folder::new();
    let text = "this is the diary of somebody, longer than the head of a database would be. ".repeat(20);
    fs::write(folder.database(), &text).expect("a file");
    expect_only_a_warning(&folder.serve(Place::new()), "not a database");
    assert_eq!(fs::read_to_string(folder.database()).expect("the file"), text);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    for schema in [
        "CREATE TABLE version (text TEXT); CREATE TABLE repository (url TEXT)",
        "CREATE TABLE repository (url TEXT)",
        "CREATE TABLE version (id TEXT); INSERT INTO version VALUES ('three')",
    ] {
        let folder = Folder::new();
        sql(&folder.database(), schema);
        let before = sql(&folder.database(), "SELECT name, sql FROM sqlite_master");
        expect_only_a_warning(&folder.serve(Place::new()), "something else than a search index");
        assert_eq!(sql(&folder.database(), "SELECT name, sql FROM sqlite_master"), before);
    }
}

#[test]
fn a_folder_or_a_path_through_a_file_cannot_be_a_database() {
    let folder = Folder::new();
    fs::create_dir(folder.database()).expect("a folder");
    expect_only_a_warning(&folder.serve(Place::new()), "Is a directory");
    let missing = Folder::new().with_database("sqlite:////dev/null/search.db");
    expect_only_a_warning(&missing.serve(Place::new()), "Not a directory");
    let missing = Folder::new().with_database("sqlite:////no/such/folder/search.db");
    expect_only_a_warning(&missing.serve(Place::new()), "there is no folder /no/such/folder");
}

#[test]
fn a_database_that_somebody_locks_is_made_up_for_afterwards() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/before");
    expect_found(&client, "", &[("team/before", None)]);
    let locked = lock(&folder, "EXCLUSIVE");
    push_v1(&client, "team/meanwhile");
    client.send("DELETE", "/v1/repositories/team/before/", &[], b"").expect(200);
    client.get("/v1/search").expect(503);
    locked.kill();
    expect_found(&client, "", &[("team/meanwhile", None)]);
    wait_for("the end of it is logged", PATIENCE, || {
        server.process().log().contains("the search index can be used again").then_some(())
    });
}

#[test]
fn a_database_that_cannot_be_written_is_searched_as_it_is_with_one_warning() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/before");
    expect_found(&client, "", &[("team/before", None)]);
    let locked = lock(&folder, "IMMEDIATE");
    for name in ["team/one", "team/two"] {
        push_v1(&client, name);
        client.get("/v1/search").expect(200);
    }
    wait_for("a warning", PATIENCE, || warnings(&server).pop());
    expect_found(&client, "", &[("team/before", None)]);
    locked.kill();
    expect_found(&client, "", &[("team/before", None), ("team/one", None), ("team/two", None)]);
    let warnings = warnings(&server);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("cannot be changed"), "{warnings:?}");
}

#[test]
fn a_database_that_is_deleted_under_a_running_server_is_made_anew() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    push_v2(&server.client(), "app", "1", Some("An application"), None);
    expect_found(&server.client(), "?q=team", &[("team/centos", None)]);
    fs::remove_file(folder.database()).expect("the database");
    expect_found(&server.client(), "", &[("app", Some("An application")), ("team/centos", None)]);
    assert_eq!(warnings(&server), Vec::<String>::new());
}

#[test]
fn triggers_and_views_in_a_database_of_somebody_else_do_not_run() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/one");
    expect_found(&server.client(), "", &[("team/one", None)]);
    let (_, place) = server.stop();
    sql(
        &folder.database(),
        "CREATE TRIGGER planted AFTER INSERT ON repository \
         BEGIN DELETE FROM repository WHERE name = 'team/one'; END",
    );
    let server = folder.serve(place);
    push_v1(&server.client(), "team/two");
    expect_found(&server.client(), "", &[("team/one", None), ("team/two", None)]);
}

#[test]
fn a_repository_that_cannot_be_read_keeps_no_other_one_out_of_the_index() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    for name in ["app", "broken", "later"] {
        push_v2(&server.client(), name, "1", Some("An application"), None);
    }
    let (_, place) = server.stop();
    let storage = place.storage();
    let link = storage.join("docker/registry/v2/repositories/broken/_manifests/tags/1/current/link");
    assert!(link.is_file(), "{}", link.display());
    fs::write(&link, "x".repeat(1 << 20)).expect("the link is made too long for one");
    fs::remove_file(folder.database()).expect("the database");
    let server = folder.serve(place);
    let others = [("app", Some("An application")), ("later", Some("An application"))];
    expect_found(&server.client(), "", &others);
    let warnings =
        wait_for("a warning", PATIENCE, || Some(warnings(&server)).filter(|warnings| !warnings.is_empty()));
    assert!(warnings.len() == 1 && warnings[0].contains("broken could not be looked at"), "{warnings:?}");
    let ended = folder.rebuild(&storage);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("broken could not be looked at"), "{ended:?}");
    let counts = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(counts.starts_with("0 V1 and 3 V2 repositories"), "{counts}");
}
