//! Taking numbers and bytes off the front of a packet.

use super::{ID_SIZE, Id, Malformed};

/// The rest of a packet.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// What is said when the bytes end too early.
    cut_off: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], cut_off: &'static str) -> Self {
        Self { rest: bytes, cut_off }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed(self.cut_off))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let cut_off = Malformed(self.cut_off);
        self.take(N)?.try_into().map_err(|_| cut_off)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn id(&mut self) -> Result<Id, Malformed> {
        self.array::<ID_SIZE>().map(Id)
    }

    /// A count that is followed by so many items of at least `size` bytes.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / size.max(1) { Err(Malformed(self.cut_off)) } else { Ok(count) }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
