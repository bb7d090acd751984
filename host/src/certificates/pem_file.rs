//! A PEM file as it lies there: which sections it has, and whether it is PEM at all.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use pem::Pem;
use rcgen::KeyPair;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::Problem;

/// The largest file that is read. A bundle of all public authorities has a quarter of it.
const MAX_SIZE: u64 = 1 << 20;

/// A file that should hold certificates or a key, and its path for messages.
pub struct PemFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl PemFile {
    /// Reads the file. This blocks.
    ///
    /// # Errors
    /// When it cannot be read or is far too large.
    pub fn read(path: &Path) -> Result<PemFile, Problem> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            file.take(MAX_SIZE + 1).read_to_end(&mut bytes)
        });
        match read {
            Ok(size) if size as u64 > MAX_SIZE => Err(Problem::TooLarge { file: path.to_owned() }),
            Ok(_) => Ok(PemFile::new(path, bytes)),
            Err(error) => Err(Problem::Unreadable { file: path.to_owned(), error }),
        }
    }

    /// What was read from `path` by somebody else.
    pub fn new(path: &Path, bytes: Vec<u8>) -> PemFile {
        PemFile { path: path.to_owned(), bytes }
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its certificates in the order of the file, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Problem> {
        let sections = self.sections("x509")?;
        let file = || self.path.clone();
        if sections.iter().any(|section| section.tag().ends_with("PRIVATE KEY")) {
            return Err(Problem::KeyAmongCertificates { file: file() });
        }
        let is_certificate = |section: &&Pem| matches!(section.tag(), "CERTIFICATE" | "X509 CERTIFICATE");
        let found: Vec<_> = sections
            .iter()
            .filter(is_certificate)
            .map(|section| CertificateDer::from(section.contents().to_vec()))
            .collect();
        match sections.first() {
            _ if !found.is_empty() => Ok(found),
            Some(section) => Err(Problem::NoCertificate {
                file: file(),
                found: section.tag().escape_default().to_string(),
            }),
            None => Err(Problem::NotPem { file: file() }),
        }
    }

    /// Its key, as it lies there and ready to sign.
    pub(super) fn private_key(&self) -> Result<(PrivateKeyDer<'static>, KeyPair), Problem> {
        let sections = self.sections("pkey")?;
        let file = || self.path.clone();
        let Some(section) = sections.iter().find(|section| section.tag().ends_with("PRIVATE KEY")) else {
            return Err(match sections.first() {
                Some(section) => {
                    Problem::NoKey { file: file(), found: section.tag().escape_default().to_string() }
                }
                None => Problem::NotPem { file: file() },
            });
        };
        let is_encrypted = section.tag() == "ENCRYPTED PRIVATE KEY"
            || section.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED"));
        if is_encrypted {
            return Err(Problem::EncryptedKey { file: file() });
        }
        let bytes = section.contents().to_vec();
        let key = match section.tag() {
            "PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bytes)),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(bytes).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(bytes).into(),
            _ => return Err(Problem::UnknownKey { file: file() }),
        };
        // The reason is left out: it says nothing to an operator, and nothing about a key belongs into a message.
        let pair = KeyPair::try_from(&key).map_err(|_| Problem::UnknownKey { file: file() })?;
        Ok((key, pair))
    }

    /// All sections, complete ones only. `openssl` is the command that converts what should be in it.
    fn sections(&self, openssl: &'static str) -> Result<Vec<Pem>, Problem> {
        let file = || self.path.clone();
        if self.bytes.trim_ascii().is_empty() {
            return Err(Problem::Empty { file: file() });
        }
        let is_binary = match openssl {
            "x509" => X509Certificate::from_der(&self.bytes).is_ok(),
            _ => PrivateKeyDer::try_from(&self.bytes[..]).is_ok(),
        };
        if is_binary {
            return Err(Problem::Binary { file: file(), openssl });
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let sections = pem::parse_many(&self.bytes).map_err(|_| Problem::Damaged { file: file() })?;
        if text.matches("-----BEGIN ").count() != sections.len() {
            return Err(Problem::Damaged { file: file() });
        }
        Ok(sections)
    }
}
