//! Files as people have them today: they work, or are refused in one sentence that says what to write.

use docker_registry_config::{Key, KeyKind, Loaded, Loader, LogLevel, Problems};
use serde_json::json;
use std::path::PathBuf;

fn load(name: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/old_habits/files").join(name);
    Loader::new(variables.iter().copied().collect()).file(Some(path)).load()
}

/// The one sentence, without the folder of the fixtures.
fn refusal(name: &str) -> String {
    let Problems(problems) = load(name, &[]).expect_err("refused");
    assert_eq!(problems.len(), 1);
    let sentence = problems[0].to_string();
    sentence[sentence.find(name).expect("the file is named")..].to_owned()
}

#[test]
fn a_file_of_0_6_gets_common_under_its_flavor() {
    let storage_path = [Key::new("storage_path", KeyKind::Text)];
    for (flavor, level, path) in
        [("dev", LogLevel::Debug, "/tmp/registry"), ("prod", LogLevel::Info, "/data/registry")]
    {
        let loaded = load("config-0.6.yml", &[("SETTINGS_FLAVOR", flavor)]).expect("it works");
        assert_eq!(loaded.check(Some(&storage_path)).to_string(), "");
        assert_eq!(loaded.settings.standalone, Some(true));
        assert_eq!(loaded.settings.storage, "local");
        assert_eq!(loaded.settings.loglevel, level);
        // Without `issue` the answer at `/` names the flavor.
        assert_eq!(loaded.settings.issue, None);
        let (settings, _) = loaded.driver_settings(&storage_path);
        assert_eq!(settings.into_json(), json!({"storage_path": path}));
        assert!(loaded.notices.iter().any(|notice| notice.contains("`common` is merged under flavor")));
        let cache = loaded.notices.iter().filter(|notice| notice.starts_with("cache")).count();
        assert_eq!(cache, if flavor == "prod" { 1 } else { 0 });
    }
}

#[test]
fn a_file_of_0_6_shows_where_inherited_values_stand() {
    let loaded = load("config-0.6.yml", &[]).expect("it works");
    let shown = loaded.show(&[]);
    let line = |name: &str| shown.iter().find(|value| value.key == name).map(|value| value.to_string());
    let secret = line("secret_key").expect("shown");
    assert!(secret.starts_with("secret_key = ******** ") && secret.ends_with("config-0.6.yml:5"), "{secret}");
}

#[test]
fn a_local_flavor_of_0_8_works() {
    let variables = [("SETTINGS_FLAVOR", "local"), ("STORAGE_PATH", "/data")];
    let storage_path = [Key::new("storage_path", KeyKind::Text)];
    let loaded = load("config-0.8-local.yml", &variables).expect("it works");
    assert_eq!(loaded.check(Some(&storage_path)).to_string(), "");
    assert_eq!(loaded.settings.issue.as_deref(), Some("\"Our docker-registry server\""));
    assert_eq!(loaded.settings.loglevel, LogLevel::Info);
    let (settings, _) = loaded.driver_settings(&storage_path);
    assert_eq!(settings.into_json(), json!({"storage_path": "/data"}));
    assert_eq!(loaded.notices, Vec::<String>::new());
    assert!(loaded.settings.search.is_some());
}

#[test]
fn a_missing_flavor_is_answered_with_the_existing_ones() {
    let sentence = refusal("config-0.8-local.yml");
    assert_eq!(
        sentence,
        "config-0.8-local.yml: the flavor dev is missing (the file has only local: set SETTINGS_FLAVOR=local)"
    );
}

#[test]
fn a_configuration_of_distribution_is_refused_with_its_equivalent() {
    let sentence = refusal("registry-v2-config.yml");
    assert!(
        sentence.starts_with("registry-v2-config.yml:1: version: this is a configuration of distribution")
    );
    let flavor = "dev: {storage: local, storage_path: /var/lib/registry, host: \"0.0.0.0\", port: 5000, loglevel: info}";
    assert!(sentence.contains(&format!("as the whole file: {flavor}; ")), "{sentence}");
    assert!(
        sentence.ends_with(
            "; not carried over: storage.delete, auth.token, notifications, and without auth.htpasswd everybody is \
             let in without a password)"
        ),
        "{sentence}"
    );
    // What the hint says to write does work.
    let loaded = crate::support::load(&format!("{flavor}\n"), &[]);
    assert_eq!(loaded.check(Some(&[Key::new("storage_path", KeyKind::Text)])).to_string(), "");
}

#[test]
fn passwords_and_tls_of_distribution_are_in_the_equivalent() {
    let text = "version: 0.1\nstorage: {filesystem: {rootdirectory: /srv}}\nhttp:\n  addr: :5000\n  tls: {certificate: \
                /a.crt, key: /a.key, clientcas: [/b]}\nauth: {htpasswd: {realm: 'our: registry', path: /etc/htpasswd}}\n";
    let sentence = crate::support::problems(text, &[], &[]).concat();
    let flavor = "dev: {storage: local, storage_path: /srv, port: 5000, tls: {certificate: /a.crt, key: /a.key}, \
                  auth: {htpasswd: {path: /etc/htpasswd, realm: \"our: registry\"}}}";
    let expected = format!("as the whole file: {flavor}; not carried over: http.tls.clientcas)");
    assert!(sentence.ends_with(&expected), "{sentence}");
    let settings = crate::support::load(&format!("{flavor}\n"), &[]).settings;
    let auth = settings.auth.expect("passwords");
    assert_eq!((auth.htpasswd, auth.realm), (PathBuf::from("/etc/htpasswd"), "our: registry".to_owned()));
    assert!(settings.tls.is_some());
    for silly in ["silly", "{silly: {realm: x}}"] {
        let text = format!("version: 0.1\nstorage: inmemory\nauth: {silly}\n");
        let sentence = crate::support::problems(&text, &[], &[]).concat();
        assert!(sentence.contains("not carried over: auth.silly, and without auth.htpasswd "), "{sentence}");
    }
}

#[test]
fn a_configuration_of_the_web_interface_is_refused() {
    let sentence = refusal("registry-web-config.yml");
    assert!(
        sentence.starts_with(
            "registry-web-config.yml:1: registry: this is a configuration of docker-registry-web"
        )
    );
}
