//! The conformance suite in this process, against the drivers that are linked into the tests, and drivers
//! with one fault each, on which it must fail.
//!
//! A test is named `DRIVER::GROUP/CASE`. The long cases run with the feature `long` of this crate.

mod changed;
mod faulty;
mod faulty_listings;
mod faulty_moves;
mod faulty_names;
mod faulty_objects;
mod faulty_readings;
mod subjects;

use std::{process::ExitCode, sync::Arc};

use docker_registry_driver_conformance::{Case, Opener, Outcome, cases};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::subjects::{Local, Memory};

fn main() -> ExitCode {
    let wanted = cases().filter(|case| cfg!(feature = "long") || !case.is_long());
    let mut trials: Vec<_> = wanted.flat_map(|case| [on_memory(case), on_local(case)]).collect();
    trials.extend(faulty::trials(faulty_objects::faults()));
    trials.extend(faulty::trials(faulty_moves::faults()));
    trials.extend(faulty::trials(faulty_listings::faults()));
    trials.extend(faulty::trials(faulty_readings::faults()));
    trials.extend(faulty::trials(faulty_names::faults()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn on_memory(case: &'static Case) -> Trial {
    Trial::ignorable_test(format!("memory::{}", case.name()), || completed(run(case, Arc::new(Memory))))
}

fn on_local(case: &'static Case) -> Trial {
    Trial::ignorable_test(format!("local::{}", case.name()), || {
        let local = Arc::new(Local::new()?);
        let completion = completed(run(case, local.clone()))?;
        local.expect_no_files()?;
        Ok(completion)
    })
}

/// Runs a case on a runtime of its own, which ends with it.
pub(crate) fn run(case: &Case, opener: Arc<dyn Opener>) -> Outcome {
    runtime().block_on(case.run(opener))
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
}

fn completed(outcome: Outcome) -> Result<Completion, Failed> {
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        Outcome::Failed(finding) => Err(finding.into()),
    }
}
