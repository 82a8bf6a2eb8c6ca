//! Mixed precision: autocast, loss-scale operations, and CUDA math settings.

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, ffi, foreach::check_list};

/// While this guard lives, forward passes of this thread run in another dtype where libtorch considers that safe
/// (`torch.autocast`). Run backward outside it.
pub struct Autocast {
    is_cuda: bool,
    previous: i32,
}

impl Autocast {
    /// Enables autocast with `kind`, bfloat16 or float16.
    ///
    /// # Errors
    /// If `kind` is another dtype, or libtorch reports an error.
    pub fn enter(device: Device, kind: Kind) -> Result<Self, LibtorchError> {
        if !matches!(kind, Kind::BFloat16 | Kind::Half) {
            let got = format!("{kind:?}");
            return Err(LibtorchError::Argument { operation: "autocast", got, want: "bfloat16 or float16" });
        }
        let is_cuda = matches!(device, Device::Cuda(_));
        Ok(Self { is_cuda, previous: ffi::autocast_enter(is_cuda, kind == Kind::Half)? })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        ffi::autocast_leave(self.is_cuda, self.previous);
    }
}

/// Multiplies f32 gradients in place by `inverse_scale` (`[1]`, f32), and sets `found_inf` (`[1]`, f32) to 1 if an
/// element is not finite. No sync.
///
/// # Errors
/// If the list is empty, or its tensors do not share one device and one dtype.
pub fn amp_unscale(grads: &[Tensor], found_inf: &Tensor, inverse_scale: &Tensor) -> Result<(), LibtorchError> {
    check_list("_amp_foreach_non_finite_check_and_unscale_", grads)?;
    ffi::amp_unscale(grads, found_inf, inverse_scale)
}

/// Applies the rule of torch.amp.GradScaler in place: if `found_inf` is 1, multiplies the scale by `backoff_factor`;
/// after `growth_interval` steps without, multiplies it by `growth_factor`. No sync.
///
/// # Errors
/// If `scale` is not a one-element f32 tensor, or `growth_tracker` not a one-element i32 tensor.
pub fn amp_update_scale(
    scale: &Tensor,
    growth_tracker: &Tensor,
    found_inf: &Tensor,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: i64,
) -> Result<(), LibtorchError> {
    ffi::amp_update_scale([scale, growth_tracker, found_inf], growth_factor, backoff_factor, growth_interval)
}

/// Sets CUDA math for the whole process: whether f32 matrix products may use TF32, whether cuDNN benchmarks algorithms
/// to find the fastest one, and whether it uses only deterministic algorithms.
pub fn set_cuda_backend(tf32: bool, benchmark: bool, deterministic: bool) {
    ffi::backend(tf32, benchmark, deterministic);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autocast_ends_with_its_scope_and_restores_what_was_before() {
        let (a, b) =
            (Tensor::ones([2, 2], (Kind::Float, Device::Cpu)), Tensor::ones([2, 2], (Kind::Float, Device::Cpu)));
        let kind = || a.matmul(&b).kind();
        {
            let _outer = Autocast::enter(Device::Cpu, Kind::BFloat16).unwrap();
            assert_eq!(kind(), Kind::BFloat16);
            drop(Autocast::enter(Device::Cpu, Kind::Half).unwrap());
            assert_eq!(kind(), Kind::BFloat16);
        }
        assert_eq!(kind(), Kind::Float);
        assert!(Autocast::enter(Device::Cpu, Kind::Double).is_err());
    }
}
