//! Attempts: every call of a bucket goes through here.
//!
//! One attempt has a time limit of its own, so that a server that stalls costs one attempt and not the
//! call. What failed and is retryable is tried again after a random pause that doubles, or after what the
//! store asked for, but never beyond the deadline of the call. When the store fails all the time, a budget
//! keeps the retries from becoming a storm.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use docker_registry_driver_api::{CallContext, Error, ErrorKind, Result};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::{driver::Renewal, engine::Engine, settings::StoreSettings};

/// Longest pause that is not asked for by the store.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause for work that nobody waits for.
const LONGEST_BACKGROUND_PAUSE: Duration = Duration::from_secs(20);
/// Content is given the time that it needs at this speed, in bytes a second.
const SLOWEST: u64 = 256 << 10;
/// Retries that may be made without one answer. An answer gives one back, so that they last as long as half of the
/// attempts are answered.
const RETRIES_WITHOUT_SUCCESS: u32 = 500;

/// What one attempt is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Effort {
    /// Whether it changes something, so that an attempt without an answer leaves the outcome unknown.
    pub(crate) writes: bool,
    /// How many bytes are moved before the attempt ends, at the store or on the way.
    pub(crate) bytes: u64,
    /// Whether it may end well without a word of the store's, so that it says nothing of the credentials.
    pub(crate) local: bool,
}

impl Effort {
    /// A small call that changes nothing.
    pub(crate) const READ: Self = Self { writes: false, bytes: 0, local: false };
    /// A small call that changes something.
    pub(crate) const WRITE: Self = Self { writes: true, bytes: 0, local: false };

    /// A call that changes so many objects, each of which may take as long as a quarter of a second.
    pub(crate) fn changing(objects: usize) -> Self {
        Self::writing(objects as u64 * (SLOWEST / 4))
    }

    /// A call that writes this many bytes.
    pub(crate) fn writing(bytes: u64) -> Self {
        Self { bytes, ..Self::WRITE }
    }
}

/// What came of all attempts of a call.
pub(crate) struct Tried<T> {
    /// The result of the last attempt.
    pub(crate) result: Result<T>,
    /// Whether there was an attempt before the last one, which may have had an effect. A condition that
    /// failed may then have failed because of it: look for the mark.
    pub(crate) repeated: bool,
    /// Whether one of these attempts may really have had its effect: its answer got lost.
    pub(crate) uncertain: bool,
}

/// Tokens that retries take and answers give.
#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(RETRIES_WITHOUT_SUCCESS))
    }
}

impl RetryBudget {
    fn answered(&self) {
        let more = |tokens: u32| (tokens < RETRIES_WITHOUT_SUCCESS).then(|| tokens + 1);
        // An error says that it is full.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn retry(&self) -> bool {
        let less = |tokens: u32| tokens.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Who makes the attempts at the calls of one store: how many, for how long, after which pauses, and who hears how they
/// ended.
pub struct Attempts {
    settings: StoreSettings,
    renewal: Arc<dyn Renewal>,
    budget: RetryBudget,
}

impl Engine {
    /// See [`Attempts::attempt`].
    pub(crate) async fn attempt<T, F, A>(&self, call: &CallContext, writes: bool, make: F) -> Result<T>
    where
        F: FnMut() -> A + Send,
        A: Future<Output = Result<T>> + Send,
    {
        self.retries.attempt(call, writes, make).await
    }

    /// See [`Attempts::attempts`].
    pub(crate) async fn attempts<T, F, A>(&self, call: &CallContext, effort: Effort, make: F) -> Tried<T>
    where
        F: FnMut() -> A + Send,
        A: Future<Output = Result<T>> + Send,
    {
        self.retries.attempts(call, effort, make).await
    }
}

impl Attempts {
    /// As the settings say. `renewal` hears how each attempt ends.
    pub fn new(settings: &StoreSettings, renewal: Arc<dyn Renewal>) -> Self {
        Self { settings: settings.clone(), renewal, budget: RetryBudget::default() }
    }

    /// Makes one small call of a store, in as many attempts as it takes.
    ///
    /// # Errors
    /// Those of the last attempt; `Timeout` when the deadline of the call passed. `outcome_unknown` only
    /// when `writes` and some attempt may have had its effect.
    pub async fn attempt<T, F, A>(&self, call: &CallContext, writes: bool, make: F) -> Result<T>
    where
        F: FnMut() -> A + Send,
        A: Future<Output = Result<T>> + Send,
    {
        self.attempts(call, Effort { writes, ..Effort::READ }, make).await.result
    }

    /// Like [`Attempts::attempt`], for calls that move content and for those that must know whether they were
    /// made more than once.
    pub(crate) async fn attempts<T, F, A>(&self, call: &CallContext, effort: Effort, mut make: F) -> Tried<T>
    where
        F: FnMut() -> A + Send,
        A: Future<Output = Result<T>> + Send,
    {
        let mut may_have_happened = false;
        let mut number = 0;
        loop {
            number += 1;
            let limit = self.time_limit(call, effort, number);
            let result = match limit {
                Some(limit) if limit.is_zero() => Err(deadline_passed()),
                Some(limit) => match timeout(limit, make()).await {
                    Ok(result) => result,
                    Err(_) => Err(no_answer(limit, effort.writes)),
                },
                None => make().await,
            };
            let repeated = number > 1;
            let error = match result {
                Ok(value) => {
                    self.budget.answered();
                    if !effort.local {
                        self.renewal.accepted();
                    }
                    return Tried { result: Ok(value), repeated, uncertain: may_have_happened };
                }
                Err(error) => self.renewal.failed(error),
            };
            if !error.retryable {
                // The store answers, whatever it says.
                self.budget.answered();
            }
            let uncertain = may_have_happened;
            may_have_happened |= error.outcome_unknown;
            let pause = self.again(call, &error, number);
            debug!(number, kind = ?error.kind, %error, again = pause.is_some(), "an attempt failed");
            let Some(pause) = pause else {
                let result = Err(settled(error, effort.writes && may_have_happened));
                return Tried { result, repeated, uncertain };
            };
            sleep(pause).await;
        }
    }

    /// How long an attempt may take. Half of what is left for the call, so that another one has a chance.
    fn time_limit(&self, call: &CallContext, effort: Effort, number: u32) -> Option<Duration> {
        let content = Duration::from_secs(effort.bytes / SLOWEST);
        let limit = self.settings.attempt_timeout.saturating_add(content);
        let Some(left) = call.remaining() else { return Some(limit) };
        // The answer has to reach the caller before he stops waiting.
        let left = left.saturating_sub((left / 20).min(Duration::from_millis(500)));
        Some(limit.min(if number < 3 && content.is_zero() { left / 2 } else { left }))
    }

    /// A failure inside of a good answer, of one object among many: the credentials may have ended in between.
    pub(crate) fn told(&self, error: Error) -> Error {
        self.renewal.failed(error)
    }

    /// How long the store may be silent before that counts as a failure.
    pub fn silence(&self) -> Duration {
        self.settings.attempt_timeout
    }

    /// How long to wait before the attempt after the one with this number, counted from 1, which ended with this error;
    /// `None` when there is to be none.
    pub fn again(&self, call: &CallContext, error: &Error, number: u32) -> Option<Duration> {
        let most = self.settings.most_attempts;
        let most = if call.background { most.saturating_mul(2) } else { most };
        if error.retryable && number < most { self.pause(call, error, number) } else { None }
    }

    /// How long to wait before the next attempt; `None` when there is no time for one.
    fn pause(&self, call: &CallContext, error: &Error, number: u32) -> Option<Duration> {
        let longest = if call.background { LONGEST_BACKGROUND_PAUSE } else { LONGEST_PAUSE };
        let first = self.settings.first_pause;
        let most = first.saturating_mul(1 << (number - 1).min(16)).min(longest);
        let random = most.mul_f64(fastrand::f64());
        // Those that were told the same time should not all come at it.
        let pause = error.retry_after.map_or(random, |asked| asked + random.min(first));
        if call.remaining().is_some_and(|left| left <= pause + first) {
            return None;
        }
        self.budget.retry().then_some(pause)
    }
}

/// The error as the caller gets it: whether the write may have happened is known by now.
fn settled(mut error: Error, may_have_happened: bool) -> Error {
    if error.kind == ErrorKind::Conflict && error.retryable {
        // A race with another call, perhaps with an attempt of this one that still runs. It says nothing of the state.
        error.kind = ErrorKind::Unavailable;
    }
    // These say what is there now, or that the same call can never have worked.
    let is_definite = matches!(
        error.kind,
        ErrorKind::NotFound
            | ErrorKind::ConditionFailed
            | ErrorKind::Conflict
            | ErrorKind::InvalidPath
            | ErrorKind::InvalidRange
            | ErrorKind::TooLarge
            | ErrorKind::Unsupported
            | ErrorKind::BodyFailed
    );
    error.outcome_unknown = may_have_happened && !is_definite;
    // Keys are not the paths of the caller, who knows his own.
    error.path = None;
    error.operation.clear();
    error
}

fn deadline_passed() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline of the call has passed").retryable(false)
}

fn no_answer(limit: Duration, writes: bool) -> Error {
    let message = format!("the store did not answer within {:.1} seconds", limit.as_secs_f64());
    let error = Error::new(ErrorKind::Timeout, message);
    if writes { error.outcome_unknown() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_ends_without_answers_and_comes_back_with_them() {
        let budget = RetryBudget::default();
        assert_eq!((0..10_000).filter(|_| budget.retry()).count(), RETRIES_WITHOUT_SUCCESS as usize);
        budget.answered();
        assert!(budget.retry());
        assert!(!budget.retry());
    }

    #[test]
    fn what_is_there_now_is_known_whatever_happened_before() {
        let error = settled(Error::not_found("key"), true);
        assert!(!error.outcome_unknown);
        assert_eq!(error.path, None);
        assert!(settled(Error::new(ErrorKind::Unavailable, "gone"), true).outcome_unknown);
        assert!(!settled(no_answer(LONGEST_PAUSE, true), false).outcome_unknown);
    }
}
