//! Counts of the predictions of multi-label data, on the device: every class is a decision of its own.

use tch::{Device, Kind, Tensor};

use super::{EvaluationError, average_precision::average_precision};
use crate::distributed::Ranks;

/// Share from which an image has a class. A mixture has the classes that make up half of it.
const HAS_CLASS: f64 = 0.5;

/// Counts of the predictions at probability 0.5, and all scores if average precision is needed.
pub(super) struct SetCounts {
    classes: i64,
    /// `[3 * classes]`, i64: images of each class, images predicted as the class, and images of both.
    pub(super) counts: Tensor,
    /// Logits `[n, classes]` of f32, and whether images have the classes, batch by batch.
    scores: Option<Vec<[Tensor; 2]>>,
}

impl SetCounts {
    /// Counts at 0. With `keeps_scores`, every decision takes five bytes.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn new(classes: usize, device: Device, keeps_scores: bool) -> Result<Self, EvaluationError> {
        let classes = classes as i64;
        let counts = Tensor::f_zeros([3 * classes], (Kind::Int64, device))?;
        Ok(Self { classes, counts, scores: keeps_scores.then(Vec::new) })
    }

    /// Adds a batch: `logits` and `labels`, `[n, classes]` each. Returns the number of images whose classes are all
    /// correct, `[]`. No sync.
    pub(super) fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<Tensor, EvaluationError> {
        let is_class = labels.f_reshape(logits.size())?.f_ge(HAS_CLASS)?;
        // The sigmoid of 0 is 0.5.
        let is_predicted = logits.f_ge(0.0)?;
        let is_hit = is_class.f_logical_and(&is_predicted)?;
        let count = |decisions: &Tensor| decisions.f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Int64);
        let counts = Tensor::f_cat(&[count(&is_class)?, count(&is_predicted)?, count(&is_hit)?], 0)?;
        let _ = self.counts.f_add_(&counts)?;
        let exact = is_class.f_eq_tensor(&is_predicted)?.f_all_dim(1, false)?.f_sum(Kind::Int64)?;
        if let Some(scores) = &mut self.scores {
            // A copy, because the logits may be a view of a larger tensor.
            scores.push([logits.f_to_kind(Kind::Float)?.f_detach_copy()?, is_class]);
        }
        Ok(exact)
    }

    /// Adds the counts and scores of all ranks.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch reports an error.
    pub(super) fn gather(&mut self, ranks: &Ranks) -> Result<(), EvaluationError> {
        ranks.sum(&self.counts)?;
        if let Some(scores) = self.scores.as_mut().filter(|_| !ranks.are_alone()) {
            let device = self.counts.device();
            let all = |part: usize| -> Result<Tensor, EvaluationError> {
                // A rank may have no batch.
                let mut batches = vec![Tensor::f_zeros([0, self.classes], (Kind::Float, device))?];
                for batch in scores.iter() {
                    batches.push(batch[part].f_to_kind(Kind::Float)?);
                }
                Ok(ranks.concatenate(&Tensor::f_cat(&batches, 0)?)?)
            };
            *scores = vec![[all(0)?, all(1)?.f_to_kind(Kind::Bool)?]];
        }
        Ok(())
    }

    /// A copy, without the scores.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn copy(&self) -> Result<Self, EvaluationError> {
        Ok(Self { classes: self.classes, counts: self.counts.f_detach_copy()?, scores: None })
    }

    /// Average precision of each class; `None` for a class without images. Empty if scores are not kept. Device sync
    /// here.
    pub(super) fn average_precisions(&self) -> Result<Vec<Option<f64>>, EvaluationError> {
        let Some(scores) = self.scores.as_ref().filter(|scores| !scores.is_empty()) else { return Ok(Vec::new()) };
        let all = |part: usize| -> Result<Tensor, EvaluationError> {
            let batches: Vec<&Tensor> = scores.iter().map(|batch| &batch[part]).collect();
            Ok(Tensor::f_cat(&batches, 0)?.f_to_device(Device::Cpu)?.f_transpose(0, 1)?.f_contiguous()?)
        };
        let (logits, is_class) = (all(0)?, all(1)?);
        let of_class = |class: i64| -> Result<Option<f64>, EvaluationError> {
            let scores = Vec::<f32>::try_from(logits.f_select(0, class)?)?;
            let is_positive = Vec::<bool>::try_from(is_class.f_select(0, class)?)?;
            Ok(average_precision(&scores, &is_positive))
        };
        (0..self.classes).map(of_class).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::super::{Metrics, MultiLabelMetrics, Tally};
    use super::*;
    use crate::data::{Dataset, ImageShape};

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    fn table(value: &Value) -> Tensor {
        let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
        Tensor::from_slice(&rows.concat()).reshape([rows.len() as i64, -1]).to_kind(Kind::Float)
    }

    /// The metrics of one evaluation or training pass in batches of 7 images.
    fn measured(golden: &Value, tally: fn(&Dataset, Device) -> Result<Tally, EvaluationError>) -> Metrics {
        let (labels, logits) = (table(&golden["labels"]), table(&golden["logits"]));
        let (images, classes) = labels.size2().unwrap();
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let (of_each, pixels) = (vec![0; images as usize], vec![0; images as usize]);
        let dataset = Dataset::in_memory(Path::new("here"), shape, names.clone(), of_each, pixels).unwrap();
        let dataset = dataset.with_labels((0..images).map(|_| Vec::new()).collect()).unwrap();
        let mut tally = tally(&dataset, Device::Cpu).unwrap();
        for (labels, logits) in labels.split(7, 0).iter().zip(logits.split(7, 0)) {
            let batch = labels.size2().unwrap().0;
            tally.add(&logits, labels, &Tensor::from(0.5 * batch as f64), batch as f64).unwrap();
        }
        tally.read(&names).unwrap()
    }

    fn is_near(got: f64, want: f64) -> bool {
        (got - want).abs() < 1e-12
    }

    #[test]
    fn all_metrics_are_those_of_scikit_learn() {
        // Golden values from tests/golden/multilabel.py.
        let golden: Vec<Value> = serde_json::from_str(include_str!("../../tests/golden/multilabel.json")).unwrap();
        assert_eq!(golden.len(), 4);
        for golden in &golden {
            let metrics = measured(golden, Tally::of_evaluation);
            let number = |key: &str| golden[key].as_f64().unwrap();
            let MultiLabelMetrics { mean_average_precision, micro_f1, exact_match, classes_without_images } =
                metrics.multi_label.unwrap();
            assert!(is_near(mean_average_precision.unwrap(), number("mean_average_precision")));
            assert!(is_near(micro_f1, number("micro_f1")) && is_near(exact_match, number("exact_match")));
            assert_eq!(classes_without_images as f64, number("classes_without_images"));
            let macros = [metrics.precision, metrics.recall, metrics.f1];
            assert!(macros.iter().zip(numbers(&golden["macro"])).all(|(got, want)| is_near(*got, want)), "{macros:?}");
            for (class, got) in metrics.per_class.iter().enumerate() {
                let of = |key: &str| golden[key][class].as_f64();
                let figures = [(got.precision, "precision"), (got.recall, "recall"), (got.f1, "f1")];
                assert!(figures.iter().all(|(got, key)| is_near(*got, of(key).unwrap())), "{got:?}");
                assert_eq!(got.support as f64, of("support").unwrap());
                match (got.average_precision, of("average_precision")) {
                    (Some(got), Some(want)) => assert!(is_near(got, want), "{got} {want}"),
                    (got, want) => assert_eq!(got, want),
                }
            }
            assert!(metrics.accuracy.is_nan() && metrics.confusion.is_none() && metrics.loss == 0.5);
        }
    }

    #[test]
    fn training_keeps_counts_and_no_scores() {
        let golden: Vec<Value> = serde_json::from_str(include_str!("../../tests/golden/multilabel.json")).unwrap();
        let [whole, counted] = [Tally::of_evaluation, Tally::of_training].map(|tally| measured(&golden[0], tally));
        let [areas, no_areas] = [&whole, &counted].map(|metrics| metrics.multi_label.unwrap().mean_average_precision);
        assert!(areas.is_some() && no_areas.is_none());
        assert_eq!((whole.f1, whole.loss), (counted.f1, counted.loss));
        assert!(counted.figures().iter().all(|(name, value)| value.is_finite() && *name != "mean_average_precision"));
    }

    #[test]
    fn half_of_a_mixture_is_a_class_of_its_image_and_nan_is_no_prediction() {
        let mut sets = SetCounts::new(3, Device::Cpu, false).unwrap();
        let labels = Tensor::from_slice(&[0.5f32, 0.4, 1.0, 0.0, 0.0, 0.0]).reshape([2, 3]);
        let logits = Tensor::from_slice(&[0.0f32, -1.0, f32::NAN, -0.1, -2.0, f32::NAN]).reshape([2, 3]);
        let exact = sets.add(&logits, &labels).unwrap();
        assert_eq!(exact.int64_value(&[]), 1);
        assert_eq!(Vec::<i64>::try_from(&sets.counts).unwrap(), [1, 0, 1, 1, 0, 0, 1, 0, 0]);
    }
}
