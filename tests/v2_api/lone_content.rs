//! Small content that lies by itself until it is moved to its name as a blob.

use std::{sync::Arc, time::Duration};

use docker_registry::http::v2::Limits;
use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, ETag, HostServices, ObjectPath, Result, Settings, SharedDriver,
    async_trait,
    futures::{StreamExt, future, stream},
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};
use docker_registry_driver_memory::MemoryDriver;
use tokio::{
    sync::{Barrier, oneshot},
    time::sleep,
};

use crate::registry::{Answer, Registry, ask, content, sha256};

fn first_chunk<'a>(objects: &'a [String], digest: &str) -> Option<&'a String> {
    let hex = digest.strip_prefix("sha256:").unwrap();
    objects.iter().find(|path| path.contains("/_uploads/") && path.ends_with(hex))
}

/// Sends two first chunks of one upload; both requests are under way before either is at its end.
async fn sent_at_once(servers: [&Registry; 2], begun: &str, contents: &[Vec<u8>; 2]) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(2));
    future::join_all(servers.into_iter().zip(contents).map(|(server, content)| {
        let (barrier, content) = (barrier.clone(), Bytes::from(content.clone()));
        let body = stream::once(async move {
            barrier.wait().await;
            Ok(content)
        });
        server.ask(ask("PATCH", begun).stream(body.boxed()))
    }))
    .await
}

#[tokio::test]
async fn a_small_first_chunk_is_what_will_be_the_blob() {
    let registry = Registry::on_local().await;
    let content = content(1, 500_000);
    let digest = sha256(&content);
    let location = registry.start_upload("app").await;
    let sent = registry.ask(ask("PATCH", &location).body(&content)).await.expect(202);
    let objects = registry.objects().await;
    assert_eq!(objects.len(), 1, "{objects:?}");
    let kept = first_chunk(&objects, &digest).expect("it lies under its hash");
    assert_eq!(registry.read(kept).await.unwrap(), content);
    let put = ask("PUT", &format!("{}?digest={digest}", sent.header("location")));
    registry.ask(put).await.expect(201);
    registry.assert_no_upload_is_left().await;
    assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
}

/// One of them may learn of the other's in time, and is refused.
#[tokio::test]
async fn two_servers_may_take_a_first_chunk_each_and_each_client_goes_on_from_its_own() {
    let registry = Registry::on_local().await;
    let second = registry.second();
    let begun = registry.start_upload("app").await;
    let contents = [content(2, 300_000), content(3, 400_000)];
    let sent = sent_at_once([&registry, &second], &begun, &contents).await;
    let taken: Vec<_> = sent.iter().zip(&contents).filter(|(sent, _)| sent.status == 202).collect();
    assert!(!taken.is_empty(), "{sent:?}");
    for (sent, content) in taken {
        let digest = sha256(content);
        let third = registry.second();
        third.ask(ask("PUT", &format!("{}?digest={digest}", sent.header("location")))).await.expect(201);
        assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, *content);
    }
    registry.assert_no_upload_is_left().await;
}

#[tokio::test]
async fn a_chunk_behind_it_leads_to_a_record_and_the_lone_content_goes() {
    let registry = Registry::on_local().await;
    for size in [300_000, 3_000_000] {
        let content = content(4, size);
        let (first, rest) = content.split_at(100_000);
        let location = registry.start_upload("app").await;
        registry.ask(ask("PATCH", &location).body(first)).await.expect(202);
        assert!(first_chunk(&registry.objects().await, &sha256(first)).is_some());
        let sent = registry.ask(ask("PATCH", &location).body(rest)).await.expect(202);
        let objects = registry.objects().await;
        assert!(first_chunk(&objects, &sha256(first)).is_none(), "{objects:?}");
        assert!(objects.iter().any(|path| path.ends_with("/upload.json")), "{objects:?}");
        let put = ask("PUT", &format!("{}?digest={}", sent.header("location"), sha256(&content)));
        registry.ask(put).await.expect(201);
        registry.assert_no_upload_is_left().await;
    }
}

/// An upload that went on elsewhere is not finished with what this server remembers of it.
#[tokio::test]
async fn what_is_moved_is_what_the_digest_names_whoever_went_on() {
    let registry = Registry::on_local().await;
    let second = registry.second();
    let (first, whole) = (content(5, 100_000), content(5, 200_000));
    let begun = registry.start_upload("app").await;
    let sent = registry.ask(ask("PATCH", &begun).body(&first)).await.expect(202);
    let more = second.ask(ask("PATCH", sent.header("location")).body(&whole[100_000..])).await.expect(202);
    // The old location, at the server that remembers it, with the digest of each.
    let wrong = ask("PUT", &format!("{}?digest={}", sent.header("location"), sha256(b"neither")));
    registry.ask(wrong).await.expect_error(400, "DIGEST_INVALID");
    let put = ask("PUT", &format!("{}?digest={}", more.header("location"), sha256(&whole)));
    let answer = second.ask(put).await;
    assert!([201, 404].contains(&answer.status), "{answer:?}");
    for content in [&first, &whole] {
        let blob = registry.get(&format!("/v2/app/blobs/{}", sha256(content))).await;
        assert!(blob.status == 404 || blob.body == *content);
    }
}

/// One would lie by itself, and the other goes to the driver: the storage alone would take both.
#[tokio::test]
async fn of_a_small_and_a_large_first_chunk_one_wins() {
    let registry = Registry::on_local().await;
    let begun = registry.start_upload("app").await;
    let contents = [content(6, 100_000), content(7, 1_200_000)];
    let sent = sent_at_once([&registry, &registry], &begun, &contents).await;
    let won: Vec<_> = sent.iter().zip(&contents).filter(|(sent, _)| sent.status == 202).collect();
    let [(winner, content)] = won[..] else { panic!("{sent:?}") };
    let put = ask("PUT", &format!("{}?digest={}", winner.header("location"), sha256(content)));
    registry.ask(put).await.expect(201);
    registry.assert_no_upload_is_left().await;
}

/// A body that hangs, and meanwhile so many other uploads that nobody remembers this one.
#[tokio::test]
async fn a_first_chunk_that_was_acknowledged_is_not_displaced_by_one_that_comes_late() {
    let registry = Registry::on_local().await;
    let begun = registry.start_upload("app").await;
    let (go_on, late) = oneshot::channel::<()>();
    let body = stream::once(async move {
        late.await.unwrap();
        Ok(Bytes::from_static(b"late"))
    });
    let slow = registry.ask(ask("PATCH", &begun).stream(body.boxed()));
    let content = content(8, 500_000);
    let rest = async {
        let sent = registry.ask(ask("PATCH", &begun).body(&content)).await.expect(202);
        for _ in 0..1100 {
            registry.start_upload("other").await;
        }
        go_on.send(()).unwrap();
        sent
    };
    let (slow, sent) = future::join(slow, rest).await;
    slow.expect_error(416, "RANGE_INVALID");
    let put = ask("PUT", &format!("{}?digest={}", sent.header("location"), sha256(&content)));
    registry.ask(put).await.expect(201);
}

/// Writing the record takes a second, in a time that stands still while anything can go on.
struct SlowRecords(SharedDriver);

#[async_trait]
impl Forward for SlowRecords {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        if path.as_str().ends_with("/upload.json") {
            sleep(Duration::from_secs(1)).await;
        }
        self.0.put(call, path, content, condition).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_while_a_second_chunk_is_kept_leaves_nothing() {
    for end in ["DELETE", "PUT"] {
        let memory = MemoryDriver::open(Settings::default(), HostServices::default()).await.unwrap();
        let registry = Registry::on(Forwarding::shared(SlowRecords(Arc::new(memory))), Limits::default());
        let begun = registry.start_upload("app").await;
        let (first, second) = (content(9, 100_000), content(10, 10_000));
        let sent = registry.ask(ask("PATCH", &begun).body(&first)).await.expect(202);
        let location = sent.header("location");
        let chunk = registry.ask(ask("PATCH", location).body(&second));
        let last = content(11, 20_000);
        let end = async {
            sleep(Duration::from_millis(500)).await;
            match end {
                "DELETE" => registry.ask(ask("DELETE", location)).await.expect(204),
                _ => {
                    let digest = sha256(&[first.as_slice(), &last].concat());
                    let put = ask("PUT", &format!("{location}?digest={digest}"));
                    registry.ask(put.body(&last)).await.expect(201)
                }
            }
        };
        let (chunk, _) = future::join(chunk, end).await;
        chunk.expect(202);
        registry.assert_no_upload_is_left().await;
        registry.get(location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

/// The other server does not know that the upload had ended here, and its client begins anew.
#[tokio::test]
async fn an_upload_that_began_anew_elsewhere_goes_on_here() {
    let registry = Registry::on_local().await;
    let begun = registry.start_upload("app").await;
    let wrong = ask("PUT", &format!("{begun}?digest={}", sha256(b"other")));
    registry.ask(wrong.body(b"this")).await.expect_error(400, "DIGEST_INVALID");
    let content = content(12, 200_000);
    let (first, rest) = content.split_at(100_000);
    let sent = registry.second().ask(ask("PATCH", &begun).body(first)).await.expect(202);
    let sent = registry.ask(ask("PATCH", sent.header("location")).body(rest)).await.expect(202);
    let put = ask("PUT", &format!("{}?digest={}", sent.header("location"), sha256(&content)));
    registry.ask(put).await.expect(201);
}
