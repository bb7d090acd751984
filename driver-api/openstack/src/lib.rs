//! What the drivers for services of OpenStack share, so that nothing of it is written twice: the keys of an identity,
//! the identity service in its three versions, the catalog that says where a service is, and tokens that are renewed.
//!
//! A driver names its [`Service`], adds [`CloudSettings::keys`] to its own, and sends its requests through a
//! [`Session`]. No error and no log line holds a password or a token.

mod catalog;
mod identity;
mod service;
mod session;
mod settings;

pub use catalog::Interface;
pub use identity::{Domain, Granted, Identity, Name, Proof};
pub use service::Service;
pub use session::Session;
pub use settings::{CloudSettings, split_version};

use docker_registry_driver_api::{Error, ErrorKind};

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}
