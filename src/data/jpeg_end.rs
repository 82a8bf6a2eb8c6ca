//! Detects truncated JPEGs. The decoder silently fills missing parts with gray.

const END: [u8; 2] = [0xff, 0xd9];

/// Whether a JPEG file has its end marker, which Pillow also checks. Bytes after it are ignored.
pub(super) fn has_end(file: &[u8]) -> bool {
    // Fast path: if nothing follows the marker, no scan is needed.
    file.ends_with(&END) || find_end(file).is_some()
}

/// Scans from marker to marker, because an embedded preview has its own end marker inside a segment.
fn find_end(file: &[u8]) -> Option<()> {
    let mut rest = file;
    loop {
        let marker = rest.iter().position(|byte| *byte == 0xff)?;
        rest = rest.get(marker..)?;
        let code = rest.iter().position(|byte| *byte != 0xff)?;
        rest = rest.get(code..)?;
        match rest.split_first()? {
            (0xd9, _) => return Some(()),
            // An escaped 0xff in the image data, a restart marker, or the start of the image: these have no segment.
            (0x00 | 0x01 | 0xd0..=0xd8, after) => rest = after,
            (_, after) => {
                let length = u16::from_be_bytes(*after.first_chunk()?);
                rest = after.get(usize::from(length)..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_counts_only_outside_of_segments() {
        let start = [0xff, 0xd8, 0xff, 0xe1, 0x00, 0x05, 0xff, 0xd9, 0x07];
        let scan = [0xff, 0xda, 0x00, 0x03, 0x01, 0x12, 0xff, 0x00, 0x34, 0xff, 0xd0, 0x56];
        let cut = [&start[..], &scan].concat();
        assert!(!has_end(&cut) && !has_end(&start) && !has_end(&cut[..3]) && !has_end(&[]));
        let whole = [&cut[..], &END].concat();
        assert!(has_end(&whole));
        assert!(has_end(&[&whole[..], b"more"].concat()));
        assert!(has_end(&[&cut[..], &[0xff, 0xff, 0xd9, 0x00]].concat()));
    }
}
