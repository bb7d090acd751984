//! A manifest by tag, where this process knows what the tag pointed to: what it leads to is read with the tag, and not
//! after it.
//!
//! Time stands still while anything can go on, and each read takes a second: so seconds are round trips one after the
//! other.

use std::time::Duration;

use docker_registry::{http::v2::Limits, storage::decorate};
use docker_registry_driver_api::{CallContext, Object, ObjectPath, Result, SharedDriver, async_trait};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};
use tokio::time::{Instant, sleep};

use crate::registry::{Answer, OCI_MANIFEST, REPOSITORIES, Registry, image, sha256};

struct SlowReads(SharedDriver);

#[async_trait]
impl Forward for SlowReads {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        sleep(Duration::from_secs(1)).await;
        self.0.get(call, path, max_size).await
    }
}

/// A storage with two manifests and a tag on the first one, and a server that has not seen any of it.
struct Tagged {
    other: Registry,
    server: Registry,
    manifests: [Vec<u8>; 2],
}

impl Tagged {
    async fn new() -> Self {
        let other = Registry::on_memory().await;
        let manifests =
            [other.push_image("app", "latest", b"one").await, other.push_image("app", "next", b"two").await];
        let server = Registry::on(Forwarding::shared(SlowReads(other.storage.clone())), Limits::default());
        Self { other, server, manifests }
    }

    /// The same where the server makes so many calls to the storage at once.
    async fn with_calls(calls: usize) -> Self {
        let tagged = Self::new().await;
        let slow = Forwarding::shared(SlowReads(tagged.other.storage.clone()));
        let storage = decorate(slow, "memory", calls, Duration::from_secs(60));
        Self { server: Registry::on(storage, Limits::default()), ..tagged }
    }

    /// The answer for the tag, and the round trips that it took.
    async fn get(&self) -> (Answer, u64) {
        let start = Instant::now();
        let answer = self.server.get("/v2/app/manifests/latest").await;
        (answer, start.elapsed().as_secs())
    }

    async fn expect(&self, manifest: usize, round_trips: u64) {
        let (answer, took) = self.get().await;
        assert_eq!(answer.expect(200).body, self.manifests[manifest]);
        assert_eq!(took, round_trips);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_was_seen_before_takes_one_round_trip() {
    let tagged = Tagged::new().await;
    tagged.expect(0, 2).await;
    tagged.expect(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_this_server_wrote_takes_one_round_trip() {
    let tagged = Tagged::new().await;
    let put = tagged.server.put_manifest("app", "latest", OCI_MANIFEST, &tagged.manifests[1]).await;
    put.expect(201);
    tagged.expect(1, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_another_server_moved_is_followed_at_once() {
    let tagged = Tagged::new().await;
    tagged.expect(0, 2).await;
    let put = tagged.other.put_manifest("app", "latest", OCI_MANIFEST, &tagged.manifests[1]).await;
    put.expect(201);
    tagged.expect(1, 2).await;
    tagged.expect(1, 1).await;
}

/// A guess that has come to nothing is given up, and its turns with it.
#[tokio::test(start_paused = true)]
async fn a_wrong_guess_keeps_nobody_from_the_storage() {
    for calls in 1..=4 {
        let tagged = Tagged::with_calls(calls).await;
        tagged.get().await.0.expect(200);
        let put = tagged.other.put_manifest("app", "latest", OCI_MANIFEST, &tagged.manifests[1]).await;
        put.expect(201);
        let (answer, took) = tagged.get().await;
        assert_eq!(answer.expect(200).body, tagged.manifests[1], "{calls}");
        assert!(took <= 5, "{took} round trips with {calls} calls at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_another_server_deleted_is_unknown_whatever_it_led_to() {
    let tagged = Tagged::new().await;
    tagged.expect(0, 2).await;
    tagged.other.delete("/v2/app/manifests/latest").await.expect(202);
    tagged.get().await.0.expect_error(404, "MANIFEST_UNKNOWN");
    let put = tagged.other.put_manifest("app", "latest", OCI_MANIFEST, &tagged.manifests[1]).await;
    put.expect(201);
    // Nothing is remembered of what is gone.
    tagged.expect(1, 2).await;
}

/// As distribution leaves it when a manifest is deleted: the tag is still there.
#[tokio::test(start_paused = true)]
async fn a_tag_whose_manifest_is_gone_is_unknown_until_it_is_back() {
    let tagged = Tagged::new().await;
    tagged.expect(0, 2).await;
    let digest = sha256(&tagged.manifests[0]);
    let hex = digest.strip_prefix("sha256:").unwrap();
    let link = format!("{REPOSITORIES}/app/_manifests/revisions/sha256/{hex}/link");
    let path = ObjectPath::new(link.clone()).unwrap();
    tagged.other.storage.delete(&CallContext::default(), &path).await.unwrap();
    tagged.get().await.0.expect_error(404, "MANIFEST_UNKNOWN");
    tagged.other.write(&link, digest).await;
    tagged.expect(0, 1).await;
}

/// Nobody is told of one repository's tag what another one's leads to.
#[tokio::test(start_paused = true)]
async fn tags_of_one_name_in_two_repositories_are_two() {
    let tagged = Tagged::new().await;
    tagged.expect(0, 2).await;
    let config = tagged.other.push_blob("elsewhere", b"{}").await;
    let manifest = image(OCI_MANIFEST, &config, &[]);
    tagged.other.put_manifest("elsewhere", "latest", OCI_MANIFEST, &manifest).await.expect(201);
    assert_eq!(tagged.server.get("/v2/elsewhere/manifests/latest").await.expect(200).body, manifest);
}
