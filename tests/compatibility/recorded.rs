//! A driver that was built when API 1.0 was released.

use docker_registry_driver_api::ValueKind;

use crate::{Sources, build_and_load, calls};

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_of_the_released_api_works_in_this_server() {
    let loaded = build_and_load(&Sources::recorded(), "recorded").expect("it loads");
    assert_eq!(loaded.note().api, (1, 0));
    assert!(loaded.note().nonblocking);
    let key = &loaded.description().keys[0];
    assert_eq!((key.name.as_str(), key.kind), ("memory_limit", ValueKind::Integer));
    calls::every_method(&loaded).await;
}
