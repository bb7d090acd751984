//! The pushes of the V2 protocol: each way to send a blob, manifests, and a real client.

use std::fs::File;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::http::{Client, Length};
use docker_registry_tests::images::Layout;
use docker_registry_tests::process::{PATIENCE, wait_for};
use docker_registry_tests::server::{Product, Server};
use docker_registry_tests::skopeo;
use docker_registry_tests::v2::{self, OCTETS, Presence, completion, look_up_blob};

const REPOSITORY: &str = "crash/repository";
const MIB: usize = 1 << 20;

#[test]
fn killed_in_a_monolithic_post() {
    let mut server = Server::start();
    let content = Content::bytes(1, 8 * MIB as u64);
    let digest = digest(&content);
    let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");

    for sent in [0, 1, content.len() / 2, content.len() - 1] {
        let mut connection = server.client().connect().expect("a connection");
        let begun = connection.begin("POST", &target, &[OCTETS], Length::Known(content.len() as u64));
        break_off(&server, begun.and_then(|()| connection.write(&content[..sent])));
        server = server.kill_and_restart();
        assert_eq!(
            look_up_blob(&server.client(), REPOSITORY, &digest),
            Presence::Absent,
            "{sent} bytes were sent"
        );
    }

    let client = server.client();
    let answer = client.send("POST", &target, &[OCTETS], &content);
    if answer.status == 202 {
        // The specification lets a registry ask for the usual PUT instead, as the peer does.
        let target = completion(&answer.location(), &digest);
        client.send("PUT", &target, &[OCTETS], &content).expect(201);
    } else {
        answer.expect(201);
    }
    assert_eq!(look_up_blob(&client, REPOSITORY, &digest), Presence::Whole(content.len() as u64));
}

#[test]
fn killed_in_a_streamed_patch() {
    let mut server = Server::start();
    for (seed, sent) in [(1, 0), (2, 1), (3, 4 * MIB), (4, 8 * MIB)] {
        let content = Content::bytes(seed, 8 * MIB as u64);
        let location = v2::open_upload(&server.client(), REPOSITORY);
        let mut connection = server.client().connect().expect("a connection");
        let begun = connection.begin("PATCH", &location, &[OCTETS], Length::Chunked);
        // All bytes may be sent, but never the chunk that ends the body.
        let written =
            begun.and_then(|()| content[..sent].chunks(100_000).try_for_each(|c| connection.write_chunk(c)));
        break_off(&server, written);

        server = server.kill_and_restart();
        assert_eq!(look_up_blob(&server.client(), REPOSITORY, &digest(&content)), Presence::Absent);
        resume(&server, &location, &content, 0, sent);
    }
}

#[test]
fn killed_between_two_requests_of_an_upload() {
    let mut server = Server::start();
    let content = Content::bytes(1, 3 * MIB as u64);

    let mut location = v2::open_upload(&server.client(), REPOSITORY);
    server = server.kill_and_restart();
    assert_eq!(
        v2::received(&server.client(), &location).map(|(bytes, _)| bytes),
        Some(0),
        "an opened upload is kept"
    );

    location = server.client().send("PATCH", &location, &[OCTETS], &content).expect(202).location();
    server = server.kill_and_restart();
    let client = server.client();
    let (received, location) = v2::received(&client, &location).expect("a filled upload is kept");
    assert_eq!(received, content.len() as u64);
    assert_eq!(
        look_up_blob(&client, REPOSITORY, &digest(&content)),
        Presence::Absent,
        "before it is completed"
    );

    client.send("PUT", &completion(&location, &digest(&content)), &[OCTETS], b"").expect(201);
    server = server.kill_and_restart();
    let found = look_up_blob(&server.client(), REPOSITORY, &digest(&content));
    assert_eq!(found, Presence::Whole(content.len() as u64));
}

#[test]
fn killed_in_one_of_several_chunks() {
    const CHUNK: usize = MIB;
    let mut server = Server::start();
    let content = Content::bytes(1, 5 * CHUNK as u64);
    let client = server.client();
    let mut location = v2::open_upload(&client, REPOSITORY);
    for index in 0..2 {
        let start = index * CHUNK;
        let range = format!("{start}-{}", start + CHUNK - 1);
        let chunk = &content[start..start + CHUNK];
        let answer = client.send("PATCH", &location, &[OCTETS, ("Content-Range", &range)], chunk).expect(202);
        assert_eq!(answer.header("range"), Some(format!("0-{}", start + CHUNK - 1).as_str()));
        location = answer.location();
    }

    let mut connection = client.connect().expect("a connection");
    let range = format!("{}-{}", 2 * CHUNK, 3 * CHUNK - 1);
    let begun = connection.begin(
        "PATCH",
        &location,
        &[OCTETS, ("Content-Range", &range)],
        Length::Known(CHUNK as u64),
    );
    break_off(&server, begun.and_then(|()| connection.write(&content[2 * CHUNK..2 * CHUNK + CHUNK / 2])));

    server = server.kill_and_restart();
    assert_eq!(look_up_blob(&server.client(), REPOSITORY, &digest(&content)), Presence::Absent);
    resume(&server, &location, &content, 2 * CHUNK, 3 * CHUNK);
}

#[test]
fn killed_while_an_upload_is_completed() {
    let mut server = Server::start();
    // The last piece comes with the PUT; it is cut off in different places, the last time not at all.
    for (seed, sent) in [(1, 0), (2, MIB / 2), (3, MIB)] {
        let content = Content::bytes(seed, 2 * MIB as u64);
        let digest = digest(&content);
        let client = server.client();
        let location = v2::open_upload(&client, REPOSITORY);
        let answer = client.send("PATCH", &location, &[OCTETS], &content[..MIB]).expect(202);
        let location = answer.location();

        let mut connection = client.connect().expect("a connection");
        let target = completion(&location, &digest);
        let begun = connection.begin("PUT", &target, &[OCTETS], Length::Known(MIB as u64));
        let written = begun.and_then(|()| connection.write(&content[MIB..MIB + sent]));
        if sent < MIB {
            break_off(&server, written);
        } else {
            written.expect("the server reads the whole body");
        }

        server = server.kill_and_restart();
        match look_up_blob(&server.client(), REPOSITORY, &digest) {
            Presence::Absent => resume(&server, &location, &content, MIB, MIB + sent),
            whole => {
                assert_eq!(
                    (whole, sent),
                    (Presence::Whole(2 * MIB as u64), MIB),
                    "complete means all was sent"
                );
            }
        }
    }
}

#[test]
fn killed_while_blobs_are_pushed() {
    let mut server = Server::start();
    for round in 0..4_u64 {
        let (acknowledged, begun) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        server = while_pushing(server, 12 + 7 * round as usize, |client, pusher, number, count| {
            let content = Content::bytes(1 + number + 1000 * pusher + 1_000_000 * round, 20_000);
            let digest = digest(&content);
            begun.lock().expect("no pusher panics").push(digest.clone());
            let location =
                client.try_send("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), &[], b"")?.location();
            if client
                .try_send("PUT", &completion(&location, &digest), &[OCTETS], &content)?
                .expect(201)
                .status
                == 201
            {
                acknowledged.lock().expect("no pusher panics").push(digest);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        let (acknowledged, begun) =
            (acknowledged.into_inner().expect("held"), begun.into_inner().expect("held"));
        for digest in begun {
            let presence = look_up_blob(&server.client(), REPOSITORY, &digest);
            if acknowledged.contains(&digest) {
                assert_eq!(presence, Presence::Whole(20_000), "{digest} was acknowledged");
            }
        }
    }
}

#[test]
fn killed_while_manifests_are_pushed() {
    let mut server = Server::start();
    let configuration = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
    let layer = Content::bytes(1, 10_000);
    let blobs = [
        (v2::push_blob(&server.client(), REPOSITORY, configuration), configuration.len() as u64),
        (v2::push_blob(&server.client(), REPOSITORY, &layer), layer.len() as u64),
    ];
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..5 {
        let (answered, moved) = (Mutex::new(Vec::new()), Mutex::new((Vec::new(), 0)));
        server = while_pushing(server, 10 + 9 * round, |client, pusher, number, count| {
            let tag = format!("tag-{round}-{pusher}-{number}");
            let manifest = v2::manifest_with_note(&blobs, &tag);
            let put = |reference: &str| {
                let target = format!("/v2/{REPOSITORY}/manifests/{reference}");
                client.try_send("PUT", &target, &[("Content-Type", v2::MANIFEST)], manifest.as_bytes())
            };
            put(&tag)?.expect(201);
            answered.lock().expect("no pusher panics").push((tag, manifest.clone()));
            if pusher == 0 {
                // One tag moves with every push. Only one pusher moves it, so its value is known but for one step.
                moved.lock().expect("no pusher panics").0.push(digest(manifest.as_bytes()));
                put("moving")?.expect(201);
                moved.lock().expect("no pusher panics").1 += 1;
            }
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        acknowledged.extend(answered.into_inner().expect("no pusher panics"));
        let (values, confirmed) = moved.into_inner().expect("no pusher panics");

        let client = server.client();
        if server.product() == Product::Distribution {
            // It writes links in place: a kill leaves empty ones, of acknowledged manifests, too.
            let lost =
                |(tag, _): &&(String, String)| v2::get_manifest(&client, REPOSITORY, tag).status != 200;
            println!(
                "distribution lost {} of {}",
                acknowledged.iter().filter(lost).count(),
                acknowledged.len()
            );
            continue;
        }
        for (tag, manifest) in &acknowledged {
            let found = v2::get_manifest(&client, REPOSITORY, tag).expect(200);
            assert_eq!(found.text(), *manifest, "{tag} was acknowledged");
        }
        let tags = v2::tags(&client, REPOSITORY);
        let is_listed = |(tag, _): &(String, String)| tags.contains(tag);
        assert!(acknowledged.iter().all(is_listed), "the list has every acknowledged tag");
        for tag in tags {
            v2::verify(&client, REPOSITORY, &tag);
        }
        if confirmed > 0 {
            let found = digest(&v2::get_manifest(&client, REPOSITORY, "moving").expect(200).body);
            let is_possible = values[confirmed - 1..].contains(&found);
            assert!(is_possible, "the moving tag is at its last confirmed place or one further");
        }
    }
}

#[test]
fn killed_while_skopeo_pushes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut layout = Layout::create(&folder.path().join("layout"));
    let layers = vec![layout.layer(1, 1000), layout.layer(2, 400 << 20)];
    let image = layout.image("image", "amd64", layers);
    let mut server = Server::start();

    let reference = format!("{}/{REPOSITORY}:latest", server.registry());
    let mut push = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:image", layout.folder().display()))
        .arg(format!("docker://{reference}"))
        .stdin(Stdio::null())
        .stderr(File::create(folder.path().join("errors")).expect("a file"))
        .spawn()
        .expect("skopeo starts");
    wait_for("a part of the large layer is stored", PATIENCE, || {
        (server.place().stored_bytes() > 40 << 20).then_some(())
    });
    server = server.kill_and_restart();
    let failed =
        wait_for("skopeo gives up", PATIENCE, || push.try_wait().expect("a child can be waited for"));
    assert!(!failed.success(), "the push was meant to be broken off");

    let client = server.client();
    v2::get_manifest(&client, REPOSITORY, "latest").expect(404);
    assert_eq!(look_up_blob(&client, REPOSITORY, &image.layers[1].digest), Presence::Absent);
    skopeo::push(layout.folder(), "image", &format!("{}/{REPOSITORY}:latest", server.registry()));
    assert_eq!(v2::verify(&client, REPOSITORY, "latest")[0], image.manifest.digest);
}

/// Takes up an upload of `content` after a restart, or begins again if the registry forgot it, and checks the blob.
///
/// `acknowledged` bytes had been confirmed, so the registry may not know less; more than `sent` cannot be there.
fn resume(server: &Server, location: &str, content: &[u8], acknowledged: usize, sent: usize) {
    let client = server.client();
    let state = match server.product() {
        // The peer refuses an upload that holds bytes it had not confirmed.
        Product::Distribution if client.get(location).status >= 400 => None,
        _ => v2::received(&client, location),
    };
    let (received, location) = match state {
        Some((received, location)) => {
            assert!(
                (acknowledged as u64..=sent as u64).contains(&received),
                "{received} of {acknowledged}..={sent}"
            );
            (received as usize, location)
        }
        None => {
            assert!(acknowledged == 0 || server.product() != Product::Ours, "confirmed bytes are gone");
            (0, v2::open_upload(&client, REPOSITORY))
        }
    };
    let rest = &content[received..];
    let range = format!("{received}-{}", content.len() - 1);
    let location = if rest.is_empty() {
        location
    } else {
        client.send("PATCH", &location, &[OCTETS, ("Content-Range", &range)], rest).expect(202).location()
    };
    let digest = digest(content);
    client.send("PUT", &completion(&location, &digest), &[OCTETS], b"").expect(201);
    assert_eq!(look_up_blob(&client, REPOSITORY, &digest), Presence::Whole(content.len() as u64));
}

/// Gives the server time to take in what was sent, so that the kill finds it at work.
///
/// A server may stop reading a request it will not accept, so a failed write is no failure here. How far the server
/// got does not matter for what must hold afterwards.
pub(crate) fn break_off(server: &Server, written: io::Result<()>) {
    let start = Instant::now();
    let mut stored = 0;
    while written.is_ok() && start.elapsed() < Duration::from_secs(1) {
        thread::sleep(Duration::from_millis(50));
        let now = server.place().stored_bytes();
        if now == stored {
            break;
        }
        stored = now;
    }
}

/// Runs `push` again and again in two threads until it has counted to `enough`, and kills the server in the midst.
///
/// `push` gets a client, the number of its thread, how often that thread has called it, and the counter. An error
/// ends its thread: that is the kill.
fn while_pushing(
    server: Server,
    enough: usize,
    push: impl Fn(&Client, u64, u64, &AtomicUsize) -> io::Result<()> + Sync,
) -> Server {
    let count = AtomicUsize::new(0);
    let client = server.client();
    thread::scope(|scope| {
        let pushers: Vec<_> = (0..2)
            .map(|pusher| {
                let (client, push, count) = (&client, &push, &count);
                scope.spawn(move || (0..).find_map(|number| push(client, pusher, number, count).err()))
            })
            .collect();
        wait_for("the pushers get on", PATIENCE, || {
            let failed = pushers.iter().any(thread::ScopedJoinHandle::is_finished);
            (failed || count.load(Ordering::SeqCst) >= enough).then_some(())
        });
        assert!(count.load(Ordering::SeqCst) >= enough, "a pusher failed before the kill");
        // The restart takes a new port, so the pushers meet a closed one.
        server.kill_and_restart()
    })
}
