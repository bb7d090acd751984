//! Copies and moves at the store.

use docker_registry_driver_api::{CallContext, Error, ObjectPath, Result};

use crate::engine::Engine;

impl Engine {
    /// See [`Driver::copy`](docker_registry_driver_api::Driver::copy).
    pub async fn copy(&self, _: &CallContext, _: &ObjectPath, _: &ObjectPath) -> Result<()> {
        Err(Error::unsupported("copy"))
    }

    /// See [`Driver::rename`](docker_registry_driver_api::Driver::rename).
    pub async fn rename(&self, _: &CallContext, _: &ObjectPath, _: &ObjectPath) -> Result<()> {
        Err(Error::unsupported("rename"))
    }
}
