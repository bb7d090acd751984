//! What a case is and how it is run: alone in its folder, within its time, and without a trace.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Capabilities, Capability};
use futures::future::BoxFuture;

use crate::{
    Opener,
    failure::{Ended, caught},
    remains::Remains,
    store::Store,
};

/// How long a driver may take to close.
const CLOSING: Duration = Duration::from_secs(10);
/// What it may take beyond: the driver's own clock ends at the same moment as one of the suite's would.
const MARGIN: Duration = Duration::from_secs(5);
/// How many times longer a case may take on a store that is not strongly consistent.
const LATE_STORES: u32 = 5;
/// How long the folder of a case may take to be cleared.
const CLEARING: Duration = Duration::from_secs(5 * 60);

/// One behaviour that a driver must show.
pub struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [Capability],
    pub(crate) is_long: bool,
    pub(crate) time_limit: Duration,
    pub(crate) body: fn(Store) -> BoxFuture<'static, ()>,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The driver behaves.
    Passed,
    /// The driver does not offer what the case is about, or the tester did not name what it takes. The
    /// reason.
    Skipped(String),
    /// The driver does not behave: what was expected, what came, which sentence of the documentation it
    /// breaks. One or more lines.
    Failed(String),
}

/// All cases, group by group.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    crate::cases::ALL.iter().flat_map(|group| group.iter())
}

impl Case {
    /// Name as `group/case_name`, unique.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is tried, in one sentence.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Capabilities without which the case is skipped.
    pub fn needs(&self) -> Capabilities {
        self.needs.iter().copied().collect()
    }

    /// Whether it takes minutes or gigabytes, so that one wants to be asked.
    pub fn is_long(&self) -> bool {
        self.is_long
    }

    /// How long the case may take on a driver with these capabilities before it counts as failed. Clearing up and
    /// closing come on top; who runs the case in a process of its own should wait a minute longer.
    pub fn time_limit(&self, capabilities: Capabilities) -> Duration {
        match capabilities.has(Capability::StrongConsistency) {
            true => self.time_limit,
            // Most of it is waiting for what was written to show.
            false => self.time_limit * LATE_STORES,
        }
    }

    /// Opens the driver, runs the case under a random folder, clears the folder, looks for remains and
    /// closes the driver. Never panics. Needs a tokio runtime with timers.
    pub async fn run(&self, opener: Arc<dyn Opener>) -> Outcome {
        self.run_for(opener, Duration::ZERO).await
    }

    /// [`Case::run`] on a storage that is known to be slow: the case and the clearing up after it
    /// have at least this time each.
    pub async fn run_for(&self, opener: Arc<dyn Opener>, least: Duration) -> Outcome {
        let store = match caught(Store::open(opener)).await {
            Ok(store) => store,
            Err(ended) => return ended.into(),
        };
        let lacking: Vec<_> =
            self.needs.iter().filter(|need| !store.has(**need)).map(|need| need.name()).collect();
        let outcome = if lacking.is_empty() {
            self.run_on(&store, least).await
        } else {
            Outcome::Skipped(format!("the driver does not offer {}", lacking.join(", ")))
        };
        // Nothing of the case runs any more, so that this is the last call.
        let closing = tokio::time::timeout(CLOSING + MARGIN, caught(store.close(CLOSING))).await;
        match (closing, outcome) {
            (Ok(Err(ended)), Outcome::Passed) => ended.into(),
            (Err(_), Outcome::Passed) => Outcome::Failed(format!(
                "close did not return within its grace of {} seconds\npromise: close: \"At most `grace` is waited for.\"",
                CLOSING.as_secs()
            )),
            (_, outcome) => outcome,
        }
    }

    async fn run_on(&self, store: &Store, least: Duration) -> Outcome {
        let remains = match caught(Remains::before(store)).await {
            Ok(remains) => remains,
            Err(ended) => return ended.into(),
        };
        let limit = self.time_limit(store.driver.capabilities()).max(least);
        let ended = match tokio::time::timeout(limit, caught((self.body)(store.clone()))).await {
            Ok(ended) => ended,
            Err(_) => Err(Ended::Failed(format!(
                "the case was not done after {} seconds: a call hangs, or the storage is too slow",
                limit.as_secs()
            ))),
        };
        let cleared = match tokio::time::timeout(CLEARING.max(least), caught(remains.clear(store))).await {
            Ok(cleared) => cleared,
            Err(_) => Err(Ended::Failed("clearing up after the case does not come to an end".to_owned())),
        };
        match (ended, cleared) {
            (Ok(()), Ok(())) => Outcome::Passed,
            (Ok(()), Err(left)) => left.into(),
            // What broken code leaves behind is no second finding.
            (Err(ended), _) => ended.into(),
        }
    }
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Skipped(reason) => Self::Skipped(reason),
            Ended::Failed(text) => Self::Failed(text),
        }
    }
}

/// Declares the cases of a group; the functions follow below it.
///
/// `NAME [CAPABILITY, …] long MINUTES => "What is tried.";` where the capabilities and `long` may be
/// missing.
macro_rules! group {
    ($group:literal: $($name:ident $([$($need:ident),+])? $(long $minutes:literal)? => $about:literal;)+) => {
        pub(super) static CASES: &[$crate::case::Case] = &[$(
            $crate::case::Case {
                name: concat!($group, "/", stringify!($name)),
                about: $about,
                needs: &[$($(docker_registry_driver_api::Capability::$need),+)?],
                is_long: false $(|| $minutes > 0)?,
                time_limit: std::time::Duration::from_secs(60 * (3 $(+ $minutes)?)),
                body: |store| Box::pin($name(store)),
            }
        ),+];
    };
}
pub(crate) use group;
