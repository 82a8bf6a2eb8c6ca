//! A point in the work of a device: wall time on the CPU, an event in the stream on a GPU.

use std::time::Instant;

use tch::Device;

use super::{LibtorchError, ffi};

/// The time at which all work queued so far is complete.
#[derive(Debug)]
pub struct Moment(At);

#[derive(Debug)]
enum At {
    Now(Instant),
    Queue(ffi::Event),
}

impl Moment {
    /// Records the end of all work queued on `device` so far. No sync.
    ///
    /// # Errors
    /// If the device cannot record an event.
    pub fn record(device: Device) -> Result<Self, LibtorchError> {
        Ok(Self(match device {
            Device::Cuda(index) => At::Queue(ffi::Event::record(index as i32)?),
            _ => At::Now(Instant::now()),
        }))
    }

    /// Time from an earlier moment to this one, in seconds; `None` until the device has reached both. No sync.
    ///
    /// # Errors
    /// If the moments belong to different devices.
    pub fn secs_since(&self, earlier: &Self) -> Result<Option<f64>, LibtorchError> {
        match (&earlier.0, &self.0) {
            (At::Now(from), At::Now(to)) => Ok(Some(to.saturating_duration_since(*from).as_secs_f64())),
            (At::Queue(from), At::Queue(to)) => {
                let millis = to.millis_since(from)?;
                Ok((!millis.is_nan()).then_some(millis / 1e3))
            }
            _ => {
                let got = "moments of the CPU and of a GPU".into();
                Err(LibtorchError::Argument { operation: "Moment::secs_since", got, want: "one device" })
            }
        }
    }

    /// Waits until the device has reached this moment.
    ///
    /// # Errors
    /// If an earlier operation on the device failed.
    pub fn wait(&self) -> Result<(), LibtorchError> {
        match &self.0 {
            At::Now(_) => Ok(()),
            At::Queue(mark) => mark.wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::*;

    #[test]
    fn time_passes_and_none_is_below_zero() {
        let first = Moment::record(Device::Cpu).unwrap();
        sleep(Duration::from_millis(5));
        let second = Moment::record(Device::Cpu).unwrap();
        assert!(second.secs_since(&first).unwrap().unwrap() >= 0.005);
        assert_eq!(first.secs_since(&second).unwrap(), Some(0.0));
    }
}
