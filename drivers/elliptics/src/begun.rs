//! The record of a large object in the making.
//!
//! It is there from the first moment to the last, so that a crash leaves nothing that is not found. It names the object,
//! how many parts there may be, which bundles of others are held for it, and under which names attempts to finish it
//! hold all of these.

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::record::Hold;

/// What `finishing` is in what was abandoned.
pub(crate) const ABANDONED: u64 = u64::MAX;

/// The record of what was begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Begun {
    pub(crate) key: String,
    pub(crate) mark: Option<String>,
    /// Parts up to this number may be there.
    pub(crate) parts: u32,
    /// Bundles of others that are held under this one's number.
    pub(crate) held: Vec<Hold>,
    /// The names of later attempts to finish it. The first one uses what is held from the beginning.
    pub(crate) attempts: Vec<u128>,
    /// When the last finish began, in nanoseconds since 1970; 0 while none may be under way, and [`ABANDONED`].
    pub(crate) finishing: u64,
}

impl Begun {
    pub(crate) fn pack(&self) -> Bytes {
        let held = self.held.iter().map(|hold| json!([format!("{:x}", hold.bundle), hold.parts]));
        let attempts = self.attempts.iter().map(|attempt| format!("{attempt:x}"));
        let value = json!({ "key": self.key, "mark": self.mark, "parts": self.parts,
            "held": held.collect::<Vec<_>>(), "attempts": attempts.collect::<Vec<_>>(),
            "finishing": self.finishing });
        value.to_string().into()
    }

    /// # Errors
    /// `Corrupt` for what [`Begun::pack`] did not make.
    pub(crate) fn unpack(id: u128, bytes: &[u8]) -> Result<Self> {
        let parse = || {
            let value: Value = serde_json::from_slice(bytes).ok()?;
            let number = |value: &Value| u128::from_str_radix(value.as_str()?, 16).ok();
            let hold = |hold: &Value| {
                let parts = u32::try_from(hold.get(1)?.as_u64()?).ok()?;
                Some(Hold { bundle: number(hold.get(0)?)?, owner: id, parts })
            };
            Some(Self {
                key: value["key"].as_str()?.to_owned(),
                mark: value["mark"].as_str().map(str::to_owned),
                parts: u32::try_from(value["parts"].as_u64()?).ok()?,
                held: value["held"].as_array()?.iter().map(hold).collect::<Option<_>>()?,
                attempts: value["attempts"].as_array()?.iter().map(number).collect::<Option<_>>()?,
                finishing: value["finishing"].as_u64()?,
            })
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the record of a large object in the making makes no sense")
        })
    }

    /// Everything that it keeps alive from the beginning, which is what the first attempt to finish it uses.
    pub(crate) fn holds(&self, id: u128) -> Vec<Hold> {
        let own = (self.parts > 0).then_some(Hold { bundle: id, owner: 0, parts: self.parts });
        own.into_iter().chain(self.held.iter().copied()).collect()
    }

    /// The same under the name of a later attempt.
    pub(crate) fn holds_of(&self, id: u128, attempt: u128) -> Vec<Hold> {
        self.holds(id).into_iter().map(|hold| Hold { owner: attempt, ..hold }).collect()
    }

    /// Everything that it may keep alive under any name, those of the first attempt last: they keep it findable.
    pub(crate) fn all_holds(&self, id: u128) -> Vec<Hold> {
        let later = self.attempts.iter().flat_map(|attempt| self.holds_of(id, *attempt));
        later.chain(self.holds(id)).collect()
    }

    /// Whether it was abandoned.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.finishing == ABANDONED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let held = vec![Hold { bundle: u128::MAX, owner: 9, parts: 3 }];
        let key = "a/\u{e9}".to_owned();
        let begun = Begun { key, mark: None, parts: 5, held, attempts: vec![7, u128::MAX], finishing: 7 };
        assert_eq!(Begun::unpack(9, &begun.pack()).unwrap(), begun);
        assert!(Begun::unpack(9, b"{}").is_err());
        assert_eq!((begun.holds(9).len(), begun.all_holds(9).len()), (2, 6));
        assert!(begun.holds_of(9, 7).iter().all(|hold| hold.owner == 7));
    }
}
