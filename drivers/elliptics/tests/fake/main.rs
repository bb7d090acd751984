//! The driver over fake nodes in this process: the whole conformance suite on clusters of several kinds, and what the
//! suite cannot see from outside: nodes that go and come back, data of the original driver, wrong settings.

mod cluster;
mod faults;
// Some of the trouble is made by the tests of the crate alone.
#[allow(dead_code)]
mod node;
mod original;
mod start;

use std::{future::Future, process::ExitCode, sync::Arc, time::Duration};

use docker_registry_driver_conformance::{Case, Outcome, cases};
use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::cluster::{ClusterOpener, FakeCluster};

/// Groups, nodes of each, and whether they have secondary indexes.
const KINDS: &[(&str, (u32, usize, bool))] =
    &[("one_node", (1, 1, false)), ("three_groups", (3, 2, false)), ("with_indexes", (2, 1, true))];
/// Longest time of a test. It only guards against calls that never return.
const HANG: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, kind) in KINDS {
        for case in cases().filter(|case| !case.is_long()) {
            trials.push(Trial::ignorable_test(format!("{name}::{}", case.name()), move || run(case, *kind)));
        }
    }
    trials.extend(faults::trials());
    trials.extend(original::trials());
    trials.extend(start::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn run(
    case: &'static Case,
    (groups, nodes, has_indexes): (u32, usize, bool),
) -> Result<Completion, libtest_mimic::Failed> {
    let runtime = runtime();
    let outcome = runtime.block_on(async {
        let cluster = FakeCluster::start(groups, nodes, has_indexes).await;
        case.run(Arc::new(ClusterOpener(cluster))).await
    });
    runtime.shutdown_background();
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        Outcome::Failed(text) => Err(text.into()),
    }
}

/// A test that runs on a runtime of its own.
fn trial<F: Future<Output = ()> + Send + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = runtime();
        let done = runtime.block_on(async { tokio::time::timeout(HANG, tokio::spawn(test())).await });
        runtime.shutdown_background();
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panic)) => Err(panic.to_string().into()),
            Err(_) => Err("the test hangs".into()),
        }
    })
}
