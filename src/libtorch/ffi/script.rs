//! FFI for TorchScript modules.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::{LibtorchError, panic_text, pointers, raw::*, take_message, tell};
use crate::libtorch::first_line;

/// A module owned by the shim; freed on drop.
#[derive(Debug)]
pub(in crate::libtorch) struct Script(*mut RawScript);

// SAFETY: libtorch binds a module to no thread; it is not Sync, so only one thread uses it at a time.
unsafe impl Send for Script {}

impl Drop for Script {
    fn drop(&mut self) {
        // SAFETY: the pointer came from gw_script_load or gw_trace and is returned once.
        unsafe { gw_script_free(self.0) };
    }
}

/// Like `check` of ffi.rs, for messages of which only a part is relevant.
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
        extras: &[&CStr],
        cause: impl FnOnce(&str) -> String,
    ) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        let names: Vec<*const c_char> = extras.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: bytes and names are valid for the call and copied; on success the shim stored a pointer that we own.
        let message = unsafe {
            gw_script_load(bytes.as_ptr().cast(), bytes.len(), device, names.as_ptr(), names.len(), &mut out)
        };
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
            // SAFETY: on success the name is a C string owned by the module, and we own the tensor, which was allocated
            // with new.
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
        // SAFETY: on success the shim stored a pointer to a tensor allocated with new, which the returned Tensor now
        // owns.
        Ok(unsafe { Tensor::from_ptr(out) })
    }

    /// An extra file of the archive; `None` if it is missing or empty.
    pub(in crate::libtorch) fn extra(&self, name: &CStr) -> Option<Vec<u8>> {
        let (mut content, mut size) = (ptr::null(), 0);
        // SAFETY: module and name are alive for the call.
        unsafe { gw_script_extra(self.0, name.as_ptr(), &mut content, &mut size) };
        if content.is_null() || size == 0 {
            return None;
        }
        // SAFETY: the shim stored a pointer to that many bytes, which live as long as the module.
        Some(unsafe { slice::from_raw_parts(content.cast::<u8>(), size) }.to_vec())
    }

    /// Serializes the module to the bytes of a file, with extra files (names and contents).
    pub(in crate::libtorch) fn save(&self, extras: &[(CString, CString)]) -> Result<Vec<u8>, LibtorchError> {
        let (names, contents): (Vec<_>, Vec<_>) =
            extras.iter().map(|(name, content)| (name.as_ptr(), content.as_ptr())).unzip();
        let (mut bytes, mut size) = (ptr::null_mut(), 0);
        // SAFETY: module and strings are alive for the call.
        let message =
            unsafe { gw_script_save(self.0, names.as_ptr(), contents.as_ptr(), names.len(), &mut bytes, &mut size) };
        check("torch::jit::save", message, str::to_owned)?;
        // SAFETY: on success the shim stored a pointer to that many bytes from malloc, which we own and free once.
        let copy = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), size) }.to_vec();
        unsafe { gw_message_free(bytes) };
        Ok(copy)
    }

    /// Traces `forward` on `images` into a module; each tensor has a name and a flag that marks parameters.
    pub(in crate::libtorch) fn trace(
        tensors: &[(CString, &Tensor, bool)],
        images: &Tensor,
        forward: &mut Forward<'_>,
    ) -> Result<Self, LibtorchError> {
        let names: Vec<*const c_char> = tensors.iter().map(|(name, ..)| name.as_ptr()).collect();
        let are_parameters: Vec<c_int> = tensors.iter().map(|(.., is_parameter)| (*is_parameter).into()).collect();
        let pointers = pointers(tensors.iter().map(|(_, tensor, _)| *tensor));
        let mut context = forward;
        let context: *mut &mut Forward<'_> = &mut context;
        let mut out = ptr::null_mut();
        // SAFETY: the lists have one entry per tensor, and all entries are valid for the call, as is the context, which
        // the shim passes only to run_forward; on success it stored a pointer that we own.
        let message = unsafe {
            gw_trace(
                names.as_ptr(),
                pointers.as_ptr(),
                are_parameters.as_ptr(),
                tensors.len(),
                images.as_ptr(),
                run_forward,
                context.cast(),
                &mut out,
            )
        };
        check("torch::jit::trace", message, |message| message.lines().next().unwrap_or_default().to_owned())?;
        Ok(Self(out))
    }
}

/// A forward pass to trace.
type Forward<'a> = dyn FnMut(&Tensor) -> Result<Tensor, TchError> + 'a;

extern "C" fn run_forward(
    context: *mut c_void,
    images: *const C_tensor,
    logits: *mut *mut C_tensor,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // A panic must not unwind into C++. The nonzero status makes the shim throw, which ends the trace with an error.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the shim passes the context of `trace`, which is alive and has no other user, and a pointer to a
        // tensor that is valid for the call; the clone shares its storage and is freed by Rust.
        let (forward, images) =
            unsafe { (&mut *context.cast::<&mut Forward<'_>>(), Tensor::clone_from_ptr(images.cast_mut())) };
        forward(&images).map_err(|error| first_line(&error))
    }));
    let text = match outcome {
        Ok(Ok(tensor)) => {
            // SAFETY: the shim owns the tensor object from here on, so Rust must not free it.
            unsafe { *logits = ManuallyDrop::new(tensor).as_mut_ptr() };
            return 0;
        }
        Ok(Err(text)) => text,
        Err(payload) => panic_text(&*payload).to_owned(),
    };
    // SAFETY: the shim passes a zeroed buffer of `capacity` bytes.
    unsafe { tell(&text, message, capacity) };
    1
}
