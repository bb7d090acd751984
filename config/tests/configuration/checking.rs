//! All problems at once, each with its line and a hint, none with a secret.

use crate::support::{ConfigurationFile, key, load, problems};
use docker_registry_config::{Key, KeyKind, Severity};
use serde_json::json;

fn driver_keys() -> Vec<Key> {
    vec![
        Key { required: true, ..key("storage_path", KeyKind::Text) },
        Key { default: Some("true".into()), ..key("secure", KeyKind::Boolean) },
        Key {
            environment: Some("BUCKET".into()),
            required: true,
            doc: "The bucket.".into(),
            ..key("bucket", KeyKind::Text)
        },
        Key { secret: true, ..key("secret_number", KeyKind::Integer) },
        Key { default: Some("5MiB".into()), ..key("part_size", KeyKind::Size) },
        key("cloudfront.base", KeyKind::Text),
        Key { secret: true, ..key("cloudfront.keysecret", KeyKind::Text) },
    ]
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_lines() {
    let text = "\
common: &common
  loglevel: loud
  limits: {max_conections: 5, header_timeout: soon}
dev:
  <<: *common
  storage: local
  storage_pth: /data
  port: 70000
  secure: maybe
  cache: localhost
  cloudfront: {bse: x}
  secret_number: hunter2
  admin: [1]
  zzz: 1
";
    let expected = [
        "config.yml:2: loglevel: `loud` is not a log level (one of debug, info, warn, error, critical)",
        "config.yml:3: limits.header_timeout: `soon` is not a duration such as 30s",
        "config.yml:3: limits.max_conections: unknown key (did you mean limits.max_connections?)",
        "config.yml:4: bucket: required, but there is no value (write it in flavor dev or set the environment variable BUCKET)",
        "config.yml:4: storage_path: required, but there is no value (write it in flavor dev)",
        "config.yml:7: storage_pth: unknown key (did you mean storage_path?)",
        "config.yml:8: port: 70000 is not a port (a port is 0 to 65535)",
        "config.yml:9: secure: `maybe` is not true or false",
        "config.yml:10: cache: this is not a mapping (its keys are host, port, db, password)",
        "config.yml:11: cloudfront.bse: unknown key (did you mean cloudfront.base?)",
        "config.yml:12: secret_number: the value is not a whole number",
        "config.yml:13: admin: a list is not text",
        "config.yml:14: zzz: unknown key",
    ];
    assert_eq!(problems(text, &driver_keys(), &[]), expected);
}

#[test]
fn unknown_keys_are_warnings_the_rest_are_errors() {
    let loaded = load("dev: {storage: local, storage_pth: /data}\n", &[]);
    let unknown = loaded.check(Some(&[]));
    assert_eq!(unknown.0.len(), 1);
    assert_eq!(unknown.0[0].severity, Severity::Warning);
    assert!(!unknown.has_errors());
    assert!(loaded.check(Some(&driver_keys())).has_errors());
}

#[test]
fn only_a_near_name_is_suggested() {
    let lines = problems("dev: {storage: s, s3_secret_key: x, loglvel: info}\n", &[], &[]);
    assert_eq!(
        lines,
        [
            "config.yml:1: loglvel: unknown key (did you mean loglevel?)",
            "config.yml:1: s3_secret_key: unknown key"
        ]
    );
}

#[test]
fn without_the_driver_its_keys_are_not_called_unknown() {
    let loaded = load("dev: {storage: nowhere, bucket: b, port: x}\n", &[]);
    let problems = loaded.check(None);
    assert_eq!(problems.0.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["port"]);
}

#[test]
fn driver_settings_are_typed_by_the_description() {
    let text = "\
dev:
  storage: local
  storage_path: 0123
  secure: ~
  bucket: _env:OTHER:0x10
  secret_number: _env:NUMBER
  cloudfront: _env:CLOUDFRONT
";
    let variables =
        [("NUMBER", "0123"), ("CLOUDFRONT", "{base: 'http://x', keysecret: _env:PEM}"), ("PEM", "@1")];
    let loaded = load(text, &variables);
    let (settings, problems) = loaded.driver_settings(&driver_keys());
    assert_eq!(problems, []);
    let masked = format!("{settings:?}");
    assert_eq!(
        settings.into_json(),
        json!({
            "storage_path": "0123",
            "secure": true,
            "bucket": "0x10",
            "secret_number": 83,
            "part_size": 5 << 20,
            "cloudfront": {"base": "http://x", "keysecret": "@1"},
        })
    );
    assert!(!masked.contains("83") && !masked.contains("@1") && masked.contains("0x10"), "{masked}");
}

#[test]
fn a_driver_s_own_variable_counts_only_where_the_key_is_not_written() {
    let bucket = |text: &str| {
        let (settings, _) = load(text, &[("BUCKET", "from the variable")]).driver_settings(&driver_keys());
        settings.values().get("bucket").cloned()
    };
    assert_eq!(bucket("dev: {storage: s}\n"), Some(json!("from the variable")));
    assert_eq!(bucket("dev: {storage: s, bucket: written}\n"), Some(json!("written")));
    assert_eq!(bucket("dev: {storage: s, bucket: ~}\n"), None);
}

#[test]
fn a_required_key_names_the_variable_that_would_set_it() {
    let text = "dev:\n  storage: s\n  storage_path: /\n  bucket: _env:MY_BUCKET\n";
    assert_eq!(
        problems(text, &driver_keys(), &[]),
        ["config.yml:4: bucket: required, but there is no value (set the environment variable MY_BUCKET)"]
    );
    assert_eq!(
        problems(text, &driver_keys(), &[("MY_BUCKET", "")]),
        [
            "config.yml:4: bucket: required, but there is no value (the environment variable MY_BUCKET is empty)"
        ]
    );
}

#[test]
fn a_bad_variable_is_named_and_a_secret_in_it_is_not_printed() {
    let text =
        "dev:\n  storage: s\n  port: _env:MY_PORT\n  secret_number: _env:MY_SECRET\n  debug: _env:MY_DEBUG\n";
    let variables = [("MY_PORT", "many"), ("MY_SECRET", "[hunter2"), ("MY_DEBUG", "[x")];
    let keys = [Key { secret: true, ..key("secret_number", KeyKind::Integer) }];
    let lines = problems(text, &keys, &variables);
    assert_eq!(
        lines[0],
        "config.yml:3: port: `many` is not a whole number (from the environment variable MY_PORT)"
    );
    assert_eq!(
        lines[1],
        "config.yml:4: secret_number: the value is not valid YAML (from the environment variable MY_SECRET)"
    );
    assert!(lines[2].starts_with("config.yml:5: debug: the value is not valid YAML: "), "{}", lines[2]);
    assert!(lines[2].ends_with("(from the environment variable MY_DEBUG)"), "{}", lines[2]);
}

#[test]
fn a_secret_cut_at_a_comment_is_a_warning_without_the_secret() {
    let keys = [Key { secret: true, ..key("password", KeyKind::Text) }];
    let lines =
        problems("dev:\n  storage: s\n  password: _env:PASSWORD\n", &keys, &[("PASSWORD", "one #two")]);
    assert_eq!(
        lines,
        ["config.yml:3: password: what follows ` #` in the variable PASSWORD is taken for a comment \
          (put quotes around the value to keep it whole)"]
    );
}

#[test]
fn secrets_without_quotes_in_the_file_do_not_leak_through_yaml_errors() {
    for secret in ["!hunter2", "*hunter2", "@hunter2", "%hunter2", "'hunter2", "{hunter2", "`hunter2"] {
        let file = ConfigurationFile::new(&format!("dev:\n  storage: s\n  cache: {{password: {secret}}}\n"));
        let problems = file.load(&[]).expect_err("refused").to_string();
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_named() {
    use docker_registry_config::{Environment, Loader};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let file = ConfigurationFile::new("dev: {storage: s, issue: '_env:ISSUE', bucket: ~}\n");
    let pairs = [("ISSUE", OsString::from_vec(vec![0xff])), ("LOGLEVEL", OsString::from_vec(vec![0xfe]))];
    let environment: Environment = pairs.into_iter().collect();
    let loaded = Loader::new(environment).file(Some(file.path())).load().expect("readable");
    let lines = file.lines(&loaded.check(None));
    assert_eq!(
        lines,
        [
            "config.yml: loglevel: the environment variable LOGLEVEL is not UTF-8",
            "config.yml:1: issue: the environment variable ISSUE is not UTF-8",
        ]
    );
}

#[test]
fn a_description_with_a_bad_default_is_the_driver_s_fault() {
    let keys = [Key { default: Some("many".into()), ..key("count", KeyKind::Integer) }];
    assert_eq!(
        problems("dev: {storage: s}\n", &keys, &[]),
        ["config.yml: count: the default in the key's description is wrong: `many` is not a whole number"]
    );
}
