//! Round trips of each request on every store, counted at a proxy in front of it and held to the budget of
//! [`storage_requests`](docker_registry_tests::storage_requests).

use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::flavor_variables::{self, GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT, Variables};
use docker_registry_tests::storage_requests::{Cost, count, table};
use docker_registry_tests::store_server::StoreServer;

use crate::running::serve;

/// Counts on a store that the server reaches through a proxy, and returns what is over the budget.
fn missed(flavor: &str, store: &StoreServer, variables: impl Fn(&FaultProxy) -> Variables) -> Vec<Cost> {
    let proxy = FaultProxy::start(store.address());
    let costs = count(&serve(flavor, &variables(&proxy)).client(), &proxy);
    println!("{flavor}\n{}", table(&costs));
    costs.into_iter().filter(|cost| !cost.is_within()).collect()
}

fn within_budget(flavor: &str, store: &StoreServer, variables: impl Fn(&FaultProxy) -> Variables) {
    let missed: Vec<String> = missed(flavor, store, variables).iter().map(ToString::to_string).collect();
    assert!(missed.is_empty(), "too many round trips\n{}", missed.join("\n"));
}

#[test]
fn no_request_costs_s3_more_round_trips_than_it_must() {
    let store = StoreServer::start("minio");
    within_budget("s3", &store, |proxy| flavor_variables::s3(&store, proxy.address()));
}

#[test]
fn no_request_costs_azureblob_more_round_trips_than_it_must() {
    let store = StoreServer::start("azurite");
    within_budget("azureblob", &store, |proxy| flavor_variables::azureblob(&store, proxy.address()));
}

#[test]
fn no_request_costs_oss_more_round_trips_than_it_must() {
    let store = StoreServer::start("oss");
    within_budget("oss", &store, |proxy| flavor_variables::oss(&store, proxy.address()));
}

#[test]
fn no_request_costs_gcs_more_round_trips_than_it_must() {
    let store = StoreServer::start("gcs");
    let with = |credentials| {
        let store = &store;
        move |proxy: &FaultProxy| flavor_variables::gcs(store, proxy.address(), credentials)
    };
    within_budget("gcs", &store, with(GOOGLE_SERVICE_ACCOUNT));
    // The XML API finishes an object of parts under no condition. The driver finishes it elsewhere, copies it under
    // the condition and deletes it: two requests more than other stores need.
    let missed = missed("gcs", &store, with(GOOGLE_HMAC));
    let known = |cost: &&Cost| cost.what == "POST, PATCH, PUT of a large blob" && cost.requests.len() == 10;
    let new: Vec<String> = missed.iter().filter(|cost| !known(cost)).map(ToString::to_string).collect();
    assert!(new.is_empty(), "too many round trips\n{}", new.join("\n"));
}
