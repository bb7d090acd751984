//! Deletions.

use docker_registry_driver_api::{CallContext, Error, ObjectPath, Prefix, Result};

use crate::engine::Engine;

impl Engine {
    /// See [`Driver::delete`](docker_registry_driver_api::Driver::delete).
    pub async fn delete(&self, _: &CallContext, _: &ObjectPath) -> Result<()> {
        Err(Error::unsupported("delete"))
    }

    /// See [`Driver::delete_many`](docker_registry_driver_api::Driver::delete_many).
    pub async fn delete_many(&self, _: &CallContext, _: &[ObjectPath]) -> Result<Vec<(ObjectPath, Error)>> {
        Err(Error::unsupported("delete_many"))
    }

    /// See [`Driver::delete_tree`](docker_registry_driver_api::Driver::delete_tree).
    pub async fn delete_tree(&self, _: &CallContext, _: &Prefix) -> Result<u64> {
        Err(Error::unsupported("delete_tree"))
    }
}
