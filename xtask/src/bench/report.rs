//! The table: medians of everybody, and the ratios between this server and each of the others.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::load::Measurement;
use super::rows::Row;

/// Processor time of small reads, as a part of the peer's, that this server has to do with.
const LIGHT: f64 = 0.2;

/// All measurements: per row, for each contestant. The first is this server, the second the peer of the bars.
pub(super) struct Report<'rows> {
    names: Vec<&'static str>,
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
    /// An empty table of these contestants.
    pub(super) fn new(rows: &[&'rows Row], names: Vec<&'static str>) -> Report<'rows> {
        let nothing = || names.iter().map(|_| Vec::new()).collect();
        Report { rows: rows.iter().map(|row| (*row, nothing())).collect(), names }
    }

    /// Adds a measurement of a row and a contestant.
    pub(super) fn add(&mut self, row: usize, contestant: usize, measurement: Measurement) {
        self.rows[row].1[contestant].push(measurement);
    }

    /// The bars of the project that these figures do not reach, against the first of the others.
    pub(super) fn missed_bars(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for (row, measurements) in &self.rows {
            let [ours, peer, ..] = measurements.as_slice() else { continue };
            let (Some(ours_figures), Some(peer_figures)) = (Figures::of(ours), Figures::of(peer)) else {
                continue;
            };
            let speed = median(rate_ratios(ours, peer));
            if speed < 1.0 {
                missed.push(format!("{}: {speed:.2} times the peer's rate, and 1 is the bar", row.name));
            }
            let processor = ours_figures.processor / peer_figures.processor;
            if row.light && processor > LIGHT {
                missed.push(format!(
                    "{}: {processor:.2} of the peer's processor time, and {LIGHT} is the bar",
                    row.name
                ));
            }
        }
        missed
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
                Some(short(Figures::of(ours)?.processor / Figures::of(other)?.processor))
            }),
            ("Peak memory, in the other's", |ours, other| {
                Some(short(Figures::of(ours)?.memory / Figures::of(other)?.memory))
            }),
        ];
        for (title, cell) in tables {
            let _ = writeln!(text, "## {title}\n");
            let _ = writeln!(text, "| load | {} |", self.names[1..].join(" | "));
            let _ = writeln!(text, "|---{}|", "|---".repeat(self.names.len() - 1));
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
            for (index, (name, other)) in self.names.iter().zip(measurements).enumerate() {
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

fn extremes(ratios: &[f64]) -> Option<(f64, f64)> {
    let lowest = ratios.iter().copied().reduce(f64::min)?;
    Some((lowest, ratios.iter().copied().reduce(f64::max)?))
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
