//! The steps of a V1 client (docker 1.x), as `docker push` and `docker pull` of that time took them.

use serde_json::{Value, json};

use crate::content::{Hasher, digest};
use crate::http::{Client, Connection, Length, Response};

/// A V1 image: one layer and the JSON that describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The description, exactly as it is sent.
    pub json: String,
    /// The layer.
    pub layer: Vec<u8>,
}

impl Image {
    /// An image on top of `parent`.
    pub fn new(parent: Option<&Image>, layer: Vec<u8>) -> Image {
        let id = digest(&layer)["sha256:".len()..].to_owned();
        let mut json = json!({"id": id, "created": "2014-01-01T00:00:00Z", "os": "linux"});
        if let Some(parent) = parent {
            json["parent"] = json!(parent.id);
        }
        Image { id, json: json.to_string(), layer }
    }

    /// What docker sends as `X-Docker-Checksum-Payload`: over the description, a line feed and the layer.
    pub fn checksum(&self) -> String {
        let mut hasher = Hasher::default();
        hasher.update(self.json.as_bytes());
        hasher.update(b"\n");
        hasher.update(&self.layer);
        hasher.finish()
    }

    /// The path of one of its parts: `json`, `layer`, `checksum` or `ancestry`.
    pub fn path(&self, part: &str) -> String {
        format!("/v1/images/{}/{part}", self.id)
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Announces the images of a repository, lowest first.
#[track_caller]
pub fn announce(client: &Client, repository: &str, images: &[&Image]) {
    let list: Vec<Value> = images.iter().map(|image| json!({"id": image.id})).collect();
    let headers = [JSON, ("X-Docker-Token", "true")];
    let target = format!("/v1/repositories/{repository}/");
    let answer = client.send("PUT", &target, &headers, json!(list).to_string().as_bytes()).expect(200);
    assert!(answer.header("x-docker-endpoints").is_some_and(|endpoints| !endpoints.is_empty()));
}

/// Sends an image's description.
#[track_caller]
pub fn put_json(client: &Client, image: &Image) -> Response {
    client.send("PUT", &image.path("json"), &[JSON], image.json.as_bytes())
}

/// Opens the request for an image's layer, whose body follows in chunks.
pub fn begin_layer(client: &Client, image: &Image) -> std::io::Result<Connection> {
    let mut connection = client.connect()?;
    announce_layer(&mut connection, image)?;
    Ok(connection)
}

fn announce_layer(connection: &mut Connection, image: &Image) -> std::io::Result<()> {
    connection.begin("PUT", &image.path("layer"), &[super::v2::OCTETS], Length::Chunked)
}

/// Sends an image's layer.
#[track_caller]
pub fn put_layer(client: &Client, image: &Image) -> Response {
    let sent = client.connect().and_then(|mut connection| send_layer(&mut connection, image));
    sent.unwrap_or_else(|error| panic!("the layer of {}: {error}", image.id))
}

fn send_layer(connection: &mut Connection, image: &Image) -> std::io::Result<Response> {
    announce_layer(connection, image)?;
    for piece in image.layer.chunks(64 * 1024) {
        connection.write_chunk(piece)?;
    }
    connection.write_chunk(b"")?;
    connection.finish(false)
}

/// Pushes an image on one connection: its description, its layer and its checksum, which is computed before.
pub fn push_image(connection: &mut Connection, image: &Image, checksum: &str) -> std::io::Result<()> {
    connection.send("PUT", &image.path("json"), &[JSON], image.json.as_bytes())?.expect(200);
    send_layer(connection, image)?.expect(200);
    let headers = [("X-Docker-Checksum-Payload", checksum)];
    connection.send("PUT", &image.path("checksum"), &headers, b"")?.expect(200);
    Ok(())
}

/// Confirms an image with its checksum. From then on it is complete.
#[track_caller]
pub fn put_checksum(client: &Client, image: &Image) -> Response {
    let checksum = image.checksum();
    let headers =
        [("X-Docker-Checksum", "tarsum+sha256:0"), ("X-Docker-Checksum-Payload", checksum.as_str())];
    client.send("PUT", &image.path("checksum"), &headers, b"")
}

/// Names an image.
#[track_caller]
pub fn put_tag(client: &Client, repository: &str, tag: &str, image: &Image) -> Response {
    let target = format!("/v1/repositories/{repository}/tags/{tag}");
    client.send("PUT", &target, &[JSON], json!(image.id).to_string().as_bytes())
}

/// Ends a push.
#[track_caller]
pub fn confirm(client: &Client, repository: &str) {
    let headers = [JSON, ("X-Docker-Endpoints", "localhost")];
    client.send("PUT", &format!("/v1/repositories/{repository}/images"), &headers, b"[]").expect(204);
}

/// Pushes the images that are not there yet, lowest first, and tags the last.
#[track_caller]
pub fn push(client: &Client, repository: &str, tag: &str, images: &[&Image]) {
    client.get("/v1/_ping").expect(200);
    announce(client, repository, images);
    for image in images {
        if client.get(&image.path("json")).status == 200 {
            continue;
        }
        put_json(client, image).expect(200);
        put_layer(client, image).expect(200);
        put_checksum(client, image).expect(200);
    }
    put_tag(client, repository, tag, images.last().expect("a push has images")).expect(200);
    confirm(client, repository);
}

/// Pulls a tag and compares everything with the images that were pushed, lowest first.
#[track_caller]
pub fn verify(client: &Client, repository: &str, tag: &str, images: &[&Image]) {
    client.get(&format!("/v1/repositories/{repository}/images")).expect(200);
    let tagged = client.get(&format!("/v1/repositories/{repository}/tags/{tag}")).expect(200);
    let last = images.last().expect("a push has images");
    assert_eq!(tagged.text().trim(), format!("\"{}\"", last.id));
    let ancestry: Vec<String> = serde_json::from_slice(&client.get(&last.path("ancestry")).expect(200).body)
        .expect("ancestry is a list");
    let expected: Vec<&String> = images.iter().rev().map(|image| &image.id).collect();
    assert_eq!(ancestry.iter().collect::<Vec<_>>(), expected, "ancestry is nearest first");
    for image in images {
        verify_image(client, image);
    }
}

/// Checks a complete image.
#[track_caller]
pub fn verify_image(client: &Client, image: &Image) {
    assert_eq!(client.get(&image.path("json")).expect(200).text(), image.json);
    let layer = client.get(&image.path("layer")).expect(200);
    assert_eq!(digest(&layer.body), digest(&image.layer), "the layer of {} has other bytes", image.id);
}
