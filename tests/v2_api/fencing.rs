//! Uploads that go on elsewhere, and requests that get in each other's way.

use docker_registry_driver_api::{
    Bytes, Error, ErrorKind, byte_stream,
    futures::{StreamExt, future, stream},
};

use crate::registry::{Registry, ask, content, sha256};

on_both_drivers!(
    an_upload_goes_on_in_another_server,
    servers_that_take_turns_know_what_the_other_did,
    an_old_location_loses_nothing,
    a_client_that_breaks_off_goes_on_where_it_was,
    a_client_that_breaks_off_in_the_last_request_goes_on,
    of_many_first_chunks_one_wins,
    of_many_later_chunks_one_wins,
    a_cancelled_upload_takes_no_chunk_that_is_under_way,
    many_finishes_of_one_upload_make_one_blob,
    a_finish_is_repeated_after_a_crash_before_the_link,
);

async fn an_upload_goes_on_in_another_server(registry: &Registry) {
    for size in [1_000_001, 3_000_001] {
        let content = content(1, size);
        let digest = sha256(&content);
        let location = registry.start_upload("app").await;
        for chunk in content.chunks(size / 3) {
            // Each chunk meets a server that has never heard of the upload.
            registry.second().ask(ask("PATCH", &location).body(chunk)).await.expect(202);
        }
        let third = registry.second();
        assert_eq!(third.get(&location).await.expect(204).header("range"), format!("0-{}", size - 1));
        third.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.expect(201);
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
    }
}

/// Each of them remembers what it wrote itself, and that is not where the upload stands.
async fn servers_that_take_turns_know_what_the_other_did(registry: &Registry) {
    for size in [400_000, 4_000_000] {
        let content = content(4, size);
        let digest = sha256(&content);
        let servers = [registry, &registry.second()];
        let mut location = registry.start_upload("app").await;
        let mut turn = 0;
        for chunk in content.chunks(size / 4) {
            turn += 1;
            let sent = servers[turn % 2].ask(ask("PATCH", &location).body(chunk)).await.expect(202);
            location = sent.header("location").to_owned();
        }
        let put = ask("PUT", &format!("{location}?digest={digest}"));
        servers[(turn + 1) % 2].ask(put).await.expect(201);
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
    }
}

/// What this server remembers is what the client speaks of, and both are wrong.
async fn an_old_location_loses_nothing(registry: &Registry) {
    for size in [400_000, 4_000_000] {
        let content = content(5, size);
        let digest = sha256(&content);
        let location = registry.start_upload("app").await;
        registry.second().ask(ask("PATCH", &location).body(&content)).await.expect(202);
        registry.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.expect(201);
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
    }
}

fn broken(content: &[u8]) -> docker_registry_driver_api::ByteStream {
    let gone = Error::new(ErrorKind::BodyFailed, "the client is gone");
    stream::iter([Ok(Bytes::copy_from_slice(content)), Err(gone)]).boxed()
}

async fn a_client_that_breaks_off_goes_on_where_it_was(registry: &Registry) {
    for third in [300_000, 1_200_000] {
        let content = content(2, 3 * third);
        let digest = sha256(&content);
        let location = registry.start_upload("app").await;
        // Twice: the first chunk opens the upload at the driver if it is large, the second goes on with it.
        for from in [0, third] {
            let patch = ask("PATCH", &location).stream(broken(&content[from..from + third]));
            registry.ask(patch).await.expect_error(400, "BLOB_UPLOAD_INVALID");
            let range = format!("0-{}", from + third - 1);
            assert_eq!(registry.get(&location).await.expect(204).header("range"), range);
        }
        let nothing = ask("PATCH", &location).stream(broken(b""));
        registry.ask(nothing).await.expect_error(400, "BLOB_UPLOAD_INVALID");
        registry.ask(ask("PATCH", &location).body(&content[2 * third..])).await.expect(202);
        registry.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.expect(201);
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
    }
}

async fn a_client_that_breaks_off_in_the_last_request_goes_on(registry: &Registry) {
    let content = content(3, 600_000);
    let digest = sha256(&content);
    let location = registry.start_upload("app").await;
    let target = format!("{location}?digest={digest}");
    let put = ask("PUT", &target).stream(broken(&content[..200_000]));
    registry.ask(put).await.expect_error(400, "BLOB_UPLOAD_INVALID");
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-199999");
    registry.ask(ask("PUT", &target).body(&content[200_000..])).await.expect(201);
    assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
}

/// Sends ten chunks at once at the same place; if `together`, each waits for the others before it ends. Returns
/// the number of the one that won.
async fn race(registry: &Registry, location: &str, range: &str, together: bool) -> u8 {
    race_of([registry, registry], location, range, together).await
}

/// The same at two servers in turn.
async fn race_of(servers: [&Registry; 2], location: &str, range: &str, together: bool) -> u8 {
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(10));
    let answers = future::join_all((0..10u8).map(|number| {
        let barrier = barrier.clone();
        let body = stream::once(async move {
            if together {
                barrier.wait().await;
            }
            Ok(Bytes::from(vec![number; 1000]))
        });
        let patch = ask("PATCH", location).header("content-range", range).stream(body.boxed());
        async move { servers[usize::from(number % 2)].ask(patch).await }
    }))
    .await;
    let won: Vec<_> = (0..10u8).filter(|number| answers[usize::from(*number)].status == 202).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in answers.into_iter().filter(|answer| answer.status != 202) {
        answer.expect_error(416, "RANGE_INVALID");
    }
    won[0]
}

async fn of_many_first_chunks_one_wins(registry: &Registry) {
    one_first_chunk_wins(registry, registry).await;
    one_first_chunk_wins(registry, &registry.second()).await;
}

async fn one_first_chunk_wins(registry: &Registry, other: &Registry) {
    let location = registry.start_upload("app").await;
    let winner = race_of([registry, other], &location, "0-999", true).await;
    assert_eq!(registry.get(&location).await.expect(204).header("range"), "0-999");
    let digest = sha256(&vec![winner; 1000]);
    registry.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.expect(201);
}

async fn of_many_later_chunks_one_wins(registry: &Registry) {
    for first in [5, 100_000, 1_100_000] {
        let first = content(6, first);
        let location = registry.start_upload("app").await;
        registry.ask(ask("PATCH", &location).body(&first)).await.expect(202);
        let range = format!("{}-{}", first.len(), first.len() + 999);
        // A driver may tell one that comes too late before it has looked at its chunk.
        let winner = race(registry, &location, &range, first.len() < 1_000_000).await;
        let digest = sha256(&[&first[..], &vec![winner; 1000]].concat());
        registry.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.expect(201);
    }
}

/// The chunk reaches the driver, then the upload is cancelled, then the chunk ends.
async fn a_cancelled_upload_takes_no_chunk_that_is_under_way(registry: &Registry) {
    for first in [content(7, 0), content(7, 5), content(7, 100_000), content(7, 1_100_000)] {
        let location = registry.start_upload("app").await;
        if !first.is_empty() {
            registry.ask(ask("PATCH", &location).body(&first)).await.expect(202);
        }
        let (read, reading) = tokio::sync::oneshot::channel();
        let (cancelled, cancel) = tokio::sync::oneshot::channel();
        let body = stream::once(async move {
            read.send(()).unwrap();
            cancel.await.unwrap();
            Ok(Bytes::from("late"))
        });
        let patch = registry.ask(ask("PATCH", &location).stream(body.boxed()));
        let cancellation = async {
            reading.await.unwrap();
            registry.delete(&location).await.expect(204);
            cancelled.send(()).unwrap();
        };
        let (patched, ()) = future::join(patch, cancellation).await;
        patched.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        registry.assert_empty().await;
        registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        registry.ask(ask("PATCH", &location).body(b"x")).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

async fn many_finishes_of_one_upload_make_one_blob(registry: &Registry) {
    for size in [7, 100_000, 1_100_000] {
        let content = content(8, size);
        let digest = sha256(&content);
        let location = registry.start_upload("app").await;
        registry.ask(ask("PATCH", &location).body(&content)).await.expect(202);
        let target = format!("{location}?digest={digest}");
        let answers = future::join_all((0..8).map(|_| registry.ask(ask("PUT", &target)))).await;
        assert!(answers.iter().any(|answer| answer.status == 201));
        for answer in answers {
            // Who comes too late finds the blob in place or the upload gone.
            assert!([201, 404].contains(&answer.status), "{answer:?}");
        }
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
    }
}

async fn a_finish_is_repeated_after_a_crash_before_the_link(registry: &Registry) {
    for size in [7, 100_000, 1_100_000] {
        let content = content(9, size);
        let digest = sha256(&content);
        let location = registry.start_upload("app").await;
        registry.ask(ask("PATCH", &location).body(&content)).await.expect(202);
        let objects = registry.objects().await;
        let record = objects.iter().find(|path| path.contains("/_uploads/")).unwrap();
        let record_content = registry.read(record).await.unwrap();
        let target = format!("{location}?digest={digest}");
        registry.ask(ask("PUT", &target)).await.expect(201);
        // As the store looks when the server dies between the commit and the link.
        registry.delete(&format!("/v2/app/blobs/{digest}")).await.expect(202);
        registry.write(record, record_content).await;
        registry.ask(ask("PUT", &target)).await.expect(201);
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
        // But nobody gets content that he cannot show to have.
        registry.delete(&format!("/v2/app/blobs/{digest}")).await.expect(202);
        let location = registry.start_upload("app").await;
        let wrong =
            ask("PUT", &format!("{location}?digest={digest}")).stream(byte_stream([Bytes::from("x")]));
        registry.ask(wrong).await.expect_error(400, "DIGEST_INVALID");
    }
}
