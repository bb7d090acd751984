//! `health`: asks the server of the same configuration whether it is ready, for containers and init scripts.
//!
//! It needs no other program. Exit code 0 means that requests can be sent; 1 comes with the reason.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use docker_registry_config::Address;

use super::{Arguments, Command, Failure, prepare::load_configuration};

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
        let address = reachable(&settings.bind);
        connect(&address).map_err(|reason| Failure::Failed(format!("{address}: {reason}")))?;
        writeln!(output, "{address} takes connections; more is not known because the admin listener is off")?;
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
    let line = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
    let arguments = line.strip_suffix('\0').unwrap_or(&line).split('\0');
    match Arguments::try_parse_from(arguments).ok()?.command {
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
