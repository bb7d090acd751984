//! What is measured: one row of the table each.

use std::time::Duration;

use anyhow::Result;
use docker_registry_tests::content::Content;
use docker_registry_tests::http::Connection;
use docker_registry_tests::process::Process;
use docker_registry_tests::v1::{Image, push_image};
use docker_registry_tests::v2;

use super::contestants::{Ability, Contestant};
use super::fixture::{Fixture, GIBIBYTE, MEBIBYTE, REPOSITORY, V1_REPOSITORY, push, put};
use super::load::{Exchange, Measurement, once_each, pull_over_tls, repeat, repeat_sequence};

const KIBIBYTE: u64 = 1 << 10;

/// How much load one measurement is.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub(super) connections: u32,
    pub(super) time: Duration,
}

/// A kind of load.
pub(super) struct Row {
    pub(super) name: &'static str,
    load: Load,
    /// Connections, where it is not the number on the command line.
    clients: Option<u32>,
    /// Fewer rounds than the others, for what takes long.
    pub(super) rounds: Option<u32>,
    /// Whether this server has to do with a fifth of the peer's processor time.
    pub(super) light: bool,
    /// Measured on every run, and not only for the record.
    pub(super) always: bool,
}

enum Load {
    ManifestByTag,
    ManifestByDigest,
    ManifestHead,
    BlobHead,
    Pull(u64),
    /// Over TLS, by curl.
    SecurePull(u64),
    /// Size, and how many are pushed.
    Push(u64, u64),
    Catalog,
    Tags,
    /// What docker asks for when it pulls an image that it has no layer of.
    DockerPull,
    /// The mix of zot's own benchmark, zb: one push to three pulls, of 1 MiB.
    ZotMix,
    V1Pull,
    /// Images of one layer of 1 MiB, and how many are pushed.
    V1Push(u64),
}

const fn always(name: &'static str, load: Load, light: bool) -> Row {
    Row { name, load, clients: None, rounds: None, light, always: true }
}

const fn recorded(name: &'static str, load: Load, clients: u32, rounds: Option<u32>) -> Row {
    Row { name, load, clients: Some(clients), rounds, light: false, always: false }
}

const MIB: u64 = MEBIBYTE;

/// All rows, in the order they are measured.
pub(super) const ROWS: &[Row] = &[
    always("manifest GET by tag", Load::ManifestByTag, true),
    recorded("manifest GET by digest", Load::ManifestByDigest, 8, None),
    recorded("manifest HEAD by tag", Load::ManifestHead, 8, None),
    always("blob HEAD", Load::BlobHead, false),
    always("1 KiB blob GET", Load::Pull(KIBIBYTE), true),
    recorded("1 KiB blob GET, 1 client", Load::Pull(KIBIBYTE), 1, None),
    recorded("1 KiB blob GET, 64 clients", Load::Pull(KIBIBYTE), 64, None),
    recorded("1 MiB blob GET, 1 client", Load::Pull(MIB), 1, None),
    recorded("1 MiB blob GET, 8 clients", Load::Pull(MIB), 8, None),
    recorded("1 MiB blob GET, 64 clients", Load::Pull(MIB), 64, None),
    recorded("100 MiB blob GET, 1 client", Load::Pull(100 * MIB), 1, None),
    recorded("100 MiB blob GET, 8 clients", Load::Pull(100 * MIB), 8, None),
    recorded("100 MiB blob GET, 64 clients", Load::Pull(100 * MIB), 64, None),
    Row { clients: Some(1), ..always("1 GiB blob GET", Load::Pull(GIBIBYTE), false) },
    recorded("1 GiB blob GET over TLS", Load::SecurePull(GIBIBYTE), 1, None),
    recorded("1 GiB blob GET, 8 clients", Load::Pull(GIBIBYTE), 8, None),
    recorded("1 GiB blob GET, 64 clients", Load::Pull(GIBIBYTE), 64, None),
    recorded("catalog page of 100", Load::Catalog, 8, None),
    recorded("tags page of 100", Load::Tags, 8, None),
    recorded("image pull as docker does it", Load::DockerPull, 8, None),
    recorded("mix of zot's zb", Load::ZotMix, 8, None),
    recorded("V1 image pull", Load::V1Pull, 8, None),
    recorded("V1 image push", Load::V1Push(50), 8, None),
    recorded("1 KiB push, 1 client", Load::Push(KIBIBYTE, 200), 1, None),
    recorded("1 KiB push, 8 clients", Load::Push(KIBIBYTE, 400), 8, None),
    recorded("1 KiB push, 64 clients", Load::Push(KIBIBYTE, 800), 64, None),
    recorded("1 MiB push, 1 client", Load::Push(MIB, 50), 1, None),
    always("100 x 1 MiB push", Load::Push(MIB, 100), false),
    recorded("1 MiB push, 64 clients", Load::Push(MIB, 256), 64, None),
    recorded("100 MiB push, 1 client", Load::Push(100 * MIB, 4), 1, Some(3)),
    recorded("100 MiB push, 8 clients", Load::Push(100 * MIB, 16), 8, Some(3)),
    recorded("100 MiB push, 64 clients", Load::Push(100 * MIB, 64), 64, Some(3)),
    Row { clients: Some(1), rounds: Some(3), ..always("1 GiB push", Load::Push(GIBIBYTE, 1), false) },
    recorded("1 GiB push, 8 clients", Load::Push(GIBIBYTE, 8), 8, Some(3)),
];

impl Row {
    /// What a contestant must be able to do.
    pub(super) fn needs(&self) -> Ability {
        match self.load {
            Load::ManifestByTag | Load::ManifestByDigest => Ability::Manifest,
            Load::BlobHead | Load::Pull(_) | Load::ManifestHead => Ability::Files,
            Load::SecurePull(_) => Ability::Secure,
            Load::Push(..) => Ability::Receive,
            Load::Catalog | Load::Tags => Ability::Lists,
            Load::DockerPull | Load::ZotMix => Ability::Registry,
            Load::V1Pull | Load::V1Push(_) => Ability::V1,
        }
    }

    /// The process of a contestant that this row is about.
    pub(super) fn process<'contestant>(&self, contestant: &'contestant Contestant) -> &'contestant Process {
        match self.load {
            Load::SecurePull(_) => contestant.secure_process(),
            _ => contestant.process(),
        }
    }

    /// Whether it moves bodies in both directions at the pace of the disk: then neither side is pinned.
    pub(super) fn writes(&self) -> bool {
        matches!(self.load, Load::Push(..) | Load::ZotMix | Load::V1Push(_))
    }

    /// Whether it is a push of blobs, whatever their size and number.
    pub(super) fn is_push(&self) -> bool {
        matches!(self.load, Load::Push(..))
    }

    /// Puts the load on a contestant. Rounds are numbered so that no content is pushed twice.
    pub(super) fn measure(
        &self,
        contestant: &Contestant,
        fixture: &Fixture,
        effort: Effort,
        round: u32,
    ) -> Result<Measurement> {
        let clients = self.clients.unwrap_or(effort.connections);
        let get = |target: String, body| Exchange::new(contestant, "GET", &target, "", body);
        let accept = format!("Accept: {}\r\n", v2::MANIFEST);
        let manifest_target = |reference: &str| format!("/v2/{REPOSITORY}/manifests/{reference}");
        let blob_target = |size| format!("/v2/{REPOSITORY}/blobs/{}", fixture.digest_of(size));
        let manifest = |method, reference: &str| {
            let body = if method == "GET" { fixture.manifest.len() as u64 } else { 0 };
            Exchange::new(contestant, method, &manifest_target(reference), &accept, Some(body))
        };
        let one = |exchange| repeat(contestant, &exchange, clients, effort.time);
        if self.writes() {
            // What was written before must not be waited for here.
            rustix::fs::sync();
        }
        match self.load {
            Load::ManifestByTag => one(manifest("GET", "latest")),
            Load::ManifestByDigest => one(manifest("GET", &fixture.manifest_digest)),
            Load::ManifestHead => one(manifest("HEAD", "latest")),
            Load::BlobHead => one(Exchange::new(contestant, "HEAD", &blob_target(GIBIBYTE), "", Some(0))),
            Load::Pull(size) => one(get(blob_target(size), Some(size))),
            Load::SecurePull(size) => pull_over_tls(contestant, &blob_target(size)),
            Load::Catalog => one(get("/v2/_catalog?n=100".to_owned(), None)),
            Load::Tags => one(get(format!("/v2/{REPOSITORY}/tags/list?n=100"), None)),
            Load::DockerPull => {
                let steps = [
                    get("/v2/".to_owned(), None),
                    manifest("HEAD", "latest"),
                    manifest("GET", &fixture.manifest_digest),
                    get(blob_target(KIBIBYTE), Some(KIBIBYTE)),
                    get(blob_target(MIB), Some(MIB)),
                ];
                repeat_sequence(contestant, &steps, clients, effort.time)
            }
            Load::V1Pull => {
                let mut steps = vec![
                    get(format!("/v1/repositories/{V1_REPOSITORY}/images"), None),
                    get(format!("/v1/repositories/{V1_REPOSITORY}/tags"), None),
                    get(fixture.images[1].path("ancestry"), None),
                ];
                for image in &fixture.images {
                    steps.push(get(image.path("json"), None));
                    steps.push(get(image.path("layer"), Some(image.layer.len() as u64)));
                }
                repeat_sequence(contestant, &steps, clients, effort.time)
            }
            Load::V1Push(count) => {
                let images: Vec<Image> = (0..count)
                    .map(|index| 800_000_000 + u64::from(round) * 1000 + index)
                    .map(|seed| Image::new(None, Content::bytes(seed, MIB)))
                    .collect();
                let images: Vec<_> = images.iter().map(|image| (image, image.checksum())).collect();
                once_each(contestant, &images, clients, |connection, (image, checksum)| {
                    push_image(connection, image, checksum)
                })
            }
            Load::ZotMix => self.mix(contestant, fixture, clients, round, &get(blob_target(MIB), Some(MIB))),
            Load::Push(size, count) => self.pushes(contestant, fixture, clients, round, size, count),
        }
    }

    /// The seed of a blob that is pushed: no other row, round or blob has it, whatever number of connections is asked for.
    fn seed(&self, round: u32, index: u64) -> u64 {
        let place = ROWS.iter().position(|row| row.name == self.name).expect("every row is in the table");
        place as u64 * 10_000_000 + (u64::from(round) + 1) * 10_000 + index
    }

    fn pushes(
        &self,
        contestant: &Contestant,
        fixture: &Fixture,
        clients: u32,
        round: u32,
        size: u64,
        count: u64,
    ) -> Result<Measurement> {
        let blobs: Vec<Blob> = (0..count)
            .map(|index| {
                let seed = self.seed(round, index);
                Blob { seed, size, digest: fixture.digest_to_push(seed, size) }
            })
            .collect();
        let send = if contestant.has(Ability::Registry) { push } else { put };
        let measured = once_each(contestant, &blobs, clients, |connection: &mut Connection, blob: &Blob| {
            send(connection, blob.seed, blob.size, &blob.digest)
        });
        contestant.forget(&blobs.into_iter().map(|blob| blob.digest).collect::<Vec<_>>());
        measured
    }

    fn mix(
        &self,
        contestant: &Contestant,
        fixture: &Fixture,
        clients: u32,
        round: u32,
        pull: &Exchange,
    ) -> Result<Measurement> {
        let jobs: Vec<Option<Blob>> = (0..400)
            .map(|index| {
                let seed = 900_000_000 + u64::from(round) * 1000 + index;
                (index % 4 == 0).then(|| Blob { seed, size: MIB, digest: fixture.digest_to_push(seed, MIB) })
            })
            .collect();
        once_each(contestant, &jobs, clients, |connection, job| match job {
            Some(blob) => push(connection, blob.seed, blob.size, &blob.digest),
            None => pull.send(connection).map_err(std::io::Error::other),
        })
    }
}

/// A blob that no contestant has yet.
struct Blob {
    seed: u64,
    size: u64,
    digest: String,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_blob_is_pushed_twice() {
        let mut seeds = HashSet::new();
        for row in ROWS {
            let Load::Push(_, count) = row.load else { continue };
            for round in 0..10 {
                assert!((0..count).all(|index| seeds.insert(row.seed(round, index))), "{}", row.name);
            }
        }
        // Those of the images of V1 and of the mix begin there.
        assert!(seeds.iter().all(|seed| *seed < 800_000_000));
    }
}
