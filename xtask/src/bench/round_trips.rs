//! `cargo xtask bench --round-trips`: what each request of a client costs between this server and its store.
//!
//! The counts are asserted by the tests in `tests/object_stores/round_trips.rs`; here they are printed.

use anyhow::{Result, ensure};
use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::flavor_variables::{self, GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT, Variables};
use docker_registry_tests::server::{Launch, Place, Product, Server};
use docker_registry_tests::storage_requests;
use docker_registry_tests::store_server::StoreServer;
use xshell::cmd;

use super::object_store;
use crate::workspace::{Workspace, cargo};

/// Tells a server to store in a store behind a proxy.
type Variable = fn(&StoreServer, &FaultProxy) -> Variables;

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

/// Prints a table for each store. With `check` it fails where a request costs too much.
pub(super) fn print(workspace: &Workspace, check: bool) -> Result<()> {
    let shell = workspace.shell()?;
    // Counts do not depend on optimisation, and the stand-ins are no part of a release.
    let cargo = cargo();
    cmd!(shell, "{cargo} build --workspace").quiet().run()?;
    let mut missed = 0;
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
        missed += costs.iter().filter(|cost| !cost.is_within()).count();
    }
    ensure!(missed == 0 || !check, "{missed} requests cost too many round trips");
    Ok(())
}
