//! FFI for the `.grad` of parameters.

use tch::Tensor;

use super::{check, pointers, raw::*};
use crate::libtorch::LibtorchError;

pub(in crate::libtorch) fn clear_grads(params: &[Tensor]) -> Result<(), LibtorchError> {
    let list = pointers(params);
    // SAFETY: as for foreach_norm.
    check("clear_grads", unsafe { gw_clear_grads(list.as_ptr(), list.len()) })
}

pub(in crate::libtorch) fn set_grad(param: &Tensor, grad: &Tensor) -> Result<(), LibtorchError> {
    // SAFETY: both tensors are alive for the call; libtorch checks that the gradient fits.
    check("set_grad", unsafe { gw_set_grad(param.as_ptr(), grad.as_ptr()) })
}

pub(in crate::libtorch) fn copy_with_squares(to: &Tensor, from: &Tensor) -> Result<f64, LibtorchError> {
    let mut squares = 0.0;
    // SAFETY: grad.rs has checked that both are dense f32 tensors on the CPU with the same shape and strides.
    check("copy_with_squares", unsafe { gw_copy_with_squares(to.as_ptr(), from.as_ptr(), &mut squares) })?;
    Ok(squares)
}
