//! What goes wrong in a fake bucket: by chance, or as a test wants it.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// What happens to one call, or to one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It fails and was not done. A body ends at once without an error.
    Before,
    /// It is done, and its answer gets lost. A body breaks off half way.
    After,
    /// It is done, and the caller waits for ever. A body falls silent half way.
    Never,
}

/// The troubles of a bucket. Without any by default.
#[derive(Default)]
pub(crate) struct Trouble {
    /// Of a hundred calls so many fail.
    failing: u8,
    /// Of a hundred failures so many are silence.
    silent: u8,
    planned: Mutex<VecDeque<Option<When>>>,
}

impl Trouble {
    /// Of a hundred calls and bodies, `failing` fail; of a hundred of these, `silent` wait for ever.
    pub(crate) fn often(failing: u8, silent: u8) -> Self {
        Self { failing, silent, planned: Mutex::default() }
    }

    /// The next calls and bodies have these fates.
    pub(crate) fn plan(&self, fates: impl IntoIterator<Item = Option<When>>) {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).extend(fates);
    }

    /// Whether nothing ever goes wrong by chance.
    pub(crate) fn is_none(&self) -> bool {
        self.failing == 0
    }

    /// The fate of the next call or body.
    pub(crate) fn next(&self) -> Option<When> {
        if let Some(planned) = self.planned.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return planned;
        }
        if fastrand::u8(..100) >= self.failing {
            return None;
        }
        Some(match fastrand::u8(..100) < self.silent {
            true => When::Never,
            false if fastrand::bool() => When::Before,
            false => When::After,
        })
    }
}
