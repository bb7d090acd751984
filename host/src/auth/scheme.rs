//! How the password of one line is hashed, and whether a password fits.
//!
//! | scheme | looks like | made by |
//! |---|---|---|
//! | bcrypt | `$2y$`, `$2a$`, `$2b$` | `htpasswd -B`, `docker-registry htpasswd add` |
//! | Apache's MD5 | `$apr1$` | `htpasswd`, `openssl passwd -apr1` |
//! | SHA-1 | `{SHA}` | `htpasswd -s` |
//! | MD5, SHA-256 and SHA-512 crypt | `$1$`, `$5$`, `$6$` | `openssl passwd -1`, `-5`, `-6`, `htpasswd -2`, `-5` |
//! | DES crypt | 13 letters, digits, `.` and `/` | `htpasswd -d` |
//!
//! bcrypt looks at the first 72 bytes of a password, DES crypt at the first 8. Comparisons take the same time
//! whatever differs.

use std::ops::RangeInclusive;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use super::{apache_md5, key::Key};

/// What a line begins with whose password is hashed with SHA-1.
const SHA_MARK: &str = "{SHA}";
/// The bytes of a SHA-1 in Base64.
const SHA_LENGTH: usize = 28;

/// bcrypt's costs. One more than the largest would hold a thread for half a minute.
const BCRYPT_COSTS: RangeInclusive<u32> = 4..=17;
/// The rounds of SHA crypt. More would hold a thread for minutes.
const ROUNDS: RangeInclusive<u32> = 1000..=5_000_000;

/// A way to hash passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// bcrypt, with the logarithm of its rounds.
    Bcrypt(u32),
    ApacheMd5,
    Sha1,
    Md5Crypt,
    /// With its rounds.
    Sha256Crypt(u32),
    /// With its rounds.
    Sha512Crypt(u32),
    DesCrypt,
}

impl Scheme {
    /// The scheme of a hash as it stands in the file; `None` for plain text, for what nobody knows, and for what
    /// takes too long.
    pub(crate) fn of(hash: &str) -> Option<Self> {
        if !hash.is_ascii() {
            return None;
        }
        if let Some(rest) = hash.strip_prefix("$2") {
            rest.strip_prefix(['a', 'b', 'y'])?;
            let cost = hash.parse::<bcrypt::HashParts>().ok()?.get_cost();
            return BCRYPT_COSTS.contains(&cost).then_some(Self::Bcrypt(cost));
        }
        if hash.starts_with(apache_md5::MARK) {
            return (salt(hash)?.len() <= 8).then_some(Self::ApacheMd5);
        }
        if let Some(digest) = hash.strip_prefix(SHA_MARK) {
            return (digest.len() == SHA_LENGTH && STANDARD.decode(digest).is_ok()).then_some(Self::Sha1);
        }
        if hash.starts_with("$1$") {
            return (salt(hash)?.len() <= 8).then_some(Self::Md5Crypt);
        }
        if hash.starts_with("$5$") {
            return Some(Self::Sha256Crypt(rounds(hash)?));
        }
        if hash.starts_with("$6$") {
            return Some(Self::Sha512Crypt(rounds(hash)?));
        }
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
        (hash.len() == 13 && hash.bytes().all(is_letter)).then_some(Self::DesCrypt)
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bcrypt(_) => "bcrypt",
            Self::ApacheMd5 => "Apache MD5 (apr1)",
            Self::Sha1 => "SHA-1 without salt",
            Self::Md5Crypt => "MD5 crypt",
            Self::Sha256Crypt(_) => "SHA-256 crypt",
            Self::Sha512Crypt(_) => "SHA-512 crypt",
            Self::DesCrypt => "DES crypt",
        }
    }

    /// Whether a stolen file gives such passwords away.
    pub(crate) fn is_weak(self) -> bool {
        !matches!(self, Self::Bcrypt(_) | Self::Sha256Crypt(_) | Self::Sha512Crypt(_))
    }

    /// Whether the password fits the hash, which is of this scheme.
    pub(crate) fn verify(self, password: &str, hash: &str) -> bool {
        let password = password.as_bytes();
        match self {
            Self::Bcrypt(_) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::ApacheMd5 => salt(hash).is_some_and(|salt| same(&apache_md5::hash(password, salt), hash)),
            Self::Sha1 => same(&format!("{SHA_MARK}{}", STANDARD.encode(Sha1::digest(password))), hash),
            Self::Md5Crypt => pwhash::md5_crypt::verify(password, hash),
            Self::Sha256Crypt(_) => pwhash::sha256_crypt::verify(password, hash),
            Self::Sha512Crypt(_) => pwhash::sha512_crypt::verify(password, hash),
            Self::DesCrypt => pwhash::unix_crypt::verify(password, hash),
        }
    }
}

/// Compares through a MAC with a key that nobody knows, so that time tells nothing.
fn same(left: &str, right: &str) -> bool {
    let key = Key::random();
    key.sign(&[left.as_bytes()]) == key.sign(&[right.as_bytes()])
}

/// The salt of `$ID$SALT$HASH`.
fn salt(hash: &str) -> Option<&str> {
    let mut parts = hash.split('$').skip(2);
    let (salt, digest) = (parts.next()?, parts.next()?);
    (parts.next().is_none() && digest.len() == 22).then_some(salt)
}

/// The rounds of SHA crypt, 5000 when they are not written.
fn rounds(hash: &str) -> Option<u32> {
    let mut parts = hash.split('$').skip(2);
    let first = parts.next()?;
    let rounds = match first.strip_prefix("rounds=") {
        Some(rounds) => {
            parts.next()?;
            rounds.parse().ok()?
        }
        None => 5000,
    };
    let digest = parts.next()?;
    let is_whole = parts.next().is_none() && matches!(digest.len(), 43 | 86);
    (is_whole && ROUNDS.contains(&rounds)).then_some(rounds)
}
