//! How batches reach the device.

use tch::{Device, Tensor};

use super::{LibtorchError, ffi};

/// Copies CPU tensors to `device`. No sync: on CUDA the copies start from pinned memory on a stream of their own, beside the
/// kernels that are queued, and only later work on the copies waits for them. On the CPU, the tensors themselves.
///
/// # Errors
/// If libtorch is out of pinned or device memory.
pub fn upload<const N: usize>(tensors: [Tensor; N], device: Device) -> Result<[Tensor; N], LibtorchError> {
    match device {
        Device::Cuda(index) => ffi::upload(&tensors, index as i32),
        _ => Ok(tensors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_cpu_nothing_is_copied() {
        let images = Tensor::from_slice(&[1.0f32, 2.0]);
        let [same] = upload([images.shallow_clone()], Device::Cpu).unwrap();
        assert_eq!(same.data_ptr(), images.data_ptr());
    }
}
