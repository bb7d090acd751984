//! What is stored in every server before the first measurement.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::http::{Client, Connection, Length};
use docker_registry_tests::v1::{self, Image};
use docker_registry_tests::v2::{self, OCTETS, completion};

/// The repository that everything is in.
pub(super) const REPOSITORY: &str = "bench/image";
/// The V1 repository.
pub(super) const V1_REPOSITORY: &str = "bench/old";
const KIBIBYTE: u64 = 1 << 10;
pub(super) const MEBIBYTE: u64 = 1 << 20;
pub(super) const GIBIBYTE: u64 = 1 << 30;
/// The blobs that are pulled: seed and size.
pub(super) const SIZES: [(u64, u64); 4] = [(1, KIBIBYTE), (4, MEBIBYTE), (3, 100 * MEBIBYTE), (2, GIBIBYTE)];
/// Repositories in the catalog beside [`REPOSITORY`], and tags in it beside `latest`.
const OTHERS: u64 = 200;

/// See the module.
pub(super) struct Fixture {
    pub(super) manifest: String,
    pub(super) manifest_digest: String,
    digests: BTreeMap<u64, String>,
    /// Two images, one on the other.
    pub(super) images: [Image; 2],
    /// Digests of what is pushed, by seed and size: all servers are sent the same, and it is hashed once.
    pushed: Mutex<BTreeMap<(u64, u64), String>>,
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        let digests: BTreeMap<u64, String> =
            SIZES.iter().map(|(seed, size)| (*size, Content::digest(*seed, *size))).collect();
        let blobs = [KIBIBYTE, MEBIBYTE].map(|size| (digests[&size].clone(), size));
        let manifest = v2::manifest(&blobs);
        let base = Image::new(None, Content::bytes(7, MEBIBYTE));
        let upper = Image::new(Some(&base), Content::bytes(8, MEBIBYTE));
        Fixture {
            manifest_digest: digest(manifest.as_bytes()),
            manifest,
            digests,
            images: [base, upper],
            pushed: Mutex::default(),
        }
    }

    /// The digest of the blob of this size, one of [`SIZES`].
    pub(super) fn digest_of(&self, size: u64) -> &str {
        &self.digests[&size]
    }

    /// The digest of a blob that is pushed.
    pub(super) fn digest_to_push(&self, seed: u64, size: u64) -> String {
        let mut pushed = self.pushed.lock().expect("nobody panics with it");
        pushed.entry((seed, size)).or_insert_with(|| Content::digest(seed, size)).clone()
    }

    /// Pushes everything of V2. `catalog` also fills the lists of repositories and tags.
    pub(super) fn store(&self, client: &Client, catalog: bool) -> Result<()> {
        for (seed, size) in SIZES {
            push(&mut client.connect()?, seed, size, self.digest_of(size))?;
        }
        v2::push_manifest(client, REPOSITORY, "latest", &self.manifest).expect(201);
        if catalog {
            self.fill_lists(client)?;
        }
        Ok(())
    }

    /// Pushes the V1 repository.
    pub(super) fn store_v1(&self, client: &Client) {
        let [base, upper] = &self.images;
        v1::push(client, V1_REPOSITORY, "latest", &[base, upper]);
    }

    fn fill_lists(&self, client: &Client) -> Result<()> {
        let small = Content::bytes(9, 100);
        let manifest = v2::manifest(&[(digest(&small), 100)]);
        for number in 0..OTHERS {
            let repository = format!("bench/other-{number:04}");
            ensure!(v2::push_blob(client, &repository, &small) == digest(&small));
            v2::push_manifest(client, &repository, "latest", &manifest).expect(201);
            v2::push_manifest(client, REPOSITORY, &format!("tag-{number:04}"), &self.manifest).expect(201);
        }
        Ok(())
    }
}

/// What these clients send in one chunk: Go copies a body through a buffer of this size.
const CHUNK: usize = 32 * 1024;

/// Pushes a blob in the three requests that docker, podman and skopeo make: POST, PATCH in chunks, PUT.
pub(super) fn push(connection: &mut Connection, seed: u64, size: u64, digest: &str) -> io::Result<()> {
    let target = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let location = connection.send("POST", &target, &[], b"")?.expect(202).location();
    connection.begin("PATCH", &location, &[OCTETS], Length::Chunked)?;
    let mut content = Content::new(seed, size);
    loop {
        let piece = content.piece();
        if piece.is_empty() {
            break;
        }
        for chunk in piece.chunks(CHUNK) {
            connection.write_chunk(chunk)?;
        }
    }
    connection.write_chunk(b"")?;
    let location = connection.finish(false)?.expect(202).location();
    connection.send("PUT", &completion(&location, digest), &[OCTETS], b"")?.expect(201);
    Ok(())
}

/// Sends a body to a program that only receives.
pub(super) fn put(connection: &mut Connection, seed: u64, size: u64, digest: &str) -> io::Result<()> {
    connection.begin("PUT", "/", &[], Length::Known(size))?;
    let mut content = Content::new(seed, size);
    loop {
        let piece = content.piece();
        if piece.is_empty() {
            break;
        }
        connection.write(piece)?;
    }
    let answer = connection.finish(false)?.expect(201);
    if answer.header("docker-content-digest") == Some(digest) {
        return Ok(());
    }
    Err(io::Error::other("the receiver has other bytes"))
}
