//! `docker search HOST:PORT/TERM` of today's docker.

use docker_registry_tests::{docker::Docker, server::Place};

use crate::support::{Folder, expect_found, push_v1, push_v2};

#[test]
fn docker_finds_repositories_of_both_protocols_also_where_only_v2_is_served() {
    let docker = Docker::start();
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    push_v2(&server.client(), "centos", "7", Some("A system"), None);
    let both = ["centos A system", "team/centos"];
    expect_found(&server.client(), "", &[("centos", Some("A system")), ("team/centos", None)]);
    let registry = server.registry();
    assert_eq!(docker.search(&[&format!("{registry}/cent")]), both);
    assert_eq!(docker.search(&[&format!("{registry}/")]), both);
    assert_eq!(docker.search(&["--limit", "1", &format!("{registry}/cent")]), both[..1]);
    assert_eq!(docker.search(&[&format!("{registry}/nothing")]), Vec::<String>::new());

    let (_, place) = server.stop();
    let v2_alone = Folder::new().with("protocols: [v2]");
    let server = v2_alone.serve(place);
    expect_found(&server.client(), "", &[("centos", Some("A system")), ("team/centos", None)]);
    assert_eq!(docker.search(&[&format!("{}/cent", server.registry())]), both);
    // Nothing else of V1 is there.
    for path in ["/v1/_ping", "/v1/repositories/team/centos/tags", "/"] {
        server.client().get(path).expect(404);
    }
    server.client().send("PUT", "/v1/search", &[], b"").expect(405);
}
