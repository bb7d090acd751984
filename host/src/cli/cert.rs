//! `cert new` and `cert check`: certificates for TLS, made and judged.
//!
//! Nothing is overwritten without being told to, a key is never readable by others, and each file appears whole.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf, absolute},
    time::SystemTime,
};

use clap::{Args, Subcommand};

use super::Failure;
use crate::certificates::{
    self, Certificate, Generated, KeyKind, PemFile, Purpose, day, generate, host_name,
};

const NEW_HELP: &str = "\
Examples:
  docker-registry cert new registry.example.com 10.0.0.5
      registry.crt and registry.key here, for that name and that address.
  docker-registry cert new registry.example.com --rsa 3072 --out /etc/docker-registry
      With an RSA key, for clients that know no ECDSA.
  docker-registry cert new --client alice
      alice.crt and alice.key, with which a client shows who it is.

The certificate is self-signed: the same file is what the server shows and what its clients trust.";

const CHECK_HELP: &str = "\
Exit codes: 0 it can be used, 1 it cannot, or clients refuse it because of its dates.";

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// Make a self-signed certificate and its key, and say what to put where.
    #[command(after_help = NEW_HELP)]
    New(NewArguments),
    /// Say whether a certificate can be used for TLS, and if not, why.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArguments),
}

/// Arguments of `cert new`.
#[derive(Debug, Args)]
pub(super) struct NewArguments {
    /// Names and addresses by which clients call the server, without ports; the first one names the certificate.
    #[arg(value_name = "HOST", required_unless_present = "client", value_parser = host_name)]
    hosts: Vec<String>,
    /// Make a certificate for a client of this name instead.
    #[arg(long, value_name = "NAME", conflicts_with = "hosts", value_parser = client_name)]
    client: Option<String>,
    /// An ECDSA key on P-256 (the default).
    #[arg(long, conflicts_with = "rsa")]
    ecdsa: bool,
    /// An RSA key of so many bits.
    #[arg(long, value_name = "BITS", value_parser = ["2048", "3072", "4096"])]
    rsa: Option<String>,
    /// For how many days it is valid.
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Folder for the two files; it is made if it is missing.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Overwrite files that are there already.
    #[arg(long)]
    force: bool,
}

/// Arguments of `cert check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The certificate file: PEM, the server's own certificate first.
    file: PathBuf,
    /// The file of its key, to see whether they belong together.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Runs one command.
pub(super) fn run(command: CertCommand, output: &mut impl Write) -> Result<(), Failure> {
    match command {
        CertCommand::New(arguments) => new(&arguments, output),
        CertCommand::Check(arguments) => check(&arguments, output),
    }
}

fn new(arguments: &NewArguments, output: &mut impl Write) -> Result<(), Failure> {
    let (kind, description) = match arguments.rsa.as_deref() {
        None => (KeyKind::Ecdsa, "ECDSA P-256"),
        Some("2048") => (KeyKind::Rsa2048, "RSA 2048"),
        Some("3072") => (KeyKind::Rsa3072, "RSA 3072"),
        Some(_) => (KeyKind::Rsa4096, "RSA 4096"),
    };
    let (purpose, stem) = match &arguments.client {
        Some(name) => (Purpose::Client(name.clone()), name.as_str()),
        None => (Purpose::Server(arguments.hosts.clone()), "registry"),
    };
    let folder = absolute(&arguments.out)?;
    let files =
        Files { certificate: folder.join(format!("{stem}.crt")), key: folder.join(format!("{stem}.key")) };
    if !arguments.force {
        for file in [&files.certificate, &files.key] {
            if file.symlink_metadata().is_ok() {
                return Err(Failure::Failed(format!(
                    "{} is there already: choose another folder with --out, or overwrite it with --force",
                    file.display()
                )));
            }
        }
    }
    let made = generate(&purpose, kind, arguments.days)
        .map_err(|reason| Failure::Failed(format!("the certificate cannot be made: {reason}")))?;
    fs::create_dir_all(&folder).map_err(|error| cannot_write(&folder, error))?;
    // The key first: a certificate without its key is of no use to anybody.
    write(&files.key, &made.key, 0o600, arguments.force)?;
    write(&files.certificate, &made.certificate, 0o644, arguments.force)?;

    describe(&files, &made, description, output)?;
    match &arguments.client {
        Some(_) => explain_client(&files, output),
        None => explain_server(&files, &arguments.hosts, output),
    }
}

/// Where the certificate and its key go.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

fn describe(files: &Files, made: &Generated, key: &str, output: &mut impl Write) -> Result<(), Failure> {
    writeln!(output, "wrote {}", files.certificate.display())?;
    writeln!(output, "wrote {} (only you can read it)", files.key.display())?;
    writeln!(output, "{key}, valid until {}", day(made.not_after))?;
    Ok(())
}

fn explain_server(files: &Files, hosts: &[String], output: &mut impl Write) -> Result<(), Failure> {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let host = match hosts.iter().find(|host| !host.starts_with('*')) {
        Some(host) if host.contains(':') => format!("[{host}]:5000"),
        Some(host) => format!("{host}:5000"),
        None => "HOST:5000".to_owned(),
    };
    writeln!(
        output,
        "
The server, in its flavor of config.yml:
  tls:
    certificate: {certificate}
    key: {key}
A server that runs as another user has to be able to read the key: chgrp docker-registry {key}; chmod 0640 {key}
(in a container: chgrp 5000).

Each client trusts the file itself; only the certificate goes there, never the key. 5000 is the port that clients
write; with port 443 the folder is the host alone.
  docker:
    mkdir -p /etc/docker/certs.d/{host}
    cp registry.crt /etc/docker/certs.d/{host}/ca.crt
  podman, skopeo, buildah:
    mkdir -p /etc/containers/certs.d/{host}
    cp registry.crt /etc/containers/certs.d/{host}/ca.crt
  containerd, in /etc/containerd/certs.d/{host}/hosts.toml with registry.crt beside it as ca.crt:
    server = \"https://{host}\"
    [host.\"https://{host}\"]
      ca = \"/etc/containerd/certs.d/{host}/ca.crt\"
  docker without checking who answers, in /etc/docker/daemon.json, for a network that you trust:
    {{\"insecure-registries\": [\"{host}\"]}}"
    )?;
    Ok(())
}

fn explain_client(files: &Files, output: &mut impl Write) -> Result<(), Failure> {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    writeln!(
        output,
        "
The server, in its flavor of config.yml; for several clients, write their certificates into one file:
  tls:
    client_certificates: required
    client_authorities: {certificate}

The client (podman, skopeo, buildah: /etc/containers instead of /etc/docker):
  cp {certificate} /etc/docker/certs.d/HOST:PORT/client.cert
  cp {key} /etc/docker/certs.d/HOST:PORT/client.key"
    )?;
    Ok(())
}

/// Writes a file under another name and renames it, so that nobody ever reads a half of it.
fn write(path: &Path, text: &str, mode: u32, force: bool) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        let placed = if force { file.persist(path) } else { file.persist_noclobber(path) };
        placed.map(drop).map_err(|error| error.error)
    };
    write().map_err(|error| cannot_write(path, error))
}

fn cannot_write(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("{} cannot be written: {error}", path.display()))
}

fn check(arguments: &CheckArguments, output: &mut impl Write) -> Result<(), Failure> {
    let now = SystemTime::now();
    let file = PemFile::read(&arguments.file).map_err(Failure::failed)?;
    let certificate = match &arguments.key {
        None => certificates::check_certificate(&file, now),
        Some(key) => PemFile::read(key)
            .and_then(|key| certificates::check(&file, &key, now))
            .map(|checked| checked.certificate),
    };
    report(&arguments.file, arguments.key.as_deref(), &certificate.map_err(Failure::failed)?, output)
}

fn report(
    file: &Path,
    key: Option<&Path>,
    certificate: &Certificate,
    output: &mut impl Write,
) -> Result<(), Failure> {
    for warning in &certificate.warnings {
        if warning.is_refused_by_clients() {
            return Err(Failure::failed(warning));
        }
        writeln!(output, "warning: {warning}")?;
    }
    let (names, validity) = (certificate.names.join(", "), &certificate.validity);
    writeln!(output, "{} can be used: for {names}, until {}", file.display(), day(validity.not_after))?;
    if let Some(key) = key {
        writeln!(output, "{} belongs to it", key.display())?;
    }
    Ok(())
}

/// A client's name becomes a file name.
fn client_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if text.is_empty() || text.len() > 64 || text.starts_with(['.', '-']) || !text.chars().all(allowed) {
        return Err("a client's name has letters, digits and - _ . @, 64 at most".to_owned());
    }
    Ok(text.to_owned())
}
