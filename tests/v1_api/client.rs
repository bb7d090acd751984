//! Docker 1.x as a V1 client: the requests of `docker push` and `docker pull` in their order, with their
//! headers, over any [`Transport`].

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::futures::future::join_all;
use docker_registry_tests::content::digest;
use serde_json::{Value, json};

use crate::{
    interposed::{Fault, Interposed},
    registry::{Registry, memory},
    transport::{Received, Sent, SentBody, Transport},
};

const USER_AGENT: &str = "docker/1.6.2 go/go1.4.2 git-commit/7c8fca2 kernel/3.16.0 os/linux arch/amd64";
/// Lookups that docker makes at the same time.
const PARALLEL_LOOKUPS: usize = 5;

/// An image: its JSON and its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) json: String,
    pub(crate) layer: Bytes,
}

impl Image {
    /// An image with this layer on top of `parent`. Its id is new for each layer and parent.
    pub(crate) fn new(parent: Option<&Image>, layer: impl Into<Bytes>) -> Self {
        let layer = layer.into();
        let below = parent.map_or("", |parent| parent.id.as_str());
        let id = digest(&[below.as_bytes(), &layer].concat())["sha256:".len()..].to_owned();
        let mut json = json!({ "id": id, "created": "2015-01-01T00:00:00Z", "Size": layer.len() });
        if let Some(parent) = parent {
            json["parent"] = json!(parent.id);
        }
        Self { id, json: json.to_string(), layer }
    }

    /// `sha256:` over the JSON, a line break and the layer.
    pub(crate) fn checksum(&self) -> String {
        digest(&[self.json.as_bytes(), b"\n", &self.layer].concat())
    }

    pub(crate) fn path(&self, part: &str) -> String {
        format!("/v1/images/{}/{part}", self.id)
    }

    pub(crate) fn put_json(&self) -> Sent {
        // Docker 1.x names no type for it that would matter; this is what curl says.
        Sent::put(self.path("json"), self.json.clone())
            .header("user-agent", USER_AGENT)
            .header("content-type", "application/x-www-form-urlencoded")
    }

    pub(crate) fn put_layer(&self) -> Sent {
        let chunks = self.layer.chunks(32 * 1024).map(Bytes::copy_from_slice).collect();
        Sent::put(self.path("layer"), "")
            .header("user-agent", USER_AGENT)
            .header("content-type", "application/octet-stream")
            .body(SentBody::Chunked(chunks))
    }

    pub(crate) fn put_checksum(&self) -> Sent {
        Sent::put(self.path("checksum"), "")
            .header("user-agent", USER_AGENT)
            .header("x-docker-checksum", "tarsum+sha256:0")
            .header("x-docker-checksum-payload", self.checksum())
    }
}

/// Three images, the root first.
pub(crate) fn three_images() -> Vec<Image> {
    let root = Image::new(None, vec![1; 100_000]);
    let middle = Image::new(Some(&root), Bytes::new());
    let top = Image::new(Some(&middle), (0..3_000_000_u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    vec![root, middle, top]
}

pub(crate) fn put_tag(repository: &str, tag: &str, image: &Image) -> Sent {
    Sent::put(format!("/v1/repositories/{repository}/tags/{tag}"), format!("\"{}\"", image.id))
        .header("user-agent", USER_AGENT)
}

/// Which images a push found in the registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) skipped: Vec<String>,
    pub(crate) sent: Vec<String>,
}

/// `docker push HOST/repository:tag` of images, the root first.
pub(crate) async fn docker_push(
    client: &impl Transport,
    repository: &str,
    tag: &str,
    images: &[Image],
) -> Pushed {
    let ping = client.exchange(Sent::get("/v1/_ping").header("user-agent", USER_AGENT)).await.expect(200);
    assert_eq!(ping.header("x-docker-registry-standalone"), Some("True"));
    assert!(ping.header("x-docker-registry-version").is_some());

    let top = images.last().expect("a push has images");
    let index: Vec<Value> = images
        .iter()
        .map(|image| json!({ "id": image.id, "Tag": if image == top { tag } else { "" } }))
        .collect();
    let announced = Sent::put(format!("/v1/repositories/{repository}/"), json!(index).to_string())
        .header("user-agent", USER_AGENT)
        .header("x-docker-token", "true")
        .header("content-type", "application/json");
    let announced = client.exchange(announced).await.expect(200);
    let endpoints =
        announced.header("x-docker-endpoints").expect("docker gives up without endpoints").to_owned();
    assert!(announced.header("x-docker-token").is_some_and(|token| token.ends_with("access=write")));

    let mut missing = Vec::new();
    let mut skipped = Vec::new();
    for group in images.chunks(PARALLEL_LOOKUPS) {
        let lookups = group.iter().map(|image| client.exchange(Sent::get(image.path("json"))));
        for (image, found) in group.iter().zip(join_all(lookups).await) {
            if found.status == 200 { skipped.push(image.id.clone()) } else { missing.push(image) }
        }
    }
    let mut sent = Vec::new();
    for image in missing {
        let json = client.exchange(image.put_json()).await;
        if json.status == 409 && json.text().contains("Image already exists") {
            skipped.push(image.id.clone());
            continue;
        }
        assert_eq!(json.expect(200).text(), "true");
        client.exchange(image.put_layer()).await.expect(200);
        client.exchange(image.put_checksum()).await.expect(200);
        sent.push(image.id.clone());
    }
    let tagged = client.exchange(put_tag(repository, tag, top)).await.expect(200);
    assert_eq!(tagged.text(), "true");
    let ended = Sent::put(format!("/v1/repositories/{repository}/images"), "[]")
        .header("user-agent", USER_AGENT)
        .header("x-docker-endpoints", endpoints);
    client.exchange(ended).await.expect(204);
    Pushed { skipped, sent }
}

/// `docker pull HOST/repository`, all tags: the images of each tag, the root first.
pub(crate) async fn docker_pull(client: &impl Transport, repository: &str) -> BTreeMap<String, Vec<Image>> {
    client.exchange(Sent::get("/v1/_ping")).await.expect(200);
    let index = Sent::get(format!("/v1/repositories/{repository}/images")).header("x-docker-token", "true");
    let index = client.exchange(index).await.expect(200);
    assert!(index.header("x-docker-endpoints").is_some());
    let index: Vec<Value> = serde_json::from_slice(&index.body).unwrap();
    let known: Vec<&str> = index.iter().map(|entry| entry["id"].as_str().unwrap()).collect();

    let tags = client.exchange(Sent::get(format!("/v1/repositories/{repository}/tags"))).await.expect(200);
    let tags: BTreeMap<String, String> = serde_json::from_slice(&tags.body).unwrap();
    let mut pulled = BTreeMap::new();
    for (tag, id) in tags {
        assert!(known.contains(&id.as_str()), "a tag outside of the index");
        let ancestry = client.exchange(Sent::get(format!("/v1/images/{id}/ancestry"))).await.expect(200);
        let ancestry: Vec<String> = serde_json::from_slice(&ancestry.body).unwrap();
        let mut images = Vec::new();
        for id in ancestry.into_iter().rev() {
            images.push(pull_image(client, id).await);
        }
        pulled.insert(tag, images);
    }
    pulled
}

async fn pull_image(client: &impl Transport, id: String) -> Image {
    let json = client.exchange(Sent::get(format!("/v1/images/{id}/json"))).await.expect(200);
    let layer = client.exchange(Sent::get(format!("/v1/images/{id}/layer"))).await.expect(200);
    // Docker resumes only when both are there.
    assert_eq!(json.header("x-docker-size"), Some(layer.body.len().to_string().as_str()));
    assert_eq!(layer.header("accept-ranges"), Some("bytes"));
    let image = Image { id, json: json.text(), layer: layer.body };
    assert_eq!(json.header("x-docker-checksum-payload"), Some(image.checksum().as_str()));
    image
}

/// The rest of a download that stopped after `have` bytes, as docker asks for it: the last byte that it
/// names is one past the end.
async fn resume_layer(client: &impl Transport, image: &Image, have: usize) -> Received {
    let range = format!("bytes={have}-{}", image.layer.len());
    client.exchange(Sent::get(image.path("layer")).header("range", range)).await
}

#[tokio::test]
async fn docker_pushes_three_images_and_pulls_them_back() {
    let registry = Registry::empty().await;
    let images = three_images();
    let ids: Vec<String> = images.iter().map(|image| image.id.clone()).collect();
    let pushed = docker_push(&registry.client, "team/app", "latest", &images).await;
    assert_eq!(pushed, Pushed { skipped: vec![], sent: ids.clone() });
    assert_eq!(
        docker_pull(&registry.client, "team/app").await,
        [("latest".to_owned(), images.clone())].into()
    );

    // The second push finds everything; a child of what is there is all that is sent.
    let again = docker_push(&registry.client, "team/app", "v2", &images).await;
    assert_eq!(again, Pushed { skipped: ids.clone(), sent: vec![] });
    let child = Image::new(Some(&images[2]), "child");
    let more = [images.clone(), vec![child.clone()]].concat();
    let pushed = docker_push(&registry.client, "single", "latest", &more).await;
    assert_eq!(pushed, Pushed { skipped: ids, sent: vec![child.id] });
    assert_eq!(docker_pull(&registry.client, "library/single").await, [("latest".to_owned(), more)].into());
    assert_eq!(registry.pending_uploads().await, 0);
}

#[tokio::test]
async fn docker_resumes_a_download() {
    let registry = Registry::empty().await;
    let images = three_images();
    docker_push(&registry.client, "team/app", "latest", &images).await;
    let top = &images[2];
    for have in [1, 1_234_567, top.layer.len() - 1] {
        let rest = resume_layer(&registry.client, top, have).await.expect(206);
        assert_eq!(rest.body, top.layer.slice(have..));
        let range = format!("bytes {have}-{}/{}", top.layer.len() - 1, top.layer.len());
        assert_eq!(rest.header("content-range"), Some(range.as_str()));
    }
    // Nothing is left to have. Docker takes 416 as the end.
    resume_layer(&registry.client, top, top.layer.len()).await.expect(416);
}

#[tokio::test]
async fn many_push_the_same_images_at_once() {
    let registry = Registry::over(Interposed::new(memory().await, Fault::None));
    let images = three_images();
    let names: Vec<String> = (0..8).map(|number| format!("team/app{number}")).collect();
    // All that matters is that whoever is told "done" is right, so that failures are tried again; each after pauses of its
    // own, for in lockstep all of them would begin each image anew for ever.
    let pushes = names.iter().zip(1..).map(async |(name, number)| {
        for image in &images {
            for pause in (0..).step_by(number) {
                assert!(pause < 100 * number, "{name} never comes to an end");
                tokio::time::sleep(Duration::from_millis(pause as u64)).await;
                let json = registry.client.exchange(image.put_json()).await;
                if json.status == 409 {
                    break;
                }
                let layer = registry.client.exchange(image.put_layer()).await;
                let checksum = registry.client.exchange(image.put_checksum()).await;
                if json.status == 200 && layer.status == 200 && checksum.status == 200 {
                    break;
                }
            }
        }
        docker_push(&registry.client, name, "latest", &images).await;
    });
    join_all(pushes).await;
    for name in &names {
        assert_eq!(docker_pull(&registry.client, name).await["latest"], images);
    }
    assert_eq!(registry.pending_uploads().await, 0);
}
