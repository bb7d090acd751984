//! Paths, names and methods that cannot be, and a storage that does not work.

use docker_registry::http::v2::Limits;

use crate::registry::{OCI_MANIFEST, Registry, ask, sha256};

on_both_drivers!(
    the_base_says_which_api_this_is,
    impossible_names_never_reach_the_storage,
    paths_that_are_no_resource_are_not_found,
    methods_that_a_resource_does_not_have_are_refused,
    deletion_can_be_switched_off,
);

async fn the_base_says_which_api_this_is(registry: &Registry) {
    for path in ["/v2/", "/v2"] {
        let base = registry.get(path).await.expect(200);
        assert_eq!(base.body, "{}");
        let head = registry.ask(ask("HEAD", path)).await.expect(200);
        assert_eq!((head.header("content-length"), head.body.len()), ("2", 0));
    }
}

async fn impossible_names_never_reach_the_storage(registry: &Registry) {
    let digest = sha256(b"");
    let long = "a".repeat(256);
    let very_long = format!("a{}", "/a".repeat(50_000));
    for name in [
        "..",
        "%2e%2e",
        "a/..",
        "a/%2E%2e/b",
        "a%2F..%2Fb",
        "a%00b",
        "%00",
        "a//b",
        "",
        "/a",
        "UPPER",
        "a_-b",
        "-a",
        "a.",
        "a%ff",
        "a%",
        "a%zz",
        "%C3%A9",
        "_uploads",
        "a/_manifests",
        &long,
        &very_long,
    ] {
        for (method, path) in [
            ("GET", format!("/v2/{name}/tags/list")),
            ("GET", format!("/v2/{name}/manifests/latest")),
            ("PUT", format!("/v2/{name}/manifests/latest")),
            ("GET", format!("/v2/{name}/blobs/{digest}")),
            ("POST", format!("/v2/{name}/blobs/uploads/")),
            ("POST", format!("/v2/{name}/blobs/uploads/?digest={digest}")),
            ("PATCH", format!("/v2/{name}/blobs/uploads/6a7d5f4e-3c5b-4f0a-9f57-111111111111")),
        ] {
            registry.ask(ask(method, &path)).await.expect_error(400, "NAME_INVALID");
        }
    }
    registry.assert_empty().await;
}

async fn paths_that_are_no_resource_are_not_found(registry: &Registry) {
    for path in [
        "/v2/app",
        "/v2/app/",
        "/v2/app/tags",
        "/v2/app/tags/list/",
        "/v2/tags/list",
        "/v2/_catalog/x",
        "/v2x",
    ] {
        registry.get(path).await.expect_error(404, "UNSUPPORTED");
    }
    // Clients that find no referrers API use the tags that stand in for it.
    let referrers = format!("/v2/app/referrers/{}", sha256(b""));
    registry.get(&referrers).await.expect_error(404, "UNSUPPORTED");
}

async fn methods_that_a_resource_does_not_have_are_refused(registry: &Registry) {
    let digest = sha256(b"");
    let upload = "/v2/app/blobs/uploads/6a7d5f4e-3c5b-4f0a-9f57-111111111111";
    for (path, methods) in [
        ("/v2/", "GET, HEAD, OPTIONS"),
        ("/v2/_catalog", "GET, HEAD, OPTIONS"),
        ("/v2/app/tags/list", "GET, HEAD, OPTIONS"),
        ("/v2/app/manifests/v1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        (&format!("/v2/app/blobs/{digest}"), "GET, HEAD, DELETE, OPTIONS"),
        ("/v2/app/blobs/uploads/", "POST, OPTIONS"),
        (upload, "GET, HEAD, PATCH, PUT, DELETE, OPTIONS"),
    ] {
        let options = registry.ask(ask("OPTIONS", path)).await.expect(204);
        assert_eq!(options.header("allow"), methods);
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "BREW"] {
            if !methods.contains(method) {
                let refused = registry.ask(ask(method, path).body(b"x")).await;
                assert_eq!(
                    refused.expect_error(405, "UNSUPPORTED").header("allow"),
                    methods,
                    "{method} {path}"
                );
            }
        }
    }
}

async fn deletion_can_be_switched_off(registry: &Registry) {
    let limits = Limits { delete_enabled: false, ..Limits::default() };
    let keeping = Registry::on(registry.storage.clone(), limits);
    let manifest = keeping.push_image("app", "v1", b"layer").await;
    for path in [
        "/v2/app/manifests/v1".to_owned(),
        format!("/v2/app/manifests/{}", sha256(&manifest)),
        format!("/v2/app/blobs/{}", sha256(b"layer")),
    ] {
        keeping.delete(&path).await.expect_error(405, "UNSUPPORTED");
        keeping.get(&path).await.expect(200);
    }
    keeping.put_manifest("app", "v2", OCI_MANIFEST, &manifest).await.expect(201);
}
