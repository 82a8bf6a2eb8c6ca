//! Saves and restores the state of libtorch's default random generators.

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, ffi};

/// Returns the state of a device's default generator as a tensor of bytes.
///
/// # Errors
/// If the device does not exist.
pub fn generator_state(device: Device) -> Result<Tensor, LibtorchError> {
    ffi::generator_state(index(device)?)
}

/// Restores a state from [`generator_state`]; the generator then repeats the same draws.
///
/// # Errors
/// If `state` is not a generator state, or the device does not exist.
pub fn set_generator_state(device: Device, state: &Tensor) -> Result<(), LibtorchError> {
    if !state.defined() || state.kind() != Kind::Uint8 || state.device() != Device::Cpu {
        let got = if state.defined() { format!("{state:?}") } else { "an undefined tensor".into() };
        let operation = "Generator::set_state";
        return Err(LibtorchError::Argument { operation, got, want: "bytes on the CPU, from generator_state" });
    }
    ffi::generator_set_state(index(device)?, state)
}

/// Index of the device; -1 for the CPU.
pub(super) fn index(device: Device) -> Result<i32, LibtorchError> {
    match device {
        Device::Cpu => Ok(-1),
        Device::Cuda(index) if index < tch::Cuda::device_count().max(0) as usize => Ok(index as i32),
        other => Err(LibtorchError::UnknownDevice(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_state_is_refused() {
        assert!(set_generator_state(Device::Cpu, &Tensor::from_slice(&[1.0f32])).is_err());
        assert!(set_generator_state(Device::Cpu, &Tensor::from_slice(&[1u8, 2])).is_err());
        assert!(generator_state(Device::Cuda(99)).is_err());
    }
}
