//! Who is measured: this server, other registries, and the programs that mark a limit.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use docker_registry_tests::flavor_variables;
use docker_registry_tests::http::Client;
use docker_registry_tests::process::Process;
use docker_registry_tests::redis::Redis;
use docker_registry_tests::server::{Launch, Place, Product, Server};
use docker_registry_tests::store_server::StoreServer;

use super::fixture::Fixture;
use super::limits::Limit;
use super::object_store;
use crate::workspace::Workspace;

/// This server's name in the tables.
pub(super) const OURS: &str = "ours";

/// A contestant beside this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Other {
    /// Debian's docker-registry, distribution 2.8.
    #[value(name = "distribution-2.8")]
    DistributionTwo,
    /// distribution 3, installed from its Go module.
    #[value(name = "distribution-3")]
    DistributionThree,
    /// zot, installed from its Go module; a program in DOCKER_REGISTRY_BENCH_ZOT is taken instead.
    Zot,
    /// docker-registry 0.9.1 on Python 2.7, which speaks V1. DOCKER_REGISTRY_BENCH_PYTHON2 names the Python.
    #[value(name = "docker-registry-0.9")]
    DockerRegistryPython,
    /// nginx with the same blobs as files: the limit for pulls.
    Nginx,
    /// hyper with the manifest in memory: the limit for small reads.
    Hyper,
    /// A program that receives, hashes, writes and synchronises: the limit for pushes.
    Receiver,
}

impl Other {
    /// Its name in the tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Other::DistributionTwo => "distribution 2.8",
            Other::DistributionThree => "distribution 3",
            Other::Zot => "zot",
            Other::DockerRegistryPython => "docker-registry 0.9",
            Other::Nginx => "nginx",
            Other::Hyper => "bare hyper",
            Other::Receiver => "bare receiver",
        }
    }

    /// What it is, if it is a registry and no limit.
    pub(super) fn registry(self) -> Option<Product> {
        match self {
            Other::DistributionTwo => Some(Product::Distribution),
            Other::DistributionThree => Some(Product::DistributionThree),
            Other::Zot => Some(Product::Zot),
            Other::DockerRegistryPython => Some(Product::DockerRegistryPython),
            Other::Nginx | Other::Hyper | Other::Receiver => None,
        }
    }

    /// Why it cannot be measured here, if so.
    pub(super) fn missing(self) -> Option<String> {
        self.registry().and_then(|product| product.peer_program().err())
    }
}

/// What a load asks of a contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ability {
    /// Answers GET for the fixture's blobs and manifest.
    Files,
    /// Answers GET with the fixture's manifest.
    Manifest,
    /// Takes a body.
    Receive,
    /// Is a registry of the V2 API.
    Registry,
    /// Is a registry that lists page by page.
    Lists,
    /// Is a registry of the V1 API.
    V1,
    /// Answers over TLS.
    Secure,
}

/// What everybody stores and caches in.
#[derive(Clone, Copy, Default)]
pub(super) struct Surroundings<'bench> {
    /// One object store for all of them, instead of a folder each.
    pub(super) store: Option<&'bench StoreServer>,
    /// A Redis for each.
    pub(super) cache: Option<Cache>,
}

/// How a Redis is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Cache {
    /// With what this server keeps in its own memory in front.
    Memory,
    /// Alone.
    Redis,
}

/// One of those that are measured.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    abilities: &'static [Ability],
    running: Running,
    /// The folder on this machine that its blobs are in, where they can be deleted.
    storage: Option<PathBuf>,
    /// Where it answers over TLS, and the process that does where it is another one.
    secure: Option<(SocketAddr, Option<Limit>)>,
    /// What it caches in.
    _redis: Option<Redis>,
}

enum Running {
    Registry(Box<Server>),
    Limit(Limit),
}

impl Contestant {
    /// This server, from the optimised build.
    pub(super) fn ours(workspace: &Workspace, surroundings: Surroundings<'_>) -> Result<Contestant> {
        let abilities = &[
            Ability::Files,
            Ability::Manifest,
            Ability::Receive,
            Ability::Registry,
            Ability::Lists,
            Ability::V1,
            Ability::Secure,
        ];
        let Surroundings { store, cache } = surroundings;
        let redis = cache.map(|_| Redis::start());
        let chosen = store.map(|_| object_store::flavor(workspace, "s3", true));
        let mut environment =
            store.map(|store| flavor_variables::s3(store, store.address())).unwrap_or_default();
        if let Some(redis) = &redis {
            environment.push(("CACHE_LRU_REDIS_URL".to_owned(), redis.url()));
        }
        if cache == Some(Cache::Redis) {
            // The least that can be configured: nothing fits in.
            environment.push(("CACHE_LRU_MEMORY".to_owned(), "1KiB".to_owned()));
        }
        let launch =
            Launch { chosen, environment, ..Launch::silent(Product::Ours, workspace.artifacts(true)) };
        let server = Server::launch(launch, Place::new());
        let storage = match store {
            Some(store) => object_store::folder(store, object_store::OUR_ROOT),
            None => server.place().storage(),
        };
        let secure = match store {
            None => {
                let secure = Limit::over_tls(workspace, &server)?;
                Some((secure.address(), Some(secure)))
            }
            Some(_) => None,
        };
        Ok(Contestant {
            name: OURS,
            abilities,
            running: Running::Registry(Box::new(server)),
            storage: Some(storage),
            secure,
            _redis: redis,
        })
    }

    /// A registry on a folder that is filled by others.
    pub(super) fn on_folder(workspace: &Workspace, product: Product, folder: &Path) -> Contestant {
        let launch = Launch {
            environment: vec![("STORAGE_PATH".to_owned(), folder.display().to_string())],
            peer_storage: Some(format!("filesystem:\n    rootdirectory: {}", folder.display())),
            ..Launch::silent(product, workspace.artifacts(true))
        };
        Contestant {
            name: "on a folder",
            abilities: &[Ability::Files, Ability::Manifest, Ability::Registry, Ability::Lists],
            running: Running::Registry(Box::new(Server::launch(launch, Place::new()))),
            storage: None,
            secure: None,
            _redis: None,
        }
    }

    /// Another one.
    pub(super) fn other(
        workspace: &Workspace,
        other: Other,
        fixture: &Fixture,
        surroundings: Surroundings<'_>,
    ) -> Result<Contestant> {
        let (mut redis, mut secure, mut storage) = (None, None, None);
        let (abilities, running): (&[Ability], Running) = match (other, other.registry()) {
            (_, Some(product)) => {
                if !product.is_for_folders_only() {
                    redis = surroundings.cache.map(|_| Redis::start());
                }
                let launch = Launch {
                    peer_storage: surroundings.store.map(object_store::peer),
                    peer_redis: redis.as_ref().map(Redis::address),
                    ..Launch::silent(product, Default::default())
                };
                let abilities: &[Ability] = match product {
                    Product::DockerRegistryPython => &[Ability::V1],
                    _ => &[
                        Ability::Files,
                        Ability::Manifest,
                        Ability::Receive,
                        Ability::Registry,
                        Ability::Lists,
                    ],
                };
                let server = Server::launch(launch, Place::new());
                storage = Some(match surroundings.store {
                    Some(store) => object_store::folder(store, object_store::PEER_ROOT),
                    None => server.place().storage(),
                });
                (abilities, Running::Registry(Box::new(server)))
            }
            (Other::Nginx, _) => {
                let (nginx, address) = Limit::nginx(workspace, fixture)?;
                secure = Some((address, None));
                (&[Ability::Files, Ability::Manifest, Ability::Secure], Running::Limit(nginx))
            }
            (Other::Hyper, _) => (&[Ability::Manifest], Running::Limit(Limit::hyper(workspace, fixture)?)),
            _ => (&[Ability::Receive], Running::Limit(Limit::receiver(workspace)?)),
        };
        Ok(Contestant { name: other.name(), abilities, running, storage, secure, _redis: redis })
    }

    /// Whether a load that needs this can be put on it.
    pub(super) fn has(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability) && (ability != Ability::Secure || self.secure.is_some())
    }

    /// A client of it.
    pub(super) fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        match &self.running {
            Running::Registry(server) => server.address(),
            Running::Limit(limit) => limit.address(),
        }
    }

    /// Its process.
    pub(super) fn process(&self) -> &Process {
        match &self.running {
            Running::Registry(server) => server.process(),
            Running::Limit(limit) => limit.process(),
        }
    }

    /// Where it answers over TLS.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn secure_address(&self) -> SocketAddr {
        self.secure.as_ref().expect("it answers over TLS").0
    }

    /// The process that answers over TLS.
    pub(super) fn secure_process(&self) -> &Process {
        match &self.secure {
            Some((_, Some(limit))) => limit.process(),
            _ => self.process(),
        }
    }

    /// Deletes blobs that are no part of the fixture, so that the disk does not fill up.
    pub(super) fn forget(&self, digests: &[String]) {
        let Some(storage) = &self.storage else { return };
        for digest in digests {
            let name = digest.trim_start_matches("sha256:");
            let of_distribution =
                storage.join("docker/registry/v2/blobs/sha256").join(&name[..2]).join(name).join("data");
            // Versions of zot that hold a second name of each file have it in the folder of all repositories.
            let [of_zot, again] = [super::fixture::REPOSITORY, "_blobstore"]
                .map(|repository| storage.join(repository).join("blobs/sha256").join(name));
            for place in [of_distribution, of_zot, again] {
                // Not all of them are there. MinIO has a folder for each object.
                let _ = if place.is_dir() { fs::remove_dir_all(place) } else { fs::remove_file(place) };
            }
        }
    }
}
