//! Upload states: where an upload stands, in a few bytes that another process can go on from.
//!
//! ```text
//! version (1 byte)  kind (1 byte)  body  CRC-32 of all that (4 bytes)
//! ```
//! Numbers are of variable length, 7 bits a byte. A state holds everything that is needed to go on:
//! nothing about an upload has to be looked up in the store. Whatever is not a state of ours is refused.

use docker_registry_driver_api::{Error, ErrorKind, Result, UploadState};
use uuid::Uuid;

use super::names::Nonce;

const VERSION: u8 = 1;
const UPLOAD: u8 = 1;
const FOUND: u8 = 2;
const BEGUN: u8 = 3;
/// Bytes before the body.
const HEAD: usize = 2;
/// Bytes of the checksum.
const SUM: usize = 4;
/// More segments than a row ever has, as a guard against states that are made up.
const MOST_SEGMENTS: u64 = 1_000;

/// A state, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// The upload at one point of its life.
    Standing(Standing),
    /// An upload of which only the name is known. It can be aborted.
    Found(Uuid),
    /// A large object that somebody began to write at its final key.
    Begun { key: String, id: String },
}

/// An upload at one point of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) upload: Uuid,
    /// Number of the object that ended the last append; 0 before the first one.
    pub(crate) generation: u64,
    /// The nonce in that object's name, where names have one.
    pub(crate) nonce: Option<Nonce>,
    /// What the content is made of.
    pub(crate) row: Vec<Segment>,
}

/// One piece of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The generation that it was written as.
    pub(crate) generation: u64,
    pub(crate) size: u64,
    /// The nonce in its name, if it has one.
    pub(crate) nonce: Option<Nonce>,
}

impl Standing {
    pub(crate) fn new() -> Self {
        Self { upload: Uuid::new_v4(), generation: 0, nonce: None, row: Vec::new() }
    }

    /// Number of bytes so far.
    pub(crate) fn offset(&self) -> u64 {
        total(&self.row)
    }
}

/// Number of bytes in a row of segments. Rows are checked for overflow when they are unpacked.
pub(crate) fn total(row: &[Segment]) -> u64 {
    row.iter().map(|segment| segment.size).sum()
}

impl State {
    /// # Errors
    /// `TooLarge`, which the rules about rows keep from happening.
    pub(crate) fn pack(&self) -> Result<UploadState> {
        let mut bytes = vec![VERSION];
        match self {
            Self::Standing(standing) => {
                bytes.push(UPLOAD);
                bytes.extend(standing.upload.as_bytes());
                put_number(&mut bytes, standing.generation);
                put_nonce(&mut bytes, standing.nonce);
                put_number(&mut bytes, standing.row.len() as u64);
                for segment in &standing.row {
                    put_number(&mut bytes, segment.generation);
                    put_number(&mut bytes, segment.size);
                    put_nonce(&mut bytes, segment.nonce);
                }
            }
            Self::Found(upload) => {
                bytes.push(FOUND);
                bytes.extend(upload.as_bytes());
            }
            Self::Begun { key, id } => {
                bytes.push(BEGUN);
                for text in [key, id] {
                    put_number(&mut bytes, text.len() as u64);
                    bytes.extend(text.as_bytes());
                }
            }
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        UploadState::new(bytes)
    }

    /// # Errors
    /// `Conflict` for everything that [`State::pack`] did not make.
    pub(crate) fn unpack(state: &UploadState) -> Result<Self> {
        parse(state.as_bytes())
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "the upload state is not one of this driver's"))
    }
}

fn parse(bytes: &[u8]) -> Option<State> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if crc32fast::hash(content).to_le_bytes() != sum {
        return None;
    }
    let (head, body) = content.split_at_checked(HEAD)?;
    let mut reader = Reader(body);
    let state = match *head {
        [VERSION, UPLOAD] => State::Standing(reader.standing()?),
        [VERSION, FOUND] => State::Found(reader.uuid()?),
        [VERSION, BEGUN] => State::Begun { key: reader.text()?, id: reader.text()? },
        _ => return None,
    };
    reader.0.is_empty().then_some(state)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn standing(&mut self) -> Option<Standing> {
        let upload = self.uuid()?;
        let generation = self.number()?;
        let nonce = self.nonce()?;
        let count = self.number().filter(|count| *count <= MOST_SEGMENTS)?;
        let mut row = Vec::new();
        let mut offset = 0_u64;
        for _ in 0..count {
            let segment = Segment { generation: self.number()?, size: self.number()?, nonce: self.nonce()? };
            offset = offset.checked_add(segment.size)?;
            row.push(segment);
        }
        Some(Standing { upload, generation, nonce, row })
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        Uuid::from_slice(self.take(16)?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else { return None };
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return None;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn nonce(&mut self) -> Option<Option<Nonce>> {
        match *self.take(1)? {
            [0] => Some(None),
            [1] => Some(Some(Nonce(u64::from_le_bytes(self.take(8)?.try_into().ok()?)))),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        Some(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_nonce(bytes: &mut Vec<u8>, nonce: Option<Nonce>) {
    match nonce {
        None => bytes.push(0),
        Some(nonce) => {
            bytes.push(1);
            bytes.extend(nonce.0.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::MAX_UPLOAD_STATE_BYTES;

    use super::*;

    fn states() -> Vec<State> {
        let mut standing = Standing::new();
        let fresh = standing.clone();
        standing.generation = 300;
        standing.nonce = Some(Nonce(u64::MAX));
        standing.row = vec![
            Segment { generation: 1, size: 5 << 20, nonce: None },
            Segment { generation: 300, size: 1 << 42, nonce: Some(Nonce(7)) },
        ];
        vec![
            State::Standing(fresh),
            State::Standing(standing),
            State::Found(Uuid::new_v4()),
            State::Begun { key: "root/a/\u{e9}".to_owned(), id: "2~x/y+z=".to_owned() },
        ]
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for state in states() {
            assert_eq!(State::unpack(&state.pack().unwrap()).unwrap(), state);
        }
    }

    #[test]
    fn anything_else_is_a_conflict_and_no_panic() {
        let refused = |bytes: &[u8]| {
            let state = UploadState::new(bytes).unwrap();
            assert_eq!(State::unpack(&state).unwrap_err().kind, ErrorKind::Conflict, "{bytes:?}");
        };
        for state in states() {
            let good = state.pack().unwrap().as_bytes().to_vec();
            for end in 0..good.len() {
                refused(&good[..end]);
                let mut flipped = good.clone();
                flipped[end] ^= 1;
                refused(&flipped);
                // With a checksum that is right.
                let Some(content) = good.get(..end.min(good.len() - SUM)) else { continue };
                if content.len() < good.len() - SUM {
                    refused(&[content, &crc32fast::hash(content).to_le_bytes()].concat());
                }
            }
        }
        for random in 0..1000 {
            let bytes: Vec<u8> = (0..random % 50).map(|_| fastrand::u8(..)).collect();
            refused(&bytes);
            // A body of anything behind a good head.
            for kind in [UPLOAD, BEGUN] {
                let content = [&[VERSION, kind], &bytes[..]].concat();
                let whole = [&content[..], &crc32fast::hash(&content).to_le_bytes()].concat();
                drop(State::unpack(&UploadState::new(whole).unwrap()));
            }
        }
    }

    #[test]
    fn the_longest_row_fits() {
        let segment =
            Segment { generation: u64::from(u32::MAX), size: 5 << 40, nonce: Some(Nonce(u64::MAX)) };
        let row = vec![segment; super::super::sizes::LONGEST_ROW + 1];
        let state = State::Standing(Standing { row, ..Standing::new() });
        assert!(state.pack().unwrap().as_bytes().len() < MAX_UPLOAD_STATE_BYTES / 2);
    }
}
