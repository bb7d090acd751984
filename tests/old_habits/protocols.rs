//! Which protocols a server speaks, and what clients of both make of it.

use docker_registry_tests::v1;

use crate::running::{CONFIGURATION, Folder};

fn with(protocols: &str) -> Folder {
    Folder::with(&format!("{CONFIGURATION}  protocols: {protocols}\n"))
}

/// A store with one image of V1, made by a server that is gone.
fn store_of_v1(folder: &Folder) -> v1::Image {
    let image = v1::Image::new(None, b"a layer".to_vec());
    let mut command = folder.program(&[]);
    let server = folder.serve(command.env("REGISTRY_PROTOCOLS", "[v1]"), "server.log");
    v1::push(&server.client(), "library/centos", "6", &[&image]);
    server.stop();
    image
}

#[test]
fn a_server_of_v1_alone_has_no_v2() {
    let folder = with("[v1]");
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    for target in ["/v2/", "/v2", "/v2/_catalog"] {
        server.client().get(target).expect(404);
    }
    server.client().get("/v1/_ping").expect(200);
    server.client().get("/").expect(200);
}

#[test]
fn a_server_of_v2_alone_has_no_v1() {
    let folder = with("[v2]");
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    server.client().get("/v2/").expect(200);
    for target in ["/v1/_ping", "/_ping"] {
        server.client().get(target).expect(404);
    }
}

/// What makes docker 1.10 to 17.11 ask V1 next.
#[test]
fn a_name_that_only_v1_has_is_unknown_to_v2() {
    let folder = Folder::with(CONFIGURATION);
    let image = store_of_v1(&folder);
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    for (target, code) in [
        ("/v2/library/centos/manifests/6", "MANIFEST_UNKNOWN"),
        ("/v2/library/centos/tags/list", "NAME_UNKNOWN"),
    ] {
        let text = server.client().get(target).expect(404).text();
        assert!(text.contains(code), "{target}: {text}");
    }
    v1::verify(&server.client(), "library/centos", "6", &[&image]);
}

#[test]
fn the_first_start_on_a_store_of_v1_says_what_is_served_and_why() {
    for (protocols, says) in [
        ("[v1, v2]", "the storage holds V1 images and nothing of V2: both protocols are served"),
        ("[v1]", "the storage holds V1 images and only V1 is served, as `protocols` says"),
        (
            "[v2]",
            "the storage holds V1 images and only V2 is served, so nobody can pull them; write `protocols: [v1, v2]`",
        ),
    ] {
        let folder = Folder::with(CONFIGURATION);
        store_of_v1(&folder);
        let mut command = folder.program(&[]);
        let server = folder.serve(command.env("REGISTRY_PROTOCOLS", protocols), "server.log");
        server.stop();
        let log = folder.text("server.log");
        assert!(log.contains(says), "{protocols}:\n{log}");
    }
}

#[test]
fn an_empty_store_needs_no_explanation() {
    let folder = Folder::with(CONFIGURATION);
    folder.serve(&mut folder.program(&[]), "server.log").stop();
    assert!(!folder.text("server.log").contains("the storage holds"));
}
