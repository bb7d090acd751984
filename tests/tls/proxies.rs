//! Proxies in front: whom they speak for, and who only says so.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use docker_registry_tests::{
    process::{PATIENCE, Process, wait_for},
    server::free_address,
};

use crate::{
    certificates,
    curl::Curl,
    running::{Place, Running},
};

const TRUST: &str = "trusted_proxies: [127.0.0.1]\n";
/// What tells a request's host: the header that says where docker is to push.
const INDEX: &str = "/v1/repositories/some/image/images";

/// Version 2 for 203.0.113.7:4444.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\x11\x5c\x13\x88";
/// Version 1 for the same.
const TEXT: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 4444 5000\r\n";

fn forged(address: &str) -> Curl {
    let curl = Curl::get(&format!("{address}{INDEX}")).with("--request", "DELETE");
    curl.with("--header", "X-Forwarded-For: 203.0.113.7")
        .with("--header", "X-Forwarded-Proto: https")
        .with("--header", "X-Forwarded-Host: registry.example")
        .with("--header", "X-Forwarded-Port: 8443")
}

#[test]
fn a_trusted_proxy_is_believed_in_its_headers_and_nobody_else_is() {
    let place = Place::new();
    let server = place.serve(TRUST, &["127.0.0.1:0"]);
    let told = forged(&format!("http://{}", server.address())).expect(204);
    assert!(told.text.contains("x-docker-endpoints: registry.example:8443"), "{told:?}");
    server.await_line(&["access", "peer=\"203.0.113.7\""]);

    let server = place.serve("", &["127.0.0.1:0"]);
    let told = forged(&format!("http://{}", server.address())).expect(204);
    assert!(told.text.contains(&format!("x-docker-endpoints: {}\r", server.address())), "{told:?}");
    server.await_line(&["access", "peer=\"127.0.0.1:"]);
    assert_eq!(server.lines("203.0.113.7"), 0);

    // To trust the unix socket is not to trust an address.
    let server = place.serve("trusted_proxies: [unix, 192.0.2.0/24]\n", &["127.0.0.1:0"]);
    forged(&format!("http://{}", server.address())).expect(204);
    server.await_line(&["access", "peer=\"127.0.0.1:"]);
}

#[test]
fn nginx_at_the_unix_socket_hands_on_its_client_and_its_host() {
    let place = Place::new();
    let socket = place.file("registry.sock");
    let server = place.serve("trusted_proxies: unix\n", &[&format!("unix:{}", socket.display())]);
    let (address, nginx) = nginx(&place, &socket);
    let told = Curl::get(&format!("http://{address}{INDEX}"))
        .with("--request", "DELETE")
        .with("--header", "X-Real-IP: 203.0.113.7")
        .expect(204);
    assert!(told.text.to_lowercase().contains(&format!("x-docker-endpoints: {address}\r")), "{told:?}");
    server.await_line(&["access", "method=\"DELETE\"", "peer=\"127.0.0.1\""]);
    nginx.terminate_quietly();
}

/// nginx in front of a socket, with what docker-registry's users have in their configuration.
fn nginx(place: &Place, socket: &Path) -> (SocketAddr, Process) {
    let address = free_address();
    let folder = place.path().display();
    let configuration = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;\n\
         events {{ }}\n\
         http {{\n\
           access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n\
           fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
           server {{\n\
             listen {address};\n\
             location / {{\n\
               proxy_pass http://unix:{}; proxy_set_header Host $http_host;\n\
               proxy_set_header X-Real-IP $remote_addr;\n\
             }}\n\
           }}\n\
         }}\n",
        socket.display()
    );
    let file = place.file("nginx.conf");
    fs::write(&file, configuration).expect("a configuration");
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-e").arg(place.file("nginx-error.log")).arg("-c").arg(file);
    (address, listening("nginx", &mut command, place, address))
}

fn listening(name: &str, command: &mut Command, place: &Place, address: SocketAddr) -> Process {
    let mut process = Process::start(name, command, &place.file(&format!("{name}.log")));
    wait_for(&format!("{name} listens"), PATIENCE, || {
        if !process.is_running() {
            process.fail("it ended instead of listening");
        }
        TcpStream::connect(address).ok()
    });
    process
}

#[test]
fn haproxy_introduces_its_clients_before_tls() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let lines = format!("{TRUST}proxy_protocol: required\n{}", pair.configuration());
    let server = place.serve(&lines, &["127.0.0.1:0"]);
    for version in ["send-proxy", "send-proxy-v2"] {
        let address = free_address();
        let file = place.file("haproxy.cfg");
        let configuration = format!(
            "defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n\
             listen registry\n  bind {address}\n  server one {} {version}\n",
            server.address()
        );
        fs::write(&file, configuration).expect("a configuration");
        let mut command = Command::new("/usr/sbin/haproxy");
        let haproxy = listening("haproxy", command.arg("-db").arg("-f").arg(&file), &place, address);
        for port in 0..2 {
            let local = format!("127.0.0.{}", 2 + port);
            let curl = Curl::get(&format!("https://{address}/v2/")).trusting(&pair.certificate);
            curl.with("--interface", &local).expect(200);
            server.await_line(&["access", &format!("peer=\"{local}:")]);
        }
        haproxy.terminate_quietly();
    }
    // Without a proxy there is no way in.
    Curl::get(&format!("https://{}/v2/", server.address())).trusting(&pair.certificate).expect_nothing();
    server.await_line(&["a connection was refused", "PROXY protocol is missing"]);
}

/// Sends bytes and reads all that comes.
fn exchange(server: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("the server reads");
    let mut answer = Vec::new();
    // A reset is an answer as well: none.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request behind a header.
fn request(header: &[u8]) -> Vec<u8> {
    [header, b"GET /v2/ HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 198.51.100.9\r\nconnection: close\r\n\r\n"]
        .concat()
}

#[test]
fn both_versions_are_understood_from_a_trusted_proxy_and_what_the_client_adds_is_not_believed() {
    let place = Place::new();
    let server = place.serve(&format!("{TRUST}proxy_protocol: optional\n"), &["127.0.0.1:0"]);
    for header in [TEXT, BINARY] {
        assert!(exchange(&server, &request(header)).starts_with("HTTP/1.1 200"));
    }
    assert!(exchange(&server, &request(b"PROXY UNKNOWN\r\n")).starts_with("HTTP/1.1 200"));
    wait_for("three requests are logged", PATIENCE, || (server.lines("access") == 3).then_some(()));
    assert_eq!(server.lines("peer=\"203.0.113.7:4444\""), 2);
    assert_eq!(server.lines("198.51.100.9"), 0, "neither a client nor somebody unknown is believed");
    // Without a header it is the proxy that speaks, and by headers.
    assert!(exchange(&server, &request(b"")).starts_with("HTTP/1.1 200"));
    server.await_line(&["access", "peer=\"198.51.100.9\""]);
}

#[test]
fn whoever_is_no_trusted_proxy_and_introduces_somebody_is_refused() {
    let place = Place::new();
    let strangers = "trusted_proxies: [192.0.2.1]\n";
    let server = place.serve(&format!("{strangers}proxy_protocol: optional\n"), &["127.0.0.1:0"]);
    for header in [TEXT, BINARY] {
        assert_eq!(exchange(&server, &request(header)), "");
    }
    server.await_lines("and is no trusted proxy", 2);
    assert!(exchange(&server, &request(b"")).starts_with("HTTP/1.1 200"));
    assert_eq!(server.lines("203.0.113.7"), 0);

    let server = place.serve(&format!("{strangers}proxy_protocol: required\n"), &["127.0.0.1:0"]);
    assert_eq!(exchange(&server, &request(TEXT)), "");
    assert_eq!(exchange(&server, &request(b"")), "");
}

#[test]
fn a_broken_introduction_costs_the_connection_and_without_the_setting_it_is_a_bad_request() {
    let place = Place::new();
    let server = place.serve(&format!("{TRUST}proxy_protocol: optional\n"), &["127.0.0.1:0"]);
    let endless = [b"PROXY ".to_vec(), vec![b'x'; 4096]].concat();
    for broken in [&b"PROXY TCP4 nobody\r\n"[..], &endless, b"\r\n\r\n\0\r\nQUIT\n\xff\xff\xff\xff"] {
        assert_eq!(exchange(&server, broken), "", "{}", broken.escape_ascii());
    }
    server.await_lines("is broken", 3);
    let server = place.serve(TRUST, &["127.0.0.1:0"]);
    assert!(exchange(&server, &request(TEXT)).starts_with("HTTP/1.1 400"));
}

#[test]
fn a_proxy_protocol_that_nobody_may_speak_is_an_error_of_the_configuration() {
    let place = Place::new();
    for lines in ["proxy_protocol: required\n", "trusted_proxies: [proxy.example]\n"] {
        let output = place.command(lines, &["127.0.0.1:0"]).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(64), "{lines}");
    }
}
