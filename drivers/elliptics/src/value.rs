//! The value of a register, with the changes that made it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::Reader;

/// Changes that a value remembers, so that a client whose answer was lost finds its own.
pub(crate) const REMEMBERED: usize = 8;

/// The value of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    /// The changes that made it, the last one first.
    pub(crate) changes: Vec<u128>,
    pub(crate) content: Bytes,
}

impl Current {
    /// A value that means that there is none.
    pub(crate) fn blank() -> Self {
        Self { changes: vec![uuid::Uuid::new_v4().as_u128()], content: Bytes::new() }
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.content.is_empty()
    }

    /// A number that no other value has.
    pub(crate) fn version(&self) -> u128 {
        self.changes.first().copied().unwrap_or_default()
    }

    /// Whether a change that was made of `before` may be among those that made this value and are not remembered.
    pub(crate) fn may_hide_one_of(&self, before: Option<&Self>) -> bool {
        match before {
            Some(before) => !self.changes.contains(&before.version()),
            None => self.changes.len() >= REMEMBERED,
        }
    }

    pub(crate) fn pack(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(4 + 16 * self.changes.len() + self.content.len());
        bytes.put_u32_le(self.changes.len() as u32);
        self.changes.iter().for_each(|change| bytes.put_u128_le(*change));
        bytes.put_slice(&self.content);
        bytes.freeze()
    }

    pub(crate) fn unpack(payload: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(payload, "a value is cut off");
        let count = reader.count(16).ok()?;
        let changes = (0..count).map(|_| reader.u128().ok()).collect::<Option<Vec<u128>>>()?;
        let content = payload.slice(payload.len() - reader.rest().len()..);
        Some(Self { changes, content })
    }
}
