//! The cases, one file a subject.

use crate::Case;

mod appending;
mod cancellation;
mod concurrency;
mod conditions;
mod cursors;
mod deleting;
mod errors;
mod facts;
mod fencing;
mod health;
mod large_content;
mod large_listings;
mod listing;
mod many_callers;
mod moving;
mod names;
mod objects;
mod pending_uploads;
mod reading;
mod redirects;
mod resuming;
mod slow_readers;
mod uploads;

/// The groups in the order in which they run.
pub(crate) static ALL: &[&[Case]] = &[
    health::CASES,
    objects::CASES,
    facts::CASES,
    reading::CASES,
    listing::CASES,
    cursors::CASES,
    moving::CASES,
    deleting::CASES,
    names::CASES,
    redirects::CASES,
    uploads::CASES,
    appending::CASES,
    fencing::CASES,
    resuming::CASES,
    pending_uploads::CASES,
    conditions::CASES,
    concurrency::CASES,
    many_callers::CASES,
    cancellation::CASES,
    slow_readers::CASES,
    errors::CASES,
    large_listings::CASES,
    large_content::CASES,
];
