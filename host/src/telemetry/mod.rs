//! What the server says about itself: logs and metrics.

pub mod logs;
pub mod metrics;
pub mod names;
pub(crate) mod seldom;
