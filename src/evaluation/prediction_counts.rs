//! Counts of predictions per class, on the device.

use tch::{Device, Kind, TchError, Tensor};

use super::EvaluationError;
use crate::{disk::TensorFileError, distributed::Ranks, libtorch::GuessSums};

/// Largest number of classes with a whole confusion matrix on the device: 80 kB.
const MOST_IN_MATRIX: usize = 100;
/// Initial capacity of a list of predictions, in images.
const ROOM: i64 = 1024;

/// Counts of predictions per class.
pub(super) enum PredictionCounts {
    /// `[classes * classes]`, i64: images per label and prediction.
    Matrix(Tensor),
    /// For many classes.
    Classes {
        /// `[3 * classes]`, i64: images per label, images per prediction, and correct images per class.
        counts: Tensor,
        /// The cell of each image, if pairs of classes are needed too.
        cells: Option<CellList>,
    },
}

/// The cell of the confusion matrix for each image.
pub(super) struct CellList {
    /// `[capacity]`, i64: `label * classes + prediction` of the first `used` images.
    pub(super) list: Tensor,
    pub(super) used: i64,
}

impl PredictionCounts {
    /// Counts at 0. With `keeps_cells`, pairs of classes are kept for many classes too.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn new(classes: usize, device: Device, keeps_cells: bool) -> Result<Self, EvaluationError> {
        let integers = |count: i64| Tensor::f_zeros([count], (Kind::Int64, device));
        let is_small = classes <= MOST_IN_MATRIX;
        let classes = classes as i64;
        if is_small {
            return Ok(Self::Matrix(integers(classes * classes)?));
        }
        let cells = if keeps_cells { Some(CellList { list: integers(ROOM)?, used: 0 }) } else { None };
        Ok(Self::Classes { counts: integers(3 * classes)?, cells })
    }

    /// Adds the counts of all ranks.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch reports an error.
    pub(super) fn gather(&mut self, ranks: &Ranks) -> Result<(), EvaluationError> {
        match self {
            Self::Matrix(matrix) => Ok(ranks.sum(matrix)?),
            Self::Classes { counts, cells } => {
                ranks.sum(counts)?;
                if let Some(cells) = cells {
                    cells.list = ranks.concatenate(&cells.list.f_narrow(0, 0, cells.used)?)?;
                    cells.used = cells.list.size1()?;
                }
                Ok(())
            }
        }
    }

    /// A copy, without the cells of the images.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn copy(&self) -> Result<Self, EvaluationError> {
        Ok(match self {
            Self::Matrix(matrix) => Self::Matrix(matrix.f_detach_copy()?),
            Self::Classes { counts, .. } => Self::Classes { counts: counts.f_detach_copy()?, cells: None },
        })
    }

    /// The sums to which the next batch is added.
    pub(super) fn sums<'a>(&'a self, totals: &'a Tensor, cells: &'a Option<Tensor>) -> GuessSums<'a> {
        let (counts, is_matrix) = match self {
            Self::Matrix(matrix) => (matrix, true),
            Self::Classes { counts, .. } => (counts, false),
        };
        GuessSums { totals, counts, is_matrix, places: cells.as_ref() }
    }

    /// Returns space for the cells of the next images, `[images]`, if they are kept.
    pub(super) fn next_cells(&mut self, images: i64) -> Result<Option<Tensor>, EvaluationError> {
        match self {
            Self::Classes { cells: Some(cells), .. } => Ok(Some(cells.next(images)?)),
            _ => Ok(None),
        }
    }

    /// Adds `labels` and `predictions`, `[n]` each, and whether they are equal. No sync, unlike bincount, which first
    /// reads the largest number from the device.
    pub(super) fn add(
        &self,
        classes: i64,
        labels: &Tensor,
        predictions: &Tensor,
        hits: &Tensor,
        cells: Option<&Tensor>,
    ) -> Result<(), EvaluationError> {
        let cell = || labels.f_mul_scalar(classes)?.f_add(predictions);
        match self {
            Self::Matrix(matrix) => {
                let cells = cell()?;
                let _ = matrix.shallow_clone().f_index_add_(0, &cells, &cells.f_ones_like()?)?;
            }
            Self::Classes { counts, .. } => {
                let [second, third] = [1, 2].map(|row| row * classes);
                let index = [labels.shallow_clone(), predictions.f_add_scalar(second)?, labels.f_add_scalar(third)?];
                let one = labels.f_ones_like()?;
                let count = [one.shallow_clone(), one, hits.f_to_kind(Kind::Int64)?];
                let (index, count) = (Tensor::f_cat(&index, 0)?, Tensor::f_cat(&count, 0)?);
                let _ = counts.shallow_clone().f_index_add_(0, &index, &count)?;
                if let Some(cells) = cells {
                    cells.shallow_clone().f_copy_(&cell()?)?;
                }
            }
        }
        Ok(())
    }
}

/// Number of classes that rank above the label of each image, `[n]`, in the order of `argmax` and of the kernel: NaN
/// first, then larger logits, and the lower index of equal ones.
pub(super) fn logits_before(logits: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    let labels = labels.f_unsqueeze(1)?;
    let of_label = logits.f_gather(1, &labels, false)?;
    let is_lower = Tensor::f_arange(logits.size()[1], (Kind::Int64, logits.device()))?.f_lt_tensor(&labels)?;
    let [is_nan, label_is_nan] = [logits.f_isnan()?, of_label.f_isnan()?];
    let is_equal = logits.f_eq_tensor(&of_label)?.f_logical_or(&is_nan.f_logical_and(&label_is_nan)?)?;
    let is_larger =
        logits.f_gt_tensor(&of_label)?.f_logical_or(&is_nan.f_logical_and(&label_is_nan.f_logical_not()?)?)?;
    is_larger.f_logical_or(&is_equal.f_logical_and(&is_lower)?)?.f_sum_dim_intlist(
        [1i64].as_slice(),
        false,
        Kind::Int64,
    )
}

impl CellList {
    /// Returns space for `count` more cells, and marks it as used.
    fn next(&mut self, count: i64) -> Result<Tensor, EvaluationError> {
        let (room, used) = (self.list.size1()?, self.used + count);
        if used > room {
            // Doubling the capacity copies each image about once on average.
            let larger = Tensor::f_zeros([used.max(2 * room)], (Kind::Int64, self.list.device()))?;
            larger.f_narrow(0, 0, self.used)?.f_copy_(&self.list.f_narrow(0, 0, self.used)?)?;
            self.list = larger;
        }
        let next = self.list.f_narrow(0, self.used, count)?;
        self.used = used;
        Ok(next)
    }
}

/// The row sums, column sums, and diagonal of a matrix: `[3 * classes]`.
pub(super) fn counts_of_matrix(matrix: &Tensor, classes: i64) -> Result<Tensor, TensorFileError> {
    let matrix = matrix.f_reshape([classes, classes])?;
    let sum = |dim: i64| matrix.f_sum_dim_intlist([dim].as_slice(), false, Kind::Int64);
    Ok(Tensor::f_cat(&[sum(1)?, sum(0)?, matrix.f_diagonal(0, 0, 1)?], 0)?)
}
