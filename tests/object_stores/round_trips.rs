//! Round trips of each request on a real store, counted at a proxy in front of it.

use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::server::Server;
use docker_registry_tests::storage_requests::{count, table};
use docker_registry_tests::store_server::StoreServer;

use crate::running::serve;

fn within_budget(server: &Server, proxy: &FaultProxy) {
    let costs = count(&server.client(), proxy);
    println!("{}", table(&costs));
    let missed: Vec<String> =
        costs.iter().filter(|cost| !cost.is_within()).map(ToString::to_string).collect();
    assert!(missed.is_empty(), "too many round trips\n{}", missed.join("\n"));
}

#[test]
fn no_request_costs_s3_more_round_trips_than_it_must() {
    let store = StoreServer::start("minio");
    let proxy = FaultProxy::start(store.address());
    let environment = store.s3_environment(proxy.address());
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    within_budget(&serve("s3", &environment), &proxy);
}
