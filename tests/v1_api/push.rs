//! The states of a push, ranges of layers, and changes that meet.

use futures::StreamExt;
use std::sync::Arc;

use bytes::Bytes;
use docker_registry::http::{exchange::ResponseBody, v1::V1Settings};
use docker_registry_driver_api::{Error, futures};
use http::Method;
use serde_json::{Value, json};

use crate::{
    client::{Image, docker_push, put_tag, three_images},
    interposed::{Fault, Interposed},
    registry::{Registry, memory},
    transport::{Sent, SentBody, Transport},
};

#[tokio::test]
async fn an_image_is_readable_from_its_checksum_on_and_not_before() {
    let registry = Registry::empty().await;
    let client = &registry.client;
    let image = Image::new(None, "layer");
    let parts = ["json", "layer", "ancestry", "files"];
    let conditional = |part| Sent::get(image.path(part)).header("if-modified-since", "x");
    for part in parts {
        client.exchange(Sent::get(image.path(part))).await.expect_error(404, "Image not found");
        client.exchange(conditional(part)).await.expect_error(404, "Image not found");
    }
    client.exchange(image.put_layer()).await.expect_error(404, "Image not found");
    client.exchange(image.put_checksum()).await.expect_error(404, "Image not found");

    for step in [image.put_json(), image.put_json(), image.put_layer(), image.put_layer()] {
        client.exchange(step).await.expect(200);
        for part in parts {
            let uploading = "Image is being uploaded, retry later";
            client.exchange(Sent::get(image.path(part))).await.expect_error(400, uploading);
            client.exchange(conditional(part)).await.expect_error(400, uploading);
            client.exchange(Sent::new(Method::HEAD, image.path(part))).await.expect(400);
        }
    }
    assert_eq!(registry.stored(&format!("images/{}/_inprogress", image.id)).await.unwrap(), "true");
    client.exchange(image.put_checksum()).await.expect(200);
    assert_eq!(registry.stored(&format!("images/{}/_inprogress", image.id)).await, None);
    for part in ["json", "layer", "ancestry"] {
        client.exchange(Sent::get(image.path(part))).await.expect(200);
        let kept = client.exchange(conditional(part)).await.expect(304);
        assert_eq!((kept.body.len(), kept.header("cache-control")), (0, Some("public, max-age=31536000")));
    }
    client.exchange(image.put_json()).await.expect_error(409, "Image already exists");
    client.exchange(image.put_layer()).await.expect_error(409, "Image already exists");
    client.exchange(image.put_checksum()).await.expect_error(409, "Cannot set this image checksum");
}

#[tokio::test]
async fn a_push_that_begins_while_the_image_is_looked_for_is_not_read() {
    for part in ["json", "ancestry", "layer", "files"] {
        let image = Image::new(None, "layer");
        let storage = memory().await;
        let healthy = Registry::over(storage.clone());
        let slow = Interposed::new(storage, Fault::None);
        let (client, pushed) = (healthy.client.clone(), image.clone());
        let read = if part == "files" { "layer" } else { part };
        slow.before_reading(
            format!("images/{}/{read}", image.id),
            Box::pin(async move {
                client.exchange(pushed.put_json()).await.expect(200);
                client.exchange(pushed.put_layer()).await.expect(200);
            }),
        );
        let slow = Registry::over(slow);
        let uploading = "Image is being uploaded, retry later";
        slow.client.exchange(Sent::get(image.path(part))).await.expect_error(400, uploading);
    }
}

#[tokio::test]
async fn the_store_is_what_0_9_1_would_have_written() {
    let registry = Registry::empty().await;
    let images = three_images();
    docker_push(&registry.client, "a/b/c", "a%20b", &images[..2]).await;
    registry
        .client
        .exchange(Sent::put("/v1/repositories/a/b/c/properties", "{\"access\": \"private\"}"))
        .await
        .expect(200);
    let [root, child] = [&images[0], &images[1]];
    let mut expected: Vec<String> = [root, child]
        .iter()
        .flat_map(|image| {
            ["_checksum", "ancestry", "json", "layer"].map(|file| format!("images/{}/{file}", image.id))
        })
        .chain(
            ["_index_images", "_private", "tag_a+b", "taga+b_json"]
                .map(|file| format!("repositories/a/b%252Fc/{file}")),
        )
        .collect();
    expected.sort();
    assert_eq!(registry.all_paths().await, expected);
    let stored =
        async |path: String| String::from_utf8(registry.stored(&path).await.unwrap().to_vec()).unwrap();
    assert_eq!(stored(format!("images/{}/json", child.id)).await, child.json);
    assert_eq!(stored(format!("images/{}/_checksum", child.id)).await, format!("[\"{}\"]", child.checksum()));
    assert_eq!(
        stored(format!("images/{}/ancestry", child.id)).await,
        format!("[\"{}\", \"{}\"]", child.id, root.id)
    );
    assert_eq!(stored("repositories/a/b%252Fc/tag_a+b".to_owned()).await, child.id);
    assert_eq!(stored("repositories/a/b%252Fc/_private".to_owned()).await, "");
}

#[tokio::test]
async fn a_wrong_checksum_leaves_the_image_in_progress() {
    let registry = Registry::empty().await;
    let image = Image::new(None, "layer");
    registry.client.exchange(image.put_json()).await.expect(200);
    registry.client.exchange(image.put_checksum()).await.expect_error(400, "Image's layer was not uploaded");
    registry.client.exchange(image.put_layer()).await.expect(200);
    for (checksum, error) in [("sha256:00", "Checksum mismatch"), ("", "Missing Image's checksum")] {
        let wrong = image.put_checksum().header("x-docker-checksum-payload", checksum);
        registry.client.exchange(wrong).await.expect_error(400, error);
    }
    let not_text = image.put_checksum().header("x-docker-checksum-payload", b"sha256:\xff");
    registry.client.exchange(not_text).await.expect_error(400, "Checksum mismatch");
    registry.client.exchange(Sent::get(image.path("json"))).await.expect(400);
    registry.client.exchange(image.put_checksum()).await.expect(200);
}

#[tokio::test]
async fn beginning_again_forgets_the_checksum_of_the_try_before() {
    let registry = Registry::empty().await;
    let image = Image::new(None, "layer");
    registry.client.exchange(image.put_json()).await.expect(200);
    registry.client.exchange(image.put_layer()).await.expect(200);
    registry.client.exchange(image.put_json()).await.expect(200);
    registry.client.exchange(image.put_checksum()).await.expect_error(400, "Image's layer was not uploaded");
}

#[tokio::test]
async fn a_layer_that_breaks_off_leaves_nothing_behind() {
    let registry = Registry::empty().await;
    let image = Image::new(None, "a whole layer");
    registry.client.exchange(image.put_json()).await.expect(200);
    let before = registry.all_paths().await;
    for chunks in [vec![], vec![Bytes::from("a wh")], vec![Bytes::from(vec![0; 3 << 20]); 2]] {
        let broken = image.put_layer().body(SentBody::Broken(chunks));
        registry.client.exchange(broken).await.expect_error(400, "The request body ended early");
    }
    let short = image.put_layer().body(SentBody::Sized("a wh".into())).header("content-length", "13");
    registry.client.exchange(short).await.expect_error(400, "The request body ended early");
    assert_eq!(registry.all_paths().await, before);
    assert_eq!(registry.pending_uploads().await, 0);
    registry.client.exchange(image.put_layer()).await.expect(200);
    registry.client.exchange(image.put_checksum()).await.expect(200);
}

#[tokio::test]
async fn a_request_that_is_dropped_discards_its_upload() {
    let registry = Registry::empty().await;
    // A small one would not be an upload.
    let image = Image::new(None, vec![5; 2_000_000]);
    registry.client.exchange(image.put_json()).await.expect(200);
    let mut request = registry.client.request(image.put_layer());
    let begun = Arc::new(tokio::sync::Notify::new());
    let notify = begun.clone();
    let first = futures::stream::iter([Ok(Bytes::from(vec![5; 1_500_000]))]);
    let endless = first.chain(futures::stream::once(async move {
        notify.notify_one();
        futures::future::pending::<Result<Bytes, Error>>().await
    }));
    request.body = Box::pin(endless);
    let api = registry.client.api.clone();
    let upload = tokio::spawn(async move { api.handle(request).await });
    begun.notified().await;
    assert_eq!(registry.pending_uploads().await, 1);
    upload.abort();
    assert!(upload.await.is_err_and(|error| error.is_cancelled()));
    while registry.pending_uploads().await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_layer_does_not_replace_that_of_an_image_completed_meanwhile() {
    let registry = Registry::empty().await;
    let image = Image::new(None, "layer");
    registry.client.exchange(image.put_json()).await.expect(200);
    let (go, waits) = tokio::sync::oneshot::channel::<()>();
    let begun = Arc::new(tokio::sync::Notify::new());
    let notify = begun.clone();
    let mut late = registry.client.request(image.put_layer());
    late.body = Box::pin(futures::stream::once(async move {
        notify.notify_one();
        waits.await.unwrap();
        Ok(Bytes::from("another"))
    }));
    let api = registry.client.api.clone();
    let late = tokio::spawn(async move { api.handle(late).await.status() });
    begun.notified().await;
    registry.client.exchange(image.put_layer()).await.expect(200);
    registry.client.exchange(image.put_checksum()).await.expect(200);
    go.send(()).unwrap();
    assert_eq!(late.await.unwrap(), 409);
    assert_eq!(registry.client.exchange(Sent::get(image.path("layer"))).await.expect(200).body, "layer");
    assert_eq!(registry.pending_uploads().await, 0);
}

#[tokio::test]
async fn every_form_of_range_is_answered() {
    let registry = Registry::empty().await;
    let layer: Bytes = (0..5000).map(|i| (i % 251) as u8).collect();
    let images = [Image::new(None, layer.clone()), Image::new(None, "")];
    docker_push(&registry.client, "x/full", "latest", &images[..1]).await;
    docker_push(&registry.client, "x/empty", "latest", &images[1..]).await;
    let [full, empty] = images;
    let get = async |image: &Image, range: &str| {
        registry.client.exchange(Sent::get(image.path("layer")).header("range", range)).await
    };
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=5-5", 5, 5),
        ("bytes=4999-4999", 4999, 4999),
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, 4999),
        ("bytes=0-", 0, 4999),
        ("bytes=4990-5000", 4990, 4999),
        ("bytes=4990-99999999999999999999", 4990, 4999),
        ("bytes=-500", 4500, 4999),
        ("bytes=-9000", 0, 4999),
    ] {
        let part = get(&full, range).await.expect(206);
        assert_eq!(part.body, layer.slice(first..=last), "{range}");
        assert_eq!(part.header("content-range"), Some(format!("bytes {first}-{last}/5000").as_str()));
        assert_eq!(part.header("cache-control"), Some("public, max-age=31536000"));
    }
    for range in ["bytes=5000-", "bytes=6000-7000", "bytes=50-10", "bytes=-0", "bytes=99999999999999999999-"]
    {
        let nothing = get(&full, range).await.expect(416);
        assert_eq!(
            (nothing.body.len(), nothing.header("content-range")),
            (0, Some("bytes */5000")),
            "{range}"
        );
    }
    for range in ["bytes=a-", "bytes=10", "bytes=0-1,4-5", "items=0-5", "bytes=-", "", "bytes=1 - 2"] {
        assert_eq!(get(&full, range).await.expect(200).body, layer, "{range}");
    }
    for range in ["bytes=0-", "bytes=0-0", "bytes=-5"] {
        assert_eq!(get(&empty, range).await.expect(200).body.len(), 0);
    }
    let other = Sent::get(full.path("layer")).header("range", "bytes=0-9").header("if-range", "\"etag\"");
    assert_eq!(registry.client.exchange(other).await.expect(200).body, layer);
    let same = Sent::get(full.path("layer"))
        .header("range", "bytes=0-9")
        .header("if-range", "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(registry.client.exchange(same).await.expect(206).body, layer.slice(..10));
    let head = Sent::new(Method::HEAD, full.path("layer")).header("range", "bytes=0-9");
    assert_eq!(registry.client.exchange(head).await.expect(200).header("content-length"), Some("5000"));
}

#[tokio::test]
async fn lists_of_images_that_are_pushed_at_once_are_all_merged() {
    // Two handlers over one storage stand for two processes.
    let storage = Interposed::new(memory().await, Fault::None);
    let registries = [Registry::over(storage.clone()), Registry::over(storage)];
    let list = |number: usize| json!([{ "id": format!("{number:016x}") }]).to_string();
    let pushes = (0..60).map(|number| {
        let put = Sent::put("/v1/repositories/team/app/", list(number));
        let client = &registries[number % 2].client;
        async move { client.exchange(put).await.expect(200) }
    });
    futures::future::join_all(pushes).await;
    let images =
        registries[0].client.exchange(Sent::get("/v1/repositories/team/app/images")).await.expect(200);
    let images: Vec<Value> = serde_json::from_slice(&images.body).unwrap();
    let mut ids: Vec<&str> = images.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..60).map(|number| format!("{number:016x}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tag_that_begins_with_an_underscore_makes_no_other_tag() {
    let registry = Registry::empty().await;
    let images = three_images();
    docker_push(&registry.client, "team/app", "_valid", &images[..1]).await;
    let tags = async || {
        registry.client.exchange(Sent::get("/v1/repositories/team/app/tags")).await.expect(200).text()
    };
    let only = format!("{{\"_valid\": \"{}\"}}", images[0].id);
    assert_eq!(tags().await, only);
    // 0.9.1 wrote the metadata of `_valid` where the tag `valid_json` belongs.
    registry.client.exchange(put_tag("team/app", "valid_json", &images[0])).await.expect(200);
    registry.client.exchange(put_tag("team/app", "_valid", &images[0])).await.expect(200);
    assert_eq!(tags().await, format!("{{\"_valid\": \"{0}\", \"valid_json\": \"{0}\"}}", images[0].id));
    registry.client.exchange(Sent::delete("/v1/repositories/team/app/tags/_valid")).await.expect(200);
    assert_eq!(tags().await, format!("{{\"valid_json\": \"{}\"}}", images[0].id));
}

#[tokio::test]
async fn a_repository_goes_with_all_its_tags_and_without_its_images() {
    let registry = Registry::empty().await;
    let images = three_images();
    docker_push(&registry.client, "team/app", "latest", &images).await;
    docker_push(&registry.client, "team/app2", "latest", &images).await;
    registry.client.exchange(Sent::delete("/v1/repositories/team/app/")).await.expect(200);
    registry
        .client
        .exchange(Sent::delete("/v1/repositories/team/app/"))
        .await
        .expect_error(404, "Repository not found");
    registry
        .client
        .exchange(Sent::get("/v1/repositories/team/app/tags"))
        .await
        .expect_error(404, "Repository not found");
    registry
        .client
        .exchange(Sent::get("/v1/repositories/team/app/images"))
        .await
        .expect_error(404, "images not found");
    registry.client.exchange(Sent::get("/v1/repositories/team/app2/tags/latest")).await.expect(200);
    registry.client.exchange(Sent::get(images[0].path("json"))).await.expect(200);
}

#[tokio::test]
async fn without_standalone_everything_but_the_greeting_needs_permission() {
    let storage = memory().await;
    let images = three_images();
    docker_push(&Registry::over(storage.clone()).client, "team/app", "latest", &images).await;
    let settings =
        V1Settings { standalone: false, debug: true, flavor: "prod".to_owned(), ..V1Settings::default() };
    let closed = Registry::with_settings(storage.clone(), settings.clone());
    let ping = closed.client.exchange(Sent::get("/v1/_ping")).await.expect(200);
    assert_eq!(ping.header("x-docker-registry-standalone"), Some("False"));
    assert_eq!(ping.header("x-docker-registry-config"), Some("prod"));
    assert!(ping.text().starts_with("{\"versions\": {\"docker-registry\": "));
    for target in
        [images[0].path("json"), images[0].path("layer"), "/v1/repositories/team/app/tags".to_owned()]
    {
        let refused = closed.client.exchange(Sent::get(target)).await;
        assert_eq!(refused.header("www-authenticate"), Some("Token"));
        refused.expect_error(401, "Requires authorization");
    }
    closed.client.exchange(Sent::get("/v1/repositories/team/app/images")).await.expect(404);
    closed.client.exchange(Sent::get("/v1/users/")).await.expect(404);
    let put = closed.client.exchange(Sent::put("/v1/repositories/team/app/", "[]")).await.expect(405);
    assert_eq!(put.header("allow"), Some("OPTIONS, DELETE"));

    let open = Registry::with_settings(storage, V1Settings { disable_token_auth: true, ..settings });
    open.client.exchange(Sent::get(images[0].path("layer"))).await.expect(200);
}

#[tokio::test]
async fn endpoints_are_what_the_operator_says() {
    let endpoints = Some("a.test,b.test".to_owned());
    let settings = V1Settings { registry_endpoints: endpoints, ..V1Settings::default() };
    let registry = Registry::with_settings(memory().await, settings);
    let put = registry.client.exchange(Sent::put("/v1/repositories/x/", "[]")).await.expect(200);
    assert_eq!(put.header("x-docker-endpoints"), Some("a.test,b.test"));
    let put =
        Registry::empty().await.client.exchange(Sent::put("/v1/repositories/x/", "[]")).await.expect(200);
    assert_eq!(put.header("x-docker-endpoints"), Some("registry.test:5000"));
}

#[tokio::test]
async fn search_without_an_index_finds_nothing() {
    let registry = Registry::empty().await;
    let found = registry.client.exchange(Sent::get("/v1/search?n=1&q=caf%C3%A9+x%25")).await.expect(200);
    assert_eq!(found.text(), r#"{"num_results": 0, "query": "caf\u00e9 x%", "results": []}"#);
}

/// Listing a layer takes a thread and much memory, so that many who ask at once must wait in turn; and who
/// has waited finds the list that another one has stored.
#[tokio::test]
async fn of_many_that_ask_for_a_list_of_files_few_make_it_and_all_read_it() {
    let storage = memory().await;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("etc/hosts").unwrap();
    header.set_size(3);
    header.set_mode(0o600);
    header.set_cksum();
    archive.append(&header, &b"abc"[..]).unwrap();
    let image = Image::new(None, archive.into_inner().unwrap());
    docker_push(&Registry::over(storage.clone()).client, "foo/bar", "latest", std::slice::from_ref(&image))
        .await;

    let slow = Interposed::new(storage, Fault::None);
    let registry = Registry::over(slow.clone());
    let requests = (0..10).map(|_| async {
        let client = &registry.client;
        let response = client.api.handle(client.request(Sent::get(image.path("files")))).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        let ResponseBody::Reading(list) = response.into_body() else { panic!("a list is held in memory") };
        assert_eq!(list.length, 44);
    });
    futures::future::join_all(requests).await;
    assert!((1..=2).contains(&slow.writes()), "{} lists were made", slow.writes());
    let list = registry.client.exchange(Sent::get(image.path("files"))).await.expect(200);
    assert_eq!(list.text(), r#"[["etc/hosts", "f", false, 3, 0, 384, 0, 0]]"#);
}

/// A store that cannot be written is no reason to keep a list from who asks for it.
#[tokio::test]
async fn a_list_of_files_that_cannot_be_stored_is_answered_all_the_same() {
    let storage = memory().await;
    let layer = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let image = Image::new(None, layer);
    docker_push(&Registry::over(storage.clone()).client, "foo/bar", "latest", std::slice::from_ref(&image))
        .await;
    let registry = Registry::over(Interposed::new(storage, Fault::Refused(0)));
    let path = format!("images/{}/_files", image.id);
    for stored in [None, Some(Bytes::from("[]"))] {
        let list = registry.client.exchange(Sent::get(image.path("files"))).await.expect(200);
        assert_eq!((list.text(), list.header("content-type")), ("[]".to_owned(), Some("application/json")));
        assert_eq!(registry.stored(&path).await, stored);
    }
}
