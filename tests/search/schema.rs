//! One database for this server and for 0.9.1, in turn.

use docker_registry_tests::server::Place;
use serde_json::json;

use crate::support::{
    Folder, SCHEMA_OF_0_9_1, await_comparison, expect_answer, expect_found, push_v1, push_v2, sql, warnings,
};

#[test]
fn a_database_of_0_9_1_is_read_and_kept() {
    let folder = Folder::new();
    let place = Place::new();
    let first = folder.serve(place);
    push_v1(&first.client(), "team/centos");
    push_v1(&first.client(), "team/other");
    let (_, place) = first.stop();

    // What 0.9.1 leaves after a second push of the one and with a text by the operator for the other.
    std::fs::remove_file(folder.database()).expect("the index of the first server");
    sql(
        &folder.database(),
        &format!(
            "{SCHEMA_OF_0_9_1}; INSERT INTO version VALUES (1); \
             INSERT INTO repository (name, description) VALUES ('team/centos', ''), ('team/other', 'By hand')"
        ),
    );
    let server = folder.serve(place);
    let expected =
        r#"[{"description": "", "name": "team/centos"}, {"description": "By hand", "name": "team/other"}]"#;
    expect_answer(
        &server.client(),
        "?q=team",
        &format!(r#"{{"num_results": 2, "query": "team", "results": {expected}}}"#),
    );
    // Searching goes by 0.9.1's table, whoever writes it.
    await_comparison(&server);
    sql(&folder.database(), "INSERT INTO repository (name, description) VALUES ('team/third', NULL)");
    expect_found(&server.client(), "?q=third", &[("team/third", None)]);
    let rows = sql(&folder.database(), "SELECT id FROM version; SELECT name FROM repository ORDER BY name");
    assert_eq!(rows, json!([[1], ["team/centos"], ["team/other"], ["team/third"]]));
}

#[test]
fn what_0_9_1_does_works_in_a_database_of_this_server() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    push_v2(&server.client(), "app", "1", Some("An application"), None);
    expect_found(&server.client(), "", &[("app", Some("An application")), ("team/centos", None)]);
    let (_, _place) = server.stop();
    // The statements of its four events: start, created, updated, deleted; then its search.
    let rows = sql(
        &folder.database(),
        "SELECT version.id FROM version; \
         INSERT INTO repository (name, description) VALUES ('team/new', NULL); \
         UPDATE repository SET description = '' WHERE repository.name = 'team/centos'; \
         DELETE FROM repository WHERE repository.name = 'app'; \
         SELECT name, description FROM repository \
         WHERE name LIKE '%team%' OR description LIKE '%team%' ORDER BY name",
    );
    assert_eq!(rows, json!([[1], ["team/centos", ""], ["team/new", null]]));
}

#[test]
fn repositories_that_are_there_before_the_first_start_are_indexed() {
    let (plain, searching) = (Folder::new().with_backend(""), Folder::new());
    let place = Place::new();
    let server = plain.serve(place);
    for name in ["team/centos", "centos", "odd/a%2Fb"] {
        push_v1(&server.client(), name);
    }
    push_v2(&server.client(), "team/app/part", "1", Some("A part"), None);
    let (_, place) = server.stop();
    let server = searching.serve(place);
    let expected = [
        ("library/centos", None),
        ("odd/a/b", None),
        ("team/app/part", Some("A part")),
        ("team/centos", None),
    ];
    expect_found(&server.client(), "", &expected);
}

#[test]
fn names_longer_than_the_column_of_0_9_1_are_kept_whole() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let name = format!("team/{}", "x".repeat(200));
    push_v2(&server.client(), &name, "1", None, None);
    expect_found(&server.client(), "?q=team", &[(&name, None)]);
}

#[test]
fn another_version_of_the_schema_is_left_alone_with_a_sentence() {
    let folder = Folder::new();
    let before = format!("{SCHEMA_OF_0_9_1}; INSERT INTO version VALUES (2)");
    sql(&folder.database(), &before);
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    server.client().get("/v1/search?q=team").expect(503);
    assert!(
        warnings(&server)[0].contains("version 2, and only version 1 is known"),
        "{:?}",
        warnings(&server)
    );
    let tables = sql(&folder.database(), "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    assert_eq!(tables, json!([["repository"], ["version"]]));
    let ended = folder.rebuild(&server.place().storage());
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("version 2"));
}
