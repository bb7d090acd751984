//! Requests and the server's life: bodies, methods, protocols, panics, stop.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use docker_registry::http::{
    exchange::{Request, Response, empty, whole},
    routes::{Handler, Routes},
    server::Drained,
};
use docker_registry_driver_api::ErrorKind;
use futures::StreamExt;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::Notify};

use crate::server::{Answer, echo, patient, start};

#[tokio::test]
async fn a_handler_sees_the_request_as_it_was_sent() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let server = start(
        patient(),
        Answer(move |request: Request| {
            let facts = (request.method.clone(), request.path.clone(), request.query.clone(), request.peer);
            *keep.lock().unwrap() = Some((facts, request.headers.clone(), request.trace));
            async { empty(StatusCode::NO_CONTENT) }
        }),
    )
    .await;
    let mut client = server.connect().await;
    client
        .send(
            "DELETE /v2/a%2Fb//c/?x=%20&y HTTP/1.1\r\nhost: test:1\r\nx-a: 1\r\nX-A: 2\r\n\
               traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        )
        .await;
    let answer = client.answer("DELETE").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("content-length"), None, "RFC 9110 §8.6 forbids it with 204");
    let ((method, path, query, peer), headers, trace) = seen.lock().unwrap().take().unwrap();
    assert_eq!((method.as_str(), &*path, &*query), ("DELETE", "/v2/a%2Fb//c/", "x=%20&y"));
    assert_eq!(peer, Some(client.stream.local_addr().unwrap()));
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(headers[header::HOST], "test:1");
    assert_eq!(trace.unwrap().trace_id[..2], [0x0a, 0xf7]);
}

#[tokio::test]
async fn each_answer_carries_a_request_id() {
    let server = start(patient(), Answer(echo)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-request-id: mine-1\r\n\r\n").await;
    assert_eq!(client.answer("GET").await.header("x-request-id"), Some("mine-1"));
    let first = client.get("/").await.header("x-request-id").unwrap().to_owned();
    let second = client.get("/").await.header("x-request-id").unwrap().to_owned();
    assert_ne!(first, second);
}

#[tokio::test]
async fn head_has_the_length_of_get_and_no_body() {
    let server = start(
        patient(),
        Answer(|request: Request| async move {
            if request.path == "/set" {
                let mut response = empty(StatusCode::OK);
                response.headers_mut().insert(header::CONTENT_LENGTH, 12345.into());
                return response;
            }
            whole(StatusCode::OK, "text/plain", "seven b")
        }),
    )
    .await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/").await.body, b"seven b");
    assert_eq!(client.request("HEAD", "/").await.header("content-length"), Some("7"));
    assert_eq!(client.request("HEAD", "/set").await.header("content-length"), Some("12345"));
    assert_eq!(client.get("/set").await.header("content-length"), Some("0"), "there is no content");
}

#[tokio::test]
async fn a_body_is_asked_for_with_100_continue_and_only_when_it_is_wanted() {
    let server = start(
        patient(),
        Answer(|request: Request| async move {
            if request.path == "/no" { empty(StatusCode::FORBIDDEN) } else { echo(request).await }
        }),
    )
    .await;
    let expect = "host: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let mut client = server.connect().await;
    client.send(format!("PUT / HTTP/1.1\r\n{expect}")).await;
    assert_eq!(client.head().await.status, 100);
    client.send("12345").await;
    assert_eq!(client.answer("PUT").await.body, b"12345");
    client.send(format!("PUT /no HTTP/1.1\r\n{expect}")).await;
    assert_eq!(client.head().await.status, 403);
}

#[tokio::test]
async fn bodies_arrive_piece_by_piece_and_not_gathered() {
    let arrived = Arc::new(Notify::new());
    let tell = Arc::clone(&arrived);
    let server = start(
        patient(),
        Answer(move |mut request: Request| {
            let tell = Arc::clone(&tell);
            async move {
                let mut length = 0;
                while let Some(Ok(chunk)) = request.body.next().await {
                    length += chunk.len();
                    tell.notify_one();
                }
                whole(StatusCode::OK, "text/plain", length.to_string())
            }
        }),
    )
    .await;
    let mut client = server.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        client.send("4\r\nabcd\r\n").await;
        arrived.notified().await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer("PUT").await.body, b"12");
}

#[tokio::test]
async fn a_client_that_breaks_off_is_a_failed_body() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = start(
        patient(),
        Answer(move |mut request: Request| {
            let tell = tell.clone();
            async move {
                while let Some(chunk) = request.body.next().await {
                    if let Err(error) = chunk {
                        tell.send(error.kind).unwrap();
                    }
                }
                empty(StatusCode::OK)
            }
        }),
    )
    .await;
    let mut client = server.connect().await;
    client.send("PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n123").await;
    drop(client);
    assert_eq!(told.recv().await, Some(ErrorKind::BodyFailed));
}

#[tokio::test]
async fn a_panic_costs_one_request_and_nothing_else() {
    let server = start(
        patient(),
        Answer(|request: Request| async move {
            assert_ne!(request.path, "/panic", "this panic is part of the test");
            echo(request).await
        }),
    )
    .await;
    let mut client = server.connect().await;
    let mut other = server.connect().await;
    let answer = client.get("/panic").await;
    assert_eq!(answer.status, 500);
    assert!(!answer.text().contains("part of the test"), "the panic is for the log, not for the client");
    assert_eq!(client.get("/").await.status, 200, "on the same connection");
    assert_eq!(other.get("/").await.status, 200, "on another one");
}

#[tokio::test]
async fn paths_below_v2_go_to_v2_and_an_api_that_is_off_answers_404() {
    let named = |name: &'static str| -> Option<Arc<dyn Handler>> {
        Some(Arc::new(Answer(move |_: Request| async move { whole(StatusCode::OK, "text/plain", name) })))
    };
    let both = start(patient(), Routes { v2: named("v2"), v1: named("v1") }).await;
    let mut client = both.connect().await;
    for (path, api) in [("/v2/", "v2"), ("/v2", "v2"), ("/v2x", "v1"), ("/v1/_ping", "v1"), ("/", "v1")] {
        assert_eq!(client.get(path).await.text(), api, "{path}");
    }
    let only_v1 = start(patient(), Routes { v2: None, v1: named("v1") }).await;
    let mut client = only_v1.connect().await;
    assert_eq!(client.get("/v2/").await.status, 404);
    assert_eq!(client.get("/v1/_ping").await.status, 200);
}

/// Sends one request over HTTP/2 with prior knowledge.
async fn http2(address: std::net::SocketAddr, request: http::Request<Full<Bytes>>) -> http::Response<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    http::Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn http2_with_prior_knowledge_works_and_names_the_host() {
    let server = start(
        patient(),
        Answer(|request: Request| async move {
            let host = request.header(header::HOST).unwrap_or_default().to_owned();
            let body = docker_registry_driver_api::collect(request.body, 1 << 20).await.unwrap();
            whole(StatusCode::OK, "text/plain", format!("{host} {} {}", request.path, body.len()))
        }),
    )
    .await;
    let body = Full::new(Bytes::from(vec![0; 300_000]));
    let request = http::Request::put("http://test:7/v2/x?y=1").body(body).unwrap();
    let answer = http2(server.address, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body(), "test:7 /v2/x 300000");
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way_and_takes_nothing_new() {
    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&entered), Arc::clone(&go));
    let server = start(
        patient(),
        Answer(move |request: Request| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                if request.path == "/slow" {
                    tell.notify_one();
                    wait.notified().await;
                }
                whole(StatusCode::OK, "text/plain", "done")
            }
        }),
    )
    .await;
    let address = server.address;
    let mut idle = server.connect().await;
    idle.get("/").await;
    let mut busy = server.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    entered.notified().await;
    let ended = server.stop();
    assert_eq!(idle.rest().await, b"", "an idle connection is closed at once");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert!(!ended.is_finished(), "a request is under way");
    go.notify_one();
    let answer = busy.answer("GET").await;
    assert_eq!((answer.status, answer.text()), (200, "done"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(ended.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn stopping_ends_after_the_graceful_timeout() {
    let mut limits = patient();
    limits.graceful = Duration::from_millis(100);
    let entered = Arc::new(Notify::new());
    let tell = Arc::clone(&entered);
    let server = start(
        limits,
        Answer(move |_: Request| {
            tell.notify_one();
            std::future::pending::<Response>()
        }),
    )
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    entered.notified().await;
    assert_eq!(server.stop().await.unwrap(), Drained { cut_off: 1 });
    assert_eq!(client.rest().await, b"");
}
