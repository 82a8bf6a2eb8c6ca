//! CUDA kernels at the boundary.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr, slice,
};

use tch::Tensor;

use super::{LibtorchError, check, pointers, raw::*};

/// Compute capability of a device: major, minor.
pub(in crate::libtorch) fn kernels_architecture(device: c_int) -> Result<(c_int, c_int), LibtorchError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the shim stores two ints.
    check("cuDeviceGetAttribute", unsafe { gw_kernels_architecture(device, &mut major, &mut minor) })?;
    Ok((major, minor))
}

/// Version of NVRTC: major, minor.
pub(in crate::libtorch) fn kernels_compiler() -> Result<(c_int, c_int), LibtorchError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the shim stores two ints.
    check("nvrtcVersion", unsafe { gw_kernels_compiler(&mut major, &mut minor) })?;
    Ok((major, minor))
}

/// Compiles a source that includes `files` (name, text) by their names, for an architecture such as `sm_90`.
pub(in crate::libtorch) fn kernels_compile(
    source: &CStr,
    files: &[(CString, CString)],
    architecture: &CStr,
) -> Result<Vec<u8>, LibtorchError> {
    let names: Vec<*const c_char> = files.iter().map(|(name, _)| name.as_ptr()).collect();
    let texts: Vec<*const c_char> = files.iter().map(|(_, text)| text.as_ptr()).collect();
    let (mut binary, mut size) = (ptr::null_mut(), 0);
    // SAFETY: all strings live for the call, and both lists have `files.len()` entries.
    check("nvrtcCompileProgram", unsafe {
        gw_kernels_compile(
            source.as_ptr(),
            files.len(),
            names.as_ptr(),
            texts.as_ptr(),
            architecture.as_ptr(),
            &mut binary,
            &mut size,
        )
    })?;
    // SAFETY: on success the shim stored `size` bytes from malloc, which are ours to free, once.
    let bytes = unsafe { slice::from_raw_parts(binary.cast::<u8>(), size) }.to_vec();
    unsafe { gw_message_free(binary) };
    Ok(bytes)
}

/// The norm of all tensors of a table and whether it is one to step on, where there are kernels for the table.
pub(in crate::libtorch) fn table_total(table: &Tensor) -> Result<Option<[Tensor; 2]>, LibtorchError> {
    let mut out = [ptr::null_mut(); 2];
    // SAFETY: the table is alive for the call, and table.rs has seen that it has rows of f64.
    check("table_total", unsafe { gw_table_total(table.as_ptr(), out.as_mut_ptr()) })?;
    // SAFETY: the shim stored either nothing or two pointers to tensors made with new, which now belong to the Tensors.
    Ok((!out[0].is_null()).then(|| out.map(|tensor| unsafe { Tensor::from_ptr(tensor) })))
}

/// Whether there are kernels for these buffers, which then were restored.
pub(in crate::libtorch) fn restore_buffers(
    live: &[Tensor],
    saved: &[Tensor],
    found_inf: &Tensor,
) -> Result<bool, LibtorchError> {
    let (live, list) = (pointers(live), pointers(saved));
    let mut is_done = 0;
    // SAFETY: restore_buffers.rs has seen that the lists are equally long, of the same sizes and dtypes, and of one device.
    check("restore_buffers", unsafe {
        gw_restore_buffers(live.as_ptr(), list.as_ptr(), list.len(), found_inf.as_ptr(), &mut is_done)
    })?;
    Ok(is_done != 0)
}

/// The tensors of gw_clip_units, where there are kernels for these gradients.
pub(in crate::libtorch) fn clip_units(
    params: &[Tensor],
    grads: &[Tensor],
    units: &[i64],
    [clip_factor, eps]: [f64; 2],
    [total_norm, found_inf]: [&Tensor; 2],
) -> Result<Option<[Tensor; 4]>, LibtorchError> {
    let (params, list) = (pointers(params), pointers(grads));
    let mut out = [ptr::null_mut(); 4];
    // SAFETY: units.rs has seen that the three lists are equally long, and that both scalars are of the gradients' device and of
    // the kernels' dtype.
    check("clip_units", unsafe {
        gw_clip_units(
            params.as_ptr(),
            list.as_ptr(),
            list.len(),
            units.as_ptr(),
            clip_factor,
            eps,
            total_norm.as_ptr(),
            found_inf.as_ptr(),
            out.as_mut_ptr(),
        )
    })?;
    // SAFETY: the shim stored either nothing or four pointers to tensors made with new, which now belong to the Tensors.
    Ok((!out[0].is_null()).then(|| out.map(|tensor| unsafe { Tensor::from_ptr(tensor) })))
}

/// Loads what [`kernels_compile`] returned into a device.
pub(in crate::libtorch) fn kernels_load(device: c_int, binary: &[u8]) -> Result<(), LibtorchError> {
    // SAFETY: the driver reads a whole binary of its own format; that it is whole has been seen by its hash.
    check("cuModuleLoadData", unsafe { gw_kernels_load(device, binary.as_ptr().cast()) })
}

pub(in crate::libtorch) fn kernels_unload(device: c_int) {
    // SAFETY: removes an entry behind a lock.
    unsafe { gw_kernels_unload(device) };
}
