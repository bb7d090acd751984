//! What is in the image, and that it is a registry.

use std::process::{Command, Stdio};

use docker_registry_tests::{
    content,
    docker::Docker,
    http::Client,
    process::{PATIENCE, wait_for},
    server::free_address,
    v2::{Presence, look_up_blob, push_blob},
};
use serde_json::Value;

use crate::{IMAGE, Test, container::Container};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("the_image_is_small", the_image_is_small),
    ("the_image_has_authorities_and_time_zones_and_says_how_it_is_used", describes_itself),
    ("a_container_takes_pushes_serves_pulls_and_stops_in_good_order", serves),
    ("the_health_check_follows_the_server", health),
];

/// Compressed, as it is pulled.
const LARGEST: u64 = 60 << 20;

fn the_image_is_small(docker: &Docker) {
    let mut saving =
        docker.command("docker").args(["save", IMAGE]).stdout(Stdio::piped()).spawn().expect("docker runs");
    let image = saving.stdout.take().expect("a pipe");
    let compressed =
        Command::new("gzip").arg("--stdout").stdin(image).output().expect("gzip is there").stdout;
    assert!(saving.wait().expect("docker ends").success());
    println!("the image: {:.1} MiB compressed", compressed.len() as f64 / f64::from(1 << 20));
    assert!((compressed.len() as u64) < LARGEST, "{} bytes", compressed.len());
}

fn describes_itself(docker: &Docker) {
    let container = Container::start(docker, &[], &["sleep-is-no-command"]);
    container.ended();
    let file = |path: &str| {
        let list = docker.command("docker").args(["cp", &format!("{}:{path}", container.id()), "-"]).output();
        list.expect("docker runs").stdout
    };
    assert!(file("/etc/ssl/certs/ca-certificates.crt").len() > 100_000);
    let zone = file("/usr/share/zoneinfo/Asia/Shanghai");
    assert!(zone.windows(4).any(|bytes| bytes == b"TZif"));

    let description: Value = serde_json::from_str(&docker.run(&["inspect", IMAGE])).expect("JSON");
    let configuration = &description[0]["Config"];
    assert_eq!(configuration["StopSignal"], "SIGTERM");
    assert!(configuration["ExposedPorts"]["5000/tcp"].is_object(), "{configuration}");
    assert!(configuration["Volumes"].is_null(), "a volume that nobody asked for is one that nobody finds");
    assert_eq!(configuration["Healthcheck"]["Test"][1], "docker-registry");
}

fn serves(docker: &Docker) {
    let address = free_address();
    let port = format!("REGISTRY_PORT={}", address.port());
    let options = ["--net=host", "-e", "REGISTRY_HOST=127.0.0.1", "-e", &port, "-e", "REGISTRY_ADMIN=off"];
    let container = Container::ready(docker, &options, &[]);
    let client = Client::new(address);
    let digest = push_blob(&client, "some/thing", &vec![7; 1 << 20]);
    assert_eq!(digest, content::digest(&vec![7; 1 << 20]));
    assert_eq!(look_up_blob(&client, "some/thing", &digest), Presence::Whole(1 << 20));
    assert_eq!(container.stop(), 0, "{}", container.log());
    assert!(container.log().contains("stopped"), "{}", container.log());
}

fn health(docker: &Docker) {
    // The check takes the configuration from the server's command line: this listener is nowhere else.
    let folder = tempfile::tempdir().expect("a folder");
    let written = "dev: {storage: local, standalone: true, admin: '127.0.0.1:5999'}\n";
    std::fs::write(folder.path().join("other.yml"), written).expect("a file");
    let volume = crate::container::mount(folder.path(), "/settings");
    let options = [&volume[..], "--health-interval=1s", "--health-start-period=60s"];
    let container = Container::ready(docker, &options, &["serve", "/settings/other.yml"]);
    wait_for("docker finds it healthy", PATIENCE, || {
        (container.state("Health.Status") == "healthy").then_some(())
    });
    let answer = String::from_utf8_lossy(&container.health().stdout).into_owned();
    assert_eq!(answer.trim(), "ready");

    let (code, text) = crate::container::run_once(docker, &[], &["health"]);
    assert!(code == 1 && text.contains("no answer from the admin listener 127.0.0.1:5001"), "{code}: {text}");
}
