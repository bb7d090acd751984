//! Many slow clients at once: the server keeps answering everybody else, and its memory does not grow with them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::http::{Client, Connection, Length};
use docker_registry_tests::server::{Product, Server};
use docker_registry_tests::v1;
use docker_registry_tests::v2::{self, OCTETS, Presence, completion, look_up_blob};

const SLOW_CLIENTS: u64 = 64;
const REPOSITORY: &str = "slow/repository";
/// What 64 clients together may add to the memory in use: 640 KiB each.
const GROWTH_LIMIT: u64 = 40 << 20;
/// What the server may use at most, as with as many pushes of a gibibyte each: small content of all may be gathered.
const MEMORY_LIMIT: u64 = 96 << 20;

#[test]
fn slow_uploads_disturb_nobody() {
    let server = Server::start();
    let client = server.client();
    let image = Readable::push(&client);
    image.read(&client, 50);
    let before = server.process().resident_memory();

    let mut uploads: Vec<Upload> =
        (0..SLOW_CLIENTS).map(|number| Upload::begin(&client, number, server.product())).collect();
    let served = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // A kibibyte each, then a pause, until the readers are done.
            while !served.load(Ordering::SeqCst) {
                uploads.iter_mut().for_each(|upload| upload.send(1024));
                thread::sleep(Duration::from_millis(20));
            }
        });
        let _stop = SetOnDrop(&served);
        image.read(&client, 500);
        assert_growth(&server, before, "64 slow uploads");
    });
    for upload in uploads {
        upload.finish(&client);
    }
    server.assert_peak_memory(MEMORY_LIMIT);
}

#[test]
fn slow_downloads_disturb_nobody() {
    /// More than the sockets buffer on their own.
    const SIZE: u64 = 24 << 20;
    let server = Server::start();
    let client = server.client();
    let image = Readable::push(&client);
    let content = Content::bytes(9, SIZE);
    let large = v2::push_blob(&client, REPOSITORY, &content);
    image.read(&client, 50);
    let before = server.process().resident_memory();

    let mut downloads: Vec<Connection> = (0..SLOW_CLIENTS)
        .map(|_| {
            let mut connection = client.connect().expect("a connection");
            let target = format!("/v2/{REPOSITORY}/blobs/{large}");
            connection.begin("GET", &target, &[], Length::Known(0)).expect("a request is sent");
            connection
        })
        .collect();
    image.read(&client, 500);
    assert_growth(&server, before, "64 slow downloads");

    for connection in &mut downloads {
        let mut size = 0;
        let answer =
            connection.receive(false, &mut |bytes| size += bytes.len() as u64).expect("a whole answer");
        assert_eq!((answer.status, size), (200, SIZE));
    }
    assert_eq!(look_up_blob(&client, REPOSITORY, &large), Presence::Whole(SIZE));
    server.assert_peak_memory(MEMORY_LIMIT);
}

/// Fails if the memory in use has grown too much. The limit is a promise of ours, not of the peer.
fn assert_growth(server: &Server, before: u64, what: &str) {
    let growth = server.process().resident_memory().saturating_sub(before);
    println!("{what}: {:.1} MiB more memory", growth as f64 / f64::from(1 << 20));
    if server.product() == Product::Ours {
        assert!(growth < GROWTH_LIMIT, "{what} took {growth} bytes of memory");
    }
}

/// Ends the trickle even when a reader fails.
struct SetOnDrop<'flag>(&'flag AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An image that others want to read meanwhile.
struct Readable {
    manifest: String,
    blob: String,
}

impl Readable {
    fn push(client: &Client) -> Readable {
        let blobs: Vec<(String, u64)> = [(101, 1 << 10), (102, 1 << 20)]
            .into_iter()
            .map(|(seed, size)| (v2::push_blob(client, REPOSITORY, &Content::bytes(seed, size)), size))
            .collect();
        let manifest = v2::manifest(&blobs);
        v2::push_manifest(client, REPOSITORY, "latest", &manifest).expect(201);
        Readable { manifest, blob: blobs[1].0.clone() }
    }

    /// Reads it that many times, each time on a new connection.
    fn read(&self, client: &Client, times: u32) {
        for _ in 0..times {
            let manifest = v2::get_manifest(client, REPOSITORY, "latest").expect(200);
            assert_eq!(manifest.text(), self.manifest);
            assert_eq!(look_up_blob(client, REPOSITORY, &self.blob), Presence::Whole(1 << 20));
        }
    }
}

/// One slow upload, in one of the ways a blob or layer is sent.
struct Upload {
    kind: Kind,
    connection: Connection,
    content: Vec<u8>,
    sent: usize,
}

enum Kind {
    /// A PATCH in chunks, as docker sends it..
    Patch,
    /// A PUT of known length.
    Put,
    /// The layer of a V1 image.
    V1(v1::Image),
}

impl Upload {
    fn begin(client: &Client, number: u64, product: Product) -> Upload {
        let content = Content::bytes(1000 + number, 1 << 20);
        let mut connection = client.connect().expect("a connection");
        let kind = match number % 3 {
            0 => {
                let location = v2::open_upload(client, REPOSITORY);
                connection.begin("PATCH", &location, &[OCTETS], Length::Chunked).expect("a request is sent");
                Kind::Patch
            }
            1 if product == Product::Ours => {
                let image = v1::Image::new(None, content.clone());
                v1::put_json(client, &image).expect(200);
                connection = v1::begin_layer(client, &image).expect("a request is sent");
                Kind::V1(image)
            }
            _ => {
                let target = completion(&v2::open_upload(client, REPOSITORY), &digest(&content));
                let length = Length::Known(content.len() as u64);
                connection.begin("PUT", &target, &[OCTETS], length).expect("a request is sent");
                Kind::Put
            }
        };
        Upload { kind, connection, content, sent: 0 }
    }

    /// Sends some bytes, but never more than a quarter of all: what the server holds of it must not depend on how long
    /// the readers take.
    fn send(&mut self, bytes: usize) {
        let end = (self.sent + bytes).min(self.content.len() / 4);
        self.send_up_to(end);
    }

    fn send_up_to(&mut self, end: usize) {
        let piece = &self.content[self.sent..end];
        if piece.is_empty() {
            return;
        }
        match self.kind {
            Kind::Put => self.connection.write(piece),
            Kind::Patch | Kind::V1(_) => self.connection.write_chunk(piece),
        }
        .expect("the server reads on");
        self.sent = end;
    }

    /// Sends the rest and checks what was stored.
    fn finish(mut self, client: &Client) {
        self.send_up_to(self.content.len());
        if !matches!(self.kind, Kind::Put) {
            self.connection.write_chunk(b"").expect("the server reads on");
        }
        let answer = self.connection.finish(false).expect("the upload is answered");
        let digest = digest(&self.content);
        match self.kind {
            Kind::V1(image) => {
                answer.expect(200);
                v1::put_checksum(client, &image).expect(200);
                return v1::verify_image(client, &image);
            }
            Kind::Put => drop(answer.expect(201)),
            Kind::Patch => {
                let location = answer.expect(202).location();
                client.send("PUT", &completion(&location, &digest), &[OCTETS], b"").expect(201);
            }
        }
        assert_eq!(look_up_blob(client, REPOSITORY, &digest), Presence::Whole(self.content.len() as u64));
    }
}
