//! The storage fails at every single write of a push, of a move of a tag and of deletions, in every way
//! in which a write can fail. Afterwards another process looks at what is left.

use serde_json::Value;

use crate::{
    client::{Image, docker_pull, docker_push, put_tag},
    interposed::{Fault, Interposed},
    registry::{Registry, memory},
    transport::{Sent, Transport},
};

/// What there is before: an image with two tags, and a repository to delete.
async fn store_before(registry: &Registry, root: &Image) {
    let images = std::slice::from_ref(root);
    docker_push(&registry.client, "team/app", "latest", images).await;
    docker_push(&registry.client, "team/app", "old", images).await;
    docker_push(&registry.client, "team/gone", "x", images).await;
}

/// What is done while the storage fails, and which of it was acknowledged.
struct Acknowledged {
    listed: bool,
    completed: bool,
    tagged: bool,
    untagged: bool,
    deleted: bool,
}

async fn change(client: &impl Transport, child: &Image) -> Acknowledged {
    let done = async |sent: Sent| client.exchange(sent).await.status.is_success();
    let list = format!("[{{\"id\": \"{}\"}}]", child.id);
    let listed = done(Sent::put("/v1/repositories/team/app/", list)).await;
    // A client would stop at the first failure. One that goes on must do no harm either.
    done(child.put_json()).await;
    done(child.put_layer()).await;
    Acknowledged {
        listed,
        completed: done(child.put_checksum()).await,
        tagged: done(put_tag("team/app", "latest", child)).await,
        untagged: done(Sent::delete("/v1/repositories/team/app/tags/old")).await,
        deleted: done(Sent::delete("/v1/repositories/team/gone/")).await,
    }
}

async fn look(registry: &Registry, root: &Image, child: &Image, acknowledged: &Acknowledged) {
    let client = &registry.client;
    let found = client.exchange(Sent::get(child.path("json"))).await;
    let layer = client.exchange(Sent::get(child.path("layer"))).await;
    let ancestry = client.exchange(Sent::get(child.path("ancestry"))).await;
    if acknowledged.completed || found.status == 200 {
        assert_eq!(found.header("x-docker-checksum-payload"), Some(child.checksum().as_str()));
        assert_eq!(found.expect(200).text(), child.json);
        assert_eq!(layer.expect(200).body, child.layer);
        assert_eq!(ancestry.expect(200).text(), format!("[\"{}\", \"{}\"]", child.id, root.id));
    } else {
        for part in [found, layer, ancestry] {
            assert!(matches!(part.status.as_u16(), 400 | 404), "part of an unfinished image is readable");
        }
    }

    let latest = client.exchange(Sent::get("/v1/repositories/team/app/tags/latest")).await.expect(200).text();
    let [before, after] = [root, child].map(|image| format!("\"{}\"", image.id));
    assert!(latest == after || latest == before && !acknowledged.tagged, "{latest}");
    let old = client.exchange(Sent::get("/v1/repositories/team/app/tags/old")).await;
    assert!(old.status == 404 || old.text() == before && !acknowledged.untagged);
    let gone = client.exchange(Sent::get("/v1/repositories/team/gone/tags")).await;
    assert!(gone.status == 404 || !acknowledged.deleted);

    let list = client.exchange(Sent::get("/v1/repositories/team/app/images")).await.expect(200);
    let list: Vec<Value> = serde_json::from_slice(&list.body).unwrap();
    let is_listed = |image: &Image| list.iter().any(|entry| entry["id"] == image.id.as_str());
    assert!(is_listed(root) && (is_listed(child) || !acknowledged.listed));
}

/// Tries the changes with a fault at each write in turn, until there are no more writes to fail.
async fn at_every_write(fault: impl Fn(u64) -> Fault) {
    let root = Image::new(None, "root");
    let child = Image::new(Some(&root), vec![7; 2_000_000]);
    for number in 0.. {
        let fault = fault(number);
        let storage = memory().await;
        let healthy = Registry::over(storage.clone());
        store_before(&healthy, &root).await;

        let failing = Interposed::new(storage, fault);
        let acknowledged = change(&Registry::over(failing.clone()).client, &child).await;
        if failing.writes() <= number {
            assert!(number > 15, "there are more writes than {number} in a push");
            return;
        }
        look(&healthy, &root, &child, &acknowledged).await;
        if matches!(fault, Fault::Refused(_)) {
            assert_eq!(healthy.pending_uploads().await, 0, "{fault:?} left an upload");
        }

        // The same push again mends everything.
        let images = [root.clone(), child.clone()];
        docker_push(&healthy.client, "team/app", "latest", &images).await;
        healthy.client.exchange(Sent::delete("/v1/repositories/team/app/tags/old")).await;
        healthy.client.exchange(Sent::delete("/v1/repositories/team/gone/")).await;
        let pulled = docker_pull(&healthy.client, "team/app").await;
        assert_eq!(pulled, [("latest".to_owned(), images.to_vec())].into(), "{fault:?}");
        healthy.client.exchange(Sent::get("/v1/repositories/team/gone/tags")).await.expect(404);
        assert!(!healthy.all_paths().await.iter().any(|path| path.contains("/gone/")));
    }
}

#[tokio::test]
async fn a_write_is_refused() {
    at_every_write(Fault::Refused).await;
}

#[tokio::test]
async fn a_write_happens_and_is_not_reported() {
    at_every_write(Fault::Unreported).await;
}

#[tokio::test]
async fn the_server_dies_before_a_write() {
    at_every_write(Fault::DiesBefore).await;
}

#[tokio::test]
async fn the_server_dies_after_a_write() {
    at_every_write(Fault::DiesAfter).await;
}

#[tokio::test]
async fn a_storage_that_is_away_is_no_fault_of_the_client() {
    let failing = Interposed::new(memory().await, Fault::DiesBefore(0));
    let registry = Registry::over(failing);
    registry.client.exchange(Sent::put("/v1/repositories/team/app/", "[]")).await.expect(503);
    for target in ["/v1/images/0123456789abcdef/json", "/v1/repositories/team/app/tags"] {
        let away = registry.client.exchange(Sent::get(target)).await;
        away.expect_error(503, "The storage is not available, retry later");
    }
    registry.client.exchange(Sent::get("/v1/_ping")).await.expect(200);
}

#[tokio::test]
async fn an_ancestry_that_was_written_without_its_json_is_mended() {
    let root = Image::new(None, "root");
    let child = Image::new(Some(&root), "child");
    let storage = memory().await;
    let healthy = Registry::over(storage.clone());
    docker_push(&healthy.client, "team/app", "latest", std::slice::from_ref(&root)).await;
    healthy.client.exchange(child.put_json()).await.expect(200);

    // The same image begins again without a parent. Mark, checksum and ancestry are written, the JSON
    // is not.
    let failing = Registry::over(Interposed::new(storage, Fault::Refused(3)));
    let orphan = Sent::put(child.path("json"), format!("{{\"id\": \"{}\"}}", child.id));
    failing.client.exchange(orphan).await.expect(503);
    let ancestry = format!("images/{}/ancestry", child.id);
    assert_eq!(healthy.stored(&ancestry).await.unwrap(), format!("[\"{}\"]", child.id));

    healthy.client.exchange(child.put_layer()).await.expect(200);
    healthy.client.exchange(child.put_checksum()).await.expect(200);
    assert_eq!(healthy.stored(&ancestry).await.unwrap(), format!("[\"{}\", \"{}\"]", child.id, root.id));
}
