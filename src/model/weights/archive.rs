//! Reads the entries of a zip archive as torch.save writes it: stored, not compressed.
//!
//! There is no decompressor, and no allocation by a count that the file claims: each entry is a slice of the file.

use super::{Refusal, bytes::Bytes};

/// APPNOTE 6.3.10: sections 4.3.16, 4.3.15, 4.3.14, 4.3.12, 4.3.7.
const END: [u8; 4] = *b"PK\x05\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const END_64: [u8; 4] = *b"PK\x06\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

const END_BYTES: usize = 22;
const LOCATOR_64_BYTES: usize = 20;
/// Maximum length of a comment after the end of the directory.
const MOST_COMMENT_BYTES: usize = u16::MAX as usize;
/// Value of a 32-bit field if a 64-bit field contains the actual value.
const IN_ZIP64: u64 = u32::MAX as u64;
/// ID of the extra field in section 4.5.3.
const ZIP64_EXTRA: u16 = 1;

/// One file in an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Path in the archive.
    pub name: &'a str,
    data: &'a [u8],
    crc32: u32,
}

impl<'a> Entry<'a> {
    /// Returns the entry's bytes after verifying their checksum.
    pub(super) fn data(&self) -> Result<&'a [u8], Refusal> {
        let got = crc32fast::hash(self.data);
        if got == self.crc32 {
            return Ok(self.data);
        }
        let Self { name, crc32, .. } = self;
        Err(Refusal::damaged(format!("{name:?} with CRC-32 {got:08x} instead of {crc32:08x}")))
    }
}

/// Returns all entries of an archive, in the order of its directory.
pub(super) fn entries(file: &[u8]) -> Result<Vec<Entry<'_>>, Refusal> {
    let cut = || Refusal::cut("a zip archive", file.len());
    let (start, count) = directory(file).ok_or_else(cut)?;
    let mut bytes = Bytes::new(file.get(start..).ok_or_else(cut)?);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(entry(file, &mut bytes).ok_or_else(cut)??);
    }
    Ok(entries)
}

/// Returns the start of the directory and its number of entries.
fn directory(file: &[u8]) -> Option<(usize, u64)> {
    let last = file.len().checked_sub(END_BYTES)?;
    let is_end = |at: &usize| {
        let comment = Bytes::new(&file[at + END_BYTES - 2..]).u16().map(usize::from);
        file[*at..].starts_with(&END) && comment == Some(last - at)
    };
    let at = (last.saturating_sub(MOST_COMMENT_BYTES)..=last).rev().find(is_end)?;
    let locator = at.checked_sub(LOCATOR_64_BYTES).map(|start| &file[start..]);
    if let Some(locator) = locator.filter(|locator| locator.starts_with(&LOCATOR_64)) {
        let at = Bytes::new(&locator[8..]).u64()?;
        let end = file.get(usize::try_from(at).ok()?..)?;
        let mut bytes = Bytes::new(end.strip_prefix(&END_64)?);
        // Skips its own size, versions, disks, and the number of entries on this disk.
        bytes.take(28)?;
        let count = bytes.u64()?;
        bytes.u64()?;
        return Some((usize::try_from(bytes.u64()?).ok()?, count));
    }
    let mut bytes = Bytes::new(&file[at + 10..]);
    let count = bytes.u16()?;
    bytes.u32()?;
    Some((usize::try_from(bytes.u32()?).ok()?, count.into()))
}

/// Reads one entry of the directory; `None` if the file ends within it.
fn entry<'a>(file: &'a [u8], directory: &mut Bytes<'a>) -> Option<Result<Entry<'a>, Refusal>> {
    let bytes = directory;
    if bytes.take(4)? != CENTRAL {
        return None;
    }
    bytes.take(4)?;
    let (flags, method) = (bytes.u16()?, bytes.u16()?);
    bytes.take(4)?;
    let crc32 = bytes.u32()?;
    let (mut stored, mut size) = (u64::from(bytes.u32()?), u64::from(bytes.u32()?));
    let (name, extra, comment) = (bytes.u16()?, bytes.u16()?, bytes.u16()?);
    bytes.take(8)?;
    let mut at = u64::from(bytes.u32()?);
    let name = std::str::from_utf8(bytes.take(name.into())?).ok()?;
    let extra = bytes.take(extra.into())?;
    bytes.take(comment.into())?;
    let mut wide = zip64(extra);
    // In this order, and only fields that do not fit into 32 bits.
    for field in [&mut size, &mut stored, &mut at] {
        if *field == IN_ZIP64 {
            *field = wide.u64()?;
        }
    }
    if method != 0 || flags & 1 != 0 || stored != size {
        let got = format!("a zip archive whose {name:?} is compressed or encrypted");
        return Some(Err(Refusal::new(got, "an uncompressed archive from torch.save; unpack this one")));
    }
    let data = data(file, at, size)?;
    Some(Ok(Entry { name, data, crc32 }))
}

/// Returns the 64-bit fields in an entry's extra fields.
fn zip64(extra: &[u8]) -> Bytes<'_> {
    let mut bytes = Bytes::new(extra);
    while let (Some(id), Some(length)) = (bytes.u16(), bytes.u16()) {
        match bytes.take(length.into()) {
            Some(field) if id == ZIP64_EXTRA => return Bytes::new(field),
            Some(_) => {}
            None => break,
        }
    }
    Bytes::new(&[])
}

/// Returns the bytes after the entry's local header, whose name and padding can be longer than in the directory.
fn data(file: &[u8], at: u64, size: u64) -> Option<&[u8]> {
    let mut bytes = Bytes::new(file.get(usize::try_from(at).ok()?..)?);
    if bytes.take(4)? != LOCAL {
        return None;
    }
    bytes.take(22)?;
    let (name, extra) = (bytes.u16()?, bytes.u16()?);
    bytes.take(usize::from(name) + usize::from(extra))?;
    bytes.take(usize::try_from(size).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds an archive with one stored entry, as described in APPNOTE; `change` corrupts its header in the directory.
    fn archive(change: fn(&mut Vec<u8>)) -> Vec<u8> {
        let (name, data) = (b"a/b", b"data");
        let sizes = [4u32.to_le_bytes(), 4u32.to_le_bytes()].concat();
        let crc32 = crc32fast::hash(data).to_le_bytes();
        let lengths = [3u16.to_le_bytes(), 2u16.to_le_bytes()].concat();
        let local = [&LOCAL[..], &[0; 10], &crc32, &sizes, &lengths, name, &[0; 2], data].concat();
        let mut central = [&CENTRAL[..], &[0; 12], &crc32, &sizes, &3u16.to_le_bytes(), &[0; 16], name].concat();
        change(&mut central);
        let end = [&END[..], &[0; 4], &[1, 0, 1, 0], &(central.len() as u32).to_le_bytes()].concat();
        let start = (local.len() as u32).to_le_bytes();
        [local, central, end, start.to_vec(), vec![2, 0], b"ok".to_vec()].concat()
    }

    #[test]
    fn a_stored_entry_is_a_part_of_the_file() {
        let file = archive(|_| ());
        let entries = entries(&file).unwrap();
        assert_eq!((entries.len(), entries[0].name), (1, "a/b"));
        assert_eq!(entries[0].data().unwrap(), b"data");
    }

    #[test]
    fn a_compressed_entry_and_one_with_another_sum_are_refused() {
        let compressed = archive(|central| central[10] = 8);
        assert!(entries(&compressed).unwrap_err().got.contains("\"a/b\" is compressed or encrypted"));
        let bomb = archive(|central| central[20] = 1);
        assert!(entries(&bomb).unwrap_err().got.contains("is compressed"), "stored in fewer bytes than it has");
        let mut damaged = archive(|_| ());
        let at = damaged.windows(4).position(|window| window == b"data").unwrap();
        damaged[at] ^= 1;
        assert!(entries(&damaged).unwrap()[0].data().unwrap_err().got.contains("CRC-32"));
    }

    #[test]
    fn an_archive_that_is_cut_off_or_claims_more_than_it_has_is_refused() {
        let whole = archive(|_| ());
        for length in 0..whole.len() {
            assert!(entries(&whole[..length]).is_err(), "{length}");
        }
        // Sizes and a start position beyond the end of the file.
        let large = archive(|central| central[20..28].copy_from_slice(&[0xfe; 8]));
        assert!(entries(&large).is_err());
        let far = archive(|central| central[42..46].copy_from_slice(&[0xfe; 4]));
        assert!(entries(&far).is_err());
        let mut many = whole.clone();
        let end = many.len() - 14;
        many[end..end + 2].copy_from_slice(&[0xff; 2]);
        assert!(entries(&many).is_err());
    }
}
