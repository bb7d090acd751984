//! The samples that operators copy, exactly as they are in `xtask/packaging/proxies`, with addresses and the places of
//! the certificate replaced.

use std::{fs, path::Path};

use docker_registry_tests::{artifacts, server::Server};

use crate::{
    adapted::{Replacement, adapt, replace},
    clients,
    front::{Certificates, Front},
    proxy::{Program, Proxy},
    user_files::own_folders,
};

/// A sample and what is replaced in it.
pub(crate) fn sample(name: &str, replacements: &[Replacement]) -> String {
    let file = artifacts::workspace().join("xtask/packaging/proxies").join(name);
    adapt(&fs::read_to_string(file).expect("the sample is there"), replacements)
}

/// An nginx.conf as Debian's, which takes its sites from other files.
pub(crate) fn nginx_around(folder: &Path, site: &str) {
    let at = folder.display();
    fs::write(folder.join("site.conf"), site).expect("a site can be written");
    let configuration = format!(
        "user root;\nworker_processes 2;\npid {at}/pid;\nerror_log {at}/error.log;\nevents {{}}\n\
         http {{\n{}include {at}/site.conf;\n}}\n",
        own_folders(folder)
    );
    fs::write(folder.join("nginx.conf"), configuration).expect("a configuration can be written");
}

/// The places of certificate and key in the samples of nginx and Apache.
fn places(certificates: &Certificates) -> [Replacement; 2] {
    let text = |path: &Path| path.display().to_string();
    [
        replace(
            "the certificate",
            "/etc/docker-registry/registry.crt;",
            format!("{};", text(&certificates.certificate())),
        ),
        replace("the key", "/etc/docker-registry/registry.key;", format!("{};", text(&certificates.key()))),
    ]
}

pub(crate) fn nginx(server: Server) -> Front {
    let certificates = Certificates::new();
    let proxy = Proxy::start(Program::Nginx, |folder, address| {
        let [certificate, key] = places(&certificates);
        let listen =
            replace("a free port of the loopback", "listen 443 ssl", format!("listen {address} ssl"));
        let registry = replace(
            "the registry's address",
            "server 127.0.0.1:5000;",
            format!("server {};", server.registry()),
        );
        nginx_around(folder, &sample("nginx.conf", &[certificate, key, listen, registry]));
    });
    Front::tls(proxy, certificates, server)
}

/// The modules that Debian's Apache has from the start, and those that the sample names.
const APACHE_MODULES: [&str; 7] =
    ["mpm_event", "authz_core", "reqtimeout", "ssl", "proxy", "proxy_http", "headers"];

pub(crate) fn apache(server: Server) -> Front {
    let certificates = Certificates::new();
    let proxy = Proxy::start(Program::Apache, |folder, address| {
        let at = folder.display();
        let text = |path: &Path| path.display().to_string();
        let site = sample(
            "apache.conf",
            &[
                replace(
                    "the certificate",
                    "SSLCertificateFile /etc/docker-registry/registry.crt",
                    format!("SSLCertificateFile {}", text(&certificates.certificate())),
                ),
                replace(
                    "the key",
                    "SSLCertificateKeyFile /etc/docker-registry/registry.key",
                    format!("SSLCertificateKeyFile {}", text(&certificates.key())),
                ),
                replace(
                    "a free port of the loopback",
                    "<VirtualHost *:443>",
                    format!("<VirtualHost {address}>"),
                ),
                replace("the registry's address", "127.0.0.1:5000", server.registry()),
            ],
        );
        fs::write(folder.join("site.conf"), site).expect("a site can be written");
        let modules: String = APACHE_MODULES
            .iter()
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .collect();
        let configuration = format!(
            "{modules}ServerName localhost\nListen {address}\nPidFile {at}/pid\nDefaultRuntimeDir {at}\n\
             ErrorLog {at}/error.log\nUser www-data\nGroup www-data\n\
             RequestReadTimeout header=20-40,minrate=500 body=10,minrate=500\nInclude {at}/site.conf\n"
        );
        fs::write(folder.join("apache2.conf"), configuration).expect("a configuration can be written");
    });
    Front::tls(proxy, certificates, server)
}

pub(crate) fn haproxy(server: Server) -> Front {
    let certificates = Certificates::new();
    let proxy = Proxy::start(Program::Haproxy, |folder, address| {
        let pem = folder.join("registry.pem");
        fs::write(&pem, certificates.both()).expect("a file can be written");
        let configuration = sample(
            "haproxy.cfg",
            &[
                replace(
                    "the certificate and its key",
                    "crt /etc/haproxy/registry.pem",
                    format!("crt {}", pem.display()),
                ),
                replace("a free port of the loopback", "bind :443 ", format!("bind {address} ")),
                replace(
                    "the registry's address",
                    "server registry 127.0.0.1:5000",
                    format!("server registry {}", server.registry()),
                ),
            ],
        );
        fs::write(folder.join("haproxy.cfg"), configuration).expect("a configuration can be written");
    });
    Front::tls(proxy, certificates, server)
}

#[test]
fn docker_pushes_and_pulls_through_the_sample_for_nginx() {
    clients::docker(&nginx(Server::start()));
}

#[test]
fn docker_pushes_and_pulls_through_the_sample_for_apache() {
    clients::docker(&apache(Server::start()));
}

#[test]
fn docker_pushes_and_pulls_through_the_sample_for_haproxy() {
    clients::docker(&haproxy(Server::start()));
}

#[test]
fn skopeo_copies_a_large_layer_through_the_sample_for_nginx() {
    clients::skopeo(&nginx(Server::start()));
}

#[test]
fn skopeo_copies_a_large_layer_through_the_sample_for_apache() {
    clients::skopeo(&apache(Server::start()));
}

#[test]
fn skopeo_copies_a_large_layer_through_the_sample_for_haproxy() {
    clients::skopeo(&haproxy(Server::start()));
}

#[test]
fn docker_1_pushes_and_pulls_through_every_sample_and_is_sent_back_to_it() {
    for front in [nginx(Server::start()), apache(Server::start()), haproxy(Server::start())] {
        clients::docker_1(&front);
        clients::relative_locations(&front);
        assert_eq!(clients::endpoints(&front), front.registry());
    }
}
