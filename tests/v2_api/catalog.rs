//! Listing repositories.

use std::sync::Arc;

use docker_registry::http::v2::Limits;
use docker_registry_driver_api::{Driver, HostServices, Settings};
use docker_registry_driver_memory::MemoryDriver;
use serde_json::json;

use crate::registry::{REPOSITORIES, Registry};

on_both_drivers!(
    repositories_are_listed_in_byte_order_at_every_page_size,
    a_name_that_begins_another_one_is_listed_if_it_is_a_repository,
    the_size_of_a_page_has_a_limit,
);

/// Names whose order differs from the order of the folders they lie in.
const NAMES: [&str; 17] = [
    "0", "a", "a-b", "a-b/c", "a.b", "a.b/c", "a/b", "a/b-c", "a/b.c/d", "a/b/c", "a/z", "a0", "a_b", "aa/x",
    "b/c/d/e", "b0", "z",
];

async fn fill(registry: &Registry) {
    for name in NAMES {
        let link = format!("{REPOSITORIES}/{name}/_layers/sha256/{}/link", "0".repeat(64));
        registry.write(&link, format!("sha256:{}", "0".repeat(64))).await;
    }
}

async fn walk(registry: &Registry, n: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut next = Some(format!("/v2/_catalog?n={n}"));
    while let Some(path) = next.take() {
        let page = registry.get(&path).await.expect(200);
        let listed = page.json()["repositories"].as_array().unwrap().clone();
        assert!(listed.len() <= n);
        assert!(names.len() <= 200, "the pages go round in circles");
        names.extend(listed.iter().map(|name| name.as_str().unwrap().to_owned()));
        next = page.headers.get("link").map(|link| {
            assert_eq!(listed.len(), n, "a short page is the last one");
            let link = link.to_str().unwrap();
            link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
    }
    names
}

async fn repositories_are_listed_in_byte_order_at_every_page_size(registry: &Registry) {
    assert_eq!(registry.get("/v2/_catalog").await.expect(200).json(), json!({ "repositories": [] }));
    assert!(NAMES.is_sorted());
    fill(registry).await;
    for n in 1..=NAMES.len() + 1 {
        assert_eq!(walk(registry, n).await, NAMES, "pages of {n}");
    }
    // From any place, whether there is a repository of that name or not.
    for last in NAMES.iter().copied().chain(["a-a", "a/a", "a/b/c/d", "b", "b/c", "b/c/d/e/f", "zz"]) {
        let page = registry.get(&format!("/v2/_catalog?last={}", last.replace('/', "%2F"))).await.expect(200);
        let expected: Vec<_> = NAMES.into_iter().filter(|name| *name > last).collect();
        assert_eq!(page.json()["repositories"], json!(expected), "after {last}");
    }
}

/// A driver whose pages are short must not change the answer.
#[tokio::test]
async fn short_pages_of_the_driver_make_no_difference() {
    for page_size in [1, 2, 3] {
        let settings = json!({ "page_size": page_size }).as_object().unwrap().clone();
        let driver = MemoryDriver::open(Settings::new(settings), HostServices::default()).await.unwrap();
        let registry = Registry::on(Arc::new(driver), Limits::default());
        fill(&registry).await;
        for n in [1, 4, 100] {
            assert_eq!(walk(&registry, n).await, NAMES, "driver pages of {page_size}, pages of {n}");
        }
        for number in 0..5 {
            let link = format!("{REPOSITORIES}/z/_manifests/tags/t{number}/current/link");
            registry.write(&link, "x").await;
        }
        let tags = registry.get("/v2/z/tags/list?n=4").await.expect(200);
        assert_eq!(tags.json()["tags"], json!(["t0", "t1", "t2", "t3"]));
    }
}

async fn a_name_that_begins_another_one_is_listed_if_it_is_a_repository(registry: &Registry) {
    registry.push_image("library/app", "v1", b"layer").await;
    registry.push_image("library/app/tools", "v1", b"layer").await;
    let location = registry.begin_upload("pending").await;
    let names = walk(registry, 10).await;
    // Neither the folder between nor a repository with nothing but an upload.
    assert_eq!(names, ["library/app", "library/app/tools"]);
    registry.delete(&location).await.expect(204);
    // Many folders before the repository's own ones.
    for number in 0..30 {
        registry.push_blob(&format!("library/{number}"), b"layer").await;
    }
    registry.push_blob("library", b"layer").await;
    assert_eq!(walk(registry, 1).await.len(), 33);
    assert_eq!(walk(registry, 1).await[0], "library");
}

async fn the_size_of_a_page_has_a_limit(registry: &Registry) {
    for number in 0..105 {
        let link = format!("{REPOSITORIES}/r{number:03}/_layers/sha256/x/link");
        registry.write(&link, "x").await;
    }
    let page = registry.get("/v2/_catalog").await.expect(200);
    assert_eq!(page.json()["repositories"].as_array().unwrap().len(), 100);
    assert_eq!(page.header("link"), "</v2/_catalog?n=100&last=r099>; rel=\"next\"");
    let all = registry.get("/v2/_catalog?n=1000").await.expect(200);
    assert_eq!(all.json()["repositories"].as_array().unwrap().len(), 105);
    assert_eq!(registry.get("/v2/_catalog?n=0").await.expect(200).json()["repositories"], json!([]));
    for n in ["1001", "-1", "x", ""] {
        let refused = registry.get(&format!("/v2/_catalog?n={n}")).await;
        refused.expect_error(400, "PAGINATION_NUMBER_INVALID");
    }
    registry.get("/v2/_catalog?last=..").await.expect_error(400, "NAME_INVALID");
}
