//! The driver library in what somebody downloaded: the library itself, or a tar archive that holds one.
//!
//! Which of them it is shows in the bytes, not in the name. Nothing in an archive decides where anything is
//! written: members that are shared libraries are copied to temporary files whose names are made here, all
//! others are skipped, links among them. So absolute names and `..` do no harm, and need not be looked at. What an
//! archive can cost is limited by [`LARGEST_UNPACKED`], [`MOST_MEMBERS`] and [`XZ_MEMORY`], whatever it says.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::driver_folder::DriverFolder;
use crate::{
    cli::Failure,
    plugin::{LibraryFile, PluginError},
};

/// Most bytes of a library, and of all members of an archive together.
const LARGEST_UNPACKED: u64 = 1 << 30;
/// Most members of an archive.
const MOST_MEMBERS: usize = 10_000;
/// Memory that the xz decoder may ask for; its largest preset needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Copies the driver library in `source` into a temporary file of `folder`, which no search takes for a driver.
///
/// `expected` is the SHA-256 in hex that `source` must have as it is, packed.
///
/// # Errors
/// One sentence: `source` cannot be read, is another file than expected, holds no driver, several, or one that
/// this server cannot load.
pub(super) fn stage(
    source: &Path,
    expected: Option<&str>,
    folder: &DriverFolder,
) -> Result<NamedTempFile, Failure> {
    let unreadable =
        |error: io::Error| Failure::Failed(format!("{} cannot be read: {error}", source.display()));
    // A pipe would make this wait for somebody to write to it.
    if !source.metadata().map_err(unreadable)?.is_file() {
        return Err(Failure::Failed(format!("{} is not a file", source.display())));
    }
    let mut hashed = Hashed { file: File::open(source).map_err(unreadable)?, hasher: Sha256::new() };
    let found = unpack(&mut hashed, source, folder);
    // To the end, whatever the archive needed of it: the digest is of the whole file.
    io::copy(&mut hashed, &mut io::sink()).map_err(unreadable)?;
    let digest = hex(&hashed.hasher.finalize());
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(Failure::Failed(format!(
            "{} is not the file that was expected: its SHA-256 is {digest}, not {expected}; download it again",
            source.display()
        )));
    }
    found
}

/// SHA-256 in hex.
fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A file that is hashed while it is read, so that what was checked is what was unpacked.
struct Hashed {
    file: File,
    hasher: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// A reader that fails where a limit is passed, instead of ending there.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it has more than {} MiB when it is unpacked", LARGEST_UNPACKED >> 20))
        })?;
        Ok(read)
    }
}

fn unpack(file: &mut Hashed, source: &Path, folder: &DriverFolder) -> Result<NamedTempFile, Failure> {
    let failed = |reason: String| Failure::Failed(format!("{}: {reason}", source.display()));
    let plain = decompress(file).map_err(|error| failed(error.to_string()))?;
    let mut plain = BufReader::new(Limited { inner: plain, left: LARGEST_UNPACKED });
    if plain
        .fill_buf()
        .map_err(|error| failed(format!("it cannot be unpacked: {error}")))?
        .starts_with(ELF_MAGIC)
    {
        let staged = copy(&mut plain, folder).map_err(failed)?;
        LibraryFile::open(staged.path()).map_err(|error| renamed(&error, staged.path(), source))?;
        return Ok(staged);
    }
    let mut archive = tar::Archive::new(plain);
    // Raw: long names are of no interest, and need not be held in memory.
    let members = archive.entries().map_err(|error| failed(error.to_string()))?.raw(true);
    let mut drivers: Vec<(PathBuf, NamedTempFile)> = Vec::new();
    let mut refused = None;
    for (count, member) in members.enumerate() {
        let mut member = member.map_err(|error| match count {
            0 => failed("it is neither a shared library nor a tar archive".to_owned()),
            _ => failed(format!("the archive cannot be read: {error}")),
        })?;
        if count >= MOST_MEMBERS {
            return Err(failed(format!("the archive has more than {MOST_MEMBERS} members")));
        }
        if !member.header().entry_type().is_file() {
            continue;
        }
        let name = PathBuf::from(String::from_utf8_lossy(&member.path_bytes()).into_owned());
        let mut start = Vec::new();
        (&mut member)
            .take(ELF_MAGIC.len() as u64)
            .read_to_end(&mut start)
            .map_err(|error| failed(format!("the archive cannot be read: {error}")))?;
        if start != ELF_MAGIC {
            continue;
        }
        let staged = copy(&mut Cursor::new(start).chain(&mut member), folder).map_err(failed)?;
        match LibraryFile::open(staged.path()) {
            Ok(_) => drivers.push((name, staged)),
            Err(error) => {
                refused.get_or_insert_with(|| renamed(&error, staged.path(), &source.join(name)));
            }
        }
    }
    match (drivers.len(), refused) {
        (0, Some(refused)) => Err(refused),
        (0, None) => Err(failed("the archive holds no shared library".to_owned())),
        (1, _) => Ok(drivers.remove(0).1),
        _ => {
            let names: Vec<_> = drivers.iter().map(|(name, _)| name.display().to_string()).collect();
            Err(failed(format!(
                "the archive holds {} drivers, {}; unpack it and install one after the other",
                names.len(),
                names.join(" and ")
            )))
        }
    }
}

fn decompress<'a>(file: &'a mut Hashed) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(6);
    file.by_ref().take(6).read_to_end(&mut magic)?;
    let kind = magic.clone();
    let whole = BufReader::new(Cursor::new(magic).chain(file));
    Ok(match kind.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let decoder =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole, decoder))
        }
        _ => Box::new(whole),
    })
}

fn copy(library: &mut impl Read, folder: &DriverFolder) -> Result<NamedTempFile, String> {
    let mut staged = folder
        .temporary()
        .map_err(|error| format!("no file can be made in {}: {error}", folder.path().display()))?;
    io::copy(library, &mut staged).map_err(|error| format!("it cannot be copied: {error}"))?;
    Ok(staged)
}

/// What is wrong with a library, under the name that the operator knows.
fn renamed(error: &PluginError, staged: &Path, known: &Path) -> Failure {
    Failure::Failed(error.to_string().replace(&staged.display().to_string(), &known.display().to_string()))
}
