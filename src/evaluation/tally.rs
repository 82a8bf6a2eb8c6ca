//! Sums over a pass that stay on the device until they are read: loss, hits, and predictions per class.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{
    ClassCounts, Confusion, EvaluationError, Metrics,
    prediction_counts::{PredictionCounts, counts_of_matrix, logits_before},
    set_counts::SetCounts,
};
use crate::{
    data::Dataset,
    disk::{NamedTensors, TensorFileError},
    distributed::Ranks,
    libtorch::{HostBlock, count_guesses},
};

/// Number of sums of a pass.
const TOTALS: usize = 3;

/// Running sums of one pass over images. Adding a batch costs no device sync; reading costs one.
pub struct Tally {
    classes: i64,
    /// `[TOTALS]`, f64: sum of the losses, number of top-5 hits, number of top-1 hits. Of multi-label data, the last one
    /// is the number of exact matches, and the second one is 0.
    totals: Tensor,
    predictions: Predictions,
    /// The part of a checkpoint's state that is not a tensor.
    pub(crate) counts: TallyCounts,
}

enum Predictions {
    /// Of one class per image.
    Class(PredictionCounts),
    /// Of multi-label data.
    Set(SetCounts),
}

/// Sums on the host.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct TallyCounts {
    images: i64,
    weight: f64,
}

impl Tally {
    /// Length of [`sums_of`](Self::sums_of).
    pub(crate) const SUMS: usize = TOTALS;

    /// Creates empty sums for `classes` classes on `device`. Above 100 classes, it counts each class's images,
    /// predictions, and hits, but not pairs of classes: its size grows with the number of classes, not with the number
    /// of images.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(classes: usize, device: Device) -> Result<Self, EvaluationError> {
        Self::start(classes, device, Predictions::Class(PredictionCounts::new(classes, device, false)?))
    }

    /// Like [`new`](Self::new), but keeps pairs of classes for any number of classes: above 100 classes, eight bytes
    /// per image.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn with_confusion(classes: usize, device: Device) -> Result<Self, EvaluationError> {
        Self::start(classes, device, Predictions::Class(PredictionCounts::new(classes, device, true)?))
    }

    /// Creates empty sums for training on `images`. They take little memory and have no average precision.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn of_training(images: &Dataset, device: Device) -> Result<Self, EvaluationError> {
        let classes = images.classes().len();
        match images.label_sets().is_multi_label() {
            false => Self::new(classes, device),
            true => Self::start(classes, device, Predictions::Set(SetCounts::new(classes, device, false)?)),
        }
    }

    /// Creates empty sums for evaluating `images`, with all pairs of classes, or of multi-label data, with all scores:
    /// five bytes per image and class.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn of_evaluation(images: &Dataset, device: Device) -> Result<Self, EvaluationError> {
        let classes = images.classes().len();
        match images.label_sets().is_multi_label() {
            false => Self::with_confusion(classes, device),
            true => Self::start(classes, device, Predictions::Set(SetCounts::new(classes, device, true)?)),
        }
    }

    fn start(classes: usize, device: Device, predictions: Predictions) -> Result<Self, EvaluationError> {
        let totals = Tensor::f_zeros([TOTALS as i64], (Kind::Double, device))?;
        Ok(Self { classes: classes as i64, totals, predictions, counts: TallyCounts::default() })
    }

    /// Adds a batch: `logits` of shape `[n, classes]`, `labels` as in [`Targets`](super::Targets), the sum of their losses,
    /// shape `[]`, and its divisor for the mean loss.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn add(
        &mut self,
        logits: &Tensor,
        labels: &Tensor,
        loss_sum: &Tensor,
        weight: f64,
    ) -> Result<(), EvaluationError> {
        let totals = self.totals.shallow_clone();
        self.count(logits, labels, loss_sum, &totals)?;
        self.counts.images += logits.size2()?.0;
        self.counts.weight += weight;
        Ok(())
    }

    /// Counts the predictions of a batch, and returns its sums: `[TOTALS]`, f64. They count once
    /// [`add_sums`](Self::add_sums) adds those of all ranks.
    pub(crate) fn sums_of(
        &mut self,
        logits: &Tensor,
        labels: &Tensor,
        loss_sum: &Tensor,
    ) -> Result<Tensor, EvaluationError> {
        let sums = self.totals.f_zeros_like()?;
        self.count(logits, labels, loss_sum, &sums)?;
        Ok(sums)
    }

    /// Sums of `batches` batches that are still 0: `[batches, TOTALS]`, f64.
    pub(crate) fn empty_sums(&self, batches: usize) -> Result<Tensor, EvaluationError> {
        Ok(Tensor::f_zeros([batches as i64, TOTALS as i64], (Kind::Double, self.totals.device()))?)
    }

    /// Adds the sums of batches in order: `[batches, TOTALS]`, f64, with the number of their images and the divisor of
    /// their losses.
    pub(crate) fn add_sums(&mut self, sums: &Tensor, images: u64, weight: f64) -> Result<(), EvaluationError> {
        for batch in 0..sums.size()[0] {
            let _ = self.totals.f_add_(&sums.f_select(0, batch)?)?;
        }
        self.counts.images += images as i64;
        self.counts.weight += weight;
        Ok(())
    }

    fn count(
        &mut self,
        logits: &Tensor,
        labels: &Tensor,
        loss_sum: &Tensor,
        totals: &Tensor,
    ) -> Result<(), EvaluationError> {
        let (logits, loss_sum) = (logits.f_detach()?, loss_sum.f_detach()?);
        let hits = match &mut self.predictions {
            Predictions::Class(predictions) => {
                let cells = predictions.next_cells(labels.size1()?)?;
                if count_guesses(&logits, labels, &loss_sum, &predictions.sums(totals, &cells))? {
                    None
                } else {
                    let guess = logits.f_argmax(1, false)?;
                    let is_hit = guess.f_eq_tensor(labels)?;
                    predictions.add(self.classes, labels, &guess, &is_hit, cells.as_ref())?;
                    let is_top5 = logits_before(&logits, labels)?.f_lt(5)?;
                    Some([is_top5.f_sum(Kind::Double)?, is_hit.f_sum(Kind::Double)?])
                }
            }
            Predictions::Set(sets) => {
                let exact = sets.add(&logits, labels)?.f_to_kind(Kind::Double)?;
                Some([exact.f_zeros_like()?, exact])
            }
        };
        if let Some([top5_hits, hits]) = hits {
            let sums = [loss_sum.f_to_kind(Kind::Double)?, top5_hits, hits];
            let _ = totals.shallow_clone().f_add_(&Tensor::f_stack(&sums, 0)?)?;
        }
        Ok(())
    }

    /// Number of images added so far.
    pub fn images(&self) -> i64 {
        self.counts.images
    }

    /// Adds the counts of predictions of all ranks, so that this tally has those of all images.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch reports an error.
    pub(crate) fn gather_predictions(&mut self, ranks: &Ranks) -> Result<(), EvaluationError> {
        match &mut self.predictions {
            Predictions::Class(predictions) => predictions.gather(ranks),
            Predictions::Set(sets) => sets.gather(ranks),
        }
    }

    /// A copy with the counts of predictions of all ranks.
    ///
    /// # Errors
    /// As for [`gather_predictions`](Self::gather_predictions).
    pub(crate) fn of_all_ranks(&self, ranks: &Ranks) -> Result<Self, EvaluationError> {
        let predictions = match &self.predictions {
            Predictions::Class(predictions) => Predictions::Class(predictions.copy()?),
            Predictions::Set(sets) => Predictions::Set(sets.copy()?),
        };
        let (totals, counts) = (self.totals.f_detach_copy()?, self.counts);
        let mut copy = Self { classes: self.classes, totals, predictions, counts };
        copy.gather_predictions(ranks)?;
        Ok(copy)
    }

    /// Sets the counts of predictions to 0, on a rank whose counts are part of those of another one.
    pub(crate) fn clear_predictions(&self) -> Result<(), EvaluationError> {
        let (_, counts) = &self.state()[1];
        let _ = counts.shallow_clone().f_zero_()?;
        Ok(())
    }

    /// The live tensors of the sums, by name; copying into them restores the sums. They do not include the pairs of
    /// many classes.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        let (name, counts) = match &self.predictions {
            Predictions::Class(PredictionCounts::Matrix(matrix)) => ("confusion", matrix),
            Predictions::Class(PredictionCounts::Classes { counts, .. }) => ("classes", counts),
            Predictions::Set(SetCounts { counts, .. }) => ("sets", counts),
        };
        vec![("sums", self.totals.shallow_clone()), (name, counts.shallow_clone())]
    }

    /// Converts the tensors of a checkpoint to the names of [`state`](Self::state), each after its own prefix. Earlier
    /// versions stored the whole matrix of many classes too.
    pub(crate) fn upgrade_state(&self, saved: NamedTensors) -> Result<NamedTensors, TensorFileError> {
        let is_matrix = |tensor: &Tensor| tensor.size() == [self.classes * self.classes];
        let upgrade = |(name, tensor): (String, Tensor)| match (&self.predictions, name.strip_suffix("confusion")) {
            (Predictions::Class(PredictionCounts::Classes { .. }), Some(prefix)) if is_matrix(&tensor) => {
                Ok((format!("{prefix}classes"), counts_of_matrix(&tensor, self.classes)?))
            }
            _ => Ok((name, tensor)),
        };
        saved.into_iter().map(upgrade).collect()
    }

    /// Top-1 accuracy so far, or of multi-label data, the fraction of exact matches: shape `[]`, on the device.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn accuracy(&self) -> Result<Tensor, EvaluationError> {
        Ok(self.totals.f_select(0, 2)?.f_div_scalar(self.counts.images)?)
    }

    /// Reads all metrics so far. Device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn read(&self, classes: &[String]) -> Result<Metrics, EvaluationError> {
        // Counts are exact in f64 up to 2^53.
        let mut block = HostBlock::default();
        let sums = block.add(&self.totals)?;
        let (table, cells) = match &self.predictions {
            Predictions::Class(PredictionCounts::Matrix(matrix)) => (block.add(matrix)?, None),
            Predictions::Class(PredictionCounts::Classes { counts, cells }) => {
                let cells = cells.as_ref().map(|cells| block.add(&cells.list.f_narrow(0, 0, cells.used)?));
                (block.add(counts)?, cells.transpose()?)
            }
            Predictions::Set(SetCounts { counts, .. }) => (block.add(counts)?, None),
        };
        let values = block.read()?;
        let whole = |values: &[f64]| values.iter().map(|&value| value as u64).collect::<Vec<u64>>();
        let rows: Vec<Vec<u64>> = values[&table].chunks(self.classes as usize).map(whole).collect();
        let (counts, confusion) = match &self.predictions {
            Predictions::Class(PredictionCounts::Matrix(_)) => {
                let confusion = Confusion::of_matrix(&rows);
                (confusion.counts(), Some(confusion))
            }
            _ => {
                // The three rows of `counts`.
                let [support, predicted, hits] = rows.try_into().unwrap_or_default();
                let confusion =
                    cells.map(|part| Confusion::of_cell_indices(self.classes as usize, whole(&values[&part])));
                (ClassCounts { support, predicted, hits }, confusion)
            }
        };
        let loss = values[&sums][0] / self.counts.weight;
        Ok(match &self.predictions {
            Predictions::Class(_) => Metrics::new(loss, values[&sums][1] as u64, &counts, confusion, classes),
            Predictions::Set(sets) => {
                let exact_match = values[&sums][2] / self.counts.images.max(1) as f64;
                Metrics::of_sets(loss, exact_match, &counts, &sets.average_precisions()?, classes)
            }
        })
    }
}

#[cfg(test)]
mod tests;
