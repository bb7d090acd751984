//! Certificates: reading and judging those that a server is given, and making new ones.
//!
//! Nothing here knows HTTP or opens a socket. What is refused is refused because clients would refuse it too, or
//! because it is not safe; the refusal is one sentence that names the file and says how a good one is made. What
//! passed [`check`] can be served by rustls as it is. No key ever appears in an error.
//!
//! A certificate that has ended, or has not begun, is a [`Warning`] and no refusal: a server that is started again
//! on the day after must not stay away, and clients say themselves what is wrong.

mod generate;
mod judge;
mod pem_file;
mod problem;
mod validity;

use std::time::SystemTime;

use rcgen::PublicKeyData;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

pub use generate::{Generated, KeyKind, Purpose, generate, host_name};
pub use pem_file::PemFile;
pub use problem::{Fault, Problem};
pub use validity::{SOON, Validity, Warning, day};

/// A certificate and the chain above it, as they may be served.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate first, then those that lead to an authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
    /// What does not keep it from being served, but should be said.
    pub warnings: Vec<Warning>,
}

/// A certificate and its key: what TLS needs.
#[derive(Debug)]
pub struct Checked {
    /// The certificate.
    pub certificate: Certificate,
    /// The key that belongs to it.
    pub key: PrivateKeyDer<'static>,
}

/// Judges a certificate file and the file of its key.
///
/// # Errors
/// Why they cannot be served, in a sentence.
pub fn check(certificate: &PemFile, key: &PemFile, now: SystemTime) -> Result<Checked, Problem> {
    let judged = check_certificate(certificate, now)?;
    let (der, pair) = key.private_key()?;
    let public = pair.der_bytes();
    let belongs_to = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der)
            .is_ok_and(|(_, found)| found.public_key().subject_public_key.data.as_ref() == public)
    };
    if judged.chain.first().is_some_and(belongs_to) {
        return Ok(Checked { certificate: judged, key: der });
    }
    let (file, certificate) = (key.path().to_owned(), certificate.path().to_owned());
    Err(match judged.chain.iter().position(belongs_to) {
        Some(position) => Problem::WrongOrder { certificate, file, position: position + 1 },
        None => Problem::OtherKey { file, certificate },
    })
}

/// Judges a certificate file alone.
///
/// # Errors
/// Why it cannot be served, in a sentence.
pub fn check_certificate(file: &PemFile, now: SystemTime) -> Result<Certificate, Problem> {
    judge::judge(file, file.certificates()?, now)
}
