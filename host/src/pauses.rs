//! Pauses between trials: drawn by lot, so that many who wait for one thing do not come back together.

use std::time::Duration;

/// A pause between a half and the whole of this one.
pub(crate) fn drawn(whole: Duration) -> Duration {
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_at_least_a_half_and_at_most_the_whole() {
        let whole = Duration::from_secs(8);
        let pauses: Vec<Duration> = (0..100).map(|_| drawn(whole)).collect();
        assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
