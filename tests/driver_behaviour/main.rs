//! Every guarantee of the [`Driver`](docker_registry_driver_api::Driver) trait, tried on the memory
//! driver and on the local driver in one process.

#[tokio::test]
async fn memory_opens_with_empty_settings() {
    use docker_registry_driver_api::{Driver, HostServices, Settings};
    use docker_registry_driver_memory::MemoryDriver;
    let driver = MemoryDriver::open(Settings::default(), HostServices::default()).await.unwrap();
    driver.health(&Default::default()).await.unwrap();
}
