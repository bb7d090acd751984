//! Whether the store says how it is.

use crate::{
    case::group,
    checks::ok,
    promise,
    store::{Store, call},
};

group! {
    "health":
    a_live_store_is_healthy =>
        "A store that works says so, before and after writes.";
}

async fn a_live_store_is_healthy(store: Store) {
    ok(store.driver.health(&call()).await, "health of a live store", promise::HEALTH);
    store.put("a", "content").await;
    ok(store.driver.health(&call()).await, "health of a live store after a write", promise::HEALTH);
}
