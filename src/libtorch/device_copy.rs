//! Copies a few numbers to the device.

use tch::{Device, Tensor, kind::Element};

use super::LibtorchError;

/// Copies a vector to `device` without a sync: shape `[values.len()]`.
///
/// # Errors
/// If libtorch runs out of memory.
pub fn device_copy<T: Element>(values: &[T], device: Device) -> Result<Tensor, LibtorchError> {
    let host = Tensor::f_from_slice(values)?;
    if device == Device::Cpu { Ok(host) } else { Ok(host.f_internal_to_copy((T::KIND, device), true)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_arrive_as_they_are() {
        let copy = device_copy(&[3i64, -1], Device::Cpu).unwrap();
        assert_eq!(Vec::<i64>::try_from(copy).unwrap(), [3, -1]);
    }
}
