//! Counts the predicted probabilities of each class on the device: softmax, or sigmoids for multi-label data. Precision and
//! recall at each threshold follow from these counts.

use tch::{Device, Kind, Tensor};

use super::{EvaluationError, targets::is_multi_hot};
use crate::{
    events::{PrecisionRecall, THRESHOLDS},
    libtorch::host_copy,
};

const BINS: i64 = THRESHOLDS as i64;

/// Probabilities to process at once, so that their f64 copies stay small (1 MB each).
const AT_ONCE: i64 = 1 << 17;

/// Counts over one pass. Adding a batch costs no device sync; reading costs one.
pub struct ThresholdCounts {
    /// Number of counted classes: the first ones.
    classes: i64,
    /// `[2 * classes * BINS]`, i64: images of other classes, then of the class, by class and probability.
    counts: Tensor,
}

impl ThresholdCounts {
    /// Creates empty counts of the first `classes` classes on `device`.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(classes: usize, device: Device) -> Result<Self, EvaluationError> {
        let classes = classes as i64;
        Ok(Self { classes, counts: Tensor::f_zeros([2 * classes * BINS], (Kind::Int64, device))? })
    }

    /// Adds a batch: `logits` `[n, m]` of all `m` classes, `labels` `[n]`, or `[n, m]` of multi-label data.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<(), EvaluationError> {
        let images = (AT_ONCE / logits.size2()?.1.max(1)).max(1);
        for (logits, labels) in logits.f_detach()?.f_split(images, 0)?.iter().zip(labels.f_split(images, 0)?) {
            self.add_some(logits, &labels)?;
        }
        Ok(())
    }

    fn add_some(&mut self, logits: &Tensor, labels: &Tensor) -> Result<(), EvaluationError> {
        let is_multi_hot = is_multi_hot(labels);
        let shares = match is_multi_hot {
            true => logits.f_to_kind(Kind::Double)?.f_sigmoid()?,
            false => logits.f_softmax(1, Kind::Double)?,
        };
        let shares = shares.f_narrow(1, 0, self.classes)?;
        // NaN is above no threshold, so it counts as 0.
        let bins = shares.f_mul_scalar(BINS - 1)?.f_floor()?.f_nan_to_num(0.0, None, None)?.f_to_kind(Kind::Int64)?;
        let classes = Tensor::f_arange(self.classes, (Kind::Int64, logits.device()))?.f_unsqueeze(0)?;
        let is_label = match is_multi_hot {
            true => labels.f_narrow(1, 0, self.classes)?.f_ge(0.5)?,
            false => labels.f_unsqueeze(1)?.f_eq_tensor(&classes)?,
        };
        let rows = is_label.f_to_kind(Kind::Int64)?.f_mul_scalar(self.classes)?.f_add(&classes)?;
        let cells = rows.f_mul_scalar(BINS)?.f_add(&bins.f_clamp(0, BINS - 1)?)?.f_flatten(0, -1)?;
        self.counts = self.counts.f_index_add(0, &cells, &cells.f_ones_like()?)?;
        Ok(())
    }

    /// Precision-recall curve of each counted class. Device sync here.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn read(&self) -> Result<Vec<PrecisionRecall>, EvaluationError> {
        let counts = host_copy(&self.counts)?;
        let mut rows = counts.as_chunks::<THRESHOLDS>().0.iter().map(|row| Box::new(row.map(|count| count as u64)));
        let negatives: Vec<_> = rows.by_ref().take(self.classes as usize).collect();
        Ok(rows.zip(negatives).map(|(positives, negatives)| PrecisionRecall::new(positives, negatives)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_is_counted_once_for_each_class_at_its_probability() {
        let mut counts = ThresholdCounts::new(2, Device::Cpu).unwrap();
        // The softmax of (ln 3, 0) is (3/4, 1/4), and that of equal logits is one half each. NaN is neither.
        let logits = Tensor::from_slice(&[3.0f64.ln() + 1e-9, 0.0, 1.0, 1.0, f64::NAN, 0.0]).reshape([3, 2]);
        counts.add(&logits, &Tensor::from_slice(&[0i64, 1, 1])).unwrap();
        let mut want = [[[0u64; THRESHOLDS]; 2]; 2];
        let mut count = |class: usize, is_label: usize, bin: usize| want[class][is_label][bin] += 1;
        count(0, 1, 150);
        count(1, 0, 49);
        count(0, 0, 100);
        count(1, 1, 100);
        count(0, 0, 0);
        count(1, 1, 0);
        let want = want.map(|[negatives, positives]| PrecisionRecall::new(Box::new(positives), Box::new(negatives)));
        assert_eq!(counts.read().unwrap(), want);
    }

    #[test]
    fn classes_of_multi_label_data_are_counted_at_their_sigmoids() {
        let mut counts = ThresholdCounts::new(1, Device::Cpu).unwrap();
        // The sigmoid of ln 3 is 3/4. The second class is not counted.
        let logits = Tensor::from_slice(&[3.0f64.ln() + 1e-9, 9.0, 0.0, 9.0]).reshape([2, 2]);
        counts.add(&logits, &Tensor::from_slice(&[1.0f32, 1.0, 0.0, 1.0]).reshape([2, 2])).unwrap();
        let mut want = [[0u64; THRESHOLDS]; 2];
        (want[1][150], want[0][100]) = (1, 1);
        let [negatives, positives] = want.map(Box::new);
        assert_eq!(counts.read().unwrap(), [PrecisionRecall::new(positives, negatives)]);
    }

    #[test]
    fn the_first_of_many_classes_are_counted_as_among_all_of_them() {
        // 5,000 classes are processed in groups of 26 images.
        let (images, classes) = (60, 5_000);
        tch::manual_seed(1);
        let logits = Tensor::randn([images, classes], (Kind::Float, Device::Cpu)) * 4.0;
        let labels = Tensor::randint(8, [images], (Kind::Int64, Device::Cpu));
        let mut counts = ThresholdCounts::new(7, Device::Cpu).unwrap();
        counts.add(&logits, &labels).unwrap();
        let shares = logits.softmax(1, Kind::Double);
        let mut want = vec![[[0u64; THRESHOLDS]; 2]; 7];
        for (image, label) in (0..images).zip(Vec::<i64>::try_from(&labels).unwrap()) {
            for class in 0..7 {
                let bin = (200.0 * shares.double_value(&[image, class])) as usize;
                want[class as usize][usize::from(label == class)][bin] += 1;
            }
        }
        let want = want
            .into_iter()
            .map(|[negatives, positives]| PrecisionRecall::new(Box::new(positives), Box::new(negatives)));
        assert_eq!(counts.read().unwrap(), want.collect::<Vec<_>>());
    }
}
