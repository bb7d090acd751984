//! The two sums that the service keeps of every content: MD5 and CRC-32C.

use md5::{Digest, Md5};

/// The polynomial of Castagnoli, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut value, mut bit) = (byte as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// Sums of content that comes in pieces.
pub(crate) struct Sums {
    md5: Md5,
    crc32c: u32,
}

impl Default for Sums {
    fn default() -> Self {
        Self { md5: Md5::new(), crc32c: u32::MAX }
    }
}

impl Sums {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.md5.update(piece);
        for byte in piece {
            self.crc32c = TABLE[((self.crc32c ^ u32::from(*byte)) & 0xff) as usize] ^ (self.crc32c >> 8);
        }
    }

    pub(crate) fn finish(self) -> ([u8; 16], u32) {
        (self.md5.finalize().into(), !self.crc32c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_holds() {
        let mut sums = Sums::default();
        sums.update(b"123456789");
        assert_eq!(sums.finish().1, 0xe306_9283);
    }
}
