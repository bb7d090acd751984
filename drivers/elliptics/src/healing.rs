//! Replicas of registers that have missed something are brought up to date when they are met.

use std::sync::Arc;

use crate::{
    envelope::Envelope,
    look::Look,
    register::{Registers, random_id, writing},
    replicas::Pieces,
    wire::Id,
};

impl Registers {
    /// Brings replicas up to date that have missed the value, behind the caller's back.
    pub(crate) fn heal(&self, id: Id, look: &Look) {
        let Some(newest) = look.newest().filter(|_| look.is_settled(self.replicas.settings().quorum()))
        else {
            return;
        };
        let behind: Vec<_> = look
            .replicas
            .iter()
            .filter(|replica| replica.held.as_ref().is_none_or(|held| held.promise < newest))
            .chain(&look.damaged)
            .filter_map(|replica| {
                // Without a checksum of what is there, it may be anything.
                let expected = match (&replica.held, replica.checksum) {
                    (None, _) => random_id(),
                    (Some(_), checksum) => checksum?,
                };
                Some((replica.group, expected))
            })
            .collect();
        let held = look.replicas.iter().filter_map(|replica| replica.held.as_ref());
        let Some(held) = held.into_iter().find(|held| held.accepted == Some(newest)) else { return };
        if behind.is_empty() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.healing).try_acquire_owned() else { return };
        let content = Envelope { promise: newest, ..held.clone() }.pack();
        let replicas = self.replicas.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let writes = behind.into_iter().map(|(group, expected)| {
                (group, writing(id, newest, expected), Pieces::from(content.clone()))
            });
            // What it does not reach now is reached by another read.
            replicas.write_each(writes.collect(), usize::MAX).await;
        });
    }
}
