//! Digests: the names of content.
//!
//! A [`Digest`] that exists is well formed: a known algorithm and lower-case hexadecimal of exactly its
//! length. So it may stand in a storage path and in a header without another look.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A hash algorithm that content may be named by. These two are registered by the OCI image
/// specification, "Registered Algorithms".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256, which every client uses unless told otherwise.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The algorithm of this registered name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Number of hexadecimal digits of a digest.
    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Whether these are as many digits as its digests have, all of them lower-case hexadecimal.
    fn has_digits(self, hex: &str) -> bool {
        hex.len() == self.hex_length() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// The digest of some content, `sha256:…` in text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// The whole, as it is sent and kept far more often than its parts.
    text: String,
}

/// Why a text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `ALGORITHM:HEX`, or the wrong number of digits, or upper case.
    #[error("a digest is sha256: or sha512: and lower-case hexadecimal of the algorithm's length")]
    Malformed,
    /// Well formed perhaps, but of another algorithm.
    #[error("digests of sha256 and sha512 are supported")]
    UnsupportedAlgorithm,
}

impl Digest {
    /// Reads `ALGORITHM:HEX`.
    ///
    /// # Errors
    /// [`DigestError`].
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Malformed)?;
        let algorithm = Algorithm::from_name(name).ok_or(DigestError::UnsupportedAlgorithm)?;
        let exact = algorithm.has_digits(hex);
        exact.then(|| Self { algorithm, text: text.to_owned() }).ok_or(DigestError::Malformed)
    }

    /// The digest with these digits, if they are as many and as plain as they must be.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Self> {
        algorithm.has_digits(hex).then(|| Self { algorithm, text: [algorithm.name(), ":", hex].concat() })
    }

    /// The digest with these bytes. `bytes` must be the output of `algorithm`.
    pub(crate) fn from_output(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut text = format!("{}:", algorithm.name());
        text.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
        Self { algorithm, text }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// `ALGORITHM:HEX`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_exact() {
        let hex = "0123456789abcdef".repeat(4);
        let digest = Digest::parse(&format!("sha256:{hex}")).unwrap();
        assert_eq!((digest.algorithm(), digest.hex()), (Algorithm::Sha256, hex.as_str()));
        assert_eq!(digest.to_string(), format!("sha256:{hex}"));
        assert!(Digest::parse(&format!("sha512:{hex}{hex}")).is_ok());
        for wrong in [
            String::new(),
            hex.clone(),
            "sha256:".into(),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:../{}", &hex[3..]),
            format!("SHA256:{hex}"),
        ] {
            assert!(Digest::parse(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(Digest::parse(&format!("md5:{hex}")), Err(DigestError::UnsupportedAlgorithm));
    }
}
