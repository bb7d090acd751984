//! A driver that crashes in the middle of a call: what it costs, and whom.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use docker_registry_tests::{
    content::{self, digest},
    http::{Client, Length, Response},
    process::{PATIENCE, wait_for},
    v1, v2,
};

use crate::registry::{REPOSITORY, Registry, SomebodyElse, expect_unavailable, kill};

/// Two ways to end a process that nothing in it can contain.
const CRASHES: [&str; 2] = ["abort", "segfault"];

#[test]
fn a_read_that_crashes_once_is_made_again_and_nobody_notices() {
    let registry = Registry::start();
    let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
    for (number, crash) in CRASHES.into_iter().enumerate() {
        let before = registry.recorded("read ", &blob.hex);
        let somebody = SomebodyElse::getting(&registry, &other);
        registry.throw(&format!("once read {crash} {}\n", blob.hex));
        registry.expect(&blob);
        assert_eq!(registry.recorded("read ", &blob.hex) - before, 2, "{crash}: once and once more");
        somebody.expect_service();
        somebody.leave();
        assert_eq!(registry.metric("registry_driver_restarts_total", "misbehaving"), (number + 1) as f64);
    }
    registry.has_logged("the driver's process ended with signal: 6 (SIGABRT)", 1);
    registry.has_logged("the driver's process ended with signal: 11 (SIGSEGV)", 1);
}

#[test]
fn a_read_that_always_crashes_is_made_twice_and_fails_alone() {
    for crash in CRASHES {
        let registry = Registry::start();
        let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
        registry.throw(&format!("read {crash} {}\n", blob.hex));
        expect_unavailable(registry.get(&blob));
        assert_eq!(registry.recorded("read ", &blob.hex), 2, "{crash}");
        // The next request is made in the next process.
        registry.expect(&other);
        registry.throw("");
        registry.expect(&blob);
    }
}

#[test]
fn a_read_under_way_is_made_again_when_another_call_crashes() {
    let registry = Registry::with("process", "  pause_milliseconds: 1000\n");
    let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
    registry.throw(&format!("once read slow {}\n", other.hex));
    let client = registry.client();
    let target = other.target.clone();
    let waiting = thread::spawn(move || client.get(&target).expect(200).body);
    wait_for("the slow read begins", PATIENCE, || {
        (registry.recorded("read ", &other.hex) == 1).then_some(())
    });
    registry.throw(&format!("once read abort {}\n", blob.hex));
    registry.expect(&blob);
    assert_eq!(waiting.join().expect("it is answered"), b"the other");
    assert_eq!(registry.recorded("read ", &other.hex), 2);
}

#[test]
fn a_stream_that_crashes_half_way_never_looks_whole() {
    let registry = Registry::start();
    let (blob, other) = (registry.push(&vec![7; 300_000]), registry.push(b"the other"));
    for crash in CRASHES {
        let before = registry.recorded("read ", &blob.hex);
        registry.throw(&format!("read_stream {crash} {}\n", blob.hex));
        // A driver runs ahead of its reader: it can crash before its answer is out, too.
        match download(&registry.client(), &blob.target, |_| {}) {
            (Ok(answer), _) => expect_unavailable(answer),
            (Err(_cut_off), received) => assert!(received <= 150_000, "{crash}: {received} bytes"),
        }
        // If nothing had come when the process died, it was opened once more.
        let reads = registry.recorded("read ", &blob.hex) - before;
        assert!((1..=2).contains(&reads), "{crash}: {reads} reads");
        registry.expect(&other);
        registry.throw("");
        registry.expect(&blob);
    }
}

#[test]
fn a_stream_whose_process_dies_after_its_first_half_is_cut_off_there() {
    let registry = Registry::start();
    let (blob, other) = (registry.push(&vec![7; 300_000]), registry.push(b"the other"));
    registry.throw(&format!("read_stream hang {}\n", blob.hex));
    let process = registry.driver_process().as_raw_nonzero().get().cast_unsigned();
    let (end, received) = download(&registry.client(), &blob.target, |received| {
        if received == 150_000 {
            kill(process);
        }
    });
    end.expect_err("the answer is cut off");
    assert_eq!(received, 150_000);
    assert_eq!(
        registry.recorded("read ", &blob.hex),
        1,
        "what a client has seen a part of is not read again"
    );
    registry.expect(&other);
}

/// Downloads to the end or until the server breaks off. How it ended, and the bytes of the body that came.
fn download(client: &Client, target: &str, mut seen: impl FnMut(usize)) -> (io::Result<Response>, usize) {
    let mut connection = client.connect().expect("the server accepts");
    connection.begin("GET", target, &[], Length::Known(0)).expect("the request is sent");
    let (mut received, mut body) = (0, Vec::new());
    let end = connection.receive(false, &mut |bytes| {
        received += bytes.len();
        body.extend_from_slice(bytes);
        seen(received);
    });
    (end.map(|answer| Response { body, ..answer }), received)
}

#[test]
fn an_append_that_crashes_is_made_once_and_the_upload_goes_on() {
    let registry = Registry::start();
    let other = registry.push(b"the other");
    let client = registry.client();
    // Several pieces of the body, so that some have reached the driver and some have not.
    let (first, second) = (vec![1; 100_000], vec![2; 4 << 20]);
    for crash in CRASHES {
        for operation in ["append", "append_stream"] {
            let location = v2::open_upload(&client, REPOSITORY);
            let location = client.send("PATCH", &location, &[v2::OCTETS], &first).expect(202).location();
            let before = registry.recorded("append ", "");
            let somebody = SomebodyElse::getting(&registry, &other);
            registry.throw(&format!("once {operation} {crash}\n"));
            expect_unavailable(client.send("PATCH", &location, &[v2::OCTETS], &second));
            assert_eq!(registry.recorded("append ", "") - before, 1, "{operation} {crash}: not made again");
            somebody.expect_service();
            somebody.leave();

            let (offset, location) = v2::received(&client, &location).expect("the upload is still there");
            let whole = [&first[..], &second[..]].concat();
            let digest = digest(&whole);
            let target = v2::completion(&location, &digest);
            client.send("PUT", &target, &[v2::OCTETS], &whole[offset as usize..]).expect(201);
            let presence = v2::look_up_blob(&client, REPOSITORY, &digest);
            assert_eq!(presence, v2::Presence::Whole(whole.len() as u64), "{operation} {crash}");
        }
    }
}

#[test]
fn a_write_that_crashes_is_made_once_and_can_be_made_again_by_the_client() {
    let registry = Registry::start();
    let (other, client) = (registry.push(b"the other"), registry.client());
    for crash in CRASHES {
        // In two requests the content is an upload of the driver's, in one it is written at its place.
        for operation in ["commit", "write"] {
            let content = format!("{operation} in spite of {crash} {}", "x".repeat(2 << 20)).into_bytes();
            let digest = digest(&content);
            let mut location = v2::open_upload(&client, REPOSITORY);
            let mut body = &content[..];
            if operation == "commit" {
                location = client.send("PATCH", &location, &[v2::OCTETS], body).expect(202).location();
                body = b"";
            }
            let somebody = SomebodyElse::getting(&registry, &other);
            registry.throw(&format!("once {operation} {crash}\n"));
            let completion = v2::completion(&location, &digest);
            expect_unavailable(client.send("PUT", &completion, &[v2::OCTETS], body));
            let made = registry.recorded(&format!("{operation} "), &digest[7..]);
            assert_eq!(made, 1, "{crash}: a {operation} is not made again");
            somebody.expect_service();
            somebody.leave();
            assert_eq!(v2::push_blob(&client, REPOSITORY, &content), digest);
            let presence = v2::look_up_blob(&client, REPOSITORY, &digest);
            assert_eq!(presence, v2::Presence::Whole(content.len() as u64));
        }
    }
}

#[test]
fn a_delete_that_crashes_is_made_once() {
    let registry = Registry::start();
    let (blob, other) = (registry.push(b"the one"), registry.push(b"the other"));
    registry.throw("once delete abort\n");
    expect_unavailable(registry.client().send("DELETE", &blob.target, &[], b""));
    assert_eq!(registry.recorded("delete ", "_layers"), 1);
    registry.expect(&other);
    registry.client().send("DELETE", &blob.target, &[], b"").expect(202);
    registry.get(&blob).expect(404);
}

#[test]
fn v1_says_when_to_come_again_too() {
    let registry = Registry::start();
    let image = v1::Image::new(None, b"a layer".to_vec());
    v1::push(&registry.client(), "library/isolated", "latest", &[&image]);
    registry.throw("read abort\nget abort\n");
    let answer = registry.client().get(&image.path("json")).expect(503);
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    registry.throw("");
    v1::verify(&registry.client(), "library/isolated", "latest", &[&image]);
}

/// Pushes and gets blobs until told to stop. Whatever is answered well is right; the digests that were pushed.
fn use_it(client: &Client, number: usize, stop: &AtomicBool) -> Vec<String> {
    let mut pushed: Vec<String> = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let content = format!("{number} {round} {}", "x".repeat(round % 7 * 50_000)).into_bytes();
        let digest = digest(&content);
        if push(client, &digest, &content) {
            pushed.push(digest);
        }
        let Some(known) = pushed.get(round / 2 % pushed.len().max(1)) else { continue };
        let target = format!("/v2/{REPOSITORY}/blobs/{known}");
        match download(client, &target, |_| {}) {
            (Ok(answer), _) if answer.status == 503 => {}
            (Ok(answer), _) => assert_eq!(&content::digest(&answer.expect(200).body), known),
            (Err(_cut_off), _) => {}
        }
    }
    pushed
}

/// Whether a push was acknowledged. Each answer is one of a registry that works or of one that is away.
fn push(client: &Client, digest: &str, content: &[u8]) -> bool {
    let opened = client.send("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), &[], b"");
    if opened.status == 503 {
        return false;
    }
    let target = v2::completion(&opened.expect(202).location(), digest);
    let answer = client.send("PUT", &target, &[v2::OCTETS], content);
    if answer.status == 503 { false } else { answer.expect(201).status == 201 }
}

#[test]
fn many_clients_live_through_many_deaths_and_what_was_acknowledged_is_there() {
    // Each death doubles the pause after it, so there are not many.
    const DEATHS: usize = 5;
    let registry = Registry::start();
    let stop = AtomicBool::new(false);
    let pushed: Vec<String> = thread::scope(|scope| {
        let client = registry.client();
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (client, stop) = (client.clone(), &stop);
                scope.spawn(move || use_it(&client, number, stop))
            })
            .collect();
        for death in 1..=DEATHS {
            let before = registry.recorded("put ", "");
            wait_for("the registry is used", PATIENCE, || {
                (registry.recorded("put ", "") >= before + 96).then_some(())
            });
            kill(registry.driver_process().as_raw_nonzero().get().cast_unsigned());
            wait_for("another process runs", PATIENCE, || {
                (registry.recorded("open with ", "") > death).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no wrong answer")).collect()
    });
    assert!(pushed.len() > DEATHS * 8, "only {} pushes were acknowledged", pushed.len());
    for digest in pushed {
        assert_ne!(v2::look_up_blob(&registry.client(), REPOSITORY, &digest), v2::Presence::Absent);
    }
    registry.has_logged("the driver's process ended with", DEATHS);
}
