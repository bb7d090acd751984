//! How often what failed for now is asked of the cluster again, and after which pauses.
//!
//! A call of this driver makes many requests: a look for what was never finished, some hundreds. Where connections break
//! now and then, one of them always fails, and a call that is made again as a whole never gets through. So each request,
//! or each round of a change, is made again by itself. The pauses double and are drawn by lot, and all together last about
//! as long as the longest pause before a node is connected again. Where each attempt takes long as well, none begins
//! later than [`LONGEST`] after the first has failed. Whoever's deadline passes drops the call, which ends this as well.

use std::time::Duration;

use docker_registry_driver_api::{Error, Result};
use tokio::time::{Instant, sleep};

/// The longest first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often something is made again.
const MOST_TIMES: u32 = 9;
/// For how long something is made again from its first failure on, what the attempts take included.
const LONGEST: Duration = Duration::from_secs(10);

/// What is left of it.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    times: u32,
    /// From the first failure on.
    end: Option<Instant>,
}

impl Patience {
    /// Waits until it is time to try again; `false` at once when that was often enough, or for long enough.
    pub(crate) async fn again(&mut self) -> bool {
        self.times < MOST_TIMES && self.again_until(Instant::now() + LONGEST).await
    }

    /// Like [`Patience::again`], until then, however often; `false` at once when it is later.
    pub(crate) async fn again_until(&mut self, end: Instant) -> bool {
        let own = *self.end.get_or_insert_with(|| Instant::now() + LONGEST);
        let left = end.min(own).saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let longest = (FIRST_PAUSE * (1 << self.times.min(MOST_TIMES))).min(LONGEST_PAUSE);
        self.times += 1;
        // The last attempt is made at the end.
        sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0).min(left)).await;
        true
    }
}

/// What failed for now.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    patience: Patience,
    /// The first error. Those behind it tend to say no more than that a node is away.
    first: Option<Error>,
}

impl Failed {
    /// Waits until it is time to try again after an error.
    ///
    /// # Errors
    /// That one when it does not pass; the first one when that was often enough.
    pub(crate) async fn again(&mut self, error: Error) -> Result<()> {
        if !error.retryable {
            return Err(error);
        }
        let first = self.first.get_or_insert(error);
        if self.patience.again().await { Ok(()) } else { Err(first.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::ErrorKind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_outlasts_the_longest_pause_of_a_node_and_has_an_end() {
        for _ in 0..100 {
            let (begin, mut patience) = (Instant::now(), Patience::default());
            assert!(patience.again().await);
            assert!(begin.elapsed() <= Duration::from_millis(30), "the first pause is short");
            let mut times = 1;
            while patience.again().await {
                times += 1;
            }
            assert_eq!(times, MOST_TIMES);
            let whole = begin.elapsed();
            assert!(whole > Duration::from_secs(2) && whole < Duration::from_secs(5), "{whole:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_again_for_long_however_long_each_attempt_takes() {
        for attempt in [1, 4, 9, 60].map(Duration::from_secs) {
            let mut failed = Failed::default();
            sleep(attempt).await;
            let begin = Instant::now();
            assert!(
                failed.again(Error::new(ErrorKind::Unavailable, "no answer")).await.is_ok(),
                "{attempt:?}"
            );
            loop {
                assert!(begin.elapsed() <= LONGEST, "an attempt begins after {:?}", begin.elapsed());
                sleep(attempt).await;
                let late = Error::new(ErrorKind::Unavailable, "no answer");
                if failed.again(late).await.is_err() {
                    break;
                }
            }
            assert!(begin.elapsed() >= LONGEST, "it ends after {:?}", begin.elapsed());
            assert!(begin.elapsed() <= LONGEST + attempt, "it ends after {:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_until_a_time_ends_with_it() {
        for time in [1, 3, 8].map(Duration::from_secs) {
            let (begin, mut patience) = (Instant::now(), Patience::default());
            while patience.again_until(begin + time).await {}
            assert_eq!(begin.elapsed(), time, "the last attempt is at the end");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_is_told_and_one_that_does_not_pass_at_once() {
        let mut failed = Failed::default();
        let error = |text: &str| Error::new(ErrorKind::Unavailable, text);
        failed.again(error("it hung up")).await.unwrap();
        let told = loop {
            if let Err(told) = failed.again(error("it is away")).await {
                break told;
            }
        };
        assert_eq!(told.message, "it hung up");
        let full = Error::new(ErrorKind::StorageFull, "no room");
        assert_eq!(Failed::default().again(full).await.unwrap_err().kind, ErrorKind::StorageFull);
    }
}
