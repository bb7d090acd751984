//! `health`: asks the server of the same configuration whether it is ready, for containers and init scripts.
//!
//! It needs no other program. Exit code 0 means that requests can be sent; 1 comes with the reason.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::{ffi::OsStrExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{CommandFactory, Parser};
use docker_registry_config::Address;

use super::{
    Arguments, Command, Failure,
    old_command_lines::{self, Typed},
    prepare::load_configuration,
};

/// How long the server may take for a connection, and for each piece of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The answers are a line; more is not read.
const LONGEST_ANSWER: u64 = 4096;

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArguments {
    /// Configuration file of the server; without it the usual places are searched.
    file: Option<PathBuf>,
    /// Take the configuration file from the command line of this running server.
    #[arg(long, value_name = "PID", conflicts_with = "file")]
    server: Option<u32>,
}

/// Asks `/readyz` of the admin listener. Without one, a registry that takes connections has to do.
pub(super) fn check(arguments: HealthArguments, output: &mut impl Write) -> Result<(), Failure> {
    let file = arguments.file.or_else(|| arguments.server.and_then(configuration_of));
    let settings = load_configuration(file)?.settings;
    let Some(admin) = settings.admin else {
        let (place, connected) = match &settings.listening.unix_socket {
            Some(path) => (format!("unix:{}", path.display()), UnixStream::connect(path).map(drop)),
            None => {
                let address = reachable(&settings.bind);
                (address.to_string(), connect(&address).map(drop))
            }
        };
        connected.map_err(|reason| Failure::Failed(format!("{place}: {reason}")))?;
        writeln!(output, "{place} takes connections; more is not known because the admin listener is off")?;
        return Ok(());
    };
    let address = reachable(&admin);
    match ready(&address) {
        Ok(Ok(())) => {
            writeln!(output, "ready")?;
            Ok(())
        }
        Ok(Err(reason)) => Err(Failure::Failed(format!("not ready: {reason}"))),
        Err(error) => Err(Failure::Failed(format!("no answer from the admin listener {address}: {error}"))),
    }
}

/// The file that a server was started with. `None` when it was started without one, or is no server.
fn configuration_of(process: u32) -> Option<PathBuf> {
    let line = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    configuration_in(line.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect())
}

/// The file in a command line, read as the start reads it. What stands before the program's name is another one
/// that runs it: the small init of `docker run --init`, or the image's entry point.
fn configuration_in(mut words: Vec<OsString>) -> Option<PathBuf> {
    let is_called = |word: &OsString, names: &[&str]| {
        Path::new(word).file_name().is_some_and(|name| names.iter().any(|known| name == *known))
    };
    let program = ["docker-registry", "docker-registry-entrypoint"];
    let start = words.iter().position(|word| is_called(word, &program)).unwrap_or(0);
    words.drain(..start);
    // The image takes its command with and without a program's name.
    if words.get(1).is_some_and(|word| is_called(word, &["docker-registry", "registry"])) {
        words.remove(0);
    }
    let Typed::Arguments(typed) = old_command_lines::read(words, &Arguments::command()) else { return None };
    match Arguments::try_parse_from(typed).ok()?.command {
        Command::Serve(serve) => serve.file,
        _ => None,
    }
}

/// The address as a client on this machine writes it: a server that listens everywhere is asked here.
fn reachable(address: &Address) -> Address {
    let host = match address.host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    Address { host: host.to_owned(), port: address.port }
}

fn connect(address: &Address) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::other("the name has no address");
    for address in address.to_string().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// One request, and the reason in the answer unless its status is 200.
fn ready(address: &Address) -> std::io::Result<Result<(), String>> {
    let mut stream = connect(address)?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(Ok(())),
        Some("503") => Ok(Err(body.trim().to_owned())),
        _ => Ok(Err(format!("`{status}` is no answer of an admin listener"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_server_is_found_in_each_form_of_its_command_line() {
        for line in [
            "docker-registry serve /a/x.yml --bind 127.0.0.1:0",
            "/usr/bin/docker-registry /a/x.yml",
            "registry /a/x.yml",
            "registry serve /a/x.yml",
            "/sbin/docker-init -- docker-registry serve /a/x.yml",
            "/sbin/docker-init -- /usr/local/bin/docker-registry-entrypoint /a/x.yml",
            "/sbin/docker-init -- /usr/local/bin/docker-registry-entrypoint registry serve /a/x.yml",
        ] {
            let found = configuration_in(line.split(' ').map(OsString::from).collect());
            assert_eq!(found, Some(PathBuf::from("/a/x.yml")), "{line}");
        }
        for line in
            ["docker-registry", "docker-registry serve", "docker-registry config check /a/x.yml", "sleep 5"]
        {
            assert_eq!(configuration_in(line.split(' ').map(OsString::from).collect()), None, "{line}");
        }
    }
}
