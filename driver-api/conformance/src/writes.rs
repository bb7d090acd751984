//! Writing content of any size in one call, and what a case expects of that.

use std::panic::Location;

use docker_registry_driver_api::{ByteStream, Condition, ObjectInfo, Result};

use crate::{
    failure::{broken, shown},
    promise,
    store::{Store, call},
};

impl Store {
    /// Writes content of any size in one call, which must succeed and say how much there is.
    #[track_caller]
    pub(crate) fn write(
        &self,
        name: &str,
        size: Option<u64>,
        body: ByteStream,
        length: u64,
    ) -> impl Future<Output = ObjectInfo> + use<> {
        let (store, name, place) = (self.clone(), name.to_owned(), Location::caller());
        async move {
            let expected = format!("write of {} bytes at {} succeeds", length, store.path(&name));
            match store.try_write(&name, size, body, &Condition::Always).await {
                Ok(info) if info.size == length => info,
                Ok(info) => broken(expected, format_args!("{info:?}"), promise::WRITE, place),
                Err(error) => broken(expected, shown(&error), promise::WRITE, place),
            }
        }
    }

    /// Writes content of any size in one call, whatever comes of it.
    pub(crate) async fn try_write(
        &self,
        name: &str,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.driver.write(&call(), &self.path(name), size, body, condition).await
    }
}
