//! The sample's flavors against docker-registry 0.9.1: each key with its variable and its default.

use crate::support::{load, sample};
use docker_registry_config::{Key, KeyKind, Loaded, SAMPLE};
use serde_json::{Value, json};

/// A key, the variable it is read from (empty for none) and the value without the variable.
type Row = (&'static str, &'static str, Value);

fn local() -> Vec<Row> {
    vec![("storage_path", "STORAGE_PATH", json!("/tmp/registry"))]
}

fn s3(storage_path: &str) -> Vec<Row> {
    vec![
        ("storage_path", "STORAGE_PATH", json!(storage_path)),
        ("s3_region", "AWS_REGION", json!(null)),
        ("s3_bucket", "AWS_BUCKET", json!(null)),
        ("boto_bucket", "AWS_BUCKET", json!(null)),
        ("s3_encrypt", "AWS_ENCRYPT", json!(true)),
        ("s3_secure", "AWS_SECURE", json!(true)),
        ("s3_access_key", "AWS_KEY", json!(null)),
        ("s3_secret_key", "AWS_SECRET", json!(null)),
        ("s3_use_sigv4", "AWS_USE_SIGV4", json!(null)),
        ("boto_host", "AWS_HOST", json!(null)),
        ("boto_port", "AWS_PORT", json!(null)),
        ("boto_calling_format", "AWS_CALLING_FORMAT", json!(null)),
    ]
}

fn cloudfront() -> Vec<Row> {
    let mut rows = s3("/registry");
    rows.extend([
        ("cloudfront.base", "CF_BASE_URL", json!(null)),
        ("cloudfront.keyid", "CF_KEYID", json!(null)),
        ("cloudfront.keysecret", "CF_KEYSECRET", json!(null)),
    ]);
    rows
}

fn ceph() -> Vec<Row> {
    vec![
        ("storage_path", "STORAGE_PATH", json!("/registry")),
        ("s3_region", "", json!(null)),
        ("s3_bucket", "AWS_BUCKET", json!(null)),
        ("boto_bucket", "AWS_BUCKET", json!(null)),
        ("s3_encrypt", "AWS_ENCRYPT", json!(false)),
        ("s3_secure", "AWS_SECURE", json!(false)),
        ("s3_access_key", "AWS_KEY", json!(null)),
        ("s3_secret_key", "AWS_SECRET", json!(null)),
        ("boto_host", "AWS_HOST", json!(null)),
        ("boto_port", "AWS_PORT", json!(null)),
        ("boto_debug", "AWS_DEBUG", json!(0)),
        ("boto_calling_format", "AWS_CALLING_FORMAT", json!(null)),
    ]
}

fn azureblob() -> Vec<Row> {
    vec![
        ("azure_storage_account_name", "AZURE_STORAGE_ACCOUNT_NAME", json!(null)),
        ("azure_storage_account_key", "AZURE_STORAGE_ACCOUNT_KEY", json!(null)),
        ("azure_storage_container", "AZURE_STORAGE_CONTAINER", json!("registry")),
        ("azure_use_https", "AZURE_USE_HTTPS", json!(true)),
    ]
}

fn gcs() -> Vec<Row> {
    vec![
        ("storage_path", "STORAGE_PATH", json!("/registry")),
        ("boto_bucket", "GCS_BUCKET", json!(null)),
        ("gs_secure", "GCS_SECURE", json!(true)),
        ("gs_access_key", "GCS_KEY", json!(null)),
        ("gs_secret_key", "GCS_SECRET", json!(null)),
        ("oauth2", "GCS_OAUTH2", json!(false)),
    ]
}

fn swift() -> Vec<Row> {
    vec![
        ("storage_path", "STORAGE_PATH", json!("/registry")),
        ("swift_authurl", "OS_AUTH_URL", json!(null)),
        ("swift_container", "OS_CONTAINER", json!(null)),
        ("swift_user", "OS_USERNAME", json!(null)),
        ("swift_password", "OS_PASSWORD", json!(null)),
        ("swift_tenant_name", "OS_TENANT_NAME", json!(null)),
        ("swift_region_name", "OS_REGION_NAME", json!(null)),
    ]
}

fn elliptics() -> Vec<Row> {
    vec![
        ("elliptics_nodes", "ELLIPTICS_NODES", json!(null)),
        ("elliptics_groups", "ELLIPTICS_GROUPS", json!(null)),
        ("elliptics_wait_timeout", "ELLIPTICS_WAIT_TIMEOUT", json!(60)),
        ("elliptics_check_timeout", "ELLIPTICS_CHECK_TIMEOUT", json!(60)),
        ("elliptics_io_thread_num", "ELLIPTICS_IO_THREAD_NUM", json!(2)),
        ("elliptics_net_thread_num", "ELLIPTICS_NET_THREAD_NUM", json!(2)),
        ("elliptics_nonblocking_io_thread_num", "ELLIPTICS_NONBLOCKING_IO_THREAD_NUM", json!(2)),
        ("elliptics_verbosity", "ELLIPTICS_VERBOSITY", json!(4)),
        ("elliptics_logfile", "ELLIPTICS_LOGFILE", json!("/dev/stderr")),
        ("elliptics_addr_family", "ELLIPTICS_ADDR_FAMILY", json!(2)),
    ]
}

fn oss() -> Vec<Row> {
    vec![
        ("storage_path", "STORAGE_PATH", json!("/registry/")),
        ("oss_host", "OSS_HOST", json!(null)),
        ("oss_bucket", "OSS_BUCKET", json!(null)),
        ("oss_accessid", "OSS_KEY", json!(null)),
        ("oss_accesskey", "OSS_SECRET", json!(null)),
    ]
}

/// Flavor, driver, and the keys beside those of `common`.
fn flavors() -> Vec<(&'static str, &'static str, Vec<Row>)> {
    let glance = || {
        vec![
            ("storage_alternate", "GLANCE_STORAGE_ALTERNATE", json!("file")),
            ("storage_path", "STORAGE_PATH", json!("/tmp/registry")),
        ]
    };
    let glance_swift = || {
        let mut rows = swift();
        rows.push(("storage_alternate", "", json!("swift")));
        rows
    };
    let mut dev = local();
    dev.extend([
        ("loglevel", "LOGLEVEL", json!("debug")),
        ("debug", "DEBUG", json!(true)),
        ("search_backend", "SEARCH_BACKEND", json!("sqlalchemy")),
    ]);
    let mut test = dev.clone();
    test[0].2 = json!("./tmp/test");
    test.extend([
        ("index_endpoint", "", json!("https://registry-stage.hub.docker.com")),
        ("standalone", "", json!(true)),
    ]);
    vec![
        ("local", "local", local()),
        ("s3", "s3", s3("/registry")),
        ("cloudfronts3", "s3", cloudfront()),
        ("azureblob", "azureblob", azureblob()),
        ("ceph-s3", "s3", ceph()),
        ("gcs", "gcs", gcs()),
        ("swift", "swift", swift()),
        ("glance", "glance", glance()),
        ("openstack", "glance", glance()),
        ("glance-swift", "glance", glance_swift()),
        ("openstack-swift", "glance", glance_swift()),
        ("elliptics", "elliptics", elliptics()),
        ("oss", "oss", oss()),
        ("dev", "local", dev),
        ("test", "local", test),
        ("prod", "s3", s3("/prod")),
    ]
}

/// The keys all flavors share, where the flavor does not override them.
fn common() -> Vec<Row> {
    vec![
        ("issue", "", json!("\"docker-registry server\"")),
        ("loglevel", "LOGLEVEL", json!("info")),
        ("debug", "DEBUG", json!(false)),
        ("standalone", "STANDALONE", json!(true)),
        ("index_endpoint", "INDEX_ENDPOINT", json!("https://index.docker.io")),
        ("storage_redirect", "STORAGE_REDIRECT", json!(null)),
        ("disable_token_auth", "DISABLE_TOKEN_AUTH", json!(null)),
        ("privileged_key", "PRIVILEGED_KEY", json!(null)),
        ("search_backend", "SEARCH_BACKEND", json!(null)),
        (
            "sqlalchemy_index_database",
            "SQLALCHEMY_INDEX_DATABASE",
            json!("sqlite:////tmp/docker-registry.db"),
        ),
        ("mirroring.source", "MIRROR_SOURCE", json!(null)),
        ("mirroring.source_index", "MIRROR_SOURCE_INDEX", json!(null)),
        ("mirroring.tags_cache_ttl", "MIRROR_TAGS_CACHE_TTL", json!(172800)),
        ("cache.host", "CACHE_REDIS_HOST", json!(null)),
        ("cache.port", "CACHE_REDIS_PORT", json!(null)),
        ("cache.db", "CACHE_REDIS_DB", json!(0)),
        ("cache.password", "CACHE_REDIS_PASSWORD", json!(null)),
        ("cache_lru.host", "CACHE_LRU_REDIS_HOST", json!(null)),
        ("cache_lru.port", "CACHE_LRU_REDIS_PORT", json!(null)),
        ("cache_lru.db", "CACHE_LRU_REDIS_DB", json!(0)),
        ("cache_lru.password", "CACHE_LRU_REDIS_PASSWORD", json!(null)),
        ("email_exceptions.smtp_host", "SMTP_HOST", json!(null)),
        ("email_exceptions.smtp_port", "SMTP_PORT", json!(25)),
        ("email_exceptions.smtp_login", "SMTP_LOGIN", json!(null)),
        ("email_exceptions.smtp_password", "SMTP_PASSWORD", json!(null)),
        ("email_exceptions.smtp_secure", "SMTP_SECURE", json!(false)),
        ("email_exceptions.from_addr", "SMTP_FROM_ADDR", json!("docker-registry@localdomain.local")),
        ("email_exceptions.to_addr", "SMTP_TO_ADDR", json!("noise+dockerregistry@localdomain.local")),
        ("bugsnag", "BUGSNAG", json!(null)),
        ("cors.origins", "CORS_ORIGINS", json!(null)),
        ("cors.methods", "CORS_METHODS", json!(null)),
        ("cors.headers", "CORS_HEADERS", json!(["Content-Type"])),
        ("cors.expose_headers", "CORS_EXPOSE_HEADERS", json!(null)),
        ("cors.supports_credentials", "CORS_SUPPORTS_CREDENTIALS", json!(null)),
        ("cors.max_age", "CORS_MAX_AGE", json!(null)),
        ("cors.send_wildcard", "CORS_SEND_WILDCARD", json!(null)),
        ("cors.always_send", "CORS_ALWAYS_SEND", json!(null)),
        ("cors.automatic_options", "CORS_AUTOMATIC_OPTIONS", json!(null)),
        ("cors.vary_header", "CORS_VARY_HEADER", json!(null)),
        ("cors.resources", "CORS_RESOURCES", json!(null)),
    ]
}

/// The value of a key as YAML 1.1 sees it, whatever type the server asks for.
fn value(loaded: &Loaded, name: &'static str) -> Value {
    let (settings, problems) = loaded.driver_settings(&[Key::new(name, KeyKind::Any)]);
    assert_eq!(problems, [], "{name}");
    let path = format!("/{}", name.replace('.', "/"));
    settings.into_json().pointer(&path).cloned().unwrap_or(Value::Null)
}

#[test]
fn every_key_of_every_flavor_has_the_original_default_and_variable() {
    for (flavor, driver, mut rows) in flavors() {
        let own: Vec<&str> = rows.iter().map(|(name, ..)| *name).collect();
        rows.extend(common().into_iter().filter(|(name, ..)| !own.contains(name)));
        let loaded = sample(&[("SETTINGS_FLAVOR", flavor)]);
        assert_eq!((loaded.settings.flavor.as_str(), loaded.settings.storage.as_str()), (flavor, driver));
        // Each variable has a value of its own, so that a key which reads another's is noticed.
        let markers: Vec<String> = rows.iter().map(|(_, variable, _)| format!("marker {variable}")).collect();
        let mut variables = vec![("SETTINGS_FLAVOR", flavor)];
        variables
            .extend(rows.iter().zip(&markers).map(|((_, variable, _), text)| (*variable, text.as_str())));
        let changed = sample(&variables);
        for ((name, variable, default), marker) in rows.iter().zip(&markers) {
            assert_eq!(&value(&loaded, name), default, "{flavor}: {name}");
            let expected = if variable.is_empty() { default.clone() } else { json!(marker) };
            assert_eq!(value(&changed, name), expected, "{flavor}: {name} from {variable}");
        }
    }
}

#[test]
fn no_flavor_has_a_key_more_than_the_original() {
    for (flavor, _, rows) in flavors() {
        let keys: Vec<Key> = rows.iter().map(|(name, ..)| Key::new(*name, KeyKind::Any)).collect();
        let problems = sample(&[("SETTINGS_FLAVOR", flavor)]).check(Some(&keys));
        assert_eq!(problems.to_string(), "", "{flavor}");
    }
}

#[test]
fn a_literal_null_is_not_filled_from_the_key_s_own_variable() {
    // ceph-s3 switches the region off on purpose, although AWS_REGION may be set for other programs.
    let key = Key { environment: Some("AWS_REGION".into()), ..Key::new("s3_region", KeyKind::Text) };
    let (settings, _) =
        sample(&[("SETTINGS_FLAVOR", "ceph-s3"), ("AWS_REGION", "eu-west-1")]).driver_settings(&[key]);
    assert!(settings.values().is_empty());
}

#[test]
fn the_sample_has_the_seventeen_parts_and_common_cannot_run() {
    let parts =
        SAMPLE.lines().filter(|line| line.ends_with(|c: char| c.is_alphanumeric()) && line.contains(": &"));
    assert_eq!(parts.count(), 17);
    let problems = sample(&[("SETTINGS_FLAVOR", "common")]).check(None).to_string();
    assert!(problems.contains("storage: required"), "{problems}");
}

#[test]
fn the_flavor_is_dev_by_default_and_the_whole_document_when_empty() {
    assert_eq!(load("dev: {storage: one}\nprod: {storage: two}\n", &[]).settings.storage, "one");
    let prod = load("dev: {storage: one}\nprod: {storage: two}\n", &[("SETTINGS_FLAVOR", "prod")]);
    assert_eq!((prod.settings.storage.as_str(), prod.settings.flavor.as_str()), ("two", "prod"));
    let whole = load("storage: three\n", &[("SETTINGS_FLAVOR", "")]);
    assert_eq!((whole.settings.storage.as_str(), whole.settings.flavor.as_str()), ("three", ""));
}
