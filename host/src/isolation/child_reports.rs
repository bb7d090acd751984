//! What the driver's process logs and counts, on its way to the server.
//!
//! Lines wait in a queue of limited length; when the server does not take them, the oldest stay, later ones
//! are dropped, and their number is reported. Counters are added up and not dropped. What has not gone out when
//! the process crashes is lost.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{Debug, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::sync::Notify;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use super::messages::ToServer;
use crate::plugin::DRIVER_EVENTS;

/// Lines that wait, at most.
const MAX_LINES: usize = 1000;
/// Longest line in bytes; the rest of it is cut off.
const MAX_LINE: usize = 16 << 10;

/// What waits to be reported.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    dropped: u64,
    /// By driver and counter.
    counts: BTreeMap<(String, String), u64>,
}

struct Line {
    level: u32,
    driver: String,
    module: String,
    text: String,
}

impl Reports {
    /// Makes this process's log and metrics go here. Only the first call of a process has an effect.
    pub(super) fn install(self: &Arc<Self>, log_level: u32) {
        let level = match log_level {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let events = Forwarded(Arc::clone(self)).with_filter(level);
        let _ = tracing_subscriber::registry().with(events).try_init();
        let _ = metrics::set_global_recorder(Forwarded(Arc::clone(self)));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when there is something to report.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes everything that waits.
    pub(super) fn take(&self) -> Vec<ToServer> {
        let Waiting { lines, dropped, counts } = std::mem::take(&mut *self.waiting());
        let mut reports: Vec<ToServer> = lines
            .into_iter()
            .map(|line| ToServer::Log {
                level: line.level,
                driver: line.driver,
                module: line.module,
                line: line.text,
            })
            .collect();
        if dropped > 0 {
            let line = format!(
                "{dropped} lines of the driver's log were dropped: it logs faster than they are taken"
            );
            reports.push(ToServer::Log { level: 2, driver: String::new(), module: String::new(), line });
        }
        let counts = counts.into_iter();
        reports.extend(counts.map(|((driver, counter), amount)| ToServer::Count { driver, counter, amount }));
        reports
    }

    fn log(&self, line: Line) {
        let mut waiting = self.waiting();
        if waiting.lines.len() < MAX_LINES {
            waiting.lines.push_back(line);
        } else {
            waiting.dropped += 1;
        }
        drop(waiting);
        self.ready.notify_one();
    }

    fn count(&self, driver: &str, counter: &str, amount: u64) {
        let mut waiting = self.waiting();
        let count = waiting.counts.entry((driver.to_owned(), counter.to_owned())).or_default();
        *count = count.saturating_add(amount);
        drop(waiting);
        self.ready.notify_one();
    }
}

/// The process's subscriber and recorder.
struct Forwarded(Arc<Reports>);

impl<S: Subscriber> Layer<S> for Forwarded {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut texts = Texts::default();
        event.record(&mut texts);
        let mut text = texts.message + &texts.others;
        text.truncate(text.floor_char_boundary(MAX_LINE));
        let level = match *metadata.level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        };
        // What is not the driver's comes from the server's own code in this process.
        let module = texts.module.unwrap_or_else(|| metadata.target().to_owned());
        self.0.log(Line { level, driver: texts.driver, module, text });
    }
}

/// The fields of an event: those that the host's services give to a driver's event, and all others.
#[derive(Default)]
struct Texts {
    message: String,
    driver: String,
    module: Option<String>,
    others: String,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "driver" => value.clone_into(&mut self.driver),
            "module" => self.module = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

struct ForwardedCounter {
    reports: Arc<Reports>,
    driver: String,
    counter: String,
}

impl CounterFn for ForwardedCounter {
    fn increment(&self, amount: u64) {
        self.reports.count(&self.driver, &self.counter, amount);
    }

    fn absolute(&self, _value: u64) {}
}

impl Recorder for Forwarded {
    fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        if key.name() != DRIVER_EVENTS {
            return Counter::noop();
        }
        let label = |name| {
            key.labels()
                .find(|label| label.key() == name)
                .map(|label| label.value().to_owned())
                .unwrap_or_default()
        };
        Counter::from_arc(Arc::new(ForwardedCounter {
            reports: Arc::clone(&self.0),
            driver: label("driver"),
            counter: label("event"),
        }))
    }

    fn register_gauge(&self, _key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_counters_add_up() {
        let reports = Reports::default();
        for number in 0..MAX_LINES + 7 {
            let (driver, module, text) = (String::new(), String::new(), number.to_string());
            reports.log(Line { level: 3, driver, module, text });
            reports.count("d", "c", 2);
        }
        let taken = reports.take();
        assert_eq!(taken.len(), MAX_LINES + 2);
        assert!(matches!(&taken[0], ToServer::Log { line, .. } if line == "0"));
        let ToServer::Log { line, level: 2, .. } = &taken[MAX_LINES] else { panic!("{taken:?}") };
        assert!(line.starts_with("7 lines"), "{line}");
        assert!(matches!(taken[MAX_LINES + 1], ToServer::Count { amount: 2014, .. }));
        assert!(reports.take().is_empty());
    }

    #[test]
    fn an_event_of_a_driver_keeps_its_driver_its_module_and_its_fields() {
        let reports = Arc::new(Reports::default());
        let subscriber = tracing_subscriber::registry().with(Forwarded(Arc::clone(&reports)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "driver", driver = "s3", module = "auth", answer = 42, "a {}", "line");
        });
        let taken = reports.take();
        let [ToServer::Log { level: 2, driver, module, line }] = &taken[..] else { panic!("{taken:?}") };
        assert_eq!((driver.as_str(), module.as_str(), line.as_str()), ("s3", "auth", "a line answer=42"));
    }
}
