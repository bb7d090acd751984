//! What the operator says about TLS on the registry's port.
//!
//! Guarantees: there are settings only when certificate and key are both named, and what cannot be meant
//! (a key without a certificate, client certificates that nobody can sign) is an error.

use crate::reader::Reader;
use std::path::PathBuf;

/// TLS on the registry's port. Unix sockets are never encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the server's certificate and what stands between it and an authority.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// PEM file with the authorities that sign them.
    pub client_authorities: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one that is shown must be good.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Reader<'_> {
    pub(crate) fn tls(&mut self) -> Option<Tls> {
        let client_certificates = self.client_certificates();
        let client_authorities = self.path("tls.client_authorities");
        if client_certificates != ClientCertificates::Off && client_authorities.is_none() {
            self.problem(
                "tls.client_authorities",
                "client certificates are asked for, but nobody is named who signs them",
                "a PEM file with the certificates of the authorities",
            );
        }
        if client_certificates == ClientCertificates::Off && client_authorities.is_some() {
            self.problem(
                "tls.client_certificates",
                "authorities are named, but client certificates are off",
                "`optional` or `required`",
            );
        }
        let minimum_version = self.minimum_version();
        match (self.path("tls.certificate"), self.path("tls.key")) {
            (Some(certificate), Some(key)) => {
                Some(Tls { certificate, key, client_certificates, client_authorities, minimum_version })
            }
            (Some(_), None) => {
                self.problem("tls.key", "there is a certificate, but no key", "the PEM file of its key");
                None
            }
            (None, Some(_)) => {
                self.problem(
                    "tls.certificate",
                    "there is a key, but no certificate",
                    "the PEM file of its certificate",
                );
                None
            }
            (None, None) => {
                if client_certificates != ClientCertificates::Off {
                    self.problem(
                        "tls.client_certificates",
                        "without TLS nobody can show a certificate",
                        "write tls.certificate and tls.key",
                    );
                }
                None
            }
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn client_certificates(&mut self) -> ClientCertificates {
        let text = self.text("tls.client_certificates").unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "off" | "false" | "no" | "" => ClientCertificates::Off,
            "optional" => ClientCertificates::Optional,
            "required" => ClientCertificates::Required,
            _ => {
                let message = format!("`{text}` says nothing about client certificates");
                self.problem("tls.client_certificates", message, "off, optional or required");
                ClientCertificates::Off
            }
        }
    }

    fn minimum_version(&mut self) -> TlsVersion {
        let text = self.text("tls.minimum_version").unwrap_or_default();
        match text.to_ascii_lowercase().trim_start_matches("tls") {
            "1.2" | "" => TlsVersion::Tls12,
            "1.3" => TlsVersion::Tls13,
            _ => {
                let message = format!("`{text}` is not a version of TLS that is spoken");
                self.problem("tls.minimum_version", message, "1.2 or 1.3");
                TlsVersion::Tls12
            }
        }
    }
}
