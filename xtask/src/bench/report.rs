//! The table: medians of both servers, and the ratios between them.

use std::fmt;
use std::time::Duration;

use super::load::Measurement;
use super::rows::Row;

/// Processor time of small reads, as a part of the peer's, that this server has to do with.
const LIGHT: f64 = 0.2;

/// All measurements: per row, for this server and the peer.
pub(super) struct Report<'rows> {
    rows: Vec<(&'rows Row, [Vec<Measurement>; 2])>,
}

/// A row's figures for one server.
struct Figures {
    /// Requests per second: the median of the rounds.
    rate: f64,
    /// Microseconds of processor time per request, over all rounds.
    processor: f64,
    /// Mebibytes: the most of all rounds.
    memory: f64,
}

impl Figures {
    fn of(measurements: &[Measurement]) -> Figures {
        let rates = measurements.iter().map(rate).collect();
        let processor: Duration = measurements.iter().map(|measurement| measurement.processor).sum();
        let requests: u64 = measurements.iter().map(|measurement| measurement.requests).sum();
        let memory = measurements.iter().map(|measurement| measurement.peak_memory).max().unwrap_or(0);
        Figures {
            rate: median(rates),
            processor: processor.as_secs_f64() * 1e6 / requests as f64,
            memory: memory as f64 / f64::from(1 << 20),
        }
    }
}

impl<'rows> Report<'rows> {
    /// An empty table.
    pub(super) fn new(rows: &[&'rows Row]) -> Report<'rows> {
        Report { rows: rows.iter().map(|row| (*row, [Vec::new(), Vec::new()])).collect() }
    }

    /// Adds a measurement of a row, of this server (0) or the peer (1).
    pub(super) fn add(&mut self, row: usize, server: usize, measurement: Measurement) {
        self.rows[row].1[server].push(measurement);
    }

    /// The bars of the project that these figures do not reach.
    pub(super) fn missed_bars(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for (row, measurements) in &self.rows {
            let speed = median(rate_ratios(measurements));
            if speed < 1.0 {
                missed.push(format!("{}: {speed:.2} times the peer's rate, and 1 is the bar", row.name));
            }
            let [ours, peer] = measurements.each_ref().map(|measurements| Figures::of(measurements));
            let processor = ours.processor / peer.processor;
            if row.light && processor > LIGHT {
                missed.push(format!(
                    "{}: {processor:.2} of the peer's processor time, and {LIGHT} is the bar",
                    row.name
                ));
            }
        }
        missed
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:20}|{:^46}|{:^31}|{:^25}",
            "", "requests per second", "processor µs/request", "peak MiB"
        )?;
        writeln!(
            f,
            "{:20}|{:>10}{:>10}{:>8}{:>17} |{:>12}{:>12}{:>6} |{:>9}{:>9}{:>6}",
            "", "ours", "peer", "ratio", "(range)", "ours", "peer", "ratio", "ours", "peer", "ratio"
        )?;
        for (row, measurements) in &self.rows {
            let [ours, peer] = measurements.each_ref().map(|measurements| Figures::of(measurements));
            let ratios = rate_ratios(measurements);
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            writeln!(
                f,
                "{:20}|{:>10}{:>10}{:>8.2}{:>17} |{:>12.1}{:>12.1}{:>6.2} |{:>9.1}{:>9.1}{:>6.2}",
                row.name,
                brief(ours.rate),
                brief(peer.rate),
                median(ratios),
                format!("{lowest:.2}-{highest:.2}"),
                ours.processor,
                peer.processor,
                ours.processor / peer.processor,
                ours.memory,
                peer.memory,
                ours.memory / peer.memory,
            )?;
        }
        Ok(())
    }
}

/// Three digits that matter, for rates from fractions to tens of thousands.
fn brief(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
}

fn rate(measurement: &Measurement) -> f64 {
    measurement.requests as f64 / measurement.elapsed.as_secs_f64()
}

/// Ours over the peer's, round by round: what disturbs a round disturbs both.
fn rate_ratios([ours, peer]: &[Vec<Measurement>; 2]) -> Vec<f64> {
    ours.iter().zip(peer).map(|(ours, peer)| rate(ours) / rate(peer)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
