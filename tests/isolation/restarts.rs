//! A driver's process that does not stay: how often it is started, and what the server says and does meanwhile.

use std::{
    fs,
    time::{Duration, Instant},
};

use docker_registry_tests::{
    artifacts,
    content::digest,
    process::{PATIENCE, wait_for},
};

use crate::registry::{Registry, expect_end, expect_unavailable, kill};

#[test]
fn a_process_that_is_killed_is_started_again_and_the_next_request_is_served() {
    let registry = Registry::start();
    let blob = registry.push(b"still there");
    for number in 1..=3 {
        let process = registry.driver_process();
        kill(process.as_raw_nonzero().get().cast_unsigned());
        registry.expect(&blob);
        assert_ne!(registry.driver_process(), process);
        assert_eq!(registry.metric("registry_driver_restarts_total", "misbehaving"), f64::from(number));
    }
}

#[test]
fn a_write_that_never_reached_the_dead_process_is_made_in_the_next() {
    let registry = Registry::start();
    for number in 0..5 {
        let process = registry.driver_process();
        kill(process.as_raw_nonzero().get().cast_unsigned());
        expect_end(process);
        registry.expect(&registry.push(format!("blob {number}").as_bytes()));
    }
}

#[test]
fn a_crash_loop_does_not_spin_and_the_server_stays_responsive() {
    let registry = Registry::start();
    let blob = registry.push(b"still there");
    assert_eq!(registry.recorded("open ", ""), 1);
    registry.throw("open abort\n");
    let killed = Instant::now();
    kill(registry.driver_process().as_raw_nonzero().get().cast_unsigned());
    wait_for("it has been tried five times", PATIENCE, || {
        registry.client().get("/v2/").expect(200);
        registry.server.admin().get("/livez").expect(200);
        (registry.recorded("open ", "") > 5).then_some(())
    });
    // Before the start number N come pauses of at least 50, 100, 200 … milliseconds.
    let starts = registry.recorded("open ", "") - 1;
    let least = |starts: usize| Duration::from_millis(50) * (2_u32.pow(starts as u32) - 1);
    assert!(killed.elapsed() >= least(starts), "{starts} starts in {:?}", killed.elapsed());

    expect_unavailable(registry.get(&blob));
    // One end, one line.
    registry.has_logged("the driver's process ended with", 1);
    let failed = registry.logged("the driver could not be started again");
    let starts = registry.recorded("open ", "") - 1;
    assert!((5..=starts).contains(&failed), "{failed} lines for {starts} starts");
    assert!(registry.metric("registry_driver_restarts_total", "misbehaving") >= 5.0);

    registry.throw("");
    wait_for("it has recovered", PATIENCE, || (registry.get(&blob).status == 200).then_some(()));
    registry.expect(&blob);
}

#[test]
fn a_restart_that_finds_another_file_says_so() {
    let drivers = tempfile::tempdir().expect("a folder");
    let library = |driver: &str| format!("libdocker_registry_driver_{driver}.so");
    for driver in ["misbehaving", "local"] {
        let name = library(driver);
        fs::copy(artifacts::folder().join(&name), drivers.path().join(&name)).expect("the driver is built");
    }
    let registry = Registry::with_drivers(drivers.path());
    let blob = registry.push(b"still there");
    let restart = || {
        let process = registry.driver_process();
        kill(process.as_raw_nonzero().get().cast_unsigned());
        registry.expect(&blob);
    };
    restart();
    assert_eq!(registry.logged("from another file"), 0);
    let (file, next) = (drivers.path().join(library("misbehaving")), drivers.path().join("next"));
    let mut changed = fs::read(&file).expect("it is there");
    // Behind the end of what is loaded.
    changed.push(0);
    fs::write(&next, &changed).expect("there is room");
    fs::rename(next, file).expect("it can be replaced");
    restart();
    registry.has_logged("the driver was loaded from another file than when the server started", 1);
    registry.has_logged(&digest(&changed)[7..], 1);
}

#[test]
fn a_driver_that_cannot_be_opened_again_is_tried_until_it_can() {
    let registry = Registry::start();
    let blob = registry.push(b"still there");
    registry.throw("open error\n");
    kill(registry.driver_process().as_raw_nonzero().get().cast_unsigned());
    wait_for("a start fails", PATIENCE, || {
        (registry.logged("driver `misbehaving`: open: an error on purpose") > 0).then_some(())
    });
    expect_unavailable(registry.get(&blob));
    registry.throw("");
    wait_for("it has recovered", PATIENCE, || (registry.get(&blob).status == 200).then_some(()));
}
