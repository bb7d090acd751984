//! The ELF note that tells what a library is without running it.
//!
//! Section `.note.docker-registry-driver`, owner `docker-registry-driver`, type 1, content: lines of
//! `key=value`: `name`, `api` (major.minor), `version` (of the driver's package), `flags` (words
//! separated by commas). Unknown keys and flags are ignored. The flags: `nonblocking` for a driver whose calls may
//! be polled in place, `plain-c` for one that exports a table of plain C functions (see [`super::plain_c`]).

/// Name of the ELF section.
pub const SECTION: &str = ".note.docker-registry-driver";
/// Owner of the note.
pub const OWNER: &[u8] = b"docker-registry-driver";
/// Type of the note.
pub const TYPE: u32 = 1;

/// Owner with its final zero, padded to four bytes.
const OWNER_LENGTH: usize = (OWNER.len() + 1).next_multiple_of(4);

/// A note as it lies in the library. `N` is the length of the content.
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    pub(super) owner_length: u32,
    pub(super) content_length: u32,
    pub(super) kind: u32,
    pub(super) owner: [u8; OWNER_LENGTH],
    pub(super) content: [u8; N],
}

impl<const N: usize> Note<N> {
    /// The note with this content.
    #[expect(clippy::cast_possible_truncation, reason = "try_from is not const; the lengths are tiny")]
    pub const fn new(text: &[u8]) -> Self {
        assert!(text.len() == N);
        let mut owner = [0; OWNER_LENGTH];
        let mut content = [0; N];
        let mut index = 0;
        while index < OWNER.len() {
            owner[index] = OWNER[index];
            index += 1;
        }
        index = 0;
        while index < N {
            content[index] = text[index];
            index += 1;
        }
        Self { owner_length: OWNER.len() as u32 + 1, content_length: N as u32, kind: TYPE, owner, content }
    }
}

/// What the note of a library says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverNote {
    /// Name of the driver.
    pub name: String,
    /// Version of the driver API that it was built against.
    pub api: (u32, u32),
    /// Version of the driver's package.
    pub version: String,
    /// Whether its calls may be polled in place.
    pub nonblocking: bool,
    /// Whether it exports a table of plain C functions.
    pub plain_c: bool,
}

impl DriverNote {
    /// Reads the content of a note; `None` when it lacks a name or an API version.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, v)| v)
        };
        let flag = |flag: &str| value("flags").unwrap_or_default().split(',').any(|word| word == flag);
        let (major, minor) = value("api")?.split_once('.')?;
        Some(Self {
            name: value("name").filter(|name| !name.is_empty())?.to_owned(),
            api: (major.parse().ok()?, minor.parse().ok()?),
            version: value("version").unwrap_or_default().to_owned(),
            nonblocking: flag("nonblocking"),
            plain_c: flag("plain-c"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_unknown_lines_are_ignored() {
        let text = b"name=s3\napi=1.4\nversion=0.2.0\nflags=shiny,nonblocking\nfuture=x\n";
        let note = DriverNote::parse(text).unwrap();
        assert_eq!(
            note,
            DriverNote {
                name: "s3".into(),
                api: (1, 4),
                version: "0.2.0".into(),
                nonblocking: true,
                plain_c: false
            }
        );
        let plain = DriverNote::parse(b"name=x\napi=1.0\nversion=1\nflags=plain-c\n").unwrap();
        assert!(plain.plain_c && !plain.nonblocking);
        assert!(DriverNote::parse(b"api=1.0\n").is_none());
        assert!(DriverNote::parse(b"name=x\napi=one\n").is_none());
    }

    #[test]
    fn the_note_in_memory_is_an_elf_note() {
        const TEXT: &[u8] = b"name=x\n";
        let note = Note::<{ TEXT.len() }>::new(TEXT);
        assert_eq!((note.owner_length, note.content_length, note.kind), (23, 7, 1));
        assert_eq!(&note.owner, b"docker-registry-driver\0\0");
        assert_eq!(&note.content, TEXT);
    }
}
