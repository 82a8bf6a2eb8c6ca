//! The one way in which numbers leave the device: each copy waits for it once.

use std::{
    ops::{Index, Range},
    sync::atomic::{AtomicU64, Ordering},
};

use tch::{Device, Kind, Tensor};

use super::LibtorchError;

/// Copies so far, for the op counter: on the CPU no operation tells a copy to the host from any other.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// The elements of `tensor`, of any shape and numeric dtype, in row-major order. Device sync here.
///
/// # Errors
/// Where libtorch refuses; on CUDA, also the error of an earlier operation that had not been waited for.
pub fn host_copy(tensor: &Tensor) -> Result<Vec<f64>, LibtorchError> {
    COPIES.fetch_add(1, Ordering::Relaxed);
    let flat = tensor.f_flatten(0, -1)?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
    Ok(Vec::try_from(flat)?)
}

/// Copies of [`host_copy`] since the process began.
pub(super) fn copies() -> u64 {
    COPIES.load(Ordering::Relaxed)
}

/// Tensors of any shape and numeric dtype that reach the host together, in one copy.
#[derive(Debug, Default)]
pub struct HostBlock {
    /// By dtype, flat: those of one are converted together.
    kinds: Vec<(Kind, Vec<Tensor>, usize)>,
}

/// Which numbers of a [`HostValues`] came from one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Place of the dtype in the block.
    kind: usize,
    range: Range<usize>,
}

/// The numbers of a [`HostBlock`].
#[derive(Debug, Clone, PartialEq)]
pub struct HostValues {
    numbers: Vec<f64>,
    /// Where those of each dtype begin.
    starts: Vec<usize>,
}

impl HostBlock {
    /// Takes a tensor along. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
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

    /// Copies everything to the host. Device sync here, unless there is nothing.
    ///
    /// # Errors
    /// Where the tensors are of different devices, or as for [`host_copy`].
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
