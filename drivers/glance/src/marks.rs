//! What this process is doing just now, by name: so that no collector of leftovers takes it for one, and nobody does it
//! twice at the same time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Names of what is under way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Marks(Arc<Mutex<HashSet<String>>>);

impl Marks {
    /// Says that something begins; `None` when it is under way already. It ends when the mark is dropped.
    pub(crate) fn begin(&self, name: &str) -> Option<Mark> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        is_new.then(|| Mark { name: name.to_owned(), marks: self.clone() })
    }

    /// Whether something is under way.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

/// Something that is under way.
#[derive(Debug)]
pub(crate) struct Mark {
    name: String,
    marks: Marks,
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.marks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_under_way_twice_and_all_ends() {
        let marks = Marks::default();
        let mark = marks.begin("a");
        assert!(mark.is_some() && marks.has("a") && !marks.has("b"));
        assert!(marks.begin("a").is_none() && marks.begin("b").is_some());
        drop(mark);
        assert!(!marks.has("a") && !marks.has("b"));
    }
}
