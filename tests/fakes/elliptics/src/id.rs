//! Ids: 64 bytes, in the order that the ring is sorted in.
//!
//! Rules from `library/crypto.c`: the id of a key is the SHA-512 of its namespace, a zero byte and the key. A server
//! never computes it; here it makes the ids of the ring.

use std::fmt;

use sha2::{Digest, Sha512};

/// The id of a record or a place on the ring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) [u8; Id::SIZE]);

impl Id {
    /// Its length in bytes.
    pub(crate) const SIZE: usize = 64;

    /// The id that is the SHA-512 of these bytes.
    pub(crate) fn of(content: &[u8]) -> Self {
        Self(Sha512::digest(content).into())
    }

    /// The id at the beginning of `bytes`, which has at least 64.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        Self(bytes[..Self::SIZE].try_into().expect("the length is right"))
    }

    /// An id by its first hexadecimal digits; what is left out is zero. `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.len() > 2 * Self::SIZE || !text.len().is_multiple_of(2) {
            return None;
        }
        let mut id = [0; Self::SIZE];
        for (position, byte) in id.iter_mut().take(text.len() / 2).enumerate() {
            *byte = u8::from_str_radix(&text[2 * position..2 * position + 2], 16).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hexadecimal(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hexadecimal(&self.0[..8]))
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_first_digits() {
        let id = Id::parse("80ff").expect("an id");
        assert_eq!(id.0[..3], [0x80, 0xff, 0]);
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        assert_eq!(Id::parse("8"), None);
        assert_eq!(Id::parse("zz"), None);
    }
}
