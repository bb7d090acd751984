//! The files of the collection: each works, or is refused in one sentence.

use std::{fs, path::PathBuf};

use crate::running::{Ended, Folder, file};

/// Flavor and what a server says about the file, for those that are configurations of docker-registry.
const CONFIGURATIONS: [(&str, &str); 3] =
    [("config-0.6.yml", "dev"), ("config-0.6.yml", "prod"), ("config-0.8-local.yml", "local")];

/// The others, and the beginning of the sentence.
const REFUSED: [(&str, &str); 7] = [
    ("registry-v2-config.yml", ":1: version: this is a configuration of distribution (registry 2.x)"),
    (
        "registry-web-config.yml",
        ":1: registry: this is a configuration of docker-registry-web, a web interface",
    ),
    ("docker-compose.yml", ": the flavor dev is missing"),
    ("nginx-plain.conf", ""),
    ("nginx-tls-basic.conf", ""),
    ("upstart-0.6.conf", ""),
    ("generate-key.txt", ""),
];

fn check(file: PathBuf, flavor: &str) -> Ended {
    let folder = Folder::empty();
    let mut command = folder.program(&["config", "check"]);
    Ended::of(command.arg(file).env("SETTINGS_FLAVOR", flavor).output().expect("the program runs"))
}

#[test]
fn every_configuration_can_be_used() {
    for (name, flavor) in CONFIGURATIONS {
        let ended = check(file(name), flavor);
        assert_eq!(ended.code, 0, "{name}, {flavor}:\n{}{}", ended.output, ended.errors);
        assert!(ended.output.contains("can be used"), "{}", ended.output);
    }
}

#[test]
fn every_other_file_is_refused_in_one_sentence() {
    for (name, beginning) in REFUSED {
        let ended = check(file(name), "dev");
        assert_eq!(ended.code, 64, "{name}: {}{}", ended.output, ended.errors);
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        assert!(ended.errors.contains(&format!("{name}{beginning}")), "{name}: {}", ended.errors);
    }
}

#[test]
fn every_file_of_the_collection_is_one_or_the_other() {
    for entry in fs::read_dir(file("")).expect("the collection") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let is_known = CONFIGURATIONS.iter().any(|(known, _)| *known == name)
            || REFUSED.iter().any(|(known, _)| *known == name);
        assert!(is_known, "{name} has no test");
    }
}

#[test]
fn a_file_of_0_6_starts_and_the_start_says_that_common_is_merged() {
    let folder = Folder::empty();
    let text = fs::read_to_string(file("config-0.6.yml")).expect("a file");
    fs::write(folder.path("config.yml"), text.replace("/data/registry", "_env:STORAGE_PATH"))
        .expect("a file");
    let mut command = folder.program(&[]);
    let server = folder.serve(command.env("SETTINGS_FLAVOR", "prod"), "server.log");
    let log = server.log();
    assert!(
        log.contains("so `common` is merged under flavor prod as docker-registry 0.6 and 0.7 did"),
        "{log}"
    );
    assert!(!log.contains("REPLACEME"), "{log}");
    server.client().get("/v1/users/").expect(200);
    server.stop();
}

#[test]
fn a_file_with_a_merge_key_anywhere_gets_nothing_from_common_by_itself() {
    let folder = Folder::with(
        "common: &common {issue: x, standalone: true}\nother: {<<: *common}\ndev: {storage: local, storage_path: /srv}\n",
    );
    let ended = folder.run(&["config", "show"]);
    assert!(!ended.output.contains("issue = x"), "{}", ended.output);
}

#[test]
fn a_configuration_of_distribution_names_all_that_is_not_carried_over() {
    let ended = check(file("registry-v2-config.yml"), "dev");
    let hint = "not carried over: storage.delete, auth.token, notifications";
    assert!(ended.errors.contains(hint), "{}", ended.errors);
}

/// The compose file of the collection writes the configuration to one folder and mounts another.
#[test]
fn a_folder_without_the_configuration_is_named_with_what_lies_in_it() {
    let folder = Folder::empty();
    fs::create_dir_all(folder.path("etc")).expect("a folder");
    let missing = folder.path("etc/config.yml").display().to_string();
    let etc = folder.path("etc").display().to_string();
    let ask = || {
        let mut command = folder.program(&["serve"]);
        Ended::of(command.env("DOCKER_REGISTRY_CONFIG", &missing).output().expect("the program runs"))
    };
    let ended = ask();
    assert_eq!(ended.code, 64);
    let sentence = format!(
        "docker-registry: {missing}: the configuration file is missing (named by DOCKER_REGISTRY_CONFIG; {etc} is empty)\n"
    );
    assert_eq!(ended.errors, sentence);
    fs::write(folder.path("etc/auth.cert"), "").expect("a file");
    assert!(ask().errors.contains(&format!("{etc} has auth.cert")));
    let ended = folder.run(&["serve", &folder.path("nowhere/config.yml").display().to_string()]);
    assert!(ended.errors.contains("there is no folder"), "{}", ended.errors);
}

/// The original looked for a relative name in its own folder of configurations.
#[test]
fn a_relative_docker_registry_config_is_looked_for_in_the_usual_folders_which_are_named() {
    let folder = Folder::empty();
    let mut command = folder.program(&["serve"]);
    let ended =
        Ended::of(command.env("DOCKER_REGISTRY_CONFIG", "mine.yml").output().expect("the program runs"));
    assert_eq!(ended.code, 64);
    let looked =
        "looked for ./mine.yml, /etc/docker-registry/mine.yml, /etc/docker/registry/mine.yml; . is empty; ";
    assert!(ended.errors.contains(looked), "{}", ended.errors);
}
