//! A tensor in a file, which takes no memory until it is read.

use tch::{Device, Kind, TchError, Tensor};

use super::Refusal;

/// Maximum number of dimensions of a tensor. Weights have up to four.
pub(super) const MOST_SIDES: usize = 8;

/// A view of a part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredTensor<'a> {
    /// Bytes from its first to its last element.
    bytes: &'a [u8],
    /// Type of the elements, little-endian.
    pub kind: Kind,
    /// Shape.
    pub size: Vec<i64>,
    stride: Vec<i64>,
}

impl<'a> StoredTensor<'a> {
    /// Creates a view of the elements `offset + index . stride` of a storage. Fails if any of them is outside of the
    /// storage.
    pub(super) fn new(
        storage: &'a [u8],
        kind: Kind,
        offset: i64,
        size: Vec<i64>,
        stride: Vec<i64>,
    ) -> Result<Self, Refusal> {
        let span = span(&size, &stride);
        let width = kind.elt_size_in_bytes();
        let range = || {
            let first = usize::try_from(offset).ok()?.checked_mul(width)?;
            let length = usize::try_from(span?).ok()?.checked_mul(width)?;
            storage.get(first..first.checked_add(length)?)
        };
        match range() {
            Some(bytes) => Ok(Self { bytes, kind, size, stride }),
            None => {
                let numbers = storage.len() / width;
                let got =
                    format!("a tensor of size {size:?}, stride {stride:?} at offset {offset} of {numbers} elements");
                Err(Refusal::damaged(got))
            }
        }
    }

    /// Creates a view of contiguous elements.
    pub(super) fn dense(bytes: &'a [u8], kind: Kind, size: Vec<i64>) -> Result<Self, Refusal> {
        let mut stride = vec![1; size.len()];
        for side in (1..size.len()).rev() {
            let inner: i64 = stride[side];
            stride[side - 1] = inner.saturating_mul(size[side].max(1));
        }
        Self::new(bytes, kind, 0, size, stride)
    }

    /// Copies the tensor to the CPU. The copy has the shape [`size`](Self::size), which can need far more memory than
    /// the file (a stride can be 0): check it first.
    pub(super) fn read(&self) -> Result<Tensor, TchError> {
        let Self { bytes, kind, size, stride } = self;
        if size.contains(&0) {
            return Tensor::f_zeros(size, (*kind, Device::Cpu));
        }
        let numbers = (bytes.len() / kind.elt_size_in_bytes()) as i64;
        Tensor::f_from_data_size(bytes, &[numbers], *kind)?.f_as_strided(size, stride, 0)
    }
}

/// Number of elements from the first to the last; `None` if a value is negative or the number overflows 64 bits.
fn span(size: &[i64], stride: &[i64]) -> Option<i64> {
    if size.len() != stride.len() || size.iter().chain(stride).any(|side| *side < 0) {
        return None;
    }
    // libtorch computes this product.
    let _ = size.iter().try_fold(1i64, |product, side| product.checked_mul(*side))?;
    if size.contains(&0) {
        return Some(0);
    }
    let last =
        size.iter().zip(stride).try_fold(0i64, |last, (side, step)| last.checked_add((side - 1).checked_mul(*step)?));
    last?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0, 1, ... 11 as float32.
    fn numbers() -> Vec<u8> {
        (0..12u8).flat_map(|number| f32::from(number).to_le_bytes()).collect()
    }

    fn read(offset: i64, size: &[i64], stride: &[i64]) -> Option<Vec<f32>> {
        let bytes = numbers();
        let stored = StoredTensor::new(&bytes, Kind::Float, offset, size.to_vec(), stride.to_vec()).ok()?;
        let tensor = stored.read().unwrap();
        assert_eq!(tensor.size(), size);
        Some(Vec::try_from(tensor.contiguous().view(-1)).unwrap())
    }

    #[test]
    fn strides_and_offsets_are_those_of_torch() {
        assert_eq!(read(0, &[3, 4], &[4, 1]).unwrap(), (0..12).map(|number| number as f32).collect::<Vec<_>>());
        // Transposed, starting at the second column.
        assert_eq!(read(1, &[3, 3], &[1, 4]).unwrap(), [1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]);
        assert_eq!(read(11, &[2, 2], &[0, 0]).unwrap(), [11.0; 4]);
        assert_eq!(read(3, &[], &[]).unwrap(), [3.0]);
        assert_eq!(read(12, &[0, 5], &[5, 1]).unwrap(), [0.0; 0]);
        let bytes = numbers();
        let dense = StoredTensor::dense(&bytes, Kind::Float, vec![2, 3, 2]).unwrap();
        assert_eq!(dense.stride, [6, 2, 1]);
    }

    #[test]
    fn what_reaches_out_of_the_storage_or_of_64_bits_is_refused() {
        for (offset, size, stride) in [
            (0, &[13][..], &[1][..]),
            (1, &[12], &[1]),
            (0, &[3, 4], &[5, 1]),
            (-1, &[1], &[1]),
            (0, &[-1], &[1]),
            (0, &[2], &[-1]),
            (0, &[2], &[]),
            (0, &[1 << 40, 1 << 40], &[0, 0]),
            (0, &[2, 2], &[i64::MAX, i64::MAX]),
            (i64::MAX, &[1], &[1]),
            (0, &[1 << 62], &[1]),
            (13, &[0], &[1]),
        ] {
            assert_eq!(read(offset, size, stride), None, "{offset} {size:?} {stride:?}");
        }
        let bytes = numbers();
        assert!(StoredTensor::dense(&bytes, Kind::Float, vec![i64::MAX, i64::MAX]).is_err());
        assert!(StoredTensor::dense(&bytes, Kind::Float, vec![3, 5]).is_err());
    }
}
