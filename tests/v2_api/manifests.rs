//! Manifests: what is accepted, what is kept, what is refused.

use docker_registry::http::v2::Limits;
use docker_registry_driver_api::{Bytes, futures::StreamExt, futures::stream};
use serde_json::json;

use crate::registry::{
    DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, Registry, ask, content, descriptor,
    image, index, sha256, sha512,
};

on_both_drivers!(
    a_manifest_is_served_as_it_was_pushed,
    every_media_type_is_kept,
    a_manifest_without_media_type_is_known_by_what_it_lists,
    a_cached_manifest_is_not_sent_again,
    a_manifest_is_pushed_by_its_digest,
    tags_in_the_query_are_set_together,
    missing_content_is_named,
    an_index_needs_its_manifests,
    a_missing_subject_is_accepted,
    layers_that_lie_elsewhere_need_not_be_here,
    what_is_no_manifest_is_refused,
    a_manifest_that_is_too_large_is_not_read_on,
    a_truncated_manifest_is_refused,
    a_tag_moves,
    deleting_a_tag_leaves_the_manifest,
    deleting_a_manifest_takes_its_tags,
    what_is_unknown_is_not_found,
);

async fn a_manifest_is_served_as_it_was_pushed(registry: &Registry) {
    let manifest = registry.push_image("team/app", "v1", &content(1, 5000)).await;
    let digest = sha256(&manifest);
    for reference in ["v1", &digest, &digest.replace(':', "%3A")] {
        let path = format!("/v2/team/app/manifests/{reference}");
        // Whatever the client accepts.
        let got = registry.ask(ask("GET", &path).header("accept", "text/html")).await.expect(200);
        assert_eq!(got.body, manifest);
        let head = registry.ask(ask("HEAD", &path)).await.expect(200);
        assert_eq!(head.header("content-length"), manifest.len().to_string());
        assert!(head.body.is_empty());
        for answer in [got, head] {
            assert_eq!(answer.header("content-type"), OCI_MANIFEST);
            assert_eq!(answer.header("docker-content-digest"), digest);
            assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        }
    }
}

async fn every_media_type_is_kept(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    for (tag, media_type) in [("docker", DOCKER_MANIFEST), ("oci", OCI_MANIFEST)] {
        let manifest = image(media_type, &config, &[]);
        registry
            .put_manifest("app", tag, &format!("{media_type}; charset=utf-8"), &manifest)
            .await
            .expect(201);
        let got = registry.get(&format!("/v2/app/manifests/{tag}")).await.expect(200);
        assert_eq!((got.header("content-type"), &got.body[..]), (media_type, &manifest[..]));
    }
    let child = descriptor(DOCKER_MANIFEST, &sha256(&image(DOCKER_MANIFEST, &config, &[])));
    for (tag, media_type) in [("list", DOCKER_MANIFEST_LIST), ("index", OCI_INDEX)] {
        let list = index(media_type, std::slice::from_ref(&child));
        registry.put_manifest("app", tag, media_type, &list).await.expect(201);
        let got = registry.get(&format!("/v2/app/manifests/{tag}")).await.expect(200);
        assert_eq!((got.header("content-type"), &got.body[..]), (media_type, &list[..]));
    }
    // The type of the body counts when the client names none that says anything.
    let manifest = image(DOCKER_MANIFEST, &config, &[]);
    registry.put_manifest("app", "json", "application/json", &manifest).await.expect(201);
    registry.ask(ask("PUT", "/v2/app/manifests/none").body(&manifest)).await.expect(201);
}

async fn a_manifest_without_media_type_is_known_by_what_it_lists(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let config = descriptor("application/vnd.oci.image.config.v1+json", &config);
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [] }).to_string();
    registry.put_manifest("app", "image", OCI_MANIFEST, manifest.as_bytes()).await.expect(201);
    let list = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
    registry.put_manifest("app", "index", OCI_INDEX, list.as_bytes()).await.expect(201);
    for (tag, media_type) in [("image", OCI_MANIFEST), ("index", OCI_INDEX)] {
        let got = registry.get(&format!("/v2/app/manifests/{tag}")).await.expect(200);
        assert_eq!(got.header("content-type"), media_type);
    }
    // Without the field Docker's types could not be told from OCI's later on.
    let refused = registry.put_manifest("app", "docker", DOCKER_MANIFEST, manifest.as_bytes()).await;
    refused.expect_error(400, "MANIFEST_INVALID");
}

async fn a_cached_manifest_is_not_sent_again(registry: &Registry) {
    let manifest = registry.push_image("app", "v1", b"layer").await;
    let etag = format!("\"{}\"", sha256(&manifest));
    let answer =
        registry.ask(ask("GET", "/v2/app/manifests/v1").header("if-none-match", &etag)).await.expect(304);
    assert_eq!(answer.header("etag"), etag);
    assert!(answer.body.is_empty());
}

async fn a_manifest_is_pushed_by_its_digest(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let manifest = image(OCI_MANIFEST, &config, &[]);
    for digest in [sha256(&manifest), sha512(&manifest)] {
        let put = registry.put_manifest("app", &digest, OCI_MANIFEST, &manifest).await.expect(201);
        assert_eq!(put.header("location"), format!("/v2/app/manifests/{digest}"));
        assert_eq!(put.header("docker-content-digest"), digest);
        let got = registry.get(&format!("/v2/app/manifests/{digest}")).await.expect(200);
        assert_eq!(got.body, manifest);
    }
    let before = registry.objects().await;
    let wrong = registry.put_manifest("app", &sha256(b"other"), OCI_MANIFEST, &manifest).await;
    wrong.expect_error(400, "DIGEST_INVALID");
    let malformed = registry.put_manifest("app", "sha256:abc", OCI_MANIFEST, &manifest).await;
    malformed.expect_error(400, "DIGEST_INVALID");
    assert_eq!(registry.objects().await, before);
}

/// OCI distribution specification, end-7b.
async fn tags_in_the_query_are_set_together(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let manifest = image(OCI_MANIFEST, &config, &[]);
    let digest = sha256(&manifest);
    let reference = format!("{digest}?tag=v1&tag=v1.0&tag=v1");
    let put = registry.put_manifest("app", &reference, OCI_MANIFEST, &manifest).await.expect(201);
    let set: Vec<_> = put.headers.get_all("oci-tag").iter().collect();
    assert_eq!(set, ["v1", "v1.0"]);
    for tag in ["v1", "v1.0"] {
        registry.get(&format!("/v2/app/manifests/{tag}")).await.expect(200);
    }
    let bad = registry.put_manifest("app", &format!("{digest}?tag=-"), OCI_MANIFEST, &manifest).await;
    bad.expect_error(400, "TAG_INVALID");
    let many: String = (0..101).map(|number| format!("&tag=t{number}")).collect();
    let many = registry.put_manifest("app", &format!("{digest}?{many}"), OCI_MANIFEST, &manifest).await;
    many.expect_error(414, "TAG_INVALID");
}

async fn missing_content_is_named(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let elsewhere = registry.push_blob("other", b"layer").await;
    let never = sha256(b"never pushed");
    let manifest = image(OCI_MANIFEST, &config, &[&elsewhere, &never, &never]);
    let before = registry.objects().await;
    let refused = registry.put_manifest("app", "v1", OCI_MANIFEST, &manifest).await;
    let errors = refused.expect_error(400, "MANIFEST_BLOB_UNKNOWN").json()["errors"].clone();
    let mut named: Vec<_> =
        errors.as_array().unwrap().iter().map(|error| error["detail"].as_str().unwrap().to_owned()).collect();
    named.sort();
    let mut expected = vec![elsewhere, never];
    expected.sort();
    assert_eq!(named, expected);
    assert_eq!(registry.objects().await, before);
}

async fn an_index_needs_its_manifests(registry: &Registry) {
    let manifest = registry.push_image("app", "child", b"layer").await;
    let child = sha256(&manifest);
    let layer = sha256(b"layer");
    let push = async |children: &[serde_json::Value]| {
        registry.put_manifest("app", "index", OCI_INDEX, &index(OCI_INDEX, children)).await
    };
    push(&[descriptor(OCI_MANIFEST, &child)]).await.expect(201);
    // A layer is no manifest, although it is there.
    push(&[descriptor(OCI_MANIFEST, &layer)]).await.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    push(&[descriptor(OCI_MANIFEST, &sha256(b"never"))]).await.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    // Build caches list layers in an index.
    push(&[descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)]).await.expect(201);
}

async fn a_missing_subject_is_accepted(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let config = descriptor("application/vnd.oci.empty.v1+json", &config);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": config,
        "layers": [],
        "subject": descriptor(OCI_MANIFEST, &sha256(b"pushed later")),
    });
    let text = manifest.to_string();
    let put = registry.put_manifest("app", "signature", OCI_MANIFEST, text.as_bytes()).await.expect(201);
    // The header would promise that the referrers of the subject can be listed.
    assert!(!put.headers.contains_key("oci-subject"));
    manifest["subject"]["digest"] = json!("sha256:no");
    let refused = registry.put_manifest("app", "v2", OCI_MANIFEST, manifest.to_string().as_bytes()).await;
    refused.expect_error(400, "MANIFEST_INVALID");
}

async fn layers_that_lie_elsewhere_need_not_be_here(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let config = descriptor("application/vnd.docker.container.image.v1+json", &config);
    let mut layer = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &sha256(b"base"));
    let manifest = |layer: &serde_json::Value| {
        json!({ "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer] })
            .to_string()
    };
    let refused = registry.put_manifest("app", "v1", DOCKER_MANIFEST, manifest(&layer).as_bytes()).await;
    refused.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    layer["urls"] = json!(["https://example.org/base"]);
    registry.put_manifest("app", "v1", DOCKER_MANIFEST, manifest(&layer).as_bytes()).await.expect(201);
}

async fn what_is_no_manifest_is_refused(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let good = image(OCI_MANIFEST, &config, &[]);
    let deep = "[".repeat(200_000);
    let before = registry.objects().await;
    for (media_type, body) in [
        (OCI_MANIFEST, &b""[..]),
        (OCI_MANIFEST, b"{"),
        (OCI_MANIFEST, b"null"),
        (OCI_MANIFEST, b"\xff\xfe"),
        (OCI_MANIFEST, deep.as_bytes()),
        (OCI_MANIFEST, br#"{"schemaVersion":2}"#),
        (OCI_MANIFEST, br#"{"schemaVersion":2,"config":{"digest":"../../etc/passwd"},"layers":[]}"#),
        (OCI_INDEX, &good),
        ("text/html", &good),
        ("application/vnd.example.unknown+json", &good),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", br#"{"schemaVersion":1}"#),
        ("application/json", br#"{"schemaVersion":1,"fsLayers":[]}"#),
    ] {
        let refused = registry.put_manifest("app", "v1", media_type, body).await;
        refused.expect_error(400, "MANIFEST_INVALID");
    }
    assert_eq!(registry.objects().await, before);
}

async fn a_manifest_that_is_too_large_is_not_read_on(registry: &Registry) {
    let limit = 64 * 1024;
    let small =
        Registry::on(registry.storage.clone(), Limits { max_manifest_size: limit, ..Limits::default() });
    // One that says so is not read at all.
    let unread = stream::poll_fn(|_| panic!("the body was read"));
    let announced = ask("PUT", "/v2/app/manifests/v1").header("content-length", "5368709120");
    small.ask(announced.stream(unread.boxed())).await.expect_error(413, "MANIFEST_INVALID");
    // One that does not is read up to the limit, however long it is.
    let read = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = read.clone();
    let endless = stream::repeat_with(move || {
        counter.fetch_add(1024, std::sync::atomic::Ordering::Relaxed);
        Ok(Bytes::from(vec![b' '; 1024]))
    });
    let put = ask("PUT", "/v2/app/manifests/v1").stream(endless.boxed());
    small.ask(put).await.expect_error(413, "MANIFEST_INVALID");
    assert!(read.load(std::sync::atomic::Ordering::Relaxed) <= limit + 2048);
    registry.assert_empty().await;
    // Four MiB must be accepted (OCI distribution specification, "Pushing Manifests").
    let config = registry.push_blob("app", b"{}").await;
    let mut manifest = image(OCI_MANIFEST, &config, &[]);
    manifest.resize(4 * 1024 * 1024, b' ');
    registry.put_manifest("app", "large", OCI_MANIFEST, &manifest).await.expect(201);
    assert_eq!(registry.get("/v2/app/manifests/large").await.expect(200).body, manifest);
}

async fn a_truncated_manifest_is_refused(registry: &Registry) {
    let config = registry.push_blob("app", b"{}").await;
    let manifest = image(OCI_MANIFEST, &config, &[]);
    // What arrived is a manifest by itself, but not the one that was sent.
    let length = (manifest.len() + 1).to_string();
    let put = ask("PUT", "/v2/app/manifests/v1").body(&manifest).header("content-length", &length);
    registry.ask(put.header("content-type", OCI_MANIFEST)).await.expect_error(400, "MANIFEST_INVALID");
    registry.get("/v2/app/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
}

async fn a_tag_moves(registry: &Registry) {
    let first = registry.push_image("app", "latest", b"one").await;
    let second = registry.push_image("app", "latest", b"two").await;
    assert_eq!(registry.get("/v2/app/manifests/latest").await.expect(200).body, second);
    let old = registry.get(&format!("/v2/app/manifests/{}", sha256(&first))).await.expect(200);
    assert_eq!(old.body, first);
}

async fn deleting_a_tag_leaves_the_manifest(registry: &Registry) {
    let manifest = registry.push_image("app", "v1", b"one").await;
    registry.put_manifest("app", "v2", OCI_MANIFEST, &manifest).await.expect(201);
    registry.delete("/v2/app/manifests/v1").await.expect(202);
    registry.get("/v2/app/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
    registry.delete("/v2/app/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
    registry.get("/v2/app/manifests/v2").await.expect(200);
    registry.get(&format!("/v2/app/manifests/{}", sha256(&manifest))).await.expect(200);
    assert_eq!(registry.get("/v2/app/tags/list").await.expect(200).json()["tags"], json!(["v2"]));
}

async fn deleting_a_manifest_takes_its_tags(registry: &Registry) {
    let manifest = registry.push_image("app", "v1", b"one").await;
    registry.put_manifest("app", "v2", OCI_MANIFEST, &manifest).await.expect(201);
    let other = registry.push_image("app", "moved", b"two").await;
    registry.put_manifest("app", "moved", OCI_MANIFEST, &manifest).await.expect(201);
    registry.put_manifest("app", "moved", OCI_MANIFEST, &other).await.expect(201);
    let path = format!("/v2/app/manifests/{}", sha256(&manifest));
    registry.delete(&path).await.expect(202);
    registry.get(&path).await.expect_error(404, "MANIFEST_UNKNOWN");
    registry.delete(&path).await.expect_error(404, "MANIFEST_UNKNOWN");
    // A tag that has pointed to it once stays.
    assert_eq!(registry.get("/v2/app/tags/list").await.expect(200).json()["tags"], json!(["moved"]));
    assert_eq!(registry.get("/v2/app/manifests/moved").await.expect(200).body, other);
}

async fn what_is_unknown_is_not_found(registry: &Registry) {
    registry.push_image("app", "v1", b"layer").await;
    let layer = sha256(b"layer");
    // The second is no tag at all, the third a blob and no manifest.
    for reference in ["v2", ".INVALID_MANIFEST_NAME", &layer, &sha256(b"never")] {
        for name in ["app", "nowhere"] {
            let path = format!("/v2/{name}/manifests/{reference}");
            registry.get(&path).await.expect_error(404, "MANIFEST_UNKNOWN");
            registry.ask(ask("HEAD", &path)).await.expect(404);
            registry.delete(&path).await.expect_error(404, "MANIFEST_UNKNOWN");
        }
    }
    let bad = registry.put_manifest("app", ".INVALID", OCI_MANIFEST, b"{}").await;
    bad.expect_error(400, "TAG_INVALID");
}
