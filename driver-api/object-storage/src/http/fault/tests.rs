//! What statuses, codes and broken connections mean.

use std::time::{Duration, SystemTime};

use docker_registry_driver_api::ErrorKind::{self, *};
use http::{HeaderMap, Method, StatusCode};

use super::{Call, Record, Subject, document, error};
use crate::scripted::advice;

fn record(status: u16, code: &str) -> Record {
    Record {
        status: Some(StatusCode::from_u16(status).unwrap()),
        code: (!code.is_empty()).then(|| code.to_owned()),
        ..Record::default()
    }
}

#[test]
fn every_store_gets_its_codes_understood() {
    let table: &[(u16, &str, ErrorKind, bool)] = &[
        // S3 and its relatives.
        (404, "NoSuchKey", NotFound, false),
        (404, "NoSuchBucket", InvalidConfiguration, false),
        (404, "NoSuchUpload", NotFound, false),
        (412, "PreconditionFailed", ConditionFailed, false),
        (409, "ConditionalRequestConflict", Conflict, true),
        (503, "SlowDown", Throttled, true),
        (500, "InternalError", Unavailable, true),
        (400, "RequestTimeout", Timeout, true),
        (403, "RequestTimeTooSkewed", InvalidConfiguration, false),
        (400, "ExpiredToken", Unauthenticated, true),
        (403, "InvalidAccessKeyId", Unauthenticated, false),
        (403, "SignatureDoesNotMatch", Unauthenticated, false),
        (403, "AccessDenied", PermissionDenied, false),
        (301, "PermanentRedirect", InvalidConfiguration, false),
        (400, "EntityTooLarge", TooLarge, false),
        (400, "BadDigest", Unavailable, true),
        (400, "XAmzContentSHA256Mismatch", Unavailable, true),
        (403, "QuotaExceeded", StorageFull, false),
        (507, "XMinioStorageFull", StorageFull, false),
        (501, "NotImplemented", Unsupported, false),
        (400, "InvalidPart", Conflict, false),
        // OSS.
        (409, "FileAlreadyExists", ConditionFailed, false),
        (403, "SecurityTokenExpired", Unauthenticated, true),
        // GCS.
        (412, "conditionNotMet", ConditionFailed, false),
        (429, "rateLimitExceeded", Throttled, true),
        (503, "backendError", Unavailable, true),
        (400, "invalid_grant", Unauthenticated, false),
        // Azure.
        (404, "BlobNotFound", NotFound, false),
        (404, "ContainerNotFound", InvalidConfiguration, false),
        (403, "AuthenticationFailed", Unauthenticated, false),
        (409, "BlobAlreadyExists", ConditionFailed, false),
        (412, "LeaseIdMissing", Conflict, false),
        (503, "ServerBusy", Throttled, true),
        // No code at all, as with HEAD.
        (304, "", ConditionFailed, false),
        (401, "", Unauthenticated, false),
        (403, "", PermissionDenied, false),
        (404, "", NotFound, false),
        (408, "", Timeout, true),
        (412, "", ConditionFailed, false),
        (416, "", InvalidRange, false),
        (429, "", Throttled, true),
        (500, "", Unavailable, true),
        (502, "Unheard", Unavailable, true),
        (507, "", StorageFull, false),
        (599, "", Unavailable, true),
        (418, "", Internal, false),
    ];
    for (status, code, kind, retryable) in table {
        let error = error(&advice(), Call::reading("get", Subject::Object), &record(*status, code));
        assert_eq!((error.kind, error.retryable), (*kind, *retryable), "{status} {code}: {error}");
    }
}

#[test]
fn sentences_name_the_key_to_look_at() {
    let sentence = |status, code| {
        error(&advice(), Call::reading("probe", Subject::Bucket), &record(status, code)).message
    };
    assert!(sentence(403, "SignatureDoesNotMatch").contains("check the_key and the_secret"));
    assert!(sentence(404, "NoSuchBucket").contains("check the_bucket"));
    assert!(sentence(404, "").contains("check the_bucket"));
    assert!(sentence(400, "").contains("check the_endpoint"));
    assert!(sentence(403, "RequestTimeTooSkewed").contains("clock"));
    let mut wrong = record(400, "AuthorizationHeaderMalformed");
    wrong.message = Some("the region 'x' is wrong; expecting 'us-east-1'".into());
    let error = error(&advice(), Call::reading("probe", Subject::Bucket), &wrong);
    assert!(error.message.contains("check the_region"), "{error}");
}

#[test]
fn a_refused_signature_is_the_clock_where_the_clocks_differ() {
    let mut record = record(403, "AuthenticationFailed");
    record.date = Some(SystemTime::now() - Duration::from_secs(3_600));
    let error = error(&advice(), Call::reading("get", Subject::Object), &record);
    assert_eq!(error.kind, InvalidConfiguration);
    assert!(error.message.contains("clock"), "{error}");
}

#[test]
fn the_outcome_of_a_write_is_unknown_where_the_store_broke_in_the_middle() {
    let write = Call::writing("put", Subject::Object);
    for (status, unknown) in [(500, true), (502, true), (504, true), (503, false), (429, false), (403, false)]
    {
        assert_eq!(error(&advice(), write, &record(status, "")).outcome_unknown, unknown, "{status}");
    }
}

#[test]
fn what_is_absent_depends_on_what_was_asked_for() {
    let about = |subject| error(&advice(), Call::reading("call", subject), &record(404, "")).kind;
    assert_eq!(about(Subject::Object), NotFound);
    assert_eq!(about(Subject::Upload), NotFound);
    assert_eq!(about(Subject::Bucket), InvalidConfiguration);
    // A credential service without an answer says nothing of an object.
    assert_eq!(about(Subject::Credentials), Internal);
}

#[test]
fn documents_of_all_stores_are_read() {
    let xml = document::read(
        b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<Error xmlns=\"x\"><Code>NoSuchKey</Code><Message>It&apos;s &lt;gone&gt;\nnow\
          </Message><RequestId>R1</RequestId><Region>eu-1</Region><Inner><Code>Other</Code></Inner></Error>",
    );
    assert_eq!(xml.code.as_deref(), Some("NoSuchKey"));
    assert_eq!(xml.message.as_deref(), Some("It's <gone> now"));
    assert_eq!(xml.request_id.as_deref(), Some("R1"));
    assert_eq!(xml.place.as_deref(), Some("eu-1"));
    let json = br#"{"error":{"code":412,"message":"no","errors":[{"reason":"conditionNotMet"}]}}"#;
    assert_eq!(document::read(json).code.as_deref(), Some("conditionNotMet"));
    let token = br#"{"error":"invalid_grant","error_description":"bad"}"#;
    let token = document::read(token);
    assert_eq!((token.code.as_deref(), token.message.as_deref()), (Some("invalid_grant"), Some("bad")));
    for other in ["", "<", "<html><body>x", "{", "[1,2]", "plain", "{\"error\":7}"] {
        assert_eq!(document::read(other.as_bytes()), document::Said::default(), "{other}");
    }
}

#[test]
fn an_answer_to_head_of_oss_has_its_document_in_a_header() {
    let mut headers = HeaderMap::new();
    // <Error><Code>SecurityTokenExpired</Code></Error>
    let text = "PEVycm9yPjxDb2RlPlNlY3VyaXR5VG9rZW5FeHBpcmVkPC9Db2RlPjwvRXJyb3I+";
    headers.insert("x-oss-err", text.parse().unwrap());
    let record = Record::of_answer(String::new(), Method::HEAD, StatusCode::FORBIDDEN, &headers, &[]);
    assert_eq!(record.code(), "SecurityTokenExpired");
}

#[test]
fn no_document_makes_reading_panic() {
    let seeds: [&[u8]; 4] = [
        b"<?xml version=\"1.0\"?><Error><Code>A&amp;B</Code><Message><![CDATA[x]]></Message></Error>",
        b"<Error><Code>&#x41;&unknown;</Code></Error>",
        b"{\"error\":{\"errors\":[{\"reason\":\"x\"}]}}",
        b"<a><b><c></a></c>",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = seeds[random.usize(..seeds.len())].to_vec();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"<>&;/\"[]{}!?-\xff").unwrap()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        document::read(&bytes);
        document::is_error(&bytes);
    }
}
