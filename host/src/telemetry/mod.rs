//! What the server says about itself: logs and metrics.

mod access_lines;
mod field_values;
mod local_time;
mod log_file;
pub mod logs;
mod logstash;
pub mod metrics;
pub mod names;
pub(crate) mod seldom;
