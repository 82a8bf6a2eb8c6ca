//! TorchScript modules at the boundary; apart from the rest for its size.

use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
};

use tch::Tensor;

use super::{LibtorchError, raw::*, take_message};

/// A module of the shim's, freed on drop.
#[derive(Debug)]
pub(in crate::libtorch) struct Script(*mut RawScript);

// SAFETY: libtorch binds a module to no thread; without Sync, one at a time has it.
unsafe impl Send for Script {}

impl Drop for Script {
    fn drop(&mut self) {
        // SAFETY: the pointer came from gw_script_load and is given back once.
        unsafe { gw_script_free(self.0) };
    }
}

/// As `check` of ffi.rs, for messages of which only a part counts.
fn check(
    operation: &'static str,
    message: *mut c_char,
    cause: impl FnOnce(&str) -> String,
) -> Result<(), LibtorchError> {
    match take_message(message) {
        None => Ok(()),
        Some(message) => Err(LibtorchError::Operation { operation, message: cause(&message) }),
    }
}

impl Script {
    pub(in crate::libtorch) fn load(
        bytes: &[u8],
        device: c_int,
        cause: impl FnOnce(&str) -> String,
    ) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: the bytes live for the call and are copied; on success the shim stored a pointer that is ours.
        let message = unsafe { gw_script_load(bytes.as_ptr().cast(), bytes.len(), device, &mut out) };
        check("torch::jit::load", message, cause)?;
        Ok(Self(out))
    }

    /// Name, tensor, and whether it is a parameter.
    pub(in crate::libtorch) fn tensors(&self) -> Result<Vec<(String, Tensor, bool)>, LibtorchError> {
        // SAFETY: the module is alive.
        let count = unsafe { gw_script_count(self.0) };
        let tensor = |index| {
            let (mut name, mut is_parameter, mut out) = (ptr::null(), 0, ptr::null_mut());
            // SAFETY: the module is alive, and the shim checks the index.
            let message = unsafe { gw_script_tensor(self.0, index, &mut name, &mut is_parameter, &mut out) };
            check("named_tensors", message, str::to_owned)?;
            // SAFETY: on success the name is a C string of the module's, and the tensor, made with new, is ours.
            let (name, tensor) = unsafe { (CStr::from_ptr(name), Tensor::from_ptr(out)) };
            Ok((name.to_string_lossy().into_owned(), tensor, is_parameter != 0))
        };
        (0..count).map(tensor).collect()
    }

    pub(in crate::libtorch) fn forward(
        &self,
        images: &Tensor,
        train: bool,
        cause: impl FnOnce(&str) -> String,
    ) -> Result<Tensor, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: module and images are alive for the call.
        let message = unsafe { gw_script_forward(self.0, images.as_ptr(), train.into(), &mut out) };
        check("forward", message, cause)?;
        // SAFETY: on success the shim stored a pointer to a tensor made with new, which now belongs to the Tensor.
        Ok(unsafe { Tensor::from_ptr(out) })
    }
}
