//! A [`Driver`](docker_registry_driver_api::Driver) made from a [`Bucket`](crate::Bucket).
//!
//! [`object_store_driver!`](crate::object_store_driver) gives a driver crate a type of its own around the
//! [`Engine`] and exports that, because a library exports a type of its own.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use docker_registry_driver_api::{Description, Error, ErrorKind, Result, Settings};

use crate::{
    engine::Engine,
    settings::{self, StoreSettings},
};

/// What a driver crate for an object store writes itself.
#[docker_registry_driver_api::async_trait]
pub trait ObjectStorage: Send + Sync + 'static {
    /// See [`Driver::describe`](docker_registry_driver_api::Driver::describe). The keys of
    /// [`crate::settings::keys`] are added to those of the driver; one that the driver has as well stays the
    /// driver's.
    fn describe() -> Description;

    /// Reads the driver's own settings and makes the bucket. Reaching out to it is left to the engine, which
    /// calls [`Bucket::probe`](crate::Bucket::probe).
    async fn open(settings: &Settings, shared: &StoreSettings) -> Result<Opened>;
}

/// Hears how every attempt of the engine ends, so that credentials that the store does not take any more are
/// replaced before the next one.
pub trait Renewal: Send + Sync + 'static {
    /// The store took the credentials.
    fn accepted(&self) {}

    /// An attempt failed. Whether another one has a chance is in the returned error.
    fn failed(&self, error: Error) -> Error {
        error
    }
}

/// Credentials that never change.
///
/// For a minute after the store last took them, a refusal is tried again like a passing failure. Later, and where it never
/// took them, it will not take them the next time either.
#[derive(Default)]
pub struct Unchanging {
    accepted: Mutex<Option<Instant>>,
}

impl Unchanging {
    /// How long it counts that they were taken.
    const LATELY: Duration = Duration::from_secs(60);

    fn last_accepted(&self) -> MutexGuard<'_, Option<Instant>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Renewal for Unchanging {
    fn accepted(&self) {
        *self.last_accepted() = Some(Instant::now());
    }

    fn failed(&self, mut error: Error) -> Error {
        if error.kind == ErrorKind::Unauthenticated {
            error.retryable = self.last_accepted().is_some_and(|when| when.elapsed() < Self::LATELY);
        }
        error
    }
}

/// What [`ObjectStorage::open`] hands over.
pub struct Opened {
    /// The bucket.
    pub bucket: Arc<dyn crate::Bucket>,
    /// Prefix of every key, without `/` at either end; empty for the whole bucket. `storage_path` by its
    /// original meaning.
    pub root: String,
    /// Who replaces the credentials.
    pub renewal: Arc<dyn Renewal>,
}

/// The description of a driver, shared keys included.
pub fn describe<S: ObjectStorage>() -> Description {
    let mut description = S::describe();
    let own = description.keys.len();
    for key in settings::keys() {
        if !description.keys[..own].iter().any(|have| have.name == key.name) {
            description.keys.push(key);
        }
    }
    description
}

/// Opens a driver's bucket and puts the engine over it.
///
/// # Errors
/// `InvalidConfiguration` for wrong settings; those of [`Bucket::probe`](crate::Bucket::probe).
pub async fn open<S: ObjectStorage>(settings: &Settings) -> Result<Arc<Engine>> {
    let shared = StoreSettings::read(settings)?;
    let opened = S::open(settings, &shared).await?;
    Engine::open(opened, shared).await
}

/// Makes the driver of an object store and exports it from the library.
///
/// ```text
/// object_store_driver! { name: "s3", driver: S3Driver, storage: S3 }
/// ```
///
/// `storage` implements [`ObjectStorage`]. Without `name` the driver is made and not exported, for tests.
#[macro_export]
macro_rules! object_store_driver {
    (name: $name:literal, driver: $driver:ident, storage: $storage:ty $(,)?) => {
        $crate::object_store_driver! { driver: $driver, storage: $storage }

        $crate::driver_api::export_driver! {
            name: $name,
            driver: $driver,
            // Everything waits for the network by tokio's means.
            nonblocking: true,
        }
    };
    (driver: $driver:ident, storage: $storage:ty $(,)?) => {
        /// The driver: one bucket of an object store.
        pub struct $driver(::std::sync::Arc<$crate::Engine>);

        const _: () = {
            use ::std::{
                option::Option,
                string::String,
                time::{Duration, SystemTime},
                vec::Vec,
            };

            use $crate::driver_api::{
                ByteStream, Bytes, CallContext, Capabilities, Condition, Description, Driver, ETag, Error,
                HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
                Reading, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress,
                UploadState,
            };

            #[$crate::driver_api::async_trait]
            impl Driver for $driver {
                fn describe() -> Description {
                    $crate::driver::describe::<$storage>()
                }

                async fn open(settings: Settings, _host: HostServices) -> Result<Self> {
                    Ok(Self($crate::driver::open::<$storage>(&settings).await?))
                }

                fn capabilities(&self) -> Capabilities {
                    self.0.capabilities()
                }

                async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
                    self.0.get(call, path, max_size).await
                }

                async fn put(
                    &self,
                    call: &CallContext,
                    path: &ObjectPath,
                    content: Bytes,
                    condition: &Condition,
                ) -> Result<Option<ETag>> {
                    self.0.put(call, path, content, condition).await
                }

                async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
                    self.0.head(call, path).await
                }

                async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
                    self.0.stat(call, path).await
                }

                async fn read(
                    &self,
                    call: &CallContext,
                    path: &ObjectPath,
                    range: ReadRange,
                ) -> Result<Reading> {
                    self.0.read(call, path, range).await
                }

                async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
                    self.0.list(call, request).await
                }

                async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
                    self.0.open_upload(call, hint).await
                }

                async fn append(
                    &self,
                    call: &CallContext,
                    state: &UploadState,
                    expected_offset: u64,
                    body: ByteStream,
                ) -> Result<UploadProgress> {
                    self.0.append(call, state, expected_offset, body).await
                }

                async fn commit(
                    &self,
                    call: &CallContext,
                    state: &UploadState,
                    final_path: &ObjectPath,
                    condition: &Condition,
                ) -> Result<ObjectInfo> {
                    self.0.commit(call, state, final_path, condition).await
                }

                async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
                    self.0.abort(call, state).await
                }

                async fn write(
                    &self,
                    call: &CallContext,
                    path: &ObjectPath,
                    size: Option<u64>,
                    body: ByteStream,
                    condition: &Condition,
                ) -> Result<ObjectInfo> {
                    self.0.write(call, path, size, body, condition).await
                }

                async fn list_uploads(
                    &self,
                    call: &CallContext,
                    older_than: SystemTime,
                    after: Option<&str>,
                    limit: u32,
                ) -> Result<UploadPage> {
                    self.0.list_uploads(call, older_than, after, limit).await
                }

                async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
                    self.0.copy(call, from, to).await
                }

                async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
                    self.0.rename(call, from, to).await
                }

                async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
                    self.0.delete(call, path).await
                }

                async fn delete_many(
                    &self,
                    call: &CallContext,
                    paths: &[ObjectPath],
                ) -> Result<Vec<(ObjectPath, Error)>> {
                    self.0.delete_many(call, paths).await
                }

                async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
                    self.0.delete_tree(call, prefix).await
                }

                async fn redirect_url(
                    &self,
                    call: &CallContext,
                    request: &RedirectRequest,
                ) -> Result<Option<String>> {
                    self.0.redirect_url(call, request).await
                }

                async fn health(&self, call: &CallContext) -> Result<()> {
                    self.0.health(call).await
                }

                async fn close(&self, grace: Duration) {
                    self.0.close(grace).await;
                }
            }
        };
    };
}
