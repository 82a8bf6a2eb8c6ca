//! TFRecord framing: length, checksum of the length, data, checksum of the data, all little-endian.

use std::io::{self, Read};

use super::masked_crc::masked_crc;

/// Bytes before the data: the u64 length and its u32 checksum.
const HEADER_BYTES: u64 = 12;
/// Bytes after the data: its u32 checksum.
const FOOTER_BYTES: u64 = 4;
/// Upper limit for an event. A longer length is damage that its checksum did not detect.
const MAX_DATA_BYTES: u64 = 1 << 30;

/// Error in a record, with the byte offset of its start.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file ends inside the record. The rest may still be written: read again after the file has grown.
    #[error(
        "ends inside the record at byte {offset}: got {got} of {want} bytes; \
         it is still being written, or its writer was killed: all earlier records are intact"
    )]
    Truncated {
        /// Start of the record.
        offset: u64,
        /// Number of available bytes of the record.
        got: u64,
        /// Expected number of bytes: those of the header, if the header itself is incomplete.
        want: u64,
    },
    /// The length is damaged, so later records cannot be found.
    #[error("has a damaged length in the record at byte {offset}: copy the file again; later records cannot be read")]
    Length {
        /// Start of the record.
        offset: u64,
    },
    /// The data is damaged. The next call reads the next record.
    #[error("has damaged data in the record at byte {offset}: got checksum {got:#010x}, want {want:#010x}; skip it")]
    Data {
        /// Start of the record.
        offset: u64,
        /// Checksum of the data in the file.
        got: u32,
        /// Checksum stored with the data.
        want: u32,
    },
    /// Reading failed.
    #[error("cannot be read at byte {offset}: {cause}")]
    Io {
        /// Start of the record.
        offset: u64,
        /// The system's error.
        cause: io::Error,
    },
}

/// Appends `data` to `records` as a record.
pub fn append_record(records: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    records.extend_from_slice(&length);
    records.extend_from_slice(&masked_crc(&length).to_le_bytes());
    records.extend_from_slice(data);
    records.extend_from_slice(&masked_crc(data).to_le_bytes());
}

/// Reads records in sequence, including from a file that is still being written.
pub struct RecordReader<R> {
    source: R,
    offset: u64,
    /// The available part of the record at `offset`.
    record: Vec<u8>,
}

impl<R: Read> RecordReader<R> {
    /// Reads from the start of `source`.
    pub fn new(source: R) -> Self {
        Self { source, offset: 0, record: Vec::new() }
    }

    /// Start of the next record, which is the total size of all records read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes read so far: all records, and the available part of the next one.
    pub fn bytes_read(&self) -> u64 {
        self.offset + self.record.len() as u64
    }

    /// Returns the data of the next record, or `None` at the end of the file. After `None` or
    /// [`RecordError::Truncated`], the next call continues at the same position.
    ///
    /// # Errors
    /// If the record is damaged or truncated.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let offset = self.offset;
        self.fill(HEADER_BYTES)?;
        if self.record.is_empty() {
            return Ok(None);
        }
        let Some((length, length_crc)) = self.record.split_first_chunk::<8>() else {
            return Err(self.truncated(HEADER_BYTES));
        };
        let Some(length_crc) = length_crc.first_chunk::<4>() else {
            return Err(self.truncated(HEADER_BYTES));
        };
        let data_bytes = u64::from_le_bytes(*length);
        if u32::from_le_bytes(*length_crc) != masked_crc(length) || data_bytes > MAX_DATA_BYTES {
            return Err(RecordError::Length { offset });
        }

        let whole = HEADER_BYTES + data_bytes + FOOTER_BYTES;
        self.fill(whole)?;
        if (self.record.len() as u64) < whole {
            return Err(self.truncated(whole));
        }
        let mut data = std::mem::take(&mut self.record).split_off(HEADER_BYTES as usize);
        self.offset += whole;
        let want = data.split_off(data_bytes as usize).first_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
        let got = masked_crc(&data);
        if got == want { Ok(Some(data)) } else { Err(RecordError::Data { offset, got, want }) }
    }

    /// Reads until the record has `want` bytes or the source ends. Memory grows with the available data, not with the
    /// length that a header claims.
    fn fill(&mut self, want: u64) -> Result<(), RecordError> {
        let missing = want.saturating_sub(self.record.len() as u64);
        let read = (&mut self.source).take(missing).read_to_end(&mut self.record);
        read.map(|_| ()).map_err(|cause| RecordError::Io { offset: self.offset, cause })
    }

    fn truncated(&self, want: u64) -> RecordError {
        RecordError::Truncated { offset: self.offset, got: self.record.len() as u64, want }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use super::*;

    const FIRST: &[u8] = b"first";
    const SECOND: &[u8] = b"second record";
    const FIRST_BYTES: usize = 12 + 5 + 4;

    fn two_records() -> Vec<u8> {
        let mut bytes = Vec::new();
        append_record(&mut bytes, FIRST);
        append_record(&mut bytes, SECOND);
        bytes
    }

    /// Returns all records up to the first error, and that error.
    fn read_all(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<RecordError>) {
        let mut reader = RecordReader::new(bytes);
        let mut records = Vec::new();
        loop {
            match reader.read() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(error)),
            }
        }
    }

    #[test]
    fn a_record_has_the_bytes_derived_by_hand() {
        // crc32c(03 00 00 00 00 00 00 00) = 576c35e3, rotated 6bc6aed8, plus a282ead8 = 0e4999b0; crc32c("abc") =
        // 364b3fb7, rotated 7f6e6c96, plus a282ead8 = 21f1576e.
        let mut bytes = Vec::new();
        append_record(&mut bytes, b"abc");
        let want = b"\x03\0\0\0\0\0\0\0\xb0\x99\x49\x0eabc\x6e\x57\xf1\x21";
        assert_eq!(bytes, want);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (records, error) = read_all(&two_records());
        assert_eq!(records, [FIRST, SECOND]);
        assert!(error.is_none());
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_only_its_own_record() {
        let bytes = two_records();
        for end in 0..bytes.len() {
            let (records, error) = read_all(&bytes[..end]);
            let start = if end < FIRST_BYTES { 0 } else { FIRST_BYTES };
            assert_eq!(records.len(), usize::from(end >= FIRST_BYTES), "cut at {end}");
            match error {
                None => assert_eq!(end, start, "cut at {end}"),
                Some(RecordError::Truncated { offset, got, want }) => {
                    let whole = if start == 0 { FIRST_BYTES } else { bytes.len() - FIRST_BYTES };
                    let want_bytes = if end - start < 12 { 12 } else { whole };
                    assert_eq!((offset, got, want), (start as u64, (end - start) as u64, want_bytes as u64));
                }
                Some(error) => panic!("cut at {end}: {error}"),
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_where_it_is() {
        let bytes = two_records();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let start = if bit / 8 < FIRST_BYTES { 0 } else { FIRST_BYTES };
            let in_length = bit / 8 - start < 12;
            match read_all(&damaged).1 {
                Some(RecordError::Length { offset }) => assert_eq!((offset, true), (start as u64, in_length)),
                Some(RecordError::Data { offset, .. }) => assert_eq!((offset, false), (start as u64, in_length)),
                other => panic!("bit {bit}: {other:?}"),
            }
        }
    }

    #[test]
    fn damaged_data_does_not_hide_the_next_record() {
        let mut bytes = two_records();
        bytes[12] ^= 1;
        let mut reader = RecordReader::new(&bytes[..]);
        assert!(matches!(reader.read(), Err(RecordError::Data { offset: 0, .. })));
        assert_eq!(reader.read().unwrap().unwrap(), SECOND);
        assert_eq!(reader.offset(), bytes.len() as u64);
    }

    #[test]
    fn a_length_beyond_the_file_takes_no_memory() {
        let length = MAX_DATA_BYTES.to_le_bytes();
        let bytes = [&length[..], &masked_crc(&length).to_le_bytes()].concat();
        let mut reader = RecordReader::new(&bytes[..]);
        let want_bytes = MAX_DATA_BYTES + 16;
        assert!(matches!(reader.read(), Err(RecordError::Truncated { got: 12, want, .. }) if want == want_bytes));
        assert!(reader.record.capacity() < 1 << 10);
    }

    /// A file that grows by one byte each time the reader reaches its end.
    struct Growing<'a>(&'a RefCell<VecDeque<u8>>, bool);

    impl Read for Growing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if !self.1 {
                return Ok(0);
            }
            self.0.borrow_mut().make_contiguous();
            Read::read(&mut io::Read::take(&mut *self.0.borrow_mut(), 1), buffer)
        }
    }

    #[test]
    fn a_file_that_grows_byte_by_byte_is_read_to_its_end() {
        let bytes = two_records();
        let left = RefCell::new(VecDeque::from(bytes));
        let mut reader = RecordReader::new(Growing(&left, false));
        let (mut records, mut torn) = (Vec::new(), 0);
        // Each attempt except the first yields one byte.
        for _ in 0..1000 {
            match reader.read() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(RecordError::Truncated { .. }) => torn += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(records, [FIRST, SECOND]);
        assert!(torn > 20, "{torn}");
    }
}
