//! A buffer of pinned host memory. A CUDA device copies tensors into it while it continues to work.

use tch::{Device, Tensor};

use super::{LibtorchError, Moment, ffi, tensor_bytes};

/// Bytes in pinned host memory. The device copies into it asynchronously; any thread can read it after the copies
/// arrived.
#[derive(Debug, Default)]
pub struct PinnedBuffer {
    /// `[bytes]`, u8, in pinned memory.
    bytes: Option<Tensor>,
    length: usize,
    arrival: Option<Moment>,
}

impl PinnedBuffer {
    /// Queues copies of tensors on the current stream, each to its offset, which must be a multiple of the tensor's
    /// element size. The buffer starts with `head`. Reuses the memory of an earlier copy if it is large enough. No
    /// sync, unless an earlier copy into the buffer is still in flight.
    ///
    /// # Errors
    /// If a tensor does not fit at its offset, or pinned memory runs out.
    pub fn copy(
        &mut self,
        head: &[u8],
        tensors: &[(usize, &Tensor)],
        length: usize,
        device: Device,
    ) -> Result<(), LibtorchError> {
        let ends = tensors.iter().map(|(offset, tensor)| offset + tensor_bytes(tensor));
        let is_aligned =
            tensors.iter().all(|(offset, tensor)| offset.is_multiple_of(tensor.kind().elt_size_in_bytes()));
        if head.len() > length || ends.max().is_some_and(|end| end > length) || !is_aligned {
            return Err(LibtorchError::Argument {
                operation: "copy_to_pinned",
                got: format!("{} tensors in {length} bytes", tensors.len()),
                want: "tensors that fit at aligned offsets",
            });
        }
        // Wait for earlier copies before their memory is overwritten.
        self.wait()?;
        let bytes = match self.bytes.take() {
            Some(bytes) if bytes.numel() >= length => bytes,
            _ => ffi::pinned_bytes(length)?,
        };
        ffi::write_pinned(&bytes, head);
        ffi::copy_to_pinned(&bytes, tensors)?;
        (self.bytes, self.length, self.arrival) = (Some(bytes), length, Some(Moment::record(device)?));
        Ok(())
    }

    /// Waits for all copies and returns the bytes.
    ///
    /// # Errors
    /// If an earlier operation on the device failed.
    pub fn read(&self) -> Result<&[u8], LibtorchError> {
        self.wait()?;
        Ok(self.bytes.as_ref().map_or(&[], |bytes| &ffi::pinned_slice(bytes)[..self.length]))
    }

    fn wait(&self) -> Result<(), LibtorchError> {
        self.arrival.as_ref().map_or(Ok(()), Moment::wait)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn tensors_that_do_not_fit_are_an_error() {
        let mut buffer = PinnedBuffer::default();
        assert!(buffer.read().unwrap().is_empty());
        let tensor = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        assert!(buffer.copy(&[], &[(4, &tensor)], 11, Device::Cpu).is_err());
        assert!(buffer.copy(&[], &[(3, &tensor)], 12, Device::Cpu).is_err());
        assert!(buffer.copy(&[0; 13], &[(4, &tensor)], 12, Device::Cpu).is_err());
    }
}
