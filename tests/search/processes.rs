//! Many servers on one database.

use std::{fs, thread};

use docker_registry_tests::server::{Place, Server};

use crate::support::{Folder, expect_found, push_v1, push_v2, warnings};

#[test]
fn servers_that_start_and_write_at_once_lose_nothing_and_warn_of_nothing() {
    const SERVERS: usize = 4;
    const EACH: usize = 5;
    let folder = Folder::new();
    folder.configuration();
    // One storage and one new database for all of them; each has a working directory of its own.
    let shared = Place::new();
    let servers: Vec<Server> = thread::scope(|scope| {
        let starting: Vec<_> = (0..SERVERS)
            .map(|_| {
                let place = Place::new();
                fs::remove_dir(place.storage()).expect("an empty folder");
                std::os::unix::fs::symlink(shared.storage(), place.storage()).expect("a link");
                scope.spawn(|| folder.serve(place))
            })
            .collect();
        starting.into_iter().map(|starting| starting.join().expect("it starts")).collect()
    });
    thread::scope(|scope| {
        for (index, server) in servers.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..EACH {
                    push_v1(&server.client(), &format!("server{index}/old{number}"));
                    push_v2(&server.client(), &format!("server{index}/new{number}"), "1", None, None);
                    // And all of them change one and the same.
                    push_v2(&server.client(), "shared", &format!("{index}-{number}"), None, None);
                }
            });
        }
    });
    let mut names: Vec<String> = vec!["shared".to_owned()];
    for index in 0..SERVERS {
        for number in 0..EACH {
            names.extend(["old", "new"].map(|kind| format!("server{index}/{kind}{number}")));
        }
    }
    names.sort();
    let expected: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    for server in &servers {
        expect_found(&server.client(), "", &expected);
        assert_eq!(warnings(server), Vec::<String>::new());
    }
}
