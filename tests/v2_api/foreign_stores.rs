//! Stores that distribution 2.8 wrote, and what it finds in ours.

use serde_json::json;

use crate::registry::{DOCKER_MANIFEST, OCI_MANIFEST, REPOSITORIES, Registry, ask, content, image, sha256};

on_both_drivers!(
    a_store_of_distribution_is_read,
    a_store_for_distribution_is_written,
    a_store_of_distribution_is_written_on,
    an_upload_of_distribution_is_not_taken_over,
    an_upload_whose_record_a_power_cut_spoiled_is_unknown,
    links_that_a_power_cut_emptied_are_healed_by_a_push,
    a_link_without_content_is_no_blob,
);

fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap()
}

fn blob_path(digest: &str) -> String {
    format!("docker/registry/v2/blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest))
}

/// Writes an image file by file, as distribution 2.8 leaves it on the disk.
async fn distribution_pushes(registry: &Registry, name: &str, tag: &str) -> (String, Vec<u8>) {
    let (config, layer) = (sha256(b"{}"), sha256(b"layer"));
    let manifest = image(DOCKER_MANIFEST, &config, &[&layer]);
    let digest = sha256(&manifest);
    let repository = format!("{REPOSITORIES}/{name}");
    for (digest, content) in [(&config, &b"{}"[..]), (&layer, b"layer"), (&digest, &manifest)] {
        registry.write(&blob_path(digest), content.to_vec()).await;
    }
    for linked in [&config, &layer] {
        registry.write(&format!("{repository}/_layers/sha256/{}/link", hex(linked)), linked.clone()).await;
    }
    for link in [
        format!("_manifests/revisions/sha256/{}/link", hex(&digest)),
        format!("_manifests/tags/{tag}/current/link"),
        format!("_manifests/tags/{tag}/index/sha256/{}/link", hex(&digest)),
    ] {
        registry.write(&format!("{repository}/{link}"), digest.clone()).await;
    }
    (digest, manifest)
}

async fn a_store_of_distribution_is_read(registry: &Registry) {
    let (digest, manifest) = distribution_pushes(registry, "library/ubuntu", "22.04").await;
    for reference in ["22.04", &digest] {
        let got = registry.get(&format!("/v2/library/ubuntu/manifests/{reference}")).await.expect(200);
        assert_eq!((got.header("content-type"), &got.body[..]), (DOCKER_MANIFEST, &manifest[..]));
    }
    let layer = sha256(b"layer");
    assert_eq!(registry.get(&format!("/v2/library/ubuntu/blobs/{layer}")).await.expect(200).body, "layer");
    let tags = registry.get("/v2/library/ubuntu/tags/list").await.expect(200);
    assert_eq!(tags.json(), json!({ "name": "library/ubuntu", "tags": ["22.04"] }));
    let catalog = registry.get("/v2/_catalog").await.expect(200);
    assert_eq!(catalog.json(), json!({ "repositories": ["library/ubuntu"] }));
    registry.delete("/v2/library/ubuntu/manifests/22.04").await.expect(202);
    let tags = format!("{REPOSITORIES}/library/ubuntu/_manifests/tags/");
    assert!(!registry.objects().await.iter().any(|path| path.starts_with(&tags)));
}

/// The same push through the API leaves the very same files.
async fn a_store_for_distribution_is_written(registry: &Registry) {
    let other = Registry::on_memory().await;
    distribution_pushes(&other, "library/ubuntu", "22.04").await;
    let config = registry.push_blob("library/ubuntu", b"{}").await;
    let location = registry.start_upload("library/ubuntu").await;
    registry.ask(ask("PATCH", &location).body(b"layer")).await.expect(202);
    let layer = sha256(b"layer");
    registry.ask(ask("PUT", &format!("{location}?digest={layer}"))).await.expect(201);
    let manifest = image(DOCKER_MANIFEST, &config, &[&layer]);
    registry.put_manifest("library/ubuntu", "22.04", DOCKER_MANIFEST, &manifest).await.expect(201);
    let objects = registry.objects().await;
    assert_eq!(objects, other.objects().await);
    for path in objects {
        assert_eq!(registry.read(&path).await, other.read(&path).await, "{path}");
    }
}

async fn a_store_of_distribution_is_written_on(registry: &Registry) {
    let (_, manifest) = distribution_pushes(registry, "app", "v1").await;
    registry.put_manifest("app", "v2", DOCKER_MANIFEST, &manifest).await.expect(201);
    let mount = format!("/v2/new/blobs/uploads/?mount={}&from=app", sha256(b"layer"));
    registry.ask(ask("POST", &mount).body(b"")).await.expect(201);
}

/// Distribution's purge of old uploads goes by `startedat` and passes over uploads that have none: those of this
/// server are purged by this server.
#[tokio::test]
async fn an_upload_has_nothing_that_distribution_would_purge() {
    let registry = Registry::on_memory().await;
    let location = registry.start_upload("app").await;
    registry.ask(ask("PATCH", &location).body(b"layer")).await.expect(202);
    let objects = registry.objects().await;
    let [record] = &objects[..] else { panic!("more than the record: {objects:?}") };
    assert!(record.starts_with(&format!("{REPOSITORIES}/app/_uploads/")), "{record}");
    assert!(record.ends_with("/upload.json"), "{record}");
}

/// Its bytes lie where only distribution looks. A client that comes here begins anew.
async fn an_upload_of_distribution_is_not_taken_over(registry: &Registry) {
    let id = "6a7d5f4e-3c5b-4f0a-9f57-111111111111";
    let folder = format!("{REPOSITORIES}/app/_uploads/{id}");
    let files = [(format!("{folder}/startedat"), "2026-01-01T00:00:00Z"), (format!("{folder}/data"), "half")];
    for (path, content) in &files {
        registry.write(path, *content).await;
    }
    let location = format!("/v2/app/blobs/uploads/{id}");
    registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.ask(ask("PATCH", &location).body(b"more")).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.delete(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    for (path, content) in &files {
        assert_eq!(registry.read(path).await.unwrap(), *content);
    }
    let folder = docker_registry_driver_api::Prefix::new(folder).unwrap();
    registry.storage.delete_tree(&Default::default(), &folder).await.unwrap();
}

async fn an_upload_whose_record_a_power_cut_spoiled_is_unknown(registry: &Registry) {
    let spoils = [|_: usize| 0, |size: usize| size / 2, |size: usize| size - 1];
    // The longer one lies by itself where that can be moved.
    for (content, spoil) in
        [12, 100_000].into_iter().flat_map(|size| spoils.map(|spoil| (content(1, size), spoil)))
    {
        let begun = registry.start_upload("app").await;
        let sent = registry.ask(ask("PATCH", &begun).body(&content)).await.expect(202);
        let location = sent.header("location").to_owned();
        let objects = registry.objects().await;
        let record = objects.iter().find(|path| path.contains("/_uploads/")).expect("what is kept of it");
        let whole = registry.read(record).await.unwrap();
        registry.write(record, whole[..spoil(whole.len())].to_vec()).await;
        registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        registry.second().get(&begun).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        registry.ask(ask("PATCH", &location).body(b"more")).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        registry.delete(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        // The length came to the disk and the bytes did not.
        let mut zeros = whole.to_vec();
        zeros[..content.len()].fill(0);
        registry.write(record, zeros).await;
        registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        let path = docker_registry_driver_api::ObjectPath::new(record.as_str()).unwrap();
        registry.storage.delete(&Default::default(), &path).await.unwrap();
    }
}

async fn links_that_a_power_cut_emptied_are_healed_by_a_push(registry: &Registry) {
    let manifest = registry.push_image("app", "v1", b"layer").await;
    let links: Vec<_> = registry.objects().await.into_iter().filter(|path| path.ends_with("/link")).collect();
    assert_eq!(links.len(), 5);
    for link in links {
        registry.write(&link, "").await;
    }
    registry.get("/v2/app/manifests/v1").await.expect_error(404, "MANIFEST_UNKNOWN");
    let layer = sha256(b"layer");
    registry.ask(ask("HEAD", &format!("/v2/app/blobs/{layer}"))).await.expect(404);
    registry.push_image("app", "v1", b"layer").await;
    assert_eq!(registry.get("/v2/app/manifests/v1").await.expect(200).body, manifest);
}

/// Distribution's garbage collection takes the content and leaves the link.
async fn a_link_without_content_is_no_blob(registry: &Registry) {
    let layer = registry.push_blob("app", b"layer").await;
    let config = registry.push_blob("app", b"{}").await;
    let path = docker_registry_driver_api::ObjectPath::new(blob_path(&layer)).unwrap();
    registry.storage.delete(&Default::default(), &path).await.unwrap();
    registry.get(&format!("/v2/app/blobs/{layer}")).await.expect_error(404, "BLOB_UNKNOWN");
    registry.ask(ask("HEAD", &format!("/v2/app/blobs/{layer}"))).await.expect(404);
    let manifest = image(OCI_MANIFEST, &config, &[&layer]);
    let refused = registry.put_manifest("app", "v1", OCI_MANIFEST, &manifest).await;
    refused.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
}
