//! libtorch features that tch does not bind: gradient hooks, foreach ops, fused optimizers, random state, buffers of
//! TorchScript modules, process groups, CUDA at run time.
//!
//! All `unsafe` and all C++ of the crate are below this module; all of its exports are safe. A hook on a parameter:
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
//! use gradwatch::libtorch::Hook;
//! use tch::{Device, Kind, Tensor};
//!
//! let weight = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
//! let fired = Arc::new(AtomicUsize::new(0));
//! let count = Arc::clone(&fired);
//! let hook = Hook::after_accumulation(&weight, move |_param| { count.fetch_add(1, Ordering::Relaxed); })?;
//! (&weight * 2.0).sum(Kind::Float).backward();
//! drop(hook);
//! (&weight * 2.0).sum(Kind::Float).backward();
//! assert_eq!(fired.load(Ordering::Relaxed), 1);
//! # Ok::<(), gradwatch::libtorch::LibtorchError>(())
//! ```

mod c10d;
mod cuda;
mod device_copy;
#[allow(unsafe_code)]
mod ffi;
mod foreach;
mod generator;
mod grads;
mod guesses;
mod hooks;
mod host_copy;
mod kernels;
mod late_scalar;
mod memory;
mod moment;
mod op_counter;
mod optimizer_rule;
mod optimizer_step;
mod out_of_memory;
mod pinned;
mod pixels;
mod precision;
mod restore_buffers;
mod script;
mod step_outcome;
mod table;
mod units;
mod upload;
mod values;
mod version;

pub use c10d::{Group, Store, Work};
pub use cuda::{device_name, load_cuda, resolve_device};
pub use device_copy::device_copy;
pub use foreach::{
    clear_grads, foreach_add, foreach_copy, foreach_lerp, foreach_multiply, foreach_norm, foreach_subtract,
};
pub use generator::{generator_state, set_generator_state};
pub use grads::{copy_with_squares, is_dense, set_grad};
pub use guesses::{GuessSums, count_guesses};
pub use hooks::Hook;
pub use host_copy::{HostBlock, HostValues, Part, host_copy};
pub use kernels::{load_kernels, unload_kernels};
pub use late_scalar::LateScalar;
pub use memory::{keep_freed_memory, tensor_bytes, total_memory_bytes};
pub use moment::Moment;
pub use op_counter::{OpCounter, OpCounts};
pub use optimizer_rule::OptimizerRule;
pub use optimizer_step::{FusedStep, Moments, StepOptions, optimizer_step};
pub(crate) use out_of_memory::in_one_line;
pub use out_of_memory::is_out_of_memory;
pub use pinned::PinnedBuffer;
pub use pixels::normalize_pixels;
pub use precision::{Autocast, amp_unscale, amp_update_scale, set_cuda_backend};
pub use restore_buffers::restore_buffers;
pub use script::{ScriptModule, ScriptTensor};
pub use step_outcome::{SkipCounters, StepOutcome};
pub use table::{Detail, activation_sums, column, table_total, tensor_table};
pub use units::{UnitClip, clip_units, scale_units, unit_minima, unit_squares};
pub use upload::{HostSlice, upload};
pub use values::clip_values;
pub use version::torch_version;

/// Errors between Rust and libtorch. The caller may continue: a failed call changes nothing, unless libtorch failed
/// halfway through a list, for example because memory ran out.
#[derive(Debug, thiserror::Error)]
pub enum LibtorchError {
    /// libtorch reported an error.
    #[error("libtorch error in {operation}: {}", in_one_line(message))]
    Operation {
        /// The libtorch function.
        operation: &'static str,
        /// The error message of libtorch.
        message: String,
    },
    /// The arguments do not match the operation.
    #[error("invalid arguments for {operation}: got {got}, want {want}")]
    Argument {
        /// The libtorch function.
        operation: &'static str,
        /// The arguments passed.
        got: String,
        /// The arguments that the function accepts.
        want: &'static str,
    },
    /// The requested CUDA device is not available.
    #[error("device {device} cannot be used: {reason}; set run.device = \"cpu\", or {remedy}")]
    NoCuda {
        /// The device as the user wrote it.
        device: String,
        /// The reason: the missing part.
        reason: String,
        /// The command or action that fixes it.
        remedy: &'static str,
    },
    /// The device name is unknown.
    #[error("device {0:?} is unknown; want auto, cpu, cuda, or cuda:N")]
    UnknownDevice(String),
    /// An operation of tch failed.
    #[error("libtorch error: {}", first_line(.0))]
    Tch(tch::TchError),
}

// Not a #[source]: the message is complete, and the source is a page of C++ backtrace.
impl From<tch::TchError> for LibtorchError {
    fn from(error: tch::TchError) -> Self {
        Self::Tch(error)
    }
}

/// For forward passes, which return tch errors.
impl From<LibtorchError> for tch::TchError {
    fn from(error: LibtorchError) -> Self {
        match error {
            LibtorchError::Tch(error) => error,
            other => Self::Torch(other.to_string()),
        }
    }
}

/// The libtorch error in one line, without the C++ backtrace.
pub(crate) fn first_line(error: &tch::TchError) -> String {
    in_one_line(&error.to_string())
}
