//! TFRecord framing: length, its checksum, data, its checksum, all little-endian.

use std::io::{self, Read};

use super::masked_crc::masked_crc;

/// Bytes before the data: u64 length and the u32 checksum of it.
const HEADER_BYTES: usize = 12;
/// No event comes near this; a longer length is damage that its checksum happens not to show.
const MAX_RECORD_BYTES: u64 = 1 << 30;

/// What is wrong with a record, and the byte at which it starts.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file ends inside the record: it is still being written, or its writer died.
    #[error("ends inside the record at byte {offset}")]
    Truncated {
        /// Start of the record.
        offset: u64,
    },
    /// The length is damaged, so nothing after it can be found.
    #[error("has a damaged length in the record at byte {offset}")]
    Length {
        /// Start of the record.
        offset: u64,
    },
    /// The data is damaged; the next record can be read.
    #[error("has damaged data in the record at byte {offset}")]
    Data {
        /// Start of the record.
        offset: u64,
    },
    /// The system refused to read.
    #[error("cannot be read at byte {offset}: {cause}")]
    Io {
        /// Start of the record.
        offset: u64,
        /// The system's reason.
        cause: io::Error,
    },
}

/// Appends the record of `data` to `out`.
pub fn append_record(data: &[u8], out: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&masked_crc(data).to_le_bytes());
}

/// Reads the records of a file one after the other.
pub struct RecordReader<R> {
    source: R,
    offset: u64,
}

impl<R: Read> RecordReader<R> {
    /// Reads from the start of `source`.
    pub fn new(source: R) -> Self {
        Self { source, offset: 0 }
    }

    /// Bytes of all whole records read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The data of the next record, `None` at a clean end. After an error other than [`RecordError::Data`] there is
    /// nothing more to read.
    ///
    /// # Errors
    /// Where the record is damaged or its end is missing.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let offset = self.offset;
        let header = self.read_up_to(HEADER_BYTES as u64)?;
        if header.is_empty() {
            return Ok(None);
        }
        let (Some(length), Some(crc)) = (header.first_chunk::<8>(), header.get(8..12)) else {
            return Err(RecordError::Truncated { offset });
        };
        let wanted = u64::from_le_bytes(*length);
        if crc != masked_crc(length).to_le_bytes() || wanted > MAX_RECORD_BYTES {
            return Err(RecordError::Length { offset });
        }
        let mut data = self.read_up_to(wanted + 4)?;
        let end = wanted as usize;
        let Some(crc) = data.get(end..end + 4) else {
            return Err(RecordError::Truncated { offset });
        };
        let is_whole = crc == masked_crc(&data[..end]).to_le_bytes();
        self.offset += HEADER_BYTES as u64 + wanted + 4;
        if !is_whole {
            return Err(RecordError::Data { offset });
        }
        data.truncate(end);
        Ok(Some(data))
    }

    /// Up to `count` bytes: memory grows with what is there, not with what a header claims.
    fn read_up_to(&mut self, count: u64) -> Result<Vec<u8>, RecordError> {
        let mut bytes = Vec::new();
        let read = (&mut self.source).take(count).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|cause| RecordError::Io { offset: self.offset, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_records() -> Vec<u8> {
        let mut bytes = Vec::new();
        append_record(b"first", &mut bytes);
        append_record(b"second record", &mut bytes);
        bytes
    }

    /// Every record up to the first error, and whether one came.
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
    fn a_record_has_the_bytes_that_tensorflow_writes() {
        // tf.io.TFRecordWriter("x").write(b"abc") -> the same 19 bytes
        let mut bytes = Vec::new();
        append_record(b"abc", &mut bytes);
        let mut want = 3u64.to_le_bytes().to_vec();
        want.extend(masked_crc(&3u64.to_le_bytes()).to_le_bytes());
        want.extend(b"abc");
        want.extend(masked_crc(b"abc").to_le_bytes());
        assert_eq!(bytes, want);
        assert_eq!(bytes.len(), 19);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (records, error) = read_all(&two_records());
        assert_eq!(records, [b"first".to_vec(), b"second record".to_vec()]);
        assert!(error.is_none());
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_only_its_own_record() {
        let bytes = two_records();
        let first = HEADER_BYTES + 5 + 4;
        for end in 0..bytes.len() {
            let (records, error) = read_all(&bytes[..end]);
            assert_eq!(records.len(), usize::from(end >= first), "cut at {end}");
            let is_clean = end == 0 || end == first;
            assert_eq!(matches!(error, Some(RecordError::Truncated { .. })), !is_clean, "cut at {end}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let bytes = two_records();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_all(&damaged).1.is_some(), "bit {bit}");
        }
    }

    #[test]
    fn damaged_data_does_not_hide_the_next_record() {
        let mut bytes = two_records();
        bytes[HEADER_BYTES] ^= 1;
        let mut reader = RecordReader::new(&bytes[..]);
        assert!(matches!(reader.read(), Err(RecordError::Data { offset: 0 })));
        assert_eq!(reader.read().unwrap().unwrap(), b"second record");
    }

    #[test]
    fn a_length_beyond_the_file_takes_no_memory() {
        let length = (MAX_RECORD_BYTES - 1).to_le_bytes();
        let bytes = [&length[..], &masked_crc(&length).to_le_bytes()].concat();
        assert!(matches!(read_all(&bytes).1, Some(RecordError::Truncated { offset: 0 })));
    }
}
