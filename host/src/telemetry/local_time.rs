//! The time as people read it: in the zone that `TZ` names, with its offset.
//!
//! `TZ` is read once; the zones are those of the machine (`/usr/share/zoneinfo`), without `TZ` that of
//! `/etc/localtime`. A zone that is not there is UTC, and [`problem`] says so.

use std::{fmt, sync::LazyLock};

use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

static ZONE: LazyLock<Result<TimeZone, String>> =
    LazyLock::new(|| TimeZone::try_system().map_err(|error| error.to_string()));

/// Now, in the zone of the process.
pub(super) fn now() -> ZonedDateTime {
    Timestamp::now().to_zoned_datetime(ZONE.as_ref().cloned().unwrap_or(TimeZone::UTC))
}

/// Why times are in UTC although `TZ` asks for something else.
pub(super) fn problem() -> Option<String> {
    let name = std::env::var_os("TZ")?;
    let error = ZONE.as_ref().err()?;
    Some(format!("times are in UTC: TZ={} is no time zone of this machine: {error}", name.to_string_lossy()))
}

/// Time stamps of lines for people, for example `2026-01-31T23:59:59.123456+08:00`.
pub(super) struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", now().strftime("%Y-%m-%dT%H:%M:%S%.6f%:z"))
    }
}
