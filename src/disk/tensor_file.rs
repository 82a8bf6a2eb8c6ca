//! Named tensors as the bytes of a safetensors file, and back.

use std::collections::{HashMap, HashSet};

use safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{Metadata, TensorInfo, TensorView},
};
use tch::{Kind, TchError, Tensor};

use crate::libtorch::first_line;

/// How many names of a kind an error message lists.
const LISTED: usize = 4;

/// Tensors by name. They are the state itself: what is copied into them is there.
pub type NamedTensors = Vec<(String, Tensor)>;

/// Why tensors and bytes do not go together. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The bytes are no safetensors file, or cut short.
    #[error("got {0}, want a whole safetensors file")]
    Format(#[from] SafeTensorError),
    /// The tensors of the file are others.
    #[error("missing {}; unexpected {}; different {}", list(missing), list(unexpected), list(different))]
    Mismatch {
        /// Names that are wanted and not there.
        missing: Vec<String>,
        /// Names that are there and not wanted.
        unexpected: Vec<String>,
        /// Names whose shape or type differs, with both.
        different: Vec<String>,
    },
    /// libtorch refused.
    #[error("libtorch refused: {}", first_line(.0))]
    Torch(TchError),
}

// Not a #[source]: the message says it all, and the source is a page of C++ backtrace.
impl From<TchError> for TensorFileError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

/// Names with commas between them, from the fifth on their number alone.
pub(crate) fn list(names: &[String]) -> String {
    match names.split_at_checked(LISTED) {
        _ if names.is_empty() => "none".to_owned(),
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// The bytes of a safetensors file. Filled again with tensors of the same sizes, it takes no new memory.
#[derive(Debug, Default)]
pub struct TensorFile(Vec<u8>);

impl TensorFile {
    /// Copies tensors of any device in. Device sync here, when they are not on the CPU.
    ///
    /// # Errors
    /// Where a tensor has a type that files do not know, or libtorch refuses.
    pub fn fill(&mut self, tensors: &[(String, Tensor)]) -> Result<(), TensorFileError> {
        let mut typed = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            typed.push((to_dtype(tensor.f_kind()?)?, name, tensor));
        }
        // The widest first, so that each lies at a multiple of its width, which readers rely on.
        typed.sort_by_key(|(dtype, ..)| std::cmp::Reverse(*dtype));
        let mut end = 0;
        let mut infos = Vec::with_capacity(typed.len());
        for (dtype, name, tensor) in &typed {
            let data_offsets = (end, end + bytes_of(tensor));
            end = data_offsets.1;
            infos.push(((*name).clone(), TensorInfo { dtype: *dtype, shape: to_shape(tensor), data_offsets }));
        }
        let metadata = Metadata::new(None, infos)?;
        let mut header = serde_json::to_vec(&metadata).map_err(SafeTensorError::JsonError)?;
        // The data begins at a multiple of eight.
        header.resize(header.len().next_multiple_of(8), b' ');
        let data = 8 + header.len();
        // Not cleared first, so that only what is new is set to zero.
        self.0.resize(data + end, 0);
        self.0[..8].copy_from_slice(&(header.len() as u64).to_le_bytes());
        self.0[8..data].copy_from_slice(&header);
        let mut rest = &mut self.0[data..];
        for (_, _, tensor) in typed {
            let (place, after) = rest.split_at_mut(bytes_of(tensor));
            tensor.f_detach()?.f_copy_data_u8(place, tensor.numel())?;
            rest = after;
        }
        Ok(())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without the file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Copies what a file holds into `tensors`, all or none: names, shapes and types must be theirs.
///
/// # Errors
/// Where they are not.
pub fn write_into(tensors: &[(String, Tensor)], bytes: &[u8]) -> Result<(), TensorFileError> {
    copy_named(&read_tensors(bytes)?, tensors)
}

/// Every tensor of a file, on the CPU, in the order in which they lie there.
///
/// # Errors
/// Where the bytes are no safetensors file or hold types that libtorch does not know.
pub fn read_tensors(bytes: &[u8]) -> Result<NamedTensors, TensorFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut views = file.tensors();
    views.sort_by_key(|(_, view)| view.data().as_ptr() as usize);
    views.into_iter().map(|(name, view)| Ok((name, to_tensor(&view)?))).collect()
}

/// Copies tensors into those of the same names, all or none: names, shapes and types must be the same.
///
/// # Errors
/// Where they are not.
pub fn copy_named(from: &[(String, Tensor)], into: &[(String, Tensor)]) -> Result<(), TensorFileError> {
    let known: HashMap<&str, &Tensor> = from.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let (mut pairs, mut missing, mut different) = (Vec::new(), Vec::new(), Vec::new());
    for (name, want) in into {
        match known.get(name.as_str()) {
            Some(got) if got.kind() == want.kind() && got.size() == want.size() => pairs.push((*got, want)),
            Some(got) => different.push(format!("{name} (got {}, want {})", describe(got), describe(want))),
            None => missing.push(name.clone()),
        }
    }
    let wanted: HashSet<&str> = into.iter().map(|(name, _)| name.as_str()).collect();
    let mut unexpected: Vec<String> =
        known.into_keys().filter(|name| !wanted.contains(name)).map(String::from).collect();
    unexpected.sort_unstable();
    if !(missing.is_empty() && unexpected.is_empty() && different.is_empty()) {
        return Err(TensorFileError::Mismatch { missing, unexpected, different });
    }
    let _no_grad = tch::no_grad_guard();
    for (from, into) in pairs {
        into.shallow_clone().f_copy_(from)?;
    }
    Ok(())
}

fn describe(tensor: &Tensor) -> String {
    format!("{:?} {:?}", tensor.kind(), tensor.size())
}

fn to_tensor(view: &TensorView<'_>) -> Result<Tensor, TensorFileError> {
    let kind = to_kind(view.dtype()).ok_or_else(|| unknown(view.dtype()))?;
    let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}

/// The types of numbers that files and libtorch have in common.
const KINDS: [(Kind, Dtype); 9] = [
    (Kind::Float, Dtype::F32),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Double, Dtype::F64),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

fn to_dtype(kind: Kind) -> Result<Dtype, TensorFileError> {
    KINDS.iter().find(|(known, _)| *known == kind).map(|(_, dtype)| *dtype).ok_or_else(|| unknown(kind))
}

fn to_kind(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(_, known)| *known == dtype).map(|(kind, _)| *kind)
}

fn unknown(kind: impl std::fmt::Debug) -> TensorFileError {
    TensorFileError::Torch(TchError::Kind(format!("tensors of {kind:?} are not known here")))
}

fn to_shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|side| side as usize).collect()
}

fn bytes_of(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn tensors() -> NamedTensors {
        let strided = Tensor::from_slice(&[1.0f32, -0.0, f32::NAN, 4.0, 5.0, 6.0]).reshape([2, 3]).transpose(0, 1);
        let named = [
            ("a.weight", strided),
            ("count", Tensor::from(7i64)),
            ("empty", Tensor::zeros([0, 3], (Kind::Double, Device::Cpu))),
            ("half", Tensor::from_slice(&[0.5f32]).to_kind(Kind::BFloat16)),
            ("bytes", Tensor::from_slice(&[1u8, 2, 3])),
        ];
        named.map(|(name, tensor)| (name.to_owned(), tensor)).into()
    }

    fn bits(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = vec![0; bytes_of(tensor)];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    }

    #[test]
    fn tensors_of_any_kind_shape_and_stride_come_back_bit_for_bit() {
        let (saved, loaded) = (tensors(), tensors());
        loaded.iter().for_each(|(_, tensor)| _ = tensor.shallow_clone().zero_());
        let mut file = TensorFile::default();
        file.fill(&saved).unwrap();
        write_into(&loaded, file.bytes()).unwrap();
        for ((name, before), (_, after)) in saved.iter().zip(&loaded) {
            assert_eq!(bits(before), bits(after), "{name}");
        }
        // As readers rely on, every tensor begins at a multiple of its width.
        let (header, metadata) = SafeTensors::read_metadata(file.bytes()).unwrap();
        for (name, info) in metadata.tensors() {
            assert!((8 + header + info.data_offsets.0).is_multiple_of(info.dtype.bitsize() / 8), "{name}");
        }
        let mut read = read_tensors(file.bytes()).unwrap();
        read.sort_by_key(|(name, _)| saved.iter().position(|(known, _)| known == name));
        for ((name, before), (also, after)) in saved.iter().zip(&read) {
            assert_eq!(
                (name, before.size(), before.kind(), bits(before)),
                (also, after.size(), after.kind(), bits(after))
            );
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_format_and_a_second_filling_takes_no_new_memory() {
        let mut file = TensorFile::default();
        file.fill(&[("w".to_owned(), Tensor::from_slice(&[1.0f32]))]).unwrap();
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  "#;
        let want = [&(header.len() as u64).to_le_bytes()[..], header, &1.0f32.to_le_bytes()].concat();
        assert_eq!(file.bytes(), want);
        let place = file.bytes().as_ptr();
        file.fill(&[("w".to_owned(), Tensor::from_slice(&[2.0f32]))]).unwrap();
        assert_eq!(place, file.bytes().as_ptr());
        assert!(file.bytes().ends_with(&2.0f32.to_le_bytes()));
    }

    #[test]
    fn a_kind_that_files_do_not_know_is_refused() {
        let complex = Tensor::zeros([1], (Kind::ComplexFloat, Device::Cpu));
        let error = TensorFile::default().fill(&[("c".to_owned(), complex)]).unwrap_err().to_string();
        assert!(error.contains("ComplexFloat"), "{error}");
    }
}
