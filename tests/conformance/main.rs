//! The conformance suite in this process, against the drivers that are linked into the tests, and drivers
//! with one fault each, on which it must fail.
//!
//! A test is named `DRIVER::GROUP/CASE`. The long cases run with the feature `long` of this crate, on the
//! local driver only.

mod changed;
mod faulty;
mod faulty_calls;
mod faulty_failures;
mod faulty_listings;
mod faulty_moves;
mod faulty_names;
mod faulty_objects;
mod faulty_readings;
mod faulty_uploads;
mod faulty_writing;
mod late;
mod own_uploads;
mod subjects;

use std::{process::ExitCode, sync::Arc};

use docker_registry_driver_conformance::{Case, Opener, Outcome, cases};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::{
    late::Late,
    subjects::{Least, Local, Memory, SmallPages},
};

/// Cases that run at once.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    let wanted = cases().filter(|case| cfg!(feature = "long") || !case.is_long());
    let mut trials = Vec::new();
    for case in wanted {
        trials.push(on_local(case));
        // Gigabytes have no place in memory.
        if case.is_long() {
            continue;
        }
        trials.push(on("memory", case, || Arc::new(Memory)));
        trials.push(on("memory_in_small_pages", case, || Arc::new(SmallPages)));
        trials.push(on("memory_with_least", case, || Arc::new(Least)));
        trials.push(on("memory_with_late_listings", case, || Arc::new(Late)));
    }
    trials.extend(faulty::trials(faulty_objects::faults()));
    trials.extend(faulty::trials(faulty_moves::faults()));
    trials.extend(faulty::trials(faulty_listings::faults()));
    trials.extend(faulty::trials(faulty_readings::faults()));
    trials.extend(faulty::trials(faulty_names::faults()));
    trials.extend(faulty::trials(faulty_uploads::faults()));
    trials.extend(faulty::trials(faulty_writing::faults()));
    trials.extend(faulty::trials(faulty_calls::faults()));
    trials.extend(faulty::trials(faulty_failures::faults()));
    trials.extend(faulty_uploads::without_a_fault());
    let mut arguments = Arguments::from_args();
    // Most of them wait: for stores that are late, and for readers that stall.
    arguments.test_threads.get_or_insert(AT_ONCE);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn on(driver: &str, case: &'static Case, opener: fn() -> Arc<dyn Opener>) -> Trial {
    Trial::ignorable_test(format!("{driver}::{}", case.name()), move || completed(run(case, opener())))
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
