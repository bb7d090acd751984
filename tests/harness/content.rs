//! Bytes to store and their digests: content of any size that is cheap to make, and differs in every block.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// Size of the block that content is made of.
const BLOCK: usize = 1 << 20;
/// How far apart the stamps are that tell one part of the content from another.
const STAMP_EVERY: usize = 4096;

/// `sha256:` and the digest of these bytes in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Everything a reader gives, as a digest and a count.
pub fn digest_of(reader: &mut impl Read) -> io::Result<(String, u64)> {
    let mut hasher = Hasher::default();
    let bytes = io::copy(reader, &mut hasher)?;
    Ok((hasher.finish(), bytes))
}

/// A digest that grows.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// `sha256:` and the digest in hexadecimal.
    pub fn finish(self) -> String {
        self.0.finalize().iter().fold(String::from("sha256:"), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader over `size` bytes that look random, do not compress, and are the same for the same seed.
///
/// Two seeds, or two places more than a stamp apart, never give the same bytes, so a lost or swapped piece shows.
#[derive(Clone, Debug)]
pub struct Content {
    block: Vec<u8>,
    seed: u64,
    size: u64,
    position: u64,
}

impl Content {
    /// Content of `size` bytes.
    pub fn new(seed: u64, size: u64) -> Content {
        // xorshift64*, which needs a state other than 0.
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut block = vec![0; BLOCK.min(size.next_multiple_of(8) as usize)];
        for piece in block.chunks_exact_mut(8) {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            piece.copy_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        let mut content = Content { block, seed, size, position: 0 };
        content.stamp();
        content
    }

    /// The whole content at once, for small ones.
    pub fn bytes(seed: u64, size: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Content::new(seed, size).read_to_end(&mut bytes).expect("content can always be read");
        bytes
    }

    /// The digest of the whole content.
    pub fn digest(seed: u64, size: u64) -> String {
        digest_of(&mut Content::new(seed, size)).expect("content can always be read").0
    }

    /// The next piece, at most a block, empty at the end. Cheaper than reading into a buffer.
    pub fn piece(&mut self) -> &[u8] {
        let within = (self.position % BLOCK as u64) as usize;
        if within == 0 && self.position > 0 {
            self.stamp();
        }
        let length = ((BLOCK - within) as u64).min(self.size - self.position) as usize;
        self.position += length as u64;
        &self.block[within..within + length]
    }

    /// Writes seed and position over the block that starts here.
    fn stamp(&mut self) {
        for (index, place) in self.block.chunks_exact_mut(STAMP_EVERY).enumerate() {
            let position = self.position + (index * STAMP_EVERY) as u64;
            place[..8].copy_from_slice(&self.seed.to_le_bytes());
            place[8..16].copy_from_slice(&position.to_le_bytes());
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.position;
        let piece = self.piece();
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        self.position = start + count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn digest_is_the_one_everybody_knows() {
        assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn content_is_the_same_in_any_portions() {
        let size = 2 * BLOCK as u64 + 12_345;
        let whole = Content::bytes(7, size);
        assert_eq!(whole.len() as u64, size);

        let mut content = Content::new(7, size);
        let mut portions = Vec::new();
        let mut portion = vec![0; 77_777];
        loop {
            let count = content.read(&mut portion).expect("content can be read");
            if count == 0 {
                break;
            }
            portions.extend_from_slice(&portion[..count]);
        }
        assert!(portions == whole);
        assert_eq!(Content::digest(7, size), digest(&whole));
    }

    #[test]
    fn no_stamp_occurs_twice() {
        let pages: Vec<Vec<u8>> = [1, 2]
            .into_iter()
            .flat_map(|seed| {
                let bytes = Content::bytes(seed, 3 * BLOCK as u64);
                bytes.chunks(STAMP_EVERY).map(<[u8]>::to_vec).collect::<Vec<_>>()
            })
            .collect();
        let different: HashSet<&Vec<u8>> = pages.iter().collect();
        assert_eq!(different.len(), pages.len());
    }
}
