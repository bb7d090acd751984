//! The server's own settings.

use crate::support::{load, problems, sample};
use docker_registry_config::{
    Address, Environment, IndexDatabase, Isolation, Key, KeyKind, Loader, LogLevel, Protocols, Settings,
    server_keys,
};
use std::path::PathBuf;
use std::time::Duration;

fn settings(keys: &str, variables: &[(&str, &str)]) -> Settings {
    let loaded = load(&format!("dev:\n  storage: local\n  {keys}\n"), variables);
    assert_eq!(loaded.check(None).to_string(), "", "{keys}");
    loaded.settings
}

fn address(host: &str, port: u16) -> Address {
    Address { host: host.to_owned(), port }
}

#[test]
fn the_sample_s_dev_flavor_serves_both_protocols_on_port_5000() {
    let settings = sample(&[]).settings;
    assert_eq!(settings.bind, address("0.0.0.0", 5000));
    assert_eq!(settings.admin, Some(address("127.0.0.1", 5001)));
    assert_eq!(settings.protocols, Protocols { v1: true, v2: true });
    assert_eq!(settings.loglevel, LogLevel::Debug);
    assert!(settings.debug && settings.standalone == Some(true));
    assert_eq!(settings.issue.as_deref(), Some("\"docker-registry server\""));
    assert_eq!(settings.limits.max_manifest_size, 4 << 20);
}

#[test]
fn a_file_that_says_nothing_has_the_same_defaults_as_the_sample() {
    let (bare, sample) = (settings("", &[]), sample(&[("SETTINGS_FLAVOR", "local")]).settings);
    assert_eq!((bare.issue.as_deref(), bare.standalone), (None, None));
    let (source, issue, standalone) = (sample.source.clone(), sample.issue.clone(), sample.standalone);
    assert_eq!(Settings { flavor: "local".to_owned(), source, issue, standalone, ..bare }, sample);
}

#[test]
fn variables_name_where_to_listen() {
    let variables = [("REGISTRY_HOST", "127.0.0.1"), ("REGISTRY_PORT", "6000"), ("REGISTRY_PROTOCOLS", "v1")];
    for settings in [sample(&variables).settings, settings("", &variables)] {
        assert_eq!(settings.bind, address("127.0.0.1", 6000));
        assert_eq!(settings.protocols, Protocols { v1: true, v2: false });
    }
    assert_eq!(settings("port: 7000", &variables).bind.port, 7000);
    assert_eq!(settings("host: '[::1]'", &[]).bind.to_string(), "[::1]:5000");
}

#[test]
fn a_port_injected_by_an_orchestrator_is_ignored_with_a_warning() {
    let variables = [("REGISTRY_PORT", "tcp://10.0.0.1:5000"), ("CACHE_REDIS_PORT", "tcp://10.0.0.2:6379")];
    let loaded = sample(&variables);
    assert_eq!(loaded.settings.bind.port, 5000);
    let problems = loaded.check(None);
    assert!(!problems.has_errors());
    assert_eq!(problems.0.len(), 2);
    assert!(problems.to_string().contains("port: REGISTRY_PORT is ignored"), "{problems}");
    // The default in the file still counts, and so does a file that does not mention the variable.
    let written = load("dev: {storage: s, port: '_env:REGISTRY_PORT:7000'}\n", &variables);
    assert_eq!(written.settings.bind.port, 7000);
    let unwritten = load("dev: {storage: s}\n", &variables);
    assert_eq!(unwritten.settings.bind.port, 5000);
}

#[test]
fn the_admin_listener_moves_and_closes() {
    assert_eq!(settings("admin: off", &[]).admin, None);
    assert_eq!(settings("", &[("REGISTRY_ADMIN", "off")]).admin, None);
    assert_eq!(sample(&[("REGISTRY_ADMIN", "off")]).settings.admin, None);
    assert_eq!(settings("admin: '[::1]:9000'", &[]).admin, Some(address("::1", 9000)));
    assert_eq!(settings("", &[("REGISTRY_ADMIN", "0.0.0.0:9001")]).admin, Some(address("0.0.0.0", 9001)));
    assert_eq!(sample(&[("REGISTRY_ADMIN", "127.0.0.1:0")]).settings.admin, Some(address("127.0.0.1", 0)));
}

#[test]
fn the_search_index_is_an_sqlite_file_or_nothing() {
    let file = |path: &str| Some(IndexDatabase::File(PathBuf::from(path)));
    assert_eq!(settings("", &[]).search, None);
    assert_eq!(sample(&[("SETTINGS_FLAVOR", "local")]).settings.search, None);
    assert_eq!(sample(&[]).settings.search, file("/tmp/docker-registry.db"));
    assert_eq!(sample(&[("SEARCH_BACKEND", "")]).settings.search, None);
    for off in ["''", "false", "none", "~"] {
        assert_eq!(settings(&format!("search_backend: {off}"), &[]).search, None, "{off}");
    }
    let variables = [("SEARCH_BACKEND", "sqlalchemy"), ("SQLALCHEMY_INDEX_DATABASE", "sqlite:///x.db")];
    assert_eq!(settings("", &variables).search, file("x.db"));
    let refused =
        "dev: {storage: s, search_backend: sqlalchemy, sqlalchemy_index_database: 'mysql://u:hunter2@h/d'}";
    let lines = problems(refused, &[], &[]);
    assert!(lines[0].contains("`mysql`") && !lines[0].contains("hunter2"), "{lines:?}");
}

#[test]
fn limits_take_numbers_and_units() {
    let limits = settings(
        "limits: {max_manifest_size: 1MB, header_timeout: 500ms, body_timeout: 90, driver_calls: 8}",
        &[],
    )
    .limits;
    assert_eq!(limits.max_manifest_size, 1_000_000);
    assert_eq!(limits.header_timeout, Duration::from_millis(500));
    assert_eq!(limits.body_timeout, Duration::from_secs(90));
    assert_eq!(limits.driver_calls, 8);
    let graceful = settings("", &[("GUNICORN_GRACEFUL_TIMEOUT", "3600")]).limits.graceful_timeout;
    assert_eq!(graceful, Duration::from_secs(3600));
    let lines = problems(
        "dev: {storage: s, limits: {max_connections: 0, upload_age: 0, idle_timeout: 0, max_manifest_size: 0}}\n",
        &[],
        &[],
    );
    let mut keys: Vec<_> = lines.iter().map(|line| line.split(": ").nth(1).unwrap_or_default()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["limits.idle_timeout", "limits.max_connections", "limits.max_manifest_size", "limits.upload_age"]
    );
}

#[test]
fn names_of_drivers_and_folders() {
    assert_eq!(settings("drivers: /opt/drivers", &[]).drivers, [PathBuf::from("/opt/drivers")]);
    assert_eq!(settings("drivers: [/a, /b c]", &[]).drivers, [PathBuf::from("/a"), PathBuf::from("/b c")]);
    let glance = sample(&[("SETTINGS_FLAVOR", "glance")]).settings;
    assert_eq!((glance.storage.as_str(), glance.storage_alternate.as_deref()), ("glance", Some("local")));
    assert_eq!(load("dev: {storage: FILE}\n", &[]).settings.storage, "local");
    for name in ["../local", "a/b", "''"] {
        let lines = problems(&format!("dev: {{storage: {name}}}\n"), &[], &[]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("config.yml:1: storage: this is not the name of a driver"), "{lines:?}");
    }
}

#[test]
fn words_are_checked() {
    assert_eq!(settings("loglevel: WARNING", &[]).loglevel, LogLevel::Warn);
    assert_eq!(settings("loglevel: critical", &[]).loglevel, LogLevel::Error);
    assert_eq!(
        problems("dev: {storage: s, protocols: [v3]}\n", &[], &[]),
        [
            "config.yml:1: protocols: `v3` is not a protocol (v1, v2 or both)",
            "config.yml:1: protocols: no protocol is left to serve (v1, v2 or both)"
        ]
    );
    let hosts = settings("registry_endpoints: 'one:5000, two:5000'", &[]).registry_endpoints;
    assert_eq!(hosts, ["one:5000", "two:5000"]);
}

#[test]
fn a_registry_that_asked_an_index_does_not_open_silently() {
    let problems = sample(&[("STANDALONE", "false")]).check(None);
    assert!(problems.has_errors());
    assert!(problems.to_string().contains("standalone: this release cannot ask an index"), "{problems}");
    // The pair that meant "open to everyone" in 0.9.1 as well.
    let open = sample(&[("STANDALONE", "false"), ("DISABLE_TOKEN_AUTH", "true")]);
    assert!(!open.check(None).has_errors());
    assert!(open.settings.disable_token_auth && open.settings.standalone == Some(false));
}

#[test]
fn what_has_no_effect_is_said() {
    let variables = [("CACHE_REDIS_HOST", "redis"), ("GUNICORN_WORKERS", "8"), ("GUNICORN_OPTS", "")];
    let loaded =
        load("dev: {storage: s, mirroring: {source: 'https://x'}, storage_redirect: false}\n", &variables);
    assert_eq!(
        loaded.notices,
        [
            "mirroring.source has no effect: this release does not mirror another registry",
            "cache.host has no effect: this release does not keep mirrored tags or a diff queue in Redis",
            "GUNICORN_WORKERS has no effect: one process uses all processors, so there are no workers to count",
        ]
    );
}

#[test]
fn a_driver_can_be_pinned_and_run_elsewhere() {
    let digest = "AB".repeat(32);
    let written = settings(&format!("isolation: Process\n  driver_sha256: {{file: '{digest}'}}"), &[]);
    assert_eq!(written.isolation, Isolation::Process);
    assert_eq!(written.driver_sha256.get("local"), Some(&"ab".repeat(32)));
    let bare = settings("", &[]);
    assert!(bare.isolation == Isolation::Declared && bare.driver_sha256.is_empty());
    let text = "dev: {storage: local, isolation: prison, driver_sha256: {s3: abc, swift: 12}}\n";
    let wrong = problems(text, &[], &[]).join("\n");
    assert!(wrong.contains("`prison` is not a way to run a driver"), "{wrong}");
    assert!(wrong.contains("what is written for `s3` is not a SHA-256"), "{wrong}");
    assert!(wrong.contains("what is written for `swift` is not a SHA-256"), "{wrong}");
}

#[test]
fn a_driver_folder_is_an_absolute_path() {
    assert_eq!(settings("drivers: [/opt/drivers]", &[]).drivers, [std::path::Path::new("/opt/drivers")]);
    let wrong = problems("dev: {storage: local, drivers: [/opt/drivers, plugins]}\n", &[], &[]).join("\n");
    assert!(wrong.contains("plugins is a relative path"), "{wrong}");
}

#[test]
fn what_is_set_on_the_command_line_counts_before_the_file() {
    let file = crate::support::ConfigurationFile::new("dev: {storage: local, limits: {idle_timeout: 5s}}\n");
    let set = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        Loader::new(Environment::default()).file(Some(file.path())).overrides(pairs)
    };
    let loaded =
        set(&[("storage", "s3"), ("limits.driver_calls", "7"), ("password", "0123: x")]).load().unwrap();
    assert_eq!((loaded.settings.storage.as_str(), loaded.settings.limits.driver_calls), ("s3", 7));
    assert_eq!(loaded.settings.limits.idle_timeout, Duration::from_secs(5));
    let mut password = Key::new("password", KeyKind::Text);
    password.secret = true;
    assert_eq!(loaded.driver_settings(&[password]).0.values()["password"], "0123: x");

    let wrong = set(&[("limits.driver_calls", "many")]).load().unwrap().check(None).to_string();
    assert!(wrong.contains("`many` is not a whole number (from --set limits.driver_calls)"), "{wrong}");

    let bare = set(&[("storage", "s3")]).no_file().load().unwrap();
    assert_eq!(bare.settings.limits.idle_timeout, Duration::from_secs(120));
    let mut bucket = Key::new("bucket", KeyKind::Text);
    bucket.required = true;
    let missing = bare.check(Some(&[bucket])).to_string();
    assert!(missing.contains("give it with --set bucket=VALUE"), "{missing}");
}

#[test]
fn the_table_is_sound() {
    let names: Vec<_> = server_keys().map(|key| key.name.as_ref()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    for key in server_keys() {
        assert!(key.doc.ends_with('.') && key.doc.len() > 8, "{}: {}", key.name, key.doc);
        let name = key.name.rsplit('.').next().unwrap_or_default();
        let sounds_secret = ["password", "secret"].iter().any(|word| name.contains(word));
        assert!(!sounds_secret || key.secret, "{} must be secret", key.name);
        assert!(!(key.kind == KeyKind::Map && key.default.is_some()), "{}", key.name);
    }
}

#[test]
fn what_is_wrong_with_the_cache_is_named_by_its_key_and_without_its_password() {
    let problems = |keys: &str, variables: &[(&str, &str)]| {
        let file = format!("dev:\n  storage: s\n  storage_path: /x\n  cache_lru: {{{keys}}}\n");
        load(&file, variables).check(None).to_string()
    };
    for (keys, key) in [
        ("url: 'mysql://root:hunter2@db'", "cache_lru.url"),
        ("url: 'redis://:hunter2@db', host: db", "cache_lru.url"),
        ("url: 'redis://:hunter2@[::1'", "cache_lru.url"),
        ("host: db, port: 70000", "cache_lru.port"),
        ("host: db, db: -1", "cache_lru.db"),
        ("host: db, tag_ttl: 2h", "cache_lru.tag_ttl"),
        ("host: db, tag_ttl: 0", "cache_lru.tag_ttl"),
        ("host: db, patience: 1h", "cache_lru.patience"),
        ("host: db, max_value_size: 1GiB", "cache_lru.max_value_size"),
        ("url: 'redis+cluster://:hunter2@db', db: 3", "cache_lru.db"),
    ] {
        let said = problems(keys, &[]);
        assert!(said.contains(&format!("{key}: ")) && !said.contains("hunter2"), "{keys}: {said}");
    }
    assert_eq!(problems("host: ''", &[]), "", "the sample's way to have none");
    assert_eq!(problems("", &[("CACHE_LRU_REDIS_URL", "redis://db")]), "");
    let loaded = load("dev: {storage: s}\n", &[("CACHE_LRU_REDIS_URL", "redis://:hunter2@db")]);
    assert!(!format!("{:?}", loaded.settings).contains("hunter2"));
    let cache = loaded.settings.cache.expect("a cache");
    assert_eq!((cache.tag_ttl, cache.patience), (Duration::from_secs(60), Duration::from_millis(1)));
    assert_eq!((cache.memory, cache.max_value_size), (64 << 20, 1 << 20));
}
