//! What one replica of a register holds: a promise, what it accepted, and a check that it is whole.
//!
//! ```text
//! magic (8)  length of all (4)  promise (16)  accepted (16)  payload  CRC-32 of all that (4)
//! ```
//! What follows behind the length is left over of a longer content that was there before, and does not count.

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::Reader;

const MAGIC: &[u8; 8] = b"DRELLIP1";
/// Bytes beside the payload.
const OVERHEAD: usize = 8 + 4 + 16 + 16 + 4;
/// The mark of this driver's objects in their user flags.
pub(crate) const USER_FLAGS: u64 = u64::from_le_bytes(*MAGIC);

/// The number of an attempt to change a register. Later attempts have larger ones, and no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(crate) struct Ballot {
    /// Nanoseconds since 1970, or more where clocks run behind.
    pub(crate) time: u64,
    pub(crate) nonce: u64,
}

impl Ballot {
    fn put(self, bytes: &mut BytesMut) {
        bytes.put_u64_le(self.time);
        bytes.put_u64_le(self.nonce);
    }
}

/// The content of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Envelope {
    /// No attempt with a smaller number is accepted any more.
    pub(crate) promise: Ballot,
    /// The attempt whose payload this is, if there was one.
    pub(crate) accepted: Option<Ballot>,
    pub(crate) payload: Bytes,
}

impl Envelope {
    pub(crate) fn pack(&self) -> Bytes {
        let length = OVERHEAD + self.payload.len();
        let mut bytes = BytesMut::with_capacity(length);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(length as u32);
        self.promise.put(&mut bytes);
        self.accepted.unwrap_or_default().put(&mut bytes);
        bytes.put_slice(&self.payload);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes.freeze()
    }

    /// How many bytes the whole has, from its beginning.
    pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        (length >= OVERHEAD).then_some(length)
    }

    /// `None` for what is not whole.
    pub(crate) fn unpack(bytes: &Bytes) -> Option<Self> {
        let length = Self::length(bytes)?;
        let (content, sum) = bytes.get(..length)?.split_at_checked(length - 4)?;
        if crc32fast::hash(content).to_le_bytes() != sum {
            return None;
        }
        let mut reader = Reader::new(content.get(12..)?, "an envelope is cut off");
        let mut ballot = || Some(Ballot { time: reader.u64().ok()?, nonce: reader.u64().ok()? });
        let (promise, accepted) = (ballot()?, ballot()?);
        let accepted = Some(accepted).filter(|ballot| *ballot != Ballot::default());
        Some(Self { promise, accepted, payload: bytes.slice(OVERHEAD - 4..length - 4) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_whatever_is_left_behind_it() {
        let ballot = Ballot { time: 5, nonce: 7 };
        for accepted in [None, Some(Ballot { time: 4, nonce: u64::MAX })] {
            let envelope = Envelope { promise: ballot, accepted, payload: Bytes::from_static(b"payload") };
            let packed = envelope.pack();
            assert_eq!(Envelope::unpack(&packed), Some(envelope.clone()));
            let longer = Bytes::from([&packed[..], b"left over"].concat());
            assert_eq!(Envelope::unpack(&longer), Some(envelope));
            assert_eq!(Envelope::length(&packed), Some(packed.len()));
        }
    }

    #[test]
    fn half_a_write_is_none() {
        let packed = Envelope { payload: Bytes::from_static(b"payload"), ..Envelope::default() }.pack();
        for place in 0..packed.len() {
            assert_eq!(Envelope::unpack(&packed.slice(..place)), None);
            let mut flipped = packed.to_vec();
            flipped[place] ^= 1;
            assert_eq!(Envelope::unpack(&flipped.into()), None, "{place}");
        }
    }
}
