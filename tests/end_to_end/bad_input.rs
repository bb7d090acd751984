//! What clients do wrong gets the protocol's error: never a 5xx, and nothing is left in the storage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use docker_registry_tests::{
    content::digest,
    http::{Client, Length},
    process::wait_for,
    server::{Product, Server},
    v2,
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

fn ours() -> Option<Server> {
    (Product::under_test() == Product::Ours).then(Server::start)
}

/// Every object in the storage, and every upload that holds bytes.
fn left_behind(server: &Server) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                below(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let (root, mut found) = (server.place().storage(), Vec::new());
    below(&root, &mut found);
    // Locks are the driver's own and hold nothing of a client.
    found.retain(|path| {
        let inside = path.strip_prefix(&root).expect("a path in the storage");
        !inside.starts_with(".docker-registry/locks") && inside.file_name().is_some_and(|name| name != "lock")
    });
    found
}

fn assert_clean(server: &Server) {
    wait_for("nothing is left in the storage", std::time::Duration::from_secs(10), || {
        left_behind(server).is_empty().then_some(())
    });
    let log = server.process().log();
    assert!(!log.contains(" ERROR "), "the log has an error:\n{log}");
    assert!(!log.contains("panicked"), "something panicked:\n{log}");
    server.client().get("/v2/").expect(200);
}

/// Sends a request and checks status and error code; an empty code stands for any body.
#[track_caller]
fn refused(
    client: &Client,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    status: u16,
    code: &str,
) {
    let answer = client.send(method, target, headers, body);
    assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
    assert!(method == "HEAD" || answer.text().contains(code), "{method} {target}: {}", answer.text());
}

#[test]
fn names_digests_and_uploads_that_cannot_be() {
    let Some(server) = ours() else { return };
    let client = server.client();
    let long = "a".repeat(300);
    let deep = "a/".repeat(4000) + "a";
    for name in ["%2e%2e", "..%2f..%2fetc", "a%00b", "a%0d%0ab", "UPPER", "a//b", "-a", "a..b", &long, &deep]
    {
        for rest in ["manifests/latest", "blobs/uploads/", "tags/list"] {
            let method = if rest.ends_with('/') { "POST" } else { "GET" };
            let answer = client.send(method, &format!("/v2/{name}/{rest}"), &[], b"");
            assert!(
                matches!(answer.status, 400 | 404 | 405),
                "{name}/{rest}: {} {}",
                answer.status,
                answer.text()
            );
            assert!(answer.text().contains("\"errors\""), "{name}/{rest}: {}", answer.text());
        }
    }
    for digest in ["sha256:short", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:..%2f..%2f", "%00"] {
        refused(&client, "GET", &format!("/v2/a/blobs/{digest}"), &[], b"", 400, "DIGEST_INVALID");
    }
    for id in ["none", "00000000-0000-4000-8000-000000000000", "..%2f..", "%00"] {
        for method in ["GET", "PATCH", "PUT", "DELETE"] {
            let target = format!("/v2/a/blobs/uploads/{id}?digest={}", digest(b""));
            let answer = client.send(method, &target, &[OCTETS], b"");
            assert_eq!(answer.status, 404, "{method} {target}: {}", answer.text());
            assert!(answer.text().contains("BLOB_UPLOAD_UNKNOWN"), "{}", answer.text());
        }
    }
    for target in ["/v1/images/..%2f..%2fetc/json", "/v1/images/%00/layer", "/v1/images/xyz/ancestry"] {
        let answer = client.get(target);
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
    }
    for name in ["%00/a", "a/%0a", &format!("a/{}", "b".repeat(2000))] {
        let answer = client.send("PUT", &format!("/v1/repositories/{name}/"), &[], b"[]");
        assert!((400..500).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
    }
    assert_clean(&server);
}

#[test]
fn wrong_digests_lengths_and_broken_bodies_leave_nothing() {
    let Some(server) = ours() else { return };
    let client = server.client();
    let (content, other) = (vec![7_u8; 2_000_000], digest(b"other"));
    let uploads = "/v2/a/blobs/uploads/";
    // The digest is another's: at once, and at the end of an upload.
    refused(
        &client,
        "POST",
        &format!("{uploads}?digest={other}"),
        &[OCTETS],
        &content,
        400,
        "DIGEST_INVALID",
    );
    let location = v2::open_upload(&client, "a");
    client.send("PATCH", &location, &[OCTETS], &content).expect(202);
    refused(&client, "PUT", &v2::completion(&location, &other), &[OCTETS], b"", 400, "DIGEST_INVALID");
    // Chunks that do not follow each other, and a range that is none.
    let location = v2::open_upload(&client, "a");
    for (range, status) in [("10-19", 416), ("0-5", 400), ("9-0", 400), ("nonsense", 400)] {
        let answer = client.send("PATCH", &location, &[OCTETS, ("Content-Range", range)], &[1; 10]);
        assert_eq!(answer.status, status, "{range}: {}", answer.text());
    }
    client.send("DELETE", &location, &[], b"").expect(204);
    // Bodies that end early: the connection goes, the server keeps nothing of a push in one request.
    for length in [Length::Known(content.len() as u64), Length::Chunked] {
        let mut connection = client.connect().expect("a connection");
        let target = format!("{uploads}?digest={}", digest(&content));
        connection.begin("POST", &target, &[OCTETS], length).expect("a request");
        match length {
            Length::Known(_) => connection.write(&content[..1_000_000]).expect("half a body"),
            Length::Chunked => connection.write_chunk(&content[..1_000_000]).expect("a chunk"),
        }
        drop(connection);
    }
    // A chunked body whose framing breaks.
    let mut connection = client.connect().expect("a connection");
    connection
        .begin("POST", &format!("{uploads}?digest={other}"), &[OCTETS], Length::Chunked)
        .expect("a request");
    connection.write(b"zz\r\nnot a chunk\r\n").expect("bytes");
    if let Ok(answer) = connection.finish(false) {
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    assert_clean(&server);
}

#[test]
fn manifests_that_cannot_be_kept() {
    let Some(server) = ours() else { return };
    let client = server.client();
    let target = "/v2/a/manifests/latest";
    let put = |media_type: &str, body: &[u8], status: u16, code: &str| {
        refused(&client, "PUT", target, &[("Content-Type", media_type)], body, status, code);
    };
    put(OCI_MANIFEST, b"", 400, "MANIFEST_INVALID");
    put(OCI_MANIFEST, b"not json", 400, "MANIFEST_INVALID");
    put(OCI_MANIFEST, b"[]", 400, "MANIFEST_INVALID");
    put(OCI_MANIFEST, &b"[".repeat(200_000), 400, "MANIFEST_INVALID");
    put("application/x-unknown", br#"{"schemaVersion":2}"#, 400, "MANIFEST_INVALID");
    let missing = v2::manifest(&[(digest(b"never pushed"), 12)]);
    put(DOCKER_MANIFEST, missing.as_bytes(), 400, "MANIFEST_BLOB_UNKNOWN");
    put(OCI_MANIFEST, missing.as_bytes(), 400, "MANIFEST_INVALID");
    let tag = format!("/v2/a/manifests/{}", "t".repeat(129));
    refused(&client, "PUT", &tag, &[("Content-Type", OCI_MANIFEST)], b"{}", 400, "TAG_INVALID");
    // Five gibibytes are announced, and refused long before they are sent.
    for length in [Length::Known(5 << 30), Length::Chunked] {
        let mut connection = client.connect().expect("a connection");
        connection.begin("PUT", target, &[("Content-Type", OCI_MANIFEST)], length).expect("a request");
        let piece = vec![b' '; 64 * 1024];
        for _ in 0..128 {
            let written = match length {
                Length::Known(_) => connection.write(&piece),
                Length::Chunked => connection.write_chunk(&piece),
            };
            if written.is_err() {
                break;
            }
        }
        let answer = connection.finish(false).expect("an answer");
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    server.assert_peak_memory(64 << 20);
    assert_clean(&server);
}

#[test]
fn requests_that_are_no_requests() {
    let Some(server) = ours() else { return };
    let client = server.client();
    let long = "x".repeat(200_000);
    refused(&client, "GET", "/v2/", &[("X-Long", &long)], b"", 431, "");
    refused(&client, "GET", &format!("/v2/?{}", "x".repeat(20_000)), &[], b"", 414, "");
    for raw in [
        "nonsense\r\n\r\n",
        "GET /v2/ HTTP/9.9\r\n\r\n",
        "GET\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let mut connection = client.connect().expect("a connection");
        connection.write(raw.as_bytes()).expect("bytes");
        if let Ok(answer) = connection.finish(false) {
            assert_eq!(answer.status, 400, "{raw:?}: {}", answer.text());
        }
    }
    // Two lengths, or a length and chunks: the ways to smuggle a second request.
    for headers in ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1\r\nContent-Length: 1, 2"] {
        let mut connection = client.connect().expect("a connection");
        let raw = format!("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\nab");
        connection.write(raw.as_bytes()).expect("bytes");
        if let Ok(answer) = connection.finish(false) {
            assert_eq!(answer.status, 400, "{headers}: {}", answer.text());
        }
    }
    refused(&client, "BREW", "/v2/", &[], b"", 405, "");
    assert_clean(&server);
}
