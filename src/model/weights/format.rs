//! Detects the format of a file by its content.

use std::fmt;

use super::{
    Refusal,
    bytes::Bytes,
    contents::Contents,
    refusal::{STATE_DICT, keras},
    safetensors_file::{self, MOST_HEADER_BYTES},
    torch_file::{self, LEGACY_BEFORE_PROTOCOL_2},
};

/// Format of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON header followed by the data.
    Safetensors,
    /// torch.save since torch 1.6.
    Torch,
    /// torch.save before torch 1.6.
    LegacyTorch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch's zip format",
            Self::LegacyTorch => "PyTorch's format from before 1.6",
        })
    }
}

const WANT: &str = "a .safetensors file, or a .pth, .pt, or .bin file from torch.save(model.state_dict(), FILE)";

impl Format {
    /// Detects the format by the first bytes. If they belong to no supported format, the error names the format found.
    ///
    /// The check for safetensors comes first. Such a file starts with the length of its header, and the bytes of that
    /// length may equal the first bytes of a pickle, an archive, or a web page. None of these has a brace at byte 8
    /// after a valid header length.
    pub fn of(file: &[u8]) -> Result<Self, Refusal> {
        let refuse = |got: &str, want: &str| Err(Refusal::new(got, want));
        match file {
            [] => refuse("an empty file", WANT),
            [_, _, _, _, _, _, _, _, b'{', ..] if header_bytes(file) <= MOST_HEADER_BYTES => Ok(Self::Safetensors),
            [b'P', b'K', 3, 4, ..] => Ok(Self::Torch),
            [0x80, ..] => Ok(Self::LegacyTorch),
            _ if file.starts_with(LEGACY_BEFORE_PROTOCOL_2) => Ok(Self::LegacyTorch),
            [0x89, b'H', b'D', b'F', ..] => Err(keras("an HDF5 file")),
            [0x1f, 0x8b, ..] => refuse("a gzip archive", "its contents; unpack it"),
            _ if file.starts_with(b"version https://git-lfs") => {
                refuse("a Git LFS pointer instead of the file", "the file itself; run git lfs pull")
            }
            _ if file.get(257..262) == Some(b"ustar") => refuse("a tar archive", STATE_DICT),
            _ if file.trim_ascii_start().starts_with(b"<") => {
                refuse("an HTML page", "the actual file; download it again")
            }
            // A damaged file; the reader reports the details.
            [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Self::Safetensors),
            _ => refuse("neither a safetensors file nor a torch.save file", WANT),
        }
    }

    /// Reads the contents of a file.
    pub(super) fn read(self, file: &[u8]) -> Result<Contents<'_>, Refusal> {
        match self {
            Self::Safetensors => safetensors_file::read(file).map(Contents::Flat),
            Self::Torch => torch_file::read_zipped(file).map(Contents::Pickled),
            Self::LegacyTorch => torch_file::read_legacy(file).map(Contents::Pickled),
        }
    }
}

/// The first eight bytes as a little-endian number.
fn header_bytes(file: &[u8]) -> u64 {
    Bytes::new(file).u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{disk::read_tensors, model::weights::safetensors_file::tests::padded};

    #[test]
    fn a_safetensors_file_is_one_whatever_the_length_of_its_header_looks_like() {
        for length in 8..=70_000 {
            let (bytes, tensor) = padded(length);
            assert_eq!(Format::of(&bytes), Ok(Format::Safetensors), "{length}");
            // Those that look like web pages or pickles are read completely.
            if length < 1500 || length % 256 == 0x80 || length % 997 == 0 {
                let Ok(Contents::Flat(dict)) = Format::Safetensors.read(&bytes) else { panic!("{length}") };
                let read = read_tensors(&bytes).unwrap();
                assert_eq!((dict.tensors.len(), read.len()), (usize::from(tensor), usize::from(tensor)), "{length}");
                if tensor {
                    assert_eq!(dict.tensors[0].1.read().unwrap(), read[0].1);
                    assert_eq!(read[0].1.double_value(&[0]), 1.5);
                }
            }
        }
    }

    #[test]
    fn bytes_that_other_files_begin_with_may_be_a_length() {
        for front in [&b"\x80\x02"[..], b"\x80\x04\x95", b"PK\x03", b"\x1f\x8b", b"<", b" <", b"L1"] {
            let mut bytes = [front, &[0; 8]].concat();
            bytes.truncate(8);
            bytes.push(b'{');
            assert_eq!(Format::of(&bytes), Ok(Format::Safetensors), "{front:?}");
        }
        // A header of 67,324,752 bytes, which is below the limit of the format.
        assert_eq!(Format::of(b"PK\x03\x04\0\0\0\0{}"), Ok(Format::Safetensors));
        let mut ustar = padded(640).0;
        ustar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Format::of(&ustar), Ok(Format::Safetensors));
        assert_eq!(Format::of(b"PK\x03\x04\x14\0\0\0\0\0"), Ok(Format::Torch));
        assert_eq!(Format::of(b"\x80\x02\x8a\nl\xfc\x9cF\xf9"), Ok(Format::LegacyTorch));
        assert_eq!(Format::of(b"\x80\x02}q\0X\x01\0{"), Ok(Format::LegacyTorch), "longer than any header");
        assert_eq!(Format::of(b"<script>{\"a\":1}</script>").unwrap_err().got, "an HTML page");
        assert_eq!(Format::of(b"\x1f\x8b\x08\x08abcd{").unwrap_err().got, "a gzip archive");
    }
}
