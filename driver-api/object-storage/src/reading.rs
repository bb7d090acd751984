//! Readings.

use std::sync::Arc;

use docker_registry_driver_api::{CallContext, Error, ObjectPath, ReadRange, Reading, Result};

use crate::engine::Engine;

impl Engine {
    /// See [`Driver::read`](docker_registry_driver_api::Driver::read).
    pub async fn read(self: &Arc<Self>, _: &CallContext, _: &ObjectPath, _: ReadRange) -> Result<Reading> {
        Err(Error::unsupported("read"))
    }
}
