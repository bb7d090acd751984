//! Unix sockets, sockets of systemd, and several addresses at once.

use std::{
    fs,
    net::TcpListener,
    os::{fd::OwnedFd, unix::fs::PermissionsExt, unix::net::UnixStream},
    path::Path,
    process::Command,
};

use docker_registry_tests::{content::Content, v2};

use crate::{certificates, curl::Curl, running::Place};

fn curl(socket: &Path) -> Curl {
    Curl::get("http://registry/v2/").with("--unix-socket", &socket.display().to_string())
}

#[test]
fn a_socket_is_served_for_owner_and_group_and_its_file_goes_with_the_server() {
    let place = Place::new();
    let socket = place.file("registry.sock");
    let server = place.serve(&format!("host: unix:{}\n", socket.display()), &[]);
    server.await_line(&["Listening at: unix:/"]);
    curl(&socket).expect(200);
    server.await_line(&["access", "peer=\"unix\""]);
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o660);
    assert!(server.stop().success());
    assert!(!socket.exists());
}

#[test]
fn a_large_blob_comes_through_a_socket_unchanged() {
    let place = Place::new();
    let socket = place.file("registry.sock");
    let server = place.serve("", &["127.0.0.1:0", &format!("unix:{}", socket.display())]);
    let content = Content::bytes(7, 20 << 20);
    let digest = v2::push_blob(&server.plain(), "some/image", &content);
    let file = place.file("blob");
    let pulled = Curl::get(&format!("http://registry/v2/some/image/blobs/{digest}"))
        .with("--unix-socket", &socket.display().to_string())
        .with("--output", &file.display().to_string())
        .flag("--no-include")
        .told();
    assert!(pulled.success, "{pulled:?}");
    assert!(fs::read(&file).expect("a file") == content);
}

#[test]
fn a_file_that_a_killed_server_left_is_replaced_and_one_in_use_or_of_another_kind_is_not() {
    let place = Place::new();
    let socket = place.file("registry.sock");
    let address = format!("unix:{}", socket.display());
    let killed = place.serve("", &[&address]);
    killed.process.kill();
    assert!(UnixStream::connect(&socket).is_err() && socket.exists());

    let server = place.serve("", &[&address]);
    curl(&socket).expect(200);
    let second = place.command("", &[&address]).output().expect("the program runs");
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("cannot listen at unix:") && errors.contains("a server answers there"),
        "{errors}"
    );
    curl(&socket).expect(200);
    assert!(server.stop().success());

    fs::write(&socket, "precious").expect("a file");
    let third = place.command("", &[&address]).output().expect("the program runs");
    assert_eq!(third.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&socket).expect("a file"), "precious");
}

#[test]
fn a_socket_beside_an_encrypted_port_speaks_plain_http() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let socket = place.file("registry.sock");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0", &format!("unix:{}", socket.display())]);
    curl(&socket).expect(200);
    Curl::get(&format!("https://{}/v2/", server.address())).trusting(&pair.certificate).expect(200);
}

#[test]
fn sockets_that_systemd_passes_are_served() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serve = place.command("", &["systemd"]);
    // What systemd does: the socket as descriptor 3, and the process is told by its own number.
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"]);
    command.arg(serve.get_program()).args(serve.get_args()).env_clear();
    for (name, value) in serve.get_envs() {
        command.env(name, value.expect("a value"));
    }
    let log = fs::File::create(place.file("server.log")).expect("a log");
    let mut child = command
        .stdin(OwnedFd::from(listener))
        .stdout(log.try_clone().expect("a copy"))
        .stderr(log)
        .spawn()
        .expect("the program runs");
    drop(command);
    Curl::get(&format!("http://{address}/v2/")).expect(200);
    child.kill().expect("it runs");
    child.wait().expect("it ends");

    let without = place.command("", &["systemd"]).output().expect("the program runs");
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("systemd passed no socket"));
}
