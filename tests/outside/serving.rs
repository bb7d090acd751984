//! The finished library in a real server, under real clients.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use docker_registry_tests::{
    projects,
    round_trips::{self, Images},
    server::{Chosen, Launch, Place, Server},
};

use crate::{empty_folder, new_driver, program, run};

/// Small, because this driver keeps everything in memory and the server's memory is limited.
const TOP_LAYER: u64 = 2 << 20;

/// A driver folder with the library of a new project in it. Built once for all tests here.
fn drivers() -> &'static Path {
    static DRIVERS: OnceLock<PathBuf> = OnceLock::new();
    DRIVERS.get_or_init(|| {
        let folder = empty_folder();
        let project = new_driver(folder.path(), "stranger", &[]);
        // Nothing that a static holds is ever dropped, so that it lies where builds lie.
        let drivers = projects::target().join("stranger");
        projects::build_driver(&project, "stranger", &drivers);
        drivers
    })
}

/// A server whose flavor `outside` says `storage: stranger`.
fn server() -> (Server, tempfile::TempDir) {
    let folder = empty_folder();
    let configuration = folder.path().join("config.yml");
    fs::write(&configuration, "outside:\n  storage: stranger\n  capacity: 1073741824\n").expect("a file");
    let launch = Launch {
        chosen: Some(Chosen { configuration, flavor: "outside".to_owned(), drivers: drivers().to_owned() }),
        ..Launch::under_test()
    };
    (Server::launch(launch, Place::new()), folder)
}

#[test]
fn the_installed_driver_says_what_it_is() {
    let folder = empty_folder();
    let mut inspect = program(folder.path());
    inspect.env("DOCKER_REGISTRY_DRIVER_PATH", drivers()).args(["driver", "inspect", "stranger"]);
    let (code, output) = run(&mut inspect);
    assert_eq!(code, 0, "{output}");
    for part in [
        "stranger 0.1.0",
        "driver API    1.",
        "needs glibc 2.",
        "Apache-2.0",
        "capacity",
        "default 8589934592",
    ] {
        assert!(output.contains(part), "{part} is not in:\n{output}");
    }
}

#[test]
fn skopeo_copies_to_it_and_back_byte_for_byte() {
    let (server, _configuration) = server();
    let images = Images::new(TOP_LAYER);
    round_trips::skopeo_image(&server, &images);
    round_trips::skopeo_list(&server, &images);
    assert_eq!(server.place().stored_bytes(), 0, "nothing went to the file system");
}

#[test]
fn docker_pushes_to_it_and_pulls_byte_for_byte() {
    let (server, _configuration) = server();
    round_trips::docker_image(&server, &Images::new(TOP_LAYER));
    assert_eq!(server.place().stored_bytes(), 0, "nothing went to the file system");
}
