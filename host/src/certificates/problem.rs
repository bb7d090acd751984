//! Every sentence with which a certificate or a key is refused.

use std::{fmt, io, path::PathBuf};

/// Why a file cannot be used. Its text is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It could not be read.
    #[error("{} cannot be read: {error}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is too large for what it should be.
    #[error("{} is larger than 1 MiB and holds no certificate or key for a server", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// It has nothing in it.
    #[error("{} is empty; `docker-registry cert new HOST` makes a certificate and its key", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// DER.
    #[error(
        "{0} is binary (DER), and PEM is needed: `openssl {openssl} -inform der -in {0} -out {0}.pem` makes it",
        .file.display()
    )]
    Binary {
        /// The file.
        file: PathBuf,
        /// The command of openssl that converts it.
        openssl: &'static str,
    },
    /// Anything else.
    #[error(
        "{} is no PEM file (text with a line `-----BEGIN …-----`); `docker-registry cert new HOST` makes a certificate \
         and its key",
        .file.display()
    )]
    NotPem {
        /// The file.
        file: PathBuf,
    },
    /// A section without its end, or with other characters than it may have.
    #[error(
        "{} is damaged: a section between `-----BEGIN` and `-----END` is cut off or is no base64; copy the file again",
        .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// Something else is in it.
    #[error(
        "{} holds no certificate but `{found}`; the certificate file is what an authority sends back, or what \
         `docker-registry cert new HOST` writes to registry.crt",
        .file.display()
    )]
    NoCertificate {
        /// The file.
        file: PathBuf,
        /// The first section's label.
        found: String,
    },
    /// A key where everybody may read.
    #[error(
        "{} holds a private key beside the certificate: move the key to a file of its own that only the server's user \
         can read",
        .file.display()
    )]
    KeyAmongCertificates {
        /// The file.
        file: PathBuf,
    },
    /// Base64 of something that is no certificate.
    #[error(
        "{}: certificate {position} in it cannot be read as X.509; `docker-registry cert new HOST` makes a good one",
        .file.display()
    )]
    NotX509 {
        /// The file.
        file: PathBuf,
        /// Which certificate of the file, from 1.
        position: usize,
    },
    /// It can be read, and clients or good sense refuse it.
    #[error(
        "{} cannot be used as the certificate of a server: {}; `docker-registry cert new {host}` makes a good one",
        .file.display(), listed(.faults)
    )]
    Unfit {
        /// The file.
        file: PathBuf,
        /// Everything that is wrong with it.
        faults: Vec<Fault>,
        /// The host that it seems to be for, or the word `HOST`.
        host: String,
    },
    /// No key in the key file.
    #[error("{} holds no private key but `{found}`; the key lies in the file that was made with the certificate", .file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
        /// The first section's label.
        found: String,
    },
    /// A passphrase protects it.
    #[error(
        "{0} is encrypted, and the server has nobody to ask for the passphrase: \
         `openssl pkey -in {0} -out {0}.plain` takes it off; keep that file to the server's user (mode 0600)",
        .file.display()
    )]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// DSA, an unusual curve, a short RSA key, or no key at all.
    #[error(
        "{} is no key that can be used here (ECDSA P-256, P-384 or P-521, Ed25519, RSA of 2048 to 8192 bits); \
         `docker-registry cert new HOST` makes a certificate and its key",
        .file.display()
    )]
    UnknownKey {
        /// The file.
        file: PathBuf,
    },
    /// Key and certificate are of two pairs.
    #[error(
        "{} does not belong to the certificate in {}: both come from one run of `docker-registry cert new HOST`, or the \
         certificate from the authority that this key's request was sent to",
        .file.display(), .certificate.display()
    )]
    OtherKey {
        /// The key file.
        file: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The chain is upside down.
    #[error(
        "{}: the certificate that belongs to {} is number {position} in it and must be the first, followed by those \
         that lead to the authority",
        .certificate.display(), .file.display()
    )]
    WrongOrder {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        file: PathBuf,
        /// Where it is, from 1.
        position: usize,
    },
}

/// What is wrong with a certificate that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// X.509 version 1 or 2, which has no extensions.
    OldVersion(u32),
    /// An RSA key with so few bits.
    ShortKey(u64),
    /// A key of a kind that TLS is not done with here.
    KeyKind,
    /// Signed over MD5 or SHA-1, and which certificate of the file it is, from 1.
    WeakSignature(&'static str, usize),
    /// No name or address as subjectAltName. Clients do not look at the common name.
    NoNames,
    /// Made for another purpose than a server.
    NotForServers,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldVersion(version) => {
                write!(formatter, "it is X.509 version {version} and must be version 3")
            }
            Self::ShortKey(bits) => {
                write!(formatter, "its RSA key has {bits} bits and must have 2048 or more")
            }
            Self::KeyKind => {
                formatter.write_str("its key is none of ECDSA P-256, P-384 and P-521, Ed25519 and RSA")
            }
            Self::WeakSignature(hash, 1) => {
                write!(formatter, "it is signed with {hash}, which can be forged")
            }
            Self::WeakSignature(hash, position) => {
                write!(
                    formatter,
                    "certificate {position} of its chain is signed with {hash}, which can be forged"
                )
            }
            Self::NoNames => formatter.write_str(
                "it has no subjectAltName, and clients do not take the name of a host from anywhere else",
            ),
            Self::NotForServers => {
                formatter.write_str("its extended key usage does not say that it is for servers (serverAuth)")
            }
        }
    }
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
