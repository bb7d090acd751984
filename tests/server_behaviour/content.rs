//! How content leaves: from memory, from streams and from files, by `sendfile` and without.
//!
//! The addresses behind a `sendfile` body cannot be read: any touch of them from user space would end
//! the test process with a fault. That these tests pass is the proof that there is none.

use std::{fs::File, io::Write, sync::Arc};

use bytes::Bytes;
use docker_registry::{
    http::{
        exchange::{Request, Response, ResponseBody, whole, with_body},
        routes::Handler,
        server::Limits,
    },
    telemetry::{metrics::Metrics, names},
};
use docker_registry_driver_api::{
    ByteStream, Error, ErrorKind, FileRegion, ReadRange, Reading, ReadingBody, async_trait, byte_stream,
};
use futures::{StreamExt, stream};
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::NamedTempFile;
use tokio::{net::TcpStream, sync::Mutex};

use crate::{
    server::{Answer, Running, patient, start},
    wire::Client,
};

/// Tests that look at the process-wide counter come one after the other.
static COUNTER: Mutex<()> = Mutex::const_new(());

/// A file and its content, which differs at every offset.
struct Object {
    content: Vec<u8>,
    file: NamedTempFile,
}

impl Object {
    fn of(length: usize) -> Arc<Self> {
        let content: Vec<u8> =
            (0..length as u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(length).collect();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        Arc::new(Self { content, file })
    }

    fn reading(&self, range: ReadRange) -> Response {
        let total_size = self.content.len() as u64;
        let (offset, length) = range.resolve(total_size).unwrap();
        let file = File::open(self.file.path()).unwrap();
        let body = ReadingBody::File(FileRegion { file, offset, length });
        with_body(
            StatusCode::OK,
            ResponseBody::Reading(Reading { total_size, offset, length, etag: None, body }),
        )
    }
}

/// Answers with the object; the query may be `OFFSET-LENGTH`.
struct Serve(Arc<Object>);

#[async_trait]
impl Handler for Serve {
    async fn handle(&self, request: Request) -> Response {
        let range = match request.query.split_once('-') {
            Some((offset, length)) => {
                ReadRange::Window { offset: offset.parse().unwrap(), length: length.parse().unwrap() }
            }
            None => ReadRange::Full,
        };
        self.0.reading(range)
    }
}

fn metrics() -> Metrics {
    docker_registry::telemetry::metrics::install().unwrap()
}

fn sent_by_sendfile() -> u64 {
    let text = metrics().render();
    let value = text.lines().find_map(|line| line.strip_prefix(names::SENDFILE_BYTES)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn serve(object: &Arc<Object>, limits: Limits) -> Running {
    metrics();
    start(limits, Serve(Arc::clone(object))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_every_size_arrive_whole_on_one_connection() {
    let _alone = COUNTER.lock().await;
    for length in [0, 1, 4096, 65_536, 65_537, 1 << 20, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 40_000_000] {
        let object = Object::of(length);
        let server = serve(&object, patient()).await;
        let mut client = server.connect().await;
        for _ in 0..2 {
            let answer = client.get("/").await;
            assert_eq!(answer.header("content-length"), Some(&*length.to_string()));
            assert!(answer.body == object.content, "{length} bytes");
        }
        assert_eq!(client.request("HEAD", "/").await.header("content-length"), Some(&*length.to_string()));
        assert_eq!(client.get("/").await.status, 200, "nothing follows the answer to HEAD");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_leave_by_sendfile_and_small_ones_do_not() {
    let _alone = COUNTER.lock().await;
    for (length, by_sendfile) in [(5_000_000, 5_000_000), (1000, 0)] {
        let object = Object::of(length);
        let server = serve(&object, patient()).await;
        let before = sent_by_sendfile();
        assert!(server.connect().await.get("/").await.body == object.content);
        assert_eq!(sent_by_sendfile() - before, by_sendfile);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sendfile_the_bytes_are_the_same() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(5_000_000);
    let server = serve(&object, Limits { sendfile: false, ..patient() }).await;
    let before = sent_by_sendfile();
    assert!(server.connect().await.get("/").await.body == object.content);
    assert!(
        server.connect().await.get("/?1234567-3000000").await.body == object.content[1_234_567..4_234_567]
    );
    assert_eq!(sent_by_sendfile(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_exact() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(9_000_000);
    let server = serve(&object, patient()).await;
    let mut client = server.connect().await;
    for (offset, length) in [
        (0, 1),
        (1, 100_000),
        (4095, 2 << 20),
        (2_097_151, 4_194_305),
        (8_999_999, 1),
        (8_000_000, 1_000_000),
    ] {
        let answer = client.get(&format!("/?{offset}-{length}")).await;
        assert!(answer.body == object.content[offset..offset + length], "{offset}-{length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once_get_their_own_bytes() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(20_000_000);
    let server = serve(&object, patient()).await;
    let address = server.address;
    let clients = (0..48).map(|number: usize| {
        let object = Arc::clone(&object);
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            for round in 0..3 {
                let offset = (number * 77_777 + round * 1_000_003) % 9_000_000;
                let answer = client.get(&format!("/?{offset}-10000000")).await;
                assert!(answer.body == object.content[offset..offset + 10_000_000]);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(3_000_000);
    let server = serve(&object, patient()).await;
    let mut client = server.connect().await;
    let request = |query: &str| format!("GET /?{query} HTTP/1.1\r\nhost: test\r\n\r\n");
    client.send(request("0-3000000") + &request("5-10") + &request("100-200000")).await;
    assert!(client.answer("GET").await.body == object.content);
    assert!(client.answer("GET").await.body == object.content[5..15]);
    assert!(client.answer("GET").await.body == object.content[100..200_100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_slowly_and_in_crumbs_gets_every_byte() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(12_000_000);
    let server = serve(&object, patient()).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    let mut read = Vec::new();
    let mut crumb = vec![0; 50_001];
    loop {
        match tokio::io::AsyncReadExt::read(&mut client.stream, &mut crumb).await.unwrap() {
            0 => break,
            length => read.extend_from_slice(&crumb[..length]),
        }
        tokio::task::yield_now().await;
    }
    assert!(read.ends_with(&object.content));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_became_shorter_breaks_the_connection_off_and_hurts_nobody_else() {
    let _alone = COUNTER.lock().await;
    for sendfile in [true, false] {
        let object = Object::of(8_000_000);
        let server = serve(&object, Limits { sendfile, ..patient() }).await;
        File::options().write(true).open(object.file.path()).unwrap().set_len(5_000_000).unwrap();
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert_eq!(client.head().await.header("content-length"), Some("8000000"));
        let body = client.rest().await;
        assert!(body.len() <= 5_000_000 && object.content.starts_with(&body), "sendfile: {sendfile}");
        assert_eq!(server.connect().await.get("/?0-10").await.body, object.content[..10]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_that_became_shorter_is_a_500() {
    let object = Object::of(1000);
    let server = serve(&object, patient()).await;
    object.file.as_file().set_len(10).unwrap();
    assert_eq!(server.connect().await.get("/").await.status, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_midway_frees_everything() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(30_000_000);
    let server = serve(&object, patient()).await;
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert_eq!(client.head().await.status, 200);
    }
    // Every connection ends, which it only does when its windows are gone.
    assert!(server.connect().await.get("/").await.body == object.content);
    assert_eq!(server.stop().await.unwrap().cut_off, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_reads_files_instead() {
    let _alone = COUNTER.lock().await;
    let object = Object::of(5_000_000);
    let server = serve(&object, patient()).await;
    let before = sent_by_sendfile();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://test/").body(Empty::<Bytes>::new()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(body == object.content);
    assert_eq!(sent_by_sendfile(), before);
}

/// Answers with a stream that was announced as 6 bytes long.
fn announced(stream: impl Fn() -> ByteStream + Send + Sync + 'static) -> impl Handler {
    Answer(move |_: Request| {
        let body = ReadingBody::Stream(stream());
        async {
            let reading = Reading { total_size: 6, offset: 0, length: 6, etag: None, body };
            with_body(StatusCode::OK, ResponseBody::Reading(reading))
        }
    })
}

#[tokio::test]
async fn a_stream_arrives_whole_with_its_length() {
    let server = start(patient(), announced(|| byte_stream(["abc", "", "def"].map(Bytes::from)))).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!((answer.header("content-length"), answer.text()), (Some("6"), "abcdef"));
    }
}

#[tokio::test]
async fn a_stream_that_is_not_what_was_announced_breaks_the_connection_off() {
    let broken: [fn() -> ByteStream; 4] = [
        || byte_stream([Bytes::from("abc")]),
        || byte_stream([Bytes::from("abc"), Bytes::from("defg")]),
        || stream::iter([Ok(Bytes::from("abc")), Err(Error::new(ErrorKind::Unavailable, "gone"))]).boxed(),
        || {
            let pieces = stream::iter(0..2).map(|number| {
                assert_eq!(number, 0, "this panic is part of the test");
                Ok(Bytes::from("abc"))
            });
            pieces.boxed()
        },
    ];
    for stream in broken {
        let server = start(patient(), announced(stream)).await;
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        // How much of it still left depends on when the fault was found; never all that was announced.
        let answer = String::from_utf8(client.rest().await).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(["", "abc"].contains(&body), "{answer}");
    }
}

#[tokio::test]
async fn ready_bytes_carry_their_length_and_type() {
    let server =
        start(patient(), Answer(|_: Request| async { whole(StatusCode::CREATED, "text/x", "abc") })).await;
    let answer = server.connect().await.get("/").await;
    assert_eq!((answer.status, answer.header("content-type"), answer.text()), (201, Some("text/x"), "abc"));
}
