//! Bodies between the two processes: they wait for slow readers, end with their clients, and go as files where
//! they can.

use std::{
    fs, io,
    thread::sleep,
    time::{Duration, Instant},
};

use docker_registry_tests::{
    artifacts,
    content::{Content, Hasher},
    http::{Client, Connection, Length},
    process::{PATIENCE, wait_for},
    v2,
};

use crate::registry::{
    Files, REPOSITORY, Registry, driver_processes, expect_end, kill, open_files, resident_memory, serve,
};

const MIB: u64 = 1 << 20;

/// Waits until neither process changes its memory any more, and returns both: server and driver.
fn settled_memory(registry: &Registry) -> (u64, u64) {
    let look = || (registry.server.process().resident_memory(), resident_memory(registry.driver_process()));
    let (mut before, mut unchanged) = (look(), 0);
    let start = Instant::now();
    while unchanged < 10 {
        assert!(start.elapsed() < PATIENCE, "the memory never settles");
        sleep(Duration::from_millis(50));
        let now = look();
        let moved = now.0.abs_diff(before.0).max(now.1.abs_diff(before.1));
        unchanged = if moved < MIB { unchanged + 1 } else { 0 };
        before = now;
    }
    before
}

fn begin(client: &Client, target: &str) -> Connection {
    let mut connection = client.connect().expect("the server accepts");
    connection.begin("GET", target, &[], Length::Known(0)).expect("the request is sent");
    connection
}

#[test]
fn clients_that_do_not_read_make_neither_process_grow() {
    const CLIENTS: u64 = 8;
    const SIZE: u64 = 32 * MIB;
    let registry = Registry::with("process", "  below: memory\n");
    let mut content = Vec::new();
    io::Read::read_to_end(&mut Content::new(1, SIZE), &mut content).expect("content is made");
    let blob = registry.push(&content);
    drop(content);
    // What a first download needs is not counted.
    registry.expect(&blob);
    let (server, driver) = settled_memory(&registry);
    let mut connections: Vec<_> = (0..CLIENTS).map(|_| begin(&registry.client(), &blob.target)).collect();
    wait_for("all streams are open", PATIENCE, || {
        (registry.recorded("read ", &blob.hex) == CLIENTS as usize + 1).then_some(())
    });
    let (server_now, driver_now) = settled_memory(&registry);
    let (server_grown, driver_grown) = (server_now.saturating_sub(server), driver_now.saturating_sub(driver));
    // Each stream may hold its socket's buffer and a piece on its way; all of them are 256 MiB.
    assert!(server_grown < CLIENTS * 4 * MIB, "the server has grown by {server_grown} bytes");
    assert!(driver_grown < CLIENTS * 4 * MIB, "the driver's process has grown by {driver_grown} bytes");
    for connection in &mut connections {
        let mut hasher = Hasher::default();
        connection.receive(false, &mut |bytes| hasher.update(bytes)).expect("the rest comes");
        assert_eq!(hasher.finish(), blob.digest);
    }
}

#[test]
fn a_driver_that_does_not_take_an_upload_makes_neither_process_grow() {
    const SIZE: u64 = 1024 * MIB;
    let registry = Registry::start();
    let other = registry.push(b"the other");
    let location = v2::open_upload(&registry.client(), REPOSITORY);
    let (server, driver) = settled_memory(&registry);
    registry.throw("append hang\n");
    let client = registry.client().with_patience(Duration::from_secs(2));
    let mut connection = client.connect().expect("the server accepts");
    connection.begin("PATCH", &location, &[v2::OCTETS], Length::Known(SIZE)).expect("the request is sent");
    let piece = vec![0; MIB as usize];
    let mut taken = 0;
    while taken < SIZE && connection.write(&piece).is_ok() {
        taken += MIB;
    }
    assert!(taken < 64 * MIB, "{taken} bytes were taken though the driver takes none");
    let (server_now, driver_now) = settled_memory(&registry);
    let (server_grown, driver_grown) = (server_now.saturating_sub(server), driver_now.saturating_sub(driver));
    assert!(server_grown < 32 * MIB, "the server has grown by {server_grown} bytes");
    assert!(driver_grown < 32 * MIB, "the driver's process has grown by {driver_grown} bytes");
    registry.expect(&other);
}

#[test]
fn a_stream_ends_in_the_drivers_process_when_its_client_goes() {
    let registry = Registry::with("process", "  pause_milliseconds: 3600000\n");
    let blob = registry.push(b"byte by byte");
    registry.throw(&format!("read_stream slow {}\n", blob.hex));
    let mut connection = begin(&registry.client(), &blob.target);
    let mut first = [0; 4096];
    connection.read_some(&mut first).expect("the answer begins");
    assert_eq!(registry.recorded("read_stream dropped", ""), 0);
    drop(connection);
    wait_for("the stream is dropped", PATIENCE, || {
        (registry.recorded("read_stream dropped", "") == 1).then_some(())
    });
}

#[test]
fn a_call_ends_in_the_drivers_process_when_its_client_goes() {
    let registry = Registry::start();
    let blob = registry.push(b"something");
    // Counts `blocked` when it is given up.
    registry.throw(&format!("read block_when_dropped {}\n", blob.hex));
    let connection = begin(&registry.client(), &blob.target);
    wait_for("the call begins", PATIENCE, || (registry.recorded("read ", &blob.hex) == 1).then_some(()));
    assert_eq!(registry.metric("registry_driver_events_total", "event=\"blocked\""), 0.0);
    drop(connection);
    wait_for("the call is given up", PATIENCE, || {
        (registry.metric("registry_driver_events_total", "event=\"blocked\"") == 1.0).then_some(())
    });
    registry.throw("");
    registry.expect(&blob);
}

#[test]
fn a_thousand_requests_leave_no_descriptor_open_in_either_process() {
    let registry = Registry::with("process", "  pause_milliseconds: 1\n");
    let (small, large) = (registry.push(b"small"), registry.push(&vec![3; 300_000]));
    registry.throw(&format!("read_stream panic_in_drop {}\n", small.hex));
    let client = registry.client();
    let manifest = v2::manifest(&[(small.digest.clone(), 5), (large.digest.clone(), 300_000)]);
    let round = |number: u32| {
        // A file, a stream with a fault, small objects, an upload with a body, one that is thrown away.
        let mut connection = client.connect().expect("the server accepts");
        assert_eq!(connection.send("GET", &large.target, &[], b"").expect("a file").status, 200);
        let _ = client.try_send("GET", &small.target, &[], b"");
        v2::push_manifest(&client, REPOSITORY, "tag", &manifest).expect(201);
        v2::get_manifest(&client, REPOSITORY, "tag").expect(200);
        v2::push_blob(&client, REPOSITORY, format!("blob {number}").as_bytes());
        let location = v2::open_upload(&client, REPOSITORY);
        client.send("DELETE", &location, &[], b"").expect(204);
        // A download that is broken off.
        drop(begin(&client, &large.target));
    };
    let open = || {
        let driver = registry.driver_process().as_raw_nonzero().get().cast_unsigned();
        (open_files(registry.server.process().id()), open_files(driver))
    };
    (0..10).for_each(round);
    let before = wait_for("the first rounds are over", PATIENCE, || {
        let now = open();
        sleep(Duration::from_millis(200));
        (now == open()).then_some(now)
    });
    // Nine requests a round.
    (10..122).for_each(round);
    wait_for("every descriptor is closed again", PATIENCE, || {
        let now = open();
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
    assert_eq!(registry.metric("registry_driver_restarts_total", "misbehaving"), 0.0);
}

#[test]
fn local_files_still_leave_by_sendfile_and_survive_the_process_that_opened_them() {
    let files = Files::new();
    let configuration = files.configuration("process", "");
    fs::write(
        &configuration,
        "test:\n  storage: local\n  isolation: process\n  storage_path: _env:STORAGE_PATH\n",
    )
    .expect("the configuration can be written");
    let server = serve(configuration, artifacts::folder());
    let mut content = Vec::new();
    io::Read::read_to_end(&mut Content::new(2, 64 * MIB), &mut content).expect("content is made");
    let digest = v2::push_blob(&server.client(), REPOSITORY, &content);
    let sent = || {
        let text = server.admin().get("/metrics").expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix("registry_http_sendfile_bytes_total "));
        line.map_or(0.0, |number| number.parse::<f64>().expect("a number"))
    };
    assert_eq!(sent(), 0.0);
    let mut connection = begin(&server.client(), &format!("/v2/{REPOSITORY}/blobs/{digest}"));
    let process = driver_processes(&server.process().log()).pop().expect("it runs");
    let (mut hasher, mut killed) = (Hasher::default(), false);
    let received = connection.receive(false, &mut |bytes| {
        // The server reads the file itself: the driver's process can go in the middle.
        if !std::mem::replace(&mut killed, true) {
            kill(process.as_raw_nonzero().get().cast_unsigned());
            expect_end(process);
        }
        hasher.update(bytes);
    });
    received.expect("the rest comes").expect(200);
    assert_eq!(hasher.finish(), digest);
    wait_for("the bytes are counted", PATIENCE, || (sent() >= (64 * MIB) as f64).then_some(()));
}
