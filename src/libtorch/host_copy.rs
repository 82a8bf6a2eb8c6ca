//! The one way in which numbers leave the device: each call waits for it once.

use std::sync::atomic::{AtomicU64, Ordering};

use tch::{Device, Kind, Tensor};

use super::LibtorchError;

/// Calls so far, for the op counter: on the CPU no operation tells a copy to the host from any other.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The elements of `tensor`, of any shape and numeric dtype, in row-major order. Device sync here.
///
/// # Errors
/// Where libtorch refuses; on CUDA, also the error of an earlier operation that had not been waited for.
pub fn host_copy(tensor: &Tensor) -> Result<Vec<f64>, LibtorchError> {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let flat = tensor.f_flatten(0, -1)?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
    Ok(Vec::try_from(flat)?)
}

/// Calls of [`host_copy`] since the process began.
pub(super) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_shape_and_kind_comes_out_flat() {
        let counts = Tensor::from_slice(&[1i64, -2, 3, 4]).reshape([2, 2]).transpose(0, 1);
        assert_eq!(host_copy(&counts).unwrap(), [1.0, 3.0, -2.0, 4.0]);
        assert_eq!(host_copy(&Tensor::from(0.5f32)).unwrap(), [0.5]);
    }
}
