//! What this process does not believe the cache about, because it writes it or because it *owes* an invalidation.
//!
//! A target is a path, or a scope, which stands for all paths in it. It is barred
//! - while a write of it is under way, and until the tombstone of that write is lifted;
//! - after a write whose outcome is unknown, until that write can no longer take effect;
//! - while the Redis has not been told of a write, because it was away. When it is back, it is told with a tombstone
//!   for the rest of the write's time. A debt that nobody could pay for so long that every entry of the time before
//!   has ended is none any more;
//! - in a Redis Cluster, for as long as an entry of before the write can live: one of its nodes can be replaced by a
//!   replica that has not seen the write, and no connection of ours is lost by it.
//!
//! Elsewhere a write that has ended is remembered for that time. A new connection may lead to a Redis that has gone back
//! to what it was, and there the write is owed again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Targets that are barred one by one. Beyond it everything is, for as long as the longest of them.
const MOST_BARRED: usize = 10_000;

/// All that is barred.
pub(super) struct Barred {
    state: Mutex<State>,
    /// How long an entry can live that was filled before a debt ended.
    lifetime: Duration,
    /// Whether the Redis can go back to what it was without a new connection.
    unsteady: bool,
}

#[derive(Default)]
struct State {
    targets: HashMap<String, Bar>,
    everything: Option<Instant>,
    /// Until when entries of before writes may live that are not remembered one by one.
    crowded: Option<Instant>,
}

#[derive(Debug, Default)]
struct Bar {
    writers: u32,
    /// Until when a write of unknown outcome may take effect.
    unknown: Option<Instant>,
    /// Until when the tombstone is to stay that is owed.
    owed: Option<Instant>,
    /// When the last write had ended, or will have for certain.
    ended: Option<Instant>,
}

/// How a write ended, as far as the cache is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// When the write can no longer take effect, for one whose outcome is unknown.
    pub(super) unknown: Option<Instant>,
    /// Until when the tombstone is to stay that could not be put.
    pub(super) owed: Option<Instant>,
}

fn passed(time: Option<Instant>, extra: Duration, now: Instant) -> bool {
    time.is_none_or(|time| time + extra <= now)
}

impl Bar {
    /// Whether it bars nothing.
    fn is_over(&self, now: Instant, lifetime: Duration) -> bool {
        self.writers == 0 && passed(self.unknown, Duration::ZERO, now) && passed(self.owed, lifetime, now)
    }

    /// Whether it bars nothing and need not be remembered.
    fn is_old(&self, now: Instant, lifetime: Duration) -> bool {
        self.is_over(now, lifetime) && passed(self.ended, lifetime, now)
    }
}

impl State {
    /// Remembers ended writes together and not one by one, when there are too many of them.
    fn make_room(&mut self, now: Instant, lifetime: Duration) {
        if self.targets.len() <= MOST_BARRED {
            return;
        }
        let last = self.targets.values_mut().filter_map(|bar| bar.ended.take()).max();
        self.crowded = self.crowded.max(last.map(|last| last + lifetime));
        self.targets.retain(|_, bar| !bar.is_over(now, lifetime));
    }
}

impl Barred {
    /// `lifetime` is the longest of a changing entry; `unsteady` is a Redis that can go back without a new connection.
    pub(super) fn new(lifetime: Duration, unsteady: bool) -> Self {
        Self { state: Mutex::default(), lifetime, unsteady }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write of the target begins.
    pub(super) fn begin(&self, target: &str) {
        self.lock().targets.entry(target.to_owned()).or_default().writers += 1;
    }

    /// A write of the target has ended.
    pub(super) fn end(&self, target: &str, ending: Ending) {
        let now = Instant::now();
        let mut state = self.lock();
        state.make_room(now, self.lifetime);
        let crowded = state.targets.len() > MOST_BARRED;
        let Some(bar) = state.targets.get_mut(target) else { return };
        bar.writers = bar.writers.saturating_sub(1);
        if crowded {
            // Too many to be told one by one: their entries end by themselves.
            let longest = [ending.unknown, ending.owed, bar.owed, bar.unknown].into_iter().flatten().max();
            if let Some(longest) = longest {
                bar.unknown = None;
                bar.owed = None;
                let until = longest + self.lifetime;
                if bar.writers == 0 {
                    state.targets.remove(target);
                }
                state.everything = state.everything.max(Some(until));
                return;
            }
        }
        bar.unknown = bar.unknown.max(ending.unknown);
        bar.owed = bar.owed.max(ending.owed);
        bar.ended = bar.ended.max(Some(now)).max(ending.unknown);
    }

    /// The Redis may be another one, or know less than it did: what was written lately is owed to it.
    pub(super) fn doubt(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        for bar in state.targets.values_mut() {
            let under_way = (bar.writers > 0).then_some(now);
            bar.owed = bar.owed.max(bar.ended).max(under_way);
        }
        state.everything = state.everything.max(state.crowded);
    }

    /// Bars everything for the lifetime of an entry.
    pub(super) fn bar_everything(&self, time: Duration) {
        let until = Instant::now() + time + self.lifetime;
        let mut state = self.lock();
        state.everything = state.everything.max(Some(until));
    }

    /// Whether nothing may be believed about a path.
    pub(super) fn bars(&self, path: &str, scope: Option<&str>) -> bool {
        let now = Instant::now();
        let state = self.lock();
        let crowded = state.crowded.filter(|_| self.unsteady);
        if state.everything.max(crowded).is_some_and(|until| until > now) {
            return true;
        }
        if state.targets.is_empty() {
            return false;
        }
        let is_barred = |bar: &Bar| {
            let over = if self.unsteady { Bar::is_old } else { Bar::is_over };
            !over(bar, now, self.lifetime)
        };
        let bars = |target| state.targets.get(target).is_some_and(is_barred);
        bars(path) || scope.is_some_and(bars)
    }

    /// The debts: targets and the time that their tombstones are to stay. Forgets what is over.
    pub(super) fn debts(&self) -> Vec<(String, Duration)> {
        let now = Instant::now();
        let mut state = self.lock();
        state.targets.retain(|_, bar| !bar.is_old(now, self.lifetime));
        let owed = state.targets.iter().filter_map(|(target, bar)| Some((target, bar.owed?)));
        // A time that has passed still deletes what is there.
        owed.map(|(target, until)| (target.clone(), until.saturating_duration_since(now))).collect()
    }

    /// A debt was paid with a tombstone until `until`; one that grew meanwhile is still owed.
    pub(super) fn paid(&self, target: &str, until: Instant) {
        let mut state = self.lock();
        let Some(bar) = state.targets.get_mut(target) else { return };
        if bar.owed.is_some_and(|owed| owed <= until) {
            bar.owed = None;
        }
        if bar.is_old(Instant::now(), self.lifetime) {
            state.targets.remove(target);
        }
    }

    /// Writes under way, those whose tombstone is not lifted yet included.
    pub(super) fn writers(&self) -> usize {
        self.lock().targets.values().filter(|bar| bar.writers > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);
    const CLEAN: Ending = Ending { unknown: None, owed: None };

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn a_target_is_barred_until_its_last_writer_has_ended() {
        let barred = Barred::new(LIFETIME, false);
        barred.begin("s/a");
        barred.begin("s/a");
        barred.end("s/a", CLEAN);
        assert!(barred.bars("s/a", Some("s")) && !barred.bars("s/b", Some("s")));
        barred.end("s/a", CLEAN);
        assert!(!barred.bars("s/a", Some("s")));
        barred.begin("s");
        assert!(barred.bars("s/a", Some("s")) && !barred.bars("t/a", Some("t")));
    }

    #[test]
    fn a_debt_bars_until_it_is_paid_for_all_of_its_time() {
        let barred = Barred::new(LIFETIME, false);
        let owed = soon();
        barred.begin("a");
        barred.end("a", Ending { unknown: None, owed: Some(owed) });
        assert!(barred.bars("a", None));
        let debts = barred.debts();
        assert!(debts.len() == 1 && debts[0].0 == "a" && debts[0].1 > Duration::from_secs(29));
        barred.paid("a", owed - Duration::from_secs(1));
        assert!(barred.bars("a", None), "it was told for too short a time");
        barred.paid("a", owed);
        assert!(!barred.bars("a", None) && barred.debts().is_empty());
    }

    #[test]
    fn a_debt_ends_when_no_entry_of_its_time_can_live() {
        let barred = Barred::new(LIFETIME, false);
        for (ago, is_barred) in [(LIFETIME - Duration::from_secs(1), true), (LIFETIME, false)] {
            barred.begin("a");
            barred.end("a", Ending { unknown: None, owed: Instant::now().checked_sub(ago) });
            assert_eq!(barred.bars("a", None), is_barred);
            barred.lock().targets.clear();
        }
    }

    #[test]
    fn a_write_of_unknown_outcome_bars_although_redis_knows() {
        let barred = Barred::new(LIFETIME, false);
        barred.begin("a");
        barred.end("a", Ending { unknown: Some(soon()), owed: None });
        assert!(barred.bars("a", None) && barred.debts().is_empty());
    }

    #[test]
    fn a_write_is_owed_again_to_a_redis_that_may_have_gone_back() {
        for unsteady in [false, true] {
            let barred = Barred::new(LIFETIME, unsteady);
            barred.begin("a");
            barred.end("a", CLEAN);
            assert_eq!(barred.bars("a", None), unsteady, "a Cluster goes back unseen");
            assert!(barred.debts().is_empty());
            for _ in 0..2 {
                barred.doubt();
                assert!(barred.bars("a", None));
                assert_eq!(barred.debts(), [("a".to_owned(), Duration::ZERO)]);
                barred.paid("a", Instant::now());
                assert_eq!(barred.bars("a", None), unsteady);
            }
        }
    }

    #[test]
    fn many_writes_take_no_memory_and_bar_only_in_doubt() {
        let barred = Barred::new(LIFETIME, false);
        for number in 0..MOST_BARRED + 100 {
            let target = number.to_string();
            barred.begin(&target);
            barred.end(&target, CLEAN);
        }
        assert!(barred.lock().targets.len() <= MOST_BARRED + 1);
        assert!(!barred.bars("0", None));
        barred.doubt();
        assert!(barred.bars("0", None));
    }

    #[test]
    fn too_many_debts_bar_everything_and_take_no_memory() {
        let barred = Barred::new(LIFETIME, false);
        for number in 0..MOST_BARRED + 100 {
            let target = number.to_string();
            barred.begin(&target);
            barred.end(&target, Ending { unknown: None, owed: Some(soon()) });
        }
        assert!(barred.lock().targets.len() <= MOST_BARRED + 1);
        assert!(barred.bars("anything", None));
    }
}
