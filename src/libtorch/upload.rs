//! Copies of a batch from host memory to the device.

use tch::{Device, Tensor};

use super::{LibtorchError, ffi};

/// A slice of numbers in host memory.
#[derive(Debug, Clone, Copy)]
pub enum HostSlice<'a> {
    /// f32.
    Float(&'a [f32]),
    /// i64.
    Int64(&'a [i64]),
    /// i32.
    Int(&'a [i32]),
    /// u8.
    Uint8(&'a [u8]),
}

/// Copies each slice to a tensor on `device`, of shape `[slice.len()]`. No sync: on CUDA the copies run from pinned memory
/// on a separate stream, in parallel with queued kernels; only later work on the copies waits for them.
///
/// # Errors
/// If libtorch is out of pinned or device memory.
pub fn upload<const N: usize>(slices: [HostSlice<'_>; N], device: Device) -> Result<[Tensor; N], LibtorchError> {
    match device {
        Device::Cuda(index) => ffi::upload(&slices, index as i32),
        _ => {
            let mut copies = std::array::from_fn(|_| Tensor::new());
            for (copy, slice) in copies.iter_mut().zip(slices) {
                *copy = slice.to_tensor()?;
            }
            Ok(copies)
        }
    }
}

impl HostSlice<'_> {
    fn to_tensor(self) -> Result<Tensor, LibtorchError> {
        Ok(match self {
            Self::Float(values) => Tensor::f_from_slice(values)?,
            Self::Int64(values) => Tensor::f_from_slice(values)?,
            Self::Int(values) => Tensor::f_from_slice(values)?,
            Self::Uint8(values) => Tensor::f_from_slice(values)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_every_type_arrive_as_they_are() {
        let slices = [
            HostSlice::Float(&[1.0, f32::INFINITY]),
            HostSlice::Int64(&[-1]),
            HostSlice::Int(&[7, 8, 9]),
            HostSlice::Uint8(&[]),
        ];
        let [floats, longs, ints, bytes] = upload(slices, Device::Cpu).unwrap();
        assert_eq!(Vec::<f32>::try_from(floats).unwrap(), [1.0, f32::INFINITY]);
        assert_eq!(Vec::<i64>::try_from(longs).unwrap(), [-1]);
        assert_eq!(Vec::<i32>::try_from(ints).unwrap(), [7, 8, 9]);
        assert_eq!(bytes.size(), [0]);
    }
}
