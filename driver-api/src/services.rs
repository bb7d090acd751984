//! What the server offers to a driver.
//!
//! Services are append-only, like everything else: a driver built for a newer 1.x finds the missing
//! ones answered with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).

use std::{fmt, sync::Arc};

use crate::{Driver, Error, Result, Settings};

/// A driver behind a pointer, as the server and drivers that stand on others hold it.
pub type SharedDriver = Arc<dyn Driver>;

/// Opens other drivers on behalf of this one.
#[crate::async_trait]
pub(crate) trait DriverOpener: Send + Sync {
    async fn open(&self, name: &str, settings: Settings) -> Result<SharedDriver>;
    async fn open_alternate(&self, name: &str, settings: &Settings) -> Result<SharedDriver>;
    fn count(&self, counter: &str, amount: u64);
}

/// Handle to the server that loaded the driver. Cheap to clone.
///
/// Logging needs no handle: events of the `tracing` macros reach the server's log by themselves.
#[derive(Clone, Default)]
pub struct HostServices {
    pub(crate) opener: Option<Arc<dyn DriverOpener>>,
}

impl HostServices {
    /// Opens another driver by name, found, checked and loaded like the configured one.
    ///
    /// The other driver gets `settings` as they are: nobody has checked them against its description or given
    /// absent keys their defaults. [`HostServices::open_alternate`] does both.
    ///
    /// # Errors
    /// Those of loading and of the other driver's `open`;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the server lacks the service.
    pub async fn open_driver(&self, name: &str, settings: Settings) -> Result<SharedDriver> {
        match &self.opener {
            Some(opener) => opener.open(name, settings).await,
            None => Err(Error::unsupported("open_driver")),
        }
    }

    /// Opens the driver that this one stands on, as glance does with its `storage_alternate`: found, checked and
    /// loaded like the configured one. `file` means `local`. Since API 1.2.
    ///
    /// `settings` are this driver's own. The other driver gets those of them that its description names, with
    /// defaults for the absent ones. A driver whose description has a key `storage_alternate` is handed the
    /// keys of the driver that is named there with its own, so that both are configured in one flavor.
    ///
    /// # Errors
    /// As for [`HostServices::open_driver`];
    /// [`ErrorKind::InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration) for a value of a type that
    /// the other driver does not take, for one that it cannot do without, and for a driver that would open
    /// itself.
    pub async fn open_alternate(&self, name: &str, settings: &Settings) -> Result<SharedDriver> {
        match &self.opener {
            Some(opener) => opener.open_alternate(name, settings).await,
            None => Err(Error::unsupported("open_alternate")),
        }
    }

    /// Adds to a counter that the server publishes with its metrics. `counter` is in snake case and
    /// says what is counted, for example `token_renewals`.
    pub fn count(&self, counter: &str, amount: u64) {
        if let Some(opener) = &self.opener {
            opener.count(counter, amount);
        }
    }
}

impl fmt::Debug for HostServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostServices").finish_non_exhaustive()
    }
}
