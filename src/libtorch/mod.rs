//! What tch does not bind of libtorch: gradient hooks, foreach ops, fused optimizers, random state, buffers of TorchScript
//! modules, CUDA at run time.
//!
//! All `unsafe` and all C++ of the crate are below this module; everything it exports is safe. Hooks come first:
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

mod cuda;
mod device_copy;
#[allow(unsafe_code)]
mod ffi;
mod foreach;
mod generator;
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
mod precision;
mod restore_buffers;
mod script;
mod table;
mod units;
mod upload;
mod values;
mod version;

pub use cuda::{load_cuda, resolve_device};
pub use device_copy::device_copy;
pub use foreach::{
    clear_grads, foreach_add, foreach_copy, foreach_lerp, foreach_multiply, foreach_norm, foreach_subtract,
};
pub use generator::{generator_state, set_generator_state};
pub use hooks::Hook;
pub use host_copy::{HostBlock, HostValues, Part, host_copy};
pub use kernels::{load_kernels, unload_kernels};
pub use late_scalar::LateScalar;
pub use memory::{keep_freed_memory, total_memory_bytes};
pub use moment::Moment;
pub use op_counter::{OpCounter, OpCounts};
pub use optimizer_rule::OptimizerRule;
pub use optimizer_step::{FusedStep, Moments, StepOptions, optimizer_step};
pub(crate) use out_of_memory::in_one_line;
pub use out_of_memory::is_out_of_memory;
pub use precision::{Autocast, amp_unscale, amp_update_scale, set_cuda_backend};
pub use restore_buffers::restore_buffers;
pub use script::{ScriptModule, ScriptTensor};
pub use table::{Detail, activation_sums, column, table_total, tensor_table};
pub use units::{UnitClip, clip_units, scale_units, unit_minima, unit_squares};
pub use upload::upload;
pub use values::clip_values;
pub use version::torch_version;

/// What can go wrong between Rust and libtorch. The caller may go on: but for an operation that libtorch refused halfway
/// through a list, as for want of memory, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LibtorchError {
    /// libtorch refused an operation.
    #[error("libtorch refused {operation}: {}", in_one_line(message))]
    Operation {
        /// The libtorch function.
        operation: &'static str,
        /// libtorch's own words.
        message: String,
    },
    /// The arguments do not fit the operation.
    #[error("{operation} cannot take these tensors: got {got}, want {want}")]
    Argument {
        /// The libtorch function.
        operation: &'static str,
        /// What was passed.
        got: String,
        /// What the function takes.
        want: &'static str,
    },
    /// A CUDA device was asked for and there is none.
    #[error("device {device} cannot be used: {reason}; set run.device = \"cpu\", or {remedy}")]
    NoCuda {
        /// The device as the user wrote it.
        device: String,
        /// What is missing.
        reason: String,
        /// The command or action that mends it.
        remedy: &'static str,
    },
    /// A device name that means nothing.
    #[error("device {0:?} is unknown; want auto, cpu, cuda or cuda:N")]
    UnknownDevice(String),
    /// An operation of tch itself failed.
    #[error("libtorch refused an operation: {}", first_line(.0))]
    Tch(tch::TchError),
}

// Not a #[source]: the message says it all, and the source is a page of C++ backtrace.
impl From<tch::TchError> for LibtorchError {
    fn from(error: tch::TchError) -> Self {
        Self::Tch(error)
    }
}

/// For passes, whose errors are tch's.
impl From<LibtorchError> for tch::TchError {
    fn from(error: LibtorchError) -> Self {
        match error {
            LibtorchError::Tch(error) => error,
            other => Self::Torch(other.to_string()),
        }
    }
}

/// What libtorch says, in one line; the rest is a C++ backtrace.
pub(crate) fn first_line(error: &tch::TchError) -> String {
    in_one_line(&error.to_string())
}
