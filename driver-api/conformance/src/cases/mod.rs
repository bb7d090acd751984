//! The cases, one file a subject.

use crate::Case;

mod appending;
mod concurrency;
mod conditions;
mod fencing;
mod health;
mod objects;
mod pending_uploads;
mod resuming;
mod uploads;

/// The groups in the order in which they run.
pub(crate) static ALL: &[&[Case]] = &[
    health::CASES,
    objects::CASES,
    uploads::CASES,
    appending::CASES,
    fencing::CASES,
    resuming::CASES,
    pending_uploads::CASES,
    conditions::CASES,
    concurrency::CASES,
];
