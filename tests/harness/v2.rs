//! The steps of a V2 client, one function each, and the check that a repository holds what it says.

use serde_json::{Value, json};

use crate::content::{Content, Hasher, digest};
use crate::http::{Client, Length, Response};

/// The media type of the manifests made here.
pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Every kind of manifest that is asked for.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// Opens an upload. Returns where its content goes.
#[track_caller]
pub fn open_upload(client: &Client, repository: &str) -> String {
    client.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"").expect(202).location()
}

/// The target that completes an upload.
pub fn completion(location: &str, digest: &str) -> String {
    format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' })
}

/// Pushes a blob with POST and PUT. Returns its digest.
#[track_caller]
pub fn push_blob(client: &Client, repository: &str, content: &[u8]) -> String {
    let digest = digest(content);
    let location = open_upload(client, repository);
    client.send("PUT", &completion(&location, &digest), &[OCTETS], content).expect(201);
    digest
}

/// Sends content of this seed and size to an upload, without having it whole in memory. Returns where the upload goes
/// on.
#[track_caller]
pub fn stream_blob(client: &Client, location: &str, seed: u64, size: u64) -> String {
    let mut connection = client.connect().expect("a connection");
    connection.begin("PATCH", location, &[OCTETS], Length::Known(size)).expect("it takes the request");
    let mut content = Content::new(seed, size);
    loop {
        let piece = content.piece();
        if piece.is_empty() {
            break;
        }
        connection.write(piece).expect("it takes the content");
    }
    connection.finish(false).expect("it answers").expect(202).location()
}

/// The type of every blob that is sent.
pub const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// The text of a manifest over blobs of these digests and sizes; the first is the image configuration.
pub fn manifest(blobs: &[(String, u64)]) -> String {
    manifest_with_note(blobs, "")
}

/// Like [`manifest`], with a note that makes manifests over the same blobs differ.
pub fn manifest_with_note(blobs: &[(String, u64)], note: &str) -> String {
    let descriptor = |kind: &str, (digest, size): &(String, u64)| json!({"mediaType": format!("application/vnd.docker.{kind}"), "digest": digest, "size": size});
    let layers: Vec<Value> =
        blobs[1..].iter().map(|blob| descriptor("image.rootfs.diff.tar.gzip", blob)).collect();
    let configuration = descriptor("container.image.v1+json", &blobs[0]);
    let annotations = json!({"note": note});
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": configuration,
        "layers": layers,
        "annotations": annotations,
    })
    .to_string()
}

/// Pushes a manifest made by [`manifest`].
#[track_caller]
pub fn push_manifest(client: &Client, repository: &str, reference: &str, manifest: &str) -> Response {
    let target = format!("/v2/{repository}/manifests/{reference}");
    client.send("PUT", &target, &[("Content-Type", MANIFEST)], manifest.as_bytes())
}

/// Fetches a manifest by tag or digest, whatever its kind.
#[track_caller]
pub fn get_manifest(client: &Client, repository: &str, reference: &str) -> Response {
    client.send("GET", &format!("/v2/{repository}/manifests/{reference}"), &[("Accept", ACCEPT)], b"")
}

/// What the registry has under a blob's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// GET and HEAD both say that there is no such blob.
    Absent,
    /// GET and HEAD agree, and the bytes match the digest. Their number.
    Whole(u64),
}

/// Looks a blob up and reads it.
///
/// # Panics
/// When it is neither absent nor whole, which must never be.
#[track_caller]
pub fn look_up_blob(client: &Client, repository: &str, digest: &str) -> Presence {
    let target = format!("/v2/{repository}/blobs/{digest}");
    let head = client.head(&target);
    let (mut hasher, mut size) = (Hasher::default(), 0);
    let answer = client.download(&target, &mut |bytes| {
        hasher.update(bytes);
        size += bytes.len() as u64;
    });
    assert_eq!(head.status, answer.status, "HEAD and GET of {target} disagree");
    match answer.status {
        404 => Presence::Absent,
        200 => {
            assert_eq!(hasher.finish(), digest, "{target} has other bytes");
            assert_eq!(
                head.header("content-length"),
                Some(size.to_string().as_str()),
                "the size in HEAD {target}"
            );
            Presence::Whole(size)
        }
        status => panic!("GET {target}: {status}"),
    }
}

/// Reads a manifest and everything below it, and compares each digest. Returns the digests, the manifest's first.
#[track_caller]
pub fn verify(client: &Client, repository: &str, reference: &str) -> Vec<String> {
    let answer = get_manifest(client, repository, reference).expect(200);
    let found = digest(&answer.body);
    assert_eq!(answer.header("docker-content-digest"), Some(found.as_str()), "{repository}:{reference}");
    if reference.contains(':') {
        assert_eq!(reference, found, "the manifest has other bytes");
    }
    let manifest: Value = serde_json::from_slice(&answer.body).expect("a manifest is JSON");
    let listed = |key: &str| {
        let entries = manifest[key].as_array().into_iter().flatten();
        let digests = entries.map(|entry| entry["digest"].as_str().expect("a digest").to_owned());
        digests.collect::<Vec<String>>()
    };
    let mut digests = vec![found];
    for child in listed("manifests") {
        digests.extend(verify(client, repository, &child));
    }
    let configuration = manifest["config"]["digest"].as_str().map(str::to_owned);
    for blob in configuration.into_iter().chain(listed("layers")) {
        let presence = look_up_blob(client, repository, &blob);
        assert_ne!(presence, Presence::Absent, "{repository}:{reference} names a missing blob {blob}");
        digests.push(blob);
    }
    digests
}

/// The tags of a repository; none when the repository is unknown.
#[track_caller]
pub fn tags(client: &Client, repository: &str) -> Vec<String> {
    let answer = client.get(&format!("/v2/{repository}/tags/list?n=1000"));
    if answer.status == 404 {
        return Vec::new();
    }
    let list: Value = serde_json::from_slice(&answer.expect(200).body).expect("the list is JSON");
    let tags = list["tags"].as_array().into_iter().flatten();
    tags.map(|tag| tag.as_str().expect("a tag is text").to_owned()).collect()
}

/// How many bytes an upload has received, by its own account. `None` when the registry does not know it any more.
#[track_caller]
pub fn received(client: &Client, location: &str) -> Option<(u64, String)> {
    let status = client.get(location);
    if status.status == 404 {
        return None;
    }
    let status = status.expect(204);
    let range = status.header("range").expect("an upload's status has a Range").to_owned();
    let last = range.trim_start_matches("bytes=").split_once('-').expect("Range is FIRST-LAST").1;
    let last: u64 = last.parse().expect("LAST is a number");
    // An empty upload and one of a single byte both answer 0-0, which is a hole of the specification. The tests
    // never stop after one byte.
    Some((if last == 0 { 0 } else { last + 1 }, status.location()))
}
