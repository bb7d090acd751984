//! The frame for drivers with one fault: a case must fail on each, and say which promise is broken.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Result, SharedDriver, async_trait};
use docker_registry_driver_conformance::{Opener, Outcome, cases};
use libtest_mimic::{Failed, Trial};
use tokio::sync::OnceCell;

use crate::{run, subjects};

/// A driver with one fault, and the case that finds it.
#[derive(Clone)]
pub(crate) struct Fault {
    /// What the driver does wrong, as the name of a test.
    pub(crate) name: &'static str,
    /// The case that must fail, as `group/case_name`.
    pub(crate) case: &'static str,
    /// Part of the sentence that the failure must quote.
    pub(crate) promise: &'static str,
    /// Puts the fault in front of a driver without one.
    pub(crate) make: fn(SharedDriver) -> SharedDriver,
}

/// How long a fault shows. A reader on a busy machine has a look in that time.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A fault, written shorter.
pub(crate) fn fault(
    name: &'static str,
    case: &'static str,
    promise: &'static str,
    make: fn(SharedDriver) -> SharedDriver,
) -> Fault {
    Fault { name, case, promise, make }
}

/// One test for each fault, named `faulty::NAME`.
pub(crate) fn trials(faults: Vec<Fault>) -> impl Iterator<Item = Trial> {
    faults.into_iter().map(|fault| Trial::test(format!("faulty::{}", fault.name), move || found(&fault)))
}

fn found(fault: &Fault) -> Result<(), Failed> {
    let case = cases().find(|case| case.name() == fault.case);
    let case = case.ok_or_else(|| format!("there is no case {}", fault.case))?;
    let outcome = run(case, Arc::new(Faulty::new(fault.make)));
    let Outcome::Failed(finding) = outcome else {
        return Err(format!("{} does not find the fault: {outcome:?}", fault.case).into());
    };
    let promise = finding.lines().find_map(|line| line.strip_prefix("promise:"));
    if promise.is_some_and(|promise| promise.contains(fault.promise)) {
        return Ok(());
    }
    Err(format!("the finding does not quote {:?}:\n{finding}", fault.promise).into())
}

/// Opens a fault in front of a memory driver: another one for each open, in front of the same memory.
pub(crate) struct Faulty {
    memory: OnceCell<SharedDriver>,
    make: fn(SharedDriver) -> SharedDriver,
}

impl Faulty {
    pub(crate) fn new(make: fn(SharedDriver) -> SharedDriver) -> Self {
        Self { memory: OnceCell::new(), make }
    }
}

#[async_trait]
impl Opener for Faulty {
    async fn open(&self) -> Result<SharedDriver> {
        let memory = self.memory.get_or_try_init(subjects::open_memory).await?;
        Ok((self.make)(memory.clone()))
    }

    /// The fault in front of a memory in which no byte has room.
    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        Some(subjects::open_full_memory().await.map(self.make))
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

/// What a fault may give away.
pub(crate) const SECRET: &str = "correct horse battery staple";
