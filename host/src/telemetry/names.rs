//! Every metric of the server: name, labels, unit and meaning in one place.
//!
//! Names and labels that distribution has too mean the same as there, so that dashboards go on
//! working. No metric carries the name of a repository: their number has no limit.

/// Counter. Finished requests, by `handler` (route class), `method` and `code`.
pub const HTTP_REQUESTS: &str = "registry_http_requests_total";
/// Histogram, seconds. From the end of the request header to the end of the response, by `handler` and
/// `method`.
pub const HTTP_DURATION: &str = "registry_http_request_duration_seconds";
/// Counter, bytes. Content of responses, by `handler`.
pub const HTTP_SENT_BYTES: &str = "registry_http_response_bytes_total";
/// Gauge. Requests under way, by `handler`.
pub const HTTP_IN_FLIGHT: &str = "registry_http_in_flight_requests";
/// Counter. Handlers that panicked.
pub const HTTP_PANICS: &str = "registry_http_panics_total";
/// Gauge. Open client connections.
pub const HTTP_CONNECTIONS: &str = "registry_http_connections";
/// Counter. Connections beyond `limits.max_connections` that were told to come later.
pub const HTTP_CONNECTIONS_REFUSED: &str = "registry_http_connections_refused_total";
/// Counter, bytes. Content that left by `sendfile(2)`.
pub const SENDFILE_BYTES: &str = "registry_http_sendfile_bytes_total";
/// Histogram, seconds. Storage calls, by `driver` and `action` (the driver method). For `read` until
/// the object is open.
pub const STORAGE_ACTION: &str = "registry_storage_action_seconds";
/// Counter. Failed storage calls, by `driver`, `action` and `kind` of the error. An absent object is
/// an answer and not counted.
pub const STORAGE_ERRORS: &str = "registry_storage_errors_total";
/// Counter. Storage calls that were made again after an error, by `driver` and `action`.
pub const STORAGE_RETRIES: &str = "registry_storage_retries_total";
/// Counter. Storage calls, uploads and streams that were given up because the driver did not answer in time,
/// by `driver` and `action`.
pub const STORAGE_STUCK: &str = "registry_storage_stuck_calls_total";
/// Counter. Storage calls that were never made because their deadline passed while others were under way,
/// by `driver` and `kind`, `read` or `write`.
pub const STORAGE_NO_TURN: &str = "registry_storage_no_turn_total";
/// Counter. Small reads that were answered, by `tier`: `memory` (this process) or `redis`.
pub const CACHE_HITS: &str = "registry_cache_hits_total";
/// Counter. Small reads that a `tier` was asked for in vain. Those of one object at the same time ask Redis once.
pub const CACHE_MISSES: &str = "registry_cache_misses_total";
/// Counter. Commands that Redis did not answer in time, or at all (`kind` is `away`), or refused (`refused`), by
/// `tier`.
pub const CACHE_ERRORS: &str = "registry_cache_errors_total";
/// Counter, bytes. Content that came out of the cache, by `tier`.
pub const CACHE_BYTES: &str = "registry_cache_bytes_total";
/// Gauge, 0 or 1. Whether the storage answered the last health checks.
pub const STORAGE_HEALTHY: &str = "registry_storage_healthy";
/// Gauge. File descriptors that the process has open; the name is that of Prometheus' own clients.
pub const OPEN_FILES: &str = "process_open_fds";
/// Gauge. How many it may have open.
pub const MOST_OPEN_FILES: &str = "process_max_fds";
/// Counter. Processes of drivers that ended by themselves and were started again, by `driver`.
pub const DRIVER_RESTARTS: &str = "registry_driver_restarts_total";
/// Gauge, always 1. The labels `version`, `driver` and `driver_version` say what runs.
pub const INFO: &str = "registry_info";

/// Name, kind and help text of all of them.
pub(crate) const ALL: [(&str, Kind, &str); 22] = [
    (HTTP_REQUESTS, Kind::Counter, "Finished requests"),
    (HTTP_DURATION, Kind::Histogram, "Time from the end of the request header to the end of the response"),
    (HTTP_SENT_BYTES, Kind::Counter, "Bytes of response content"),
    (HTTP_IN_FLIGHT, Kind::Gauge, "Requests under way"),
    (HTTP_PANICS, Kind::Counter, "Handlers that panicked"),
    (HTTP_CONNECTIONS, Kind::Gauge, "Open client connections"),
    (HTTP_CONNECTIONS_REFUSED, Kind::Counter, "Client connections that were told to come later"),
    (SENDFILE_BYTES, Kind::Counter, "Bytes of response content that left by sendfile"),
    (STORAGE_ACTION, Kind::Histogram, "Time of storage calls"),
    (STORAGE_ERRORS, Kind::Counter, "Failed storage calls"),
    (STORAGE_RETRIES, Kind::Counter, "Storage calls that were made again"),
    (STORAGE_STUCK, Kind::Counter, "Storage calls that the driver did not answer in time"),
    (STORAGE_NO_TURN, Kind::Counter, "Storage calls that got no turn in time"),
    (CACHE_HITS, Kind::Counter, "Small reads that the cache answered"),
    (CACHE_MISSES, Kind::Counter, "Small reads that the cache did not answer"),
    (CACHE_ERRORS, Kind::Counter, "Commands to the cache's Redis that failed"),
    (CACHE_BYTES, Kind::Counter, "Bytes of content out of the cache"),
    (STORAGE_HEALTHY, Kind::Gauge, "Whether the storage answered the last health checks"),
    (OPEN_FILES, Kind::Gauge, "Open file descriptors"),
    (MOST_OPEN_FILES, Kind::Gauge, "Most file descriptors that may be open"),
    (DRIVER_RESTARTS, Kind::Counter, "Processes of drivers that ended by themselves"),
    (INFO, Kind::Gauge, "What runs, in the labels"),
];

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}
