//! What is measured: one row of the table each.

use std::io;

use anyhow::{Result, ensure};
use docker_registry_tests::content::Content;
use docker_registry_tests::http::{Connection, Length};
use docker_registry_tests::server::Server;
use docker_registry_tests::v2::{self, OCTETS, completion};

use super::Effort;
use super::load::{Measurement, Request, once_each, repeat};

const REPOSITORY: &str = "bench/image";
const KIBIBYTE: u64 = 1 << 10;
const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;

/// A kind of load.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Fewer rounds than the others, for what takes long.
    pub(super) rounds: Option<u32>,
    /// Whether this server has to do with a fifth of the peer's processor time.
    pub(super) light: bool,
    pub(super) measure: fn(&Server, &Fixture, Effort, u32) -> Result<Measurement>,
}

/// All rows, in the order they are measured.
pub(super) const ROWS: &[Row] = &[
    Row { name: "manifest GET by tag", rounds: None, light: true, measure: manifest_get },
    Row { name: "blob HEAD", rounds: None, light: false, measure: blob_head },
    Row { name: "1 KiB blob GET", rounds: None, light: true, measure: small_get },
    Row { name: "1 GiB blob GET", rounds: None, light: false, measure: large_get },
    Row { name: "100 x 1 MiB push", rounds: None, light: false, measure: small_pushes },
    Row { name: "1 GiB push", rounds: Some(3), light: false, measure: large_push },
];

/// What is stored before the first measurement.
pub(super) struct Fixture {
    manifest: String,
    small: Vec<u8>,
    small_digest: String,
    large_digest: String,
}

impl Default for Fixture {
    fn default() -> Fixture {
        let small_digest = Content::digest(1, KIBIBYTE);
        let large_digest = Content::digest(2, GIBIBYTE);
        let blobs = [(small_digest.clone(), KIBIBYTE), (large_digest.clone(), GIBIBYTE)];
        Fixture {
            manifest: v2::manifest(&blobs),
            small: Content::bytes(1, KIBIBYTE),
            small_digest,
            large_digest,
        }
    }
}

impl Fixture {
    /// Pushes everything to a server.
    pub(super) fn store(&self, server: &Server) -> Result<()> {
        let client = server.client();
        ensure!(v2::push_blob(&client, REPOSITORY, &self.small) == self.small_digest);
        push(&mut client.connect()?, &Blob { seed: 2, size: GIBIBYTE, digest: self.large_digest.clone() })?;
        v2::push_manifest(&client, REPOSITORY, "latest", &self.manifest).expect(201);
        Ok(())
    }

    fn blob_request(&self, server: &Server, method: &str, digest: &str, body: u64) -> Request {
        Request::new(server, method, &format!("/v2/{REPOSITORY}/blobs/{digest}"), "", body)
    }
}

fn manifest_get(server: &Server, fixture: &Fixture, effort: Effort, _: u32) -> Result<Measurement> {
    let target = format!("/v2/{REPOSITORY}/manifests/latest");
    let accept = format!("Accept: {}\r\n", v2::MANIFEST);
    let request = Request::new(server, "GET", &target, &accept, fixture.manifest.len() as u64);
    repeat(server, &request, effort.connections, effort.time)
}

fn blob_head(server: &Server, fixture: &Fixture, effort: Effort, _: u32) -> Result<Measurement> {
    let request = fixture.blob_request(server, "HEAD", &fixture.large_digest, 0);
    repeat(server, &request, effort.connections, effort.time)
}

fn small_get(server: &Server, fixture: &Fixture, effort: Effort, _: u32) -> Result<Measurement> {
    let request = fixture.blob_request(server, "GET", &fixture.small_digest, KIBIBYTE);
    repeat(server, &request, effort.connections, effort.time)
}

fn large_get(server: &Server, fixture: &Fixture, effort: Effort, _: u32) -> Result<Measurement> {
    let request = fixture.blob_request(server, "GET", &fixture.large_digest, GIBIBYTE);
    repeat(server, &request, 1, effort.time)
}

fn small_pushes(server: &Server, _: &Fixture, effort: Effort, round: u32) -> Result<Measurement> {
    let seeds = (0..100).map(|index| 1000 * (u64::from(round) + 1) + index);
    let blobs: Vec<Blob> = seeds.map(|seed| Blob::new(seed, MEBIBYTE)).collect();
    once_each(server, &blobs, effort.connections, push)
}

fn large_push(server: &Server, _: &Fixture, _: Effort, round: u32) -> Result<Measurement> {
    once_each(server, &[Blob::new(1_000_000 + u64::from(round), GIBIBYTE)], 1, push)
}

/// A blob that no server has yet.
struct Blob {
    seed: u64,
    size: u64,
    digest: String,
}

impl Blob {
    /// Hashed here, so that it does not count.
    fn new(seed: u64, size: u64) -> Blob {
        Blob { seed, size, digest: Content::digest(seed, size) }
    }
}

/// Pushes a blob in the three requests that docker, podman and skopeo make: POST, PATCH in chunks, PUT.
fn push(connection: &mut Connection, blob: &Blob) -> io::Result<()> {
    let target = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let location = connection.send("POST", &target, &[], b"")?.expect(202).location();
    connection.begin("PATCH", &location, &[OCTETS], Length::Chunked)?;
    let mut content = Content::new(blob.seed, blob.size);
    loop {
        let piece = content.piece();
        connection.write_chunk(piece)?;
        if piece.is_empty() {
            break;
        }
    }
    let location = connection.finish(false)?.expect(202).location();
    connection.send("PUT", &completion(&location, &blob.digest), &[OCTETS], b"")?.expect(201);
    Ok(())
}
