//! From the files that the configuration names to what TLS is spoken with.
//!
//! Guarantees: whatever is wrong with a file is one sentence that names key, file and reason and holds nothing of the
//! file's content; certificate and key fit together, and clients would not refuse what is served.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use docker_registry_config as config;
use docker_registry_config::{ClientCertificates, TlsVersion};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use crate::certificates::{self, Checked, PemFile, Problem};

/// What is spoken inside, by preference, as ALPN names it.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is wrong with a file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {sentence}")]
pub struct FileProblem {
    /// The key that names it.
    pub key: &'static str,
    /// What is wrong, with the file's name.
    pub sentence: String,
}

const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "tls.client_authorities";

/// What TLS is spoken with, and what is doubtful about it.
pub(super) struct Read {
    pub(super) server: ServerConfig,
    pub(super) doubts: Vec<FileProblem>,
}

/// Reads the files. Blocks the thread.
///
/// # Errors
/// The first problem that is found.
pub(super) fn read(settings: &config::Tls) -> Result<Read, FileProblem> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Checked { certificate, key } = pair(settings)?;
    let doubtful = certificate.warnings.iter().map(|warning| problem(CERTIFICATE, warning));
    let doubts = doubtful.chain(open_key(settings)).collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings.minimum_version))
        .map_err(|error| of_file(CERTIFICATE, &settings.certificate, error))?;
    let builder = match clients(settings, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder
        .with_single_cert(certificate.chain, key)
        .map_err(|error| of_file(CERTIFICATE, &settings.certificate, error))?;
    server.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(Read { server, doubts })
}

/// Certificate and key, judged.
fn pair(settings: &config::Tls) -> Result<Checked, FileProblem> {
    let now = SystemTime::now();
    let certificate = PemFile::read(&settings.certificate).map_err(|error| problem(CERTIFICATE, error))?;
    certificates::check_certificate(&certificate, now).map_err(|error| problem(CERTIFICATE, error))?;
    let key = PemFile::read(&settings.key).map_err(|error| problem(KEY, error))?;
    certificates::check(&certificate, &key, now).map_err(|error| match error {
        Problem::WrongOrder { .. } => problem(CERTIFICATE, error),
        _ => problem(KEY, error),
    })
}

/// A key that more can read than should. Its group may: that is how Debian shares keys.
fn open_key(settings: &config::Tls) -> Option<FileProblem> {
    const OTHERS: u32 = 0o007;
    let reason = "everybody on this machine can use this private key; chmod 0600 keeps it private";
    let is_open = fs::metadata(&settings.key).is_ok_and(|found| found.permissions().mode() & OTHERS != 0);
    is_open.then(|| of_file(KEY, &settings.key, reason))
}

fn problem(key: &'static str, sentence: impl ToString) -> FileProblem {
    FileProblem { key, sentence: sentence.to_string() }
}

fn of_file(key: &'static str, file: &Path, reason: impl ToString) -> FileProblem {
    problem(key, format!("{}: {}", file.display(), reason.to_string()))
}

fn versions(minimum: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match minimum {
        TlsVersion::Tls12 => vec![&TLS13, &TLS12],
        TlsVersion::Tls13 => vec![&TLS13],
    }
}

/// The authorities in a file. They judge others and are not judged themselves.
fn authorities(file: &Path) -> Result<RootCertStore, FileProblem> {
    let pem = fs::read(file).map_err(|error| of_file(AUTHORITIES, file, error))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| of_file(AUTHORITIES, file, "it is no valid PEM file"))?;
        store.add(certificate).map_err(|error| of_file(AUTHORITIES, file, error))?;
    }
    if store.is_empty() {
        let reason = "there is no certificate in it (PEM: BEGIN CERTIFICATE)";
        return Err(of_file(AUTHORITIES, file, reason));
    }
    Ok(store)
}

fn clients(
    settings: &config::Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, FileProblem> {
    let Some(file) = settings
        .client_authorities
        .as_ref()
        .filter(|_| settings.client_certificates != ClientCertificates::Off)
    else {
        return Ok(None);
    };
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(file)?), Arc::clone(provider));
    let builder = match settings.client_certificates {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional | ClientCertificates::Off => builder.allow_unauthenticated(),
    };
    builder.build().map(Some).map_err(|error| of_file(AUTHORITIES, file, error))
}

/// What tells one version of the files from another: for each, when it was written, its size and its number;
/// `None` where there is none.
pub(super) type Fingerprint = Vec<Option<(i64, i64, u64, u64)>>;

/// Looks at the files. Blocks the thread.
pub(super) fn fingerprint(settings: &config::Tls) -> Fingerprint {
    let files = [Some(&settings.certificate), Some(&settings.key), settings.client_authorities.as_ref()];
    let look = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
    };
    files.into_iter().flatten().map(look).collect()
}
