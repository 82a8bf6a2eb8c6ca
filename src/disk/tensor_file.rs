//! Converts named tensors to the bytes of a safetensors file, and back.

use std::collections::{HashMap, HashSet};

use safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{Metadata, TensorInfo, TensorView},
};
use tch::{Device, Kind, TchError, Tensor};

use crate::libtorch::{LibtorchError, PinnedBuffer, first_line, tensor_bytes};

/// Maximum number of names per category in an error message.
const LISTED: usize = 4;

/// Tensors by name. They are the live state: copying into them changes it.
pub type NamedTensors = Vec<(String, Tensor)>;

/// Reasons why a file does not match the tensors. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The bytes are not a safetensors file, or are truncated.
    #[error("got {0}, want a complete safetensors file")]
    Format(#[from] SafeTensorError),
    /// The tensors of the file differ from the expected ones.
    #[error("missing {}; unexpected {}; different {}", list(missing), list(unexpected), list(different))]
    Mismatch {
        /// Expected names that are missing in the file.
        missing: Vec<String>,
        /// Unexpected names in the file.
        unexpected: Vec<String>,
        /// Names whose shape or dtype differs, with both values.
        different: Vec<String>,
    },
    /// libtorch reported an error.
    #[error("libtorch error: {}", first_line(.0))]
    Torch(TchError),
}

// Not a #[source]: the message is complete, and the source is a page of C++ backtrace.
impl From<TchError> for TensorFileError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

impl From<LibtorchError> for TensorFileError {
    fn from(error: LibtorchError) -> Self {
        Self::Torch(error.into())
    }
}

/// Joins names with commas; lists only the number of names after the fourth.
pub(crate) fn list(names: &[String]) -> String {
    match names.split_at_checked(LISTED) {
        _ if names.is_empty() => "none".to_owned(),
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// The bytes of a safetensors file. Filling it again with tensors of the same sizes allocates no new memory.
#[derive(Debug, Default)]
pub struct TensorFile {
    /// File contents for tensors on the CPU.
    bytes: Vec<u8>,
    /// File contents for tensors on a GPU, instead of `bytes`.
    pinned: Option<PinnedBuffer>,
}

impl TensorFile {
    /// Copies tensors of one device, or of one device and the CPU. Copies from a GPU are only queued, on the current
    /// stream: later changes to the tensors do not affect them. No sync.
    ///
    /// # Errors
    /// If a tensor has a dtype that the file format does not support, or libtorch reports an error.
    pub fn fill(&mut self, tensors: &[(String, Tensor)]) -> Result<(), TensorFileError> {
        let mut typed = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            typed.push((to_dtype(tensor.f_kind()?)?, name, tensor));
        }
        // The widest dtype first, so that each tensor starts at a multiple of its element size, which readers require.
        typed.sort_by_key(|(dtype, ..)| std::cmp::Reverse(*dtype));
        let mut end = 0;
        let mut infos = Vec::with_capacity(typed.len());
        let mut offsets = Vec::with_capacity(typed.len());
        for (dtype, name, tensor) in &typed {
            let data_offsets = (end, end + tensor_bytes(tensor));
            offsets.push(end);
            end = data_offsets.1;
            infos.push(((*name).clone(), TensorInfo { dtype: *dtype, shape: to_shape(tensor), data_offsets }));
        }
        let metadata = Metadata::new(None, infos)?;
        let mut header = serde_json::to_vec(&metadata).map_err(SafeTensorError::JsonError)?;
        // The data starts at a multiple of eight.
        header.resize(header.len().next_multiple_of(8), b' ');
        let head = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
        let length = head.len() + end;
        let placed: Vec<(usize, &Tensor)> =
            offsets.iter().zip(&typed).map(|(offset, (.., tensor))| (head.len() + offset, *tensor)).collect();
        match tensors.iter().map(|(_, tensor)| tensor.device()).find(|device| *device != Device::Cpu) {
            Some(device) => Ok(self.pinned.get_or_insert_default().copy(&head, &placed, length, device)?),
            None => {
                self.pinned = None;
                self.copy_here(&head, &placed, length)
            }
        }
    }

    fn copy_here(&mut self, head: &[u8], tensors: &[(usize, &Tensor)], length: usize) -> Result<(), TensorFileError> {
        // Not cleared first, so that only new memory is zeroed.
        self.bytes.resize(length, 0);
        self.bytes[..head.len()].copy_from_slice(head);
        for (offset, tensor) in tensors {
            let place = &mut self.bytes[*offset..offset + tensor_bytes(tensor)];
            tensor.f_detach()?.f_copy_data_u8(place, tensor.numel())?;
        }
        Ok(())
    }

    /// Waits for copies from the GPU and returns the bytes.
    ///
    /// # Errors
    /// If an earlier operation on the GPU failed.
    pub fn bytes(&self) -> Result<&[u8], TensorFileError> {
        self.pinned.as_ref().map_or(Ok(&self.bytes), |pinned| Ok(pinned.read()?))
    }

    /// Waits for copies from the GPU and converts the file to its bytes.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn into_bytes(self) -> Result<Vec<u8>, TensorFileError> {
        match &self.pinned {
            Some(pinned) => Ok(pinned.read()?.to_vec()),
            None => Ok(self.bytes),
        }
    }
}

/// Copies the tensors of a file into `tensors`, all or none: names, shapes, and dtypes must match.
///
/// # Errors
/// If they do not match.
pub fn write_into(tensors: &[(String, Tensor)], bytes: &[u8]) -> Result<(), TensorFileError> {
    copy_named(&read_tensors(bytes)?, tensors)
}

/// Reads every tensor of a file, on the CPU, in file order.
///
/// # Errors
/// If the bytes are not a safetensors file, or contain dtypes that libtorch does not support.
pub fn read_tensors(bytes: &[u8]) -> Result<NamedTensors, TensorFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut views = file.tensors();
    views.sort_by_key(|(_, view)| view.data().as_ptr() as usize);
    views.into_iter().map(|(name, view)| Ok((name, to_tensor(&view)?))).collect()
}

/// Copies tensors into those with the same names, all or none: names, shapes, and dtypes must match.
///
/// # Errors
/// If they do not match.
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

/// Dtypes that both the file format and libtorch support.
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
    TensorFileError::Torch(TchError::Kind(format!("tensors of type {kind:?} are not supported")))
}

fn to_shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|side| side as usize).collect()
}

#[cfg(test)]
mod tests {
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
        let mut bytes = vec![0; tensor_bytes(tensor)];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    }

    #[test]
    fn tensors_of_any_kind_shape_and_stride_come_back_bit_for_bit() {
        let (saved, loaded) = (tensors(), tensors());
        loaded.iter().for_each(|(_, tensor)| _ = tensor.shallow_clone().zero_());
        let mut file = TensorFile::default();
        file.fill(&saved).unwrap();
        write_into(&loaded, file.bytes().unwrap()).unwrap();
        for ((name, before), (_, after)) in saved.iter().zip(&loaded) {
            assert_eq!(bits(before), bits(after), "{name}");
        }
        // Every tensor must start at a multiple of its element size, which readers require.
        let (header, metadata) = SafeTensors::read_metadata(file.bytes().unwrap()).unwrap();
        for (name, info) in metadata.tensors() {
            assert!((8 + header + info.data_offsets.0).is_multiple_of(info.dtype.bitsize() / 8), "{name}");
        }
        let mut read = read_tensors(file.bytes().unwrap()).unwrap();
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
        assert_eq!(file.bytes().unwrap(), want);
        let place = file.bytes().unwrap().as_ptr();
        file.fill(&[("w".to_owned(), Tensor::from_slice(&[2.0f32]))]).unwrap();
        assert_eq!(place, file.bytes().unwrap().as_ptr());
        assert!(file.bytes().unwrap().ends_with(&2.0f32.to_le_bytes()));
    }

    #[test]
    fn a_kind_that_files_do_not_know_is_refused() {
        let complex = Tensor::zeros([1], (Kind::ComplexFloat, Device::Cpu));
        let error = TensorFile::default().fill(&[("c".to_owned(), complex)]).unwrap_err().to_string();
        assert!(error.contains("ComplexFloat"), "{error}");
    }
}
