//! Listings.

use docker_registry_driver_api::{CallContext, Error, ListPage, ListRequest, Result};

use crate::engine::Engine;

/// Where the listings of a store that knows tokens only stopped.
#[derive(Debug, Default)]
pub(crate) struct Cursors;

impl Engine {
    /// See [`Driver::list`](docker_registry_driver_api::Driver::list).
    pub async fn list(&self, _: &CallContext, _: &ListRequest) -> Result<ListPage> {
        Err(Error::unsupported("list"))
    }
}
