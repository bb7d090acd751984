//! The S3 family on recorded answers: what is sent, and what is made of what comes back.

use std::time::Duration;

use docker_registry_driver_api::{Condition, ETag, ErrorKind, ReadRange, Result, collect};
use http::{Method, request::Parts};

use super::{Address, Dialect, Form, Listings, Payload, PayloadCheck, XmlBucket};
use crate::{
    Bucket,
    bucket::{Content, Limits, ListCall, NewPart, Part, SignCall},
    scripted::{Scripted, Step, answer, transport},
};

struct Plain {
    form: Form,
    limits: Limits,
}

#[docker_registry_driver_api::async_trait]
impl Dialect for Plain {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn form(&self) -> &Form {
        &self.form
    }

    async fn sign(&self, head: &mut Parts, payload: &Payload) -> Result<()> {
        let text = format!("{} {}", payload.length, payload.sha256.as_deref().unwrap_or("unsigned"));
        head.headers.insert("authorization", text.parse().unwrap());
        Ok(())
    }

    async fn presign(&self, head: &mut Parts, expires: Duration) -> Result<()> {
        let separator = if head.uri.query().is_some() { '&' } else { '?' };
        head.uri = format!("{}{separator}expires={}", head.uri, expires.as_secs()).parse().unwrap();
        Ok(())
    }
}

async fn bucket(server: &Scripted, change: impl FnOnce(&mut Form)) -> XmlBucket<Plain> {
    let mut form = Form::s3();
    change(&mut form);
    let address = Address { base: format!("http://{}/bucket", server.authority), bucket: "bucket".into() };
    XmlBucket::new(transport(|_| {}).await, Plain { form, limits: Limits::s3() }, address)
}

async fn running(script: Vec<Step>) -> (Scripted, XmlBucket<Plain>) {
    let server = Scripted::start(script).await;
    let bucket = bucket(&server, |_| {}).await;
    (server, bucket)
}

const MD5_OF_HELLO: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

fn hello() -> Content {
    ["he", "llo"].into_iter().map(|piece| bytes::Bytes::from_static(piece.as_bytes())).collect()
}

#[tokio::test]
async fn a_put_says_mark_condition_and_hash_and_compares_the_tag() {
    let (server, bucket) = running(vec![answer(200, &[("etag", MD5_OF_HELLO)], "")]).await;
    let tag = bucket.put("a b/ü+", hello(), &Condition::IfAbsent, Some("m1")).await.unwrap();
    assert_eq!(tag, Some(ETag(MD5_OF_HELLO.into())));
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "PUT /bucket/a%20b/%C3%BC%2B");
    assert_eq!(seen.header("x-amz-meta-dockerregistrymark"), Some("m1"));
    assert_eq!(seen.header("if-none-match"), Some("*"));
    assert_eq!(seen.header("content-md5"), Some("XUFAKrxLKna5cZ2REBfFkg=="));
    assert_eq!(seen.header("authorization"), Some("5 unsigned"));
    assert_eq!(seen.body, b"hello");
}

#[tokio::test]
async fn a_wrong_tag_of_a_put_or_a_part_is_a_retryable_error() {
    let wrong = answer(200, &[("etag", "\"00000000000000000000000000000000\"")], "");
    let (_server, bucket) = running(vec![wrong.clone(), wrong]).await;
    let error = bucket.put("k", hello(), &Condition::Always, None).await.unwrap_err();
    assert!(error.retryable && error.outcome_unknown, "{error}");
    let part = NewPart { number: 1, offset: 0, content: hello(), last: true };
    let error = bucket.part("k", "id", part).await.unwrap_err();
    assert!(error.retryable && !error.outcome_unknown, "{error}");
}

#[tokio::test]
async fn a_tag_is_not_compared_where_a_key_management_service_encrypts() {
    let headers = [("etag", "\"any\""), ("x-amz-server-side-encryption", "aws:kms")];
    let (_server, bucket) = running(vec![answer(200, &headers, "")]).await;
    bucket.put("k", hello(), &Condition::Always, None).await.unwrap();
}

#[tokio::test]
async fn the_hash_of_the_content_is_signed_where_the_form_says_so() {
    let server =
        Scripted::start(vec![answer(200, &[("etag", MD5_OF_HELLO)], ""), answer(204, &[], "")]).await;
    let bucket = bucket(&server, |form| form.payload_check = PayloadCheck::SignedHash).await;
    bucket.put("k", hello(), &Condition::Always, None).await.unwrap();
    bucket.delete("k").await.unwrap();
    let seen = server.seen();
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(seen[0].header("authorization"), Some(format!("5 {hash}").as_str()));
    assert_eq!(seen[0].header("content-md5"), None);
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(seen[1].header("authorization"), Some(format!("0 {nothing}").as_str()));
}

#[tokio::test]
async fn if_match_on_an_absent_object_is_a_failed_condition() {
    let absent = || answer(404, &[], "<Error><Code>NoSuchKey</Code></Error>");
    let (server, bucket) = running(vec![absent(), absent()]).await;
    let condition = Condition::IfMatch(ETag("\"x\"".into()));
    let error = bucket.put("k", hello(), &condition, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    let error = bucket.finish("k", "id", &[], &condition).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    assert_eq!(server.seen()[0].header("if-match"), Some("\"x\""));
}

#[tokio::test]
async fn a_range_is_asked_for_and_checked() {
    let part = |range: &str| answer(206, &[("content-range", range), ("etag", "\"t\"")], "llo");
    let (server, bucket) = running(vec![
        part("bytes 2-4/5"),
        part("bytes 1-3/5"),
        answer(416, &[], ""),
        answer(200, &[], "hello"),
    ])
    .await;
    let range = ReadRange::Window { offset: 2, length: 9 };
    let opened = bucket.get("k", range, Some(&ETag("\"t\"".into()))).await.unwrap();
    assert_eq!((opened.offset, opened.length, opened.facts.size), (2, 3, 5));
    assert_eq!(collect(opened.body, 9).await.unwrap(), "llo");
    assert_eq!(server.seen()[0].header("range"), Some("bytes=2-10"));
    assert_eq!(server.seen()[0].header("if-match"), Some("\"t\""));
    let kind = |result: Result<crate::bucket::Opened>| result.err().map(|error| error.kind);
    assert_eq!(kind(bucket.get("k", range, None).await), Some(ErrorKind::Corrupt));
    assert_eq!(kind(bucket.get("k", range, None).await), Some(ErrorKind::InvalidRange));
    // The server ignores ranges.
    assert_eq!(kind(bucket.get("k", range, None).await), Some(ErrorKind::Corrupt));
}

#[tokio::test]
async fn the_last_bytes_of_an_empty_object_are_no_range_however_the_store_says_so() {
    let (_server, bucket) = running(vec![answer(206, &[("content-range", "bytes 0--1/0")], "")]).await;
    let error = bucket.get("k", ReadRange::Last { length: 1 }, None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::InvalidRange);
}

#[tokio::test]
async fn an_empty_object_is_read_whole() {
    let (server, bucket) = running(vec![answer(200, &[], "")]).await;
    let opened = bucket.get("k", ReadRange::Full, None).await.unwrap();
    assert_eq!((opened.offset, opened.length), (0, 0));
    assert_eq!(collect(opened.body, 9).await.unwrap(), "");
    assert_eq!(server.seen()[0].header("range"), None);
}

#[tokio::test]
async fn head_gives_size_time_tag_and_mark() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 etag: \"t\"\r\nx-amz-meta-dockerregistrymark: m1\r\nconnection: close\r\n\r\n";
    let (_server, bucket) = running(vec![Step::Answer(head.to_vec()), answer(404, &[], "")]).await;
    let facts = bucket.head("k").await.unwrap();
    assert_eq!((facts.size, facts.mark.as_deref()), (5, Some("m1")));
    assert_eq!(facts.etag, Some(ETag("\"t\"".into())));
    assert_eq!(facts.modified, Some(std::time::UNIX_EPOCH + Duration::from_secs(784_111_777)));
    assert!(bucket.head("k").await.unwrap_err().is_not_found());
}

fn page(call: impl FnOnce(&mut ListCall)) -> ListCall {
    let mut list = ListCall { prefix: "p/".into(), delimited: true, after: None, token: None, limit: 2 };
    call(&mut list);
    list
}

#[tokio::test]
async fn a_listing_goes_on_by_token_and_its_keys_are_decoded() {
    let first = "<ListBucketResult xmlns=\"http://s3\"><Name>b</Name><EncodingType>url</EncodingType>\
                 <IsTruncated>true</IsTruncated><Contents><Key>p/a+b%2B%C3%BC</Key>\
                 <LastModified>2024-01-02T03:04:05.678Z</LastModified><ETag>&quot;t&quot;</ETag><Size>7</Size>\
                 <Owner><ID>x</ID></Owner></Contents><CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>\
                 <NextContinuationToken>a+/=</NextContinuationToken></ListBucketResult>";
    let last = "<ListBucketResult><IsTruncated>false</IsTruncated><NextContinuationToken>x</NextContinuationToken>\
                </ListBucketResult>";
    let (server, bucket) = running(vec![answer(200, &[], first), answer(200, &[], last)]).await;
    let listing = bucket.list(&page(|call| call.after = Some("p/A".into()))).await.unwrap();
    assert_eq!(listing.objects[0].key, "p/a b+ü");
    assert_eq!((listing.objects[0].size, listing.objects[0].etag.clone()), (7, Some(ETag("\"t\"".into()))));
    assert!(listing.objects[0].modified.is_some());
    assert_eq!(listing.prefixes, ["p/c/"]);
    assert_eq!(listing.next.as_deref(), Some("a+/="));
    let listing = bucket.list(&page(|call| call.token = listing.next.clone())).await.unwrap();
    assert_eq!(listing.next, None);
    let seen = server.seen();
    let query = "max-keys=2&prefix=p%2F&delimiter=%2F&encoding-type=url&list-type=2";
    assert_eq!(seen[0].line(), format!("GET /bucket/?{query}&start-after=p%2FA"));
    assert_eq!(seen[1].line(), format!("GET /bucket/?{query}&continuation-token=a%2B%2F%3D"));
}

#[tokio::test]
async fn the_oldest_listing_goes_on_after_the_last_name() {
    let text = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>p/a</Key><Size>1</Size></Contents>\
                <CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes></ListBucketResult>";
    let server = Scripted::start(vec![answer(200, &[], text)]).await;
    let bucket = bucket(&server, |form| form.listings = Listings::First).await;
    let listing = bucket.list(&page(|_| {})).await.unwrap();
    assert_eq!(listing.next.as_deref(), Some("p/c/"));
}

#[tokio::test]
async fn an_error_inside_of_a_good_answer_is_an_error() {
    let text = "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><RequestId>R</RequestId></Error>";
    let (_server, bucket) =
        running(vec![answer(200, &[], text), answer(200, &[], text), answer(200, &[], "  \n ")]).await;
    for error in [
        bucket.copy("a", "b", 1).await.unwrap_err(),
        bucket.finish("a", "id", &[], &Condition::Always).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.retryable && error.outcome_unknown, "{error}");
        assert!(error.message.contains("request id R"), "{error}");
    }
    // A copy that kept the connection alive and never came to its end.
    let error = bucket.copy("a", "b", 1).await.unwrap_err();
    assert!(error.retryable && error.outcome_unknown, "{error}");
}

#[tokio::test]
async fn a_large_object_is_begun_sent_copied_and_finished() {
    let (server, bucket) = running(vec![
        answer(
            200,
            &[],
            "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>",
        ),
        answer(200, &[("etag", MD5_OF_HELLO)], ""),
        answer(200, &[], "<CopyPartResult><LastModified>x</LastModified><ETag>\"c\"</ETag></CopyPartResult>"),
        answer(
            200,
            &[],
            "<CompleteMultipartUploadResult><ETag>\"f-2\"</ETag></CompleteMultipartUploadResult>",
        ),
    ])
    .await;
    let id = bucket.begin("k", &Condition::IfAbsent, Some("m")).await.unwrap();
    let sent = NewPart { number: 1, offset: 0, content: hello(), last: false };
    let sent = bucket.part("k", &id, sent).await.unwrap();
    assert_eq!(sent, Part { number: 1, size: 5, tag: MD5_OF_HELLO.into() });
    let copied = bucket.copy_part("k", &id, 2, "from ü", 3..10).await.unwrap();
    assert_eq!(copied, Part { number: 2, size: 7, tag: "\"c\"".into() });
    let tag = bucket.finish("k", &id, &[sent, copied], &Condition::IfAbsent).await.unwrap();
    assert_eq!(tag, Some(ETag("\"f-2\"".into())));
    let seen = server.seen();
    assert_eq!(seen[0].line(), "POST /bucket/k?uploads");
    assert_eq!(seen[0].header("if-none-match"), None);
    assert_eq!(seen[0].header("x-amz-meta-dockerregistrymark"), Some("m"));
    assert_eq!(seen[1].line(), "PUT /bucket/k?partNumber=1&uploadId=u%2F1");
    assert_eq!(seen[2].header("x-amz-copy-source"), Some("/bucket/from%20%C3%BC"));
    assert_eq!(seen[2].header("x-amz-copy-source-range"), Some("bytes=3-9"));
    assert_eq!(seen[3].line(), "POST /bucket/k?uploadId=u%2F1");
    assert_eq!(seen[3].header("if-none-match"), Some("*"));
    assert_eq!(
        String::from_utf8_lossy(&seen[3].body),
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
         <ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag></Part>\
         <Part><PartNumber>2</PartNumber><ETag>&quot;c&quot;</ETag></Part></CompleteMultipartUpload>"
    );
}

#[tokio::test]
async fn abandoning_what_is_gone_is_fine_and_finishing_it_is_not() {
    let gone = || answer(404, &[], "<Error><Code>NoSuchUpload</Code></Error>");
    let (_server, bucket) = running(vec![gone(), gone()]).await;
    bucket.abandon("k", "id").await.unwrap();
    let error = bucket.finish("k", "id", &[], &Condition::Always).await.unwrap_err();
    assert!(error.is_not_found() && !error.outcome_unknown, "{error}");
}

#[tokio::test]
async fn a_batch_of_deletions_reports_what_stays() {
    let text = "<DeleteResult><Error><Key>a&amp;b</Key><Code>AccessDenied</Code><Message>no</Message></Error>\
                <Error><Key>gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>";
    let (server, bucket) = running(vec![answer(200, &[], text), answer(200, &[], "")]).await;
    let stay = bucket.delete_batch(&["a&b".into(), "gone".into(), "c".into()]).await.unwrap();
    assert_eq!(stay.len(), 1);
    assert_eq!((stay[0].0.as_str(), stay[0].1.kind), ("a&b", ErrorKind::PermissionDenied));
    assert!(bucket.delete_batch(&["c".into()]).await.unwrap().is_empty());
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "POST /bucket/?delete");
    assert!(seen.header("content-md5").is_some());
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        "<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object><Object><Key>gone</Key></Object>\
         <Object><Key>c</Key></Object></Delete>"
    );
}

#[tokio::test]
async fn what_was_begun_is_listed_page_by_page() {
    let first = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k 1</NextKeyMarker>\
                 <NextUploadIdMarker>u1</NextUploadIdMarker><Upload><Key>k 1</Key><UploadId>u1</UploadId>\
                 <Initiated>2024-01-02T03:04:05Z</Initiated></Upload></ListMultipartUploadsResult>";
    let last = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
    let (server, bucket) = running(vec![answer(200, &[], first), answer(200, &[], last)]).await;
    let (begun, next) = bucket.list_begun("k", None).await.unwrap();
    assert_eq!((begun[0].key.as_str(), begun[0].id.as_str()), ("k 1", "u1"));
    assert_eq!(begun[0].begun, std::time::UNIX_EPOCH + Duration::from_secs(1_704_164_645));
    let (begun, next) = bucket.list_begun("k", next.as_deref()).await.unwrap();
    assert!(begun.is_empty() && next.is_none());
    assert!(server.seen()[1].line().ends_with("&key-marker=k%201&upload-id-marker=u1"));
}

#[tokio::test]
async fn a_copy_drops_the_mark_of_its_source() {
    let (server, bucket) =
        running(vec![answer(200, &[], "<CopyObjectResult><ETag>\"t\"</ETag></CopyObjectResult>")]).await;
    bucket.copy("a/ü", "b", 7).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "PUT /bucket/b");
    assert_eq!(seen.header("x-amz-copy-source"), Some("/bucket/a/%C3%BC"));
    assert_eq!(seen.header("x-amz-metadata-directive"), Some("REPLACE"));
}

#[tokio::test]
async fn a_signed_address_asks_for_headers_at_the_public_address() {
    let (_server, bucket) = running(Vec::new()).await;
    let public = Address { base: "https://cdn.example/bucket".into(), bucket: "bucket".into() };
    let call = SignCall {
        key: "a b".into(),
        method: Method::GET,
        expires: Duration::from_secs(60),
        response_headers: vec![("content-type".into(), "a/b".into()), ("x-other".into(), "x".into())],
    };
    let address = bucket.with_public_address(public).sign(&call).await.unwrap();
    assert_eq!(
        address.as_deref(),
        Some("https://cdn.example/bucket/a%20b?response-content-type=a%2Fb&expires=60")
    );
}

#[tokio::test]
async fn a_probe_knows_a_store_from_any_other_server() {
    let page = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let (_server, bucket) = running(vec![answer(200, &[], page), answer(200, &[], "<html>Welcome")]).await;
    bucket.probe("").await.unwrap();
    let error = bucket.probe("").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
    assert!(error.message.contains("the_endpoint"), "{error}");
}

#[test]
fn no_document_makes_reading_panic() {
    use super::documents::{self, DeleteResult, ListBucketResult, ListMultipartUploadsResult, Written};
    let dialect = Plain { form: Form::s3(), limits: Limits::s3() };
    let seeds = [
        "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><Contents><Key>a%2</Key>\
         <Size>1</Size><LastModified>2024-01-02T03:04:05Z</LastModified></Contents></ListBucketResult>",
        "<DeleteResult><Error><Key>k</Key><Code>c</Code></Error></DeleteResult>",
        "<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u</UploadId><Initiated>x</Initiated></Upload>\
         </ListMultipartUploadsResult>",
    ];
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..20_000 {
        let mut bytes = seeds[random.usize(..seeds.len())].as_bytes().to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"<>&;/\"%+!?-\xff").unwrap()),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                bytes.push(b'<');
            }
        }
        if let Ok(list) = documents::read::<ListBucketResult>(&bytes) {
            let _ = list.page(&dialect);
        }
        if let Ok(list) = documents::read::<ListMultipartUploadsResult>(&bytes) {
            let _ = list.page();
        }
        let _ = documents::read::<DeleteResult>(&bytes);
        let _ = documents::read::<Written>(&bytes);
    }
}
