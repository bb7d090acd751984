//! A library file, looked at without running it.
//!
//! `dlopen` of a truncated file kills the process, and of any foreign library runs that library's
//! constructors. So owners and modes are checked (see `trust.rs`), then the ELF headers, the needed version of
//! the C library and the driver note are read, and the very descriptor that was checked is the one that is loaded later.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use docker_registry_driver_api::{
    API_VERSION,
    abi::note::{self, DriverNote},
};
use object::{
    Endianness, ReadCache, ReadRef,
    elf::{self, FileHeader64},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};
use sha2::{Digest, Sha256};

use super::{
    GlibcVersion, PluginError,
    trust::{self, Identity},
};

/// A file that only root or the server's user could have put there, and that is a driver for this machine and
/// this API's major version.
#[derive(Debug)]
pub struct LibraryFile {
    path: PathBuf,
    file: File,
    note: DriverNote,
    glibc: Option<GlibcVersion>,
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = elf::EM_X86_64.0;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = elf::EM_AARCH64.0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("name the ELF machine of this architecture here");

type Header = FileHeader64<Endianness>;

impl LibraryFile {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// The first reason why it is not a driver that this server can load.
    pub fn open(path: &Path) -> Result<Self, PluginError> {
        let unreadable = |reason| PluginError::Unreadable { path: path.to_owned(), reason };
        let mut file = trust::open(path, Identity::of_process())?;
        let metadata = file.metadata().map_err(unreadable)?;
        let mut identification = [0; 20];
        let read = read_start(&mut file, &mut identification).map_err(unreadable)?;
        check_identification(path, &identification[..read])?;
        let (note, glibc) = {
            let cache = ReadCache::new(&file);
            read_sections(path, metadata.len(), &cache)?
        };
        if note.api.0 != API_VERSION.0 {
            return Err(PluginError::OtherApi {
                path: path.to_owned(),
                found: version(note.api),
                expected: version(API_VERSION),
            });
        }
        if let (Some(needed), Some(system)) = (glibc, GlibcVersion::of_system())
            && needed > system
        {
            return Err(PluginError::NewerGlibc { path: path.to_owned(), needed, system });
        }
        Ok(Self { path: path.to_owned(), file, note, glibc })
    }

    /// What its note says.
    pub fn note(&self) -> &DriverNote {
        &self.note
    }

    /// The version of glibc that it needs; `None` when it needs none in particular.
    pub fn needed_glibc(&self) -> Option<GlibcVersion> {
        self.glibc
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// SHA-256 of the open file, in hex.
    ///
    /// # Errors
    /// [`PluginError::Unreadable`].
    pub fn digest(&self) -> Result<String, PluginError> {
        let unreadable = |reason| PluginError::Unreadable { path: self.path.clone(), reason };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut hasher = Sha256::new();
        io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(unreadable)?;
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `major.minor`.
pub(super) fn version((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn not_a_driver(path: &Path, reason: impl Into<String>) -> PluginError {
    PluginError::NotADriver { path: path.to_owned(), reason: reason.into() }
}

fn read_start(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Checks the first bytes by hand, because a parser only says "invalid" where an operator needs to
/// know *what* the file is.
fn check_identification(path: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    if bytes.is_empty() {
        return Err(not_a_driver(path, "the file is empty"));
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(not_a_driver(path, "it is not an ELF shared library"));
    }
    let &[_, _, _, _, class, order, .., low, high] = bytes else {
        return Err(not_a_driver(path, "it is not an ELF shared library"));
    };
    let other = |found: &str| PluginError::OtherMachine {
        path: path.to_owned(),
        found: found.to_owned(),
        expected: std::env::consts::ARCH.to_owned(),
    };
    if bytes.len() < 20 || class != elf::ELFCLASS64.0 {
        return Err(other("a 32-bit machine"));
    }
    if order != elf::ELFDATA2LSB.0 {
        return Err(other("a big-endian machine"));
    }
    match u16::from_le_bytes([low, high]) {
        MACHINE => Ok(()),
        machine => Err(other(machine_name(machine))),
    }
}

fn machine_name(machine: u16) -> &'static str {
    match elf::Machine(machine) {
        elf::EM_X86_64 => "x86_64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_RISCV => "riscv64",
        elf::EM_PPC64 => "powerpc64",
        elf::EM_S390 => "s390x",
        elf::EM_LOONGARCH => "loongarch64",
        _ => "another machine",
    }
}

/// The driver note and the needed version of glibc.
fn read_sections<'data, R: ReadRef<'data>>(
    path: &Path,
    size: u64,
    data: R,
) -> Result<(DriverNote, Option<GlibcVersion>), PluginError> {
    let damaged = |error: object::Error| not_a_driver(path, format!("its ELF headers are damaged ({error})"));
    let cut_off = |needed| PluginError::Truncated { path: path.to_owned(), size, needed };
    let header = Header::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    // The section headers lie at the very end of a library, so a cut shows here first.
    let sections_end = header
        .e_shoff
        .get(endian)
        .saturating_add(u64::from(header.e_shnum.get(endian)) * u64::from(header.e_shentsize.get(endian)));
    if sections_end > size {
        return Err(cut_off(sections_end));
    }
    for segment in header.program_headers(endian, data).map_err(damaged)? {
        let end = segment.p_offset(endian).saturating_add(segment.p_filesz(endian));
        if end > size {
            return Err(cut_off(end));
        }
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err(not_a_driver(path, "it is an ELF file but not a shared library"));
    }
    let sections = header.sections(endian, data).map_err(damaged)?;
    let Some((_, section)) = sections.section_by_name(endian, note::SECTION.as_bytes()) else {
        return Err(not_a_driver(path, "it is a shared library without the driver note"));
    };
    let mut notes = section
        .notes(endian, data)
        .map_err(damaged)?
        .ok_or_else(|| not_a_driver(path, "its driver note is not a note"))?;
    while let Some(entry) = notes.next().map_err(damaged)? {
        if entry.name() == note::OWNER && entry.n_type(endian).0 == note::TYPE {
            let note = DriverNote::parse(entry.desc())
                .ok_or_else(|| not_a_driver(path, "its driver note cannot be read"))?;
            return Ok((note, GlibcVersion::needed(&sections, endian, data).map_err(damaged)?));
        }
    }
    Err(not_a_driver(path, "its note section holds no driver note"))
}
