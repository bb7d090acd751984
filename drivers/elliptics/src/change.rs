//! A change of a register: rounds until the outcome is known.
//!
//! Each attempt writes a number of its own into the value, which remembers the last ones. So an answer that was lost is
//! found, and with it the attempt that came true and what it was made of.
//!
//! What was sent and is not found may come true later. So a change does not end with "it was not made" before a later
//! attempt, with the value that is there, has closed the register to it.

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use uuid::Uuid;

use crate::{
    patience::Failed,
    register::{MOST_ROUNDS, Registers, Round, busy, pause, visible},
    value::{Current, REMEMBERED},
    wire::Id,
};

/// What is to become of a register, and what follows from it for whoever changes it.
pub(crate) enum Change<T = ()> {
    Keep(T),
    Write(Bytes, T),
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Changed<T> {
    /// What the attempt that came true was made of.
    pub(crate) before: Option<Current>,
    pub(crate) after: Option<Current>,
    /// The version of what was written, if anything was: others may have written since.
    pub(crate) written: u128,
    /// What was decided with the attempt that came true.
    pub(crate) outcome: T,
}

/// Another register that must hold for a change to be made. It is read after the one that is changed, in each round: who
/// changes it first, and then has [`Registers::fence`] close the other, stops every change for certain.
#[derive(Clone, Copy)]
pub(crate) struct Guard {
    pub(crate) id: Id,
    pub(crate) holds: fn(Option<&Current>) -> Result<()>,
}

/// An attempt whose value may be in some groups.
struct Sent<T> {
    number: u128,
    before: Option<Current>,
    outcome: T,
}

impl Registers {
    /// Changes a register in one step. `decide` may be asked several times, each time with the value that is there; an
    /// error of it changes nothing. The change may be made twice, with changes of others between, so that it must be
    /// one that does no harm then.
    ///
    /// # Errors
    /// That of `decide`; when too few groups answer, and then perhaps `outcome_unknown`.
    pub(crate) async fn change<T>(
        &self,
        id: Id,
        decide: impl FnMut(Option<&Current>) -> Result<Change<T>>,
    ) -> Result<Changed<T>> {
        self.change_in_rounds(id, false, None, decide).await
    }

    /// Like [`Registers::change`], for a change that must not be made twice: when an attempt may have come true before
    /// many changes of others, none is made again.
    ///
    /// # Errors
    /// Those of [`Registers::change`] and of the guard; `outcome_unknown` when nobody can tell any more whether it was
    /// made. Without it, it was not made and will not be.
    pub(crate) async fn change_once<T>(
        &self,
        id: Id,
        guard: Option<Guard>,
        decide: impl FnMut(Option<&Current>) -> Result<Change<T>>,
    ) -> Result<Changed<T>> {
        self.change_in_rounds(id, true, guard, decide).await
    }

    pub(crate) async fn change_in_rounds<T>(
        &self,
        id: Id,
        only_once: bool,
        guard: Option<Guard>,
        mut decide: impl FnMut(Option<&Current>) -> Result<Change<T>>,
    ) -> Result<Changed<T>> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let mut sent: Vec<Sent<T>> = Vec::new();
        let (mut pads, mut failed) = (false, Failed::default());
        for round in 0..MOST_ROUNDS {
            pause(round).await;
            let look = match self.look_for_write(id).await {
                Ok(look) => look,
                Err(error) => {
                    let again = failed.again(error).await;
                    again.map_err(|error| known(error, &sent))?;
                    continue;
                }
            };
            let current = look.current().map_err(|error| known(error, &sent))?;
            let is_settled = look.is_settled(self.quorum());
            let done = sent.iter().position(|attempt| {
                current.as_ref().is_some_and(|current| current.changes.contains(&attempt.number))
            });
            if let (Some(place), Some(current)) = (done, &current) {
                if is_settled {
                    self.heal(id, &look);
                } else {
                    match self.round(id, &look, current, &mut pads).await {
                        Ok(Round::Done) => {}
                        Ok(Round::Refused { .. }) => continue,
                        Err(error) => {
                            let again = failed.again(error).await;
                            again.map_err(|error| known(error, &sent))?;
                            continue;
                        }
                    }
                }
                let Sent { number, before, outcome } = sent.swap_remove(place);
                let after = Some(current.clone());
                return Ok(Changed { before: visible(before), after, written: number, outcome });
            }
            let is_hidden = current.as_ref().is_some_and(|current| {
                sent.iter().any(|attempt| current.may_hide_one_of(attempt.before.as_ref()))
            });
            let mut decision = decide(current.as_ref().filter(|current| !current.is_blank()));
            if let (Ok(Change::Write(..)), Some(guard)) = (&decision, guard)
                && let Err(error) = self.expect(guard, &mut failed).await
            {
                if error.retryable {
                    let again = failed.again(error).await;
                    again.map_err(|error| known(error, &sent))?;
                    continue;
                }
                decision = Err(error);
            }
            let number = Uuid::new_v4().as_u128();
            let (written, decided) = match decision {
                Ok(Change::Write(..)) if is_hidden && only_once => return Err(superseded()),
                Ok(Change::Write(content, outcome)) => {
                    let mut changes = vec![number];
                    let earlier = current.iter().flat_map(|current| current.changes.iter().copied());
                    changes.extend(earlier.take(REMEMBERED - 1));
                    (Some(Current { changes, content }), Ok(outcome))
                }
                Ok(Change::Keep(outcome)) => (None, Ok(outcome)),
                Err(error) => (None, Err(if is_hidden { superseded() } else { error })),
            };
            let writes = written.is_some();
            let next = match written.or_else(|| current.clone()) {
                // What was sent before comes true no more once something is written, and be it nothing.
                None if !sent.is_empty() => Some(Current::blank()),
                next => next,
            };
            let is_over = !writes && sent.is_empty() && is_settled;
            let Some(next) = next.filter(|_| !is_over) else {
                self.heal(id, &look);
                let (before, outcome) = (visible(current.clone()), decided?);
                return Ok(Changed { before, after: current, written: number, outcome });
            };
            let (is_sent, error) = match self.round(id, &look, &next, &mut pads).await {
                Ok(Round::Done) => {
                    let (before, outcome) = (visible(current), decided?);
                    return Ok(Changed { before, after: Some(next), written: number, outcome });
                }
                Ok(Round::Refused { is_sent }) => (is_sent, None),
                Err(error) => (error.outcome_unknown, Some(error)),
            };
            if let Ok(outcome) = decided
                && writes
                && is_sent
            {
                sent.push(Sent { number, before: current, outcome });
            }
            if let Some(error) = error {
                // The next round finds it if it was made.
                let again = failed.again(error).await;
                again.map_err(|error| known(error, &sent))?;
            }
        }
        Err(known(busy(), &sent))
    }

    async fn expect(&self, guard: Guard, failed: &mut Failed) -> Result<()> {
        let look = self.settled_look(guard.id, failed).await?.ok_or_else(busy)?;
        (guard.holds)(visible(look.current()?).as_ref())
    }
}

/// The error of a change, attempts of which may come true yet.
fn known<T>(error: Error, sent: &[Sent<T>]) -> Error {
    Error { outcome_unknown: !sent.is_empty(), ..error }
}

/// The error of a change that may have been made before many others.
fn superseded() -> Error {
    let message = "the answer was lost, and others have changed the same record many times since";
    Error::new(ErrorKind::Unavailable, message).outcome_unknown()
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
