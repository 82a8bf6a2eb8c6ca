//! Counts correct and incorrect predictions of a batch.

use tch::{Kind, Tensor};

use super::{LibtorchError, ffi};

/// Running sums over batches, on the device.
#[derive(Debug, Clone, Copy)]
pub struct GuessSums<'a> {
    /// `[3]`, f64: sum of the losses, number of top-5 correct images, number of top-1 correct images.
    pub totals: &'a Tensor,
    /// i64. If `is_matrix`, `[classes * classes]`: images by label and prediction. Otherwise `[3 * classes]`: images
    /// per label, images per prediction, and correct images per class.
    pub counts: &'a Tensor,
    /// Selects the layout of `counts`.
    pub is_matrix: bool,
    /// `[n]`, i64, or `None`: receives `label * classes + prediction` for each image.
    pub places: Option<&'a Tensor>,
}

/// Adds a batch to the sums with GPU kernels, in one launch: `logits` `[n, classes]`, `labels` `[n]` of i64, and
/// `loss_sum`, the sum of the losses, one element. The prediction is the first largest logit; NaN ranks above every
/// number. Returns false, and adds nothing, if no kernels are loaded for these tensors. No sync.
///
/// # Errors
/// If the shapes, dtypes, or devices do not match.
pub fn count_guesses(
    logits: &Tensor,
    labels: &Tensor,
    loss_sum: &Tensor,
    sums: &GuessSums<'_>,
) -> Result<bool, LibtorchError> {
    let has_shapes = || {
        let (images, classes) = logits.size2().ok()?;
        let counts = if sums.is_matrix { classes * classes } else { 3 * classes };
        let is_whole = classes > 0
            && labels.size() == [images]
            && loss_sum.numel() == 1
            && sums.totals.size() == [3]
            && sums.counts.size() == [counts]
            && sums.places.is_none_or(|places| places.size() == [images]);
        is_whole.then_some(())
    };
    let integers = [Some(labels), Some(sums.counts), sums.places];
    let has_kinds = integers.into_iter().flatten().all(|tensor| tensor.kind() == Kind::Int64)
        && logits.is_floating_point()
        && loss_sum.is_floating_point()
        && sums.totals.kind() == Kind::Double;
    let everything = [Some(labels), Some(loss_sum), Some(sums.totals), Some(sums.counts), sums.places];
    let is_together = everything.into_iter().flatten().all(|tensor| tensor.device() == logits.device());
    if has_shapes().is_none() || !has_kinds || !is_together {
        return Err(LibtorchError::Argument {
            operation: "count_guesses",
            got: format!("{logits:?}, {labels:?}, {loss_sum:?} and {sums:?}"),
            want: "a row of logits and a label for each image, and sums for as many classes",
        });
    }
    ffi::count_guesses(logits, labels, loss_sum, sums)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn the_cpu_has_no_kernels_and_shapes_have_to_match() {
        let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, Device::Cpu));
        let (logits, labels) = (zeros(&[2, 4], Kind::Float), zeros(&[2], Kind::Int64));
        let (totals, counts) = (zeros(&[3], Kind::Double), zeros(&[16], Kind::Int64));
        let sums = GuessSums { totals: &totals, counts: &counts, is_matrix: true, places: None };
        let loss = Tensor::from(1.0f32);
        assert!(!count_guesses(&logits, &labels, &loss, &sums).unwrap());
        assert_eq!(totals.sum(Kind::Double).double_value(&[]), 0.0);
        assert!(count_guesses(&logits, &labels, &loss, &GuessSums { is_matrix: false, ..sums }).is_err());
        assert!(count_guesses(&logits, &labels.narrow(0, 0, 1), &loss, &sums).is_err());
        assert!(count_guesses(&logits, &loss, &loss, &sums).is_err());
        assert!(count_guesses(&logits, &labels, &loss, &GuessSums { places: Some(&counts), ..sums }).is_err());
    }
}
