//! Variables of the process, from init scripts, containers and orchestrators.

use std::fs;

use crate::running::{CONFIGURATION, Ended, Folder};

/// The log of a server with these variables, once it listens.
fn log_with(variables: &[(&str, &str)]) -> String {
    let folder = Folder::with(CONFIGURATION);
    let mut command = folder.program(&[]);
    let server = folder.serve(command.envs(variables.iter().copied()), "server.log");
    server.stop();
    folder.text("server.log")
}

#[test]
fn each_gunicorn_variable_without_effect_is_a_line_that_says_what_to_do() {
    let log = log_with(&[
        ("GUNICORN_WORKERS", "8"),
        ("GUNICORN_SILENT_TIMEOUT", "3600"),
        ("GUNICORN_OPTS", "[--preload]"),
        ("GUNICORN_USER", "www-data"),
        ("GUNICORN_GROUP", "www-data"),
    ]);
    for (variable, instead) in [
        ("GUNICORN_WORKERS", "one process uses all processors"),
        ("GUNICORN_SILENT_TIMEOUT", "limits.body_timeout"),
        ("GUNICORN_OPTS", "docker-registry serve --help"),
        ("GUNICORN_USER", "init system"),
        ("GUNICORN_GROUP", "init system"),
    ] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(variable)).collect();
        assert_eq!(lines.len(), 1, "{variable}:\n{log}");
        assert!(lines[0].contains("has no effect: ") && lines[0].contains(instead), "{}", lines[0]);
    }
}

#[test]
fn new_relic_variables_are_named_and_their_key_is_not_shown() {
    let log = log_with(&[
        ("NEW_RELIC_LICENSE_KEY", "0123456789abcdef"),
        ("NEW_RELIC_CONFIG_FILE", "/etc/newrelic.ini"),
    ]);
    assert!(
        log.contains("NEW_RELIC_LICENSE_KEY has no effect: ") && log.contains("NEW_RELIC_CONFIG_FILE"),
        "{log}"
    );
    assert!(!log.contains("0123456789abcdef"), "{log}");
}

#[test]
fn gunicorn_log_files_are_written() {
    let folder = Folder::with(CONFIGURATION);
    let mut command = folder.program(&[]);
    command.env("GUNICORN_ACCESS_LOG_FILE", folder.path("access.log"));
    command.env("GUNICORN_ERROR_LOG_FILE", folder.path("error.log"));
    let server = folder.serve(&mut command, "error.log");
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    assert!(folder.text("access.log").contains("GET /v1/_ping"));
    assert!(!folder.text("error.log").contains("/v1/_ping"), "requests stand in their own file");
    assert_eq!(folder.text("server.log"), "", "nothing is left for the terminal");
}

#[test]
fn a_hyphen_is_standard_output_for_requests_and_standard_error_for_the_rest() {
    let folder = Folder::with(CONFIGURATION);
    let mut command = folder.program(&[]);
    command.env("GUNICORN_ACCESS_LOG_FILE", "-").env("GUNICORN_ERROR_LOG_FILE", "-");
    let server = folder.serve(&mut command, "server.log");
    server.client().get("/v1/_ping").expect(200);
    // The harness writes both streams to one file, which tells the formats apart: combined lines are those of requests.
    server.stop();
    let log = folder.text("server.log");
    assert!(
        log.lines().any(|line| line.starts_with("127.0.0.1 - - [") && line.contains("\"GET /v1/_ping")),
        "{log}"
    );
    assert!(!log.contains("path=\"/v1/_ping\""), "{log}");
}

#[test]
fn gunicorn_graceful_timeout_is_the_graceful_timeout() {
    let folder = Folder::with(CONFIGURATION);
    let mut command = folder.program(&["config", "show"]);
    let output = command.env("GUNICORN_GRACEFUL_TIMEOUT", "3600").output().expect("runs");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let line = output.lines().find(|line| line.starts_with("limits.graceful_timeout")).expect("shown");
    assert!(line.contains("GUNICORN_GRACEFUL_TIMEOUT"), "{line}");
}

/// Kubernetes and `docker --link` set this for a service that is called "registry".
#[test]
fn an_injected_registry_port_is_ignored_with_a_notice() {
    let folder = Folder::with(CONFIGURATION);
    let mut command = folder.program(&["serve", "--bind", "127.0.0.1:0"]);
    let server = folder.serve(command.env("REGISTRY_PORT", "tcp://10.0.0.1:5000"), "server.log");
    let log = server.log();
    assert!(
        log.contains("REGISTRY_PORT is ignored: an orchestrator wrote the address of a service there"),
        "{log}"
    );
    server.client().get("/v1/_ping").expect(200);
    server.stop();
}

#[test]
fn a_time_zone_that_is_not_there_is_named_and_times_are_utc() {
    let log = log_with(&[("TZ", "Mars/Olympus_Mons")]);
    assert!(log.contains("times are in UTC: TZ=Mars/Olympus_Mons is no time zone of this machine"), "{log}");
    assert!(log.lines().next().expect("a line").contains("+00:00 "), "{log}");
}

#[test]
fn a_log_that_cannot_be_opened_is_a_sentence() {
    let folder = Folder::with(CONFIGURATION);
    let path = folder.path("absent/access.log").display().to_string();
    let ended = folder.run(&["serve", "--access-log", &path]);
    assert_eq!(ended.code, 1);
    let sentence = format!("docker-registry: the log {path} cannot be opened: No such file or directory");
    assert!(ended.errors.contains(&sentence), "{}", ended.errors);
    assert!(!fs::exists(folder.path("absent")).expect("a look"));
}

/// `docker run -e REGISTRY_AUTH=htpasswd -e REGISTRY_AUTH_HTPASSWD_PATH=...`, the usual way to protect `registry:2`.
#[test]
fn passwords_by_variables_of_distribution_are_refused_with_the_keys_to_write() {
    let variables = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
    ];
    let hint = "auth: {htpasswd: {path: /auth/htpasswd, realm: Registry Realm}}, or unset";
    let folder = Folder::with(CONFIGURATION);
    for arguments in [&[][..], &["serve"], &["config", "check"]] {
        let mut command = folder.program(arguments);
        let ended = Ended::of(command.envs(variables).output().expect("the program runs"));
        assert_eq!(ended.code, 64, "{}", ended.errors);
        let sentence = "auth: nobody would be asked for a password, because variables of distribution are not read: \
                        REGISTRY_AUTH, REGISTRY_AUTH_HTPASSWD_PATH, REGISTRY_AUTH_HTPASSWD_REALM (write";
        // What `config check` finds is what it was asked for.
        let said = format!("{}{}", ended.output, ended.errors);
        let line = said.lines().find(|line| line.contains(sentence)).expect(&said);
        assert!(line.contains(hint), "{line}");
    }
    for alone in [("REGISTRY_AUTH_TOKEN_REALM", "https://example.org"), ("REGISTRY_AUTH", "silly")] {
        let folder = Folder::with(CONFIGURATION);
        let output = folder.program(&["serve"]).envs([alone]).output().expect("the program runs");
        assert_eq!(Ended::of(output).code, 64, "{alone:?}");
    }
}

#[test]
fn variables_of_distribution_do_not_matter_where_the_configuration_asks_for_passwords() {
    let folder = Folder::empty();
    let passwords = folder.path("htpasswd");
    fs::write(&passwords, "").expect("a file");
    let auth = "  auth: {htpasswd: {path: _env:REGISTRY_AUTH_HTPASSWD_PATH}}\n";
    fs::write(folder.path("config.yml"), format!("{CONFIGURATION}{auth}")).expect("a file");
    let mut command = folder.program(&[]);
    command.env("REGISTRY_AUTH", "htpasswd").env("REGISTRY_AUTH_HTPASSWD_PATH", passwords);
    let server = folder.serve(&mut command, "server.log");
    server.client().get("/v2/").expect(401);
    server.stop();
    let log = folder.text("server.log");
    assert_eq!(log.matches("REGISTRY_AUTH has no effect: the key auth counts").count(), 1, "{log}");
    assert!(!log.contains("REGISTRY_AUTH_HTPASSWD_PATH"), "{log}");
}

#[test]
fn each_variable_of_distribution_without_effect_is_a_line_with_the_key_to_write() {
    let expected = [
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "the key is storage_path"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "docker-registry driver inspect NAME"),
        ("REGISTRY_HTTP_ADDR", "REGISTRY_PORT"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "tls.certificate"),
        ("REGISTRY_HTTP_HEADERS_X", "there is no such key"),
        ("REGISTRY_LOG_LEVEL", "LOGLEVEL"),
        ("REGISTRY_PROXY_REMOTEURL", "does not mirror"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS", "no notifications"),
    ];
    // Our own, those of other programs, and what orchestrators inject for services.
    let silent = [
        ("REGISTRY_LOG_FORMAT", "text"),
        ("REGISTRY_PROXY_PROTOCOL", "off"),
        ("REGISTRY_AUTH_FILE", "/run/containers/auth.json"),
        ("REGISTRY_AUTH", "none"),
        ("REGISTRY_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
        ("REGISTRY_SERVICE_HOST", "10.0.0.1"),
        ("REGISTRY_AUTH_PORT", "tcp://10.0.0.1:5001"),
        ("REGISTRY_AUTH_PORT_5001_TCP_ADDR", "10.0.0.1"),
        ("REGISTRY_AUTH_SERVICE_PORT_HTTP", "5001"),
        ("REGISTRY_AUTH_NAME", "/front/registry_auth"),
        ("REGISTRY_STORAGE_SERVICE_HOST", "10.0.0.1"),
        ("REGISTRY_OF_SOMEBODY", "x"),
    ];
    let wrong: Vec<(&str, &str)> = expected.iter().map(|(name, _)| (*name, "3f9c0ffee")).collect();
    let log = log_with(&[&wrong[..], &silent].concat());
    for (variable, instead) in expected {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(variable)).collect();
        assert_eq!(lines.len(), 1, "{variable}:\n{log}");
        assert!(lines[0].contains("has no effect: ") && lines[0].contains(instead), "{}", lines[0]);
    }
    assert!(log.contains("STORAGE_PATH"), "{log}");
    assert_eq!(log.matches("has no effect").count(), expected.len(), "{log}");
    assert!(!log.contains("3f9c0ffee"), "{log}");
}
