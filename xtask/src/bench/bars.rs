//! The bars of this project: what its figures must reach beside those of others in the same run.
//!
//! A bar counts only where its row was measured on its peer, on the storage and with the cache that it speaks of: what was
//! not measured is neither met nor missed.

use std::fmt;
use std::mem::discriminant;

use super::contestants::{Cache, Other};
use super::rows::Row;

/// This server's figures of a row, each divided by the peer's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratios {
    pub(super) rate: f64,
    /// Processor time per request.
    pub(super) processor: f64,
}

/// What everybody stores and caches in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// A folder each, and not an object store.
    pub(super) folders: bool,
    pub(super) cache: Option<Cache>,
}

/// What a ratio must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    LeastRate(f64),
    MostProcessor(f64),
}

struct Bar {
    rows: Rows,
    peer: Other,
    when: When,
    bound: Bound,
}

enum Rows {
    Named(&'static str),
    /// Every size and number of clients.
    Pushes,
}

/// In which setting a bar counts.
enum When {
    Always,
    /// The limits know folders only.
    OnFolders,
    With(Cache),
}

const fn named(name: &'static str, peer: Other, when: When, bound: Bound) -> Bar {
    Bar { rows: Rows::Named(name), peer, when, bound }
}

const fn pushes(peer: Other) -> Bar {
    Bar { rows: Rows::Pushes, peer, when: When::Always, bound: Bound::LeastRate(1.0) }
}

const MANIFEST: &str = "manifest GET by tag";

const BARS: &[Bar] = &[
    named(MANIFEST, Other::Hyper, When::With(Cache::Memory), Bound::LeastRate(0.7)),
    named(MANIFEST, Other::DistributionTwo, When::With(Cache::Memory), Bound::MostProcessor(0.05)),
    named(MANIFEST, Other::DistributionTwo, When::With(Cache::Redis), Bound::LeastRate(5.0)),
    named("1 GiB blob GET", Other::Nginx, When::OnFolders, Bound::LeastRate(0.95)),
    named("1 GiB blob GET", Other::Nginx, When::OnFolders, Bound::MostProcessor(1.1)),
    named("1 GiB blob GET over TLS", Other::Nginx, When::OnFolders, Bound::LeastRate(0.8)),
    // At most 1.25 times its time.
    named("1 GiB push", Other::Receiver, When::OnFolders, Bound::LeastRate(0.8)),
    pushes(Other::DistributionTwo),
    pushes(Other::DistributionThree),
    pushes(Other::Zot),
];

/// Nowhere slower than the registry that is named first.
const NOT_SLOWER: Bound = Bound::LeastRate(1.0);
/// Small reads cost a fifth of that registry's processor time.
const LIGHT: Bound = Bound::MostProcessor(0.2);

impl Bar {
    fn counts(&self, row: &Row, peer: Other, setting: Setting) -> bool {
        let of_row = match self.rows {
            Rows::Named(name) => row.name == name,
            Rows::Pushes => row.is_push(),
        };
        let here = match self.when {
            When::Always => true,
            When::OnFolders => setting.folders,
            When::With(cache) => setting.cache == Some(cache),
        };
        of_row && here && self.peer == peer
    }
}

/// What a bar says of one figure.
pub(super) struct Verdict {
    row: &'static str,
    peer: &'static str,
    bound: Bound,
    measured: f64,
}

/// Holds a row to its bars. `peers` are all that were measured, in the order of the command line, with what they have of
/// this row.
pub(super) fn judge(row: &Row, peers: &[(Other, Option<Ratios>)], setting: Setting) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (place, (peer, ratios)) in peers.iter().enumerate() {
        let Some(ratios) = ratios else { continue };
        let bars = BARS.iter().filter(|bar| bar.counts(row, *peer, setting));
        let mut bounds: Vec<Bound> = bars.map(|bar| bar.bound).collect();
        if place == 0 && peer.registry().is_some() {
            let light = row.light.then_some(LIGHT);
            for general in [Some(NOT_SLOWER), light].into_iter().flatten() {
                // A bar of the row's own takes the place of the general one.
                if !bounds.iter().any(|bound| discriminant(bound) == discriminant(&general)) {
                    bounds.push(general);
                }
            }
        }
        verdicts.extend(bounds.into_iter().map(|bound| Verdict {
            row: row.name,
            peer: peer.name(),
            bound,
            measured: match bound {
                Bound::LeastRate(_) => ratios.rate,
                Bound::MostProcessor(_) => ratios.processor,
            },
        }));
    }
    verdicts
}

impl Verdict {
    pub(super) fn is_met(&self) -> bool {
        match self.bound {
            Bound::LeastRate(least) => self.measured >= least,
            Bound::MostProcessor(most) => self.measured <= most,
        }
    }

    fn what(&self) -> String {
        let figure = match self.bound {
            Bound::LeastRate(_) => "rate",
            Bound::MostProcessor(_) => "processor time",
        };
        format!("{}, {figure} in that of {}", self.row, self.peer)
    }

    fn outcome(&self) -> &'static str {
        if self.is_met() { "met" } else { "missed" }
    }

    /// Its line of [`markdown`].
    fn line(&self) -> String {
        let outcome = if self.is_met() { "met" } else { "**missed**" };
        format!("| {} | {} | {:.3} | {outcome} |\n", self.what(), self.bound, self.measured)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::LeastRate(least) => write!(f, "at least {least}"),
            Bound::MostProcessor(most) => write!(f, "at most {most}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, bound, measured) = (self.what(), self.bound, self.measured);
        write!(f, "{}: {what}: {measured:.3}, {bound}", self.outcome())
    }
}

/// The section of a page that says what was reached. Empty where no bar counts.
pub(super) fn markdown(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let lines: String = verdicts.iter().map(Verdict::line).collect();
    format!("## Bars\n\n| what | bar | measured | met or missed |\n|---|---|---|---|\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    const FOLDERS: Setting = Setting { folders: true, cache: None };

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).expect("there is such a row")
    }

    fn ratios(rate: f64, processor: f64) -> Option<Ratios> {
        Some(Ratios { rate, processor })
    }

    /// Each bar that counts, and whether it is met.
    fn judged(name: &str, peers: &[(Other, Option<Ratios>)], setting: Setting) -> Vec<(Bound, bool)> {
        let verdicts = judge(row(name), peers, setting);
        verdicts.iter().map(|verdict| (verdict.bound, verdict.is_met())).collect()
    }

    #[test]
    fn every_bar_is_about_a_row_that_is_measured() {
        for bar in BARS {
            if let Rows::Named(name) = bar.rows {
                assert_eq!(row(name).name, name);
            }
        }
        assert!(ROWS.iter().any(Row::is_push));
    }

    #[test]
    fn a_peer_that_was_not_measured_counts_no_bar() {
        assert!(judged("1 GiB push", &[], FOLDERS).is_empty());
        assert!(judged("1 GiB push", &[(Other::Zot, None), (Other::Receiver, None)], FOLDERS).is_empty());
        assert_eq!(markdown(&[]), "");
    }

    #[test]
    fn a_figure_on_the_bar_meets_it_and_one_beyond_misses_it() {
        let (rate, processor) = (Bound::LeastRate(0.95), Bound::MostProcessor(1.1));
        let met = judged("1 GiB blob GET", &[(Other::Nginx, ratios(0.95, 1.1))], FOLDERS);
        assert_eq!(met, [(rate, true), (processor, true)]);
        let missed = judged("1 GiB blob GET", &[(Other::Nginx, ratios(0.94, 1.11))], FOLDERS);
        assert_eq!(missed, [(rate, false), (processor, false)]);
        let unknown = judged("1 GiB blob GET", &[(Other::Nginx, ratios(f64::NAN, f64::NAN))], FOLDERS);
        assert_eq!(unknown, [(rate, false), (processor, false)]);
    }

    #[test]
    fn a_push_is_held_to_every_registry_and_only_one_row_to_the_receiver() {
        let all = [
            (Other::Receiver, ratios(0.79, 1.0)),
            (Other::DistributionTwo, ratios(1.0, 9.0)),
            (Other::DistributionThree, ratios(0.9, 9.0)),
            (Other::Zot, ratios(1.1, 9.0)),
        ];
        let registries =
            [(Bound::LeastRate(1.0), true), (Bound::LeastRate(1.0), false), (Bound::LeastRate(1.0), true)];
        assert_eq!(judged("1 KiB push, 64 clients", &all, FOLDERS), registries);
        let large = judged("1 GiB push", &all, FOLDERS);
        assert_eq!(large[0], (Bound::LeastRate(0.8), false));
        assert_eq!(large[1..], registries);
    }

    #[test]
    fn what_a_manifest_must_reach_depends_on_the_cache() {
        let peers = [(Other::DistributionTwo, ratios(4.0, 0.1)), (Other::Hyper, ratios(0.6, 2.0))];
        let with = |cache| judged(MANIFEST, &peers, Setting { folders: true, cache });
        assert_eq!(with(None), [(NOT_SLOWER, true), (LIGHT, true)]);
        let memory =
            [(Bound::MostProcessor(0.05), false), (NOT_SLOWER, true), (Bound::LeastRate(0.7), false)];
        assert_eq!(with(Some(Cache::Memory)), memory);
        assert_eq!(with(Some(Cache::Redis)), [(Bound::LeastRate(5.0), false), (LIGHT, true)]);
    }

    #[test]
    fn the_general_bars_are_against_the_first_and_only_if_it_is_a_registry() {
        let behind = |first| judged("1 KiB blob GET", &[(first, ratios(0.5, 0.3))], FOLDERS);
        assert_eq!(behind(Other::Zot), [(NOT_SLOWER, false), (LIGHT, false)]);
        assert!(behind(Other::Nginx).is_empty());
        let second = [(Other::Nginx, None), (Other::Zot, ratios(0.5, 0.3))];
        assert!(judged("1 KiB blob GET", &second, FOLDERS).is_empty());
    }

    #[test]
    fn a_limit_on_folders_says_nothing_of_an_object_store() {
        let limit = [(Other::Nginx, ratios(0.1, 9.0))];
        assert!(judged("1 GiB blob GET", &limit, Setting { folders: false, cache: None }).is_empty());
    }

    #[test]
    fn a_page_says_what_was_missed() {
        let peers = [(Other::Nginx, ratios(0.7512, 1.0))];
        let page = markdown(&judge(row("1 GiB blob GET over TLS"), &peers, FOLDERS));
        let line = "| 1 GiB blob GET over TLS, rate in that of nginx | at least 0.8 | 0.751 | **missed** |\n";
        assert!(page.ends_with(line), "{page}");
    }
}
