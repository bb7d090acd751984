//! Reading, mounting and unlinking blobs.

use docker_registry_driver_api::futures::future;

use crate::registry::{Registry, ask, content, sha256};

on_both_drivers!(
    a_blob_is_served_with_its_facts,
    ranges_are_served_as_rfc_9110_says,
    a_range_outside_the_blob_is_refused_with_its_size,
    a_range_that_is_not_understood_is_ignored,
    a_cached_blob_is_not_sent_again,
    a_blob_belongs_to_its_repository_only,
    a_blob_is_mounted_without_upload,
    a_mount_that_cannot_be_begins_an_upload,
    an_unlinked_blob_is_gone_from_its_repository_only,
    an_empty_blob_is_a_blob,
);

async fn a_blob_is_served_with_its_facts(registry: &Registry) {
    let content = content(1, 300_000);
    let digest = registry.push_blob("team/app", &content).await;
    let path = format!("/v2/team/app/blobs/{digest}");
    let got = registry.get(&path).await.expect(200);
    assert_eq!(got.body, content);
    let head = registry.ask(ask("HEAD", &path)).await.expect(200);
    assert_eq!(head.header("content-length"), "300000");
    assert!(head.body.is_empty());
    for answer in [got, head] {
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("cache-control"), "max-age=31536000");
    }
}

/// Only the local driver has files; a region must come through to where the answer is written.
#[tokio::test]
async fn a_blob_of_the_local_driver_stays_a_region_of_its_file() {
    let registry = Registry::on_local().await;
    let digest = registry.push_blob("app", &content(2, 10_000)).await;
    let whole = registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200);
    assert!(whole.from_file);
}

async fn ranges_are_served_as_rfc_9110_says(registry: &Registry) {
    let content = content(3, 1000);
    let digest = registry.push_blob("app", &content).await;
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=990-", 990, 999),
        ("bytes=-10", 990, 999),
        ("bytes=900-5000", 900, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=0-", 0, 999),
    ] {
        let get = ask("GET", &format!("/v2/app/blobs/{digest}")).header("range", range);
        let part = registry.ask(get).await.expect(206);
        assert_eq!(part.body, content[first..=last], "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/1000"));
        assert_eq!(part.header("docker-content-digest"), digest);
    }
}

async fn a_range_outside_the_blob_is_refused_with_its_size(registry: &Registry) {
    let digest = registry.push_blob("app", &content(4, 1000)).await;
    for range in ["bytes=1000-", "bytes=2000-3000", "bytes=-0", "bytes=99999999999999999999999-"] {
        let get = ask("GET", &format!("/v2/app/blobs/{digest}")).header("range", range);
        let refused = registry.ask(get).await.expect_error(416, "RANGE_INVALID");
        assert_eq!(refused.header("content-range"), "bytes */1000", "{range}");
    }
    let unknown = ask("GET", &format!("/v2/app/blobs/{}", sha256(b"x"))).header("range", "bytes=5-");
    registry.ask(unknown).await.expect_error(404, "BLOB_UNKNOWN");
}

async fn a_range_that_is_not_understood_is_ignored(registry: &Registry) {
    let content = content(5, 1000);
    let digest = registry.push_blob("app", &content).await;
    let path = format!("/v2/app/blobs/{digest}");
    for range in ["bytes=0-1,5-6", "bytes=9-5", "bytes=a-b", "rows=1-2", "nonsense"] {
        let whole = registry.ask(ask("GET", &path).header("range", range)).await.expect(200);
        assert_eq!(whole.body, content, "{range}");
    }
    let stale = ask("GET", &path).header("range", "bytes=0-1").header("if-range", "\"other\"");
    assert_eq!(registry.ask(stale).await.expect(200).body, content);
    let fresh = ask("GET", &path).header("range", "bytes=0-1").header("if-range", &format!("\"{digest}\""));
    assert_eq!(registry.ask(fresh).await.expect(206).body, content[..2]);
}

async fn a_cached_blob_is_not_sent_again(registry: &Registry) {
    let digest = registry.push_blob("app", b"cached").await;
    for method in ["GET", "HEAD"] {
        let path = format!("/v2/app/blobs/{digest}");
        let same = ask(method, &path).header("if-none-match", &format!("\"other\", \"{digest}\""));
        let answer = registry.ask(same).await.expect(304);
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert!(answer.body.is_empty());
        registry.ask(ask(method, &path).header("if-none-match", "\"other\"")).await.expect(200);
    }
    let unknown = sha256(b"never pushed");
    let get =
        ask("GET", &format!("/v2/app/blobs/{unknown}")).header("if-none-match", &format!("\"{unknown}\""));
    registry.ask(get).await.expect_error(404, "BLOB_UNKNOWN");
}

async fn a_blob_belongs_to_its_repository_only(registry: &Registry) {
    let digest = registry.push_blob("mine", b"secret").await;
    for method in ["GET", "DELETE"] {
        let path = format!("/v2/yours/blobs/{digest}");
        registry.ask(ask(method, &path)).await.expect_error(404, "BLOB_UNKNOWN");
    }
    let head = registry.ask(ask("HEAD", &format!("/v2/yours/blobs/{digest}"))).await.expect(404);
    assert!(head.body.is_empty());
}

async fn a_blob_is_mounted_without_upload(registry: &Registry) {
    let digest = registry.push_blob("source", b"shared").await;
    let mount = format!("/v2/target/blobs/uploads/?mount={digest}&from=source");
    let answer = registry.ask(ask("POST", &mount)).await.expect(201);
    assert_eq!(answer.header("location"), format!("/v2/target/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(registry.get(&format!("/v2/target/blobs/{digest}")).await.expect(200).body, "shared");
    // Without a source only what the repository has already.
    registry.ask(ask("POST", &format!("/v2/target/blobs/uploads/?mount={digest}"))).await.expect(201);
}

#[tokio::test]
async fn a_mount_asks_the_storage_and_not_a_cache_that_is_old() {
    let (registry, old) = (Registry::on_memory().await, Registry::on_memory().await);
    let digest = registry.push_blob("source", b"shared").await;
    old.push_blob("source", b"shared").await;
    registry.delete(&format!("/v2/source/blobs/{digest}")).await.expect(202);
    let registry = registry.reading_from(old.storage.clone());
    let head = registry.ask(ask("HEAD", &format!("/v2/source/blobs/{digest}"))).await;
    assert_eq!(head.status, 200, "what clients read may be old");
    for source in ["source", "target"] {
        let mount = format!("/v2/{source}/blobs/uploads/?mount={digest}&from=source");
        registry.ask(ask("POST", &mount)).await.expect(202);
    }
}

async fn a_mount_that_cannot_be_begins_an_upload(registry: &Registry) {
    let digest = registry.push_blob("source", b"shared").await;
    let unknown = sha256(b"never pushed");
    for query in [
        format!("mount={unknown}&from=source"),
        format!("mount={digest}&from=elsewhere"),
        // Anonymous: to search all repositories would tell who has what.
        format!("mount={digest}"),
        // No repository can have such a name.
        format!("mount={digest}&from=../source"),
    ] {
        let answer =
            registry.ask(ask("POST", &format!("/v2/target/blobs/uploads/?{query}"))).await.expect(202);
        let location = answer.header("location").to_owned();
        registry.get(&location).await.expect(204);
        registry.delete(&location).await.expect(204);
    }
    let bad = ask("POST", "/v2/target/blobs/uploads/?mount=sha256:abc&from=source");
    registry.ask(bad).await.expect_error(400, "DIGEST_INVALID");
}

async fn an_unlinked_blob_is_gone_from_its_repository_only(registry: &Registry) {
    let digest = registry.push_blob("one", b"shared").await;
    registry.push_blob("two", b"shared").await;
    registry.delete(&format!("/v2/one/blobs/{digest}")).await.expect(202);
    registry.get(&format!("/v2/one/blobs/{digest}")).await.expect_error(404, "BLOB_UNKNOWN");
    registry.delete(&format!("/v2/one/blobs/{digest}")).await.expect_error(404, "BLOB_UNKNOWN");
    registry.get(&format!("/v2/two/blobs/{digest}")).await.expect(200);
}

async fn an_empty_blob_is_a_blob(registry: &Registry) {
    let digest = registry.push_blob("app", b"").await;
    let got = registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200);
    assert!(got.body.is_empty());
    let part = ask("GET", &format!("/v2/app/blobs/{digest}")).header("range", "bytes=0-0");
    let refused = registry.ask(part).await.expect_error(416, "RANGE_INVALID");
    assert_eq!(refused.header("content-range"), "bytes */0");
}

/// Then they are hashed where they come in, and not beside that.
#[tokio::test]
async fn more_large_blobs_at_once_than_there_are_processors_are_each_what_was_sent() {
    let registry = Registry::on_memory().await;
    let many = 2 * std::thread::available_parallelism().unwrap().get() + 1;
    let contents: Vec<_> = (0..many).map(|seed| content(seed as u32, 3_000_000)).collect();
    let digests = future::join_all(contents.iter().map(|content| registry.push_blob("app", content))).await;
    for (digest, content) in digests.iter().zip(&contents) {
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, *content);
    }
}
