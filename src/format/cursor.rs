//! Explicit little-endian reading and writing of fields. The only place in `format` that touches byte offsets.

use crate::format::Error;

/// Reads fields from the front of a record.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    record: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`, naming `record` in every error.
    pub fn new(record: &'static str, bytes: &'a [u8]) -> Self {
        Self { record, rest: bytes }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (now, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated {
            record: self.record,
            needed: count as u64,
            available: self.rest.len() as u64,
        })?;
        self.rest = rest;
        Ok(now)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(*self.take(N)?.as_array().expect("take returned N bytes"))
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// A 16-bit integer.
    ///
    /// # Errors
    /// At the end.
    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 32-bit integer.
    ///
    /// # Errors
    /// At the end.
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A 64-bit integer.
    ///
    /// # Errors
    /// At the end.
    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A signed 64-bit integer.
    ///
    /// # Errors
    /// At the end.
    pub fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// `count` bytes that must be zero.
    ///
    /// # Errors
    /// At the end, or when one is not.
    pub fn zero(&mut self, count: usize) -> Result<(), Error> {
        match self.take(count)?.iter().find(|byte| **byte != 0) {
            None => Ok(()),
            Some(byte) => Err(Error::field(self.record, "zero", 0, byte)),
        }
    }

    /// A field that must have one value.
    ///
    /// # Errors
    /// When it has another.
    pub fn expect<T: PartialEq + ToString>(&self, field: &'static str, expected: T, found: T) -> Result<(), Error> {
        if expected == found { Ok(()) } else { Err(Error::field(self.record, field, expected, found)) }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the record.
    ///
    /// # Errors
    /// When bytes are left over.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Error::LeftOver { record: self.record, left: left as u64 }),
        }
    }
}

/// Appends fields to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `count` zero bytes.
    pub fn zero(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// A 16-bit integer.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A 32-bit integer.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A 64-bit integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A signed 64-bit integer.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
}

/// Narrows a length to the integer type of its field.
pub(crate) fn narrow<T: TryFrom<usize>>(
    record: &'static str,
    field: &'static str,
    value: usize,
    limit: u64,
) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::TooLarge { record, field, found: value as u64, limit })
}
