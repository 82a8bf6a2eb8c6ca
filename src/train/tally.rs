//! Sums over a pass that stay on the device until they are read: loss, top-5 hits, confusion matrix.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{Metrics, TrainError};
use crate::libtorch::host_copy;

/// Number of running sums.
const SUMS: usize = 3;

/// Running sums of one pass over images. Adding a batch costs no device sync; reading costs one.
pub struct Tally {
    classes: i64,
    /// `[SUMS]`, f64: sum of the losses, number of top-5 hits, number of top-1 hits.
    sums: Tensor,
    /// `[classes * classes]`, i64: images per label and prediction.
    confusion: Tensor,
    /// What a checkpoint keeps of it beside the tensors.
    pub(super) counts: TallyCounts,
}

/// What is added up on the host.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct TallyCounts {
    images: i64,
    weight: f64,
}

impl Tally {
    /// Empty sums for `classes` classes on `device`.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn new(classes: usize, device: Device) -> Result<Self, TrainError> {
        let classes = classes as i64;
        let sums = Tensor::f_zeros([SUMS as i64], (Kind::Double, device))?;
        let confusion = Tensor::f_zeros([classes * classes], (Kind::Int64, device))?;
        Ok(Self { classes, sums, confusion, counts: TallyCounts::default() })
    }

    /// Adds a batch: `logits` of shape `[n, classes]`, `labels` `[n]`, the sum of their losses, shape `[]`, and what that
    /// sum is divided by to give their mean.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor, loss_sum: &Tensor, weight: f64) -> Result<(), TrainError> {
        let logits = logits.f_detach()?;
        let guesses = logits.f_topk(self.classes.min(5), 1, true, true)?.1;
        let hits = guesses.f_eq_tensor(&labels.f_unsqueeze(1)?)?;
        let (top5_hits, top1_hits) = (hits.f_sum(Kind::Double)?, hits.f_select(1, 0)?.f_sum(Kind::Double)?);
        let predictions = guesses.f_select(1, 0)?;
        let cells = labels.f_mul_scalar(self.classes)?.f_add(&predictions)?;
        // Not bincount, which asks the device for the largest cell first.
        self.confusion = self.confusion.f_index_add(0, &cells, &cells.f_ones_like()?)?;
        let batch = Tensor::f_stack(&[loss_sum.f_detach()?.f_to_kind(Kind::Double)?, top5_hits, top1_hits], 0)?;
        self.sums = self.sums.f_add(&batch)?;
        self.counts.images += labels.size1()?;
        self.counts.weight += weight;
        Ok(())
    }

    /// Images added so far.
    pub fn images(&self) -> i64 {
        self.counts.images
    }

    /// The sums themselves, by name: copied into, they put them back.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![("sums", self.sums.shallow_clone()), ("confusion", self.confusion.shallow_clone())]
    }

    /// Share of right first guesses so far: shape `[]`, still on the device.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn accuracy(&self) -> Result<Tensor, TrainError> {
        Ok(self.sums.f_select(0, 2)?.f_div_scalar(self.counts.images)?)
    }

    /// All figures so far. Device sync here.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn read(&self, classes: &[String]) -> Result<Metrics, TrainError> {
        // Counts are exact in f64 up to 2^53.
        let values = host_copy(&Tensor::f_cat(&[&self.sums, &self.confusion.f_to_kind(Kind::Double)?], 0)?)?;
        let (sums, cells) = values.split_at(SUMS);
        let rows = cells.chunks(self.classes as usize);
        let confusion = rows.map(|row| row.iter().map(|&count| count as u64).collect()).collect();
        Ok(Metrics::new(sums[0] / self.counts.weight, sums[1] as u64, confusion, classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_batches_are_counted_into_one_matrix() {
        let mut tally = Tally::new(3, Device::Cpu).unwrap();
        let logits = Tensor::from_slice(&[9.0f32, 0.0, 1.0, 0.0, 2.0, 1.0]).reshape([2, 3]);
        tally.add(&logits, &Tensor::from_slice(&[0i64, 2]), &Tensor::from(1.5f32), 2.0).unwrap();
        tally.add(&logits.narrow(0, 1, 1), &Tensor::from_slice(&[1i64]), &Tensor::from(0.5f32), 1.0).unwrap();
        let metrics = tally.read(&["a", "b", "c"].map(String::from)).unwrap();
        assert_eq!(metrics.confusion, [[1, 0, 0], [0, 1, 0], [0, 1, 0]]);
        assert_eq!(metrics.loss, 2.0 / 3.0);
        assert_eq!(metrics.top5_accuracy, 1.0);
    }

    #[test]
    fn a_label_among_the_first_five_guesses_is_a_top_5_hit() {
        let mut tally = Tally::new(7, Device::Cpu).unwrap();
        let logits = Tensor::from_slice(&[7.0f32, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).reshape([1, 7]);
        for label in 0..7i64 {
            tally.add(&logits, &Tensor::from_slice(&[label]), &Tensor::from(0.0f32), 1.0).unwrap();
        }
        let names: Vec<String> = (0..7).map(|class| class.to_string()).collect();
        let metrics = tally.read(&names).unwrap();
        assert_eq!((metrics.accuracy, metrics.top5_accuracy), (1.0 / 7.0, 5.0 / 7.0));
    }
}
