//! The two nginx configurations that people have: `nginx-plain.conf` and `nginx-tls-basic.conf`, byte for byte as they
//! were found, under today's nginx.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    thread,
};

use docker_registry_tests::{
    artifacts,
    process::run,
    server::{Chosen, Launch, Place, Server, free_address},
};

use crate::{
    adapted::{adapt, replace},
    clients,
    front::{Certificates, Front, PASSWORD, USER},
    proxy::{Program, Proxy},
    samples::nginx_around,
};

const PLAIN: &str = include_str!("nginx-plain.conf");
const TLS_BASIC: &str = include_str!("nginx-tls-basic.conf");

fn plain() -> Front {
    let server = Server::start();
    let proxy = Proxy::start(Program::Nginx, |folder, address| {
        let at = folder.display();
        let configuration = adapt(
            PLAIN,
            &[
                replace("a user that this machine has", "user Nginx;", "user root;"),
                replace("a log of its own", "/var/log/Nginx/error.log", format!("{at}/error.log")),
                replace("a pid file of its own", "/var/run/Nginx.pid", format!("{at}/pid")),
                replace("folders of its own", "http {\n", format!("http {{\n{}", own_folders(folder))),
                replace("the registry's address", "127.0.0.1:15000", server.registry()),
                replace("a free port of the loopback", "listen 5000;", format!("listen {address};")),
            ],
        );
        fs::write(folder.join("nginx.conf"), configuration).expect("a configuration can be written");
    });
    Front::plain(proxy, server)
}

/// Where nginx keeps what it does not hold in memory.
pub(crate) fn own_folders(folder: &Path) -> String {
    let at = folder.display();
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = kinds.iter().map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).collect();
    format!("access_log {at}/access.log;\n{folders}")
}

/// `nginx-tls-basic.conf`, which is one file of sites-enabled, in front of a registry.
fn configure_tls_basic(folder: &Path, address: SocketAddr, registry: &str, certificates: &Certificates) {
    let site = adapt(
        TLS_BASIC,
        &[
            replace("chunked bodies need no module since nginx 1.3.9", "  chunkin on;\n", ""),
            replace("nor a second try", "  error_page 411 = @my_411_error;\n", ""),
            replace("nor a place for it", "  location @my_411_error {\n    chunkin_resume;\n  }\n", ""),
            replace("nginx 1.25 knows `ssl on` no longer", "  ssl on;\n", ""),
            replace(
                "it is a word of `listen`, and the port is free",
                "listen 443;",
                format!("listen {address} ssl;"),
            ),
            replace("the registry's address", "localhost:5000", registry),
            replace(
                "the certificate",
                "/etc/ssl/certs/docker-registry.crt",
                certificates.certificate().display().to_string(),
            ),
            replace(
                "the key",
                "/etc/ssl/private/docker-registry.key",
                certificates.key().display().to_string(),
            ),
        ],
    );
    // The password file is named without a folder, which is that of nginx.conf.
    let mut htpasswd = Command::new("htpasswd");
    htpasswd.arg("-bc").arg(folder.join("docker-registry.htpasswd")).args([USER, PASSWORD]);
    run(&mut htpasswd);
    nginx_around(folder, &site);
}

fn tls_basic() -> Front {
    let (server, certificates) = (Server::start(), Certificates::new());
    let proxy = Proxy::start(Program::Nginx, |folder, address| {
        configure_tls_basic(folder, address, &server.registry(), &certificates);
    });
    Front::tls(proxy, certificates, server).with_password()
}

#[test]
fn docker_pushes_and_pulls_a_large_layer_through_nginx_plain() {
    clients::docker_with(&plain(), clients::LARGE);
}

#[test]
fn skopeo_copies_a_large_layer_through_nginx_plain() {
    clients::skopeo(&plain());
}

#[test]
fn docker_1_pushes_and_pulls_through_nginx_plain() {
    clients::docker_1(&plain());
}

#[test]
fn nginx_plain_keeps_the_port_so_that_v1_clients_come_back_to_it() {
    let front = plain();
    assert_eq!(clients::endpoints(&front), front.registry());
    clients::relative_locations(&front);
}

#[test]
fn docker_logs_in_pushes_and_pulls_through_nginx_tls_basic() {
    clients::docker(&tls_basic());
}

#[test]
fn skopeo_copies_a_large_layer_through_nginx_tls_basic() {
    clients::skopeo(&tls_basic());
}

#[test]
fn docker_1_pushes_and_pulls_through_nginx_tls_basic() {
    clients::docker_1(&tls_basic());
}

#[test]
fn nginx_asks_for_the_password_and_the_registry_does_not_mind_it() {
    let front = tls_basic();
    for path in ["/v2/", "/v2/_catalog", "/v1/search?q=a", "/"] {
        let asked = front.stranger().get(path).expect(401);
        assert_eq!(asked.header("www-authenticate"), Some("Basic realm=\"Restricted\""), "{path}");
    }
    // Of `user1:wrong`.
    let wrong = front.stranger().with_header("Authorization", "Basic dXNlcjE6d3Jvbmc=");
    wrong.get("/v2/").expect(401);
    for path in ["/_ping", "/v1/_ping"] {
        front.stranger().get(path).expect(200);
    }
    front.client().get("/v2/").expect(200);
    clients::relative_locations(&front);
    let direct = front.server().client().with_header("Authorization", "Basic dXNlcjE6YSBwYXNzOndvcmQ=");
    direct.get("/v2/").expect(200);
    direct.get("/v1/_ping").expect(200);
}

#[test]
fn nginx_tls_basic_hands_the_password_on_and_no_port_and_no_scheme() {
    let certificates = Certificates::new();
    let registry = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let upstream = registry.local_addr().expect("a bound socket has an address").to_string();
    let proxy = Proxy::start(Program::Nginx, |folder, address| {
        configure_tls_basic(folder, address, &upstream, &certificates);
    });
    let seen = thread::spawn(move || {
        let (mut connection, _) = registry.accept().expect("nginx connects");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).expect("nginx sends a head");
            head.extend(byte);
        }
        connection.write_all(b"HTTP/1.0 204 No Content\r\n\r\n").expect("nginx reads");
        String::from_utf8(head).expect("a head is text")
    });
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--noproxy",
        "*",
        "--user",
        &format!("{USER}:{PASSWORD}"),
    ]);
    curl.arg("--cacert").arg(certificates.certificate()).arg(format!("https://{}/v2/", proxy.address()));
    run(&mut curl);

    let head = seen.join().expect("the head was read");
    // `proxy_set_header Host` in `location /` cancels the three lines above it in the file.
    assert!(head.contains("\r\nHost: 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("\r\nAuthorization: Basic dXNlcjE6YSBwYXNzOndvcmQ=\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("x-forwarded") && !lower.contains("x-real-ip"), "{head}");
}

#[test]
fn nginx_tls_basic_loses_the_port_and_registry_endpoints_mends_it() {
    let front = tls_basic();
    assert_eq!(
        clients::endpoints(&front),
        "127.0.0.1",
        "`Host $host` has no port, so a V1 client would go to another one"
    );
    drop(front);

    let front = with_endpoints();
    let named = clients::endpoints(&front);
    assert_eq!(named, front.registry());
    // The next requests of a V1 client go to the host that was named.
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"]);
    curl.arg(front.certificates().expect("TLS").certificate()).arg(format!("https://{named}/v1/_ping"));
    run(&mut curl);
}

/// `nginx-tls-basic.conf` before a registry that was told how clients reach it.
fn with_endpoints() -> Front {
    let certificates = Certificates::new();
    // The registry must know the proxy's port, and nginx the registry's: so the first is chosen before either runs.
    for _ in 0..5 {
        let address = free_address();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = folder.path().join("config.yml");
        let text = format!(
            "prod:\n  storage: local\n  storage_path: _env:STORAGE_PATH\n  standalone: true\n  registry_endpoints: ['{address}']\n"
        );
        fs::write(&configuration, text).expect("a configuration can be written");
        let drivers = artifacts::folder().to_owned();
        let chosen = Some(Chosen { configuration, flavor: "prod".to_owned(), drivers });
        let server = Server::launch(Launch { chosen, ..Launch::under_test() }, Place::new());
        let configure = |folder: &Path, address: SocketAddr| {
            configure_tls_basic(folder, address, &server.registry(), &certificates);
        };
        if let Some(proxy) = Proxy::try_start(Program::Nginx, address, configure) {
            return Front::tls(proxy, certificates, server).with_password();
        }
    }
    panic!("no free port in five tries")
}
