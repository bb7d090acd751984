//! `config show`: every effective value with its origin, secrets masked.

use crate::support::{ConfigurationFile, key, sample};
use docker_registry_config::{Key, KeyKind, Origin, ShownValue};

/// One shown value as `value @ place`, without the temporary folder.
fn shown(values: &[ShownValue], name: &str) -> String {
    let value =
        values.iter().find(|value| value.key == name).unwrap_or_else(|| panic!("{name} is not shown"));
    let place = match (value.place.find('/'), value.place.find("config.yml")) {
        (Some(start), Some(end)) => format!("{}{}", &value.place[..start], &value.place[end..]),
        _ => value.place.clone(),
    };
    format!("{} @ {place}", value.value)
}

#[test]
fn each_value_says_where_it_comes_from() {
    let file = ConfigurationFile::new(
        "base: &base\n  issue: text\n  port: _env:MY_PORT:1\n  loglevel: _env:MY_LEVEL:warn\ndev:\n  <<: *base\n  storage: s\n",
    );
    let loaded = file.load(&[("MY_PORT", "0123"), ("REGISTRY_HOST", "localhost")]).expect("readable");
    let keys = [Key { default: Some("/data".into()), ..key("storage_path", KeyKind::Text) }];
    let values = loaded.show(&keys);
    assert_eq!(shown(&values, "issue"), "\"text\" @ config.yml:2");
    assert_eq!(shown(&values, "port"), "83 @ environment MY_PORT (config.yml:3)");
    assert_eq!(shown(&values, "loglevel"), "\"warn\" @ config.yml:4");
    assert_eq!(shown(&values, "host"), "\"localhost\" @ environment REGISTRY_HOST");
    assert_eq!(shown(&values, "debug"), "false @ default");
    assert_eq!(shown(&values, "storage_path"), "\"/data\" @ default");
    assert_eq!(shown(&values, "cache.host"), "null @ default");
    let port = values.iter().find(|value| value.key == "port").expect("shown");
    assert_eq!(port.origin, Origin::Environment { variable: "MY_PORT".to_owned(), line: Some(3) });
    assert_eq!(values.iter().filter(|value| value.key == "storage_path").count(), 1);
}

#[test]
fn the_variables_of_values_are_known_by_their_paths() {
    let file = ConfigurationFile::new(
        "dev:\n  storage: s\n  port: _env:PORT:1\n  cloud: {id: _env:ID, key: _env:KEY}\n  all: _env:ALL\n  more: _env:ALL\n  not: env\n",
    );
    let all = "{deep: {secret: '_env:DEEP'}, again: '_env:ALL'}";
    let loaded = file.load(&[("ALL", all), ("KEY", "k")]).expect("readable");
    let variables =
        |start: &str| loaded.variables(|path| path.starts_with(start)).into_iter().collect::<Vec<_>>();
    assert_eq!(variables(""), ["ALL", "DEEP", "ID", "KEY", "PORT"]);
    assert_eq!(variables("cloud.key"), ["KEY"]);
    assert_eq!(variables("all.deep.secret"), ["DEEP"]);
    assert_eq!(variables("more.deep"), ["DEEP"]);
    assert!(variables("not").is_empty());
}

#[test]
fn no_secret_is_shown_wherever_it_comes_from() {
    let file = ConfigurationFile::new(
        "dev:
  storage: s
  secret_key: hunter2
  cache: {password: _env:PASSWORD}
  swift_password: _env:PASSWORD
  s3_secret_kye: hunter2
  cloudfront: {keysecret: hunter2}
  extensions: {mine: {token: hunter2}}
  sqlalchemy_index_database: mysql://user:hunter2@host/name
  mirroring: {source: 'https://user:hunter2@host:5000/'}
",
    );
    let variables =
        [("PASSWORD", "hunter2"), ("CACHE_LRU_REDIS_PASSWORD", "hunter2"), ("BUGSNAG", "hunter2")];
    let loaded = file.load(&variables).expect("readable");
    let keys = [
        Key { secret: true, ..key("swift_password", KeyKind::Text) },
        key("cloudfront.keyid", KeyKind::Text),
    ];
    let values = loaded.show(&keys);
    let everything: Vec<_> = values.iter().map(ShownValue::to_string).collect();
    let everything = everything.join("\n");
    assert!(!everything.contains("hunter2"), "{everything}");
    assert!(!format!("{loaded:?}{values:?}").contains("hunter2"));
    assert!(!loaded.check(Some(&keys)).to_string().contains("hunter2"));
    assert!(!loaded.notices.join("\n").contains("hunter2"));
    assert_eq!(shown(&values, "cache.password"), "******** @ environment PASSWORD (config.yml:4)");
    assert_eq!(shown(&values, "cache_lru.password"), "******** @ environment CACHE_LRU_REDIS_PASSWORD");
    assert_eq!(shown(&values, "s3_secret_kye"), "******** @ config.yml:6 (unknown key)");
    assert_eq!(
        shown(&values, "sqlalchemy_index_database"),
        "\"mysql://user:********@host/name\" @ config.yml:9"
    );
}

#[test]
fn a_secret_without_a_value_is_seen_to_be_missing() {
    let values = sample(&[]).show(&[]);
    assert_eq!(shown(&values, "cache.password"), "null @ default");
}
