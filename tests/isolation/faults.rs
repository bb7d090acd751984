//! Faults that a process survives, with the driver in the server's process and in one of its own: they are the
//! error of their request, and somebody else is served all the time.

use std::{io, thread, thread::JoinHandle};

use docker_registry_tests::{
    content::digest,
    http::Response,
    process::{PATIENCE, wait_for},
    v2,
};

use crate::registry::{Blob, REPOSITORY, Registry, SomebodyElse, expect_unavailable};

/// Where the driver's code runs.
const PLACES: [&str; 2] = ["declared", "process"];
/// How many requests are stuck at once. The server has far fewer threads.
const MANY: usize = 64;

fn get_many(registry: &Registry, blob: &Blob) -> Vec<JoinHandle<io::Result<Response>>> {
    let get = |_| {
        let (client, target) = (registry.client(), blob.target.clone());
        thread::spawn(move || client.try_send("GET", &target, &[], b""))
    };
    (0..MANY).map(get).collect()
}

fn expect_begun(registry: &Registry, blob: &Blob, count: usize) {
    wait_for("all reads have begun", PATIENCE, || {
        (registry.recorded("read ", &blob.hex) >= count).then_some(())
    });
}

#[test]
fn a_panic_in_a_method_or_a_destructor_is_the_error_of_its_request() {
    for place in PLACES {
        let registry = Registry::with(place, "");
        let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
        let somebody = SomebodyElse::getting(&registry, &other);
        for fault in ["read panic", "read panic_in_drop", "head panic", "get panic"] {
            registry.throw(&format!("{fault} {}\n", blob.hex));
            let method = if fault.starts_with("head") { "HEAD" } else { "GET" };
            registry.client().send(method, &blob.target, &[], b"").expect(500);
            somebody.expect_service();
        }
        registry.throw(&format!("get panic_in_bytes {}\n", blob.hex));
        // The bytes are no link, and their owner panics on the server's side of the ABI.
        assert_ne!(registry.get(&blob).status, 200);
        registry.throw("");
        registry.expect(&blob);
        for (fault, step, status) in [
            ("append panic", "PATCH", 500),
            // For the driver below this is a body that fails, and nobody can tell it from a client's.
            ("append_stream panic", "PATCH", 400),
            ("commit panic", "PUT without a body", 500),
            ("put panic", "PUT without a body", 500),
            ("write panic", "PUT", 500),
            ("append_stream panic", "PUT", 400),
            ("put panic", "PUT", 500),
        ] {
            let content = format!("{fault} in {step} {}", "x".repeat(2 << 20)).into_bytes();
            let client = registry.client();
            let mut location = v2::open_upload(&client, REPOSITORY);
            if step == "PUT without a body" {
                location = client.send("PATCH", &location, &[v2::OCTETS], &content).expect(202).location();
            }
            registry.throw(&format!("{fault}\n"));
            let target = v2::completion(&location, &digest(&content));
            let answer = match step {
                "PATCH" => client.send("PATCH", &location, &[v2::OCTETS], &content),
                "PUT" => client.send("PUT", &target, &[v2::OCTETS], &content),
                _ => client.send("PUT", &target, &[v2::OCTETS], b""),
            };
            assert_eq!(answer.status, status, "{place}: {fault} in {step}");
            registry.throw("");
            somebody.expect_service();
        }
        somebody.leave();
        registry.throw("health panic\nclose panic\ndrop panic\n");
        let (status, ..) = registry.stop();
        assert!(status.success(), "{place}: {status}");
    }
}

#[test]
fn a_stream_that_panics_or_fails_is_cut_off_and_one_that_panics_at_its_end_is_whole() {
    for place in PLACES {
        let registry = Registry::with(place, "");
        let (blob, other) = (registry.push(&vec![5; 100_000]), registry.push(b"the other"));
        let somebody = SomebodyElse::getting(&registry, &other);
        for fault in ["panic", "error", "storm"] {
            registry.throw(&format!("read_stream {fault} {}\n", blob.hex));
            let cut = registry.client().try_send("GET", &blob.target, &[], b"");
            assert_eq!(cut.expect_err("the answer is cut off").kind(), io::ErrorKind::UnexpectedEof);
            somebody.expect_service();
        }
        registry.throw(&format!("read_stream panic_in_drop {}\n", blob.hex));
        registry.expect(&blob);
        somebody.leave();
    }
}

#[test]
fn sixty_four_blocked_reads_delay_no_other_request() {
    for place in PLACES {
        let registry = Registry::with(place, "");
        let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
        registry.throw(&format!("read block {}\n", blob.hex));
        let blocked = get_many(&registry, &blob);
        wait_for("all of them block", PATIENCE, || {
            (registry.metric("registry_driver_events_total", "event=\"blocked\"") >= MANY as f64)
                .then_some(())
        });
        let somebody = SomebodyElse::getting(&registry, &other);
        v2::push_blob(&registry.client(), REPOSITORY, b"a write");
        somebody.leave();
        assert!(blocked.iter().all(|request| !request.is_finished()), "{place}: somebody waited for them");
        registry.throw("");
        for request in blocked {
            assert_eq!(request.join().expect("no panic").expect("an answer").expect(200).body, b"the one");
        }
    }
}

#[test]
fn sixty_four_hanging_reads_delay_no_other_request_and_end_at_their_deadline() {
    for place in PLACES {
        let registry = Registry::with(place, "  limits:\n    driver_timeout: 5s\n");
        let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
        registry.throw(&format!("read hang {}\n", blob.hex));
        let somebody = SomebodyElse::getting(&registry, &other);
        let hanging = get_many(&registry, &blob);
        expect_begun(&registry, &blob, MANY);
        somebody.expect_service();
        for request in hanging {
            expect_unavailable(request.join().expect("no panic").expect("an answer"));
        }
        // Others may be too slow as well on a busy machine.
        assert!(registry.metric("registry_storage_stuck_calls_total", "action=\"read\"") >= MANY as f64);
        somebody.leave();
        registry.throw("");
        registry.expect(&blob);
    }
}

#[test]
fn an_error_storm_is_answered_and_over_when_it_is_over() {
    for place in PLACES {
        let registry = Registry::with(place, "");
        let blob = registry.push(b"the one");
        registry.throw("any storm\n");
        for _ in 0..3 {
            for request in get_many(&registry, &blob) {
                expect_unavailable(request.join().expect("no panic").expect("an answer"));
            }
            registry.client().get("/v2/").expect(200);
            registry.server.admin().get("/livez").expect(200);
        }
        assert!(registry.logged("nothing works") < 3 * MANY, "{place}: not a line for each error");
        registry.throw("");
        registry.expect(&blob);
    }
}

#[test]
fn a_driver_that_reports_without_end_delays_no_answer() {
    for place in PLACES {
        let registry = Registry::with(place, "");
        let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
        registry.throw(&format!("read flood {}\n", blob.hex));
        registry.expect(&blob);
        let somebody = SomebodyElse::getting(&registry, &other);
        for number in 0..20 {
            registry.expect(&registry.push(format!("blob {number}").as_bytes()));
        }
        somebody.leave();
        registry.throw("");
        assert!(registry.metric("registry_driver_events_total", "event=\"flood\"") > 0.0);
    }
}

#[test]
fn a_stream_that_comes_too_slowly_is_cut_off() {
    for place in PLACES {
        let registry =
            Registry::with(place, "  pause_milliseconds: 3600000\n  limits:\n    driver_timeout: 5s\n");
        let (blob, other) = (registry.push(b"byte by byte"), registry.push(b"the other"));
        let somebody = SomebodyElse::getting(&registry, &other);
        for (number, fault) in ["slow", "hang", "panic_when_dropped"].into_iter().enumerate() {
            registry.throw(&format!("read_stream {fault} {}\n", blob.hex));
            let cut = registry.client().try_send("GET", &blob.target, &[], b"");
            assert_eq!(cut.expect_err("the answer is cut off").kind(), io::ErrorKind::UnexpectedEof);
            let stuck = registry.metric("registry_storage_stuck_calls_total", "action=\"read\"");
            assert!(stuck >= (number + 1) as f64, "{place} {fault}: {stuck}");
            wait_for("the stream is dropped", PATIENCE, || {
                (registry.recorded("read_stream dropped", "") > number).then_some(())
            });
            somebody.expect_service();
        }
        somebody.leave();
    }
}
