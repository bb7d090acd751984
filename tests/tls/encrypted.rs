//! Plain work over TLS, and clients that do not get as far.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use docker_registry_tests::{
    images::{Layout, native_architecture},
    process::{PATIENCE, run},
};

use crate::{
    certificates,
    curl::Curl,
    running::{Place, Running},
};

fn url(server: &Running) -> String {
    format!("https://{}/v2/", server.address())
}

#[test]
fn http_1_and_http_2_are_spoken_over_tls_1_2_and_1_3() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    server.await_line(&["Listening at: https://127.0.0.1:"]);
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for newest in ["1.2", "1.3"] {
            let curl = Curl::get(&url(&server)).trusting(&pair.certificate);
            let told = curl.flag(option).with("--tls-max", newest).expect(200);
            assert_eq!(told.version, version, "{told:?}");
        }
    }
    assert!(server.stop().success());
}

#[test]
fn an_image_with_a_large_layer_goes_there_and_back_unchanged_and_the_server_stays_small() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    let mut layout = Layout::create(&place.file("layout"));
    let layers = vec![layout.layer(1, 256 << 20), layout.layer(2, 10)];
    let image = layout.image("pushed", native_architecture(), layers);
    let authorities = place.file("authorities");
    fs::create_dir(&authorities).expect("a folder");
    fs::copy(&pair.certificate, authorities.join("ca.crt")).expect("a copy");

    let reference = format!("docker://{}/over/tls:latest", server.address());
    let pulled = place.file("pulled");
    copy(&authorities, &format!("oci:{}:pushed", layout.folder().display()), &reference);
    copy(&authorities, &reference, &format!("oci:{}:pulled", pulled.display()));
    for digest in image.layer_digests().iter().chain([&image.manifest.digest, &image.configuration.digest]) {
        layout.assert_same_blob(&pulled, digest);
    }
    let peak = server.process.peak_memory();
    assert!(peak < 64 << 20, "the server used {peak} bytes");

    // The same by curl over HTTP/2, as a file to compare.
    let layer = image.layer_digests().remove(0);
    let blob = format!("https://{}/v2/over/tls/blobs/{layer}", server.address());
    let file = place.file("layer");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--http2", "--noproxy", "*", "--output"]).arg(&file);
    run(curl.arg("--cacert").arg(&pair.certificate).arg(blob));
    let digest = run(Command::new("sha256sum").arg(&file));
    assert_eq!(format!("sha256:{}", &digest[..64]), layer);
}

fn copy(authorities: &Path, from: &str, to: &str) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"]);
    skopeo.arg("--src-cert-dir").arg(authorities).arg("--dest-cert-dir").arg(authorities);
    run(skopeo.args([from, to]));
}

#[test]
fn the_oldest_version_is_what_the_configuration_says() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let only_new = format!("{}tls.minimum_version: '1.3'\n", pair.configuration());
    let server = place.serve(&only_new, &["127.0.0.1:0"]);
    let curl = || Curl::get(&url(&server)).trusting(&pair.certificate);
    curl().expect(200);
    curl().with("--tls-max", "1.2").expect_nothing();
    server.await_line(&["a connection was refused"]);

    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    Curl::get(&url(&server)).trusting(&pair.certificate).with("--tls-max", "1.2").expect(200);
    let old = Curl::get(&url(&server)).trusting(&pair.certificate).flag("--tlsv1.0");
    // Without the lower security level, curl would not even try.
    old.with("--tls-max", "1.1").with("--ciphers", "DEFAULT@SECLEVEL=0").expect_nothing();
    server.await_line(&["a connection was refused"]);
}

#[test]
fn plain_http_on_the_encrypted_port_is_told_so() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    let told = Curl::get(&format!("http://{}/v2/", server.address())).expect(400);
    assert!(told.text.contains("this port speaks https"), "{told:?}");
    // Also when the client sends more than is looked at.
    let answer = server.plain().send("PUT", "/v2/x/blobs/uploads/", &[], &vec![0; 1 << 20]);
    assert_eq!((answer.status, answer.text().as_str()), (400, "this port speaks https\n"));
    server.await_lines("plain HTTP", 2);
    Curl::get(&url(&server)).trusting(&pair.certificate).expect(200);
}

#[test]
fn a_client_that_stalls_before_or_in_its_handshake_is_cut_off_and_others_are_served() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let lines = format!("{}limits.header_timeout: 1s\n", pair.configuration());
    let server = place.serve(&lines, &["127.0.0.1:0"]);
    for start in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stalled = TcpStream::connect(server.address()).expect("the server accepts");
        stalled.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stalled.write_all(start).expect("the server reads");
        Curl::get(&url(&server)).trusting(&pair.certificate).expect(200);
        let mut rest = Vec::new();
        // A reset is an end as well.
        match stalled.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(rest, b"", "nothing is said to it"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn nonsense_on_the_encrypted_port_costs_one_connection() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    for nonsense in [&b"\0\0\0\0\0\0\0\0"[..], b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01\x03\x01", b"\xff"] {
        let mut client = TcpStream::connect(server.address()).expect("the server accepts");
        client.write_all(nonsense).expect("the server reads");
        client.shutdown(std::net::Shutdown::Write).expect("an end");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = client.read_to_end(&mut Vec::new());
    }
    Curl::get(&url(&server)).trusting(&pair.certificate).expect(200);
}

#[test]
fn files_that_cannot_be_used_are_errors_of_the_configuration() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let other = certificates::server(place.path(), "other");
    let nothing = place.file("nothing");
    fs::write(&nothing, "nothing\n").expect("a file");
    let missing = place.file("missing");
    // Without a subjectAltName, no client would take it.
    let (nameless, nameless_key) = (place.file("nameless.pem"), place.file("nameless.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-newkey", "ed25519", "-subj", "/CN=x", "-keyout"]);
    run(openssl.arg(&nameless_key).arg("-out").arg(&nameless));
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    for (lines, wanted) in [
        (format!("tls.certificate: {}\ntls.key: {key}", missing.display()), "tls.certificate"),
        (format!("tls.certificate: {}\ntls.key: {key}", nothing.display()), "tls.certificate"),
        (format!("tls.certificate: {certificate}\ntls.key: {}", nothing.display()), "tls.key"),
        (format!("tls.certificate: {certificate}\ntls.key: {}", other.key.display()), "tls.key"),
        (format!("tls.certificate: {}\ntls.key: {}", nameless.display(), nameless_key.display()), "cert new"),
        (format!("tls.certificate: {certificate}"), "tls.key"),
        (format!("{}tls.client_certificates: required", pair.configuration()), "tls.client_authorities"),
    ] {
        let output = place.command(&lines, &["127.0.0.1:0"]).output().expect("the program runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{lines}: {errors}");
        assert!(errors.lines().last().is_some_and(|line| line.contains(wanted)), "{lines}: {errors}");
    }
}

#[test]
fn keys_of_every_form_are_read_and_one_that_others_can_read_is_named() {
    let place = Place::new();
    for (name, algorithm) in [("ec", "ec"), ("rsa", "rsa:2048"), ("ed25519", "ed25519")] {
        let (certificate, key) = (place.file(&format!("{name}.pem")), place.file(&format!("{name}.key")));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-newkey", algorithm, "-subj", "/CN=x", "-keyout"]).arg(&key);
        if name == "ec" {
            openssl.args(["-pkeyopt", "ec_paramgen_curve:P-384"]);
        }
        run(openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"]).arg(&certificate));
        // PKCS#1 and SEC1 beside PKCS#8, where the algorithm has such a form.
        let old = place.file(&format!("{name}-old.key"));
        let keys = match name {
            "ed25519" => vec![key],
            _ => {
                let kind = name;
                let mut convert = Command::new("openssl");
                convert.arg(kind).args((kind == "rsa").then_some("-traditional")).arg("-in").arg(&key);
                run(convert.arg("-out").arg(&old));
                assert!(!fs::read_to_string(&old).expect("a key").contains("BEGIN PRIVATE"));
                vec![key, old]
            }
        };
        for key in keys {
            let lines = format!("tls.certificate: {}\ntls.key: {}", certificate.display(), key.display());
            let server = place.serve(&lines, &["127.0.0.1:0"]);
            Curl::get(&url(&server)).trusting(&certificate).expect(200);
        }
    }
    let key = place.file("ec.key");
    let mode = |mode: &str| run(Command::new("chmod").arg(mode).arg(&key));
    let lines = format!("tls.certificate: {}\ntls.key: {}", place.file("ec.pem").display(), key.display());
    mode("0644");
    place.serve(&lines, &["127.0.0.1:0"]).await_line(&["WARN", "tls.key", "private key"]);
    mode("0640");
    assert_eq!(place.serve(&lines, &["127.0.0.1:0"]).lines("private key"), 0);
}
