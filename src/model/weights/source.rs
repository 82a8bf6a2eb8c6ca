//! The source of a model's tensor: one tensor of the file, or several combined.

use tch::{Kind, TchError, Tensor};

use super::stored::StoredTensor;

/// Query, key, and value of attention.
pub(super) const THIRDS: usize = 3;

/// A tensor to read from the file. It takes no memory until it is read.
#[derive(Debug, Clone)]
pub(super) struct Source<'a> {
    /// Type in the file.
    pub kind: Kind,
    /// Shape in the model.
    pub size: Vec<i64>,
    /// Parts, concatenated along the first dimension.
    parts: Vec<StoredTensor<'a>>,
    rescaling: Option<Rescaling<'a>>,
}

/// Rescaling of a batch normalization gain for another epsilon.
#[derive(Debug, Clone)]
struct Rescaling<'a> {
    variance: StoredTensor<'a>,
    epsilons: [f64; 2],
}

impl<'a> From<StoredTensor<'a>> for Source<'a> {
    fn from(stored: StoredTensor<'a>) -> Self {
        Self { kind: stored.kind, size: stored.size.clone(), parts: vec![stored], rescaling: None }
    }
}

impl<'a> Source<'a> {
    /// Concatenates three tensors; `None` if their types differ or their shapes do not match.
    pub(super) fn stacked(parts: [StoredTensor<'a>; THIRDS]) -> Option<Self> {
        let [first, ..] = &parts;
        let (kind, (_, rest)) = (first.kind, first.size.split_first()?);
        let is_like = |part: &StoredTensor<'_>| part.kind == kind && part.size.get(1..) == Some(rest);
        if !parts.iter().all(is_like) {
            return None;
        }
        let rows = parts.iter().try_fold(0i64, |rows, part| rows.checked_add(part.size[0]))?;
        let size = [&[rows], rest].concat();
        Some(Self { kind, size, parts: parts.to_vec(), rescaling: None })
    }

    /// Changes the shape to that of the model's tensor, if both have the same number of values per output in the same
    /// order: for example a linear layer stored as a convolution, or a scale per channel. The first dimension stays
    /// unchanged, because the number of classes may differ from the model's.
    pub(super) fn reshape_like(&mut self, own: &[i64]) {
        let product = |sides: &[i64]| sides.iter().try_fold(1i64, |product, side| product.checked_mul(*side));
        if let (&[outputs, ref inner @ ..], [_, own_inner @ ..]) = (&self.size[..], own)
            && inner.len() != own_inner.len()
            && product(inner).is_some_and(|numbers| product(own_inner) == Some(numbers))
        {
            self.size = [&[outputs], own_inner].concat();
        }
    }

    /// Converts a gain from the first of `epsilons` to the second, so that the layer's output in evaluation stays the
    /// same. Returns whether this was possible.
    pub(super) fn rescale(&mut self, variance: &Self, epsilons: [f64; 2]) -> bool {
        let is_float = |kind| matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16);
        let is_like = variance.size == self.size && is_float(self.kind) && is_float(variance.kind);
        if let ([variance], true) = (&variance.parts[..], is_like) {
            self.rescaling = Some(Rescaling { variance: variance.clone(), epsilons });
            return true;
        }
        false
    }

    /// Copies the tensor to the CPU. The copy has the shape [`size`](Self::size), which can need far more memory than
    /// the file: check it first.
    pub(super) fn read(&self) -> Result<Tensor, TchError> {
        let parts = self.parts.iter().map(StoredTensor::read).collect::<Result<Vec<_>, _>>()?;
        let tensor = match &parts[..] {
            [one] => one.f_reshape(&self.size)?,
            parts => Tensor::f_cat(parts, 0)?.f_reshape(&self.size)?,
        };
        let Some(Rescaling { variance, epsilons: [theirs, ours] }) = &self.rescaling else { return Ok(tensor) };
        // In float32 or higher precision: half precision would lose a small epsilon.
        let kind = if self.kind == Kind::Double { Kind::Double } else { Kind::Float };
        let variance = variance.read()?.f_to_kind(kind)?;
        let ratio = variance.f_add_scalar(*ours)?.f_div(&variance.f_add_scalar(*theirs)?)?;
        tensor.f_to_kind(kind)?.f_mul(&ratio.f_sqrt()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn stored<'a>(bytes: &'a [u8], size: &[i64]) -> StoredTensor<'a> {
        StoredTensor::dense(bytes, Kind::Float, size.to_vec()).unwrap()
    }

    fn numbers(source: &Source<'_>) -> Vec<f32> {
        Vec::try_from(source.read().unwrap().view(-1)).unwrap()
    }

    #[test]
    fn thirds_are_stacked_in_their_order_where_their_shapes_do() {
        let (one, two) = (bytes(&[1.0, 2.0]), bytes(&[3.0, 4.0, 5.0, 6.0]));
        let (small, large) = (stored(&one, &[1, 2]), stored(&two, &[2, 2]));
        let source = Source::stacked([large.clone(), small.clone(), small.clone()]).unwrap();
        assert_eq!((&source.size[..], source.kind), (&[4, 2][..], Kind::Float));
        assert_eq!(numbers(&source), [3.0, 4.0, 5.0, 6.0, 1.0, 2.0, 1.0, 2.0]);
        assert!(Source::stacked([large.clone(), stored(&one, &[2]), small.clone()]).is_none());
        assert!(Source::stacked([stored(&one[..4], &[]), small.clone(), small]).is_none());
        // More rows than 64 bits can count, but without any values.
        let endless = stored(&[], &[i64::MAX, 0]);
        assert!(Source::stacked([endless.clone(), endless.clone(), endless]).is_none());
    }

    #[test]
    fn shapes_change_behind_the_first_side_only_and_keep_their_numbers() {
        let data = bytes(&[1.0; 12]);
        let reshaped = |size: &[i64], own: &[i64]| {
            let mut source = Source::from(stored(&data, size));
            source.reshape_like(own);
            assert_eq!(source.read().unwrap().size(), source.size);
            source.size
        };
        assert_eq!(reshaped(&[3, 4, 1, 1], &[3, 4]), [3, 4]);
        assert_eq!(reshaped(&[3, 1, 2, 2], &[7, 4]), [3, 4], "of another number of classes");
        assert_eq!(reshaped(&[12], &[12, 1, 1]), [12, 1, 1]);
        assert_eq!(reshaped(&[3, 4], &[3, 4, 1, 1]), [3, 4, 1, 1]);
        for own in [&[3, 2, 2][..], &[3, 5, 1], &[3], &[]] {
            assert_eq!(reshaped(&[3, 4, 1, 1], own), if own == [3, 2, 2] { vec![3, 2, 2] } else { vec![3, 4, 1, 1] });
        }
        assert_eq!(reshaped(&[1, 3, 4], &[1, 4, 3]), [1, 3, 4], "another order");
    }

    #[test]
    fn a_gain_is_scaled_by_the_root_of_the_ratio_of_both_variances() {
        let (gain, variance) = (bytes(&[2.0, 3.0]), bytes(&[0.5, 0.0]));
        let mut source = Source::from(stored(&gain, &[2]));
        assert!(source.rescale(&stored(&variance, &[2]).into(), [0.5, 3.5]));
        // sqrt(4 / 1) and sqrt(3.5 / 0.5).
        let got = numbers(&source);
        assert!((got[0] - 4.0).abs() < 1e-6 && (got[1] - 3.0 * 7.0f32.sqrt()).abs() < 1e-5, "{got:?}");
        assert!(!source.rescale(&stored(&variance, &[1, 2]).into(), [0.5, 3.5]));
    }
}
