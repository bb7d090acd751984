//! Where the URL of the database leads, and what is refused before anything starts.

use docker_registry_tests::{
    process::{PATIENCE, wait_for},
    server::Place,
};

use crate::support::{Folder, expect_found, push_v1, sql, warnings};

#[test]
fn four_slashes_are_an_absolute_path_and_three_a_relative_one() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    expect_found(&server.client(), "", &[("team/centos", None)]);
    assert!(folder.database().is_file());

    let relative = Folder::new().with_database("sqlite:///index.db");
    let server = relative.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    expect_found(&server.client(), "", &[("team/centos", None)]);
    let storage = server.place().storage();
    let working_directory = storage.parent().expect("the folder that servers are started in");
    let rows = sql(&working_directory.join("index.db"), "SELECT name FROM repository");
    assert_eq!(rows, serde_json::json!([["team/centos"]]));
}

#[test]
fn a_relative_path_that_leads_nowhere_is_explained() {
    let folder = Folder::new().with_database("sqlite:///tmp/x.db");
    let server = folder.serve(Place::new());
    let warning = wait_for("a warning", PATIENCE, || warnings(&server).pop());
    let storage = server.place().storage();
    let working_directory = storage.parent().expect("a folder").display().to_string();
    for part in ["tmp/x.db", "three slashes", &working_directory, "sqlite:////tmp/x.db"] {
        assert!(warning.contains(part), "{part} is not in {warning}");
    }
}

#[test]
fn an_index_in_memory_works_and_is_made_anew_at_each_start() {
    let folder = Folder::new().with_database("sqlite://");
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    expect_found(&server.client(), "", &[("team/centos", None)]);
    assert!(warnings(&server)[0].contains("in memory"), "{:?}", warnings(&server));
    let (_, place) = server.stop();
    let server = folder.serve(place);
    expect_found(&server.client(), "", &[("team/centos", None)]);
    let ended = folder.rebuild(&server.place().storage());
    assert_eq!(ended.status.code(), Some(64));
}

#[test]
fn other_databases_and_backends_are_refused_in_a_sentence_without_their_passwords() {
    let place = Place::new();
    for (folder, sentence) in [
        (Folder::new().with_database("mysql://u:hunter2@db/index"), "a `mysql` database cannot hold"),
        (Folder::new().with_database("postgresql://u:hunter2@db/x"), "a `postgresql` database cannot hold"),
        (Folder::new().with_backend("my.module.path"), "`my.module.path` is not a search backend"),
    ] {
        let configuration = folder.configuration();
        for command in ["serve", "search-index"] {
            let mut program = folder.program(&place.storage());
            match command {
                "serve" => program.args(["serve", "--bind", "127.0.0.1:0"]).arg(&configuration),
                _ => program.args(["search-index", "rebuild", "--config"]).arg(&configuration),
            };
            let ended = program.output().expect("the program runs");
            let errors = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(64), "{errors}");
            assert!(errors.contains(sentence) && !errors.contains("hunter2"), "{errors}");
        }
    }
}
