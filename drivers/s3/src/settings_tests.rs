//! What the keys accept, what they refuse and how they say so.

use docker_registry_driver_api::{Settings, ValueKind};
use serde_json::{Value, json};

use super::*;

fn read(values: Value) -> Result<S3Settings> {
    S3Settings::read(&Settings::new(values.as_object().unwrap().clone()))
}

fn refused(values: Value) -> String {
    let error = read(values).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
    error.to_string()
}

#[test]
fn a_configuration_of_the_original_for_ceph_is_understood() {
    let settings = read(json!({
        "s3_bucket": "images", "boto_bucket": "images", "boto_host": "10.0.0.1", "boto_port": 7480,
        "s3_secure": false, "s3_encrypt": false, "s3_access_key": "key", "s3_secret_key": "secret",
        "boto_calling_format": "boto.s3.connection.OrdinaryCallingFormat", "boto_debug": 2,
        "storage_path": "/registry/",
    }))
    .unwrap();
    assert_eq!(settings.root, "registry");
    assert_eq!(settings.place.address().base, "http://10.0.0.1:7480/images");
    assert!(settings.encryption.is_empty());
    let keys = Account::Keys { id: "key".into(), secret: "secret".into(), token: None };
    assert_eq!(settings.account, keys);
}

#[test]
fn objects_are_encrypted_unless_told_otherwise() {
    let header = |settings: &S3Settings, name| settings.encryption.get(name).cloned();
    let settings = read(json!({"boto_bucket": "b"})).unwrap();
    assert_eq!(header(&settings, "x-amz-server-side-encryption").unwrap(), "AES256");
    let settings = read(json!({"boto_bucket": "b", "s3_sse_kms_key_id": "arn:aws:kms:x"})).unwrap();
    assert_eq!(header(&settings, "x-amz-server-side-encryption").unwrap(), "aws:kms");
    assert_eq!(header(&settings, "x-amz-server-side-encryption-aws-kms-key-id").unwrap(), "arn:aws:kms:x");
}

#[test]
fn the_two_names_of_the_bucket_agree_or_are_refused() {
    assert_eq!(read(json!({"s3_bucket": "one"})).unwrap().place.bucket, "one");
    assert!(refused(json!({"s3_bucket": "one", "boto_bucket": "two"})).contains("must agree"));
    assert!(refused(json!({})).contains("boto_bucket is missing"));
    assert!(refused(json!({"boto_bucket": "a/b"})).contains("no name of a bucket"));
}

#[test]
fn half_an_account_is_refused() {
    assert!(
        refused(json!({"boto_bucket": "b", "s3_access_key": "key"})).contains("s3_secret_key is missing")
    );
    assert!(refused(json!({"boto_bucket": "b", "s3_secret_key": "s"})).contains("s3_access_key is missing"));
    assert!(refused(json!({"boto_bucket": "b", "s3_session_token": "t"})).contains("s3_session_token"));
    let both = json!({"boto_bucket": "b", "s3_access_key": "k", "s3_secret_key": "s", "s3_profile": "p"});
    assert!(refused(both).contains("exclude each other"));
    let found = Account::Found { profile: None };
    assert_eq!(read(json!({"boto_bucket": "b", "s3_access_key": ""})).unwrap().account, found);
}

#[test]
fn no_refusal_and_no_debug_output_holds_a_secret() {
    let settings = read(json!({
        "boto_bucket": "b", "s3_access_key": "key", "s3_secret_key": "hidden-1", "s3_session_token": "hidden-2",
        "boto_proxy": "proxy", "boto_proxy_pass": "hidden-3",
    }))
    .unwrap();
    assert!(!format!("{settings:?}").contains("hidden"));
    let wrong = json!({"boto_bucket": "b", "cloudfront": {"base": "https://a", "keyid": "K",
        "keysecret": "-----BEGIN RSA PRIVATE KEY-----\nhidden\n-----END RSA PRIVATE KEY-----"}});
    let text = refused(wrong);
    assert!(text.contains("cloudfront.keysecret") && !text.contains("hidden"));
}

#[test]
fn cloudfront_is_wanted_whole() {
    assert!(read(json!({"boto_bucket": "b", "cloudfront": {"base": null}})).unwrap().cloudfront.is_none());
    let text = refused(json!({"boto_bucket": "b", "cloudfront": {"base": "https://a"}}));
    assert!(text.contains("cloudfront.keyid and cloudfront.keysecret"));
    let file = json!({"boto_bucket": "b", "cloudfront": {"base": "https://a", "keyid": "K", "keysecret": "/no/file"}});
    assert!(refused(file).contains("cloudfront.keysecret cannot be read"));
}

#[test]
fn calling_formats_go_by_the_names_of_boto() {
    assert_eq!(style("boto.s3.connection.SubdomainCallingFormat").unwrap(), Style::Subdomain);
    assert_eq!(style("VHostCallingFormat").unwrap(), Style::Host);
    assert!(style("path").unwrap_err().message.contains("OrdinaryCallingFormat"));
}

#[test]
fn archives_are_no_storage_class_for_a_registry() {
    assert!(refused(json!({"boto_bucket": "b", "s3_storage_class": "GLACIER"})).contains("s3_storage_class"));
    let settings = read(json!({"boto_bucket": "b", "s3_storage_class": "STANDARD_IA"})).unwrap();
    assert_eq!(settings.class.get("x-amz-storage-class").unwrap(), "STANDARD_IA");
}

#[test]
fn every_key_is_in_the_readme_with_its_kind_and_default() {
    let readme = include_str!("../README.md");
    let shared = settings::keys();
    for key in S3Settings::keys().into_iter().chain(shared) {
        let kind = match key.kind {
            ValueKind::Text => "text",
            ValueKind::Integer => "whole number",
            ValueKind::Float => "number",
            ValueKind::Boolean => "true or false",
            _ => "list",
        };
        let default = key.default.as_deref().unwrap_or("");
        let start = format!("| `{}` | {kind} | {default} |", key.name).replace("|  |", "| |");
        let row = format!("{start} {} |", key.doc);
        assert!(readme.contains(&row), "README.md lacks this line:\n{row}");
    }
}
