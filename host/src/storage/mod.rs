//! The storage as the rest of the host sees it: any driver behind the driver API's own trait, with
//! decorators around it.
//!
//! A decorator is a driver around a driver and adds one thing to every call: `observed` measures,
//! `deadlines` gives up on calls that take too long, `limited` keeps the number of calls at once down.
//! [`decorate`] puts them together.

mod around;
mod deadlines;
mod limited;
mod observed;

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::Driver;

use self::{around::Decorated, deadlines::Deadlines, limited::Limited, observed::Observed};

/// The storage that all requests share.
pub type Storage = Arc<dyn Driver>;

/// Puts every decorator around an open driver. `name` is the driver's, for metrics; `calls` the most
/// calls at once, above zero; `deadline` what one small call may take.
///
/// The deadline includes the time that a call waits for its turn; what is measured is the time that the
/// driver took.
pub fn decorate(driver: Storage, name: &str, calls: usize, deadline: Duration) -> Storage {
    let observed = Arc::new(Decorated(Observed::new(driver, name)));
    let limited = Arc::new(Decorated(Limited::new(observed, calls)));
    Arc::new(Decorated(Deadlines::new(limited, deadline)))
}
