//! Restores the buffers of a model to their values before a step.

use tch::{Kind, Tensor};

use super::{LibtorchError, ffi};

/// Copies each tensor of `saved` back into the tensor of `live` at the same index if `found_inf` (`[]`, f32) is not 0;
/// otherwise, restores only the elements of `live` that are not finite. Uses GPU kernels, in one launch. Returns false,
/// and does nothing, if no kernels are loaded for these tensors. No sync.
///
/// # Errors
/// If the lists do not match.
pub fn restore_buffers(live: &[Tensor], saved: &[Tensor], found_inf: &Tensor) -> Result<bool, LibtorchError> {
    let are_alike = |(live, saved): (&Tensor, &Tensor)| {
        live.size() == saved.size() && live.kind() == saved.kind() && live.device() == saved.device()
    };
    let is_scalar = found_inf.dim() == 0 && found_inf.kind() == Kind::Float;
    if live.len() == saved.len() && live.iter().zip(saved).all(are_alike) && is_scalar {
        return ffi::restore_buffers(live, saved, found_inf);
    }
    let got = format!("{} and {} tensors, and {found_inf:?}", live.len(), saved.len());
    Err(LibtorchError::Argument { operation: "restore_buffers", got, want: "lists that match, and a float scalar" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_no_kernels_and_lists_have_to_match() {
        let [live, saved] = [1.0f32, 2.0].map(|value| [Tensor::from(value)]);
        assert!(!restore_buffers(&live, &saved, &Tensor::from(1.0f32)).unwrap());
        assert_eq!(live[0].double_value(&[]), 1.0);
        assert!(restore_buffers(&live, &[], &Tensor::from(1.0f32)).is_err());
        assert!(restore_buffers(&live, &[Tensor::from(1i64)], &Tensor::from(1.0f32)).is_err());
    }
}
