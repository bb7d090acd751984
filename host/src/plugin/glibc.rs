//! Versions of the system's C library: which one runs here, and which one a file was linked against.
//!
//! The system's loader would refuse a library that needs a newer one, in words about symbols. Here it is found
//! out from the file's headers, before any of its code runs.

use std::{ffi::CStr, fmt};

use object::{
    Endianness, ReadRef,
    elf::FileHeader64,
    read::{Result, elf::SectionTable},
};

/// Names of needed versions are this and the version.
const PREFIX: &str = "GLIBC_";
/// Not a version but an ability of the loader, which came with glibc 2.36.
const RELATIVE_RELOCATIONS: &str = "GLIBC_ABI_DT_RELR";

/// A version of glibc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlibcVersion {
    major: u32,
    minor: u32,
}

impl GlibcVersion {
    /// `2.34`, also with a patch level or a distributor's words behind it.
    fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The version that this process runs with. `None` when it is another C library.
    pub fn of_system() -> Option<Self> {
        system_version().and_then(|text| Self::parse(text.to_str().ok()?))
    }

    /// The highest version that a file asks for. `None` when it asks for none.
    pub(super) fn needed<'data, R: ReadRef<'data>>(
        sections: &SectionTable<'data, FileHeader64<Endianness>, R>,
        endian: Endianness,
        data: R,
    ) -> Result<Option<Self>> {
        let Some((mut needs, names)) = sections.gnu_verneed(endian, data)? else { return Ok(None) };
        let names = sections.strings(endian, data, names)?;
        let mut highest = None;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                let name = std::str::from_utf8(version.name(endian, names)?).unwrap_or_default();
                highest = highest.max(named(name));
            }
        }
        Ok(highest)
    }
}

fn named(name: &str) -> Option<GlibcVersion> {
    if name == RELATIVE_RELOCATIONS {
        return Some(GlibcVersion { major: 2, minor: 36 });
    }
    GlibcVersion::parse(name.strip_prefix(PREFIX)?)
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn system_version() -> Option<&'static CStr> {
    // SAFETY: the function takes nothing and answers with a constant of the C library, which ends with a zero.
    Some(unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) })
}

#[cfg(not(target_env = "gnu"))]
fn system_version() -> Option<&'static CStr> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(named("GLIBC_2.4") < named("GLIBC_2.34"));
        assert_eq!(named("GLIBC_2.2.5"), Some(GlibcVersion { major: 2, minor: 2 }));
        assert_eq!(named("GLIBC_ABI_DT_RELR"), named("GLIBC_2.36"));
        assert_eq!((named("GLIBC_PRIVATE"), named("GCC_3.0"), named("")), (None, None, None));
    }

    #[test]
    fn the_system_has_a_version() {
        assert!(GlibcVersion::of_system() > named("GLIBC_2.2.5"));
    }
}
