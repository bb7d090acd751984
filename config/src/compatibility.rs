//! What old files ask of the server without naming a new key: whose answers it gives, and which caches it is to use.

use crate::reader::Reader;

/// The version of docker-registry whose answers at `/` and `/_ping` are given. Tools that look for a version's own
/// words go on working; nothing else of the API depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compatibility {
    /// 0.6: the name and the flavor at `/`.
    V0_6,
    /// 0.7: the name, the flavor and the version at `/`.
    V0_7,
    /// 0.8: as 0.7.
    V0_8,
    /// 0.9: the text of `issue` at `/`.
    #[default]
    V0_9,
}

impl Compatibility {
    /// The last release of that version, as it named itself.
    pub fn release(self) -> &'static str {
        match self {
            Compatibility::V0_6 => "0.6.9",
            Compatibility::V0_7 => "0.7.3",
            Compatibility::V0_8 => "0.8.1",
            Compatibility::V0_9 => "0.9.1",
        }
    }

    /// A version with or without its last number: `0.8` and `0.8.1`.
    fn parse(text: &str) -> Option<Compatibility> {
        let is = |version: &str| {
            text == version || text.strip_prefix(version).is_some_and(|rest| rest.starts_with('.'))
        };
        [("0.6", Self::V0_6), ("0.7", Self::V0_7), ("0.8", Self::V0_8), ("0.9", Self::V0_9)]
            .into_iter()
            .find_map(|(version, meant)| is(version).then_some(meant))
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Compatibility {
        let text = reader.text("compatibility").unwrap_or_default();
        Compatibility::parse(&text).unwrap_or_else(|| {
            let message = format!("`{text}` is not a version of docker-registry");
            reader.problem("compatibility", message, "one of 0.6, 0.7, 0.8, 0.9");
            Compatibility::default()
        })
    }
}

/// Which caches have a host. Without one, the start says so in the words that people look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Caches {
    /// `cache`: mirrored tags and the queue of differences.
    pub storage: bool,
    /// `cache_lru`: small files.
    pub lru: bool,
}

impl Caches {
    pub(crate) fn read(reader: &Reader<'_>) -> Caches {
        let has = |name| reader.text(name).is_some_and(|host| !host.is_empty());
        Caches { storage: has("cache.host"), lru: has("cache_lru.host") || has("cache_lru.url") }
    }
}
