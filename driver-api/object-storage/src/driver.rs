//! A [`Driver`](docker_registry_driver_api::Driver) made from a [`Bucket`](crate::Bucket).
//!
//! [`ObjectDriver`] has the trait's methods; [`object_store_driver!`](crate::object_store_driver) gives a
//! driver crate its own type around it and exports that, because a library exports a type of its own.

/// What a driver crate for an object store writes itself.
#[docker_registry_driver_api::async_trait]
pub trait ObjectStorage: Send + Sync + 'static {
    /// See [`Driver::describe`](docker_registry_driver_api::Driver::describe). The keys of
    /// [`crate::settings::keys`] are added to those of the driver.
    fn describe() -> docker_registry_driver_api::Description;

    /// Reads the settings and makes the bucket. Reaching out to it is left to the engine, which calls
    /// [`Bucket::probe`](crate::Bucket::probe).
    async fn open(
        settings: &docker_registry_driver_api::Settings,
        host: &docker_registry_driver_api::HostServices,
    ) -> docker_registry_driver_api::Result<Opened>;
}

/// What [`ObjectStorage::open`] hands over.
pub struct Opened {
    /// The bucket.
    pub bucket: std::sync::Arc<dyn crate::Bucket>,
    /// Prefix of every key, without `/` at either end; empty for the whole bucket. `storage_path` by its
    /// original meaning.
    pub root: String,
}
