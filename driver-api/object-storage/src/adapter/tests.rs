//! The adapter on recorded answers.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Condition, ETag, ErrorKind, ReadRange, collect};
use object_store::aws::AmazonS3Builder;

use super::{StoreAdapter, no_retries};
use crate::{
    bucket::{Content, ListCall, SignCall},
    scripted::{Scripted, Step, answer, transport},
};

async fn adapter(server: &Scripted) -> StoreAdapter {
    let transport = transport(|options| options.idle_timeout = Duration::from_secs(20)).await;
    let store = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", server.authority))
        .with_allow_http(true)
        .with_bucket_name("bucket")
        .with_region("r")
        .with_access_key_id("key")
        .with_secret_access_key("secret")
        .with_retry(no_retries())
        .with_http_connector(transport.clone())
        .build()
        .unwrap();
    StoreAdapter::new(Arc::new(store), transport, server.authority.clone())
}

const TIME: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");

#[tokio::test]
async fn an_object_is_written_with_its_mark_and_read_in_a_range() {
    let headers = [("etag", "\"t\""), TIME, ("content-range", "bytes 1-3/5")];
    let server =
        Scripted::start(vec![answer(200, &[("etag", "\"t\"")], ""), answer(206, &headers, "ell")]).await;
    let adapter = adapter(&server).await;
    let content = Content::from_static(b"hello");
    let tag = adapter.put("a b/ü", content, &Condition::IfAbsent, Some("m")).await.unwrap();
    assert_eq!(tag, Some(ETag("\"t\"".into())));
    let range = ReadRange::Window { offset: 1, length: 3 };
    let opened = adapter.get("a b/ü", range, tag.as_ref()).await.unwrap();
    assert_eq!((opened.offset, opened.length, opened.facts.size), (1, 3, 5));
    assert_eq!(opened.facts.etag, tag);
    assert_eq!(collect(opened.body, 9).await.unwrap(), "ell");
    let seen = server.seen();
    assert_eq!(seen[0].line(), "PUT /bucket/a%20b/%C3%BC");
    assert_eq!(seen[0].header("if-none-match"), Some("*"));
    assert_eq!(seen[0].header("x-amz-meta-dockerregistrymark"), Some("m"));
    assert_eq!(seen[0].body, b"hello");
    assert_eq!(seen[1].header("if-match"), Some("\"t\""));
    assert_eq!(seen[1].header("range"), Some("bytes=1-3"));
}

#[tokio::test]
async fn failures_mean_what_was_on_the_wire() {
    let slow = "<Error><Code>SlowDown</Code><Message>slow</Message></Error>";
    let server = Scripted::start(vec![
        answer(503, &[("x-amz-request-id", "R7"), ("retry-after", "3")], slow),
        answer(404, &[], "<Error><Code>NoSuchBucket</Code></Error>"),
        answer(412, &[], "<Error><Code>PreconditionFailed</Code></Error>"),
        Step::Answer(Vec::new()),
        answer(404, &[], ""),
    ])
    .await;
    let adapter = adapter(&server).await;
    let put = |condition| {
        let adapter = &adapter;
        async move { adapter.put("k", Content::from_static(b"x"), &condition, None).await.unwrap_err() }
    };
    let error = put(Condition::Always).await;
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(3))));
    assert!(error.retryable && error.message.contains("request id R7"), "{error}");
    let error = put(Condition::IfAbsent).await;
    assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
    assert!(error.message.contains("the_bucket"), "{error}");
    assert_eq!(put(Condition::IfAbsent).await.kind, ErrorKind::ConditionFailed);
    let error = put(Condition::Always).await;
    assert!(error.retryable && error.outcome_unknown, "{error}");
    assert!(adapter.head("k").await.unwrap_err().is_not_found());
    // One attempt each.
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_retryable_error() {
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"t\"\r\n\
                  last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nconnection: close\r\n\r\nabc";
    let server = Scripted::start(vec![Step::Answer(bytes.to_vec())]).await;
    let opened = adapter(&server).await.get("k", ReadRange::Full, None).await.unwrap();
    let error = collect(opened.body, 100).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.retryable, "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_page_is_listed_and_an_address_signed() {
    let text = "<ListBucketResult><Contents><Key>p/a b</Key><LastModified>2024-01-02T03:04:05Z</LastModified>\
                <ETag>\"t\"</ETag><Size>7</Size></Contents><CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>\
                <NextContinuationToken>n</NextContinuationToken></ListBucketResult>";
    let server = Scripted::start(vec![answer(200, &[], text)]).await;
    let adapter = adapter(&server).await;
    let call =
        ListCall { prefix: "p/".into(), delimited: true, after: Some("p/A".into()), token: None, limit: 5 };
    let listing = adapter.list(&call).await.unwrap();
    assert_eq!((listing.objects[0].key.as_str(), listing.objects[0].size), ("p/a b", 7));
    assert_eq!(listing.prefixes, ["p/c/"]);
    assert_eq!(listing.next.as_deref(), Some("n"));
    let call = SignCall {
        key: "p/a b".into(),
        method: http::Method::GET,
        expires: Duration::from_secs(60),
        response_headers: Vec::new(),
    };
    let address = adapter.sign(&call).await.unwrap().unwrap();
    assert!(address.starts_with(&format!("http://{}/bucket/p/a%20b?", server.authority)), "{address}");
    assert!(address.contains("X-Amz-Signature="));
}

#[tokio::test]
async fn the_last_bytes_of_an_empty_object_are_no_range_however_the_store_says_so() {
    let headers = [("etag", "\"t\""), TIME, ("content-range", "bytes 0--1/0")];
    let server = Scripted::start(vec![answer(206, &headers, "")]).await;
    let result = adapter(&server).await.get("k", ReadRange::Last { length: 1 }, None).await;
    assert_eq!(result.err().unwrap().kind, ErrorKind::InvalidRange);
}
