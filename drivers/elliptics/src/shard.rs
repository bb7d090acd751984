//! One shard of an index: names, and which of them may be gone.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use docker_registry_driver_api::{Error, ErrorKind, Result};

use crate::wire::{Malformed, Reader};

const VERSION: u8 = 1;

/// Names in a folder; those of folders end with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shard {
    /// New names go to the shards of this depth; only that of the first shard counts.
    pub(crate) depth: u8,
    /// Each name with the second since 1970 at which it was marked as gone; 0 without a mark.
    pub(crate) names: BTreeMap<String, u64>,
}

/// A change of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    /// It is there.
    Insert(String),
    /// It may be gone.
    Mark(String),
    /// It is gone, if it still has this mark.
    Drop(String, u64),
}

impl Edit {
    pub(crate) fn name(&self) -> &str {
        let (Self::Insert(name) | Self::Mark(name) | Self::Drop(name, _)) = self;
        name
    }
}

impl Shard {
    /// Whether a name is there without a mark.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.get(name) == Some(&0)
    }

    /// Whether nothing is there without a mark.
    pub(crate) fn is_deserted(&self) -> bool {
        self.names.values().all(|mark| *mark != 0)
    }

    /// Makes a change at a time, and says whether it changed anything.
    pub(crate) fn apply(&mut self, edit: &Edit, now: u64) -> bool {
        match edit {
            Edit::Insert(name) => self.names.insert(name.clone(), 0) != Some(0),
            Edit::Mark(name) => match self.names.get_mut(name) {
                Some(mark) if *mark == 0 => {
                    *mark = now.max(1);
                    true
                }
                _ => false,
            },
            Edit::Drop(name, mark) => {
                let is_same = self.names.get(name) == Some(mark);
                if is_same {
                    self.names.remove(name);
                }
                is_same
            }
        }
    }

    pub(crate) fn pack(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u8(self.depth);
        bytes.put_u32_le(self.names.len() as u32);
        for (name, mark) in &self.names {
            bytes.put_u64_le(*mark);
            bytes.put_u16_le(name.len() as u16);
            bytes.put_slice(name.as_bytes());
        }
        bytes.freeze()
    }

    /// # Errors
    /// `Corrupt` for what [`Shard::pack`] did not make.
    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes)
            .ok()
            .flatten()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the index of a folder makes no sense"))
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(bytes, "an index is cut off");
        let [VERSION, depth] = *reader.take(2)? else { return Ok(None) };
        let count = reader.count(10)?;
        let mut names = BTreeMap::new();
        for _ in 0..count {
            let (mark, length) = (reader.u64()?, reader.u16()?);
            let Ok(name) = std::str::from_utf8(reader.take(length.into())?) else { return Ok(None) };
            names.insert(name.to_owned(), mark);
        }
        Ok(Some(Self { depth, names }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_the_rest_is_an_error() {
        let names = [("a", 0), ("b/", 7), ("\u{e9}", u64::MAX)];
        let names = names.into_iter().map(|(name, mark)| (name.to_owned(), mark)).collect();
        let shard = Shard { depth: 2, names };
        let packed = shard.pack();
        assert_eq!(Shard::unpack(&packed).unwrap(), shard);
        for end in 0..packed.len() {
            assert!(Shard::unpack(&packed[..end]).is_err());
        }
    }

    #[test]
    fn a_name_that_came_back_is_not_dropped() {
        let mut shard = Shard::default();
        let name = || "a".to_owned();
        assert!(shard.apply(&Edit::Insert(name()), 5) && !shard.apply(&Edit::Insert(name()), 6));
        assert!(shard.apply(&Edit::Mark(name()), 7) && !shard.has("a") && shard.is_deserted());
        assert!(shard.apply(&Edit::Insert(name()), 8) && shard.has("a"));
        assert!(!shard.apply(&Edit::Drop(name(), 7), 9));
        assert!(shard.apply(&Edit::Mark(name()), 9) && !shard.apply(&Edit::Mark(name()), 10));
        assert!(shard.apply(&Edit::Drop(name(), 9), 11) && shard.names.is_empty());
    }
}
