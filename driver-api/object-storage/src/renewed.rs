//! What is fetched once for all calls and ends some day: tokens, keys on loan.
//!
//! [`Renewed`] fetches it again before it ends, and when the store refuses one that was good before. While one call
//! fetches, the others use the value that is about to end. Where there is none they wait for what it gets, and for its
//! failure as well. A value that cannot be renewed yet is used to its end.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use docker_registry_driver_api::{Error, ErrorKind, Result};

use crate::driver::Renewal;

/// It is renewed when it has less time left than this, or than half of its life.
const EARLY: Duration = Duration::from_secs(300);

/// How long a fetch may take while there is a value that is still good, and how long the next one waits after a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A refusal so shortly before the end is one because of the end.
const AT_THE_END: Duration = Duration::from_secs(5);

/// After a value that was good before was refused, its successors get this long to prove themselves.
const GRACE: Duration = Duration::from_secs(30);

/// After so many values that were refused at their first use it is the credentials that are wrong.
const MOST_REFUSED_AT_ONCE: u32 = 2;

/// What was fetched.
#[derive(Debug)]
pub struct Fresh<T> {
    /// The value.
    pub value: T,
    /// How long it is good, from the moment when it was asked for. `None`: as long as the store takes it.
    pub life: Option<Duration>,
}

/// A value of which there is one for all calls.
pub struct Renewed<T> {
    /// Held while it is fetched.
    fetching: tokio::sync::Mutex<()>,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    kept: Option<Kept<T>>,
    dropped: Option<Instant>,
    failed: Option<(Instant, Error)>,
    /// How many values were refused at their first use, and no other one was taken since.
    refused_at_once: u32,
}

struct Kept<T> {
    value: T,
    renew: Option<Instant>,
    end: Option<Instant>,
    /// The store took it once.
    is_proved: bool,
}

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        let known = Known { kept: None, dropped: None, failed: None, refused_at_once: 0 };
        Self { fetching: tokio::sync::Mutex::default(), known: Mutex::new(known) }
    }
}

impl<T: Clone> Renewed<T> {
    /// The value, which `fetch` is run for when there is none that is good for a while.
    ///
    /// # Errors
    /// Those of `fetch`, when there is no value that is good.
    pub async fn get(&self, fetch: impl Future<Output = Result<Fresh<T>>>) -> Result<T> {
        let came = Instant::now();
        if let Some(value) = self.good(|kept| kept.renew) {
            return Ok(value);
        }
        if let Some(old) = self.good(|kept| kept.end) {
            return Ok(self.renew(fetch).await.unwrap_or(old));
        }
        let _fetching = self.fetching.lock().await;
        if let Some(value) = self.good(|kept| kept.renew) {
            return Ok(value);
        }
        let failed = self.known().failed.clone();
        if let Some((when, error)) = failed
            && when > came
        {
            // Its reason is ours: who waited does not find out once more, one after the other.
            return Err(error);
        }
        let asked = Instant::now();
        let fetched = fetch.await;
        self.keep(asked, fetched)
    }

    /// A new value, while the old one is still good: `None` when somebody else is at it, or it fails.
    async fn renew(&self, fetch: impl Future<Output = Result<Fresh<T>>>) -> Option<T> {
        let _fetching = self.fetching.try_lock().ok()?;
        if self.known().failed.as_ref().is_some_and(|(when, _)| when.elapsed() < PATIENCE) {
            return None;
        }
        let asked = Instant::now();
        let fetched = tokio::time::timeout(PATIENCE, fetch).await.unwrap_or_else(|_| {
            let message = format!("nothing came within {} seconds", PATIENCE.as_secs());
            Err(Error::new(ErrorKind::Timeout, message))
        });
        match self.keep(asked, fetched) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(%error, "the credentials are about to end and cannot be renewed yet");
                None
            }
        }
    }

    fn keep(&self, asked: Instant, fetched: Result<Fresh<T>>) -> Result<T> {
        let mut known = self.known();
        match fetched {
            Ok(Fresh { value, life }) => {
                // What lives longer than clocks count has no end.
                let end = life.and_then(|life| asked.checked_add(life));
                let renew = life.and_then(|life| asked.checked_add(life - EARLY.min(life / 2)));
                known.kept = Some(Kept { value: value.clone(), renew, end, is_proved: false });
                Ok(value)
            }
            Err(error) => {
                known.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn good(&self, until: impl Fn(&Kept<T>) -> Option<Instant>) -> Option<T> {
        let known = self.known();
        let kept = known.kept.as_ref()?;
        until(kept).is_none_or(|until| until > Instant::now()).then(|| kept.value.clone())
    }
}

impl<T> Renewed<T> {
    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Renewal for Renewed<T> {
    fn accepted(&self) {
        let mut known = self.known();
        known.refused_at_once = 0;
        if let Some(kept) = &mut known.kept {
            kept.is_proved = true;
        }
    }

    /// What was good before and is refused is fetched anew, and so is what has ended by the store's clock. What is refused at
    /// its first use is fetched twice more: not every server of a store has heard of it at once.
    fn failed(&self, mut error: Error) -> Error {
        if error.kind != ErrorKind::Unauthenticated {
            return error;
        }
        let mut known = self.known();
        let is_proved = known.kept.as_ref().is_some_and(|kept| kept.is_proved);
        let soon = Instant::now() + AT_THE_END;
        let has_ended =
            known.kept.as_ref().is_some_and(|kept| error.retryable || kept.end.is_some_and(|end| end < soon));
        let is_early = known.kept.is_some() && !is_proved && known.refused_at_once < MOST_REFUSED_AT_ONCE;
        if is_early {
            known.refused_at_once += 1;
        }
        if is_proved || has_ended {
            known.dropped = Some(Instant::now());
        }
        if is_proved || has_ended || is_early {
            known.kept = None;
        }
        let is_successor = known.dropped.is_some_and(|dropped| dropped.elapsed() < GRACE);
        error.retryable = is_proved || is_early || is_successor;
        error
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn refused() -> Error {
        Error::new(ErrorKind::Unauthenticated, "no")
    }

    struct Source(AtomicU32);

    impl Source {
        async fn fetch(&self, life: Option<Duration>) -> Result<Fresh<u32>> {
            Ok(Fresh { value: self.0.fetch_add(1, Ordering::Relaxed), life })
        }
    }

    #[tokio::test]
    async fn it_is_fetched_once_and_again_when_half_of_a_short_life_is_over() {
        let (renewed, source) = (Renewed::default(), Source(AtomicU32::new(1)));
        for _ in 0..3 {
            assert_eq!(renewed.get(source.fetch(Some(Duration::from_secs(3600)))).await.unwrap(), 1);
        }
        let renewed = Renewed::default();
        assert_eq!(renewed.get(source.fetch(Some(Duration::from_millis(40)))).await.unwrap(), 2);
        tokio::time::sleep(Duration::from_millis(25)).await;
        assert_eq!(renewed.get(source.fetch(None)).await.unwrap(), 3);
        assert_eq!(renewed.get(source.fetch(None)).await.unwrap(), 3, "what has no end stays");
    }

    #[tokio::test]
    async fn what_cannot_be_renewed_yet_is_used_to_its_end() {
        let (renewed, source) = (Renewed::default(), Source(AtomicU32::new(1)));
        assert_eq!(renewed.get(source.fetch(Some(Duration::from_millis(200)))).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_millis(110)).await;
        assert_eq!(renewed.get(async { Err(refused()) }).await.unwrap(), 1);
        // One fetches, the others do not wait for it.
        let hangs = renewed.get(std::future::pending());
        let others = async { (renewed.get(async { Err(refused()) }).await, ()) };
        let first = tokio::select! { biased; value = hangs => value, (value, ()) = others => value };
        assert_eq!(first.unwrap(), 1);
        tokio::time::sleep(Duration::from_millis(110)).await;
        assert!(renewed.get(async { Err(refused()) }).await.is_err());
    }

    #[tokio::test]
    async fn who_waits_while_another_fails_fails_with_it() {
        let (renewed, attempts) = (Renewed::<u32>::default(), AtomicU32::new(0));
        let fetch = || async {
            attempts.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
            Err(refused())
        };
        let calls = (0..20).map(|_| renewed.get(fetch()));
        assert!(futures::future::join_all(calls).await.iter().all(Result::is_err));
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        assert!(renewed.get(fetch()).await.is_err());
        assert_eq!(attempts.load(Ordering::Relaxed), 2, "a later call tries again");
    }

    #[tokio::test]
    async fn a_refusal_counts_when_the_value_was_good_before() {
        let (renewed, source) = (Renewed::default(), Source(AtomicU32::new(1)));
        renewed.get(source.fetch(None)).await.unwrap();
        for next in [2, 3] {
            assert!(renewed.failed(refused()).retryable, "the store may not have heard of it yet");
            assert_eq!(renewed.get(source.fetch(None)).await.unwrap(), next);
        }
        assert!(!renewed.failed(refused()).retryable, "none was ever good");
        assert_eq!(renewed.get(source.fetch(None)).await.unwrap(), 3);
        renewed.accepted();
        assert!(renewed.failed(refused()).retryable);
        assert_eq!(renewed.get(source.fetch(None)).await.unwrap(), 4);
        assert!(renewed.failed(refused()).retryable, "its successor is not proved yet");
    }
}
