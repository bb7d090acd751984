//! Content of records and requests: little of it in memory, all else in files of the folder.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha512};

use crate::id::Id;

/// How much is moved at once.
const PIECE: usize = 256 << 10;

/// What a request brings beyond its attribute.
#[derive(Debug)]
pub(crate) enum Content {
    /// Little of it.
    Memory(Vec<u8>),
    /// A file that goes away with this value.
    Spooled(Spool),
}

/// A file that was received and belongs to nobody yet.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Content {
    /// How many bytes there are.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled(spool) => spool.length,
        }
    }

    /// Makes a new file at `path` of the first `size` bytes. What was there before is left to its readers.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn become_file(self, size: u64, path: &Path) -> io::Result<()> {
        match self {
            Self::Spooled(spool) if spool.length == size => fs::rename(&spool.path, path),
            other => {
                let new = path.with_extension("new");
                other.write_at(size, &new, 0)?;
                fs::rename(new, path)
            }
        }
    }

    /// Writes the first `size` bytes into the file at `path`, which need not be there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write_at(self, size: u64, path: &Path, offset: u64) -> io::Result<()> {
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        match self {
            Self::Memory(bytes) => file.write_all_at(&bytes[..size as usize], offset),
            Self::Spooled(spool) => {
                file.seek(SeekFrom::Start(offset))?;
                let mut source = File::open(&spool.path)?.take(size);
                io::copy(&mut source, &mut file).map(|_| ())
            }
        }
    }
}

/// Bytes that an answer sends from a file.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) file: File,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Piece {
    /// The SHA-512 of the bytes.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn checksum(&self) -> io::Result<Id> {
        let mut hasher = Sha512::new();
        self.each(&mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(Id(hasher.finalize().into()))
    }

    /// All the bytes, for what is known to be small.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.each(&mut |bytes| all.write_all(bytes))?;
        Ok(all)
    }

    /// The next bytes at `position` within the piece; none at its end.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn next(&self, position: u64) -> io::Result<Vec<u8>> {
        let length = (self.size - position).min(PIECE as u64) as usize;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.offset + position)?;
        Ok(bytes)
    }

    fn each(&self, work: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut position = 0;
        while position < self.size {
            let bytes = self.next(position)?;
            position += bytes.len() as u64;
            work(&bytes)?;
        }
        Ok(())
    }
}
