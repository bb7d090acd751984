//! What a built file needs from the system: the version of glibc and the shared libraries, read from its headers.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader};

/// A version of glibc, major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// The version in the name of a symbol version. An ability of the loader that came with 2.36 counts as that.
    fn named(name: &str) -> Option<Version> {
        if name == "GLIBC_ABI_DT_RELR" {
            return Some(Version(2, 36));
        }
        let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(str::parse);
        Some(Version(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// What one file needs.
pub(crate) struct Requirements {
    /// The highest version of glibc that a symbol asks for.
    pub(crate) glibc: Version,
    /// The names of the shared libraries.
    pub(crate) libraries: BTreeSet<String>,
}

impl Requirements {
    /// Reads the headers of a program or library.
    pub(crate) fn of(path: &Path) -> Result<Requirements> {
        let content = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        read(&content).with_context(|| format!("the headers of {} cannot be read", path.display()))
    }
}

fn read(content: &[u8]) -> Result<Requirements> {
    let header = FileHeader64::<Endianness>::parse(content)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, content)?;

    let mut glibc = Version(2, 0);
    if let Some((mut needs, names)) = sections.gnu_verneed(endian, content)? {
        let names = sections.strings(endian, content, names)?;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                let name = std::str::from_utf8(version.name(endian, names)?)?;
                glibc = glibc.max(Version::named(name).unwrap_or(glibc));
            }
        }
    }

    let mut libraries = BTreeSet::new();
    if let Some((entries, names)) = sections.dynamic(endian, content)? {
        let names = sections.strings(endian, content, names)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == elf::DT_NEEDED) {
            let at = entry.val32(endian).context("the name of a needed library is out of bounds")?;
            let name = names.get(at).ok().context("the name of a needed library is missing")?;
            libraries.insert(std::str::from_utf8(name)?.to_owned());
        }
    }
    Ok(Requirements { glibc, libraries })
}
