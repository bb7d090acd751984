//! `cert new`: what it writes is read, verified and served by openssl, and trusted by curl.

use std::process::Command;

use docker_registry_tests::{
    process::{PATIENCE, Process, run, wait_for},
    server::free_address,
};

use super::{Workbench, is_private};

#[test]
fn a_new_certificate_is_version_3_for_servers_with_every_name_and_address() {
    let bench = Workbench::new();
    assert_eq!(bench.cert("new registry.example.com *.lan 10.0.0.5 ::1").code, 0);
    let text = bench.openssl("x509 -in registry.crt -noout -text");
    for expected in [
        "Version: 3 (0x2)",
        "CN = registry.example.com",
        "DNS:registry.example.com, DNS:*.lan, IP Address:10.0.0.5, IP Address:0:0:0:0:0:0:0:1",
        "TLS Web Server Authentication",
        "CA:FALSE",
        "ASN1 OID: prime256v1",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(!text.contains("TLS Web Client Authentication"), "{text}");
}

#[test]
fn openssl_verifies_it_as_its_own_authority_for_each_name() {
    let bench = Workbench::new();
    bench.cert("new registry.example.com 10.0.0.5");
    for name in ["-verify_hostname registry.example.com", "-verify_ip 10.0.0.5"] {
        let verified = bench.openssl(&format!(
            "verify -x509_strict -purpose sslserver -CAfile registry.crt {name} registry.crt"
        ));
        assert!(verified.contains("registry.crt: OK"), "{verified}");
    }
    let mut other = Command::new("openssl");
    other.args([
        "verify",
        "-CAfile",
        "registry.crt",
        "-verify_hostname",
        "other.example.com",
        "registry.crt",
    ]);
    assert!(!other.current_dir(bench.folder.path()).output().expect("openssl runs").status.success());
}

#[test]
fn it_is_valid_for_so_many_days_and_825_unless_told() {
    let bench = Workbench::new();
    bench.cert("new a.example.com");
    bench.cert("new a.example.com --days 10 --out short");
    let lasts = |file: &str, days: u32| {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-checkend", &(days * 24 * 60 * 60).to_string(), "-in", file]);
        command.current_dir(bench.folder.path()).output().expect("openssl runs").status.success()
    };
    assert!(lasts("registry.crt", 824) && !lasts("registry.crt", 826));
    assert!(lasts("short/registry.crt", 9) && !lasts("short/registry.crt", 11));
}

#[test]
fn rsa_keys_have_as_many_bits_as_asked_for() {
    let bench = Workbench::new();
    for bits in ["2048", "3072"] {
        assert_eq!(bench.cert(&format!("new a.example.com --rsa {bits} --force")).code, 0);
        let text = bench.openssl("x509 -in registry.crt -noout -text");
        assert!(text.contains(&format!("Public-Key: ({bits} bit)")), "{text}");
        assert!(text.contains("sha256WithRSAEncryption"), "{text}");
        assert!(bench.openssl("pkey -in registry.key -noout -check").contains("is valid"));
        assert!(bench.accepted("registry.crt --key registry.key").contains("belongs to it"));
    }
    for wrong in ["1024", "2047", "many"] {
        assert_eq!(bench.cert(&format!("new a.example.com --rsa {wrong} --force")).code, 2, "{wrong}");
    }
}

#[test]
fn the_key_is_for_its_owner_only_and_nothing_is_overwritten_without_force() {
    let bench = Workbench::new();
    assert_eq!(bench.cert("new a.example.com").code, 0);
    assert!(is_private(&bench.path("registry.key")));
    assert!(!is_private(&bench.path("registry.crt")));
    let (certificate, key) = (bench.read("registry.crt"), bench.read("registry.key"));

    let again = bench.cert("new a.example.com");
    assert_eq!(again.code, 1);
    assert!(again.errors.contains("registry.crt is there already") && again.errors.contains("--force"));
    std::fs::remove_file(bench.path("registry.crt")).expect("a file");
    let again = bench.cert("new a.example.com");
    assert!(again.errors.contains("registry.key is there already"), "{}", again.errors);
    assert_eq!(bench.read("registry.key"), key, "the key is as it was");
    assert!(!bench.path("registry.crt").exists(), "and no certificate is beside it");

    assert_eq!(bench.cert("new a.example.com --force").code, 0);
    assert_ne!(bench.read("registry.crt"), certificate);
    assert!(is_private(&bench.path("registry.key")));
    let names = std::fs::read_dir(bench.folder.path()).expect("a folder").count();
    assert_eq!(names, 2, "no temporary file is left");
}

#[test]
fn it_says_what_to_put_where() {
    let bench = Workbench::new();
    let said = bench.cert("new registry.example.com --out certificates").output;
    let certificate = bench.path("certificates/registry.crt").display().to_string();
    let key = bench.path("certificates/registry.key").display().to_string();
    for expected in [
        &format!("  tls:\n    certificate: {certificate}\n")[..],
        &format!("chgrp docker-registry {key}; chmod 0640 {key}\n"),
        "    cp registry.crt /etc/docker/certs.d/registry.example.com:5000/ca.crt\n",
        "    cp registry.crt /etc/containers/certs.d/registry.example.com:5000/ca.crt\n",
        "{\"insecure-registries\": [\"registry.example.com:5000\"]}",
        "/etc/containerd/certs.d/registry.example.com:5000/hosts.toml",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    assert!(!said.contains("PRIVATE KEY"));
}

#[test]
fn a_certificate_for_a_client_is_for_clients_only() {
    let bench = Workbench::new();
    let made = bench.cert("new --client alice");
    assert_eq!(made.code, 0, "{}", made.errors);
    assert!(made.output.contains("client_authorities: ") && made.output.contains("/client.key"));
    let text = bench.openssl("x509 -in alice.crt -noout -text");
    assert!(text.contains("CN = alice") && text.contains("TLS Web Client Authentication"), "{text}");
    assert!(is_private(&bench.path("alice.key")));
    bench.openssl("verify -x509_strict -purpose sslclient -CAfile alice.crt alice.crt");
    assert!(bench.refused("alice.crt").contains("serverAuth"));
}

#[test]
fn what_is_no_host_is_a_wrong_command_line_that_says_what_to_write() {
    let bench = Workbench::new();
    let wrong = bench.cert("new registry.example.com:5000");
    assert_eq!(wrong.code, 2);
    assert!(wrong.errors.contains("write `registry.example.com`"), "{}", wrong.errors);
    for wrong in
        ["new", "new https://a.example.com", "new 10.0.0.256", "new --client ../alice", "new a --client b"]
    {
        assert_eq!(bench.cert(wrong).code, 2, "{wrong}");
    }
    assert_eq!(std::fs::read_dir(bench.folder.path()).expect("a folder").count(), 0, "nothing was written");
}

#[test]
fn curl_trusts_a_server_that_shows_it_and_no_other_name() {
    let bench = Workbench::new();
    for key in ["--ecdsa", "--rsa 2048"] {
        bench.cert(&format!("new registry.example.com 127.0.0.1 {key} --force"));
        let (_server, port) = serve(&bench);
        let curl = |host: &str| {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", "registry.crt"]);
            curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")]);
            curl.current_dir(bench.folder.path());
            curl
        };
        for host in ["registry.example.com", "127.0.0.1"] {
            assert!(run(&mut curl(host)).contains("s_server"), "curl sees the page of openssl");
        }
        let refused = curl("other.example.com").output().expect("curl runs");
        assert_eq!(refused.status.code(), Some(60), "curl does not trust another name");
    }
}

/// `openssl s_server` with the new certificate, which answers every GET with a page about the connection.
fn serve(bench: &Workbench) -> (Process, u16) {
    for attempt in 0..5 {
        let port = free_address().port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-cert", "registry.crt", "-key", "registry.key", "-accept"]);
        command.arg(format!("127.0.0.1:{port}")).current_dir(bench.folder.path());
        let mut server = Process::start("openssl", &mut command, &bench.path(&format!("log-{attempt}")));
        let listens = wait_for("openssl accepts", PATIENCE, || match server.log().contains("ACCEPT") {
            true => Some(true),
            false => (!server.is_running()).then_some(false),
        });
        if listens {
            return (server, port);
        }
    }
    panic!("openssl found no free port in five tries")
}
