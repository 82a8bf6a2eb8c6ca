//! The boundary to the C++ shim: every `unsafe` of the crate.
//!
//! Each function checks what its C++ side takes for granted and turns the shim's messages into [`LibtorchError`].

use std::{
    any::Any,
    ffi::{CStr, c_char, c_int, c_void},
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use tch::Tensor;
use torch_sys::C_tensor;

use super::LibtorchError;

#[repr(C)]
struct RawHook {
    _private: [u8; 0],
}

#[repr(C)]
struct RawEvent {
    _private: [u8; 0],
}

#[repr(C)]
struct RawFusedLists {
    params: *const *const C_tensor,
    grads: *const *const C_tensor,
    first_moments: *const *const C_tensor,
    second_moments: *const *const C_tensor,
    steps: *const *const C_tensor,
    count: usize,
    grad_scale: *const C_tensor,
    found_inf: *const C_tensor,
    update_squares: *const C_tensor,
}

type RawCallback = extern "C" fn(*mut c_void, *mut C_tensor, *mut *mut C_tensor, *mut c_char, usize) -> c_int;
type RawRelease = extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn gw_message_free(message: *mut c_char);
    fn gw_hook_register(
        tensor: *const C_tensor,
        before_accumulation: c_int,
        callback: RawCallback,
        release: RawRelease,
        context: *mut c_void,
        out: *mut *mut RawHook,
    ) -> *mut c_char;
    fn gw_hook_remove(hook: *mut RawHook);
    fn gw_event_record(device: c_int, out: *mut *mut RawEvent) -> *mut c_char;
    fn gw_event_elapsed(from: *mut RawEvent, to: *mut RawEvent, millis: *mut f64) -> *mut c_char;
    fn gw_event_wait(mark: *mut RawEvent) -> *mut c_char;
    fn gw_event_free(mark: *mut RawEvent);
    fn gw_foreach_norm(
        tensors: *const *const C_tensor,
        count: usize,
        norm_type: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn gw_foreach(
        operation: c_int,
        tensors: *const *const C_tensor,
        others: *const *const C_tensor,
        count: usize,
        scalar: *const C_tensor,
        bound: f64,
    ) -> *mut c_char;
    fn gw_table(
        tensors: *const *const C_tensor,
        count: usize,
        with_distribution: c_int,
        use_aten: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn gw_unit_squares(
        tensors: *const *const C_tensor,
        count: usize,
        units: *const i64,
        use_aten: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn gw_scale_units(
        tensors: *const *const C_tensor,
        count: usize,
        units: *const i64,
        factors: *const C_tensor,
        use_aten: c_int,
    ) -> *mut c_char;
    fn gw_activation_sums(
        inputs: *const C_tensor,
        outputs: *const C_tensor,
        low: f64,
        high: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn gw_clear_grads(params: *const *const C_tensor, count: usize) -> *mut c_char;
    fn gw_fused_sgd(
        lists: *const RawFusedLists,
        learning_rate: f64,
        momentum: f64,
        dampening: f64,
        weight_decay: f64,
        nesterov: c_int,
        is_first_step: c_int,
    ) -> *mut c_char;
    fn gw_fused_adamw(
        lists: *const RawFusedLists,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
    ) -> *mut c_char;
    fn gw_generator_state(device: c_int, out: *mut *mut C_tensor) -> *mut c_char;
    fn gw_generator_set_state(device: c_int, state: *const C_tensor) -> *mut c_char;
    fn gw_load_cuda() -> *mut c_char;
    fn gw_keep_freed_memory();
    fn gw_op_counter_start() -> *mut c_char;
    fn gw_op_counter_stop(out: *mut *mut c_char) -> *mut c_char;
}

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
    let text = panic_text(&*payload);
    let length = text.len().min(capacity.saturating_sub(1));
    // SAFETY: the shim passes a zeroed buffer of `capacity` bytes; at least one stays zero.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), message.cast(), length) };
    1
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
    Clamp(f64),
}

pub(super) fn foreach(name: &'static str, tensors: &[Tensor], operation: &Foreach<'_>) -> Result<(), LibtorchError> {
    let list = pointers(tensors);
    let (code, others, scalar, bound) = match *operation {
        Foreach::Multiply(factor) => (0, Vec::new(), factor.as_ptr(), 0.0),
        Foreach::Add(addend) => (1, Vec::new(), addend.as_ptr(), 0.0),
        Foreach::Copy(from) => (2, pointers(from), ptr::null(), 0.0),
        Foreach::Subtract(subtrahends) => (3, pointers(subtrahends), ptr::null(), 0.0),
        Foreach::Clamp(bound) => (4, Vec::new(), ptr::null(), bound),
    };
    // SAFETY: as for foreach_norm; the caller has seen that lists are equally long, and each code has what it needs.
    check(name, unsafe { gw_foreach(code, list.as_ptr(), others.as_ptr(), list.len(), scalar, bound) })
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

/// Tensor lists of a fused optimizer step; the lists that are used have one entry per parameter.
pub(super) struct FusedLists<'a> {
    pub params: &'a [Tensor],
    pub grads: &'a [Tensor],
    pub first_moments: Option<&'a [Tensor]>,
    pub second_moments: Option<&'a [Tensor]>,
    pub steps: Option<&'a [Tensor]>,
    pub grad_scale: Option<&'a Tensor>,
    pub found_inf: Option<&'a Tensor>,
    pub update_squares: Option<&'a Tensor>,
}

impl FusedLists<'_> {
    fn with_raw<R>(&self, call: impl FnOnce(&RawFusedLists) -> R) -> R {
        let optional = |tensors: Option<&[Tensor]>| tensors.map(pointers);
        let start = |list: &Option<Vec<*const C_tensor>>| list.as_ref().map_or(ptr::null(), |list| list.as_ptr());
        let (params, grads) = (pointers(self.params), pointers(self.grads));
        let (first, second) = (optional(self.first_moments), optional(self.second_moments));
        let steps = optional(self.steps);
        call(&RawFusedLists {
            params: params.as_ptr(),
            grads: grads.as_ptr(),
            first_moments: start(&first),
            second_moments: start(&second),
            steps: start(&steps),
            count: params.len(),
            grad_scale: self.grad_scale.map_or(ptr::null(), Tensor::as_ptr),
            found_inf: self.found_inf.map_or(ptr::null(), Tensor::as_ptr),
            update_squares: self.update_squares.map_or(ptr::null(), Tensor::as_ptr),
        })
    }
}

pub(super) fn fused_sgd(
    lists: &FusedLists<'_>,
    learning_rate: f64,
    [momentum, dampening]: [f64; 2],
    weight_decay: f64,
    nesterov: bool,
    is_first_step: bool,
) -> Result<(), LibtorchError> {
    let (nesterov, is_first_step) = (c_int::from(nesterov), c_int::from(is_first_step));
    // SAFETY: fused.rs has seen that every list is as long as `params`; all pointers live for the call.
    let message = lists.with_raw(|raw| unsafe {
        gw_fused_sgd(raw, learning_rate, momentum, dampening, weight_decay, nesterov, is_first_step)
    });
    check("_fused_sgd_", message)
}

pub(super) fn fused_adamw(
    lists: &FusedLists<'_>,
    learning_rate: f64,
    (beta1, beta2): (f64, f64),
    eps: f64,
    weight_decay: f64,
) -> Result<(), LibtorchError> {
    // SAFETY: as for fused_sgd.
    let message = lists.with_raw(|raw| unsafe { gw_fused_adamw(raw, learning_rate, beta1, beta2, eps, weight_decay) });
    check("_fused_adamw_", message)
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
