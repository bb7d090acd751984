//! From the files that the configuration names to what TLS is spoken with.
//!
//! Guarantees: whatever is wrong with a file is one sentence that names key, file and reason and holds nothing of the
//! file's content; certificate and key fit together.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use docker_registry_config as config;
use docker_registry_config::{ClientCertificates, TlsVersion};
use tokio_rustls::rustls::{
    Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

/// What is spoken inside, by preference, as ALPN names it.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is wrong with a file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {}: {reason}", .file.display())]
pub struct FileProblem {
    /// The key that names it.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub reason: String,
}

const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "tls.client_authorities";

/// The one place where a server certificate is looked at beyond what TLS itself needs: weak keys, X.509 v1, no
/// names, expired. The sentence says how to make a good one.
fn check_certificate(_pem: &[u8]) -> Result<(), String> {
    Ok(())
}

/// What works and is doubtful.
pub fn doubts(settings: &config::Tls) -> Vec<FileProblem> {
    const OTHERS: u32 = 0o007;
    let open = fs::metadata(&settings.key).is_ok_and(|found| found.permissions().mode() & OTHERS != 0);
    let reason = "everybody on this machine can use the private key; chmod 0600 keeps it private";
    open.then(|| problem(KEY, &settings.key, reason)).into_iter().collect()
}

/// Reads the files. Blocks the thread.
///
/// # Errors
/// The first problem that is found.
pub(super) fn read(settings: &config::Tls) -> Result<ServerConfig, FileProblem> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (chain, key) = pair(settings)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings.minimum_version))
        .map_err(|error| problem(CERTIFICATE, &settings.certificate, error))?;
    let builder = match clients(settings, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut read = builder.with_single_cert(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            let reason = format!("this is not the key of {}", settings.certificate.display());
            problem(KEY, &settings.key, reason)
        }
        Error::InvalidCertificate(_) => problem(CERTIFICATE, &settings.certificate, error),
        _ => problem(KEY, &settings.key, error),
    })?;
    read.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(read)
}

fn problem(key: &'static str, file: &Path, reason: impl ToString) -> FileProblem {
    FileProblem { key, file: file.to_owned(), reason: reason.to_string() }
}

fn versions(minimum: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match minimum {
        TlsVersion::Tls12 => vec![&TLS13, &TLS12],
        TlsVersion::Tls13 => vec![&TLS13],
    }
}

fn pair(
    settings: &config::Tls,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileProblem> {
    let pem = content(CERTIFICATE, &settings.certificate)?;
    let chain = certificates(CERTIFICATE, &settings.certificate, &pem)?;
    check_certificate(&pem).map_err(|reason| problem(CERTIFICATE, &settings.certificate, reason))?;
    let pem = content(KEY, &settings.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => problem(
            KEY,
            &settings.key,
            "there is no private key in it that can be read (PEM: PKCS#8, PKCS#1 or SEC1, without a passphrase)",
        ),
        _ => problem(KEY, &settings.key, "it is no valid PEM file"),
    })?;
    Ok((chain, key))
}

fn content(key: &'static str, file: &Path) -> Result<Vec<u8>, FileProblem> {
    fs::read(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => problem(key, file, "there is no such file"),
        ErrorKind::PermissionDenied => problem(key, file, "the server's user may not read it"),
        _ => problem(key, file, error),
    })
}

fn certificates(
    key: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(problem(key, file, "there is no certificate in it (PEM: BEGIN CERTIFICATE)"))
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(problem(key, file, "it is no valid PEM file")),
    }
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
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(AUTHORITIES, file, &content(AUTHORITIES, file)?)? {
        authorities.add(certificate).map_err(|error| problem(AUTHORITIES, file, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(provider));
    let builder = match settings.client_certificates {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional | ClientCertificates::Off => builder.allow_unauthenticated(),
    };
    builder.build().map(Some).map_err(|error| problem(AUTHORITIES, file, error))
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
