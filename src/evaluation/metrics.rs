//! Loss, accuracy, precision, recall, and F1 from counts: pure functions.

use serde::{Deserialize, Serialize};

use super::{ClassCounts, Confusion};
use crate::{config::Metric, disk::nan_from_null};

/// Metrics of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Class name.
    pub class: String,
    /// Number of images of the class.
    pub support: u64,
    /// Fraction of correct predictions among the images predicted as the class; 0 if there are none.
    pub precision: f64,
    /// Fraction of correct predictions among the images of the class; 0 if there are none.
    pub recall: f64,
    /// Harmonic mean of precision and recall; 0 if both are 0.
    pub f1: f64,
    /// Of multi-label data, area under the precision-recall curve, as scikit-learn's `average_precision_score`. `None` for
    /// training images, and for a class without images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
}

/// Overall metrics of multi-label data only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelMetrics {
    /// Unweighted mean of the average precision over the classes with images. `None` for training images, and if no class
    /// has images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// F1 of all decisions together.
    pub micro_f1: f64,
    /// Fraction of images whose classes are all correct.
    pub exact_match: f64,
    /// Number of classes without images, which `mean_average_precision` leaves out.
    pub classes_without_images: usize,
}

/// All metrics of one pass over images. In multi-label data, an image is predicted as each class with a probability of 0.5
/// or more.
///
/// The JSON is complete: with up to 50 classes, `confusion` is the matrix; with more, `confusion_cells` is a list of
/// `[label, prediction, images]`. Reading it back restores neither.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Metrics {
    /// Mean loss: the training loss for training images, and plain cross-entropy for validation images, or binary
    /// cross-entropy of multi-label data.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f64,
    /// Fraction of images whose top prediction is correct; NaN for multi-label data.
    #[serde(default = "not_measured")]
    pub accuracy: f64,
    /// Fraction of images whose class is among the top five predictions; always 1 with fewer than six classes. NaN for
    /// multi-label data.
    #[serde(default = "not_measured")]
    pub top5_accuracy: f64,
    /// Unweighted mean over the classes with images or predictions ("macro" average).
    pub precision: f64,
    /// The same mean of recall.
    pub recall: f64,
    /// The same mean of F1.
    pub f1: f64,
    /// Metrics of multi-label data; `None` if each image has one class.
    #[serde(flatten)]
    pub multi_label: Option<MultiLabelMetrics>,
    /// Metrics per class; empty if only the overall metrics are kept.
    #[serde(default)]
    pub per_class: Vec<ClassMetrics>,
    /// Confusion matrix; `None` if it was not counted.
    #[serde(skip)]
    pub confusion: Option<Confusion>,
}

impl Metrics {
    /// Value of the given metric; NaN if it was not measured.
    pub fn of(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::ExactMatch => self.multi_label.map_or(f64::NAN, |metrics| metrics.exact_match),
            Metric::F1 => self.f1,
            Metric::Loss => self.loss,
            Metric::MeanAveragePrecision => self.mean_average_precision().unwrap_or(f64::NAN),
            Metric::MicroF1 => self.multi_label.map_or(f64::NAN, |metrics| metrics.micro_f1),
            Metric::Precision => self.precision,
            Metric::Recall => self.recall,
            Metric::Top5Accuracy => self.top5_accuracy,
        }
    }

    /// All measured overall metrics with their names.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let mean_average_precision = || self.mean_average_precision().map(|mean| ("mean_average_precision", mean));
        let first = match self.multi_label {
            None => vec![("accuracy", self.accuracy), ("top5_accuracy", self.top5_accuracy)],
            Some(_) => mean_average_precision().into_iter().collect(),
        };
        let of_classes = [("precision", self.precision), ("recall", self.recall), ("f1", self.f1)];
        let last =
            self.multi_label.map(|metrics| [("micro_f1", metrics.micro_f1), ("exact_match", metrics.exact_match)]);
        [("loss", self.loss)].into_iter().chain(first).chain(of_classes).chain(last.into_iter().flatten()).collect()
    }

    fn mean_average_precision(&self) -> Option<f64> {
        self.multi_label?.mean_average_precision
    }

    /// The metric to watch, for one line: accuracy or, of multi-label data, mean average precision, or exact matches
    /// without it.
    pub(crate) fn headline(&self) -> String {
        match self.multi_label {
            None => format!("accuracy {:.2}%", 100.0 * self.accuracy),
            Some(MultiLabelMetrics { mean_average_precision: Some(mean), .. }) => format!("mAP {mean:.4}"),
            Some(MultiLabelMetrics { exact_match, .. }) => format!("exact match {:.2}%", 100.0 * exact_match),
        }
    }

    /// Computes all metrics from the mean loss, the number of top-5 hits, and the counts per class. `classes` are the
    /// names.
    pub fn new(
        loss: f64,
        top5_hits: u64,
        counts: &ClassCounts,
        confusion: Option<Confusion>,
        classes: &[String],
    ) -> Self {
        let images: u64 = counts.support.iter().sum();
        let hits: u64 = counts.hits.iter().sum();
        Self {
            accuracy: ratio(hits, images),
            top5_accuracy: ratio(top5_hits, images),
            confusion,
            ..Self::of_counts(loss, counts, classes)
        }
    }

    /// Computes the metrics of multi-label data from the mean loss, the fraction of exact matches, the counts per class,
    /// and the average precision of each class, which is empty if it was not measured. `classes` are the names.
    pub fn of_sets(
        loss: f64,
        exact_match: f64,
        counts: &ClassCounts,
        average_precisions: &[Option<f64>],
        classes: &[String],
    ) -> Self {
        let [support, predicted, hits] =
            [&counts.support, &counts.predicted, &counts.hits].map(|counts| counts.iter().sum::<u64>());
        let measured: Vec<f64> = average_precisions.iter().flatten().copied().collect();
        let mut metrics = Self::of_counts(loss, counts, classes);
        for (class, average_precision) in metrics.per_class.iter_mut().zip(average_precisions) {
            class.average_precision = *average_precision;
        }
        metrics.multi_label = Some(MultiLabelMetrics {
            mean_average_precision: (!measured.is_empty())
                .then(|| measured.iter().sum::<f64>() / measured.len() as f64),
            micro_f1: ratio(2 * hits, predicted + support),
            exact_match,
            classes_without_images: counts.support.iter().filter(|&&images| images == 0).count(),
        });
        metrics
    }

    /// The metrics that follow from counts per class. All others are not measured.
    fn of_counts(loss: f64, counts: &ClassCounts, classes: &[String]) -> Self {
        let per_class: Vec<ClassMetrics> =
            classes.iter().enumerate().map(|(class, name)| class_metrics(counts, class, name)).collect();
        let counted: Vec<&ClassMetrics> = per_class
            .iter()
            .zip(&counts.predicted)
            .filter(|(metrics, predicted)| metrics.support > 0 || **predicted > 0)
            .map(|(metrics, _)| metrics)
            .collect();
        let mean = |figure: fn(&ClassMetrics) -> f64| {
            // Starts at +0, because the empty sum would be -0.
            counted.iter().fold(0.0, |sum, metrics| sum + figure(metrics)) / counted.len().max(1) as f64
        };
        Self {
            loss,
            accuracy: not_measured(),
            top5_accuracy: not_measured(),
            precision: mean(|metrics| metrics.precision),
            recall: mean(|metrics| metrics.recall),
            f1: mean(|metrics| metrics.f1),
            multi_label: None,
            per_class,
            confusion: None,
        }
    }

    /// Keeps only the overall metrics.
    #[must_use]
    pub fn without_classes(self) -> Self {
        Self { per_class: Vec::new(), confusion: None, ..self }
    }

    /// Returns at most `most` classes with the lowest F1 among those with images, worst first.
    pub fn worst(&self, most: usize) -> Vec<&ClassMetrics> {
        let mut classes: Vec<&ClassMetrics> = self.per_class.iter().filter(|class| class.support > 0).collect();
        // Ties go to the class with more images. The sort is stable, so further ties go to the first class.
        let order = |one: &&ClassMetrics, other: &&ClassMetrics| {
            one.f1.total_cmp(&other.f1).then(other.support.cmp(&one.support))
        };
        classes.sort_by(order);
        classes.truncate(most);
        classes
    }
}

fn class_metrics(counts: &ClassCounts, class: usize, name: &str) -> ClassMetrics {
    let [support, predicted, hits] = [&counts.support, &counts.predicted, &counts.hits].map(|list| list[class]);
    ClassMetrics {
        class: name.to_owned(),
        support,
        precision: ratio(hits, predicted),
        recall: ratio(hits, support),
        // 2 P R / (P + R), in counts.
        f1: ratio(2 * hits, predicted + support),
        average_precision: None,
    }
}

fn not_measured() -> f64 {
    f64::NAN
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Computes metrics from a confusion matrix of classes named by their index.
    pub(crate) fn of_matrix(loss: f64, top5_hits: u64, matrix: &[Vec<u64>]) -> Metrics {
        let names: Vec<String> = (0..matrix.len()).map(|class| class.to_string()).collect();
        let confusion = Confusion::of_matrix(matrix);
        Metrics::new(loss, top5_hits, &confusion.counts(), Some(confusion), &names)
    }

    #[test]
    fn figures_equal_those_of_scikit_learn() {
        // from sklearn.metrics import precision_recall_fscore_support as prf, accuracy_score
        // y = [0]*5 + [1]*3 + [2]*2; p = [0,0,0,1,2, 1,1,0, 2,1]
        // prf(y, p) -> precision .75 .5 .5, recall .6 .66667 .5, f1 .66667 .57143 .5; macro means of these
        let metrics = of_matrix(1.2, 9, &[vec![3, 1, 1], vec![1, 2, 0], vec![0, 1, 1]]);
        assert_eq!((metrics.loss, metrics.accuracy, metrics.top5_accuracy), (1.2, 0.6, 0.9));
        let figures: Vec<[f64; 3]> =
            metrics.per_class.iter().map(|class| [class.precision, class.recall, class.f1]).collect();
        let want = [[0.75, 0.6, 2.0 / 3.0], [0.5, 2.0 / 3.0, 4.0 / 7.0], [0.5, 0.5, 0.5]];
        for (got, want) in figures.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < 1e-12);
        }
        assert!((metrics.f1 - (2.0 / 3.0 + 4.0 / 7.0 + 0.5) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_class_that_neither_occurs_nor_is_predicted_does_not_lower_the_means() {
        let metrics = of_matrix(0.0, 2, &[vec![2, 0], vec![0, 0]]);
        assert_eq!((metrics.precision, metrics.recall, metrics.f1), (1.0, 1.0, 1.0));
        assert_eq!(metrics.per_class[1].f1, 0.0);
    }

    #[test]
    fn no_images_are_no_division_by_zero() {
        let metrics = of_matrix(f64::NAN, 0, &[vec![0, 0], vec![0, 0]]);
        assert_eq!((metrics.accuracy, metrics.f1), (0.0, 0.0));
        assert!(metrics.f1.is_sign_positive());
    }

    #[test]
    fn the_worst_classes_come_first_and_those_without_images_are_none_of_them() {
        // F1 by hand: 2 * 1 / (3 + 3), 0, 2 * 4 / (6 + 5), and none. Of the two classes without hits, the second has
        // more images.
        let metrics = of_matrix(
            0.0,
            5,
            &[vec![1, 0, 2, 0, 0], vec![1, 0, 0, 0, 0], vec![1, 0, 4, 0, 0], vec![0, 0, 0, 0, 0], vec![0, 2, 0, 0, 0]],
        );
        let worst: Vec<&str> = metrics.worst(3).iter().map(|class| &*class.class).collect();
        assert_eq!(worst, ["4", "1", "0"]);
        assert_eq!(metrics.worst(9).len(), 4);
        let figures = metrics.clone().without_classes();
        assert_eq!((figures.figures(), figures.per_class.len()), (metrics.figures(), 0));
    }
}
