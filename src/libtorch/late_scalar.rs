//! A number of the device that the host reads later, when it is there anyway.

use std::fmt;

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, Moment};

/// A number on its way to the host. Read after more work was queued, it leaves the device busy: where [`host_copy`] waits for
/// an idle device, this waits for the past.
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
    /// Sends a tensor of one element on its way. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn send(scalar: &Tensor) -> Result<Self, LibtorchError> {
        let device = scalar.device();
        // From a GPU into pinned memory, which libtorch takes for a copy that is not waited for.
        let copy = scalar.f_internal_to_copy((Kind::Double, Device::Cpu), device != Device::Cpu)?;
        Ok(Self { copy, arrival: Moment::record(device)? })
    }

    /// The number.
    ///
    /// # Errors
    /// That of an earlier operation of the device.
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
