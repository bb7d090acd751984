//! What the groups hold of a register, and what follows from it.
//!
//! A replica that is not whole has lost what it promised and accepted. So it says nothing of the value, like one that
//! does not answer. It may be written again: who wrote to it before compares with what is not there any more.

use std::time::{SystemTime, UNIX_EPOCH};

use docker_registry_driver_api::{Error, ErrorKind, Result};

use crate::{
    envelope::{Ballot, Envelope},
    settings::EllipticsSettings,
    value::Current,
    wire::Id,
};

/// What one group holds.
pub(crate) struct Replica {
    pub(crate) group: u32,
    /// `None` when there is nothing.
    pub(crate) held: Option<Envelope>,
    /// Of all bytes there, as far as it is known.
    pub(crate) checksum: Option<Id>,
    pub(crate) size: u64,
}

impl Replica {
    /// A group that holds nothing.
    pub(crate) fn absent(group: u32) -> Self {
        Self { group, held: None, checksum: None, size: 0 }
    }
}

/// What the groups hold that have answered.
#[derive(Default)]
pub(crate) struct Look {
    pub(crate) replicas: Vec<Replica>,
    /// Those whose content is not whole. They hold an empty envelope here.
    pub(crate) damaged: Vec<Replica>,
    pub(crate) error: Option<Error>,
}

impl Look {
    /// The newest attempt that somebody has accepted.
    pub(crate) fn newest(&self) -> Option<Ballot> {
        self.replicas.iter().filter_map(|replica| replica.held.as_ref()?.accepted).max()
    }

    /// The newest value.
    ///
    /// # Errors
    /// `Corrupt` for a value that is none.
    pub(crate) fn current(&self) -> Result<Option<Current>> {
        let Some(newest) = self.newest() else { return Ok(None) };
        let mut held = self.replicas.iter().filter_map(|replica| replica.held.as_ref());
        let payload = held.find(|held| held.accepted == Some(newest)).map(|held| &held.payload);
        let current = payload.and_then(Current::unpack);
        current
            .map(Some)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a record of this driver makes no sense"))
    }

    /// Whether a majority has the newest value, so that it will never be another.
    pub(crate) fn is_settled(&self, quorum: usize) -> bool {
        let Some(newest) = self.newest() else { return self.replicas.len() >= quorum };
        let has =
            |replica: &&Replica| replica.held.as_ref().is_some_and(|held| held.accepted == Some(newest));
        self.replicas.iter().filter(has).count() >= quorum
    }

    /// A number for the next attempt.
    pub(crate) fn next_ballot(&self) -> Ballot {
        let held = self.replicas.iter().filter_map(|replica| replica.held.as_ref());
        let last =
            held.map(|held| held.promise.max(held.accepted.unwrap_or_default())).max().unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        // A clock that runs behind must not make a write look old.
        Ballot { time: now.max(last.time.saturating_add(1)), nonce: fastrand::u64(1..) }
    }

    /// Whether enough have said what they hold to know every value that was ever written.
    pub(crate) fn can_be_read(&self, settings: &EllipticsSettings) -> bool {
        self.replicas.len() >= settings.read_quorum()
    }

    /// Whether a majority can take a write. Replicas that are not whole are written as well.
    pub(crate) fn can_be_written(&self, settings: &EllipticsSettings) -> bool {
        self.replicas.len() + self.damaged.len() >= settings.quorum()
    }

    /// Why too few groups have said what they hold.
    pub(crate) fn unavailable(self, settings: &EllipticsSettings) -> Error {
        if self.damaged.is_empty() {
            return self.error.unwrap_or_else(|| {
                Error::new(ErrorKind::Unavailable, "too few groups of elliptics_groups answer")
            });
        }
        let groups = self.damaged.iter().map(|replica| replica.group.to_string());
        let groups = groups.collect::<Vec<_>>().join(", ");
        let message = format!("these groups of elliptics_groups hold a damaged copy of a record: {groups}");
        match self.error {
            _ if self.damaged.len() >= settings.quorum() => Error::new(ErrorKind::Corrupt, message),
            Some(error) => Error { message: format!("{message}; {}", error.message), ..error },
            None => Error::new(ErrorKind::Unavailable, message),
        }
    }
}
