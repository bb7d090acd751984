//! The record of an object: its facts, and its content or where that is.
//!
//! A record is the value of a register, so that an object changes in one step whatever its size. Small content is in
//! the record itself. Larger content is in the segments of bundles (`bundle.rs`), which never change.

use bytes::{BufMut, Bytes, BytesMut};
use docker_registry_driver_api::{Error, ErrorKind, Result};

use crate::wire::{Malformed, Reader};

const VERSION: u8 = 1;
const DELETED: u8 = 0;
const INLINE: u8 = 1;
const PIECES: u8 = 2;
/// Bytes of a hold and of a piece.
const HOLD_SIZE: usize = 36;
const PIECE_SIZE: usize = 24;

/// A bundle that a record keeps alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) bundle: u128,
    /// Under which name; 0 is the one who made the bundle.
    pub(crate) owner: u128,
    /// The largest number of a part in the bundle.
    pub(crate) parts: u32,
}

impl Hold {
    /// Whether both keep the same bundle alive under the same name.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.bundle, self.owner) == (other.bundle, other.owner)
    }
}

/// Bytes of one part of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Place of the bundle among the holds.
    pub(crate) hold: u32,
    pub(crate) part: u32,
    /// Offset in the part.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nowhere: the object was deleted.
    Deleted,
    Inline(Bytes),
    Pieces {
        holds: Vec<Hold>,
        pieces: Vec<Piece>,
    },
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: u64,
    /// The text that the writer gave.
    pub(crate) mark: Option<String>,
    pub(crate) body: Body,
}

impl Record {
    pub(crate) fn deleted(modified: u64) -> Self {
        Self { size: 0, modified, mark: None, body: Body::Deleted }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.body == Body::Deleted
    }

    pub(crate) fn holds(&self) -> &[Hold] {
        match &self.body {
            Body::Pieces { holds, .. } => holds,
            _ => &[],
        }
    }

    pub(crate) fn pack(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u8(match &self.body {
            Body::Deleted => DELETED,
            Body::Inline(_) => INLINE,
            Body::Pieces { .. } => PIECES,
        });
        bytes.put_u64_le(self.size);
        bytes.put_u64_le(self.modified);
        let mark = self.mark.as_deref().unwrap_or_default();
        bytes.put_u16_le(mark.len() as u16);
        bytes.put_slice(mark.as_bytes());
        match &self.body {
            Body::Deleted => {}
            Body::Inline(content) => bytes.put_slice(content),
            Body::Pieces { holds, pieces } => {
                bytes.put_u32_le(holds.len() as u32);
                for hold in holds {
                    bytes.put_u128_le(hold.bundle);
                    bytes.put_u128_le(hold.owner);
                    bytes.put_u32_le(hold.parts);
                }
                put_pieces(&mut bytes, pieces);
            }
        }
        bytes.freeze()
    }

    /// # Errors
    /// `Corrupt` for what [`Record::pack`] did not make.
    pub(crate) fn unpack(bytes: &Bytes) -> Result<Self> {
        Self::parse(bytes)
            .ok()
            .flatten()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the record of an object makes no sense"))
    }

    fn parse(bytes: &Bytes) -> std::result::Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(bytes, "a record is cut off");
        let (version, kind) = match *reader.take(2)? {
            [version, kind] => (version, kind),
            _ => return Ok(None),
        };
        if version != VERSION {
            return Ok(None);
        }
        let (size, modified) = (reader.u64()?, reader.u64()?);
        let mark = reader.u16()?;
        let Ok(mark) = std::str::from_utf8(reader.take(mark.into())?) else { return Ok(None) };
        let mark = Some(mark.to_owned()).filter(|mark| !mark.is_empty());
        let body = match kind {
            DELETED => Body::Deleted,
            INLINE => Body::Inline(bytes.slice(bytes.len() - reader.rest().len()..)),
            PIECES => {
                let count = reader.count(HOLD_SIZE)?;
                let hold = |reader: &mut Reader<'_>| {
                    Ok(Hold { bundle: reader.u128()?, owner: reader.u128()?, parts: reader.u32()? })
                };
                let holds =
                    (0..count).map(|_| hold(&mut reader)).collect::<std::result::Result<Vec<_>, _>>()?;
                let pieces = take_pieces(&mut reader)?;
                if pieces.iter().any(|piece| piece.hold as usize >= holds.len()) {
                    return Ok(None);
                }
                Body::Pieces { holds, pieces }
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { size, modified, mark, body }))
    }
}

fn put_pieces(bytes: &mut BytesMut, pieces: &[Piece]) {
    bytes.put_u32_le(pieces.len() as u32);
    for piece in pieces {
        bytes.put_u32_le(piece.hold);
        bytes.put_u32_le(piece.part);
        bytes.put_u64_le(piece.offset);
        bytes.put_u64_le(piece.length);
    }
}

fn take_pieces(reader: &mut Reader<'_>) -> std::result::Result<Vec<Piece>, Malformed> {
    let count = reader.count(PIECE_SIZE)?;
    let piece = |reader: &mut Reader<'_>| {
        Ok(Piece { hold: reader.u32()?, part: reader.u32()?, offset: reader.u64()?, length: reader.u64()? })
    };
    (0..count).map(|_| piece(reader)).collect()
}

/// The pieces that a range of an object is made of.
pub(crate) fn cut(pieces: &[Piece], offset: u64, length: u64) -> Vec<Piece> {
    let end = offset.saturating_add(length);
    let mut begin = 0;
    let mut cut = Vec::new();
    for piece in pieces {
        let (from, to) = (offset.max(begin), end.min(begin + piece.length));
        if from < to {
            cut.push(Piece { offset: piece.offset + (from - begin), length: to - from, ..*piece });
        }
        begin += piece.length;
    }
    cut
}

/// Pieces that lie one behind the other as one.
pub(crate) fn joined(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces.into_iter().filter(|piece| piece.length > 0) {
        match joined.last_mut() {
            Some(last)
                if (last.hold, last.part, last.offset + last.length)
                    == (piece.hold, piece.part, piece.offset) =>
            {
                last.length += piece.length;
            }
            _ => joined.push(piece),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(part: u32, offset: u64, length: u64) -> Piece {
        Piece { hold: 0, part, offset, length }
    }

    fn records() -> Vec<Record> {
        let holds =
            vec![Hold { bundle: u128::MAX, owner: 7, parts: 9 }, Hold { bundle: 1, owner: 0, parts: 1 }];
        let pieces = vec![piece(1, 0, 5), Piece { hold: 1, ..piece(2, 3, u64::MAX) }];
        let mark = Some("mark".to_owned());
        vec![
            Record::deleted(5),
            Record { size: 3, modified: 1, mark: None, body: Body::Inline(Bytes::from_static(b"abc")) },
            Record { size: 0, modified: 1, mark: mark.clone(), body: Body::Inline(Bytes::new()) },
            Record { size: 9, modified: u64::MAX, mark, body: Body::Pieces { holds, pieces } },
        ]
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for record in records() {
            assert_eq!(Record::unpack(&record.pack()).unwrap(), record);
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error_and_no_panic() {
        for record in records().into_iter().filter(|record| !matches!(record.body, Body::Inline(_))) {
            let packed = record.pack();
            for end in 0..packed.len() {
                assert_eq!(Record::unpack(&packed.slice(..end)).unwrap_err().kind, ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn a_range_is_cut_out_of_pieces_and_neighbours_are_joined() {
        let pieces = [piece(1, 0, 10), piece(2, 5, 10), piece(2, 15, 1)];
        assert_eq!(cut(&pieces, 0, 21), pieces);
        assert_eq!(cut(&pieces, 9, 2), [piece(1, 9, 1), piece(2, 5, 1)]);
        assert_eq!(cut(&pieces, 20, 100), [piece(2, 15, 1)]);
        assert_eq!(cut(&pieces, 21, 1), []);
        assert_eq!(joined(pieces), [piece(1, 0, 10), piece(2, 5, 11)]);
    }
}
