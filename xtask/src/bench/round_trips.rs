//! `cargo xtask bench --round-trips`: what each request of a client costs between this server and its store.
//!
//! The counts are asserted by the tests in `tests/object_stores/round_trips.rs`; here they are printed.

use anyhow::Result;
use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::flavor_variables::{self, GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT, Variables};
use docker_registry_tests::server::{Launch, Place, Product, Server};
use docker_registry_tests::storage_requests::{self, Cost};
use docker_registry_tests::store_server::StoreServer;
use xshell::cmd;

use super::object_store;
use crate::workspace::{Workspace, cargo};

/// Tells a server to store in a store behind a proxy.
type Variable = fn(&StoreServer, &FaultProxy) -> Variables;

/// How the counts come about, in words.
pub(super) const HOW: &str = "What each request of a client costs in requests of this server to an object store, counted \
     at a proxy between the two; parts of large objects are left out. What distribution 2.8 makes with its S3 driver, \
     where that is known, was counted once and is not counted anew. The counts say nothing of time and depend on no \
     machine.";

/// What is printed, the flavor, the script of `tests/servers/`, the variables.
const STORES: &[(&str, &str, &str, Variable)] = &[
    ("s3 on MinIO", "s3", "minio", |store, proxy| flavor_variables::s3(store, proxy.address())),
    ("azureblob on Azurite", "azureblob", "azurite", |store, proxy| {
        flavor_variables::azureblob(store, proxy.address())
    }),
    ("gcs with a service account, on a stand-in", "gcs", "gcs", |store, proxy| {
        flavor_variables::gcs(store, proxy.address(), GOOGLE_SERVICE_ACCOUNT)
    }),
    ("gcs with HMAC keys, on a stand-in", "gcs", "gcs", |store, proxy| {
        flavor_variables::gcs(store, proxy.address(), GOOGLE_HMAC)
    }),
    ("oss on a stand-in", "oss", "oss", |store, proxy| flavor_variables::oss(store, proxy.address())),
];

/// Prints a table for each store. Returns all of them in Markdown, and how many requests cost too much.
pub(super) fn measure(workspace: &Workspace) -> Result<(String, usize)> {
    let shell = workspace.shell()?;
    // Counts do not depend on optimisation, and the stand-ins are no part of a release.
    let cargo = cargo();
    cmd!(shell, "{cargo} build --workspace").quiet().run()?;
    let (mut tables, mut missed) = (String::new(), 0);
    for (title, flavor, script, variables) in STORES {
        let store = StoreServer::start(script);
        let proxy = FaultProxy::start(store.address());
        let launch = Launch {
            chosen: Some(object_store::flavor(workspace, flavor, false)),
            environment: variables(&store, &proxy),
            ..Launch::silent(Product::Ours, workspace.artifacts(false))
        };
        let costs = storage_requests::count(&Server::launch(launch, Place::new()).client(), &proxy);
        println!("{title}\n{}", storage_requests::table(&costs));
        tables += &format!("## {title}\n\n{}\n", markdown(&costs));
        missed += costs.iter().filter(|cost| !cost.is_within()).count();
    }
    Ok((tables, missed))
}

fn markdown(costs: &[Cost]) -> String {
    let mut text =
        "| request | round trips | at most | distribution 2.8 on S3 |\n|---|---|---|---|\n".to_owned();
    for cost in costs {
        let missed = if cost.is_within() { "" } else { " **missed**" };
        let distribution = cost.distribution.map_or("–".to_owned(), |count| count.to_string());
        let (count, most) = (cost.requests.len(), cost.most);
        text += &format!("| {} | {count}{missed} | {most} | {distribution} |\n", cost.what);
    }
    text
}
