//! Which kind of file it is, by its content.

use std::fmt;

use super::{
    Refusal,
    refusal::{STATE_DICT, keras},
    safetensors_file,
    stored::StoredTensor,
    torch_file,
};

/// What weights are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Header in JSON, then numbers.
    Safetensors,
    /// torch.save since torch 1.6.
    Torch,
    /// torch.save before.
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

const WANT: &str = "a .safetensors file, or a .pth, .pt or .bin file of torch.save(model.state_dict(), FILE)";

impl Format {
    /// By the first bytes, or what else they are.
    pub fn of(file: &[u8]) -> Result<Self, Refusal> {
        let refuse = |got: &str, want: &str| Err(Refusal::new(got, want));
        match file {
            [] => refuse("an empty file", WANT),
            [b'P', b'K', 3, 4, ..] => Ok(Self::Torch),
            [0x80, ..] => Ok(Self::LegacyTorch),
            // The letter behind eight bytes of length.
            [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Self::Safetensors),
            [0x89, b'H', b'D', b'F', ..] => Err(keras("an HDF5 file")),
            [0x1f, 0x8b, ..] => refuse("a gzip archive", "what is in it; unpack it"),
            _ if file.starts_with(b"version https://git-lfs") => {
                refuse("a pointer of Git LFS in place of the file", "the file itself; git lfs pull")
            }
            _ if file.get(257..262) == Some(b"ustar") => refuse("a tar archive", STATE_DICT),
            _ if file.trim_ascii_start().starts_with(b"<") => {
                refuse("an HTML page", "the file that it stands for; download it again")
            }
            _ => refuse("neither safetensors nor a file of torch.save", WANT),
        }
    }

    /// The tensors of a file by their names.
    pub fn read(self, file: &[u8]) -> Result<Vec<(String, StoredTensor<'_>)>, Refusal> {
        match self {
            Self::Safetensors => safetensors_file::read(file),
            Self::Torch => torch_file::read_zipped(file),
            Self::LegacyTorch => torch_file::read_legacy(file),
        }
    }
}
