//! How the server is started.

use std::{fs, process::Command};

use docker_registry_tests::process::{PATIENCE, Process, wait_for};

use crate::running::{CONFIGURATION, Folder, file};

/// The V1 image's command and the launcher of 0.7 to 0.9.1.
#[test]
fn docker_registry_without_arguments_starts_the_server() {
    let folder = Folder::with(CONFIGURATION);
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    server.client().get("/_ping").expect(200);
    server.client().get("/v2/").expect(200);
    server.stop();
}

#[test]
fn the_name_of_a_configuration_file_alone_starts_the_server_with_it() {
    let folder = Folder::empty();
    fs::write(folder.path("mine.yml"), CONFIGURATION).expect("a file");
    fs::write(folder.path("without-a-suffix"), CONFIGURATION).expect("a file");
    for arguments in
        [&["mine.yml"][..], &["serve", "mine.yml"], &["without-a-suffix", "--bind", "127.0.0.1:0"]]
    {
        let server = folder.serve(&mut folder.program(arguments), "server.log");
        assert_eq!(server.client().get("/").expect(200).text(), r#""\"mine\"""#, "{arguments:?}");
        server.stop();
    }
    let ended = folder.run(&["missing.yml"]);
    assert_eq!(ended.code, 64);
    assert!(ended.errors.contains("missing.yml: the configuration file is missing"), "{}", ended.errors);
    assert_eq!(folder.run(&["no-such-command"]).code, 2);
}

#[test]
fn bind_may_be_repeated() {
    let folder = Folder::with(CONFIGURATION);
    let arguments = ["serve", "--bind", "127.0.0.1:0", "--bind", "127.0.0.2:0"];
    let server = folder.serve(&mut folder.program(&arguments), "server.log");
    wait_for("both listen", PATIENCE, || {
        (server.log().matches("Listening at: http://127.0.0.").count() == 2).then_some(())
    });
    let log = server.log();
    let second = log.split("Listening at: http://127.0.0.2:").nth(1).expect("the second address");
    let address =
        format!("127.0.0.2:{}", second.split_once(' ').expect("a port").0).parse().expect("an address");
    docker_registry_tests::http::Client::new(address).get("/v1/_ping").expect(200);
    server.client().get("/v1/_ping").expect(200);
    server.stop();
}

#[test]
fn graceful_timeout_is_seconds_or_a_time() {
    let folder = Folder::with(CONFIGURATION);
    for time in ["3600", "90s"] {
        folder.serve(&mut folder.program(&["serve", "--graceful-timeout", time]), "server.log").stop();
    }
    assert_eq!(folder.run(&["serve", "--graceful-timeout", "soon"]).code, 2);
}

const PROCESS_LINE: &str = "--access-logfile /var/log/docker-registry/access.log --error-logfile \
     /var/log/docker-registry/server.log -k gevent --max-requests 100 --graceful-timeout 3600 -t 3600 -b 127.0.0.1:5000 \
     -w 8 docker_registry.wsgi:application";

const WRITE_INSTEAD: &str = "docker-registry serve --access-log /var/log/docker-registry/access.log --error-log \
     /var/log/docker-registry/server.log --graceful-timeout 3600 --bind 127.0.0.1:5000";

/// From systemd or `/etc/init.d`, with the program's name exchanged or with gunicorn's still in it.
#[test]
fn a_gunicorn_command_line_is_answered_with_the_line_to_write() {
    let folder = Folder::with(CONFIGURATION);
    for before in [&[][..], &["gunicorn"], &["/usr/local/bin/gunicorn"], &["serve"]] {
        let arguments: Vec<&str> = before.iter().copied().chain(PROCESS_LINE.split(' ')).collect();
        let ended = folder.run(&arguments);
        assert_eq!(ended.code, 2, "{}", ended.errors);
        let sentence = format!(
            "docker-registry: this is a command line of gunicorn; write instead: {WRITE_INSTEAD}  # without a \
             counterpart: -k gevent, --max-requests 100, -t 3600, -w 8\n"
        );
        assert_eq!(ended.errors, sentence);
    }
}

#[test]
fn the_line_to_write_starts_a_server() {
    let folder = Folder::with(CONFIGURATION);
    let line = WRITE_INSTEAD
        .replace("/var/log/docker-registry", &folder.path("").display().to_string())
        .replace("127.0.0.1:5000", "127.0.0.1:0");
    let arguments: Vec<&str> = line.split(' ').skip(1).collect();
    let server = folder.serve(&mut folder.program(&arguments), "server.log");
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    assert!(
        folder.text("access.log").contains("\"GET /v1/_ping HTTP/1.1\" 200 2 "),
        "{}",
        folder.text("access.log")
    );
    assert!(folder.text("server.log").contains("Listening at: http://127.0.0.1:"));
}

/// `exec gunicorn …` of the upstart job of 0.6, `wsgi:application` without a package.
#[test]
fn the_upstart_job_of_0_6_is_answered_with_the_line_to_write() {
    let job = fs::read_to_string(file("upstart-0.6.conf")).expect("a file");
    let line = job.lines().find_map(|line| line.strip_prefix("exec ")).expect("the job starts something");
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let ended = Folder::empty().run(&arguments);
    assert_eq!(ended.code, 2);
    let expected = "write instead: docker-registry serve --graceful-timeout 3600 --bind 0.0.0.0:5000 --access-log \
                    /var/log/docker-registry/access.log --error-log /var/log/docker-registry/server.log  # without";
    assert!(ended.errors.contains(expected), "{}", ended.errors);
    assert_eq!(ended.errors.lines().count(), 1);
}

/// The job with the printed line in it: what stands between `script` and `end script` is a shell's.
#[test]
fn the_upstart_job_of_0_6_starts_a_server_with_the_line_to_write() {
    let folder = Folder::with(CONFIGURATION);
    let job = fs::read_to_string(file("upstart-0.6.conf")).expect("a file");
    let old = job.lines().find_map(|line| line.strip_prefix("exec ")).expect("the job starts something");
    let arguments: Vec<&str> = old.split_whitespace().collect();
    let errors = folder.run(&arguments).errors;
    let (_, new) = errors.trim_end().split_once("write instead: ").expect("the line to write");
    let (_, script) = job.split_once("script\n").expect("a script");
    let (script, _) = script.split_once("end script").expect("its end");
    let script = script
        .replace(old, new)
        .replace("/var/log/docker-registry", &folder.path("").display().to_string())
        .replace("0.0.0.0:5000", "127.0.0.1:0");
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-e", "-c", &script]);
    command.envs(folder.program(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("REGISTRY_HOME", folder.path("")).env("PATH", docker_registry_tests::artifacts::folder());
    let server = folder.serve(&mut command, "server.log");
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    assert!(folder.text("access.log").contains("\"GET /v1/_ping HTTP/1.1\" 200 "));
}

#[test]
fn nothing_is_called_gunicorn() {
    let built = docker_registry_tests::artifacts::folder();
    assert!(built.join("docker-registry").exists() && !built.join("gunicorn").exists());
}

/// With the admin listener off, the socket itself is asked; PID is a process that was started with a file alone.
#[test]
fn health_asks_at_the_unix_socket_of_a_server_started_with_a_file_alone() {
    let folder = Folder::empty();
    let socket = folder.path("registry.sock");
    let text = format!("{CONFIGURATION}  host: unix:{}\n", socket.display());
    fs::write(folder.path("mine.yml"), text).expect("a file");
    assert_eq!(folder.run(&["health", "mine.yml"]).code, 1);
    let mut command = folder.program(&["mine.yml"]);
    let mut process = Process::start("docker-registry", &mut command, &folder.path("server.log"));
    wait_for("the socket is there", PATIENCE, || {
        assert!(process.is_running(), "it ended: {}", folder.text("server.log"));
        socket.exists().then_some(())
    });
    let id = process.id().to_string();
    for arguments in [&["health", "mine.yml"][..], &["health", "--server", &id]] {
        let ended = folder.run(arguments);
        assert_eq!(ended.code, 0, "{}", ended.errors);
        let expected = format!("unix:{} takes connections", socket.display());
        assert!(ended.output.starts_with(&expected), "{}", ended.output);
    }
    assert!(process.terminate().success());
    assert_eq!(folder.run(&["health", "mine.yml"]).code, 1);
}
