//! The boundary to the C++ shim: every `unsafe` block of the crate is here or in a submodule.
//!
//! Each function checks the preconditions of its C++ counterpart and converts error messages of the shim to
//! [`LibtorchError`].

mod c10d;
mod codes;
mod grads;
mod kernels;
mod raw;
mod script;
mod transfer;

use std::{
    any::Any,
    ffi::{CStr, c_char, c_int, c_void},
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use gradwatch_doctor::panics;

pub(super) use c10d::{Group, Store, Work};
use codes::ForeachCode;
pub(super) use codes::RuleCode;
pub(super) use grads::{clear_grads, copy_with_squares, set_grad};
pub(super) use kernels::{
    clip_units, count_guesses, kernels_architecture, kernels_compile, kernels_compiler, kernels_load, kernels_unload,
    normalize_pixels, restore_buffers, step_outcome, table_total,
};
pub(super) use raw::RawOptions;
use raw::*;
pub(super) use script::Script;
use tch::Tensor;
use torch_sys::C_tensor;
pub(super) use transfer::{copy_to_pinned, pinned_bytes, pinned_slice, upload, write_pinned};

use super::LibtorchError;

/// Takes ownership of a message from the shim; null (success) gives `None`.
fn take_message(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim returns null or a NUL-terminated string from malloc that is ours to free, once.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    unsafe { gw_message_free(message) };
    Some(text)
}

fn check(operation: &'static str, message: *mut c_char) -> Result<(), LibtorchError> {
    match take_message(message) {
        None => Ok(()),
        Some(message) => Err(LibtorchError::Operation { operation, message: message.replace('\n', " ") }),
    }
}

/// Runs a shim function that stores a new tensor in its argument.
fn new_tensor(
    operation: &'static str,
    call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<Tensor, LibtorchError> {
    let mut out = ptr::null_mut();
    check(operation, call(&mut out))?;
    // SAFETY: on success the shim stored a pointer to a tensor allocated with new, which the returned Tensor now owns.
    Ok(unsafe { Tensor::from_ptr(out) })
}

fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(Tensor::as_ptr).collect()
}

/// The callback of a hook. A returned `Some` replaces the gradient if the hook allows replacement.
pub(super) type Callback = Box<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;

struct Context {
    callback: Callback,
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    panics::text(payload).unwrap_or("no message")
}

extern "C" fn run_callback(
    context: *mut c_void,
    tensor: *mut C_tensor,
    replacement: *mut *mut C_tensor,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // A panic must not unwind into C++. The nonzero status makes the shim throw, which ends backward with an error.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the shim passes the context that `register` leaked, alive until `release_context`, and a pointer to
        // a tensor that lives for the call; the clone shares its storage and is freed by Rust.
        let (context, seen) = unsafe { (&*context.cast::<Context>(), Tensor::clone_from_ptr(tensor)) };
        if let (Some(new), false) = ((context.callback)(&seen), replacement.is_null()) {
            // SAFETY: the shim owns the tensor object from here on, so Rust must not free it.
            unsafe { *replacement = ManuallyDrop::new(new).as_mut_ptr() };
        }
    }));
    let Err(payload) = outcome else { return 0 };
    // SAFETY: the shim passes a zeroed buffer of `capacity` bytes.
    unsafe { tell(panic_text(&*payload), message, capacity) };
    1
}

/// Writes a text into the message buffer of the shim.
///
/// # Safety
/// `message` must be a zeroed buffer of `capacity` bytes. At least one byte stays zero.
unsafe fn tell(text: &str, message: *mut c_char, capacity: usize) {
    let length = text.len().min(capacity.saturating_sub(1));
    // SAFETY: `length` is less than `capacity`, so the copy fits.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), message.cast(), length) };
}

extern "C" fn release_context(context: *mut c_void) {
    // SAFETY: called once by the shim, with the pointer that `register` made by Box::into_raw.
    let context = unsafe { Box::from_raw(context.cast::<Context>()) };
    // Values that the closure owns may panic in drop; the panic must not unwind into C++.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(context)));
}

/// A registered hook, removed on drop.
pub(super) struct HookGuard(*mut RawHook);

// SAFETY: the shim's hook object is a shared slot behind a mutex, whose closure is Send and Sync.
unsafe impl Send for HookGuard {}
unsafe impl Sync for HookGuard {}

impl Drop for HookGuard {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a successful registration and is returned once.
        unsafe { gw_hook_remove(self.0) };
    }
}

pub(super) fn register_hook(
    tensor: &Tensor,
    before_accumulation: bool,
    callback: Callback,
) -> Result<HookGuard, LibtorchError> {
    let context = Box::into_raw(Box::new(Context { callback })).cast();
    let mut out = ptr::null_mut();
    // SAFETY: the tensor is alive for the call; from here on the shim owns the context, even if the call fails.
    let message = unsafe {
        let before = c_int::from(before_accumulation);
        gw_hook_register(tensor.as_ptr(), before, run_callback, release_context, context, &mut out)
    };
    check("register_hook", message)?;
    Ok(HookGuard(out))
}

/// An event recorded in a CUDA stream.
#[derive(Debug)]
pub(super) struct Event(*mut RawEvent);

// SAFETY: any thread may use and free a CUDA event; nothing changes it after it was recorded.
unsafe impl Send for Event {}
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn record(device: c_int) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: on success the shim stored a pointer to an event that we own.
        check("Event::record", unsafe { gw_event_record(device, &mut out) })?;
        Ok(Self(out))
    }

    /// Milliseconds between two events; NaN until the device has reached both.
    pub(super) fn millis_since(&self, earlier: &Self) -> Result<f64, LibtorchError> {
        let mut millis = f64::NAN;
        // SAFETY: both events are alive for the call.
        check("Event::elapsedTime", unsafe { gw_event_elapsed(earlier.0, self.0, &mut millis) })?;
        Ok(millis)
    }

    pub(super) fn wait(&self) -> Result<(), LibtorchError> {
        // SAFETY: the event is alive for the call.
        check("Event::synchronize", unsafe { gw_event_wait(self.0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the pointer came from gw_event_record and is returned once.
        unsafe { gw_event_free(self.0) };
    }
}

pub(super) fn foreach_norm(tensors: &[Tensor], norm_type: f64) -> Result<Tensor, LibtorchError> {
    let list = pointers(tensors);
    // SAFETY: the list holds `count` pointers to tensors that are alive for the call.
    new_tensor("_foreach_norm", |out| unsafe { gw_foreach_norm(list.as_ptr(), list.len(), norm_type, out) })
}

/// An in-place operation on a list of tensors; the lists of a pairwise operation have the same length.
pub(super) enum Foreach<'a> {
    Multiply(&'a Tensor),
    Add(&'a Tensor),
    Copy(&'a [Tensor]),
    Subtract(&'a [Tensor]),
    /// Interpolates toward these tensors by the weight.
    Lerp(&'a [Tensor], &'a Tensor),
}

pub(super) fn foreach(name: &'static str, tensors: &[Tensor], operation: &Foreach<'_>) -> Result<(), LibtorchError> {
    let list = pointers(tensors);
    let (code, others, scalar) = match *operation {
        Foreach::Multiply(factor) => (ForeachCode::Multiply, Vec::new(), factor.as_ptr()),
        Foreach::Add(addend) => (ForeachCode::Add, Vec::new(), addend.as_ptr()),
        Foreach::Copy(from) => (ForeachCode::Copy, pointers(from), ptr::null()),
        Foreach::Subtract(subtrahends) => (ForeachCode::Subtract, pointers(subtrahends), ptr::null()),
        Foreach::Lerp(to, share) => (ForeachCode::Lerp, pointers(to), share.as_ptr()),
    };
    // SAFETY: as for foreach_norm; the caller has checked that the lists have the same length, and each code has its
    // operands.
    check(name, unsafe { gw_foreach(code, list.as_ptr(), others.as_ptr(), list.len(), scalar) })
}

pub(super) fn clip_values(tensors: &[Tensor], bound: f64, use_aten: bool) -> Result<Tensor, LibtorchError> {
    let list = pointers(tensors);
    // SAFETY: as for foreach_norm.
    new_tensor("clip_values", |out| unsafe { gw_clip_values(list.as_ptr(), list.len(), bound, use_aten.into(), out) })
}

pub(super) fn table(tensors: &[Tensor], with_distribution: bool, use_aten: bool) -> Result<Tensor, LibtorchError> {
    let list = pointers(tensors);
    let (with_distribution, use_aten) = (c_int::from(with_distribution), c_int::from(use_aten));
    // SAFETY: as for foreach_norm; table.rs has checked that the tensors are dense, floating-point, and on one device.
    new_tensor("tensor_table", |out| unsafe { gw_table(list.as_ptr(), list.len(), with_distribution, use_aten, out) })
}

pub(super) fn unit_squares(tensors: &[Tensor], units: &[i64], use_aten: bool) -> Result<Tensor, LibtorchError> {
    let list = pointers(tensors);
    // SAFETY: as for foreach_norm; units.rs has checked that each tensor has a number of units.
    new_tensor("unit_squares", |out| unsafe {
        gw_unit_squares(list.as_ptr(), list.len(), units.as_ptr(), use_aten.into(), out)
    })
}

pub(super) fn unit_minima(values: &Tensor, owners: &Tensor, tensors: usize) -> Result<Tensor, LibtorchError> {
    // SAFETY: both tensors are alive for the call; libtorch checks indices and shapes.
    new_tensor("scatter_reduce", |out| unsafe { gw_unit_minima(values.as_ptr(), owners.as_ptr(), tensors as i64, out) })
}

pub(super) fn scale_units(
    tensors: &[Tensor],
    units: &[i64],
    factors: &Tensor,
    use_aten: bool,
) -> Result<(), LibtorchError> {
    let list = pointers(tensors);
    // SAFETY: as for unit_squares; units.rs has checked that there is one contiguous f64 factor per unit.
    check("scale_units", unsafe {
        gw_scale_units(list.as_ptr(), list.len(), units.as_ptr(), factors.as_ptr(), use_aten.into())
    })
}

pub(super) fn activation_sums(
    inputs: &Tensor,
    outputs: &Tensor,
    [low, high]: [f64; 2],
) -> Result<Tensor, LibtorchError> {
    // SAFETY: both tensors are alive for the call; table.rs has checked that they have the same shape.
    new_tensor("activation_sums", |out| unsafe {
        gw_activation_sums(inputs.as_ptr(), outputs.as_ptr(), low, high, out)
    })
}

/// Tensor lists of an optimizer step. Each list that the rule uses has one entry per parameter.
pub(super) struct Lists<'a> {
    pub params: &'a [Tensor],
    pub grads: &'a [Tensor],
    pub first_moments: &'a [Tensor],
    pub second_moments: &'a [Tensor],
    pub third_moments: &'a [Tensor],
    pub steps: &'a [Tensor],
    pub product: Option<&'a Tensor>,
    pub grad_scale: Option<&'a Tensor>,
    pub found_inf: Option<&'a Tensor>,
    pub update_squares: Option<&'a Tensor>,
}

pub(super) fn optimizer_step(name: &'static str, lists: &Lists<'_>, options: &RawOptions) -> Result<(), LibtorchError> {
    let [params, grads, first, second, third, steps] =
        [lists.params, lists.grads, lists.first_moments, lists.second_moments, lists.third_moments, lists.steps]
            .map(pointers);
    // An empty list becomes a null pointer.
    let start = |list: &Vec<*const C_tensor>| if list.is_empty() { ptr::null() } else { list.as_ptr() };
    let optional = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), Tensor::as_ptr);
    let raw = RawLists {
        params: params.as_ptr(),
        grads: grads.as_ptr(),
        first_moments: start(&first),
        second_moments: start(&second),
        third_moments: start(&third),
        steps: start(&steps),
        count: params.len(),
        product: optional(lists.product),
        grad_scale: optional(lists.grad_scale),
        found_inf: optional(lists.found_inf),
        update_squares: optional(lists.update_squares),
    };
    // SAFETY: optimizer_step.rs has checked that every list the rule uses is present and as long as `params`; all
    // pointers are valid for the call.
    check(name, unsafe { gw_optimizer_step(&raw, options) })
}

/// Returns the previous autocast dtype, -1 for none.
pub(super) fn autocast_enter(is_cuda: bool, is_half: bool) -> Result<c_int, LibtorchError> {
    let mut previous = -1;
    // SAFETY: the shim stores an int and changes only the state of this thread.
    check("autocast", unsafe { gw_autocast_enter(is_cuda.into(), is_half.into(), &mut previous) })?;
    Ok(previous)
}

pub(super) fn autocast_leave(is_cuda: bool, previous: c_int) {
    // SAFETY: as for autocast_enter.
    unsafe { gw_autocast_leave(is_cuda.into(), previous) };
}

pub(super) fn amp_unscale(grads: &[Tensor], found_inf: &Tensor, inverse_scale: &Tensor) -> Result<(), LibtorchError> {
    let list = pointers(grads);
    // SAFETY: as for foreach_norm.
    check("_amp_foreach_non_finite_check_and_unscale_", unsafe {
        gw_amp_unscale(list.as_ptr(), list.len(), found_inf.as_ptr(), inverse_scale.as_ptr())
    })
}

pub(super) fn amp_update_scale(
    [scale, growth_tracker, found_inf]: [&Tensor; 3],
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: i64,
) -> Result<(), LibtorchError> {
    // SAFETY: the tensors are alive for the call; libtorch validates them.
    check("_amp_update_scale_", unsafe {
        gw_amp_update_scale(
            scale.as_ptr(),
            growth_tracker.as_ptr(),
            found_inf.as_ptr(),
            growth_factor,
            backoff_factor,
            growth_interval,
        )
    })
}

pub(super) fn backend(tf32: bool, benchmark: bool, deterministic: bool) {
    // SAFETY: sets three flags of the process; takes no pointers.
    unsafe { gw_backend(tf32.into(), benchmark.into(), deterministic.into()) };
}

pub(super) fn generator_state(device: c_int) -> Result<Tensor, LibtorchError> {
    // SAFETY: the shim validates the device and stores a new tensor.
    new_tensor("Generator::get_state", |out| unsafe { gw_generator_state(device, out) })
}

pub(super) fn generator_set_state(device: c_int, state: &Tensor) -> Result<(), LibtorchError> {
    // SAFETY: the tensor is alive for the call; libtorch validates its size and kind.
    check("Generator::set_state", unsafe { gw_generator_set_state(device, state.as_ptr()) })
}

pub(super) fn load_cuda() -> Result<(), String> {
    // SAFETY: takes no arguments; dlopen is thread-safe and loading twice is harmless.
    take_message(unsafe { gw_load_cuda() }).map_or(Ok(()), Err)
}

pub(super) fn keep_freed_memory() {
    // SAFETY: mallopt with constants.
    unsafe { gw_keep_freed_memory() };
}

pub(super) fn op_counter_start() -> Result<(), LibtorchError> {
    // SAFETY: takes no arguments; the shim locks its state.
    check("addGlobalCallback", unsafe { gw_op_counter_start() })
}

pub(super) fn op_counter_stop() -> Result<String, LibtorchError> {
    let mut report = ptr::null_mut();
    // SAFETY: on success the shim stores a string from malloc, which take_message frees.
    check("removeCallback", unsafe { gw_op_counter_stop(&mut report) })?;
    Ok(take_message(report).unwrap_or_default())
}

/// The version of libtorch, such as 2.13.0.
pub(super) fn torch_version() -> &'static str {
    // SAFETY: the shim returns a string literal.
    let text = unsafe { CStr::from_ptr(gw_torch_version()) };
    text.to_str().unwrap_or("unknown")
}
