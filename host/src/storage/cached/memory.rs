//! What is kept in this process, within a number of bytes.
//!
//! Content that never changes is kept until its end. A changing entry is kept as long as Redis says when it changes:
//! it carries the generation of the connection that would have been told, and the version of its scope. When the
//! connection is gone or the scope was deleted, it is not believed any more, from that moment on and without a search.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use docker_registry_driver_api::Object;
use quick_cache::{Weighter, sync::Cache};

/// Scopes whose version is remembered one by one. Beyond it all of them get a new one.
const MOST_SCOPES: usize = 4096;
/// What an entry costs beside its path and content, in bytes, roughly.
const OVERHEAD: u64 = 256;

/// An entry.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) object: Object,
    /// When it is believed no longer.
    pub(super) end: Instant,
    /// For an entry that can change: what must still be so.
    pub(super) changing: Option<Proof>,
}

/// What a changing entry was kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    /// The generation of the connection that is told of changes.
    pub(super) generation: u64,
    /// The version of the scope.
    pub(super) version: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<String, Held> for Weight {
    fn weight(&self, path: &String, held: &Held) -> u64 {
        (path.len() + held.object.content.len()) as u64 + OVERHEAD
    }
}

/// The entries and the versions of scopes.
pub(super) struct Memory {
    entries: Cache<String, Held, Weight>,
    scopes: Mutex<Scopes>,
}

#[derive(Default)]
struct Scopes {
    versions: HashMap<String, u64>,
    /// The version of all others.
    base: u64,
    last: u64,
}

impl Memory {
    /// At most so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        Self { entries: Cache::with_weighter(items, bytes, Weight), scopes: Mutex::default() }
    }

    fn scopes(&self) -> MutexGuard<'_, Scopes> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of a scope now.
    pub(super) fn version(&self, scope: Option<&str>) -> u64 {
        let Some(scope) = scope else { return 0 };
        let scopes = self.scopes();
        scopes.versions.get(scope).copied().unwrap_or(scopes.base)
    }

    /// Believes nothing of a scope any more.
    pub(super) fn forget_scope(&self, scope: &str) {
        let mut scopes = self.scopes();
        scopes.last += 1;
        let last = scopes.last;
        if scopes.versions.len() >= MOST_SCOPES {
            scopes.versions.clear();
            scopes.base = last;
        }
        scopes.versions.insert(scope.to_owned(), last);
    }

    /// The entry, if it may be believed now. `generation` is that of the connection; `None` without one.
    pub(super) fn get(&self, path: &str, scope: Option<&str>, generation: Option<u64>) -> Option<Object> {
        let held = self.entries.get(path)?;
        let believed = match held.changing {
            None => true,
            Some(proof) => Some(proof.generation) == generation && proof.version == self.version(scope),
        };
        if believed && held.end > Instant::now() {
            return Some(held.object);
        }
        self.entries.remove(path);
        None
    }

    pub(super) fn insert(&self, path: &str, held: Held) {
        self.entries.insert(path.to_owned(), held);
    }

    pub(super) fn remove(&self, path: &str) {
        self.entries.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use docker_registry_driver_api::ObjectInfo;

    use super::*;

    fn held(bytes: usize, changing: Option<Proof>, lifetime: Duration) -> Held {
        let info = ObjectInfo { size: bytes as u64, modified: None, etag: None };
        let object = Object { content: Bytes::from(vec![0; bytes]), info };
        Held { object, end: Instant::now() + lifetime, changing }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_changing_entry_is_believed_while_its_connection_and_its_scope_last() {
        let memory = Memory::new(1 << 20);
        let proof = Proof { generation: 1, version: memory.version(Some("r")) };
        memory.insert("r/a", held(1, Some(proof), LONG));
        assert!(memory.get("r/a", Some("r"), Some(1)).is_some());
        memory.forget_scope("other");
        assert!(memory.get("r/a", Some("r"), Some(1)).is_some());
        for (generation, scope_gone) in [(None, false), (Some(2), false), (Some(1), true)] {
            let proof = Proof { generation: 1, version: memory.version(Some("r")) };
            memory.insert("r/a", held(1, Some(proof), LONG));
            if scope_gone {
                memory.forget_scope("r");
            }
            assert!(memory.get("r/a", Some("r"), generation).is_none());
        }
    }

    #[test]
    fn many_scopes_are_forgotten_together() {
        let memory = Memory::new(1 << 20);
        let proof = Proof { generation: 1, version: memory.version(Some("r")) };
        memory.insert("r/a", held(1, Some(proof), LONG));
        for number in 0..=MOST_SCOPES {
            memory.forget_scope(&number.to_string());
        }
        assert!(memory.scopes().versions.len() <= MOST_SCOPES);
        assert!(memory.get("r/a", Some("r"), Some(1)).is_none());
    }

    #[test]
    fn bytes_and_lifetimes_have_an_end() {
        let memory = Memory::new(1 << 20);
        memory.insert("over", held(1, None, Duration::ZERO));
        assert!(memory.get("over", None, None).is_none());
        for number in 0..1000 {
            memory.insert(&number.to_string(), held(10_000, None, LONG));
        }
        assert!(memory.entries.weight() <= 1 << 20);
    }
}
