//! The client against servers that answer, stall and break off as a test says.

use std::{process::Stdio, time::Duration};

use docker_registry_driver_api::{Error, ErrorKind};
use http::{Method, Request};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::{Call, HttpOptions, ProxyOptions, Refusal, Subject, Transport};
use crate::{
    bucket::Content,
    scripted::{Scripted, Step, advice, answer, transport},
};

const READ: Call = Call::reading("get", Subject::Object);
const WRITE: Call = Call::writing("put", Subject::Object);

async fn send(
    transport: &Transport,
    call: Call,
    address: &str,
    content: Content,
) -> Result<super::AnswerBody, Refusal> {
    let method = if call.writes { Method::PUT } else { Method::GET };
    let (head, ()) = Request::builder().method(method).uri(address).body(()).unwrap().into_parts();
    transport.send(call, head, content).await.map(http::Response::into_body)
}

async fn failure(transport: &Transport, call: Call, address: &str) -> Error {
    send(transport, call, address, Content::from_static(b"content")).await.unwrap_err().into()
}

#[tokio::test]
async fn content_is_sent_with_its_length_and_without_being_joined() {
    let server = Scripted::start(vec![answer(200, &[], "fine")]).await;
    let transport = transport(|_| {}).await;
    let content: Content =
        [vec![1_u8; 700_000], vec![], vec![2; 5]].into_iter().map(bytes::Bytes::from).collect();
    let body = send(&transport, WRITE, &format!("http://{}/x?y=z", server.authority), content).await.unwrap();
    assert_eq!(body.bytes(10).await.unwrap(), "fine");
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "PUT /x?y=z");
    assert_eq!(seen.header("content-length"), Some("700005"));
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!((seen.body.len(), seen.body[699_999], seen.body[700_000]), (700_005, 1, 2));
}

#[tokio::test]
async fn an_error_has_code_request_id_and_wait_and_no_query() {
    let document = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce</Message>\
                    <Resource>/b/k</Resource></Error>";
    let headers = [("retry-after", "7"), ("x-amz-request-id", "ABC")];
    let server = Scripted::start(vec![answer(503, &headers, document)]).await;
    let transport = transport(|_| {}).await;
    let error = failure(&transport, WRITE, &format!("http://{}/x?signature=hidden", server.authority)).await;
    assert_eq!(error.kind, ErrorKind::Throttled);
    assert!(error.retryable && !error.outcome_unknown);
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(
        error.to_string(),
        "Teststore asks for fewer calls [status 503, SlowDown, Please reduce, request id ABC]"
    );
}

#[tokio::test]
async fn a_lost_answer_to_a_write_leaves_its_outcome_unknown_and_a_refused_connection_does_not() {
    let server = Scripted::start(vec![Step::Answer(Vec::new()), Step::Answer(Vec::new())]).await;
    let transport = transport(|_| {}).await;
    let address = format!("http://{}/x?signature=hidden", server.authority);
    let error = failure(&transport, WRITE, &address).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.retryable && error.outcome_unknown, "{error}");
    assert!(!error.to_string().contains("hidden"), "{error}");
    let error = failure(&transport, READ, &address).await;
    assert!(error.retryable && !error.outcome_unknown);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(&transport, WRITE, &format!("http://{closed}/x?signature=hidden")).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.retryable && !error.outcome_unknown, "{error}");
    assert!(error.message.contains("check the_endpoint"), "{error}");
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_name_without_an_address_is_told() {
    let transport = transport(|_| {}).await;
    let error = failure(&transport, READ, "http://no-such-host.invalid/x").await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(
        error.message.contains("no-such-host.invalid") && error.message.contains("the_endpoint"),
        "{error}"
    );
}

#[tokio::test]
async fn silence_before_and_within_an_answer_is_a_timeout() {
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    for (bytes, within) in [(Vec::new(), false), (begun, true)] {
        let server = Scripted::start(vec![Step::Stall(bytes)]).await;
        let transport = transport(|options| options.idle_timeout = Duration::from_millis(200)).await;
        let address = format!("http://{}/x", server.authority);
        let error = match send(&transport, READ, &address, Content::default()).await {
            Ok(body) if within => body.bytes(100).await.unwrap_err(),
            Ok(_) => panic!("there was no answer"),
            Err(refusal) => refusal.into(),
        };
        assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
        assert!(error.retryable && !error.outcome_unknown);
    }
}

#[tokio::test]
async fn a_truncated_body_is_a_retryable_error_and_so_is_one_that_is_too_long() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabc".to_vec();
    let unknown = b"HTTP/1.0 200 OK\r\n\r\nabc".to_vec();
    for (bytes, length) in [(cut, 10), (unknown.clone(), 10), (unknown, 2)] {
        let server = Scripted::start(vec![Step::Answer(bytes)]).await;
        let transport = transport(|_| {}).await;
        let address = format!("http://{}/x", server.authority);
        let body = send(&transport, READ, &address, Content::default()).await.unwrap();
        let error = docker_registry_driver_api::collect(body.stream(length), 100).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.retryable);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_names_the_keys() {
    let headers = [("location", "http://127.0.0.1:1/elsewhere"), ("x-amz-bucket-region", "eu-west-3")];
    let server = Scripted::start(vec![answer(301, &headers, ""), answer(307, &headers[..1], "")]).await;
    let transport = transport(|_| {}).await;
    let address = format!("http://{}/x", server.authority);
    let error = failure(&transport, READ, &address).await;
    assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
    assert!(error.message.contains("the_region") && error.message.contains("eu-west-3"), "{error}");
    let error = failure(&transport, READ, &address).await;
    assert!(error.message.contains("the_endpoint"), "{error}");
}

#[tokio::test]
async fn a_wrong_bundle_and_a_wrong_proxy_name_their_keys_and_show_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, "no certificate").unwrap();
    for path in [bundle, folder.path().join("absent.pem")] {
        let options = HttpOptions { ca_bundle: Some(path), ..HttpOptions::default() };
        let error = Transport::new(options, advice()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
        assert!(error.message.contains("the_bundle"), "{error}");
    }
    let proxy = ProxyOptions { url: "http://me:hidden@[".into(), user: None, password: None, except: None };
    let options = HttpOptions { proxy: Some(proxy), ..HttpOptions::default() };
    assert!(!format!("{options:?}").contains("hidden"));
    let error = Transport::new(options, advice()).await.unwrap_err();
    assert!(error.message.contains("the_proxy") && !error.to_string().contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_proxy_is_asked_with_its_credentials() {
    let server = Scripted::start(vec![answer(200, &[], "")]).await;
    let proxy = ProxyOptions {
        url: format!("http://{}", server.authority),
        user: Some("me".into()),
        password: Some("secret".into()),
        except: None,
    };
    let transport = transport(|options| options.proxy = Some(proxy)).await;
    send(&transport, READ, "http://store.invalid/x", Content::default()).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "GET http://store.invalid/x");
    assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
}

/// A TLS server of openssl with a certificate of its own.
struct TlsServer {
    _folder: tempfile::TempDir,
    _process: tokio::process::Child,
    certificate: std::path::PathBuf,
    authority: String,
}

impl TlsServer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .await
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let authority = loop {
            let line = lines.next_line().await.unwrap().expect("openssl says where it listens");
            if let Some(authority) = line.strip_prefix("ACCEPT ") {
                break authority.to_owned();
            }
        };
        // What it goes on to say must be read, or it would end.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _folder: folder, _process: process, certificate, authority }
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_with_the_bundle_only() {
    let server = TlsServer::start().await;
    let address = format!("https://{}/", server.authority);
    let error = failure(&transport(|_| {}).await, READ, &address).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(!error.retryable && error.message.contains("the_bundle"), "{error}");

    let with_bundle = transport(|options| options.ca_bundle = Some(server.certificate.clone())).await;
    let unverified = transport(|options| options.verify = false).await;
    for transport in [with_bundle, unverified] {
        send(&transport, READ, &address, Content::default()).await.unwrap().bytes(1 << 20).await.unwrap();
    }
    // Plain HTTP where TLS is spoken, and TLS where plain HTTP is.
    let plain = failure(&transport(|_| {}).await, READ, &address.replace("https", "http")).await;
    assert!(plain.retryable, "{plain}");
    let server = Scripted::start(vec![Step::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]).await;
    let error = failure(&transport(|_| {}).await, READ, &format!("https://{}/", server.authority)).await;
    assert!(error.message.contains("the_endpoint"), "{error}");
}
