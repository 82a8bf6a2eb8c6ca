//! The boundary to the C++ shim: every `unsafe` of the crate.
//!
//! Each function checks what its C++ side takes for granted and turns the shim's messages into [`LibtorchError`].

mod kernels;
mod raw;
mod script;

use std::{
    any::Any,
    ffi::{CStr, c_char, c_int, c_void},
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

pub(super) use kernels::{
    clip_units, kernels_architecture, kernels_compile, kernels_compiler, kernels_load, kernels_unload, restore_buffers,
    table_total,
};
pub(super) use raw::RawOptions;
use raw::*;
pub(super) use script::Script;
use tch::Tensor;
use torch_sys::C_tensor;

use super::LibtorchError;

/// Takes a message of the shim, `None` for success.
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

/// Runs a shim function that puts a new tensor into its argument.
fn new_tensor(
    operation: &'static str,
    call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<Tensor, LibtorchError> {
    let mut out = ptr::null_mut();
    check(operation, call(&mut out))?;
    // SAFETY: on success the shim stored a pointer to a tensor made with new, which now belongs to the Tensor.
    Ok(unsafe { Tensor::from_ptr(out) })
}

fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(Tensor::as_ptr).collect()
}

/// What a hook does with the tensor it sees; a `Some` replaces the gradient where the hook may.
pub(super) type Callback = Box<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;

struct Context {
    callback: Callback,
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

extern "C" fn run_callback(
    context: *mut c_void,
    tensor: *mut C_tensor,
    replacement: *mut *mut C_tensor,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // A panic must not unwind into C++; the nonzero status makes the shim throw, which ends backward with an error.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the shim passes the context that `register` leaked, alive until `release_context`, and a pointer to
        // a tensor that lives for the call; the clone shares its storage and is freed by Rust.
        let (context, seen) = unsafe { (&*context.cast::<Context>(), Tensor::clone_from_ptr(tensor)) };
        if let (Some(new), false) = ((context.callback)(&seen), replacement.is_null()) {
            // SAFETY: the shim owns the tensor object from here, so Rust must not free it.
            unsafe { *replacement = ManuallyDrop::new(new).as_mut_ptr() };
        }
    }));
    let Err(payload) = outcome else { return 0 };
    // SAFETY: the shim passes a zeroed buffer of `capacity` bytes.
    unsafe { tell(panic_text(&*payload), message, capacity) };
    1
}

/// Leaves a text for the shim.
///
/// # Safety
/// `message` is a zeroed buffer of `capacity` bytes, of which at least one stays zero.
unsafe fn tell(text: &str, message: *mut c_char, capacity: usize) {
    let length = text.len().min(capacity.saturating_sub(1));
    // SAFETY: no more is copied than there is room for.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), message.cast(), length) };
}

extern "C" fn release_context(context: *mut c_void) {
    // SAFETY: called once by the shim, with the pointer that `register` made by Box::into_raw.
    let context = unsafe { Box::from_raw(context.cast::<Context>()) };
    // What the closure owns may panic when dropped; it must not unwind into C++.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(context)));
}

/// A registered hook, removed on drop.
pub(super) struct HookGuard(*mut RawHook);

// SAFETY: the shim's hook object is a shared slot behind a mutex, whose closure is Send and Sync.
unsafe impl Send for HookGuard {}
unsafe impl Sync for HookGuard {}

impl Drop for HookGuard {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a successful registration and is given back once.
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
    // SAFETY: the tensor is alive for the call; from here the shim owns the context, also where it fails.
    let message = unsafe {
        let before = c_int::from(before_accumulation);
        gw_hook_register(tensor.as_ptr(), before, run_callback, release_context, context, &mut out)
    };
    check("register_hook", message)?;
    Ok(HookGuard(out))
}

/// A mark in a CUDA stream.
pub(super) struct Event(*mut RawEvent);

// SAFETY: a CUDA event may be used and freed by any thread; nothing changes it after it was recorded.
unsafe impl Send for Event {}
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn record(device: c_int) -> Result<Self, LibtorchError> {
        let mut out = ptr::null_mut();
        // SAFETY: on success the shim stored a pointer to a mark that is ours.
        check("Event::record", unsafe { gw_event_record(device, &mut out) })?;
        Ok(Self(out))
    }

    /// NaN while the device has not got to both.
    pub(super) fn millis_since(&self, earlier: &Self) -> Result<f64, LibtorchError> {
        let mut millis = f64::NAN;
        // SAFETY: both marks are alive for the call.
        check("Event::elapsedTime", unsafe { gw_event_elapsed(earlier.0, self.0, &mut millis) })?;
        Ok(millis)
    }

    pub(super) fn wait(&self) -> Result<(), LibtorchError> {
        // SAFETY: the mark is alive for the call.
        check("Event::synchronize", unsafe { gw_event_wait(self.0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the pointer came from gw_event_record and is given back once.
        unsafe { gw_event_free(self.0) };
    }
}

pub(super) fn upload<const N: usize>(tensors: &[Tensor; N], device: c_int) -> Result<[Tensor; N], LibtorchError> {
    let list = pointers(tensors);
    let mut out = [ptr::null_mut(); N];
    // SAFETY: as for foreach_norm; there is room for as many tensors as there are in the list.
    check("upload", unsafe { gw_upload(list.as_ptr(), N, device, out.as_mut_ptr()) })?;
    // SAFETY: on success the shim stored N pointers to tensors made with new, which now belong to the Tensors.
    Ok(out.map(|tensor| unsafe { Tensor::from_ptr(tensor) }))
}

pub(super) fn foreach_norm(tensors: &[Tensor], norm_type: f64) -> Result<Tensor, LibtorchError> {
    let list = pointers(tensors);
    // SAFETY: the list holds `count` pointers to tensors that are alive for the call.
    new_tensor("_foreach_norm", |out| unsafe { gw_foreach_norm(list.as_ptr(), list.len(), norm_type, out) })
}

/// An operation on a list of tensors in place; lists that belong together are equally long.
pub(super) enum Foreach<'a> {
    Multiply(&'a Tensor),
    Add(&'a Tensor),
    Copy(&'a [Tensor]),
    Subtract(&'a [Tensor]),
    /// Towards these by that share.
    Lerp(&'a [Tensor], &'a Tensor),
}

pub(super) fn foreach(name: &'static str, tensors: &[Tensor], operation: &Foreach<'_>) -> Result<(), LibtorchError> {
    let list = pointers(tensors);
    let (code, others, scalar) = match *operation {
        Foreach::Multiply(factor) => (0, Vec::new(), factor.as_ptr()),
        Foreach::Add(addend) => (1, Vec::new(), addend.as_ptr()),
        Foreach::Copy(from) => (2, pointers(from), ptr::null()),
        Foreach::Subtract(subtrahends) => (3, pointers(subtrahends), ptr::null()),
        Foreach::Lerp(to, share) => (4, pointers(to), share.as_ptr()),
    };
    // SAFETY: as for foreach_norm; the caller has seen that lists are equally long, and each code has what it needs.
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
    // SAFETY: as for foreach_norm; table.rs has seen that the tensors are dense, floating and of one device.
    new_tensor("tensor_table", |out| unsafe { gw_table(list.as_ptr(), list.len(), with_distribution, use_aten, out) })
}

pub(super) fn unit_squares(tensors: &[Tensor], units: &[i64], use_aten: bool) -> Result<Tensor, LibtorchError> {
    let list = pointers(tensors);
    // SAFETY: as for foreach_norm; units.rs has seen that there is a number of units for each tensor.
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
    // SAFETY: as for unit_squares; there is a factor of f64 for each unit, and they lie one after the other.
    check("scale_units", unsafe {
        gw_scale_units(list.as_ptr(), list.len(), units.as_ptr(), factors.as_ptr(), use_aten.into())
    })
}

pub(super) fn activation_sums(
    inputs: &Tensor,
    outputs: &Tensor,
    [low, high]: [f64; 2],
) -> Result<Tensor, LibtorchError> {
    // SAFETY: both tensors are alive for the call; table.rs has seen that they have one shape.
    new_tensor("activation_sums", |out| unsafe {
        gw_activation_sums(inputs.as_ptr(), outputs.as_ptr(), low, high, out)
    })
}

pub(super) fn clear_grads(params: &[Tensor]) -> Result<(), LibtorchError> {
    let list = pointers(params);
    // SAFETY: as for foreach_norm.
    check("clear_grads", unsafe { gw_clear_grads(list.as_ptr(), list.len()) })
}

/// Tensor lists of an optimizer step; those that are used have one entry per parameter.
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
    // An empty list is none.
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
    // SAFETY: optimizer_step.rs has seen that every list which the rule uses is there and as long as `params`; all pointers
    // live for the call.
    check(name, unsafe { gw_optimizer_step(&raw, options) })
}

/// The dtype that was in force before, -1 for none.
pub(super) fn autocast_enter(is_cuda: bool, is_half: bool) -> Result<c_int, LibtorchError> {
    let mut previous = -1;
    // SAFETY: the shim stores an int; it changes the state of this thread alone.
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
    // SAFETY: sets three flags of the process.
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
