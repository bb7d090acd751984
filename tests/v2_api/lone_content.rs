//! Small content that lies by itself until it is moved to its name as a blob.

use std::sync::Arc;

use docker_registry_driver_api::{
    Bytes,
    futures::{StreamExt, future, stream},
};
use tokio::sync::Barrier;

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

/// Both requests are under way before anything is kept, so that neither server can know of the other's.
#[tokio::test]
async fn two_servers_may_take_a_first_chunk_each_and_each_client_goes_on_from_its_own() {
    let registry = Registry::on_local().await;
    let second = registry.second();
    let begun = registry.start_upload("app").await;
    let contents = [content(2, 300_000), content(3, 400_000)];
    let sent = sent_at_once([&registry, &second], &begun, &contents).await;
    for (sent, content) in sent.into_iter().zip(&contents) {
        let digest = sha256(content);
        let location = sent.expect(202).header("location").to_owned();
        let third = registry.second();
        third.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.expect(201);
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
