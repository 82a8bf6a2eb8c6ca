//! FFI for the CUDA kernels.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr, slice,
};

use tch::Tensor;

use super::{LibtorchError, check, pointers, raw::*};
use crate::libtorch::{GuessSums, StepOutcome};

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

/// Returns the norm of all tensors of a table and the found_inf flag; `None` if no kernels are loaded for the table.
pub(in crate::libtorch) fn table_total(table: &Tensor) -> Result<Option<[Tensor; 2]>, LibtorchError> {
    let mut out = [ptr::null_mut(); 2];
    // SAFETY: the table is alive for the call, and table.rs has checked that it is a two-dimensional f64 tensor.
    check("table_total", unsafe { gw_table_total(table.as_ptr(), out.as_mut_ptr()) })?;
    // SAFETY: the shim stored either nothing or two pointers to tensors allocated with new, which the Tensors now own.
    Ok((!out[0].is_null()).then(|| out.map(|tensor| unsafe { Tensor::from_ptr(tensor) })))
}

/// Restores the buffers. Returns false, and does nothing, if no kernels are loaded for them.
pub(in crate::libtorch) fn restore_buffers(
    live: &[Tensor],
    saved: &[Tensor],
    found_inf: &Tensor,
) -> Result<bool, LibtorchError> {
    let (live, list) = (pointers(live), pointers(saved));
    let mut is_done = 0;
    // SAFETY: restore_buffers.rs has checked that the lists have the same length, sizes, dtypes, and device.
    check("restore_buffers", unsafe {
        gw_restore_buffers(live.as_ptr(), list.as_ptr(), list.len(), found_inf.as_ptr(), &mut is_done)
    })?;
    Ok(is_done != 0)
}

/// Counts the step and returns its norm; `None`, and counts nothing, if no kernels are loaded for the counters.
pub(in crate::libtorch) fn step_outcome(
    step: &StepOutcome<'_>,
    skipped: &Tensor,
    in_a_row: &Tensor,
) -> Result<Option<Tensor>, LibtorchError> {
    let failure = step.failure.map_or(ptr::null(), Tensor::as_ptr);
    let mut norm = ptr::null_mut();
    // SAFETY: step_outcome.rs has checked that all tensors are scalars of the kernel's dtypes on one device.
    check("step_outcome", unsafe {
        gw_step_outcome(
            step.found_inf.as_ptr(),
            step.not_taken.as_ptr(),
            failure,
            step.norm.as_ptr(),
            skipped.as_ptr(),
            in_a_row.as_ptr(),
            &mut norm,
        )
    })?;
    // SAFETY: the shim stored either nothing or a pointer to a tensor allocated with new, which the Tensor now owns.
    Ok((!norm.is_null()).then(|| unsafe { Tensor::from_ptr(norm) }))
}

/// Adds the batch. Returns false, and adds nothing, if no kernels are loaded for it.
pub(in crate::libtorch) fn count_guesses(
    logits: &Tensor,
    labels: &Tensor,
    loss: &Tensor,
    sums: &GuessSums<'_>,
) -> Result<bool, LibtorchError> {
    let places = sums.places.map_or(ptr::null(), Tensor::as_ptr);
    let mut is_done = 0;
    // SAFETY: guesses.rs has checked shapes, dtypes, and devices.
    check("count_guesses", unsafe {
        gw_count_guesses(
            logits.as_ptr(),
            labels.as_ptr(),
            loss.as_ptr(),
            sums.totals.as_ptr(),
            sums.counts.as_ptr(),
            c_int::from(sums.is_matrix),
            places,
            &mut is_done,
        )
    })?;
    Ok(is_done != 0)
}

/// Returns f32 images; `None` if no kernels are loaded for the device of the bytes.
pub(in crate::libtorch) fn normalize_pixels(
    pixels: &Tensor,
    tables: &[f32],
    boxes: Option<&Tensor>,
    channels_last: bool,
) -> Result<Option<Tensor>, LibtorchError> {
    let boxes = boxes.map_or(ptr::null(), Tensor::as_ptr);
    let mut out = ptr::null_mut();
    // SAFETY: pixels.rs has checked that there is a table for each channel and a box for each image.
    check("normalize_pixels", unsafe {
        gw_normalize_pixels(pixels.as_ptr(), tables.as_ptr(), boxes, c_int::from(channels_last), &mut out)
    })?;
    // SAFETY: as for step_outcome.
    Ok((!out.is_null()).then(|| unsafe { Tensor::from_ptr(out) }))
}

/// Returns the tensors of gw_clip_units; `None` if no kernels are loaded for these gradients.
pub(in crate::libtorch) fn clip_units(
    params: &[Tensor],
    grads: &[Tensor],
    units: &[i64],
    [clip_factor, eps]: [f64; 2],
    [total_norm, found_inf]: [&Tensor; 2],
) -> Result<Option<[Tensor; 4]>, LibtorchError> {
    let (params, list) = (pointers(params), pointers(grads));
    let mut out = [ptr::null_mut(); 4];
    // SAFETY: units.rs has checked that the three lists have the same length, and that both scalars have the gradients'
    // device and the kernels' dtype.
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
    // SAFETY: the shim stored either nothing or four pointers to tensors allocated with new, which the Tensors now own.
    Ok((!out[0].is_null()).then(|| out.map(|tensor| unsafe { Tensor::from_ptr(tensor) })))
}

/// Loads a binary from [`kernels_compile`] into a device.
pub(in crate::libtorch) fn kernels_load(device: c_int, binary: &[u8]) -> Result<(), LibtorchError> {
    // SAFETY: the driver reads a whole binary of its own format; its hash has confirmed that it is complete.
    check("cuModuleLoadData", unsafe { gw_kernels_load(device, binary.as_ptr().cast()) })
}

pub(in crate::libtorch) fn kernels_unload(device: c_int) {
    // SAFETY: removes an entry behind a lock.
    unsafe { gw_kernels_unload(device) };
}
