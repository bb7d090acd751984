//! The ways in which people start a registry today.

use std::{fs, path::Path};

use docker_registry_tests::{docker::Docker, http::Client, server::free_address};
use tempfile::TempDir;

use crate::{
    Test,
    container::{Container, mount, run_once},
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("without_any_option_it_serves_and_says_that_images_go_with_the_container", bare),
    ("a_published_port_of_a_container_with_a_network_is_served", published),
    ("a_volume_of_the_v1_image_is_used", volume_of_the_v1_image),
    ("a_volume_of_the_v2_image_is_used_when_only_that_is_mounted", volume_of_the_v2_image),
    ("a_configuration_by_variable_with_flavor_and_storage_path_is_used", configuration_by_variable),
    ("the_compose_form_says_which_configuration_was_looked_for_and_what_is_there", compose),
    ("a_configuration_of_distribution_is_refused_in_a_sentence", configuration_of_distribution),
    ("a_log_that_an_option_names_is_no_configuration_at_the_next_start", log_in_the_volume),
    ("a_configuration_where_distribution_has_it_is_used_by_each_form_of_the_command", commands),
    ("the_commands_of_the_older_images_start_the_server", older_commands),
    ("other_commands_and_programs_run_instead_of_the_server", other_commands),
];

const CONFIGURATION: &str = "dev: {storage: local, storage_path: /data, standalone: true}\n";

/// A folder that a container may mount, and everybody may enter.
fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn write(folder: &Path, name: &str, content: &str) {
    fs::write(folder.join(name), content).unwrap();
}

#[track_caller]
fn says(container: &Container, sentence: &str) {
    let log = container.log();
    assert!(log.contains(sentence), "{sentence:?} is not in:\n{log}");
}

fn bare(docker: &Docker) {
    let container = Container::ready(docker, &[], &[]);
    says(&container, "images are kept in /tmp/registry, which goes with the container");
    // What kubernetes and --link set is no port.
    let container = Container::ready(docker, &["-e", "REGISTRY_PORT=tcp://10.0.0.1:5000"], &[]);
    says(&container, "Listening at: http://0.0.0.0:5000");
}

/// A network that containers reach this machine by; the daemon has none by itself.
struct Network<'a>(&'a Docker);

impl Network<'_> {
    const NAME: &'static str = "published";

    fn new(docker: &Docker) -> Network<'_> {
        docker.run(&["network", "create", Self::NAME]);
        Network(docker)
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        let _ = self.0.command("docker").args(["network", "rm", Self::NAME]).output();
    }
}

fn published(docker: &Docker) {
    let network = Network::new(docker);
    // `-p 5000:5000`, but port 5000 of this machine may be somebody's.
    let address = free_address();
    let ports = format!("{}:5000", address.port());
    let container = Container::ready(docker, &["--network", Network::NAME, "-p", &ports], &[]);
    Client::new(address).get("/v2/").expect(200);
    // The network can go when nobody is in it.
    drop(container);
    drop(network);
}

fn volume_of_the_v1_image(docker: &Docker) {
    let (data, other) = (folder(), folder());
    fs::create_dir(data.path().join("images")).unwrap();
    let options = [mount(data.path(), "/tmp/registry"), mount(other.path(), "/var/lib/registry")];
    let container = Container::ready(docker, &[&options[0]], &[]);
    says(&container, "images are kept in /tmp/registry, because that is mounted");
    drop(container);
    // With both, the one of the V1 image counts.
    let container = Container::ready(docker, &[&options[0], &options[1]], &[]);
    says(&container, "images are kept in /tmp/registry, because that is mounted");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing is written there");
}

fn volume_of_the_v2_image(docker: &Docker) {
    let data = folder();
    fs::create_dir_all(data.path().join("docker/registry/v2/repositories/a")).unwrap();
    let container = Container::ready(docker, &[&mount(data.path(), "/var/lib/registry")], &[]);
    says(&container, "images are kept in /var/lib/registry, because that is mounted");
    assert!(!container.log().contains("/tmp/registry"), "{}", container.log());
    // A volume that docker makes.
    let container = Container::ready(docker, &["--volume=/var/lib/registry"], &[]);
    says(&container, "images are kept in /var/lib/registry, because that is mounted");
}

fn configuration_by_variable(docker: &Docker) {
    let (settings, storage) = (folder(), folder());
    write(settings.path(), "config.yml", CONFIGURATION);
    let volume = mount(settings.path(), "/registry-conf");
    let options = [&volume[..], "-e", "DOCKER_REGISTRY_CONFIG=/registry-conf/config.yml"];
    let container = Container::ready(docker, &options, &[]);
    says(&container, "images are kept in /data, as configured");
    says(&container, "/registry-conf/config.yml");

    let sample = include_str!("../../config/config_sample.yml");
    write(settings.path(), "config_sample.yml", sample);
    // On this machine's network the usual ports may be somebody's.
    let port = format!("REGISTRY_PORT={}", free_address().port());
    let options = [
        "--net=host",
        "-e",
        &port,
        "-e",
        "REGISTRY_ADMIN=off",
        &mount(settings.path(), "/registory_conf"),
        &mount(storage.path(), "/registry_sto"),
        "-e",
        "DOCKER_REGISTRY_CONFIG=/registory_conf/config_sample.yml",
        "-e",
        "STORAGE_PATH=/registry_sto",
        "-e",
        "SETTINGS_FLAVOR=local",
    ];
    let container = Container::ready(docker, &options, &[]);
    says(&container, "images are kept in /registry_sto, as configured");
    says(&container, "flavor=\"local\"");
}

fn compose(docker: &Docker) {
    let (settings, data) = (folder(), folder());
    write(settings.path(), "registry-web.yml", "registry: {}\n");
    let options = [
        &mount(settings.path(), "/etc/docker/registry:ro")[..],
        &mount(data.path(), "/var/lib/registry"),
        "-e",
        "TZ=Asia/Shanghai",
    ];
    let container = Container::ready(docker, &options, &[]);
    says(&container, "images are kept in /var/lib/registry, because that is mounted");
    says(&container, "/etc/docker/registry/config.yml");
    says(&container, "registry-web.yml");
}

fn configuration_of_distribution(docker: &Docker) {
    let settings = folder();
    let written = "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\n\
                   http:\n  addr: 0.0.0.0:5000\n";
    write(settings.path(), "v2.yml", written);
    let volume = mount(&settings.path().join("v2.yml"), "/etc/docker/registry/config.yml");
    let (code, text) = run_once(docker, &[&volume], &[]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("this is a configuration of distribution (registry 2.x)"), "{text}");
}

fn log_in_the_volume(docker: &Docker) {
    let data = folder();
    let volume = mount(data.path(), "/var/lib/registry");
    let command = ["serve", "--access-log", "/var/lib/registry/access.log", "--graceful-timeout=10"];
    let container = Container::ready(docker, &[&volume], &command);
    assert!(data.path().join("access.log").exists());
    container.restart();
    let log = container.log();
    let kept = log.matches("images are kept in /var/lib/registry, because that is mounted").count();
    assert_eq!(kept, 2, "{log}");
}

fn commands(docker: &Docker) {
    let settings = folder();
    write(settings.path(), "config.yml", CONFIGURATION);
    let volume = mount(settings.path(), "/etc/docker/registry");
    const FILE: &str = "/etc/docker/registry/config.yml";
    for command in [&[][..], &[FILE], &["serve", FILE], &["registry", "serve", FILE]] {
        let container = Container::ready(docker, &[&volume], command);
        says(&container, "images are kept in /data, as configured");
        says(&container, FILE);
    }
    // Without the entrypoint, as some compose files have it.
    let container = Container::ready(docker, &[&volume, "--entrypoint=registry"], &["serve", FILE]);
    says(&container, "Listening at: http://");
}

fn older_commands(docker: &Docker) {
    for command in [&["docker-registry"][..], &["docker-registry", "serve"], &["serve"]] {
        let container = Container::ready(docker, &[], command);
        says(&container, "Listening at: http://0.0.0.0:5000");
    }
}

fn other_commands(docker: &Docker) {
    let (code, text) = run_once(docker, &[], &["--help"]);
    assert!(code == 0 && text.contains("SETTINGS_FLAVOR") && !text.contains("images are kept"), "{text}");
    let (code, text) = run_once(docker, &[], &["driver", "list"]);
    assert!(code == 0 && text.contains("/usr/local/lib/docker-registry/drivers/"), "{text}");
    let (code, text) = run_once(docker, &["-e", "SETTINGS_FLAVOR=local"], &["config", "check"]);
    assert!(code == 0 && text.contains("can be used"), "{text}");
    let (code, text) = run_once(docker, &[], &["docker-registry", "--version"]);
    assert!(code == 0 && text.starts_with("docker-registry "), "{text}");
    assert_eq!(run_once(docker, &[], &["sh", "-c", "echo a shell"]), (0, "a shell\n".to_owned()));
    assert_eq!(run_once(docker, &[], &["/bin/sh", "-c", "exit 7"]).0, 7);
    assert_eq!(run_once(docker, &[], &["nonsense"]).0, 2);
    // A folder that docker made where a file was meant.
    let (code, text) = run_once(docker, &[], &["/missing/config.yml"]);
    assert!(code == 64 && text.contains("/missing/config.yml"), "{code}: {text}");
}
