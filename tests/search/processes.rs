//! Many servers on one database.

use std::thread;

use docker_registry_tests::server::{Place, Server};

use crate::support::{Folder, await_comparison, expect_found, push_v1, push_v2, warnings};

#[test]
fn servers_that_start_and_write_at_once_lose_nothing_and_warn_of_nothing() {
    const SERVERS: usize = 4;
    const EACH: usize = 5;
    // One storage and one new database for all of them; each has a working directory of its own.
    let shared = Place::new();
    let folder = Folder::new().with_storage(&shared.storage());
    folder.configuration();
    let servers: Vec<Server> = thread::scope(|scope| {
        let starting: Vec<_> = (0..SERVERS).map(|_| scope.spawn(|| folder.serve(Place::new()))).collect();
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

/// All servers of flavor `dev` do by themselves what this test asks of two.
#[test]
fn servers_with_different_storages_share_a_database_and_see_their_own_repositories_only() {
    let folder = Folder::new();
    let one = folder.serve(Place::new());
    push_v1(&one.client(), "team/centos");
    push_v2(&one.client(), "one", "1", Some("Of the first"), None);
    let two = folder.serve(Place::new());
    await_comparison(&two);
    push_v1(&two.client(), "team/centos");
    push_v2(&two.client(), "two", "1", None, None);
    expect_found(&one.client(), "", &[("one", Some("Of the first")), ("team/centos", None)]);
    expect_found(&two.client(), "", &[("team/centos", None), ("two", None)]);
    two.client().send("DELETE", "/v1/repositories/team/centos/", &[], b"").expect(200);
    expect_found(&two.client(), "", &[("two", None)]);
    expect_found(&one.client(), "", &[("one", Some("Of the first")), ("team/centos", None)]);
    assert_eq!(folder.rebuild(&one.place().storage()).status.code(), Some(0));
    expect_found(&two.client(), "", &[("two", None)]);
}
