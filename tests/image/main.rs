//! The container image, built by docker on a Debian of its own, and started in every way that images of docker-registry
//! and of distribution are started today.
//!
//! One daemon and one image serve all tests. Containers have a network of their own unless a test says otherwise, so
//! that the usual ports are free in each.

mod container;
mod content;
mod forms;
mod privileges;

use std::{process::ExitCode, sync::Arc};

use docker_registry_tests::{artifacts, debian, docker::Docker, process::run};
use libtest_mimic::{Arguments, Trial};

/// The name that the image is built under.
const IMAGE: &str = "registry";
/// The name of the base.
const BASE: &str = "debian-base";

type Test = fn(&Docker);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let tests: Vec<(&str, Test)> = [content::TESTS, forms::TESTS, privileges::TESTS].concat();
    // Containers are slow to start on a small machine, and a test waits for several.
    arguments.test_threads.get_or_insert(2);
    let wanted = |(name, _): &&(&str, Test)| {
        let filter = arguments.filter.as_deref();
        filter.is_none_or(|filter| if arguments.exact { *name == filter } else { name.contains(filter) })
    };
    let is_run = !arguments.list && tests.iter().any(|test| wanted(&test));
    let docker = Arc::new(is_run.then(with_image));
    let trials = tests.into_iter().map(|(name, test)| {
        let docker = Arc::clone(&docker);
        Trial::test(name, move || {
            test(docker.as_ref().as_ref().expect("it runs when a test does"));
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Ended before the process is, so that nothing of it stays.
    drop(docker);
    conclusion.exit_code()
}

/// A daemon with the image, built as a user builds it.
fn with_image() -> Docker {
    // The release files are not needed themselves; this waits for whoever makes them.
    artifacts::dist();
    let docker = Docker::start();
    docker.import(&debian::base(), BASE);
    let mut xtask = artifacts::xtask();
    xtask.args(["dist", "--image", IMAGE, "--base", BASE]);
    docker.point(&mut xtask);
    run(&mut xtask);
    docker
}
