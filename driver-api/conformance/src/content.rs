//! Content of any size that can be made and checked piece by piece.

use bytes::{Bytes, BytesMut};

/// Bytes between two numbers in the content.
const BLOCK: u64 = 64 * 1024;
/// Bytes of such a number.
const NUMBER: u64 = 8;

/// A content without end that follows from a seed: random blocks that all differ in their number, so that
/// bytes at a wrong place are noticed.
#[derive(Clone)]
pub(crate) struct Pattern {
    block: Bytes,
    /// Mixed into the numbers, which would begin with a row of zeros otherwise.
    key: u64,
}

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut block = vec![0; BLOCK as usize];
        random.fill(&mut block);
        Self { block: block.into(), key: random.u64(..) }
    }

    /// `length` bytes from `offset` on.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(length);
        let mut at = offset;
        while bytes.len() < length {
            let piece = self.piece(at);
            let wanted = piece.as_ref().len().min(length - bytes.len());
            bytes.extend_from_slice(&piece.as_ref()[..wanted]);
            at += wanted as u64;
        }
        bytes.freeze()
    }

    /// Offset of the first byte that is not the pattern's, if there is one in `found`, which begins at
    /// `offset`.
    pub(crate) fn difference(&self, offset: u64, found: &[u8]) -> Option<u64> {
        let (mut at, mut rest) = (offset, found);
        while !rest.is_empty() {
            let piece = self.piece(at);
            let expected = piece.as_ref();
            let length = expected.len().min(rest.len());
            if rest[..length] != expected[..length] {
                let same = rest.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Some(at + same as u64);
            }
            at += length as u64;
            rest = &rest[length..];
        }
        None
    }

    /// The pattern from an offset to the end of its number or of its block.
    fn piece(&self, at: u64) -> Piece {
        let inside = at % BLOCK;
        if inside < NUMBER {
            Piece::Number(((at / BLOCK) ^ self.key).to_le_bytes(), inside as usize)
        } else {
            Piece::Block(self.block.slice(inside as usize..))
        }
    }
}

enum Piece {
    Number([u8; NUMBER as usize], usize),
    Block(Bytes),
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Number(number, from) => &number[*from..],
            Self::Block(block) => block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_together_and_differences_are_found() {
        let pattern = Pattern::new(7);
        let whole = pattern.bytes(0, 300_000);
        for (offset, length) in [(0, 1), (3, 10), (65_530, 20), (131_072, 70_000), (299_999, 1)] {
            assert_eq!(pattern.bytes(offset as u64, length), whole[offset..offset + length]);
        }
        assert_eq!(pattern.difference(0, &whole), None);
        let mut wrong = whole.to_vec();
        wrong[131_073] ^= 1;
        assert_eq!(pattern.difference(0, &wrong), Some(131_073));
        // A block at the place of another.
        assert_eq!(pattern.difference(BLOCK, &whole), Some(BLOCK));
    }
}
