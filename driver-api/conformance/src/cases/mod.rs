//! The cases, one file a subject.

use crate::Case;

mod health;
mod objects;
mod uploads;

/// The groups in the order in which they run.
pub(crate) static ALL: &[&[Case]] = &[health::CASES, objects::CASES, uploads::CASES];
