//! Every way to upload a blob, and every way to get it wrong.

use docker_registry_driver_api::{Bytes, Error, ErrorKind, byte_stream, futures::StreamExt, futures::stream};

use crate::registry::{Ask, Registry, ask, content, sha256, sha512};

on_both_drivers!(
    a_blob_in_one_request,
    a_blob_as_docker_pushes_it,
    a_blob_in_chunks,
    a_blob_in_the_last_request,
    an_empty_blob_in_two_requests,
    a_blob_of_sha512,
    an_upload_hashed_with_another_algorithm_is_hashed_again,
    chunks_out_of_order_are_refused_and_the_right_one_goes_on,
    a_chunk_must_have_the_length_that_it_says,
    a_wrong_digest_ends_the_upload,
    a_failed_upload_in_one_request_leaves_nothing,
    a_cancelled_upload_leaves_nothing,
    a_new_upload_is_nothing_in_the_storage_and_goes_on_anywhere,
    a_refused_first_chunk_leaves_the_upload_new,
    an_upload_that_does_not_exist_is_unknown,
    an_upload_belongs_to_its_repository,
    a_digest_must_be_named_and_be_one,
    a_blob_that_is_there_already_is_pushed_again,
);

async fn assert_blob(registry: &Registry, name: &str, digest: &str, content: &[u8]) {
    let got = registry.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(200);
    assert!(got.body == content, "other content");
}

fn put(location: &str, digest: &str) -> Ask {
    ask("PUT", &format!("{location}?digest={digest}"))
}

async fn a_blob_in_one_request(registry: &Registry) {
    let content = content(1, 3_000_000);
    let digest = sha256(&content);
    let path = format!("/v2/library/app/blobs/uploads/?digest={digest}");
    let answer = registry.ask(ask("POST", &path).body(&content)).await.expect(201);
    assert_eq!(answer.header("location"), format!("/v2/library/app/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_blob(registry, "library/app", &digest, &content).await;
    // Clients encode the colon.
    let encoded = path.replace("sha256:", "sha256%3A");
    registry.ask(ask("POST", &encoded).body(&content)).await.expect(201);
}

/// POST, one PATCH of unknown length, PUT without body.
async fn a_blob_as_docker_pushes_it(registry: &Registry) {
    let content = content(2, 3_000_000);
    let digest = sha256(&content);
    let begun = registry.ask(ask("POST", "/v2/app/blobs/uploads/").body(b"")).await.expect(202);
    let location = begun.header("location").to_owned();
    assert!(location.starts_with("/v2/app/blobs/uploads/"), "not relative: {location}");
    let id = begun.header("docker-upload-uuid");
    assert!(location.rsplit('/').next().unwrap().starts_with(id), "{location}");
    assert_eq!(begun.header("range"), "0-0");

    let pieces: Vec<_> = content.chunks(33_333).map(Bytes::copy_from_slice).collect();
    let sent = registry.ask(ask("PATCH", &location).stream(byte_stream(pieces))).await.expect(202);
    assert_eq!(sent.header("range"), "0-2999999");
    assert_eq!(sent.header("docker-upload-uuid"), id);
    let location = sent.header("location").to_owned();
    let status = registry.get(&location).await.expect(204);
    assert_eq!(status.header("location"), location);
    assert_eq!(status.header("range"), "0-2999999");
    assert_eq!(status.header("docker-upload-uuid"), begun.header("docker-upload-uuid"));
    registry.get(&format!("/v2/app/blobs/{digest}")).await.expect_error(404, "BLOB_UNKNOWN");

    let done = registry.ask(put(&location, &digest).body(b"")).await.expect(201);
    assert_eq!(done.header("location"), format!("/v2/app/blobs/{digest}"));
    assert_blob(registry, "app", &digest, &content).await;
    registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

async fn a_blob_in_chunks(registry: &Registry) {
    let content = content(3, 1_000_000);
    let location = registry.start_upload("app").await;
    let (body, last) = content.split_at(900_000);
    for (number, chunk) in body.chunks(300_000).enumerate() {
        let first = number * 300_000;
        let range = format!("{first}-{}", first + chunk.len() - 1);
        let sent = registry.ask(ask("PATCH", &location).header("content-range", &range).body(chunk)).await;
        assert_eq!(sent.expect(202).header("range"), format!("0-{}", first + chunk.len() - 1));
    }
    let digest = sha256(&content);
    let end = put(&location, &digest).header("content-range", "900000-999999").body(last);
    registry.ask(end).await.expect(201);
    assert_blob(registry, "app", &digest, &content).await;
}

/// As containerd does it.
async fn a_blob_in_the_last_request(registry: &Registry) {
    for (seed, announced) in [(4, true), (5, false)] {
        let content = content(seed, 500_000);
        let digest = sha256(&content);
        let location = registry.start_upload("app").await;
        let end = put(&location, &digest);
        let end = match announced {
            true => end.body(&content),
            false => end.stream(byte_stream([Bytes::from(content.clone())])),
        };
        registry.ask(end).await.expect(201);
        assert_blob(registry, "app", &digest, &content).await;
    }
}

async fn an_empty_blob_in_two_requests(registry: &Registry) {
    let location = registry.start_upload("app").await;
    registry.ask(put(&location, &sha256(b""))).await.expect(201);
    assert_blob(registry, "app", &sha256(b""), b"").await;
    let location = registry.start_upload("app").await;
    registry.ask(ask("PATCH", &location).body(b"")).await.expect(202);
    registry.ask(put(&location, &sha512(b"")).body(b"")).await.expect(201);
    assert_blob(registry, "app", &sha512(b""), b"").await;
}

async fn a_blob_of_sha512(registry: &Registry) {
    let content = content(6, 700_000);
    let digest = sha512(&content);
    let path = format!("/v2/one/blobs/uploads/?digest={digest}");
    registry.ask(ask("POST", &path).body(&content)).await.expect(201);
    assert_blob(registry, "one", &digest, &content).await;

    let start = ask("POST", "/v2/two/blobs/uploads/?digest-algorithm=sha512");
    let location = registry.ask(start).await.expect(202).header("location").to_owned();
    let (first, second) = content.split_at(400_000);
    // Only the location tells this server how the upload is hashed.
    let sent = registry.second().ask(ask("PATCH", &location).body(first)).await.expect(202);
    let record = registry.objects().await.into_iter().find(|path| path.ends_with("upload.json")).unwrap();
    let record = registry.read(&record).await.unwrap();
    let line = record.rsplit(|byte| *byte == b'\n').next().unwrap();
    assert!(String::from_utf8_lossy(line).contains(r#""algorithm":"sha512""#));
    registry.ask(put(sent.header("location"), &digest).body(second)).await.expect(201);
    assert_blob(registry, "two", &digest, &content).await;

    let bad = ask("POST", "/v2/two/blobs/uploads/?digest-algorithm=md5");
    registry.ask(bad).await.expect_error(400, "DIGEST_INVALID");
}

/// Nothing told the server at the beginning that it would be SHA-512.
async fn an_upload_hashed_with_another_algorithm_is_hashed_again(registry: &Registry) {
    let content = content(7, 2_500_000);
    let (first, second) = content.split_at(2_000_000);
    let (small, small_second) = content[..700_000].split_at(500_000);
    for (first, last) in [(first, second), (first, &[][..]), (small, small_second), (small, &[])] {
        let whole = [first, last].concat();
        let digest = sha512(&whole);
        let location = registry.start_upload("app").await;
        registry.ask(ask("PATCH", &location).body(first)).await.expect(202);
        registry.ask(put(&location, &digest).body(last)).await.expect(201);
        assert_blob(registry, "app", &digest, &whole).await;
        registry.assert_no_upload_is_left().await;
    }
    let location = registry.start_upload("app").await;
    registry.ask(ask("PATCH", &location).body(first)).await.expect(202);
    let before = registry.objects().await.len();
    registry.ask(put(&location, &sha512(b"wrong"))).await.expect_error(400, "DIGEST_INVALID");
    // The record is gone, and nothing came.
    assert_eq!(registry.objects().await.len(), before - 1);
}

async fn chunks_out_of_order_are_refused_and_the_right_one_goes_on(registry: &Registry) {
    let location = registry.start_upload("app").await;
    let chunk = |range: &str, body: &[u8]| ask("PATCH", &location).header("content-range", range).body(body);
    registry.ask(chunk("0-3", b"0123")).await.expect(202);
    for range in ["0-3", "5-8", "3-6"] {
        let refused = registry.ask(chunk(range, b"xxxx")).await.expect_error(416, "RANGE_INVALID");
        assert_eq!(refused.header("range"), "0-3");
        // The same upload; which state of it, the next request finds out.
        assert_eq!(Some(refused.header("location")), location.split('.').next());
    }
    let end = put(&location, &sha256(b"01234567")).header("content-range", "5-8").body(b"xxxx");
    registry.ask(end).await.expect_error(416, "RANGE_INVALID");
    registry.ask(chunk("4-7", b"4567")).await.expect(202);
    registry.ask(put(&location, &sha256(b"01234567"))).await.expect(201);
}

async fn a_chunk_must_have_the_length_that_it_says(registry: &Registry) {
    let location = registry.start_upload("app").await;
    let chunk = |range: &str| ask("PATCH", &location).header("content-range", range);
    registry.ask(chunk("0-9").body(b"0123")).await.expect_error(400, "SIZE_INVALID");
    for range in ["", "4", "9-5", "a-b", "bytes 0-3/4", "-3", "0-99999999999999999999"] {
        registry.ask(chunk(range).body(b"0123")).await.expect_error(400, "BLOB_UPLOAD_INVALID");
    }
    // Without a length the range is the only announcement, and what goes beyond it is not kept.
    let long = chunk("0-1").stream(byte_stream([Bytes::from("0123")]));
    registry.ask(long).await.expect_error(400, "SIZE_INVALID");
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-0");
    assert_eq!(registry.pending_uploads().await, 0);
    // One that ends early is kept as far as it came, as if the client had broken off.
    let short = chunk("0-9").stream(byte_stream([Bytes::from("0123")]));
    registry.ask(short).await.expect_error(400, "BLOB_UPLOAD_INVALID");
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-3");
    registry.ask(put(&location, &sha256(b"0123"))).await.expect(201);
}

async fn a_wrong_digest_ends_the_upload(registry: &Registry) {
    for body in [&b""[..], b" and more"] {
        let location = registry.start_upload("app").await;
        registry.ask(ask("PATCH", &location).body(b"content")).await.expect(202);
        let refused = registry.ask(put(&location, &sha256(b"other")).body(body)).await;
        refused.expect_error(400, "DIGEST_INVALID");
        registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        registry.assert_empty().await;
    }
    let location = registry.start_upload("app").await;
    registry
        .ask(put(&location, &sha256(b"other")).body(b"content"))
        .await
        .expect_error(400, "DIGEST_INVALID");
    registry.assert_empty().await;
}

async fn a_failed_upload_in_one_request_leaves_nothing(registry: &Registry) {
    let content = content(8, 300_000);
    let post = |digest: &str| ask("POST", &format!("/v2/app/blobs/uploads/?digest={digest}"));
    registry.ask(post(&sha256(b"other")).body(&content)).await.expect_error(400, "DIGEST_INVALID");
    registry.assert_empty().await;
    registry.ask(post("sha256:short").body(&content)).await.expect_error(400, "DIGEST_INVALID");
    registry.assert_empty().await;

    let digest = sha256(&content);
    let broken = stream::iter([
        Ok(Bytes::from(content[..200_000].to_vec())),
        Err(Error::new(ErrorKind::BodyFailed, "the client is gone")),
    ]);
    registry.ask(post(&digest).stream(broken.boxed())).await.expect_error(400, "BLOB_UPLOAD_INVALID");
    registry.assert_empty().await;
    let truncated = byte_stream([Bytes::from(content[..200_000].to_vec())]);
    let truncated = post(&digest).header("content-length", "300000").stream(truncated);
    registry.ask(truncated).await.expect_error(400, "BLOB_UPLOAD_INVALID");
    registry.assert_empty().await;
    let longer = post(&digest).header("content-length", "3").stream(byte_stream([Bytes::from(content)]));
    registry.ask(longer).await.expect_error(400, "SIZE_INVALID");
    registry.assert_empty().await;
}

async fn a_cancelled_upload_leaves_nothing(registry: &Registry) {
    for content in [None, Some(b"content")] {
        let location = registry.start_upload("app").await;
        if let Some(content) = content {
            registry.ask(ask("PATCH", &location).body(content)).await.expect(202);
        }
        registry.delete(&location).await.expect(204);
        registry.assert_empty().await;
        registry.delete(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

async fn an_upload_that_does_not_exist_is_unknown(registry: &Registry) {
    let digest = sha256(b"");
    let never = "6a7d5f4e-3c5b-4f0a-9f57-111111111111";
    for id in [never, &never.to_uppercase(), "x", "..", "%2e%2e", "%00", "a%2Fb", &"x".repeat(5000)] {
        let location = format!("/v2/app/blobs/uploads/{id}");
        for (method, query) in [("GET", ""), ("PATCH", ""), ("PUT", "?digest="), ("DELETE", "")] {
            let query = if query.is_empty() { String::new() } else { format!("{query}{digest}") };
            let answer = registry.ask(ask(method, &format!("{location}{query}")).body(b"x")).await;
            answer.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }
    registry.assert_empty().await;
}

async fn a_new_upload_is_nothing_in_the_storage_and_goes_on_anywhere(registry: &Registry) {
    let location = registry.start_upload("app").await;
    registry.assert_empty().await;
    let second = registry.second();
    for server in [registry, &second] {
        let status = server.get(&location).await.expect(204);
        assert_eq!((status.header("range"), status.header("location")), ("0-0", location.as_str()));
    }
    second.ask(ask("PATCH", &location).body(b"content")).await.expect(202);
    // Who began it knows only that it has; the location that its client has is older than the chunk.
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-6");
    registry.ask(put(&location, &sha256(b"content"))).await.expect(201);
    registry.assert_no_upload_is_left().await;

    let cancelled = registry.start_upload("app").await;
    registry.delete(&cancelled).await.expect(204);
    registry.get(&cancelled).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.ask(ask("PATCH", &cancelled).body(b"x")).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.ask(put(&cancelled, &sha256(b""))).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    let finished = registry.start_upload("app").await;
    registry.ask(put(&finished, &sha256(b"x")).body(b"x")).await.expect(201);
    registry.get(&finished).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

async fn a_refused_first_chunk_leaves_the_upload_new(registry: &Registry) {
    let location = registry.start_upload("app").await;
    let early = ask("PATCH", &location).header("content-range", "5-8").body(b"xxxx");
    let refused = registry.ask(early).await.expect_error(416, "RANGE_INVALID");
    assert_eq!(refused.header("location"), location);
    registry.assert_empty().await;
    let end = put(refused.header("location"), &sha256(b"content")).body(b"content");
    registry.ask(end).await.expect(201);
}

async fn an_upload_belongs_to_its_repository(registry: &Registry) {
    let location = registry.begin_upload("mine").await;
    let elsewhere = location.replace("/mine/", "/yours/");
    registry.ask(ask("PATCH", &elsewhere).body(b"x")).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.delete(&location).await.expect(204);
}

async fn a_digest_must_be_named_and_be_one(registry: &Registry) {
    let location = registry.start_upload("app").await;
    registry.ask(ask("PATCH", &location).body(b"content")).await.expect(202);
    registry.ask(ask("PUT", &location)).await.expect_error(400, "DIGEST_INVALID");
    let hex = "0".repeat(64);
    for digest in ["", "sha256", "sha256:", "sha256:xyz", &format!("md5:{hex}"), &format!("sha256:{hex}0")] {
        registry.ask(put(&location, digest)).await.expect_error(400, "DIGEST_INVALID");
    }
    // None of that has done any harm.
    registry.ask(put(&location, &sha256(b"content"))).await.expect(201);
}

async fn a_blob_that_is_there_already_is_pushed_again(registry: &Registry) {
    let content = content(9, 200_000);
    let digest = registry.push_blob("one", &content).await;
    let location = registry.start_upload("two").await;
    registry.ask(put(&location, &digest).body(&content)).await.expect(201);
    assert_blob(registry, "one", &digest, &content).await;
    assert_blob(registry, "two", &digest, &content).await;
}
