//! The cases, one file a subject.

use crate::Case;

mod cursors;
mod deleting;
mod facts;
mod health;
mod listing;
mod moving;
mod names;
mod objects;
mod redirects;

/// The groups in the order in which they run.
pub(crate) static ALL: &[&[Case]] = &[
    health::CASES,
    objects::CASES,
    facts::CASES,
    listing::CASES,
    cursors::CASES,
    moving::CASES,
    deleting::CASES,
    names::CASES,
    redirects::CASES,
];
