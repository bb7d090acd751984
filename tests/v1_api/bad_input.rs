//! Mistakes and malice of clients. None is a 5xx, and none leaves anything behind.

use bytes::Bytes;
use docker_registry_driver_api::futures;
use http::Method;
use serde_json::json;

use crate::{
    client::{Image, docker_push, put_tag, three_images},
    registry::Registry,
    transport::{Sent, SentBody, Transport},
};

const FREE: &str = "0123456789abcdef";

/// Checks that each request is refused with the status and the text, and changes nothing.
async fn refused(registry: &Registry, requests: Vec<(Sent, u16, &str)>) {
    let before = registry.all_paths().await;
    for (sent, status, text) in requests {
        let shown = format!("{} {}", sent.method, sent.target.chars().take(90).collect::<String>());
        let ours = registry.client.exchange(sent).await;
        assert_eq!(ours.text(), json!({ "error": text }).to_string().replace("\":\"", "\": \""), "{shown}");
        assert_eq!(ours.status.as_u16(), status, "{shown}");
        assert_eq!(ours.header("content-type"), Some("application/json"), "{shown}");
    }
    assert_eq!(registry.all_paths().await, before);
    assert_eq!(registry.pending_uploads().await, 0);
}

#[tokio::test]
async fn image_json_of_every_wrong_shape() {
    let registry = Registry::empty().await;
    let target = format!("/v1/images/{FREE}/json");
    let put = |body: String| Sent::put(target.as_str(), body);
    let with_parent = |parent: &str| put(format!("{{\"id\": \"{FREE}\", \"parent\": {parent}}}"));
    let mut requests = Vec::new();
    for body in ["", "junk", "{}", "[]", "null", "5", "\"x\"", "{\"id\"", "[1]", "true"] {
        requests.push((put(body.to_owned()), 400, "Invalid JSON"));
    }
    requests.push((Sent::put(target.as_str(), &b"{\"id\": \"\xff\"}"[..]), 400, "Invalid JSON"));
    requests.push((put("[".repeat(200_000)), 400, "Invalid JSON"));
    requests.push((put("{\"a\":".repeat(200) + "1" + &"}".repeat(200)), 400, "Invalid JSON"));
    requests.push((put("{\"a\": 1}".to_owned()), 400, "Missing key `id' in JSON"));
    for id in ["null", "5", "[]", "\"fedcba9876543210\"", "\"../../x\""] {
        requests.push((put(format!("{{\"id\": {id}}}")), 400, "JSON data contains invalid id"));
    }
    let own = format!("\"{FREE}\"");
    for parent in
        ["5", "[1]", "{\"a\": 1}", "true", "\"fedcba9876543210\"", "\"../../x\"", "\"\\u0000\"", &own]
    {
        requests.push((with_parent(parent), 400, "Image depends on a non existing parent"));
    }
    refused(&registry, requests).await;
    for parent in ["null", "false", "\"\""] {
        registry.client.exchange(with_parent(parent)).await.expect(200);
    }
}

#[tokio::test]
async fn ancestries_cannot_be_bent_into_circles() {
    let registry = Registry::empty().await;
    let json = |id: &str, parent: &str| {
        Sent::put(format!("/v1/images/{id}/json"), json!({ "id": id, "parent": parent }).to_string())
    };
    let (a, b) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb");
    registry.client.exchange(json(b, "")).await.expect(200);
    registry.client.exchange(json(a, b)).await.expect(200);
    let circle = "Image depends on a non existing parent";
    refused(&registry, vec![(json(b, a), 400, circle), (json(b, b), 400, circle)]).await;
}

#[tokio::test]
async fn ids_that_are_none() {
    let registry = Registry::empty().await;
    let mut requests = Vec::new();
    let long = "a".repeat(100_000);
    for id in
        ["zz", "..", "%2e%2e", ".", "ABCDEF0123456789", "0123456789abcde", "0123456789abcdef0", "%20", &long]
    {
        for part in ["json", "layer", "ancestry", "files", "diff"] {
            requests.push((Sent::get(format!("/v1/images/{id}/{part}")), 404, "Invalid image ID"));
        }
        for part in ["json", "layer", "checksum"] {
            requests.push((Sent::put(format!("/v1/images/{id}/{part}"), "x"), 404, "Invalid image ID"));
        }
    }
    refused(&registry, requests).await;
}

#[tokio::test]
async fn names_that_no_store_can_keep() {
    let registry = Registry::empty().await;
    let images = three_images();
    docker_push(&registry.client, "team/app", "latest", &images[..1]).await;
    let mut requests = Vec::new();
    for name in ["a%00b", "a%0ab/c", "%7f", "%c3", "%ff%fe/x"] {
        let repository = format!("/v1/repositories/{name}");
        requests.push((Sent::put(format!("{repository}/"), "[]"), 400, "Invalid path"));
        requests.push((Sent::get(format!("{repository}/tags")), 400, "Invalid path"));
        requests.push((Sent::delete(format!("{repository}/")), 400, "Invalid path"));
        requests.push((
            put_tag("team/app", name.split('/').next().unwrap(), &images[0]),
            400,
            "Invalid path",
        ));
    }
    for name in ["x".repeat(256), format!("{}/b", "x".repeat(300)), "x".repeat(100_000), "é".repeat(60)] {
        let repository = format!("/v1/repositories/{name}");
        requests.push((Sent::put(format!("{repository}/"), "[]"), 400, "Invalid name"));
        requests.push((
            Sent::put(format!("{repository}/properties"), "{\"access\": \"private\"}"),
            400,
            "Invalid name",
        ));
        requests.push((put_tag(&name, "latest", &images[0]), 400, "Invalid name"));
        for part in ["tags", "tags/x", "json", "tags/x/json", "properties", "images"] {
            requests.push((Sent::get(format!("{repository}/{part}")), 404, "Not found"));
        }
        requests.push((Sent::delete(format!("{repository}/")), 404, "Not found"));
        requests.push((Sent::delete(format!("{repository}/tags/x")), 404, "Not found"));
    }
    // The tag itself could be kept, its metadata could not.
    requests.push((put_tag("team/app", &"t".repeat(249), &images[0]), 400, "Invalid name"));
    refused(&registry, requests).await;
}

#[tokio::test]
async fn dots_never_leave_their_folder() {
    let registry = Registry::empty().await;
    let image = Image::new(None, "x");
    docker_push(&registry.client, "../..%2f..%2fetc/passwd", "..", std::slice::from_ref(&image)).await;
    docker_push(&registry.client, "%2e/%2e%2e", "%2e", std::slice::from_ref(&image)).await;
    let paths = registry.all_paths().await;
    assert!(
        paths.contains(&"repositories/%252E%252E/..%252F..%252Fetc%252Fpasswd/tag_%252E%252E".to_owned()),
        "{paths:?}"
    );
    assert!(paths.contains(&"repositories/%252E/%252E%252E/tag_%252E".to_owned()), "{paths:?}");
    assert!(paths.iter().all(|path| path.starts_with("images/") || path.split('/').count() == 4));
}

#[tokio::test]
async fn lists_tags_and_properties_of_every_wrong_shape() {
    let registry = Registry::empty().await;
    docker_push(&registry.client, "team/app", "latest", &three_images()[..1]).await;
    let mut requests = Vec::new();
    for target in
        ["/v1/repositories/team/app/", "/v1/repositories/team/app/images", "/v1/repositories/team/new/"]
    {
        for body in ["", "xx", "[", "[}"] {
            requests.push((Sent::put(target, body), 400, "Error Decoding JSON"));
        }
        for body in ["{}", "5", "null", "[{\"noid\": 1}]", "[1]", "[[]]", "[{\"id\": 5}]", "[{\"id\": null}]"]
        {
            requests.push((Sent::put(target, body), 400, "Invalid data"));
        }
        requests.push((Sent::put(target, "[".repeat(100_000)), 400, "Error Decoding JSON"));
    }
    for body in ["", "[]", "5", "null", "\"\"", "latest", "{}", "\"\\ud800\""] {
        requests.push((Sent::put("/v1/repositories/team/app/tags/x", body), 400, "Invalid data"));
    }
    for id in ["fedcba9876543210", "../../x", "x\\u0000", "json"] {
        let body = format!("\"{id}\"");
        requests.push((Sent::put("/v1/repositories/team/app/tags/x", body), 404, "Image not found"));
    }
    for body in ["", "[]", "{}", "5", "{\"x\": 1}", "\"access\"", "private"] {
        requests.push((Sent::put("/v1/repositories/team/app/properties", body), 400, "Invalid data"));
    }
    for body in ["", "notjson", "username=a&password=b"] {
        requests.push((
            Sent::new(Method::POST, "/v1/users/").body(SentBody::Sized(body.into())),
            400,
            "Error Decoding JSON",
        ));
    }
    refused(&registry, requests).await;
    for access in ["\"weird\"", "5", "null"] {
        let odd = Sent::put("/v1/repositories/team/app/properties", format!("{{\"access\": {access}}}"));
        registry.client.exchange(odd).await.expect(200);
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_not_read_to_their_end() {
    let registry = Registry::empty().await;
    let too_large = "Request body too large";
    let mut requests = Vec::new();
    for target in
        [format!("/v1/images/{FREE}/json"), "/v1/repositories/x/".into(), "/v1/repositories/x/tags/y".into()]
    {
        let put = Sent::put(target, "");
        let chunks = vec![Bytes::from(vec![b' '; 1 << 20]); 5];
        requests.push((put.clone().body(SentBody::Chunked(chunks)), 413, too_large));
        requests.push((put.header("content-length", "5368709120"), 413, too_large));
    }
    refused(&registry, requests).await;
    // A body without end: the answer comes all the same.
    let mut endless = registry.client.request(Sent::put(format!("/v1/images/{FREE}/json"), ""));
    endless.body = Box::pin(futures::stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 65_536]))));
    assert_eq!(registry.client.api.handle(endless).await.status(), 413);
    let broken = Sent::put("/v1/repositories/x/", "").body(SentBody::Broken(vec!["[".into()]));
    refused(&registry, vec![(broken, 400, "The request body ended early")]).await;
}

#[tokio::test]
async fn methods_that_a_path_does_not_have() {
    let registry = Registry::empty().await;
    for (method, target, allow) in [
        ("POST", "/v1/_ping", "HEAD, OPTIONS, GET"),
        ("PATCH", "/v1/images/x/json", "HEAD, PUT, OPTIONS, GET"),
        ("GET", "/v1/images/x/checksum", "PUT, OPTIONS"),
        ("HEAD", "/v1/images/x/checksum", "PUT, OPTIONS"),
        ("TRACE", "/v1/repositories/x/", "PUT, OPTIONS, DELETE"),
        ("PUT", "/v1/repositories/x/tags", "HEAD, OPTIONS, GET, DELETE"),
    ] {
        let sent = Sent::new(Method::try_from(method).unwrap(), target);
        let refused = registry.client.exchange(sent).await.expect(405);
        assert_eq!(refused.header("allow"), Some(allow), "{method} {target}");
        assert_eq!(refused.header("content-type"), Some("application/json"));
    }
    let options =
        registry.client.exchange(Sent::new(Method::OPTIONS, "/v1/images/x/layer")).await.expect(200);
    assert_eq!((options.header("allow"), options.body.len()), (Some("HEAD, PUT, OPTIONS, GET"), 0));
}

#[tokio::test]
async fn whatever_is_put_together_is_never_a_fault_of_the_server() {
    const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PURGE"];
    const PARTS: [&str; 24] = [
        "v1",
        "images",
        "repositories",
        "tags",
        "json",
        "layer",
        "checksum",
        "ancestry",
        "files",
        "diff",
        "users",
        "auth",
        "properties",
        "search",
        "_ping",
        FREE,
        "latest",
        "..",
        "%2e%2e",
        "%2f",
        "",
        "a%20b",
        "%ff",
        "%00",
    ];
    const BODIES: [&str; 8] = [
        "",
        "[]",
        "{}",
        "\"0123456789abcdef\"",
        "{\"id\": \"0123456789abcdef\"}",
        "[{\"id\": \"x\"}]",
        "{\"access\": \"private\"}",
        "\u{0}",
    ];
    let registry = Registry::empty().await;
    // The same numbers each time (Knuth's generator).
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut target = "/v1".to_owned();
        for _ in 0..random(6) {
            target = target + "/" + PARTS[random(PARTS.len())];
        }
        let method = Method::try_from(METHODS[random(METHODS.len())]).unwrap();
        let sent = Sent::new(method, target)
            .body(SentBody::Sized(BODIES[random(BODIES.len())].into()))
            .header("x-docker-checksum-payload", "sha256:0")
            .header("range", ["bytes=0-", "bytes=-", "x"][random(3)]);
        let shown = format!("{sent:?}");
        let status = registry.client.exchange(sent).await.status;
        assert!(!status.is_server_error(), "{status} for {shown}");
    }
    assert_eq!(registry.pending_uploads().await, 0);
}
