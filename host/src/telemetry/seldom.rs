//! A line in the log now and then, for what can happen ten thousand times a second.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// At least so long between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Says when a line is due.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Seldom {
    /// The first line is due at once.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State { last: None, held_back: 0 }))
    }

    /// `None`: hold this line back. Else write it; the number is of those held back since the last one.
    pub(crate) fn now(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now < last + PAUSE) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_between_are_held_back_and_counted() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        assert_eq!(seldom.at(start), Some(0));
        assert_eq!(seldom.at(start + PAUSE / 2), None);
        assert_eq!(seldom.at(start + PAUSE / 2), None);
        assert_eq!(seldom.at(start + PAUSE), Some(2));
        assert_eq!(seldom.at(start + PAUSE * 2), Some(0));
    }
}
