//! FFI for copies between host and device.

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
};

use tch::Tensor;

use super::{LibtorchError, check, codes::ScalarType, new_tensor, pointers, raw::*};
use crate::libtorch::HostSlice;

fn raw(slice: &HostSlice<'_>) -> RawSlice {
    let (data, length, dtype): (*const c_void, usize, ScalarType) = match slice {
        HostSlice::Float(values) => (values.as_ptr().cast(), values.len(), ScalarType::Float),
        HostSlice::Int64(values) => (values.as_ptr().cast(), values.len(), ScalarType::Long),
        HostSlice::Int(values) => (values.as_ptr().cast(), values.len(), ScalarType::Int),
        HostSlice::Uint8(values) => (values.as_ptr().cast(), values.len(), ScalarType::Byte),
    };
    RawSlice { data, length: length as i64, dtype }
}

pub(in crate::libtorch) fn upload<const N: usize>(
    slices: &[HostSlice<'_>; N],
    device: c_int,
) -> Result<[Tensor; N], LibtorchError> {
    let list: Vec<RawSlice> = slices.iter().map(raw).collect();
    let mut out = [ptr::null_mut(); N];
    // SAFETY: the shim reads `length` elements of each slice, which are borrowed for the call, and stores N tensors.
    check("upload", unsafe { gw_upload(list.as_ptr(), N, device, out.as_mut_ptr()) })?;
    // SAFETY: on success the shim stored N pointers to tensors allocated with new, which the Tensors now own.
    Ok(out.map(|tensor| unsafe { Tensor::from_ptr(tensor) }))
}

/// Allocates pinned host memory: `[length]` of u8.
pub(in crate::libtorch) fn pinned_bytes(length: usize) -> Result<Tensor, LibtorchError> {
    // SAFETY: the shim stores a new tensor.
    new_tensor("pinned_memory", |out| unsafe { gw_pinned_bytes(length, out) })
}

/// The bytes of a tensor from [`pinned_bytes`]. The caller must have waited for the copies into it.
pub(in crate::libtorch) fn pinned_slice(bytes: &Tensor) -> &[u8] {
    // SAFETY: the tensor is contiguous u8 on the host and lives as long as the slice; pinned.rs writes to it only
    // through `&mut`.
    unsafe { slice::from_raw_parts(gw_pinned_data(bytes.as_ptr()).cast(), bytes.numel()) }
}

/// Writes `head` to the start of a tensor from [`pinned_bytes`]; excess bytes are cut off.
pub(in crate::libtorch) fn write_pinned(bytes: &Tensor, head: &[u8]) {
    let length = head.len().min(bytes.numel());
    // SAFETY: the tensor is contiguous u8 on the host with room for `length` bytes; pinned.rs holds its buffer as
    // `&mut`.
    unsafe { ptr::copy_nonoverlapping(head.as_ptr(), gw_pinned_data(bytes.as_ptr()).cast(), length) };
}

/// Queues a copy of each tensor to its offset.
pub(in crate::libtorch) fn copy_to_pinned(bytes: &Tensor, tensors: &[(usize, &Tensor)]) -> Result<(), LibtorchError> {
    let list = pointers(tensors.iter().map(|(_, tensor)| *tensor));
    let offsets: Vec<i64> = tensors.iter().map(|(offset, _)| *offset as i64).collect();
    // SAFETY: both lists have the same length; the shim checks that each tensor fits, by a view of the bytes.
    check("copy_to_pinned", unsafe { gw_copy_to_pinned(bytes.as_ptr(), list.as_ptr(), offsets.as_ptr(), list.len()) })
}
