//! The storage as the rest of the host sees it: any driver behind the driver API's own trait, with
//! decorators around it.
//!
//! A decorator is a driver around a driver and adds one thing to every call: `observed` measures, `limited`
//! keeps the number of calls at once down, `retried` makes calls again, `deadlines` gives up on calls that
//! take too long. [`decorate`] puts them together, and their order is part of what they do:
//!
//! - deadlines are outermost: a call has one, which holds for waiting, every attempt and the pauses between;
//! - retries are outside the limit: a call that pauses takes nobody's turn, and each attempt waits for its own;
//! - measured is the inside: every attempt by itself, and only the time that the driver took.
//!
//! The cache, where there is one, is around all of them: what it has costs none of this. See [`Cache`].

mod around;
mod cached;
mod deadlines;
mod limited;
mod observed;
#[cfg(test)]
mod overload_tests;
mod retried;
mod stuck;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::Driver;

use self::{around::Decorated, deadlines::Deadlines, limited::Limited, observed::Observed, retried::Retried};

pub use cached::{Below, Cache, Keeping, KeepingRules};

/// The storage that all requests share.
pub type Storage = Arc<dyn Driver>;

/// Puts every decorator around an open driver. `name` is the driver's, for metrics; `calls` the most
/// calls at once, above zero; `deadline` what one small call may take.
pub fn decorate(driver: Storage, name: &str, calls: usize, deadline: Duration) -> Storage {
    let observed = Arc::new(Decorated(Observed::new(driver, name)));
    let limited = Arc::new(Decorated(Limited::new(observed, name, calls)));
    let retried = Arc::new(Decorated(Retried::new(limited, name)));
    Arc::new(Decorated(Deadlines::new(retried, name, deadline)))
}
