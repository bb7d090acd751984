//! Listing tags.

use serde_json::json;

use crate::registry::{OCI_MANIFEST, Registry};

on_both_drivers!(
    tags_are_listed_in_order_and_in_pages,
    a_page_has_at_most_a_thousand_tags,
    a_repository_without_tags_is_not_an_unknown_one,
    numbers_and_names_that_cannot_be_are_refused,
);

async fn tags_are_listed_in_order_and_in_pages(registry: &Registry) {
    let manifest = registry.push_image("team/app", "b", b"layer").await;
    for tag in ["a.1", "_", "a-1", "Z", "a", "10", "9"] {
        registry.put_manifest("team/app", tag, OCI_MANIFEST, &manifest).await.expect(201);
    }
    let sorted = ["10", "9", "Z", "_", "a", "a-1", "a.1", "b"];
    let all = registry.get("/v2/team/app/tags/list").await.expect(200);
    assert_eq!(all.json(), json!({ "name": "team/app", "tags": sorted }));
    assert!(!all.headers.contains_key("link"));

    let mut next = Some("/v2/team/app/tags/list?n=3".to_owned());
    let mut pages = Vec::new();
    while let Some(path) = next.take() {
        let page = registry.get(&path).await.expect(200);
        pages.push(page.json()["tags"].clone());
        next = page.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
    }
    assert_eq!(json!(pages), json!([sorted[..3], sorted[3..6], sorted[6..]]));

    for (query, expected) in [
        ("n=8", &sorted[..]),
        ("n=0", &[]),
        ("last=a", &sorted[5..]),
        // It need not exist.
        ("last=a-0&n=1", &sorted[5..6]),
        ("last=zzz", &[]),
        ("last=", &sorted[..]),
        ("n=99999999999999999999999", &sorted[..]),
    ] {
        let page = registry.get(&format!("/v2/team/app/tags/list?{query}")).await.expect(200);
        assert_eq!(page.json()["tags"], json!(expected), "{query}");
        assert_eq!(page.headers.contains_key("link"), query.ends_with("n=1"), "{query}");
    }
}

async fn a_page_has_at_most_a_thousand_tags(registry: &Registry) {
    let digest = format!("sha256:{}", "0".repeat(64));
    for number in 0..1005 {
        let link = format!("{}/app/_manifests/tags/t{number:04}/current/link", crate::registry::REPOSITORIES);
        registry.write(&link, digest.clone()).await;
    }
    for query in ["", "?n=5000"] {
        let page = registry.get(&format!("/v2/app/tags/list{query}")).await.expect(200);
        assert_eq!(page.json()["tags"].as_array().unwrap().len(), 1000);
        assert_eq!(page.header("link"), "</v2/app/tags/list?n=1000&last=t0999>; rel=\"next\"");
    }
    let rest = registry.get("/v2/app/tags/list?n=1000&last=t0999").await.expect(200);
    assert_eq!(rest.json()["tags"].as_array().unwrap().len(), 5);
}

async fn a_repository_without_tags_is_not_an_unknown_one(registry: &Registry) {
    registry.get("/v2/app/tags/list").await.expect_error(404, "NAME_UNKNOWN");
    let location = registry.begin_upload("app").await;
    registry.get("/v2/app/tags/list").await.expect_error(404, "NAME_UNKNOWN");
    registry.delete(&location).await.expect(204);
    registry.push_blob("app/inner", b"x").await;
    registry.get("/v2/app/tags/list?n=0").await.expect_error(404, "NAME_UNKNOWN");
    registry.push_blob("app", b"x").await;
    let empty = registry.get("/v2/app/tags/list").await.expect(200);
    assert_eq!(empty.json(), json!({ "name": "app", "tags": [] }));
}

async fn numbers_and_names_that_cannot_be_are_refused(registry: &Registry) {
    registry.push_image("app", "v1", b"layer").await;
    for n in ["-1", "x", "", "1.5", "+1"] {
        let page = registry.get(&format!("/v2/app/tags/list?n={n}")).await;
        page.expect_error(400, "PAGINATION_NUMBER_INVALID");
    }
    for last in ["..%2F..%2Fx", "a%00", "-x"] {
        let page = registry.get(&format!("/v2/app/tags/list?last={last}")).await;
        page.expect_error(400, "TAG_INVALID");
    }
}
