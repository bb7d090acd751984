//! Who is measured: this server, other registries, and the programs that mark a limit.

use std::net::SocketAddr;

use anyhow::Result;
use docker_registry_tests::flavor_variables;
use docker_registry_tests::http::Client;
use docker_registry_tests::process::Process;
use docker_registry_tests::server::{Launch, Place, Product, Server};
use docker_registry_tests::store_server::StoreServer;

use super::fixture::Fixture;
use super::limits::Limit;
use super::object_store;
use crate::workspace::Workspace;

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
            Other::Nginx => "nginx",
            Other::Hyper => "bare hyper",
            Other::Receiver => "bare receiver",
        }
    }

    fn registry(self) -> Option<Product> {
        match self {
            Other::DistributionTwo => Some(Product::Distribution),
            Other::DistributionThree => Some(Product::DistributionThree),
            Other::Zot => Some(Product::Zot),
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
}

/// One of those that are measured.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    abilities: &'static [Ability],
    running: Running,
}

enum Running {
    Registry(Server),
    Limit(Limit),
}

impl Contestant {
    /// This server, from the optimised build; on `store` when there is one, else on a folder.
    pub(super) fn ours(workspace: &Workspace, store: Option<&StoreServer>) -> Contestant {
        let abilities = &[
            Ability::Files,
            Ability::Manifest,
            Ability::Receive,
            Ability::Registry,
            Ability::Lists,
            Ability::V1,
        ];
        let chosen = store.map(|_| object_store::flavor(workspace, "s3", true));
        let environment = store.map(|store| flavor_variables::s3(store, store.address())).unwrap_or_default();
        let launch = Launch {
            product: Product::Ours,
            artifacts: workspace.artifacts(true),
            verbose: false,
            chosen,
            environment,
            peer_storage: None,
        };
        Contestant {
            name: "ours",
            abilities,
            running: Running::Registry(Server::launch(launch, Place::new())),
        }
    }

    /// Another one.
    pub(super) fn other(
        workspace: &Workspace,
        other: Other,
        fixture: &Fixture,
        store: Option<&StoreServer>,
    ) -> Result<Contestant> {
        let (abilities, running): (&[Ability], Running) = match (other, other.registry()) {
            (_, Some(product)) => {
                let launch = Launch {
                    product,
                    artifacts: Default::default(),
                    verbose: false,
                    chosen: None,
                    environment: Vec::new(),
                    peer_storage: store.map(object_store::peer),
                };
                let abilities =
                    &[Ability::Files, Ability::Manifest, Ability::Receive, Ability::Registry, Ability::Lists];
                (abilities, Running::Registry(Server::launch(launch, Place::new())))
            }
            (Other::Nginx, _) => {
                (&[Ability::Files, Ability::Manifest], Running::Limit(Limit::nginx(fixture)?))
            }
            (Other::Hyper, _) => (&[Ability::Manifest], Running::Limit(Limit::hyper(workspace, fixture)?)),
            _ => (&[Ability::Receive], Running::Limit(Limit::receiver(workspace)?)),
        };
        Ok(Contestant { name: other.name(), abilities, running })
    }

    /// Whether a load that needs this can be put on it.
    pub(super) fn has(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
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

    /// Deletes the large files of its folder that are no part of the fixture, so that the disk does not fill up.
    pub(super) fn forget(&self, digests: &[String]) {
        let Running::Registry(server) = &self.running else { return };
        for digest in digests {
            let name = digest.trim_start_matches("sha256:");
            let storage = server.place().storage();
            let of_distribution =
                storage.join("docker/registry/v2/blobs/sha256").join(&name[..2]).join(name).join("data");
            let of_zot = storage.join(super::fixture::REPOSITORY).join("blobs/sha256").join(name);
            for file in [of_distribution, of_zot] {
                // One of both is there, or none on an object store.
                let _ = std::fs::remove_file(file);
            }
        }
    }
}
