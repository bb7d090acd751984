//! How lines look: for people in the zone of `TZ`, for programs in UTC.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::running::{CONFIGURATION, Folder};

/// Both logs of a server with this format that has answered one request.
fn logs(arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let folder = Folder::with(CONFIGURATION);
    let files = ["serve", "--access-log", "access.log", "--error-log", "error.log"];
    let mut command = folder.program(&[&files[..], arguments].concat());
    let server = folder.serve(command.envs(variables.iter().copied()), "error.log");
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    (folder.text("error.log"), folder.text("access.log"))
}

/// The documented keys with the type of each, and nothing that is no text, number or boolean.
fn assert_logstash(line: &str) -> BTreeMap<String, Value> {
    let object: BTreeMap<String, Value> =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for key in ["@timestamp", "@version", "message", "level", "logger_name", "thread_name"] {
        assert!(object.get(key).is_some_and(|value| value.is_string()), "{key}: {line}");
    }
    for (key, value) in &object {
        assert!(value.is_string() || value.is_number() || value.is_boolean(), "{key}: {line}");
    }
    assert_eq!(object["@version"], "1");
    let level = object["level"].as_str().expect("text");
    assert!(["DEBUG", "INFO", "WARN", "ERROR"].contains(&level), "{line}");
    let timestamp = object["@timestamp"].as_str().expect("text");
    assert!(timestamp.len() == "2026-11-27T08:38:05.123Z".len() && timestamp.ends_with('Z'), "{line}");
    object
}

#[test]
fn logstash_lines_are_objects_with_the_documented_keys_and_types() {
    let (errors, access) = logs(&["--log-format", "logstash"], &[("REGISTRY_ACCESS_LOG_FORMAT", "logstash")]);
    let lines: Vec<_> = errors.lines().map(assert_logstash).collect();
    assert!(lines.len() > 3, "{errors}");
    assert!(
        lines.iter().any(|line| line["level"] == "WARN" && line["message"] == "WARNING: LRU cache disabled!")
    );
    let starts = lines.iter().find(|line| line["message"] == "docker-registry starts").expect("the start");
    assert!(starts["logger_name"].as_str().expect("text").starts_with("docker_registry::"));
    assert_eq!((&starts["thread_name"], &starts["flavor"]), (&"main".into(), &"dev".into()));
    let request = assert_logstash(access.trim_end());
    for (key, value) in [
        ("logger_name", Value::from("access")),
        ("message", "request".into()),
        ("method", "GET".into()),
        ("path", "/v1/_ping".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", 2.into()),
        ("complete", true.into()),
    ] {
        assert_eq!(request[key], value, "{access}");
    }
    assert!(request["milliseconds"].is_f64() && request["id"].is_string(), "{access}");
}

#[test]
fn json_lines_are_objects_in_utc_whatever_tz_says() {
    let (errors, access) = logs(
        &[],
        &[("REGISTRY_LOG_FORMAT", "json"), ("REGISTRY_ACCESS_LOG_FORMAT", "json"), ("TZ", "Asia/Shanghai")],
    );
    for line in errors.lines().chain(access.lines()) {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        assert!(object["level"].is_string() && object["target"].is_string(), "{line}");
    }
    assert_eq!(serde_json::from_str::<Value>(&access).expect("one line")["path"], "/v1/_ping");
}

#[test]
fn text_and_combined_lines_are_in_the_zone_of_tz_with_its_offset() {
    for (zone, text, combined) in [
        ("Asia/Shanghai", "+08:00 ", " +0800] "),
        ("UTC", "+00:00 ", " +0000] "),
        // What old systems without a zone file were given.
        ("NST+3:30", "-03:30 ", " -0330] "),
    ] {
        let (errors, access) = logs(&[], &[("TZ", zone)]);
        let first = errors.lines().next().expect("a line");
        assert_eq!(&first["2026-11-27T08:38:05.123456".len()..][..text.len()], text, "{first}");
        assert!(access.contains(combined), "{access}");
    }
}

#[test]
fn the_configuration_file_says_the_same_as_the_options() {
    let folder = Folder::with(&format!(
        "{CONFIGURATION}  log:\n    format: logstash\n    error_file: error.log\n    access_file: access.log\n    access_format: json\n"
    ));
    let server = folder.serve(&mut folder.program(&[]), "error.log");
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    folder.text("error.log").lines().for_each(|line| drop(assert_logstash(line)));
    let access: Value = serde_json::from_str(&folder.text("access.log")).expect("one line of JSON");
    assert_eq!(access["status"], 200);
    let ended = Folder::with(&format!("{CONFIGURATION}  log:\n    format: colourful\n")).run(&["serve"]);
    assert_eq!(ended.code, 64);
    let sentence =
        "config.yml:7: log.format: `colourful` is not a format of lines (one of text, json, logstash)";
    assert!(ended.errors.contains(sentence), "{}", ended.errors);
}
