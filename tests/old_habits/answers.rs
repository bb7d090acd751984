//! The answers people look for, byte for byte.

use docker_registry_tests::{http::Response, v1};

use crate::running::{CONFIGURATION, Folder, file};

/// What a server of this configuration and flavor answers to these requests.
fn answers(configuration: &str, variables: &[(&str, &str)], targets: &[&str]) -> Vec<Response> {
    let folder = Folder::with(configuration);
    let mut command = folder.program(&[]);
    command.envs(variables.iter().copied());
    let server = folder.serve(&mut command, "server.log");
    targets.iter().map(|target| server.client().get(target)).collect()
}

fn root(configuration: &str, variables: &[(&str, &str)]) -> String {
    answers(configuration, variables, &["/"]).remove(0).expect(200).text()
}

#[test]
fn curl_of_the_root_of_0_8_names_flavor_and_version() {
    let configuration = format!("{CONFIGURATION}  compatibility: 0.8\n");
    assert_eq!(root(&configuration, &[]), r#""docker-registry server (dev)(v0.8.1)""#);
    let by_variable = root(CONFIGURATION, &[("REGISTRY_COMPATIBILITY", "0.7.3")]);
    assert_eq!(by_variable, r#""docker-registry server (dev)(v0.7.3)""#);
}

#[test]
fn curl_of_the_root_of_0_6_names_the_flavor() {
    let text = std::fs::read_to_string(file("config-0.6.yml")).expect("a file");
    let text = text.replace("/data/registry", "_env:STORAGE_PATH");
    // Without `issue` in the file, and whatever is in it when 0.6 is asked for.
    assert_eq!(root(&text, &[("SETTINGS_FLAVOR", "prod")]), r#""docker-registry server (prod)""#);
    let asked = root(CONFIGURATION, &[("REGISTRY_COMPATIBILITY", "0.6")]);
    assert_eq!(asked, r#""docker-registry server (dev)""#);
}

#[test]
fn curl_of_the_root_of_0_9_is_the_issue() {
    assert_eq!(root(docker_registry_config_sample().as_str(), &[]), r#""\"docker-registry server\"""#);
    assert_eq!(root(CONFIGURATION, &[]), r#""\"mine\"""#);
}

fn docker_registry_config_sample() -> String {
    let sample = docker_registry_tests::artifacts::workspace().join("config/config_sample.yml");
    std::fs::read_to_string(sample).expect("the sample")
}

#[test]
fn a_ping_of_0_6_to_0_8_is_true_and_every_v1_answer_names_version_and_flavor() {
    for (version, release) in [("0.6", "0.6.9"), ("0.7", "0.7.3"), ("0.8", "0.8.1")] {
        let configuration = format!("{CONFIGURATION}  compatibility: {version}\n");
        let found =
            answers(&configuration, &[], &["/_ping", "/v1/_ping", "/v1/users/", "/v1/repositories/a/b/tags"]);
        for answer in &found {
            assert_eq!(answer.header("x-docker-registry-version"), Some(release));
            assert_eq!(answer.header("x-docker-registry-config"), Some("dev"));
        }
        assert_eq!((found[0].text().as_str(), found[1].text().as_str()), ("true", "true"));
        assert_eq!(found[0].header("x-docker-registry-standalone"), Some("True"));
        assert_eq!(found[3].status, 404, "errors name them too");
    }
}

#[test]
fn a_ping_of_0_9_is_an_empty_object_and_only_pings_name_the_version() {
    let found = answers(CONFIGURATION, &[], &["/_ping", "/v1/_ping", "/v1/users/", "/"]);
    for ping in &found[..2] {
        assert_eq!(ping.text(), "{}");
        assert_eq!(ping.header("x-docker-registry-version"), Some("0.9.1"));
        assert_eq!(ping.header("x-docker-registry-config"), None);
    }
    for answer in &found[2..] {
        assert_eq!(answer.header("x-docker-registry-version"), None);
        assert_eq!(answer.header("x-docker-registry-config"), None);
    }
}

#[test]
fn a_version_that_never_was_is_refused_in_a_sentence() {
    let folder = Folder::with(&format!("{CONFIGURATION}  compatibility: 1.0\n"));
    let ended = folder.run(&["serve"]);
    assert_eq!(ended.code, 64, "{}", ended.errors);
    let sentence =
        "config.yml:6: compatibility: `1.0` is not a version of docker-registry (one of 0.6, 0.7, 0.8, 0.9)";
    assert!(ended.errors.contains(sentence), "{}", ended.errors);
}

#[test]
fn a_push_and_a_pull_do_not_depend_on_the_version() {
    let folder = Folder::with(&format!("{CONFIGURATION}  compatibility: 0.6\n"));
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    let image = v1::Image::new(None, b"a layer".to_vec());
    v1::push(&server.client(), "team/centos", "6", &[&image]);
    v1::verify(&server.client(), "team/centos", "6", &[&image]);
}
