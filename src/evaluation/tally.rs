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
        let (logits, loss_sum) = (logits.f_detach()?, loss_sum.f_detach()?);
        let images = logits.size2()?.0;
        let hits = match &mut self.predictions {
            Predictions::Class(predictions) => {
                let cells = predictions.next_cells(labels.size1()?)?;
                if count_guesses(&logits, labels, &loss_sum, &predictions.sums(&self.totals, &cells))? {
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
            let _ = self.totals.f_add_(&Tensor::f_stack(&sums, 0)?)?;
        }
        self.counts.images += images;
        self.counts.weight += weight;
        Ok(())
    }

    /// Number of images added so far.
    pub fn images(&self) -> i64 {
        self.counts.images
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
mod tests {
    use super::*;
    use crate::disk::copy_named;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    #[test]
    fn two_batches_are_counted_into_one_matrix() {
        let mut tally = Tally::new(3, Device::Cpu).unwrap();
        let logits = Tensor::from_slice(&[9.0f32, 0.0, 1.0, 0.0, 2.0, 1.0]).reshape([2, 3]);
        tally.add(&logits, &Tensor::from_slice(&[0i64, 2]), &Tensor::from(1.5f32), 2.0).unwrap();
        tally.add(&logits.narrow(0, 1, 1), &Tensor::from_slice(&[1i64]), &Tensor::from(0.5f32), 1.0).unwrap();
        let metrics = tally.read(&["a", "b", "c"].map(String::from)).unwrap();
        assert_eq!(metrics.confusion.unwrap().matrix(), [[1, 0, 0], [0, 1, 0], [0, 1, 0]]);
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
        let metrics = tally.read(&names(7)).unwrap();
        assert_eq!((metrics.accuracy, metrics.top5_accuracy), (1.0 / 7.0, 5.0 / 7.0));
    }

    #[test]
    fn the_lower_index_wins_a_tie_and_nan_ranks_first() {
        const NAN: f32 = f32::NAN;
        let rows: [[f32; 7]; 4] =
            [[0.0; 7], [NAN; 7], [1.0, NAN, 9.0, NAN, 0.0, 2.0, 3.0], [3.0, -0.0, 0.0, 1.0, 2.0, 0.0, 0.0]];
        let logits = Tensor::from_slice(rows.as_flattened()).reshape([4, 7]);
        let before = |label: i64| {
            Vec::<i64>::try_from(logits_before(&logits, &Tensor::from_slice(&[label; 4])).unwrap()).unwrap()
        };
        assert_eq!((before(0), before(3), before(5)), (vec![0, 0, 5, 0], vec![3, 3, 1, 2], vec![5, 5, 4, 5]));
        assert_eq!(Vec::<i64>::try_from(logits.argmax(1, false)).unwrap(), [0, 0, 1, 0]);
        let mut tally = Tally::new(7, Device::Cpu).unwrap();
        tally.add(&logits, &Tensor::from_slice(&[4i64, 5, 5, 0]), &Tensor::from(0.0f32), 4.0).unwrap();
        let metrics = tally.read(&names(7)).unwrap();
        assert_eq!((metrics.accuracy, metrics.top5_accuracy), (0.25, 0.75));
    }

    /// Batches of random labels and logits, some of them correct, and the whole matrix counted image by image.
    fn batches(classes: i64, images: i64) -> (Vec<(Tensor, Tensor)>, Vec<Vec<u64>>) {
        tch::manual_seed(classes);
        let mut matrix = vec![vec![0u64; classes as usize]; classes as usize];
        let batches = (0..5).map(|_| {
            let labels = Tensor::randint(classes, [images], (Kind::Int64, Device::Cpu));
            let truth = labels.one_hot(classes).to_kind(Kind::Float) * 3.0;
            let logits = Tensor::randn([images, classes], (Kind::Float, Device::Cpu)) + truth;
            let guesses = Vec::<i64>::try_from(logits.argmax(1, false)).unwrap();
            let of_batch = Vec::<i64>::try_from(&labels).unwrap();
            of_batch.iter().zip(guesses).for_each(|(&label, guess)| matrix[label as usize][guess as usize] += 1);
            (logits, labels)
        });
        (batches.collect(), matrix)
    }

    fn add_all(tally: &mut Tally, batches: &[(Tensor, Tensor)]) {
        for (logits, labels) in batches {
            tally.add(logits, labels, &Tensor::from(1.0f32), labels.numel() as f64).unwrap();
        }
    }

    #[test]
    fn few_classes_and_many_are_counted_as_the_whole_matrix_counts_them() {
        // 1,500 images in five batches exceed the initial capacity of the list.
        for classes in [1, 2, 100, 101, 700] {
            let (batches, matrix) = batches(classes as i64, 300);
            let want = Confusion::of_matrix(&matrix);
            let (mut plain, mut whole) =
                (Tally::new(classes, Device::Cpu).unwrap(), Tally::with_confusion(classes, Device::Cpu).unwrap());
            add_all(&mut plain, &batches);
            add_all(&mut whole, &batches);
            let (plain, whole) = (plain.read(&names(classes)).unwrap(), whole.read(&names(classes)).unwrap());
            assert_eq!(whole.confusion.as_ref(), Some(&want), "{classes}");
            assert_eq!(plain.confusion.as_ref(), Some(&want).filter(|_| classes <= 100), "{classes}");
            let twin = Metrics::new(plain.loss, 0, &want.counts(), None, &names(classes));
            for metrics in [plain, whole] {
                assert_eq!(metrics.per_class, twin.per_class, "{classes}");
                assert_eq!(
                    [metrics.accuracy, metrics.precision, metrics.recall, metrics.f1],
                    [twin.accuracy, twin.precision, twin.recall, twin.f1]
                );
            }
        }
    }

    fn state(tally: &Tally) -> NamedTensors {
        tally.state().into_iter().map(|(name, sum)| (format!("tally.{name}"), sum)).collect()
    }

    #[test]
    fn a_tally_goes_on_from_its_state_and_from_the_matrix_that_an_earlier_version_kept() {
        for classes in [3, 120] {
            let (batches, matrix) = batches(classes as i64, 40);
            let mut first = Tally::new(classes, Device::Cpu).unwrap();
            add_all(&mut first, &batches);
            let cells: Vec<i64> = matrix.iter().flatten().map(|&images| images as i64).collect();
            let earlier = ("tally.confusion".to_owned(), Tensor::from_slice(&cells));
            for saved in [state(&first), vec![state(&first).swap_remove(0), earlier]] {
                let mut second = Tally::new(classes, Device::Cpu).unwrap();
                copy_named(&second.upgrade_state(saved).unwrap(), &state(&second)).unwrap();
                second.counts = first.counts;
                let (got, want) = (second.read(&names(classes)).unwrap(), first.read(&names(classes)).unwrap());
                assert_eq!(got, want, "{classes}");
            }
            let other = Tally::new(classes + 1, Device::Cpu).unwrap();
            assert!(copy_named(&other.upgrade_state(state(&first)).unwrap(), &state(&other)).is_err());
        }
    }

    #[test]
    fn what_a_checkpoint_keeps_grows_with_the_classes_and_not_with_their_square() {
        let numbers = |classes| {
            let tally = Tally::with_confusion(classes, Device::Cpu).unwrap();
            tally.state().iter().map(|(_, tensor)| tensor.numel()).sum::<usize>()
        };
        assert_eq!((numbers(100), numbers(101), numbers(60_000)), (10_003, 306, 180_003));
    }
}
