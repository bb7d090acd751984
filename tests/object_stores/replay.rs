//! The requests that were recorded with docker-registry 0.9.1, sent to whole servers on the stores that it knew and nobody
//! else serves any more.

use docker_registry_tests::flavor_variables::{Variables, elliptics, glance, swift_keystone, swift_tempauth};
use docker_registry_tests::recording::replay;
use docker_registry_tests::store_server::StoreServer;

use crate::running::serve;

fn answers_as_recorded(flavor: &str, variables: &Variables) {
    replay(&serve(flavor, variables));
}

#[test]
fn flavor_swift_answers_as_0_9_1_did() {
    let store = StoreServer::start("swift-tempauth");
    answers_as_recorded("swift", &swift_tempauth(&store, store.address()));
}

#[test]
fn flavor_glance_answers_as_0_9_1_did() {
    let store = StoreServer::start("glance");
    answers_as_recorded("glance", &glance(&store));
}

#[cfg(feature = "long")]
#[test]
fn flavor_glance_swift_answers_as_0_9_1_did() {
    let store = StoreServer::start("glance");
    answers_as_recorded("glance-swift", &swift_keystone(&store));
}

#[test]
fn flavor_elliptics_answers_as_0_9_1_did() {
    let cluster = StoreServer::start("elliptics");
    answers_as_recorded("elliptics", &elliptics(&cluster));
}
