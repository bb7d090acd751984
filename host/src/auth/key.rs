//! Keys for HMAC-SHA-256, and what is signed with them.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A signature, or a name for something secret that tells nothing about it.
pub(super) type Signature = [u8; 32];

/// A key. Its bytes are in no output.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// A key that nobody knows.
    ///
    /// # Panics
    /// When the system has no random numbers. Nothing may go on without them.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        Self::of(&bytes)
    }

    /// The key for one purpose that is derived from a secret.
    pub(super) fn derived(secret: &[u8], purpose: &str) -> Self {
        Self::of(&Self::of(secret).sign(&[purpose.as_bytes()]))
    }

    fn of(bytes: &[u8]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// Signs fields, each with its length, so that no two lists of fields are the same bytes.
    pub(super) fn sign(&self, fields: &[&[u8]]) -> Signature {
        self.fed(fields).finalize().into_bytes().into()
    }

    /// Whether the signature is that of the fields. Takes the same time wherever they differ.
    pub(super) fn verify(&self, fields: &[&[u8]], signature: &[u8]) -> bool {
        self.fed(fields).verify_slice(signature).is_ok()
    }

    fn fed(&self, fields: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for field in fields {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}
