//! HTTP as the object-store drivers speak it: one client for everything, one table of failures.
//!
//! [`Transport`] sends the requests of this crate, of `object_store` and of the credential providers of
//! `reqsign`. [`exchange`] remembers what a store answered, [`fault`] turns it into the driver's error.
//! No error, log line or `Debug` output holds a query string or a header: both carry signatures.

mod answer;
pub mod exchange;
pub mod fault;
mod options;
mod progress;
mod ranges;
mod reason;
mod signing;
mod transport;

pub use answer::AnswerBody;
pub(crate) use answer::exactly;
pub use exchange::Record;
pub use fault::{Advice, Call, Refusal, Subject};
pub use options::{HttpOptions, ProxyOptions};
pub use ranges::{bounded, content_length, content_range, range_header, says_empty};
pub use reason::{Reason, TransportError};
pub use transport::{Transport, normal_address};

#[cfg(test)]
mod tests;
