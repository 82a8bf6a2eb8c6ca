//! Copies numbers from the device to the host; each copy waits for the device once.

use std::{
    ops::{Index, Range},
    sync::atomic::{AtomicU64, Ordering},
};

use tch::{Device, Kind, Tensor};

use super::LibtorchError;

/// Number of copies so far, for the op counter: on the CPU, a copy to the host looks like any other operation.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// Returns the elements of `tensor`, of any shape and numeric dtype, in row-major order. Device sync.
///
/// # Errors
/// If libtorch reports an error. On CUDA, this includes errors of earlier asynchronous operations.
pub fn host_copy(tensor: &Tensor) -> Result<Vec<f64>, LibtorchError> {
    COPIES.fetch_add(1, Ordering::Relaxed);
    let flat = tensor.f_flatten(0, -1)?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
    Ok(Vec::try_from(flat)?)
}

/// Number of [`host_copy`] calls since the process started.
pub(super) fn copies() -> u64 {
    COPIES.load(Ordering::Relaxed)
}

/// A batch of tensors, of any shape and numeric dtype, that reach the host in one copy.
#[derive(Debug, Default)]
pub struct HostBlock {
    /// Flat tensors, grouped by dtype, with the number of elements; each group is converted in one operation.
    kinds: Vec<(Kind, Vec<Tensor>, usize)>,
}

/// Identifies the numbers of one tensor in a [`HostValues`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Index of the dtype in the block.
    kind: usize,
    range: Range<usize>,
}

/// The numbers of a [`HostBlock`], on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostValues {
    numbers: Vec<f64>,
    /// Start of each dtype's numbers.
    starts: Vec<usize>,
}

impl HostBlock {
    /// Adds a tensor to the block. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn add(&mut self, tensor: &Tensor) -> Result<Part, LibtorchError> {
        let kind = self.kinds.iter().position(|(kind, ..)| *kind == tensor.kind()).unwrap_or_else(|| {
            self.kinds.push((tensor.kind(), Vec::new(), 0));
            self.kinds.len() - 1
        });
        let (_, parts, length) = &mut self.kinds[kind];
        let start = *length;
        *length += tensor.numel();
        parts.push(tensor.f_flatten(0, -1)?);
        Ok(Part { kind, range: start..*length })
    }

    /// Copies all tensors to the host. Device sync, unless the block is empty.
    ///
    /// # Errors
    /// If the tensors are on different devices, or as for [`host_copy`].
    pub fn read(self) -> Result<HostValues, LibtorchError> {
        let mut starts = Vec::new();
        let mut together = Vec::new();
        let mut start = 0;
        for (kind, parts, length) in self.kinds {
            starts.push(start);
            start += length;
            match kind {
                Kind::Double => together.extend(parts),
                _ => together.push(Tensor::f_cat(&parts, 0)?.f_to_kind(Kind::Double)?),
            }
        }
        let numbers = if together.is_empty() { Vec::new() } else { host_copy(&Tensor::f_cat(&together, 0)?)? };
        Ok(HostValues { numbers, starts })
    }
}

impl Index<&Part> for HostValues {
    type Output = [f64];

    fn index(&self, part: &Part) -> &[f64] {
        let start = self.starts[part.kind];
        &self.numbers[start + part.range.start..start + part.range.end]
    }
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

    #[test]
    fn each_part_of_a_block_is_what_its_tensor_held() {
        let mut block = HostBlock::default();
        let table = block.add(&Tensor::from_slice(&[1.0f64, 2.0, 3.0, 4.0]).reshape([2, 2])).unwrap();
        let nothing = block.add(&Tensor::from_slice::<f32>(&[])).unwrap();
        let count = block.add(&Tensor::from(7i64)).unwrap();
        let before = copies();
        let values = block.read().unwrap();
        assert!(copies() > before);
        assert_eq!(
            (&values[&table], &values[&nothing], &values[&count]),
            (&[1.0, 2.0, 3.0, 4.0][..], &[][..], &[7.0][..])
        );
        assert_eq!(HostBlock::default().read().unwrap(), HostValues { numbers: vec![], starts: vec![] });
    }
}
