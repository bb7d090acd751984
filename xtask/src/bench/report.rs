//! The table: medians of everybody, and the ratios between this server and each of the others.

use std::fmt::{self, Write as _};
use std::iter;
use std::time::Duration;

use super::bars::{self, Ratios, Setting, Verdict};
use super::contestants::{OURS, Other};
use super::load::Measurement;
use super::rows::Row;

/// All measurements: per row, for each contestant. The first is this server, the others follow in their order.
pub(super) struct Report<'rows> {
    peers: Vec<Other>,
    rows: Vec<(&'rows Row, Vec<Vec<Measurement>>)>,
}

/// What a table says of this server's measurements beside another's.
type Cell = fn(&[Measurement], &[Measurement]) -> Option<String>;

/// A row's figures for one contestant.
struct Figures {
    /// Requests per second: the median of the rounds.
    rate: f64,
    /// Microseconds of processor time per request, over all rounds.
    processor: f64,
    /// Mebibytes: the most of all rounds.
    memory: f64,
}

impl Figures {
    fn of(measurements: &[Measurement]) -> Option<Figures> {
        let rates = measurements.iter().map(rate).collect();
        let processor: Duration = measurements.iter().map(|measurement| measurement.processor).sum();
        let requests: f64 = measurements.iter().map(|measurement| measurement.requests).sum();
        let memory = measurements.iter().map(|measurement| measurement.peak_memory).max()?;
        Some(Figures {
            rate: median(rates),
            processor: processor.as_secs_f64() * 1e6 / requests,
            memory: memory as f64 / f64::from(1 << 20),
        })
    }
}

impl<'rows> Report<'rows> {
    /// An empty table of this server and these.
    pub(super) fn new(rows: &[&'rows Row], peers: Vec<Other>) -> Report<'rows> {
        let nothing = || vec![Vec::new(); peers.len() + 1];
        Report { rows: rows.iter().map(|row| (*row, nothing())).collect(), peers }
    }

    /// Adds a measurement of a row and a contestant.
    pub(super) fn add(&mut self, row: usize, contestant: usize, measurement: Measurement) {
        self.rows[row].1[contestant].push(measurement);
    }

    /// What the bars of the project say of these figures.
    pub(super) fn verdicts(&self, setting: Setting) -> Vec<Verdict> {
        let judge = |(row, measurements): &(&Row, Vec<Vec<Measurement>>)| {
            let ratios = measurements[1..].iter().map(|peer| ratios(&measurements[0], peer));
            let peers: Vec<_> = self.peers.iter().copied().zip(ratios).collect();
            bars::judge(row, &peers, setting)
        };
        self.rows.iter().flat_map(judge).collect()
    }

    /// The ratios as tables in Markdown: the rate, the processor time and the memory of this server in those of each
    /// other contestant.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        let tables: [(&str, Cell); 3] = [
            ("Rate of this server, in the other's (lowest to highest round)", |ours, other| {
                let ratios = rate_ratios(ours, other);
                let (lowest, highest) = extremes(&ratios)?;
                Some(format!("{} ({} to {})", short(median(ratios)), short(lowest), short(highest)))
            }),
            ("Processor time per request, in the other's", |ours, other| {
                Some(short(ratios(ours, other)?.processor))
            }),
            ("Peak memory, in the other's", |ours, other| {
                Some(short(Figures::of(ours)?.memory / Figures::of(other)?.memory))
            }),
        ];
        let names: Vec<&str> = self.peers.iter().map(|peer| peer.name()).collect();
        for (title, cell) in tables {
            let _ = writeln!(text, "## {title}\n");
            let _ = writeln!(text, "| load | {} |", names.join(" | "));
            let _ = writeln!(text, "|---{}|", "|---".repeat(names.len()));
            for (row, measurements) in &self.rows {
                let cells: Vec<String> = measurements[1..]
                    .iter()
                    .map(|other| cell(&measurements[0], other).unwrap_or_else(|| "–".to_owned()))
                    .collect();
                if cells.iter().any(|cell| cell != "–") {
                    let _ = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
                }
            }
            text.push('\n');
        }
        text
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:32}{:18}{:>12}{:>8}{:>17}{:>14}{:>8}{:>10}",
            "", "", "requests/s", "ours ×", "(range)", "processor µs", "ours ×", "peak MiB"
        )?;
        for (row, measurements) in &self.rows {
            let Some(ours) = Figures::of(&measurements[0]) else { continue };
            let names = iter::once(OURS).chain(self.peers.iter().map(|peer| peer.name()));
            for (index, (name, other)) in names.zip(measurements).enumerate() {
                let Some(figures) = Figures::of(other) else { continue };
                let title = if index == 0 { row.name } else { "" };
                let ratios = rate_ratios(&measurements[0], other);
                let Some((lowest, highest)) = extremes(&ratios) else { continue };
                writeln!(
                    f,
                    "{:32}{:18}{:>12}{:>8.2}{:>17}{:>14.1}{:>8.2}{:>10.1}",
                    title,
                    name,
                    brief(figures.rate),
                    median(ratios),
                    format!("{lowest:.2}-{highest:.2}"),
                    figures.processor,
                    ours.processor / figures.processor,
                    figures.memory,
                )?;
            }
        }
        Ok(())
    }
}

/// Three digits that matter, for rates from fractions to tens of thousands.
fn brief(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
}

/// Two or three digits that matter, for ratios.
fn short(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

fn rate(measurement: &Measurement) -> f64 {
    measurement.requests / measurement.elapsed.as_secs_f64()
}

/// Ours over the other's, round by round: what disturbs a round disturbs both.
fn rate_ratios(ours: &[Measurement], other: &[Measurement]) -> Vec<f64> {
    ours.iter().zip(other).map(|(ours, other)| rate(ours) / rate(other)).collect()
}

/// This server's figures in another's, where both were measured.
fn ratios(ours: &[Measurement], other: &[Measurement]) -> Option<Ratios> {
    let processor = Figures::of(ours)?.processor / Figures::of(other)?.processor;
    Some(Ratios { rate: median(rate_ratios(ours, other)), processor })
}

fn extremes(ratios: &[f64]) -> Option<(f64, f64)> {
    let lowest = ratios.iter().copied().reduce(f64::min)?;
    Some((lowest, ratios.iter().copied().reduce(f64::max)?))
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
