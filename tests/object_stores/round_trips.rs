//! Round trips of each request on every store, counted at a proxy in front of it and held to the budget of
//! [`storage_requests`](docker_registry_tests::storage_requests).

use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::flavor_variables::{self, GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT, Variables};
use docker_registry_tests::storage_requests::{Cost, count, table};
use docker_registry_tests::store_server::StoreServer;

use crate::running::serve;

/// Counts on a store that the server reaches through a proxy.
fn within_budget(flavor: &str, store: &StoreServer, variables: impl Fn(&FaultProxy) -> Variables) {
    within_budget_but(flavor, store, variables, &[]);
}

/// The same, with another budget for some requests.
fn within_budget_but(
    flavor: &str,
    store: &StoreServer,
    variables: impl Fn(&FaultProxy) -> Variables,
    others: &[(&str, usize)],
) {
    let proxy = FaultProxy::start(store.address());
    let costs = count(&serve(flavor, &variables(&proxy)).client(), &proxy);
    println!("{flavor}\n{}", table(&costs));
    let is_within = |cost: &Cost| match others.iter().find(|(what, _)| *what == cost.what) {
        Some((_, most)) => cost.requests.len() <= *most,
        None => cost.is_within(),
    };
    let missed: Vec<String> = costs.iter().filter(|cost| !is_within(cost)).map(ToString::to_string).collect();
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
    within_budget("gcs", &store, with(GOOGLE_HMAC));
}

/// Swift keeps no condition: who goes on with an upload claims it by an object and looks whether another one did (two
/// requests for each step). It deletes plain and large objects by different requests, and large ones are announced before
/// their first segment, so that what a crash leaves is found.
#[test]
fn no_request_costs_swift_more_round_trips_than_it_must() {
    let store = StoreServer::start("swift-tempauth");
    let variables = |proxy: &FaultProxy| flavor_variables::swift_tempauth(&store, proxy.address());
    let others = [
        ("push of a large blob, digest known", 5),
        ("POST, PATCH, PUT of a small blob", 5),
        ("POST, PATCH, PUT of a large blob", 19),
        ("image of one layer, as docker pushes it", 16),
    ];
    within_budget_but("swift", &store, variables, &others);
}
