//! The storage as the rest of the host sees it: any driver behind the driver API's own trait, with
//! decorators around it.

use std::sync::Arc;

use docker_registry_driver_api::Driver;

/// The storage that all requests share.
pub type Storage = Arc<dyn Driver>;
