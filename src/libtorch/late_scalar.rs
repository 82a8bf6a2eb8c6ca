//! A device number that the host reads later, after it has arrived.

use std::fmt;

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, Moment};

/// A number that is being copied to the host. Reading it waits only for the work queued before the copy, so the device
/// stays busy with later work; [`host_copy`] waits for all queued work.
///
/// [`host_copy`]: super::host_copy()
pub struct LateScalar {
    copy: Tensor,
    arrival: Moment,
}

impl fmt::Debug for LateScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateScalar").finish_non_exhaustive()
    }
}

impl LateScalar {
    /// Starts copying a one-element tensor to the host. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn send(scalar: &Tensor) -> Result<Self, LibtorchError> {
        let device = scalar.device();
        // libtorch copies from a GPU into pinned memory, without waiting.
        let copy = scalar.f_internal_to_copy((Kind::Double, Device::Cpu), device != Device::Cpu)?;
        Ok(Self { copy, arrival: Moment::record(device)? })
    }

    /// Waits for the copy and returns the number.
    ///
    /// # Errors
    /// If an earlier operation on the device failed.
    pub fn receive(self) -> Result<f64, LibtorchError> {
        self.arrival.wait()?;
        let mut value = [0.0];
        self.copy.f_copy_data(&mut value, 1)?;
        Ok(value[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_is_what_was_sent_whatever_became_of_the_tensor() {
        let scalar = Tensor::from(0.5f32);
        let late = LateScalar::send(&scalar).unwrap();
        let _ = scalar.shallow_clone().fill_(7.0);
        assert_eq!(late.receive().unwrap(), 0.5);
    }
}
