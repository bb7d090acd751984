//! What a client may not do: be too slow, too long or too many.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use docker_registry::http::{
    exchange::{Request, Response, ResponseBody, empty, whole, with_body},
    server::Server,
};
use docker_registry_driver_api::{ByteStream, Reading, ReadingBody};
use futures::{StreamExt, stream};
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    server::{Answer, Running, echo, patient, start},
    wire::Client,
};

const SHORT: Duration = Duration::from_millis(150);
/// A guard against hanging.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let mut limits = patient();
    limits.timeouts.header = SHORT;
    let server = start(limits, Answer(echo)).await;
    assert_eq!(server.connect().await.rest().await, b"");
}

#[tokio::test]
async fn a_header_that_comes_too_slowly_is_given_up() {
    let mut limits = patient();
    limits.timeouts.header = SHORT;
    let server = start(limits, Answer(echo)).await;
    let mut client = server.connect().await;
    // A byte now and then does not give new time.
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat_n(&b'y', 10_000)) {
            if client.stream.write_all(&[*byte]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    assert!(trickle.await, "the server closed the connection");
}

#[tokio::test]
async fn the_header_time_counts_from_its_first_byte_on_a_reused_connection() {
    let mut limits = patient();
    limits.timeouts.header = SHORT;
    let server = start(limits, Answer(echo)).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    // Idle for longer than a header may take.
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(client.get("/").await.status, 200);
    client.send("GET / HT").await;
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut limits = patient();
    limits.timeouts.idle = SHORT;
    let server = start(limits, Answer(echo)).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_response_that_is_still_being_sent_is_not_an_idle_connection() {
    // Much more than the socket buffers hold, and all of it is given to the HTTP library at once.
    const LENGTH: usize = 64 << 20;
    let mut limits = patient();
    limits.timeouts.idle = SHORT;
    let large = |_: Request| async { whole(StatusCode::OK, "text/plain", vec![b'x'; LENGTH]) };
    let server = start(limits, Answer(large)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    client.head().await;
    // Twice, so that the time starts anew after a stalled write as well.
    for _ in 0..2 {
        tokio::time::sleep(SHORT * 3).await;
        client.read_at_least(LENGTH / 4).await;
    }
    tokio::time::sleep(SHORT * 3).await;
    // Afterwards the connection is idle, and is closed: this reads to its end.
    assert_eq!(client.rest().await.len(), LENGTH);
}

#[tokio::test]
async fn an_http2_connection_with_pings_and_no_request_is_idle_and_sends_no_slow_header() {
    let mut limits = patient();
    limits.timeouts.header = SHORT * 2;
    let server = start(limits, Answer(echo)).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.expect("the server accepts"));
    let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(SHORT / 5)
        .keep_alive_while_idle(true)
        .handshake::<_, Full<Bytes>>(stream)
        .await
        .expect("the server speaks HTTP/2");
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::get("http://test/").body(Full::default()).expect("a request");
        let answer = client.send_request(request).await.expect("the connection holds");
        assert_eq!(answer.status(), 200);
        tokio::time::sleep(SHORT * 6).await;
    }
    connection.abort();
}

/// A connection whose client takes only so many bytes of each response until it has read them.
async fn http2_with_window(address: std::net::SocketAddr, window: u32) -> http2::SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("the server accepts"));
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .keep_alive_interval(SHORT / 5)
        .keep_alive_while_idle(true)
        .handshake(stream)
        .await
        .expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    client
}

fn get() -> http::Request<Full<Bytes>> {
    http::Request::get("http://test/").body(Full::default()).expect("a request")
}

#[tokio::test]
async fn an_http2_response_of_which_the_client_takes_nothing_is_given_up_with_all_that_it_holds() {
    const LENGTH: u64 = 4 << 20;
    let mut limits = patient();
    limits.timeouts.write = SHORT * 2;
    let held = Arc::new(());
    let large = {
        let held = Arc::clone(&held);
        move |_: Request| {
            let held = Arc::clone(&held);
            let pieces = stream::repeat_with(move || {
                let _ = &held;
                Ok(Bytes::from(vec![b'x'; 1 << 20]))
            });
            async { streamed(LENGTH, pieces.take(4).boxed()) }
        }
    };
    let server = start(limits, Answer(large)).await;
    // Nothing at all, and a part of what the server hands to its HTTP library at once.
    for window in [0, 100] {
        let mut client = http2_with_window(server.address, window).await;
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(client.send_request(get()).await.expect("the connection holds"));
        }
        assert!(Arc::strong_count(&held) > 2, "responses are under way");
        let freed = async {
            while Arc::strong_count(&held) > 2 {
                tokio::time::sleep(SHORT / 5).await;
            }
        };
        tokio::time::timeout(LONG, freed).await.expect("the responses are given up");
        for answer in answers {
            let body = tokio::time::timeout(LONG, answer.into_body().collect());
            let body = body.await.expect("the stream ends");
            // Whether a reset is an error for this client or an end, it has not all that was announced.
            assert!(body.map_or(0, |body| body.to_bytes().len()) <= window as usize);
        }
        client.ready().await.expect("the connection goes on");
    }
}

#[tokio::test]
async fn an_http2_response_whose_content_comes_slowly_from_the_storage_is_not_given_up() {
    let mut limits = patient();
    limits.timeouts.write = SHORT;
    let slow = |_: Request| async {
        let pieces = stream::iter(0..3).then(|_| async {
            tokio::time::sleep(SHORT * 4).await;
            Ok(Bytes::from(vec![b'x'; 50_000]))
        });
        streamed(150_000, pieces.boxed())
    };
    let server = start(limits, Answer(slow)).await;
    let mut client = http2_with_window(server.address, 1 << 20).await;
    let answer = client.send_request(get()).await.expect("the connection holds");
    let body = answer.into_body().collect().await.expect("the whole body").to_bytes();
    assert_eq!(body, vec![b'x'; 150_000]);
}

#[tokio::test]
async fn an_http2_connection_that_only_answers_pings_after_a_request_is_idle() {
    let mut limits = patient();
    limits.timeouts.idle = SHORT;
    let server = start(limits, Answer(echo)).await;
    let mut client = http2_with_window(server.address, 1 << 20).await;
    let answer = client.send_request(get()).await.expect("the connection holds");
    answer.into_body().collect().await.expect("the body");
    let closed = async {
        while !client.is_closed() {
            tokio::time::sleep(SHORT / 5).await;
        }
    };
    tokio::time::timeout(LONG, closed).await.expect("the server closes the connection");
}

fn streamed(length: u64, stream: ByteStream) -> Response {
    let body = ReadingBody::Stream(stream);
    let reading = Reading { total_size: length, offset: 0, length, etag: None, body };
    with_body(StatusCode::OK, ResponseBody::Reading(reading))
}

#[tokio::test]
async fn a_slow_handler_is_not_an_idle_connection() {
    let mut limits = patient();
    limits.timeouts.idle = SHORT;
    limits.timeouts.header = SHORT;
    let slow = |_: Request| async {
        tokio::time::sleep(SHORT * 4).await;
        empty(StatusCode::OK)
    };
    let server = start(limits, Answer(slow)).await;
    assert_eq!(server.connect().await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_an_error_for_the_handler() {
    let mut limits = patient();
    limits.timeouts.body = SHORT;
    limits.timeouts.linger = SHORT;
    let server = start(limits, Answer(echo)).await;
    let mut client = server.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n12345").await;
    let answer = client.answer("PUT").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("sent nothing"), "{}", answer.text());
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_client_that_takes_no_response_is_cut_off() {
    let mut limits = patient();
    limits.timeouts.write = SHORT;
    let large = |_: Request| async { whole(StatusCode::OK, "text/plain", vec![b'x'; 64 << 20]) };
    let server = start(limits, Answer(large)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tokio::time::sleep(SHORT * 8).await;
    assert!(client.rest().await.len() < 64 << 20);
}

#[tokio::test]
async fn a_header_that_is_too_long_is_answered_with_431() {
    let server = start(patient(), Answer(echo)).await;
    let mut client = server.connect().await;
    let long = "y".repeat(patient().max_header + 1);
    client.send(format!("GET / HTTP/1.1\r\nhost: test\r\nx: {long}")).await;
    assert_eq!(client.answer("GET").await.status, 431);
    let mut client = server.connect().await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    client.send(format!("GET / HTTP/1.1\r\nhost: test\r\n{many}\r\n")).await;
    assert_eq!(client.answer("GET").await.status, 431);
}

#[tokio::test]
async fn an_address_that_is_too_long_is_answered_with_414() {
    let limits = patient();
    let longest = limits.max_uri;
    let server = start(limits, Answer(echo)).await;
    let mut client = server.connect().await;
    let path = format!("/{}", "p".repeat(longest - 1));
    assert_eq!(client.get(&path).await.status, 200);
    assert_eq!(client.get(&format!("{path}p")).await.status, 414);
    assert_eq!(client.get(&format!("/?{}", "q".repeat(longest))).await.status, 414);
}

#[tokio::test]
async fn a_request_that_is_no_http_is_answered_with_400() {
    let server = start(patient(), Answer(echo)).await;
    for nonsense in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        let mut client = server.connect().await;
        client.send(nonsense).await;
        assert_eq!(client.answer("GET").await.status, 400, "{nonsense:?}");
    }
}

/// A server with one place, and the client that has it.
async fn full() -> (Running, Client) {
    let mut limits = patient();
    limits.max_connections = 1;
    let server = start(limits, Answer(echo)).await;
    let mut first = server.connect().await;
    assert_eq!(first.get("/").await.status, 200);
    (server, first)
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_ends() {
    let (server, first) = full().await;
    let mut second = server.connect().await;
    second.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let too_early = tokio::time::timeout(SHORT, second.stream.readable()).await;
    assert!(too_early.is_err(), "the second connection is not served yet");
    drop(first);
    assert_eq!(second.answer("GET").await.status, 200);
}

#[tokio::test]
async fn a_connection_that_finds_no_place_for_long_is_told_to_come_later() {
    let (server, mut first) = full().await;
    // The first waits, the others are answered at once, and one that sends nothing keeps nobody from it.
    let _silent = server.connect().await;
    for _ in 0..3 {
        let mut other = server.connect().await;
        let answer = other.get("/v2/").await;
        assert_eq!(answer.status, 503);
        assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("2"), Some("close")));
        let said: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
        assert_eq!(said["errors"][0]["code"], "UNAVAILABLE");
    }
    assert_eq!(first.get("/").await.status, 200, "whoever is in is served on");
    drop(first);
    // Until the server has seen that the first one has gone, the next one may be refused.
    for _ in 0..100 {
        if server.connect().await.get("/").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place is free and nobody gets it");
}

#[tokio::test]
async fn an_address_in_use_is_one_sentence() {
    let server = start(patient(), Answer(echo)).await;
    let error = Server::bind(&server.address.to_string(), patient()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen at {}: ", server.address)), "{error}");
    assert_eq!(error.lines().count(), 1);
    let error = Server::bind("no-port", patient()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen at no-port: "), "{error}");
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_arrives_while_the_client_still_sends() {
    let refuse = |_: Request| async { whole(StatusCode::UNAUTHORIZED, "text/plain", "no") };
    let mut limits = patient();
    limits.timeouts.linger = Duration::from_secs(60);
    let server = start(limits, Answer(refuse)).await;
    let mut client = server.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000\r\n\r\n").await;
    let (mut reading, mut writing) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        // More than all socket buffers hold.
        for _ in 0..64 {
            writing.write_all(&[0; 1 << 20]).await.expect("the server reads on");
        }
    });
    sender.await.expect("sent");
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut answer).await.expect("no reset");
    let answer = String::from_utf8(answer).expect("a text");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.ends_with("no"), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_cut_off() {
    let refuse = |_: Request| async { empty(StatusCode::UNAUTHORIZED) };
    let mut limits = patient();
    limits.timeouts.linger = SHORT;
    let server = start(limits, Answer(refuse)).await;
    let mut client = Client::connect(server.address).await;
    client.send("PUT / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
    while client.stream.write_all(&chunk).await.is_ok() {}
}
