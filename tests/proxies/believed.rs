//! What the registry knows of the client behind a proxy that it trusts: the samples say who it is, in HTTP and by the
//! PROXY protocol, and nobody can forge it.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use docker_registry_tests::{
    artifacts,
    docker::Docker,
    images::{Layout, Saved, native_architecture},
    process::{PATIENCE, Process, run, wait_for},
    server::{Chosen, Launch, Place, Server},
};
use tempfile::TempDir;

use crate::{
    adapted::replace,
    clients,
    front::{Certificates, Front},
    proxy::{Program, Proxy},
    samples::{apache, haproxy, nginx, sample},
};

/// Where the client of these tests connects from. The proxies connect from 127.0.0.1.
const CLIENT: &str = "127.0.0.7";

/// A registry that believes its proxy.
fn server() -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let configuration = folder.path().join("config.yml");
    let text = "prod:\n  storage: local\n  storage_path: _env:STORAGE_PATH\n  standalone: true\n  \
                trusted_proxies: [127.0.0.1]\n";
    fs::write(&configuration, text).expect("a configuration can be written");
    let drivers = artifacts::folder().to_owned();
    let chosen = Some(Chosen { configuration, flavor: "prod".to_owned(), drivers });
    (Server::launch(Launch { chosen, ..Launch::under_test() }, Place::new()), folder)
}

/// Waits for the line of the access log about a path, which must name the client.
fn assert_client_is_known(process: &Process, path: &str) {
    let line = wait_for("the request is in the access log", PATIENCE, || {
        process.log().lines().find(|line| line.contains(path)).map(str::to_owned)
    });
    assert!(line.contains(CLIENT), "{CLIENT} is not in: {line}");
    assert!(!line.contains("10.9.9.9"), "a forged header was believed: {line}");
}

fn sample_names_the_client(front: &Front) {
    let mut curl = front.curl("/v2/honest/tags/list");
    run(curl.args(["--interface", CLIENT]));
    assert_client_is_known(front.server().process(), "/v2/honest/tags/list");
    for (name, forged) in
        [("X-Forwarded-For", "10.9.9.9"), ("X-Real-IP", "10.9.9.9"), ("Forwarded", "for=10.9.9.9")]
    {
        let path = format!("/v2/forged-{}/tags/list", name.to_ascii_lowercase());
        let mut curl = front.curl(&path);
        run(curl.args(["--interface", CLIENT, "--header", &format!("{name}: {forged}")]));
        assert_client_is_known(front.server().process(), &path);
    }
    for forged in [
        "X-Forwarded-Host: 10.9.9.9",
        "X-Forwarded-Port: 10999",
        "X-Forwarded-Proto: http",
        "Forwarded: host=10.9.9.9",
    ] {
        // Without a port, which X-Forwarded-Port would add to.
        let host = clients::endpoints_with(front, &["Host: registry.example.com", forged]);
        assert_eq!(host, "registry.example.com", "{forged}");
    }
}

#[test]
fn the_sample_for_nginx_says_who_the_client_is_and_passes_no_forgery() {
    let (server, _folder) = server();
    sample_names_the_client(&nginx(server));
}

#[test]
fn the_sample_for_apache_says_who_the_client_is_and_passes_no_forgery() {
    let (server, _folder) = server();
    sample_names_the_client(&apache(server));
}

#[test]
fn the_sample_for_haproxy_says_who_the_client_is_and_passes_no_forgery() {
    let (server, _folder) = server();
    sample_names_the_client(&haproxy(server));
}

/// A registry that speaks TLS with a new certificate, and HAProxy that passes bytes on to it.
struct Passed {
    proxy: Proxy,
    registry: Process,
    certificates: Certificates,
    _folder: TempDir,
}

impl Passed {
    fn start() -> Passed {
        let certificates = Certificates::new();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = folder.path().join("config.yml");
        let text = format!(
            "prod:\n  storage: local\n  storage_path: {}\n  standalone: true\n  admin: 'off'\n  \
             trusted_proxies: [127.0.0.1]\n  proxy_protocol: required\n  tls:\n    certificate: {}\n    key: {}\n",
            folder.path().join("storage").display(),
            certificates.certificate().display(),
            certificates.key().display()
        );
        fs::write(&configuration, text).expect("a configuration can be written");
        let artifacts = artifacts::folder();
        let mut command = Command::new(artifacts.join("docker-registry"));
        command.arg("serve").arg(&configuration).args(["--bind", "127.0.0.1:0"]);
        command.env_clear().env("SETTINGS_FLAVOR", "prod").env("DOCKER_REGISTRY_DRIVER_PATH", artifacts);
        let log = folder.path().join("log");
        let mut registry = Process::start("docker-registry", &mut command, &log);
        let address = wait_for("docker-registry says where it listens", PATIENCE, || {
            if !registry.is_running() {
                registry.fail("it ended instead of listening");
            }
            announced(&registry.log())
        });
        let proxy = Proxy::start(Program::Haproxy, |folder, listen| configure(folder, listen, address));
        Passed { proxy, registry, certificates, _folder: folder }
    }
}

/// The address in the line `Listening at: https://HOST:PORT …`, once it is whole.
fn announced(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("Listening at: https://")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    rest[..end].parse().ok()
}

fn configure(folder: &Path, listen: SocketAddr, registry: SocketAddr) {
    let configuration = sample(
        "haproxy-tcp.cfg",
        &[
            replace("a free port of the loopback", "bind :443\n", format!("bind {listen}\n")),
            replace(
                "the registry's address",
                "server registry 127.0.0.1:5000",
                format!("server registry {registry}"),
            ),
        ],
    );
    fs::write(folder.join("haproxy.cfg"), configuration).expect("a configuration can be written");
}

#[test]
fn haproxy_passes_tls_on_and_says_by_the_proxy_protocol_who_the_client_is() {
    let passed = Passed::start();
    let path = "/v2/honest/tags/list";
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--interface", CLIENT]);
    curl.args(["--header", "X-Forwarded-For: 10.9.9.9", "--cacert"]).arg(passed.certificates.certificate());
    run(curl.arg(format!("https://{}{path}", passed.proxy.address())));
    assert_client_is_known(&passed.registry, path);
}

#[test]
fn skopeo_trusts_a_new_certificate_of_the_registry_itself_and_docker_pulls_over_it() {
    let passed = Passed::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut layout = Layout::create(&folder.path().join("layout"));
    let layers = vec![layout.layer(1, 1 << 10), layout.layer(2, 20 << 20)];
    let image = layout.image("image", native_architecture(), layers);
    let reference = format!("{}/through/tls:latest", passed.proxy.address());

    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=true"]);
    skopeo.arg(format!("--dest-cert-dir={}", passed.certificates.trusted().display()));
    skopeo.arg(format!("oci:{}:image", layout.folder().display())).arg(format!("docker://{reference}"));
    run(&mut skopeo);

    let docker = Docker::start();
    docker.pull(&reference);
    assert_eq!(docker.repository_digest(&reference), image.manifest.digest);
    let expected = Saved { configuration: image.configuration.digest.clone(), layers: image.layer_digests() };
    assert_eq!(docker.contents(&reference), expected);
}
